#!/usr/bin/env python3
"""Golden numbers for tests/golden.rs, from PyTorch (pip install torch numpy; made with torch 2.15).

    python3 tools/golden.py          writes tests/golden/<case>.json, prints how well each case is conditioned

The networks are small copies of the presets, written again here from the equations in the documentation: autograd
instead of gradients by hand, a dense weight times a mask instead of stored synapses, torch.optim instead of our own
steps. The same weights go into both sides; the same loss, gradients and ten training steps must come out. Noise,
dropout and augmentation are off. Everything is drawn from seeds, weights and images are short decimals or integers.

Expected numbers are those of 32-bit floats. Each case runs in 64 bits as well; the difference (`conditioning`, in the
units of the tests' tolerances) shows how far rounding alone carries. Each case also runs with one ingredient of a step
changed at a time (printed); the script fails where the tests could not see that.
"""
import json
import math
import tomllib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from golden_layers import CLASSES, SIDE, flat, network

STEPS = 10
# Smallest visible change of the trained weights, in parts of the way that a tensor's weights go in ten steps.
VISIBLE = 0.02


# ---------------------------------------------------------------------------------------------------- images, wiring


def images(seed, n):
    """`n` images of ten grey rectangles and pixel noise, and their labels; integers only, repeated in the test."""
    state = seed

    def draw(k):
        nonlocal state
        state = (state * 1_664_525 + 1_013_904_223) % 2**32
        return (state >> 16) % k

    pixels, labels = np.zeros((n, SIDE, SIDE), np.int64), []
    for image in pixels:
        labels.append(draw(CLASSES))
        for _ in range(10):
            y, x, h, w, grey = draw(40), draw(40), 4 + draw(20), 4 + draw(20), draw(192)
            image[y:y + h, x:x + w] = grey
        for y in range(SIDE):
            for x in range(SIDE):
                image[y, x] += draw(64)
    return pixels, labels


def connectome(rng, cells, density, absent=()):
    """Neurons in mixed order and random connections; `cells[lamina] = (excitatory, inhibitory)`.

    One excitatory cell of unsure type belongs to no population; one cell of L1 inhibits without a population.
    `absent` holds pairs of (lamina and polarity of pre, of post) that are never connected.
    """
    kinds = {"L4": "4P", "L2/3": "23P", "L5": "5P-IT", "L6": "6P-CT"}
    neurons = [("NGC", "L1", "I"), ("Unsure E", "L5", "E")]
    for lamina, (excitatory, inhibitory) in cells.items():
        neurons += [(kinds[lamina], lamina, "E")] * excitatory + [("BC", lamina, "I")] * inhibitory
    neurons = [neurons[i] for i in rng.permutation(len(neurons))]
    places = rng.uniform(0, 300, (len(neurons), 3)).round(1).tolist()
    neurons = [[f"cell {i}", *n, p] for i, (n, p) in enumerate(zip(neurons, places))]
    where = [n[2] + n[3] for n in neurons]
    connections = [[pre, post, int(rng.integers(1, 5))]
                   for pre in range(len(neurons)) for post in range(len(neurons))
                   if rng.random() < density and (where[pre], where[post]) not in absent]
    return {"neurons": neurons, "connections": connections}


# ------------------------------------------------------------------------------------------------------------- training


def standardized(pixels, how, dtype):
    x = torch.tensor(pixels, dtype=dtype)[:, None] / 255
    if how == "none":
        return x
    dims = (1, 2, 3) if how == "image" else (0, 1, 2, 3)
    mean, sd = x.mean(dims, keepdim=True), x.std(dims, correction=0, keepdim=True)
    return (x - mean) / sd.clamp(min=1 / 255)


def schedule(config, step, steps_per_epoch):
    """Factor on the learning rate: constant or cosine after linear warm-up, or one-cycle."""
    l, total = config["learning"], config["epochs"] * steps_per_epoch
    warmup, final = l["warmup_epochs"] * steps_per_epoch, l["final_fraction"]

    def fall(p):
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * p))

    if l["schedule"] == "one-cycle":
        peak = 0.3 * total
        if step < peak:
            return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / peak))
        return fall((step - peak) / (total - peak))
    if step < warmup:
        return (step + 1) / warmup
    return fall((step - warmup) / (total - warmup)) if l["schedule"] == "cosine" else 1.0


