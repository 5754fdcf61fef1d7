#!/usr/bin/env python3
"""Speed and memory beside PyTorch and ONNX Runtime on this machine: a table in Markdown, and all numbers as JSON.

usage: tools/speed.py --python PYTHON [--pairs 5] [--seconds 4] [--only WORD] [--data fer2013.csv --connectome DIR] [--json FILE]
PYTHON has torch, onnx, onnxruntime and numpy (tools/peers.py); this file needs the standard library alone.

Both sides are measured in turn, A B A B, in one run; a row gives the median of the ratios of neighbours, their range, the
median of each side, and how much of the goal is reached (1.00 is all of it). Training steps are whole (images with
augmentation, forward, backward, optimizer), f32, the same batch and threads. PyTorch is first tried with each of the
settings below for a moment and then measured with the fastest; "standard layout" is one of them, fused Adam and nothing more.
Nothing else may run on the machine.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = str(ROOT / "tools" / "peers.py")
# One heap that is never given back, in huge pages: PyTorch allocates its activations anew in every step.
HEAP = ("glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592:glibc.malloc.hugetlb=1")
SETTINGS = [[], ["fused"], ["foreach"], ["fused", "flush"], ["fused", "channels_last"], ["fused", "channels_last", "flush"]]
# Name, preset, batch, threads, mode, peer, goal.
RATES = [
    ("train `bionic`, batch 32, 2 threads", "bionic", 32, 2, "train", "torch", 6),
    ("train `baseline`, batch 32, 2 threads", "baseline", 32, 2, "train", "torch", 5),
    ("train `bionic`, PyTorch in the standard layout", "bionic", 32, 2, "train", "torch-standard", None),
    ("train `baseline`, PyTorch in the standard layout", "baseline", 32, 2, "train", "torch-standard", None),
    ("train `deep`, batch 64, 2 threads", "deep", 64, 2, "train", "torch", 1.4),
    ("train `deep`, batch 64, 2 threads, both in bf16", "deep", 64, 2, "train", "torch-bf16", 1),
    ("classify with `bionic`, batch 1, 1 thread", "bionic", 1, 1, "infer", "torch", 12),
    ("the same", "bionic", 1, 1, "infer", "onnx", 2),
    ("classify with `bionic`, batch 128, 2 threads", "bionic", 128, 2, "infer", "torch", 6),
    ("classify with `deep`, batch 1, 1 thread", "deep", 1, 1, "infer", "onnx", 1.3),
    ("classify with `deep`, batch 128, 2 threads", "deep", 128, 2, "infer", "onnx", 1.15),
]


def run(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def build():
    """The program and the bench that steps, compiled."""
    cargo = ["cargo", "build", "--release", "--locked"]
    run(cargo, cwd=ROOT)
    lines = run(["cargo", "bench", "--bench", "steps", "--no-run", "--locked", "--message-format=json"], cwd=ROOT)
    found = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    steps = [m["executable"] for m in found if m.get("target", {}).get("name") == "steps" and m.get("executable")]
    binary = [m["target_directory"] for m in [json.loads(run(["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=ROOT))]]
    return str(pathlib.Path(binary[0]) / "release" / "bionic-cpu"), steps[-1]


class Sides:
    """Runs one side or the other."""

    def __init__(self, args, program, steps):
        self.args, self.program, self.steps = args, program, steps

    def ours(self, preset, batch, threads, mode, seconds, precision="f32"):
        return json.loads(run([self.steps, preset, str(batch), str(threads), str(seconds), mode, precision]))

    def peer(self, kind, preset, batch, threads, mode, seconds, settings=(), heap=False):
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), **({"GLIBC_TUNABLES": HEAP} if heap else {}))
        command = [self.args.python, PEERS, kind, preset, str(batch), str(threads), str(seconds), mode, *settings]
        return json.loads(run(command, env=environment).splitlines()[-1])

    def fastest(self, kind, preset, batch, threads, mode):
        """Settings and heap with which the peer is fastest."""
        if kind == "onnx":
            return "onnx", [], False
        if kind == "torch-standard":
            return "torch", ["fused"], False
        tried = [s for s in SETTINGS if mode == "train" or not {"fused", "foreach"} & set(s) or s == ["fused", "channels_last"]]
        if kind == "torch-bf16":
            tried = [s + ["bf16"] for s in tried]
        rated = [(self.peer("torch", preset, batch, threads, mode, 1.5, s, heap)["median"], s, heap)
                 for s in tried for heap in (False, True)]
        _, settings, heap = max(rated, key=lambda r: r[0])
        return "torch", settings, heap


def row(name, goal, ours, theirs, unit, more_is_better=True, **more):
    """A row of the table from pairs measured in turn."""
    ratios = [a / b if more_is_better else b / a for a, b in zip(ours, theirs)]
    median = statistics.median(ratios)
    return {"name": name, "unit": unit, "ratio": median, "least": min(ratios), "most": max(ratios),
            "ours": statistics.median(ours), "theirs": statistics.median(theirs), "goal": f"{goal} x" if goal else "-",
            "reached": median / goal if goal else None, "pairs": list(zip(ours, theirs)), **more}


def limit(name, most, ours, theirs, unit, **more):
    """A row whose goal is a figure of our side, not a ratio."""
    made = row(name, None, ours, theirs or ours, unit, more_is_better=False, **more)
    if not theirs:
        made.update(ratio=None, least=None, most=None, theirs=None)
    made.update(goal=f"<= {most} {unit}", reached=most / made["ours"])
    return made


def rates(sides, args):
    for name, preset, batch, threads, mode, peer, goal in RATES:
        if args.only and args.only not in name:
            continue
        kind, settings, heap = sides.fastest(peer, preset, batch, threads, mode)
        precision = "bf16" if peer == "torch-bf16" else "f32"
        ours, theirs = [], []
        for _ in range(args.pairs):
            ours.append(sides.ours(preset, batch, threads, mode, args.seconds, precision)["median"])
            theirs.append(sides.peer(kind, preset, batch, threads, mode, args.seconds, settings, heap)["median"])
        yield row(name, goal, ours, theirs, "images/s", peer=kind, settings=settings + (["heap"] if heap else []))


def first_step(sides, folder):
    """Seconds from the start of the process until its first state is saved: the last thing before the first step, which draws
    its 32 faces (1 ms) and itself takes less than 10 ms. The peer's time includes its first eight steps."""
    out = pathlib.Path(folder) / "start"
    shutil.rmtree(out, ignore_errors=True)
    begin = time.perf_counter()
    process = subprocess.Popen([sides.program, "train", "--out", str(out), "-q"], stdout=subprocess.DEVNULL)
    while not (out / "state.bcw").exists():
        time.sleep(0.0005)
        if process.poll() is not None:
            sys.exit("train ended at once")
    took = time.perf_counter() - begin
    process.send_signal(signal.SIGKILL)
    process.wait()
    return took


