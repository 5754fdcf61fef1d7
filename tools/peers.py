#!/usr/bin/env python3
"""The presets as a PyTorch user writes them (dense weight x mask), and as ONNX graphs: the other side of tools/speed.py.

usage: peers.py torch PRESET BATCH THREADS SECONDS train|infer [SETTING ...]
       peers.py onnx PRESET BATCH THREADS SECONDS infer
       peers.py torch-import | torch-first-step | onnx-first     one line each, then the process ends
PRESET is baseline, bionic or deep. Settings of PyTorch: channels_last, fused, foreach, flush (denormals to zero), bf16.
Prints one line of JSON: images per second, median, best and mean over the steps, and how many processors were in use. Needs
torch, or onnx and onnxruntime.
"""
import json
import math
import sys
import time

import numpy as np

LAMINAE = [266, 349, 185, 383]
DENSITY = 0.05
SIDE, CLASSES = 48, 7
IMAGES = 2048


def report(kind, preset, batch, threads, mode, settings, measured):
    times, processors = measured
    times = sorted(times)
    rate = lambda t: round(batch / t, 1)
    print(json.dumps({"peer": kind, "preset": preset, "batch": batch, "threads": threads, "mode": mode, "settings": settings,
                      "steps": len(times), "median": rate(times[len(times) // 2]), "best": rate(times[0]),
                      "mean": rate(sum(times) / len(times)), "processors": round(processors, 3)}))


def repeat(seconds, f):
    """Seconds of each call of f(k), after a few to warm up; and processor time in units of the time that passed."""
    for k in range(5):
        f(k)
    times, begin, used = [], time.perf_counter(), time.process_time()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        f(len(times))
        times.append(time.perf_counter() - start)
    return times, (time.process_time() - used) / (time.perf_counter() - begin)


def build(preset):
    """The network in PyTorch."""
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    class Masked(nn.Module):
        def __init__(self, n_post, n_pre, seed):
            super().__init__()
            chance = torch.rand(n_post, n_pre, generator=torch.Generator().manual_seed(seed))
            self.register_buffer("mask", (chance < DENSITY).float())
            self.weight = nn.Parameter(torch.randn(n_post, n_pre) / math.sqrt(max(1.0, DENSITY * n_pre)))
            self.bias = nn.Parameter(torch.zeros(n_post))

        def forward(self, x):
            return F.linear(x, self.weight * self.mask, self.bias)

    class Column(nn.Module):
        def __init__(self, features):
            super().__init__()
            pairs = zip(LAMINAE[1:], LAMINAE)
            self.into = nn.ModuleList([nn.Linear(features, LAMINAE[0])] + [Masked(*p, k) for k, p in enumerate(pairs)])
            self.within = nn.ModuleList([Masked(n, n, 10 + k) for k, n in enumerate(LAMINAE)])
            self.norm = nn.ModuleList([nn.LayerNorm(n) for n in LAMINAE])
            self.readout = nn.Linear(LAMINAE[-1], CLASSES)
            for k, n in enumerate(LAMINAE):
                self.register_buffer(f"dose{k}", torch.rand(n, generator=torch.Generator().manual_seed(20 + k)))

        def forward(self, x):
            for k in range(4):
                u = self.into[k](x)
                u = u + self.within[k](F.relu(u))
                u = u * (1 - 0.3 * getattr(self, f"dose{k}"))
                x = F.relu(self.norm[k](u))
            return self.readout(x)

    class Lateral(nn.Module):
        def __init__(self):
            super().__init__()
            self.strength = nn.Parameter(torch.tensor(0.2))

        def forward(self, x):
            return x - self.strength * F.avg_pool2d(x, 3, 1, 1)

    class Attention(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.mlp = nn.Sequential(nn.Linear(c, c // 4), nn.ReLU(), nn.Linear(c // 4, c))
            self.conv = nn.Conv2d(2, 1, 7, padding=3)

        def forward(self, x):
            x = x * torch.sigmoid(self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3))))[:, :, None, None]
            return x * torch.sigmoid(self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))

    if preset == "baseline":
        return nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1),
                             nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2304, 512), nn.ReLU(),
                             nn.Linear(512, 384), nn.ReLU(), nn.Linear(384, CLASSES))
    if preset == "bionic":
        return nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), Lateral(), nn.MaxPool2d(2), nn.ReLU(),
                             nn.Conv2d(8, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), Attention(16), nn.Flatten(),
                             Column(2304))
    blocks = [(1, 32), (32, 64), (64, 128)]
    stem = [m for a, b in blocks for m in (nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.MaxPool2d(2), nn.ReLU())]
    return nn.Sequential(*stem, nn.Flatten(), Column(128 * 36))


