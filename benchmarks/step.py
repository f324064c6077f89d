"""The training step: ours against a hand-written PyTorch loop, curricula against uniform, stacked against one by one.

    python benchmarks/step.py [--rounds 9] [--json benchmarks/results/step-DEVICE.json]

All variants of a row take turns in one process, on the same batches of real data (digits; CIFAR-10 if it is found in
the folder of TUTELAGE_DATA or beside the project, else noise of the same shape); a ratio is the median over rounds.
Memory is the peak of a process of its own for each variant.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from common import write_results
from tutelage import SGD, Adam, Batch, Student, train
from tutelage.allocator import keep_freed_memory
from tutelage.data import Augmentation, Normalise, Pipeline, from_arrays, load
from tutelage.mentors import MentorNetwork
from tutelage.nets import build
from tutelage.stacked import StackedStudent
from tutelage.teachers import CATALOGUE, Uniform
from tutelage.training import train_stacked

ROOT = Path(__file__).resolve().parents[1]
NETS = {
    "mlp": ("mlp", (1, 8, 8), lambda p: torch.optim.Adam(p, 1e-3), Adam(1e-3)),
    "small mlp": ("mlp-64-64", (1, 8, 8), lambda p: torch.optim.Adam(p, 1e-3), Adam(1e-3)),
    "cnn": ("cnn", (3, 32, 32), lambda p: torch.optim.Adam(p, 1e-3), Adam(1e-3)),
    "resnet20": (
        "resnet20",
        (3, 32, 32),
        lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, weight_decay=5e-4),
        SGD(0.01, momentum=0.9, weight_decay=5e-4),
    ),
}


def source(shape):
    if shape == (1, 8, 8):
        return load("digits").train
    folder = Path(os.environ.get("TUTELAGE_DATA", ROOT.parent / "shared" / "data"))
    if (folder / "cifar10-train.parquet").is_file():
        return load(folder / "cifar10-train.parquet").train
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (5000, *shape), dtype=torch.uint8, generator=generator)
    return from_arrays(x, torch.randint(10, (5000,), generator=generator), num_classes=10, name="noise")


def batches(shape, count, device, seed=0):
    """As many batches of 128 real examples, made beforehand: the step is measured, not the loader."""
    data = source(shape)
    rows = torch.arange(1280).numpy()
    scaling = Augmentation(Normalise.fit(data, rows))
    pipe = Pipeline.from_source(data, index=rows, seed=seed).shuffle().batch(128, drop_remainder=True)
    made = pipe.augment(scaling).repeat().batches(count, device=device)
    return [Batch(b.x, b.y, b.index, 0.5) for b in made]


def plain_loop(name, data, device):
    """What everybody writes; yields after every step."""
    kind, shape, optimiser, _ = NETS[name]
    net = build(kind, shape, 10).to(device)
    optimiser = optimiser(net.parameters())
    for batch in data:
        optimiser.zero_grad()
        loss = F.cross_entropy(net(batch.x), batch.y)
        loss.backward()
        optimiser.step()
        loss.item() if device.type == "cpu" else None
        yield


def our_loop(name, data, device, teacher=None):
    kind, shape, _, rule = NETS[name]
    student = Student(build(kind, shape, 10).to(device), rule)
    return train(student, (teacher or Uniform()).to(device), data)


def gates(device):
    """The two cells of a mentor against the LSTM module that they stand for."""
    loss, difference = torch.rand(128, device=device), torch.rand(128, device=device)
    network = MentorNetwork(seed=0).to(device)
    lstm = torch.nn.LSTM(2, 1, bidirectional=True).to(device)

    def cells():
        while True:
            with torch.no_grad():
                yield network.cells(loss, difference)

    def module():
        while True:
            with torch.no_grad():
                yield lstm(torch.stack((loss, difference), -1).unsqueeze(0))[1][1]

    return {"LSTM module": module(), "gate form": cells()}


def one_by_one(name, streams, device):
    loops = [our_loop(name, stream, device) for stream in streams]
    return zip(*loops)


def stacked(name, streams, device):
    kind, shape, _, rule = NETS[name]
    students = [Student(build(kind, shape, 10, seed=s).to(device), rule, seed=s) for s in range(len(streams))]
    return train_stacked(StackedStudent(students), [Uniform() for _ in streams], zip(*streams), [None] * len(streams))


def timed(loops, steps, rounds, device):
    """Seconds a step of each loop: they take turns, ``steps`` at a time; the first turn is for warming up."""
    seconds = {name: [] for name in loops}
    for turn in range(rounds + 1):
        for name, loop in loops.items():
            _wait(device)
            start = time.perf_counter()
            for _ in range(steps):
                next(loop)
            _wait(device)
            if turn:
                seconds[name].append((time.perf_counter() - start) / steps)
    return seconds


def _wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def endless(data):
    while True:
        yield from data


def speed(rounds, device):
    """Rows: what, against what, ratio of speeds, target, milliseconds of both."""
    rows = []

    def compare(title, loops, base, steps, target, quotient=1.0):
        seconds = timed(loops, steps, rounds, device)
        for name, values in seconds.items():
            if name != base:
                ratio = statistics.median(b / (v * quotient) for b, v in zip(seconds[base], values))
                needed = target[name] if isinstance(target, dict) else target
                times = [1e3 * statistics.median(v) for v in (seconds[base], values)]
                rows.append((f"{title}: {name} / {base}", ratio, needed, *times))

    for name, steps in (("mlp", 60), ("resnet20", 2 if device.type == "cpu" else 20)):
        data = batches(NETS[name][1], 10, device)
        few = min(rounds, 5) if name == "resnet20" and device.type == "cpu" else rounds
        rounds, kept = few, rounds
        loops = {
            "plain PyTorch": plain_loop(name, endless(data), device),
            "ours": our_loop(name, endless(data), device),
        }
        compare(name, loops, "plain PyTorch", steps, 0.95)
        loops = {"uniform": our_loop(name, endless(data), device)}
        written = [n for n in CATALOGUE if n not in ("uniform", "mentornet-pd")]
        loops |= {n: our_loop(name, endless(data), device, CATALOGUE[n]()) for n in written}
        compare(name, loops, "uniform", steps, 0.95 if name == "resnet20" else 0.85)
        rounds = kept
    for name, steps, target in (("mlp", 60, 0.74), ("cnn", 2 if device.type == "cpu" else 20, 0.91)):
        data = batches(NETS[name][1], 10, device)
        loops = {
            "plain PyTorch": plain_loop(name, endless(data), device),
            "mentornet-pd": our_loop(name, endless(data), device, CATALOGUE["mentornet-pd"]()),
        }
        compare(name, loops, "plain PyTorch", steps, target)
    compare("weights of 128 examples", gates(device), "LSTM module", 200, 1.43)
    for name in ("small mlp", "mlp"):
        streams = [batches((1, 8, 8), 10, device, seed=s) for s in range(8)]
        loops = {
            "one by one": one_by_one(name, [endless(s) for s in streams], device),
            "stacked": stacked(name, [endless(s) for s in streams], device),
        }
        compare(f"8 seeds of the {name}", loops, "one by one", 15, 2.0)
    return rows


def peak(name, variant, device):
    """Peak memory in MiB above what is in use before the first step."""
    data = batches(NETS[name][1], 4 if name == "resnet20" else 200, device)
    loop = plain_loop if variant == "plain" else our_loop
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        for _ in loop(name, data, device):
            pass
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts again from what is resident now
    before = _resident("VmHWM")
    for _ in loop(name, data, device):
        pass
    return (_resident("VmHWM") - before) / 2**10


def _resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def memory(device):
    rows = []
    for name in ("mlp", "resnet20"):
        found = {}
        for variant in ("plain", "ours"):
            call = [sys.executable, __file__, "--peak", f"{name}/{variant}", "--device", str(device)]
            runs = [subprocess.run(call, capture_output=True, text=True, check=True).stdout for _ in range(3)]
            found[variant] = statistics.median(float(run) for run in runs)
        rows.append((f"{name}: peak memory, ours / plain", found["ours"] / found["plain"], *found.values()))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as the command line does; for all variants alike
    device = torch.device(options.device)
    if options.peak:
        print(peak(*options.peak.split("/"), device))
        return
    table = Table("comparison", "speed ratio", "target", "", "base ms", "ms", title="training step, batch 128")
    speeds = speed(options.rounds, device)
    for title, ratio, target, base, ms in speeds:
        table.add_row(
            title, f"{ratio:.2f}", f">= {target}", "ok" if ratio >= target else "MISSED", f"{base:.2f}", f"{ms:.2f}"
        )
    memories = memory(device)
    for title, ratio, plain, ours in memories:
        table.add_row(
            title, f"{ratio:.2f}", "<= 1.1", "ok" if ratio <= 1.1 else "MISSED", f"{plain:.0f} MiB", f"{ours:.0f} MiB"
        )
    Console(width=110).print(table)
    if options.json:
        speed_rows = [dict(zip(("what", "ratio", "target", "base_ms", "ms"), row)) for row in speeds]
        memory_rows = [dict(zip(("what", "ratio", "plain_mib", "ours_mib"), row)) for row in memories]
        write_results(options.json, device, threads=options.threads, speed=speed_rows, memory=memory_rows)


if __name__ == "__main__":
    main()
