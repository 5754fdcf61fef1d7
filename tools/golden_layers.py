"""The layers of the network in PyTorch, written from their equations, for tools/golden.py.

A masked tensor is a dense weight times its mask; autograd gives the gradients.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F

SIDE, CLASSES = 48, 7
FROM_INPUT = ["L4", "L2/3", "L5", "L6"]


class Layer(torch.nn.Module):
    """Named tensors of one layer; `mask` of those that are stored by synapse, `dale` of those never below zero."""

    def __init__(self):
        super().__init__()
        self.tensors, self.buffer_names, self.sites = {}, [], []

    def add(self, name, values, decayed=False, mask=None, dale=False):
        values = np.round(values, 4)
        if dale:
            values = np.abs(values)
        values = torch.tensor(values if mask is None else values * mask)
        self.tensors[name] = {"decayed": decayed, "mask": mask, "dale": dale, "key": f"t{len(self.tensors)}"}
        self.register_parameter(self.tensors[name]["key"], torch.nn.Parameter(values))

    def __getitem__(self, name):
        return getattr(self, self.tensors[name]["key"])

    def project(self, name, x):
        """(mask * weight) x."""
        w, mask = self[name], self.tensors[name]["mask"]
        return F.linear(x, w if mask is None else w * torch.tensor(mask, dtype=w.dtype))


class Conv(Layer):
    def __init__(self, rng, p, shape):
        super().__init__()
        k, c = p["kernel"], shape[0]
        self.add("weight", rng.normal(0, (2 / (c * k * k)) ** 0.5, (p["filters"], c, k, k)), decayed=True)
        self.add("bias", rng.normal(0, 0.1, p["filters"]))
        self.shape = (p["filters"], *shape[1:])

    def forward(self, x):
        return F.conv2d(x, self["weight"], self["bias"], padding=self["weight"].shape[-1] // 2)


class LateralInhibition(Layer):
    """y = x - strength_c * mean of the 8 neighbours, zero outside the image."""

    def __init__(self, rng, p, shape):
        super().__init__()
        self.shape = shape
        self.add("strength", rng.normal(0.2, 0.05, shape[0]))

    def forward(self, x):
        ring = torch.ones(3, 3, dtype=x.dtype)
        ring[1, 1] = 0
        surround = F.conv2d(x, ring.expand(x.shape[1], 1, 3, 3) / 8, padding=1, groups=x.shape[1])
        return x - self["strength"][:, None, None] * surround


class MaxPool(Layer):
    def __init__(self, rng, p, shape):
        super().__init__()
        self.size = p["size"]
        self.shape = (shape[0], shape[1] // self.size, shape[2] // self.size)

    def forward(self, x):
        return F.max_pool2d(x, self.size)


class Relu(Layer):
    def __init__(self, rng, p, shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.relu()


class ChannelAttention(Layer):
    """CBAM, equation 2."""

    def __init__(self, rng, p, shape):
        super().__init__()
        self.shape, c, j = shape, shape[0], max(shape[0] // p["reduction"], 1)
        self.add("squeeze", rng.normal(0, (2 / c) ** 0.5, (j, c)), decayed=True)
        self.add("squeeze_bias", rng.normal(0.2, 0.1, j))
        self.add("excite", rng.normal(0, (2 / j) ** 0.5, (c, j)), decayed=True)
        self.add("excite_bias", rng.normal(0, 0.1, c))

    def mlp(self, pool):
        hidden = F.linear(pool, self["squeeze"], self["squeeze_bias"]).relu()
        return F.linear(hidden, self["excite"], self["excite_bias"])

    def forward(self, x):
        flat = x.flatten(2)
        gate = torch.sigmoid(self.mlp(flat.mean(2)) + self.mlp(flat.max(2).values))
        return x * gate[:, :, None, None]


class SpatialAttention(Layer):
    """CBAM, equation 3."""

    def __init__(self, rng, p, shape):
        super().__init__()
        self.shape, self.k = shape, p["kernel"]
        self.add("filter", rng.normal(0, 1 / self.k, (2, self.k, self.k)), decayed=True)
        self.add("bias", rng.normal(0, 0.1, 1))

    def forward(self, x):
        pools = torch.stack([x.mean(1), x.max(1).values], 1)
        return x * torch.sigmoid(F.conv2d(pools, self["filter"][None], self["bias"], padding=self.k // 2))


class BatchNorm(Layer):
    def __init__(self, rng, p, shape):
        super().__init__()
        self.shape, self.buffer_names = shape, ["mean", "var"]
        self.add("gain", rng.normal(1, 0.2, shape[0]))
        self.add("bias", rng.normal(0, 0.2, shape[0]))
        self.register_buffer("mean", torch.zeros(shape[0], dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape[0], dtype=torch.float64))

    def forward(self, x):
        return F.batch_norm(x, self.mean, self.var, self["gain"], self["bias"], self.training, 0.1, 1e-5)


class Dense(Layer):
    def __init__(self, rng, p, shape):
        super().__init__()
        n = math.prod(shape)
        self.add("weight", rng.normal(0, n**-0.5, (p["units"], n)), decayed=True)
        self.add("bias", rng.normal(0, 0.1, p["units"]))
        self.shape = (p["units"],)

    def forward(self, x):
        x = x.flatten(1)
        y = F.linear(x, self["weight"], self["bias"])
        self.sites = [("weight", "bias", False, x, F.relu(y))]
        return y


class Column(Layer):
    """u = b + sum W x, u' = u + W_intra relu(u), v = inhibit(u'), y = relu(LayerNorm(v)), lamina by lamina."""

    def __init__(self, rng, c, wiring, shape):
        super().__init__()
        self.c, self.rng, self.input = c, rng, shape
        neurons = wiring["neurons"]
        count = np.zeros((len(neurons),) * 2)
        for pre, post, n in wiring["connections"]:
            count[post, pre] = n
        inhibitory = [i for i, n in enumerate(neurons) if n[3] == "I"]
        excitatory = [i for i, n in enumerate(neurons) if n[3] == "E" and not n[1].startswith("Unsure")]
        dale = c["inhibition"] == "interneurons"
        self.laminae = []
        cells = {name: [i for i in excitatory if neurons[i][2] == name] for name in FROM_INPUT}
        for name in FROM_INPUT:
            post, earlier = cells[name], self.laminae[::-1] if c["skips"] else self.laminae[:-2:-1]
            lamina = {"name": name, "into": [], "into_i": [], "intra": None, "i_intra": None, "i": False}
            if not self.laminae:
                lamina["into"].append((None, self.projection(f"input->{name}", self.features(post, neurons), dale)))
            for other in earlier:
                mask = count[np.ix_(post, cells[other["name"]])] > 0
                self.maybe(lamina["into"], other["name"], f"{other['name']}->{name}", mask, dale)
            if c["intra"]:
                mask = count[np.ix_(post, post)] > 0
                lamina["intra"] = self.maybe([], name, f"{name}->{name}", mask, dale, autapses=False)
            if c["inhibition"] == "graded":
                dose = count[np.ix_(post, inhibitory)].sum(1)
                lamina["dose"] = torch.tensor(dose / max(dose.max(), 1))
                self.add(f"{name}.gamma", np.full(1, c["gamma"]))
            local = [i for i in inhibitory if neurons[i][2] == name]
            onto = count[np.ix_(post, local)] > 0
            if dale and onto.any():
                lamina["i"] = True
                if not self.laminae:
                    into_i = self.projection(f"input->{name} I", self.features(local, neurons), True)
                    lamina["into_i"].append((None, into_i))
                for other in earlier:
                    mask = count[np.ix_(local, cells[other["name"]])] > 0
                    self.maybe(lamina["into_i"], other["name"], f"{other['name']}->{name} I", mask, True)
                mask = count[np.ix_(local, post)] > 0
                lamina["i_intra"] = self.maybe([], name, f"{name}->{name} I", mask, True)
                self.projection(f"{name} I->{name}", onto, True)
                self.add(f"{name}.gain", rng.normal(1, 0.2, len(post)))
                self.add(f"{name}.alpha", rng.normal(0, 0.2, len(post)))
            self.add(f"{name}.bias", rng.normal(0, 0.2, len(post)))
            if c["layer_norm"]:
                self.add(f"{name}.norm_gain", rng.normal(1, 0.2, len(post)))
                self.add(f"{name}.norm_bias", rng.normal(0.1, 0.2, len(post)))
            self.laminae.append(lamina)
        self.readout = FROM_INPUT if c["readout"] == ["all"] else c["readout"] or FROM_INPUT[-1:]
        self.shape = (sum(len(cells[name]) for name in self.readout),)

    def projection(self, name, mask, dale):
        sd = 0.8 * max(mask.sum(1).mean(), 1) ** -0.5
        self.add(name, self.rng.normal(0, sd, mask.shape), decayed=True, mask=mask.astype(float), dale=dale)
        return name

    def maybe(self, into, source, name, mask, dale, autapses=True):
        if not self.c["masks"]:
            mask = np.ones(mask.shape, bool)
            if not autapses:
                np.fill_diagonal(mask, False)
        if not mask.any():
            return None
        into.append((source, self.projection(name, mask, dale)))
        return name

    def features(self, post, neurons):
        """Mask of the features: all, or the squares under the neurons' places (x and z) in the cortical sheet."""
        c, h, w = self.input if len(self.input) == 3 else (*self.input, 1, 1)
        if self.c["input"] == "dense":
            return np.ones((len(post), c * h * w), bool)
        place = np.array([neurons[i][4] for i in post])[:, [0, 2]]
        place = (place - place.min(0)) / np.ptp(place, 0)
        half = 0.5 * self.c["receptive_field"]

        def whole(v):
            assert abs(v % 1 - 0.5) > 1e-3, "a field ends half way between two pixels: choose another seed"
            return math.floor(v + 0.5)

        def span(centre, size):
            low = min(max(whole((centre - half) * size), 0), size - 1)
            return slice(low, min(max(whole((centre + half) * size), low + 1), size))

        mask = np.zeros((len(post), c, h, w), bool)
        for row, (x, z) in zip(mask, place):
            row[:, span(z, h), span(x, w)] = True
        return mask.reshape(len(post), -1)

    def drive(self, into, activity):
        return sum(self.project(name, activity[source]) for source, name in into)

    def forward(self, x):
        activity, self.sites = {None: x.flatten(1)}, []
        for l in self.laminae:
            name = l["name"]
            u = self.drive(l["into"], activity)
            if not l["i"]:
                u = u + self[f"{name}.bias"]
            first = u.relu()
            if l["intra"]:
                u = u + self.project(l["intra"], first)
            if self.c["inhibition"] == "graded":
                u = u * (1 - self[f"{name}.gamma"] * l["dose"].to(x.dtype))
            if l["i"]:
                h = self.drive(l["into_i"], activity)
                if l["i_intra"]:
                    h = h + self.project(l["i_intra"], first)
                s = self.project(f"{name} I->{name}", h)
                u = self[f"{name}.gain"] * (u - s) / (self[f"{name}.alpha"].exp() * s + self.c["shunt_floor"])
                u = u + self[f"{name}.bias"]
            if self.c["layer_norm"]:
                u = F.layer_norm(u, u.shape[1:], self[f"{name}.norm_gain"], self[f"{name}.norm_bias"], 1e-5)
            activity[name] = y = u.relu()
            bias = f"{name}.norm_bias" if self.c["layer_norm"] else f"{name}.bias"
            for source, projection in l["into"]:
                self.sites.append((projection, bias, source is not None and self.c["masks"], activity[source], y))
            if l["intra"]:
                self.sites.append((l["intra"], bias, self.c["masks"], first, y))
        return torch.cat([activity[name] for name in self.readout], 1)


KINDS = {"conv": Conv, "lateral_inhibition": LateralInhibition, "max_pool": MaxPool, "relu": Relu,
         "channel_attention": ChannelAttention, "spatial_attention": SpatialAttention, "batch_norm": BatchNorm,
         "dense": Dense}


def network(config, wiring, seed):
    """Layers by name, `<position>.<name>`."""
    rng, shape, layers = np.random.default_rng(seed), (1, SIDE, SIDE), []
    for p in config["stem"]:
        layers.append((p["layer"], KINDS[p["layer"]](rng, p, shape)))
        shape = layers[-1][1].shape
    if wiring:
        layers.append(("column", Column(rng, config["column"], wiring, shape)))
        shape = layers[-1][1].shape
    layers.append(("dense", Dense(rng, {"units": CLASSES}, shape)))
    return [(f"{i}.{name}", layer) for i, (name, layer) in enumerate(layers)]


def flat(layer, name, values):
    """A tensor as it is stored: row by row, of a masked one only the synapses."""
    mask = layer.tensors[name]["mask"] if name in layer.tensors else None
    dense = mask is None or name.startswith("input->") and mask.all()
    return (values if dense else values[torch.tensor(mask > 0)]).detach().flatten().double().numpy().copy()