def timed(command, **more):
    begin = time.perf_counter()
    run(command, **more)
    return time.perf_counter() - begin


def first_output(command):
    """Seconds from the start of the process to the first byte it prints; nothing but the spawning call in between."""
    reading, writing = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    command = [shutil.which(command[0]) or command[0], *map(str, command[1:])]
    begin = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
    os.close(writing)
    first = os.read(reading, 1)
    took = time.perf_counter() - begin
    while os.read(reading, 4096):
        pass
    os.close(reading)
    if os.waitpid(process, 0)[1] != 0 or not first:
        sys.exit(f"{' '.join(command)} failed")
    return took


def png(path):
    """A grey square as a PNG file."""
    import struct
    import zlib
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes((5 * x + 3 * y) % 256 for x in range(48)) for y in range(48))
    header = struct.pack(">IIBBBBB", 48, 48, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def starts(sides, args, folder):
    python, folder = args.python, pathlib.Path(folder)
    ours, theirs, imports = [], [], []
    for _ in range(args.pairs):
        ours.append(first_step(sides, folder))
        theirs.append(timed([python, PEERS, "torch-first-step"]))
        imports.append(timed([python, PEERS, "torch-import"]))
    yield limit("start to first training step, drawn faces", 0.1, ours, theirs, "s", torch_import=statistics.median(imports))
    trained, face, model = folder / "trained", folder / "face.png", folder / "bionic.onnx"
    run([sides.program, "train", "--out", str(trained), "--epochs", "1", "-q"])
    png(face)
    run([python, PEERS, "onnx-save", "bionic", str(model)])
    ours, theirs = [], []
    for _ in range(4 * args.pairs):
        ours.append(first_output([sides.program, "predict", str(trained), str(face)]))
        theirs.append(first_output([python, PEERS, "onnx-first", str(model)]))
    yield limit("start to first prediction", 0.01, ours, theirs, "s")


def peak_memory(command):
    """Peak resident memory of a child process, MB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    return usage.ru_maxrss / 1024 if status == 0 else sys.exit(f"{command}: status {status}")


def memory(sides, args, folder):
    ours = [peak_memory([sides.program, "train", "--data", args.data, "--connectome", args.connectome, "--epochs", "1", "-q",
                         "--out", str(pathlib.Path(folder) / "memory")])]
    theirs = [peak_memory([args.python, PEERS, "torch-first-step"])]
    yield limit("peak memory, training FER-2013 (peer: without its images)", 200, ours, theirs, "MB")
    yield limit("the same beside the 83 MB of pixels", 64, [v - 83 for v in ours], None, "MB")


def beside_another(sides, args):
    """How much of its speed each side keeps while another process keeps one core busy, and how much of its images per second
    of processor time: all of these if it slows in proportion to the processor time that it loses. Four times as long as
    other rows: our side takes half a second to see that it has company."""
    seconds = 4 * args.seconds
    busy = [sys.executable, "-c", "while True: pass"]
    kept, of_its_time = {}, {}
    for side in ("ours", "torch"):
        measure = (lambda: sides.ours("bionic", 32, 2, "train", seconds)) if side == "ours" else (
            lambda: sides.peer("torch", "bionic", 32, 2, "train", seconds, ["fused"], True))
        kept[side], of_its_time[side] = [], []
        for _ in range(args.pairs):
            alone = measure()
            other = subprocess.Popen(busy)
            try:
                beside = measure()
            finally:
                other.kill()
                other.wait()
            kept[side].append(beside["mean"] / alone["mean"])
            of_its_time[side].append(kept[side][-1] * alone["processors"] / beside["processors"])
    yield row("speed kept beside a busy process (2 threads, 2 cores)", None, kept["ours"], kept["torch"], "of it alone")
    made = row("images per second of processor time, beside it", None, of_its_time["ours"], of_its_time["torch"], "of it alone")
    yield {**made, "goal": ">= 1", "reached": made["ours"]}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--python", required=True)
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--seconds", type=float, default=4)
    p.add_argument("--only", help="rows whose name has this word, or: starts, memory, beside")
    p.add_argument("--data")
    p.add_argument("--connectome", default="column")
    p.add_argument("--json", type=pathlib.Path)
    args = p.parse_args()
    sides, rows = Sides(args, *build()), []
    show = lambda v: "-" if v is None else f"{v:,.0f}" if v >= 100 else f"{v:.3g}"
    print("| work | unit | here | peer | ratio (least to most) | goal | reached |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        parts = [("", lambda: rates(sides, args)), ("starts", lambda: starts(sides, args, folder)),
                 ("beside", lambda: beside_another(sides, args))]
        if args.data:
            parts.append(("memory", lambda: memory(sides, args, folder)))
        for part, make in parts:
            if args.only and part and args.only != part:
                continue
            for r in make():
                rows.append(r)
                span = "-" if r["ratio"] is None else f"{r['ratio']:.2f} ({r['least']:.2f} to {r['most']:.2f})"
                peer = " ".join([r.get("peer", ""), *r.get("settings", [])]).strip()
                print(f"| {r['name']} | {r['unit']} | {show(r['ours'])} | {show(r['theirs'])}{' ' + peer if peer else ''} "
                      f"| {span} | {r['goal']} | {show(r['reached'])} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