def optimizer(l, tensors):
    groups = [{"params": [t for t, e in tensors if e["decayed"]], "weight_decay": l["weight_decay"]},
              {"params": [t for t, e in tensors if not e["decayed"]], "weight_decay": 0.0}]
    groups = [g for g in groups if g["params"]]
    if l["optimizer"] == "sgd":
        return torch.optim.SGD(groups, lr=1.0, momentum=l["momentum"], nesterov=True)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[l["optimizer"]]
    return kind(groups, lr=1.0, betas=(l["beta1"], l["beta2"]), eps=l["epsilon"])


class Hebbian:
    """dw = rate (<g x> - d w) with synaptic scaling in d, capped; then the intrinsic step of the bias."""

    def __init__(self, config):
        self.p, self.mode, self.state, self.capped = config["plasticity"], config["learning"]["mode"], {}, []

    @torch.no_grad()
    def step(self, layer, before, factor, readout):
        p, moved = self.p, set()
        for name, bias, measured, x, y in layer.sites:
            if not (measured if self.mode == "hybrid" else self.mode == "local" and not readout):
                continue
            w, mask, batch = layer[name], layer.tensors[name]["mask"], len(x)
            start = torch.full_like(y[0], p["target_rate"])
            rates, theta = self.state.get((layer, name), (start, start**2))
            rates = rates + (y.mean(0) - rates) / p["rate_tau_steps"]
            u = layer.project(name, x)
            u = u - u.mean(0) if p["centered"] else u
            if p["rule"] == "hebb":
                gate, decay = y, torch.full_like(rates, p["hebb_decay"])
            elif p["rule"] == "oja":
                gate = y - y.mean(0) if p["centered"] else y
                decay = (gate**2).mean(0)
            elif p["rule"] == "bcm":
                gate, decay = y * (y - theta), torch.zeros_like(rates)
                theta = theta + ((y**2).mean(0) - theta) / p["bcm_tau_steps"]
            elif p["rule"] == "subspace":
                gate, decay = u, torch.zeros_like(rates)
            else:  # softwta
                share = (u / p["softwta_temperature"]).softmax(1)
                gate = torch.where(F.one_hot(u.argmax(1), u.shape[1]) > 0, share, -share)
                decay = (gate * u).mean(0)
            self.state[layer, name] = rates, theta
            gate = gate - gate.mean(0) if p["centered"] else gate
            if p["rule"] == "subspace":
                x = x - gate @ (w if mask is None else w * torch.tensor(mask, dtype=w.dtype))
            short = ((p["target_rate"] - rates) / p["target_rate"]).clamp(-1, 1)
            change = gate.T @ x / batch - decay[:, None] * w + p["scaling_rate"] / p["rate"] * short[:, None] * w
            change *= factor * p["rate"]
            if mask is not None:
                change *= torch.tensor(mask, dtype=w.dtype)
            limit = p["cap"] * ((w - before[name]).norm() if self.mode == "hybrid" else factor * w.norm())
            self.capped.append(bool(change.norm() > limit))
            change *= limit / change.norm() if self.capped[-1] else 1
            w += change
            if bias not in moved:
                layer[bias].add_(p["intrinsic_rate"] * factor * (p["target_rate"] - rates))
                moved.add(bias)


