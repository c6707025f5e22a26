"""SpikeYOLO at T = 1 in eager PyTorch, rebuilt from the published facts: the opponent of whole passes. One request per line, one answer per line.

Tensors are [B, C, H, W]; a state dict and what is compared travel as safetensors files. Started by network.ts with the number of threads.
"""
import json
import resource
import struct
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(int(sys.argv[1]))
EPS, MOMENTUM, BINS = 1e-3, 0.03, 16


class Fire(torch.autograd.Function):
    """round(clamp(x, 0, D)), half to even; the gradient passes where 0 <= x <= D."""

    @staticmethod
    def forward(ctx, x, D):
        ctx.save_for_backward(x)
        ctx.D = D
        return torch.round(torch.clamp(x, 0, D))

    @staticmethod
    def backward(ctx, ds):
        (x,) = ctx.saved_tensors
        return ds * ((x >= 0) & (x <= ctx.D)), None


class Neuron(nn.Module):
    def __init__(self, D=4):
        super().__init__()
        self.D = D

    def forward(self, x):
        return Fire.apply(x, self.D)


def conv(i, o, k, stride=1, padding=0, groups=1, bias=False):
    return nn.Conv2d(i, o, k, stride, padding, groups=groups, bias=bias)


def norm(c):
    return nn.BatchNorm2d(c, eps=EPS, momentum=MOMENTUM)


class NormAndPad(nn.Module):
    """Batch norm, then a border of what it makes of zero."""

    def __init__(self, c):
        super().__init__()
        self.bn = norm(c)

    def forward(self, x):
        y, bn = self.bn(x), self.bn
        border = (bn.bias - bn.running_mean * bn.weight / torch.sqrt(bn.running_var + bn.eps)).detach()
        y = F.pad(y, [1, 1, 1, 1])
        edge = border.view(1, -1, 1, 1)
        y[:, :, 0:1, :], y[:, :, -1:, :], y[:, :, :, 0:1], y[:, :, :, -1:] = edge, edge, edge, edge
        return y


