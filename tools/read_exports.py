#!/usr/bin/env python3
"""Reads every export of a run with other programs, and compares: the weights among the formats, bit for bit, and the
probabilities of the ONNX graph with those of `bionic-cpu predict --json`, within 1e-5.

    pip install numpy scipy safetensors onnx onnxruntime pillow
    tools/read_exports.py RUN [path of bionic-cpu, default: the one on the path]

It writes into a folder of its own, which it removes, and prints one line per check.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import scipy.io
import scipy.sparse
from PIL import Image
from onnx import numpy_helper
from safetensors import safe_open

IMAGES = 12
TOLERANCE = 1e-5


def call(program, *args):
    """The JSON answer of the program."""
    return json.loads(subprocess.run([program, *map(str, args), "--json"], check=True, capture_output=True).stdout)


def csr(values, columns, starts, shape):
    """The sparse matrix as one that still holds stored zeros."""
    matrix = scipy.sparse.csr_matrix((values, columns, starts), shape=tuple(shape))
    matrix.check_format(full_check=True)
    return matrix


def read_safetensors(path):
    arrays = {}
    with safe_open(path, framework="numpy") as f:
        names, metadata = set(f.keys()), f.metadata()
        for name in names:
            base = name.removesuffix(".values")
            if base != name and base + ".row_offsets" in names:
                parts = [f.get_tensor(base + end) for end in (".values", ".column_indices", ".row_offsets")]
                arrays[base] = csr(*parts, json.loads(metadata[base + ".shape"]))
            elif not name.endswith((".column_indices", ".row_offsets")):
                arrays[name] = f.get_tensor(name)
    return arrays, json.loads(metadata["classes"])


def read_npz(path):
    arrays = {}
    with np.load(path) as z:
        for name in z.files:
            base = name.removesuffix(".data")
            if base != name and base + ".indptr" in z.files:
                arrays[base] = csr(*(z[base + end] for end in (".data", ".indices", ".indptr", ".shape")))
            elif name != "metadata" and not name.endswith((".indices", ".indptr", ".shape")):
                arrays[name] = z[name]
        classes = json.loads(z["metadata"].item())["classes"]
    return arrays, classes


def read_mtx(folder):
    metadata = json.loads((folder / "metadata.json").read_text())
    arrays = {}
    for entry in metadata["arrays"]:
        matrix = scipy.io.mmread(folder / entry["file"])
        if entry["sparse"]:
            assert scipy.sparse.issparse(matrix) and list(matrix.shape) == entry["shape"]
            arrays[entry["name"]] = matrix.tocsr().astype(np.float32)
        else:
            arrays[entry["name"]] = matrix.astype(np.float32).reshape(entry["shape"])
    return arrays, metadata["classes"]


def read_onnx(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    metadata = {p.key: p.value for p in model.metadata_props}
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}, json.loads(metadata["classes"])


def bits(array):
    """Places and bits of what is stored, all of it for a dense array."""
    if scipy.sparse.issparse(array):
        coo = array.tocoo()
        order = np.lexsort((coo.col, coo.row))
        return [np.array(coo.shape), coo.row[order], coo.col[order], coo.data[order].view(np.uint32)]
    return [np.array(array.shape), np.ascontiguousarray(array).reshape(-1).view(np.uint32)]


def same(a, b):
    x, y = bits(a), bits(b)
    return a.dtype == b.dtype == np.float32 and len(x) == len(y) and all(map(np.array_equal, x, y))


def compare_weights(reference, others, onnx_arrays):
    for format, arrays in others.items():
        assert arrays.keys() == reference.keys(), f"{format}: other names"
        differing = [name for name, array in arrays.items() if not same(array, reference[name])]
        assert not differing, f"{format} differs: {differing}"
        print(f"{format}: {len(arrays)} arrays, the bits of safetensors")
    # A graph may shape an array as its operator wants it; the order of the values stays.
    for name, array in reference.items():
        array = array.toarray() if scipy.sparse.issparse(array) else array
        assert same(array.reshape(-1), onnx_arrays[name].reshape(-1)), f"onnx differs: {name}"
    print(f"onnx: {len(reference)} arrays, the bits of safetensors")


def images(folder):
    """Noise of several contrasts, a gradient, and a black image, as PNG files and as the input of the graph.

    A blank image of another grey level shows nothing: its deviations from the mean are rounding errors in `predict`, which
    the column's LayerNorm enlarges, and exact zeros in the graph.
    """
    rng = np.random.default_rng(1)
    faces = []
    for i in range(IMAGES - 2):
        coarse = rng.normal(128, 8 * (i + 1), (6, 6))
        faces.append(np.kron(coarse, np.ones((8, 8))) + rng.normal(0, 8, (48, 48)))
    faces.append(np.add.outer(np.arange(48), np.arange(48)) * 2.5)
    faces.append(np.zeros((48, 48)))
    faces = np.clip(np.round(faces), 0, 255).astype(np.uint8)
    paths = [folder / f"{i}.png" for i in range(len(faces))]
    for path, face in zip(paths, faces):
        Image.fromarray(face).save(path)
    return paths, faces[:, None].astype(np.float32)


def compare_probabilities(program, run, path, classes, folder):
    paths, batch = images(folder)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(["probabilities"], {"image": batch})[0]
    single = np.concatenate([session.run(["probabilities"], {"image": x[None]})[0] for x in batch])
    answer = call(program, "predict", run, *paths)["predictions"]
    expected = np.array([[p["probabilities"][c] for c in classes] for p in answer])
    worst = max(np.abs(found - expected).max(), np.abs(single - expected).max())
    spread = expected.max(axis=0) - expected.min(axis=0)
    assert spread.max() > 1e-3, "the images are not told apart: nothing is shown"
    assert worst < TOLERANCE, f"onnxruntime differs from predict by {worst}"
    print(f"onnxruntime: {len(paths)} images, at most {worst:.1e} from predict (spread of a class {spread.max():.2f})")


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    run, program = sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "bionic-cpu"
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        paths = {format: folder / f"x.{format}" for format in ("safetensors", "npz", "mtx", "onnx")}
        for format, path in paths.items():
            call(program, "export", run, "--to", format, "--out", path)
        reference, classes = read_safetensors(paths["safetensors"])
        onnx_arrays, onnx_classes = read_onnx(paths["onnx"])
        npz, npz_classes = read_npz(paths["npz"])
        mtx, mtx_classes = read_mtx(paths["mtx"])
        assert classes == onnx_classes == npz_classes == mtx_classes
        compare_weights(reference, {"npz": npz, "mtx": mtx}, onnx_arrays)
        compare_probabilities(program, run, paths["onnx"], classes, folder)


if __name__ == "__main__":
    main()