def run(case, dtype, change=None):
    """Ten training steps; `change(config)` alters one ingredient."""
    config = tomllib.loads(case["config"])
    if change:
        change(config)
    l, wiring = config["learning"], case.get("connectome")
    layers = network(config, wiring, case["weight_seed"])
    chain = torch.nn.Sequential(*[layer for _, layer in layers]).to(dtype)
    pixels, labels = images(case["image_seed"], case["images"])
    x, labels = standardized(pixels, config["data"]["standardize"], dtype), torch.tensor(labels)
    trained = layers[-1:] if l["mode"] == "local" else layers
    named = [(f"{place}.{name}", layer, name) for place, layer in layers for name in layer.tensors]
    steered = [(layer[name], layer.tensors[name]) for _, layer in trained for name in layer.tensors]
    everything = {full: flat(layer, name, layer[name]) for full, layer, name in named}
    out = {"weights": everything, "losses": []}
    opt, hebbian = optimizer(l, steered), Hebbian(config)
    batches = math.ceil(len(x) / config["batch"])
    for step in range(STEPS):
        part = slice(step % batches * config["batch"], (step % batches + 1) * config["batch"])
        loss = F.cross_entropy(chain(x[part]), labels[part], label_smoothing=l["label_smoothing"])
        out["losses"].append(loss.item())
        opt.zero_grad()
        loss.backward()
        if step == 0:
            out["gradient"] = {f"{place}.{name}": flat(layer, name, layer[name].grad)
                               for place, layer in trained for name in layer.tensors}
        norm = torch.nn.utils.clip_grad_norm_([t for t, _ in steered], l["clip_norm"] or math.inf)
        out.setdefault("gradient_norms", []).append(norm.item())
        factor = schedule(config, step, batches)
        for group in opt.param_groups:
            group["lr"] = l["learning_rate"] * factor
        before = [{name: layer[name].detach().clone() for name in layer.tensors} for _, layer in layers]
        opt.step()
        for i, (_, layer) in enumerate(layers):
            hebbian.step(layer, before[i], factor, readout=i + 1 == len(layers))
            for name, entry in layer.tensors.items():
                if entry["dale"] and not case.get("without_dale"):
                    layer[name].data.clamp_(min=0)
    out["trained"] = {full: flat(layer, name, layer[name]) for full, layer, name in named}
    out["buffers"] = {f"{place}.{name}": getattr(layer, name).double().numpy().copy()
                      for place, layer in layers for name in layer.buffer_names}
    chain.eval()
    with torch.no_grad():
        out["logits"] = chain(x[:config["batch"]]).double().numpy()
    out["capped"] = sum(hebbian.capped), len(hebbian.capped)
    return out


def worst(found, expected, start, without_effect):
    """Largest difference of any tensor, in parts of the largest |expected - start| in that tensor; for tensors without
    effect, whose numbers are rounding alone, in parts of the largest in any tensor."""
    size = {name: abs(e - start[name]).max() for name, e in expected.items()}
    most = max(size.values())
    return max(abs(found[name] - e).max() / (most if name in without_effect or size[name] == 0 else size[name])
               for name, e in expected.items())


def difference(found, expected, without_effect):
    """Largest differences, as in the test: of a loss relative to itself, of gradients and of the ways that weights went
    in training as in `worst`."""
    loss = max(abs(p - q) / q for p, q in zip(found["losses"], expected["losses"]))
    zero = {name: 0 * g for name, g in expected["gradient"].items()}
    gradient = worst(found["gradient"], expected["gradient"], zero, without_effect)
    trained = worst(found["trained"], expected["trained"], expected["weights"], without_effect)
    return {"loss": float(loss), "gradient": float(gradient), "trained": float(trained)}


# ---------------------------------------------------------------------------------------------------------------- cases

HEAD = """epochs = 5
batch = 6
stem = [
%s
]
[data]
standardize = "%s"
[augment]
enabled = false
"""

COLUMN = """[column]
enabled = true
laminae = []
input = "%(input)s"
receptive_field = 0.4
masks = %(masks)s
skips = true
intra = true
inhibition = "%(inhibition)s"
gamma = 0.3
gamma_learned = true
shunt_floor = 0.5
layer_norm = %(layer_norm)s
noise = "none"
readout = %(readout)s
"""

LEARNING = """[learning]
mode = "%(mode)s"
optimizer = "%(optimizer)s"
learning_rate = %(rate)s
beta1 = 0.9
beta2 = 0.999
epsilon = %(epsilon)s
momentum = 0.9
weight_decay = %(decay)s
schedule = "%(schedule)s"
warmup_epochs = %(warmup)s
final_fraction = 0.01
label_smoothing = 0.1
clip_norm = %(clip)s
"""

