"""PyTorch's side of the bench: one request per line, one answer per line. Started by torch.ts with the number of threads."""
import json
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch.utils import mkldnn

torch.set_num_threads(int(sys.argv[1]))


def load(path, shape):
    """Channels last in the file, channels first by name, as PyTorch has it."""
    return torch.from_file(path, size=math.prod(shape)).view(shape).permute(0, 3, 1, 2).clone()


def forward(x, w, groups):
    return F.conv2d(x, w, padding=w.shape[-1] // 2, groups=groups)


def prepacked(x, w, groups):
    """Weights, input and output in mkldnn's own layout."""
    layer = torch.nn.Conv2d(x.shape[1], w.shape[0], w.shape[-1], padding=w.shape[-1] // 2, groups=groups, bias=False)
    layer.weight.data = w
    layer, x = mkldnn.to_mkldnn(layer.eval()), x.to_mkldnn()
    return lambda: layer(x)


def gradients(x, w, dy, groups, wanted):
    x, w = x.requires_grad_("dX" in wanted), w.requires_grad_("dW" in wanted)
    y = forward(x, w, groups)
    inputs = [t for t in (x, w) if t.requires_grad]
    return lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)


def prepare(problem):
    """Every way to compute it that PyTorch has: name -> function."""
    x, w, dy = (load(problem[name]["path"], problem[name]["shape"]) for name in ("x", "w", "dy"))
    groups, wanted = problem["groups"], problem["pass"]
    layouts = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
    ways = {}
    for name, layout in layouts.items():
        x0, w0, dy0 = (t.clone(memory_format=layout) for t in (x, w, dy))
        if wanted == "forward":
            ways[name] = lambda x0=x0, w0=w0: forward(x0, w0, groups)
        else:
            ways[name] = gradients(x0, w0, dy0, groups, wanted)
    if wanted == "forward" and torch.backends.mkldnn.is_available():
        ways["mkldnn"] = prepacked(x, w, groups)
    return ways


def run(way):
    with torch.set_grad_enabled(False):
        start = time.perf_counter()
        way()
        return 1000 * (time.perf_counter() - start)


def save(result, path):
    """All tensors of a result in one file, channels last."""
    tensors = result if isinstance(result, tuple) else (result,)
    dense = [t.to_dense() if t.is_mkldnn else t for t in tensors]
    flat = torch.cat([t.detach().permute(0, 2, 3, 1).reshape(-1) for t in dense])
    torch.from_file(path, shared=True, size=flat.numel()).copy_(flat)


ways = {}
for line in sys.stdin:
    request = json.loads(line)
    answer = {}
    if request["do"] == "prepare":
        ways = prepare(request)
        answer = {"forms": list(ways)}
    elif request["do"] == "time":
        answer = {"ms": run(ways[request["form"]])}
    elif request["do"] == "save":
        with torch.no_grad():
            save(ways[request["form"]](), request["path"])
    print(json.dumps(answer), flush=True)
