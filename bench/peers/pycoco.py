"""pycocotools' side of the bench: evaluates one pair of files, leaves precision and recall as raw float64, prints processor seconds and the twelve figures as JSON."""
import contextlib
import io
import json
import sys
import time

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

instances, results, precision, recall = sys.argv[1:5]
with contextlib.redirect_stdout(io.StringIO()):
    start = time.process_time()
    truths = COCO(instances)
    found = truths.loadRes(results)
    loaded = time.process_time()
    evaluation = COCOeval(truths, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    done = time.process_time()
    evaluation.summarize()
evaluation.eval["precision"].astype("<f8").tofile(precision)
evaluation.eval["recall"].astype("<f8").tofile(recall)
print(json.dumps({"load": loaded - start, "evaluate": done - loaded, "figures": evaluation.stats.tolist()}))