PLASTICITY = """[plasticity]
rule = "%(rule)s"
rate = %(rate)s
cap = %(cap)s
hebb_decay = 0.5
bcm_tau_steps = 4.0
softwta_temperature = 0.5
scaling_rate = 0.01
intrinsic_rate = 0.02
target_rate = 0.4
rate_tau_steps = 4.0
centered = %(centered)s
"""

STEM = ["conv filters=3 kernel=5", "lateral_inhibition", "max_pool size=2", "relu", "conv filters=4 kernel=3",
        "max_pool size=3", "relu", "channel_attention reduction=2", "spatial_attention kernel=7"]
DEEP = ["conv filters=3 kernel=3", "batch_norm", "max_pool size=2", "relu", "conv filters=5 kernel=3", "batch_norm",
        "max_pool size=4", "relu", "dense units=10", "batch_norm", "relu"]
BASELINE = ["conv filters=2 kernel=5", "relu", "max_pool size=2", "conv filters=4 kernel=3", "relu", "max_pool size=5",
            "dense units=12", "relu", "dense units=9", "relu"]
FLAT = ["max_pool size=6", "dense units=9", "relu"]


def case(name, preset, stem, seed, *, standardize="image", cells=None, density=0.5, absent=(), column=None,
         learning=None, plasticity=None, without_effect=()):
    def entry(text):
        layer, *params = text.split()
        return "    { " + ", ".join([f'layer = "{layer}"'] + [p.replace("=", " = ") for p in params]) + " },"

    column = {"input": "dense", "masks": "true", "inhibition": "graded", "layer_norm": "true",
              "readout": "[]"} | (column or {})
    learning = {"mode": "backprop", "optimizer": "adamw", "rate": 0.01, "epsilon": 1e-8, "decay": 0.05,
                "schedule": "cosine", "warmup": 1.0, "clip": 1.0} | (learning or {})
    config = HEAD % ("\n".join(map(entry, stem)), standardize)
    config += COLUMN % column if cells else "[column]\nenabled = false\n"
    config += LEARNING % learning + PLASTICITY % ({"rule": "oja", "rate": 0.004, "cap": 0.6, "centered": "false"} | (plasticity or {}))
    made = {"case": name, "preset": preset, "config": config, "image_seed": seed, "images": 11, "weight_seed": seed,
            "without_effect": without_effect}
    if cells:
        made["connectome"] = connectome(np.random.default_rng(seed + 1000), cells, density, absent)
    return made


CELLS = {"L4": (6, 2), "L2/3": (8, 3), "L5": (5, 2), "L6": (7, 1)}
CASES = [
    # Everything of the preset but the Hebbian step.
    case("bionic", "bionic", STEM, 1, cells=CELLS, column={"readout": '["L6", "L5"]'}),
    # Oja's rule with cap, scaling and intrinsic step; the norm over the whole gradient is not clipped.
    case("bionic-hybrid", "bionic", STEM, 7, cells=CELLS, learning={"mode": "hybrid", "clip": 0.0}),
    # Dale's law after BCM; L6 without interneurons; those of L5 are driven by L4, not by L2/3.
    case("bionic-ei", "bionic-ei", STEM, 3, cells=CELLS | {"L6": (7, 0)}, absent={("L2/3E", "L5I")},
         column={"input": "retinotopic", "inhibition": "interneurons"},
         learning={"mode": "hybrid", "schedule": "constant", "warmup": 2.0}, plasticity={"rule": "bcm", "rate": 0.003}),
    # A bias has no effect before a batch norm: its gradient is rounding alone, and a large epsilon keeps Adam from
    # dividing rounding by rounding.
    case("deep", "deep", DEEP, 4, standardize="dataset", without_effect=["0.conv.bias", "4.conv.bias", "8.dense.bias"],
         learning={"optimizer": "adam", "epsilon": 1e-3, "schedule": "one-cycle", "rate": 0.02}),
    case("baseline", "baseline", BASELINE, 5, standardize="none", learning={"optimizer": "sgd", "rate": 0.05, "clip": 0.3}),
    # Hebbian all the way up to a supervised read-out: no gradient, masks, inhibition or norm in between.
    case("local", "bionic", FLAT, 6, cells=CELLS, learning={"mode": "local"},
         column={"masks": "false", "inhibition": "none", "layer_norm": "false"},
         plasticity={"rule": "softwta", "rate": 0.02}),
    # The subspace rule on centred activity, with masks, inhibition and norm; every step is as long as its cap lets it be.
    case("local-subspace", "local", FLAT, 8, cells=CELLS, learning={"mode": "local"},
         column={"input": "retinotopic", "readout": '["all"]'},
         plasticity={"rule": "subspace", "rate": 1.0, "cap": 0.02, "centered": "true"}),
]


