"""Meta pseudo labels: time and peak memory of each mode's step, against online distillation (no feedback).

    python benchmarks/pseudo_labels.py [--rounds 5] [--json benchmarks/results/pseudo-labels-DEVICE.json]

Teacher and student are the same network; a step is 64 unlabelled images in two views and 16 labelled ones, of CIFAR-10
if it is found in the folder of TUTELAGE_DATA or beside the project, else of noise of its shape. All modes take turns in
one process; a ratio is the median over rounds. Memory is the profiler's running maximum (on a GPU: the allocator's).
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import torch

from common import as_facts, print_ratios, write_results
from tutelage import SGD, Batch, Student, train
from tutelage.allocator import keep_freed_memory
from tutelage.data import load
from tutelage.memory import peak_bytes
from tutelage.nets import build
from tutelage.rules import Decay
from tutelage.semi_supervised import UDA
from tutelage.teachers import MetaPseudoLabels, UnsupervisedDataAugmentation

ROOT = Path(__file__).resolve().parents[1]
RULE = SGD(0.03, momentum=0.9, nesterov=True, weight_decay=Decay(5e-4, on="weights"))
TARGETS = {  # (time, memory), ratios to distil
    "UDA alone": (None, None),
    "hard-scalar": (1.2, None),
    "soft-fd": (1.4, None),
    "soft-jvp": (1.5, 1.3),
    "hard-per-sample": (1.6, 1.3),
    "soft-unroll": (2.5, None),
}


def images(device):
    folder = Path(os.environ.get("TUTELAGE_DATA", ROOT.parent / "shared" / "data"))
    if (folder / "cifar10-train.parquet").is_file():
        data = load(folder / "cifar10-train.parquet").train
        rows = torch.arange(2000)
        x, y = torch.as_tensor(data.x[rows.numpy()]), torch.as_tensor(data.y[rows.numpy()])
    else:
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(256, (2000, 3, 32, 32), dtype=torch.uint8, generator=generator)
        y = torch.randint(10, (2000,), generator=generator)
    return ((x.float() / 255 - 0.473) / 0.251).to(device), y.long().to(device)


def batches(device, unlabelled, labelled, count=8):
    """Made beforehand: the step is measured, not the loader. Views by mirroring and noise."""
    x, y = images(device)
    generator = torch.Generator().manual_seed(1)
    made = []
    for _ in range(count):
        rows = torch.randperm(len(x), generator=generator)[: unlabelled + labelled].to(device)
        u, own = rows[:unlabelled], rows[unlabelled:]
        views = {"weak": x[u], "strong": x[u].flip(-1) + 0.2 * torch.randn(x[u].shape, generator=generator).to(device)}
        made.append(Batch(x[u], torch.full_like(u, -1), u, 0.5, views=views, labelled=Batch(x[own], y[own], own)))
    return made


def endless(data):
    while True:
        yield from data


def loop(mode, net, data, device, report_every):
    def made(seed):
        return build(net, (3, 32, 32), 10, seed=seed).to(device)

    student = Student(made(1), RULE)
    if mode == "UDA alone":
        teacher = UnsupervisedDataAugmentation(UDA())
    else:
        teacher = MetaPseudoLabels(made(2), RULE, mode, uda=UDA(), report_every=report_every)
    return train(student, teacher.to(device), endless(data))


def timed(loops, rounds, steps, device):
    """Seconds a step of each loop, a list over rounds; they take turns, and the first turn is for warming up."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    seconds = {name: [] for name in loops}
    for turn in range(rounds + 1):
        for name, each in loops.items():
            start = clock()
            for _ in range(steps):
                next(each)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                seconds[name].append((clock() - start) / steps)
    return seconds


def compare(net, rounds, steps, unlabelled, labelled, device, report_every):
    """Rows: mode, time ratio, its target, memory ratio, its target, milliseconds, megabytes."""
    data = batches(device, unlabelled, labelled)
    loops = {mode: loop(mode, net, data, device, report_every) for mode in ("distil", *TARGETS)}
    times, rows = timed(loops, rounds, steps, device), []
    memory = {mode: peak_bytes(lambda each=each: next(each), device)[1] / 1e6 for mode, each in loops.items()}
    for mode, values in times.items():
        ratio = statistics.median(v / b for v, b in zip(values, times["distil"]))
        target = TARGETS.get(mode, (None, None))
        row = (mode, ratio, target[0], memory[mode] / memory["distil"], target[1])
        rows.append((*row, 1e3 * statistics.median(values), memory[mode]))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="a turn; default: 2 on a CPU, 20 on a GPU")
    parser.add_argument("--net", default="wrn-16-2")
    parser.add_argument("--unlabelled", type=int, default=64)
    parser.add_argument("--labelled", type=int, default=16)
    parser.add_argument("--report-every", type=int, default=50, help="as of the teacher")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    device = torch.device(options.device)
    steps = options.steps or (2 if device.type == "cpu" else 20)
    sizes = (options.unlabelled, options.labelled)
    rows = compare(options.net, options.rounds, steps, *sizes, device, options.report_every)
    title = f"{options.net}, {sizes[0]} unlabelled + {sizes[1]} labelled: ratios to distil"
    print_ratios("mode", title, rows)
    if options.json:
        facts = {"threads": options.threads, "net": options.net, "unlabelled": sizes[0], "labelled": sizes[1]}
        write_results(options.json, device, **facts, rows=as_facts("mode", rows))


if __name__ == "__main__":
    main()