class RepConv(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.body = nn.Sequential(conv(i, i, 1), NormAndPad(i), nn.Sequential(conv(i, i, 3, groups=i), conv(i, o, 1), norm(o)))

    def forward(self, s):
        return self.body(s)


class SepRepConv(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.body = nn.Sequential(NormAndPad(i), nn.Sequential(conv(i, o, 1), conv(o, o, 3, groups=o)))

    def forward(self, s):
        return self.body(s)


class SepConv(nn.Module):
    def __init__(self, c, k=7):
        super().__init__()
        self.fire = Neuron()
        self.pwconv1, self.bn1 = conv(c, 2 * c, 1), norm(2 * c)
        self.dwconv2, self.bn2 = conv(2 * c, 2 * c, k, padding=k // 2, groups=2 * c), norm(2 * c)
        self.pwconv3, self.bn3 = SepRepConv(2 * c, c), norm(c)

    def forward(self, x):
        x = self.bn1(self.pwconv1(self.fire(x)))
        x = self.bn2(self.dwconv2(self.fire(x)))
        return self.bn3(self.pwconv3(self.fire(x)))


class SpikingConv(nn.Module):
    def __init__(self, i, o, k, stride=1):
        super().__init__()
        self.fire, self.conv, self.bn = Neuron(), conv(i, o, k, stride, k // 2), norm(o)

    def forward(self, x):
        return self.bn(self.conv(self.fire(x)))


class AllConvBlock(nn.Module):
    def __init__(self, c, ratio):
        super().__init__()
        self.Conv, self.conv1, self.conv2 = SepConv(c), SpikingConv(c, c * ratio, 3), SpikingConv(c * ratio, c, 3)

    def forward(self, x):
        x = self.Conv(x) + x
        return x + self.conv2(self.conv1(x))


class ConvBlock(nn.Module):
    def __init__(self, c, ratio):
        super().__init__()
        self.fire, self.Conv = Neuron(), SepConv(c)
        self.conv1, self.bn1 = RepConv(c, c * ratio), norm(c * ratio)
        self.conv2, self.bn2 = RepConv(c * ratio, c), norm(c)

    def forward(self, x):
        x = self.Conv(x) + x
        y = self.bn1(self.conv1(self.fire(x)))
        return x + self.bn2(self.conv2(self.fire(y)))


class DownSampling(nn.Module):
    def __init__(self, i, o, first):
        super().__init__()
        self.fire = None if first else Neuron()
        self.encode_conv = conv(i, o, 7, 4, 2, bias=True) if first else conv(i, o, 3, 2, 1, bias=True)
        self.encode_bn = norm(o)

    def forward(self, x):
        return self.encode_bn(self.encode_conv(self.fire(x) if self.fire else x))


class SPPF(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.cv1, self.cv2 = SpikingConv(i, i // 2, 1), SpikingConv(i // 2 * 4, o, 1)

    def forward(self, x):
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(F.max_pool2d(maps[-1], 5, 1, 2))
        return self.cv2(torch.cat(maps, 1))


class Predict(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.fire, self.conv = Neuron(), conv(i, o, 1, bias=True)

    def forward(self, x):
        return self.conv(self.fire(x))


class Head(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        box, cls = max(16, channels[0] // 4, 4 * BINS), max(channels[0], min(classes, 100))
        branch = lambda i, hidden, o: nn.Sequential(SpikingConv(i, hidden, 3), SpikingConv(hidden, hidden, 3), Predict(hidden, o))
        self.cv2 = nn.ModuleList(branch(c, box, 4 * BINS) for c in channels)
        self.cv3 = nn.ModuleList(branch(c, cls, classes) for c in channels)

    def forward(self, stages):
        flat = lambda branches: torch.cat([b(x).flatten(2).transpose(1, 2) for b, x in zip(branches, stages)], 1)
        return flat(self.cv2), flat(self.cv3)


class SpikeYOLO(nn.Module):
    """Layers under the numbers that the published network gives them."""

    def __init__(self, channels, repeats, last, classes):
        super().__init__()
        c1, c2, c3, c4 = channels
        stage = lambda block, n, c, ratio: block(c, ratio) if n == 1 else nn.Sequential(*[block(c, ratio) for _ in range(n)])
        self.model = nn.ModuleDict({
            "1": DownSampling(3, c1, True), "2": stage(AllConvBlock, repeats[0], c1, 4),
            "3": DownSampling(c1, c2, False), "4": stage(AllConvBlock, repeats[1], c2, 4),
            "5": DownSampling(c2, c3, False), "6": stage(ConvBlock, repeats[2], c3, 3),
            "7": DownSampling(c3, c4, False), "8": stage(ConvBlock, repeats[3], c4, 2), "9": SPPF(c4, c4),
            "10": SpikingConv(c4, c3, 1), "12": ConvBlock(c3, 3), "14": SpikingConv(2 * c3, c2, 1), "16": AllConvBlock(c2, 4),
            "18": SpikingConv(2 * c2, c2, 1), "19": AllConvBlock(c2, 4), "20": SpikingConv(c2, c2, 3, 2), "22": ConvBlock(c3, 3),
            "23": SpikingConv(c3, c3, 3, 2), "25": ConvBlock(c4, last), "26": Head(classes, [c2, c3, c4]),
        })

    def forward(self, x):
        m, up = self.model, lambda y: F.interpolate(y, scale_factor=2, mode="nearest")
        p3 = m["4"](m["3"](m["2"](m["1"](x))))
        p4 = m["6"](m["5"](p3))
        l5 = m["10"](m["9"](m["8"](m["7"](p4))))
        l4 = m["14"](torch.cat([m["12"](up(l5)), p4], 1))
        n3 = m["19"](m["18"](torch.cat([m["16"](up(l4)), p3], 1)))
        n4 = m["22"](torch.cat([m["20"](n3), l4], 1))
        n5 = m["25"](torch.cat([m["23"](n4), l5], 1))
        return m["26"]([n3, n4, n5])


def read(path):
    """All tensors of a safetensors file in float32."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), file.read()
    header.pop("__metadata__", None)
    return {name: torch.from_numpy(np.frombuffer(data, np.float32, offset=e["data_offsets"][0], count=int(np.prod(e["shape"]))).reshape(e["shape"]).copy())
            for name, e in header.items()}


def write(path, tensors):
    header, at, blobs = {}, 0, []
    for name, tensor in tensors.items():
        blob = tensor.detach().contiguous().numpy().tobytes()
        header[name] = {"dtype": "F64" if tensor.dtype == torch.float64 else "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(blob)]}
        at += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


class Passes:
    def __init__(self, request):
        given = read(request["given"])
        self.images, self.seeds = given.pop("images"), [given.pop("seed.box", None), given.pop("seed.classes", None)]
        given.pop("model.26.dfl.conv.weight", None)
        self.model = SpikeYOLO(request["channels"], request["repeats"], request["last"], request["classes"])
        missing, unknown = self.model.load_state_dict(given, strict=False)
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]
        assert not missing and not unknown, (missing, unknown)
        if request["double"]:
            self.model, self.images, self.seeds = self.model.double(), self.images.double(), [seed if seed is None else seed.double() for seed in self.seeds]
        self.training = request["training"]
        self.model.train(self.training)

    def into(self, form):
        self.model = self.model.to(memory_format=LAYOUTS[form])
        self.x = self.images.contiguous(memory_format=LAYOUTS[form])

    def run(self):
        if not self.training:
            with torch.no_grad():
                return self.model(self.x)
        self.model.zero_grad(set_to_none=True)
        predictions = self.model(self.x)
        torch.autograd.backward(predictions, self.seeds)
        return predictions


passes = None
for line in sys.stdin:
    request, answer = json.loads(line), {}
    if request["do"] == "prepare":
        passes = Passes(request)
        answer = {"forms": list(LAYOUTS)}
    elif request["do"] == "time":
        passes.into(request["form"])
        start = time.perf_counter()
        passes.run()
        answer = {"ms": 1000 * (time.perf_counter() - start)}
    elif request["do"] == "save":
        passes.into("NCHW")
        box, classes = passes.run()
        gradients = {f"grad.{name}": p.grad for name, p in passes.model.named_parameters() if p.grad is not None} if passes.training else {}
        write(request["path"], {"box": box, "classes": classes, **gradients})
    answer["peakMB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(answer), flush=True)