def ingredients(config):
    """What a step is made of, one change each."""
    def put(group, **values):
        return lambda c: c[group].update(values)

    yield "smoothing", put("learning", label_smoothing=0.0)
    yield "weight decay", put("learning", weight_decay=0.0)
    yield "schedule", put("learning", schedule="constant", warmup_epochs=0.0)
    if config["learning"]["clip_norm"]:
        yield "clipping", put("learning", clip_norm=0.0)
    if config["learning"]["mode"] != "backprop":
        yield "Hebbian step", put("learning", mode="backprop")
        yield "scaling", put("plasticity", scaling_rate=0.0)
        yield "intrinsic step", put("plasticity", intrinsic_rate=0.0)
    if config["plasticity"]["centered"]:
        yield "centring", put("plasticity", centered=False)
    if config["learning"]["mode"] == "hybrid" or config["plasticity"]["rule"] == "subspace":
        yield "cap", put("plasticity", cap=1000.0)


def number(v):
    return np.format_float_positional(np.float32(v), trim="-") if abs(v) > 1e-4 or v == 0 else f"{np.float32(v):.8g}"


def lines(values):
    if isinstance(values, dict):
        return "{\n" + ",\n".join(f'    "{k}": {lines(v)}' for k, v in values.items()) + "\n  }"
    return "[" + ", ".join(number(v) for v in np.ravel(values)) + "]"


def main():
    folder = Path(__file__).parent.parent / "tests" / "golden"
    torch.set_num_threads(1)
    for c in CASES:
        out, exact = run(c, torch.float32), run(c, torch.float64)
        conditioning = difference(out, exact, c["without_effect"])
        print(c["case"], {k: float(f"{v:.1e}") for k, v in conditioning.items()}, "losses",
              [round(v, 3) for v in out["losses"]], "norms", [round(v, 2) for v in out["gradient_norms"]],
              "Hebbian steps capped: %d of %d" % out["capped"])
        for name, change in ingredients(tomllib.loads(c["config"])):
            seen = difference(run(c, torch.float32, change), out, c["without_effect"])["trained"]
            print(f"  without {name}: {seen:.3f}")
            assert seen > VISIBLE, f"{c['case']}: {name} cannot be seen"
        if any(e["dale"] for _, layer in network(tomllib.loads(c["config"]), c.get("connectome"), c["weight_seed"])
               for e in layer.tensors.values()):
            seen = difference(run(c | {"without_dale": True}, torch.float32), out, c["without_effect"])["trained"]
            print(f"  without Dale's law: {seen:.3f}")
            assert seen > VISIBLE, f"{c['case']}: Dale's law cannot be seen"
        keys = ["weights", "losses", "gradient", "trained", "buffers", "logits"]
        head = {k: json.dumps(v) for k, v in c.items() if k != "weight_seed"}
        head["conditioning"] = json.dumps({k: float(f"{v:.2e}") for k, v in conditioning.items()})
        text = ",\n".join([f'  "{k}": {v}' for k, v in head.items()] + [f'  "{k}": {lines(out[k])}' for k in keys])
        (folder / f"{c['case']}.json").write_text("{\n" + text + "\n}\n")


if __name__ == "__main__":
    main()