def augmented(x):
    """Flip, rotation, scale and shift, as a user does it on the batch."""
    import torch
    import torch.nn.functional as F
    uniform = lambda strength: (torch.rand(x.size(0)) * 2 - 1) * strength
    angle, size = uniform(math.radians(12)), 1 + uniform(0.1)
    flip = (torch.rand(x.size(0)) < 0.5).float() * -2 + 1
    cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
    rows = [torch.stack([cos * flip, -sin, uniform(0.125)], 1), torch.stack([sin * flip, cos, uniform(0.125)], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), x.shape, align_corners=False)
    return F.grid_sample(x, grid, align_corners=False, padding_mode="border")


def standardised(x):
    """Pixels of bytes to floats, each image with mean 0 and deviation 1."""
    x = x.float() / 255
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) / x.std((1, 2, 3), keepdim=True, correction=0).clamp_min(1 / 255)


def run_torch(preset, batch, threads, seconds, mode, settings):
    import torch
    import torch.nn.functional as F
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if "flush" in settings:
        torch.set_flush_denormal(True)
    layout = torch.channels_last if "channels_last" in settings else torch.contiguous_format
    net = build(preset).to(memory_format=layout)
    images = torch.randint(0, 256, (IMAGES, 1, SIDE, SIDE), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (IMAGES,))
    how = {"fused": True} if "fused" in settings else {"foreach": True} if "foreach" in settings else {}
    adam = torch.optim.AdamW(net.parameters(), lr=1e-3, **how)
    cast = torch.autocast("cpu", torch.bfloat16, enabled="bf16" in settings)

    def part(k):
        at = k * batch % (IMAGES - batch + 1)
        return images[at:at + batch], labels[at:at + batch]

    def train(k):
        x, y = part(k)
        x = augmented(x.float() / 255) * 4 - 2
        x = x.contiguous(memory_format=layout)
        adam.zero_grad(set_to_none=True)
        with cast:
            loss = F.cross_entropy(net(x).float(), y, label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()

    def infer(k):
        with torch.inference_mode(), cast:
            x = standardised(part(k)[0]).contiguous(memory_format=layout)
            net(x).argmax(1)

    net.train(mode == "train")
    report("torch", preset, batch, threads, mode, settings, repeat(seconds, train if mode == "train" else infer))


def graph(preset):
    """The network as an ONNX model, batch norm folded as its users do."""
    from onnx import TensorProto, helper, numpy_helper
    rng = np.random.default_rng(0)
    nodes, values, count = [], [], [0]

    def const(array):
        count[0] += 1
        values.append(numpy_helper.from_array(np.asarray(array), f"c{count[0]}"))
        return f"c{count[0]}"

    def node(op, *inputs, **attributes):
        count[0] += 1
        nodes.append(helper.make_node(op, list(inputs), [f"v{count[0]}"], **attributes))
        return f"v{count[0]}"

    normal = lambda *shape: (rng.standard_normal(shape) / math.sqrt(np.prod(shape[1:]))).astype(np.float32)
    zeros = lambda n: np.zeros(n, np.float32)
    ints = lambda *v: const(np.array(v, np.int64))
    scalar = lambda v: const(np.float32(v))

    def conv(x, n_in, n_out, k):
        return node("Conv", x, const(normal(n_out, n_in, k, k)), const(zeros(n_out)), pads=[k // 2] * 4)

    def pool(x):
        return node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def dense(x, n_in, n_out, mask=None):
        w = normal(n_out, n_in)
        return node("Gemm", x, const(w if mask is None else w * mask), const(zeros(n_out)), transB=1)

    def relu(x):
        return node("Relu", x)

    def column(x, features):
        masked = lambda a, b: (rng.random((a, b)) < DENSITY).astype(np.float32)
        for k, n in enumerate(LAMINAE):
            u = dense(x, features, n) if k == 0 else dense(x, LAMINAE[k - 1], n, masked(n, LAMINAE[k - 1]))
            u = node("Add", u, dense(relu(u), n, n, masked(n, n)))
            u = node("Mul", u, const((1 - 0.3 * rng.random(n)).astype(np.float32)))
            x = relu(node("LayerNormalization", u, const(zeros(n) + 1), const(zeros(n)), epsilon=1e-5))
        return dense(x, LAMINAE[-1], CLASSES)

    x = node("Mul", node("Cast", "pixels", to=TensorProto.FLOAT), scalar(1 / 255))
    apart = node("Sub", x, node("ReduceMean", x, axes=[1, 2, 3]))
    variance = node("ReduceMean", node("Mul", apart, apart), axes=[1, 2, 3])
    x = node("Div", apart, node("Max", node("Sqrt", variance), scalar(1 / 255)))
    if preset == "deep":
        for a, b in ((1, 32), (32, 64), (64, 128)):
            x = pool(relu(conv(x, a, b, 3)))
        x = column(node("Flatten", x), 128 * 36)
    elif preset == "baseline":
        x = pool(relu(conv(pool(relu(conv(x, 1, 8, 5))), 8, 16, 3)))
        x = dense(relu(dense(relu(dense(node("Flatten", x), 2304, 512)), 512, 384)), 384, CLASSES)
    else:
        x = conv(x, 1, 8, 5)
        around = np.full((8, 1, 3, 3), -0.2 / 8, np.float32)
        around[:, :, 1, 1] = 1
        x = relu(pool(node("Conv", x, const(around), pads=[1] * 4, group=8)))
        x = relu(pool(conv(x, 8, 16, 3)))
        squeeze, excite = normal(4, 16), normal(16, 4)

        def mlp(v):
            hidden = relu(node("Gemm", v, const(squeeze), const(zeros(4)), transB=1))
            return node("Gemm", hidden, const(excite), const(zeros(16)), transB=1)

        mean, most = (node("Flatten", node(op, x)) for op in ("GlobalAveragePool", "GlobalMaxPool"))
        gate = node("Sigmoid", node("Add", mlp(mean), mlp(most)))
        x = node("Mul", x, node("Unsqueeze", gate, ints(2, 3)))
        maps = node("Concat", node("ReduceMean", x, axes=[1]), node("ReduceMax", x, axes=[1]), axis=1)
        x = node("Mul", x, node("Sigmoid", conv(maps, 2, 1, 7)))
        x = column(node("Flatten", x), 2304)
    nodes.append(helper.make_node("ArgMax", [x], ["class"], axis=1, keepdims=0))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["B", 1, SIDE, SIDE])
    answer = helper.make_tensor_value_info("class", TensorProto.INT64, ["B"])
    whole = helper.make_graph(nodes, preset, [pixels], [answer], values)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def session(model, threads):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_onnx(preset, batch, threads, seconds, mode, settings):
    net = session(graph(preset), threads)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 1, SIDE, SIDE), dtype=np.uint8)

    def infer(k):
        at = k * batch % (IMAGES - batch + 1)
        net.run(None, {"pixels": images[at:at + batch]})

    report("onnx", preset, batch, threads, mode, settings, repeat(seconds, infer))


def main():
    kind, *rest = sys.argv[1:] or ["help"]
    if kind == "torch-import":
        import torch  # noqa: F401
    elif kind == "torch-first-step":
        run_torch("bionic", 32, 2, 0.0, "train", ["fused"])
    elif kind == "onnx-save":
        open(rest[1], "wb").write(graph(rest[0]))
    elif kind == "onnx-first":
        pixels = np.zeros((1, 1, SIDE, SIDE), np.uint8)
        print(session(open(rest[0], "rb").read(), 1).run(None, {"pixels": pixels})[0])
    elif kind in ("torch", "onnx") and len(rest) >= 5:
        preset, batch, threads, seconds, mode, *settings = rest
        run = run_torch if kind == "torch" else run_onnx
        run(preset, int(batch), int(threads), float(seconds), mode, settings)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
