/**
 * PASCAL VOC's average precision.
 *
 * The detections of a class, surest first over all images, each stand for the truth that they overlap most (the first of equals), taken or
 * not. The first to reach a truth is right, later ones are wrong; one that reaches a difficult truth is neither, and difficult truths need not be
 * found. Widths count both border pixels. Equal scores keep their order (the Python reference leaves it open).
 *
 * The implementations differ, so the rule is a record, and its name is part of every result.
 */
import { ascending, byFallingScore, checkColumns, everyRow, placesOf, sortedByKey, type BoxColumns, type DetectionColumns } from "./columns.ts";
import { exactArea, pointsArea, precisionRecall, type PrecisionRecall } from "./curves.ts";

/** Boxes are x1, y1, x2, y2 of the first and the last pixel. */
export interface VocTruths extends BoxColumns {
  /** 1 where an object counts neither way. Default: nowhere. */
  readonly difficult?: ArrayLike<number>;
}

export interface VocMarks {
  /** Numbers of all classes. */
  readonly classes: ArrayLike<number>;
  readonly truths: VocTruths;
  /** Boxes as those of truths. */
  readonly detections: DetectionColumns;
}

export interface VocRule {
  /** 11 points until 2009, the area under the curve from 2010 on. */
  readonly average: "11 points" | "area";
  /** An IoU that is the threshold itself matches in the MATLAB devkit (>=), and does not in py-faster-rcnn (>). */
  readonly match: ">=" | ">";
  /** Default 0.5. */
  readonly iou?: number;
  /**
   * The recalls of the 11 points: tenths, or what NumPy's arange makes of them. There 0.3, 0.6 and 0.7 are the next number above, which a
   * recall of 3/10 does not reach. Default: as NumPy, as published Python figures have it.
   */
  readonly tenths?: "numpy" | "exact";
}

/** Rules with a name of their own. */
export const vocRules = {
  voc07: { average: "11 points", match: ">=" },
  voc12: { average: "area", match: ">=" },
  fasterRcnn07: { average: "11 points", match: ">" },
  fasterRcnn12: { average: "area", match: ">" },
} as const satisfies Record<string, VocRule>;

export interface VocClass extends PrecisionRecall {
  readonly class: number;
  /** Those that are not difficult. */
  readonly truths: number;
  readonly detections: number;
  /** null without truths: there is nothing to average. */
  readonly ap: number | null;
  /** The detections that count, by falling score; precision and recall are after each of them. */
  readonly score: Float64Array;
}

export interface VocScores {
  readonly protocol: string;
  /** Mean over the classes that have truths; null if none has. */
  readonly map: number | null;
  readonly perClass: readonly VocClass[];
}

/** The rule in words. */
export function vocProtocol({ average, match, iou = 0.5, tenths = "numpy" }: VocRule): string {
  const years = average === "area" ? "area under the curve (2010 on)" : `11 points (2007)${tenths === "exact" ? " at exact tenths" : ""}`;
  return `PASCAL VOC, ${years}, IoU ${match} ${iou} (as ${match === ">=" ? "the devkit" : "py-faster-rcnn"})`;
}

export function vocMetrics({ classes, truths, detections }: VocMarks, rule: VocRule): VocScores {
  checkColumns("voc", "truth", { image: truths.image, class: truths.class, box: truths.box, difficult: truths.difficult });
  checkColumns("voc", "detection", { image: detections.image, class: detections.class, box: detections.box, score: detections.score });
  const numbers = ascending(classes), K = numbers.length, images = ascending(truths.image), N = images.length;
  const imageOf = placesOf(truths.image, images), classOf = placesOf(truths.class, numbers);
  const rows = sortedByKey(sortedByKey(everyRow(imageOf.length), imageOf, N), classOf, K);
  const seenIn = placesOf(detections.image, images), foundClass = placesOf(detections.class, numbers);
  const found = sortedByKey(byFallingScore(detections.score), foundClass, K);

  const start = new Int32Array(N + 1), taken = new Uint8Array(rows.length);
  const perClass: VocClass[] = [];
  for (let k = 0, g = 0, d = 0; k < K; k++) {
    start.fill(0);
    const first = g;
    let positives = 0;
    for (; g < rows.length && classOf[rows[g]] === k; g++) {
      start[imageOf[rows[g]] + 1]++;
      if (!truths.difficult?.[rows[g]]) positives++;
    }
    for (let n = 0; n < N; n++) start[n + 1] += start[n];

    const score: number[] = [], right: number[] = [], firstFound = d;
    for (; d < found.length && foundClass[found[d]] === k; d++) {
      const image = seenIn[found[d]];
      let most = -Infinity, nearest = -1;
      if (image >= 0) for (let j = first + start[image]; j < first + start[image + 1]; j++) {
        const shared = inclusiveIou(truths.box, rows[j], detections.box, found[d]);
        if (shared > most) { most = shared; nearest = j; }
      }
      const matched = reaches(most, rule);
      if (matched && truths.difficult?.[rows[nearest]]) continue;
      right.push(matched && !taken[nearest] ? 1 : 0);
      score.push(detections.score[found[d]]);
      if (matched) taken[nearest] = 1;
    }
    const curve = precisionRecall(right.length, (i) => right[i], positives);
    perClass.push({ class: numbers[k], truths: positives, detections: d - firstFound, ap: positives ? average(curve, rule) : null, score: Float64Array.from(score), ...curve });
  }
  const defined = perClass.flatMap(({ ap }) => (ap === null ? [] : [ap]));
  return { protocol: vocProtocol(rule), map: defined.length ? defined.reduce((sum, ap) => sum + ap, 0) / defined.length : null, perClass };
}

const reaches = (overlap: number, { match, iou = 0.5 }: VocRule): boolean => (match === ">=" ? overlap >= iou : overlap > iou);

const TENTHS = Array.from({ length: 11 }, (_, i) => i / 10), NUMPY_TENTHS = TENTHS.map((_, i) => i * 0.1);

const average = (curve: PrecisionRecall, { average, tenths = "numpy" }: VocRule): number =>
  (average === "area" ? exactArea(curve) : pointsArea(curve, tenths === "exact" ? TENTHS : NUMPY_TENTHS));

/** IoU of boxes whose last pixels belong to them. */
function inclusiveIou(a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number): number {
  const p = 4 * i, q = 4 * j;
  const width = Math.max(Math.min(a[p + 2], b[q + 2]) - Math.max(a[p], b[q]) + 1, 0), height = Math.max(Math.min(a[p + 3], b[q + 3]) - Math.max(a[p + 1], b[q + 1]) + 1, 0);
  const shared = width * height;
  return shared / ((b[q + 2] - b[q] + 1) * (b[q + 3] - b[q + 1] + 1) + (a[p + 2] - a[p] + 1) * (a[p + 3] - a[p + 1] + 1) - shared);
}
