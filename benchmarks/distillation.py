"""Distillation: a step with a live teacher and with stored logits, against plain training; the file and its reading.

    python benchmarks/distillation.py [--rounds 7] [--json benchmarks/results/distillation-DEVICE.json]

Networks start at random, on 512 images of CIFAR-10 if it is found in the folder of TUTELAGE_DATA or beside the project,
else on noise of its shape. All variants take turns in one process; a ratio is the median over rounds. "live / sum" is a
live step against the sum of a plain step and one forward pass of the teacher without gradient. Memory is the
profiler's running maximum over a step (on a GPU: the allocator's).
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from common import as_facts, print_ratios, write_results
from tutelage import SGD, Student, train
from tutelage.allocator import keep_freed_memory
from tutelage.data import Augmentation, Normalise, Pipeline, from_arrays, load
from tutelage.frozen import Frozen
from tutelage.logit_cache import Storage, cached_logits
from tutelage.memory import peak_bytes
from tutelage.nets import build
from tutelage.soft_targets import KnowledgeDistillation
from tutelage.teachers import Distillation, Uniform

ROOT = Path(__file__).resolve().parents[1]
PAIRS = {"plain10-plain2": 64, "resnet56-resnet20": 16}
STORAGE = {
    "cached float16": Storage("float16"),
    "cached float32": Storage("float32"),
    "cached top 10": Storage("float16", top=10, temperatures=(4.0,)),
}


def source(rows, classes):
    """``rows`` images with labels below ``classes``: those of CIFAR-10 keep theirs."""
    file = Path(os.environ.get("TUTELAGE_DATA", ROOT.parent / "shared" / "data")) / "cifar10-train.parquet"
    if file.is_file():
        data = load(file).train
        return from_arrays(np.asarray(data.x[:rows]), np.asarray(data.y[:rows]), num_classes=classes, name="cifar10")
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (rows, 3, 32, 32), dtype=np.uint8)
    return from_arrays(x, generator.integers(0, 10, rows), num_classes=classes, name="noise")


def pipeline(data):
    scaling = Normalise.fit(data, np.arange(len(data)), "channel")
    return Pipeline.from_source(data, seed=0).augment(Augmentation(scaling))


def loops(pair, batch_size, rows, classes, device, folder):
    """A step of each variant, by name; batches are made beforehand: the step is measured, not the loader."""
    large, small = pair.split("-")
    data = pipeline(source(rows, classes))
    batches = list(data.batch(batch_size, drop_remainder=True).batches(device=device))
    frozen = Frozen(build(large, (3, 32, 32), classes, seed=1).to(device))
    loss = KnowledgeDistillation()

    def run(teacher):
        # learning rate 0: how long pooling takes depends on the activations, which variants would change differently
        student = Student(build(small, (3, 32, 32), classes, seed=2).to(device), SGD(0.0, momentum=0.9))
        return train(student, teacher, itertools.cycle(batches))

    found = {"plain": run(Uniform())}
    for name, storage in STORAGE.items():
        path = folder / f"{pair}-{name.replace(' ', '-')}.logits"
        logits = cached_logits(frozen, data, epochs=240, mode="force", path=path, storage=storage, device=device)
        found[name] = run(Distillation(logits, loss))
    found["live"] = run(Distillation(frozen, loss))
    if device.type == "cpu":
        found["live bfloat16"] = run(Distillation(Frozen(frozen.nets[0], precision=torch.bfloat16), loss))
    asked = itertools.cycle(batches)
    return found, lambda: frozen.answers(next(asked).x)


def timed(variants, rounds, steps, device):
    """Seconds of a call of each variant, a list over rounds; they take turns, and the first turn is for warming up."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    seconds = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, call in variants.items():
            start = clock()
            for _ in range(steps):
                call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                seconds[name].append((clock() - start) / steps)
    return seconds


def compare(pair, options, device, folder):
    """Rows of :func:`common.print_ratios`, and the live step against the sum of its parts."""
    found, forward = loops(pair, PAIRS[pair], options.rows, options.classes, device, folder)
    calls = {name: each.__next__ for name, each in found.items()}
    times = timed(calls | {"teacher alone": forward}, options.rounds, options.steps, device)
    memory = {name: peak_bytes(call, device)[1] / 1e6 for name, call in calls.items()}
    rows = []
    for name in found:
        ratio = statistics.median(v / b for v, b in zip(times[name], times["plain"]))
        wanted = 1.05 if name.startswith("cached") else None
        row = (name, ratio, wanted, memory[name] / memory["plain"], None)
        rows.append((*row, 1e3 * statistics.median(times[name]), memory[name]))
    total = [a + b for a, b in zip(times["plain"], times["teacher alone"])]
    by_parts = statistics.median(v / t for v, t in zip(times["live"], total))
    against = statistics.median(v / t for v, t in zip(times["live"], times["cached float16"]))
    return rows, {"live / sum of its parts": by_parts, "live / cached float16": against}


def reading(options, folder):
    """The file of many rows: its size beside the logits', and a batch of logits beside a batch of images."""
    found = []
    for classes in (10, 100):
        rows = pipeline(source(options.file_rows, classes))
        teacher = Frozen(build("plain2", (3, 32, 32), classes, seed=1))
        path = folder / f"reading-{classes}.logits"
        logits = cached_logits(teacher, rows, epochs=240, mode="force", path=path)
        batches = iter(rows.shuffle().repeat().batch(128, drop_remainder=True).batches(steps=10**9))
        kept = itertools.cycle(rows.shuffle().batch(128, drop_remainder=True).batches())
        calls = {"images": batches.__next__, "logits": lambda s=logits, k=kept: s.answers_for(next(k))}
        times = timed(calls, options.rounds, 50, torch.device("cpu"))
        ratio = statistics.median(a / b for a, b in zip(times["images"], times["logits"]))
        size = path.stat().st_size / (len(rows) * classes * 2)
        found.append({"classes": classes, "rows": len(rows), "file / logits": size, "rate / loader": ratio})
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="a turn")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--file-rows", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    device, facts = torch.device(options.device), {}
    with tempfile.TemporaryDirectory() as folder:
        for pair, batch_size in PAIRS.items():
            rows, more = compare(pair, options, device, Path(folder))
            print_ratios("step", f"{pair}, {batch_size} images: ratios to plain training", rows)
            targets = Table("ratio", "", "target", title=pair)
            low = pair == "plain10-plain2"
            targets.add_row("live / (plain + teacher's forward)", f"{more['live / sum of its parts']:.2f}", "<= 1.1")
            targets.add_row("live / cached", f"{more['live / cached float16']:.2f}", ">= 2" if low else "")
            Console(width=120).print(targets)
            facts[pair] = {"batch_size": batch_size, "rows": as_facts("step", rows), **more}
        read = reading(options, Path(folder))
    table = Table("classes", "rows", "file / logits", "target", "rate / loader's", "target", title="the file")
    for row in read:
        size, rate = f"{row['file / logits']:.2f}", f"{row['rate / loader']:.2f}"
        table.add_row(str(row["classes"]), str(row["rows"]), size, "<= 1.1", rate, ">= 1")
    Console(width=120).print(table)
    if options.json:
        write_results(options.json, device, threads=options.threads, classes=options.classes, pairs=facts, file=read)


if __name__ == "__main__":
    main()
