"""The in-memory loader beside numpy, torch's DataLoader and kornia: ratios, measured in turn in one process.

Run: python benchmarks/loader.py [--rounds 5] [--batches 200]. Uses CIFAR-10 if TUTELAGE_DATA names a folder that has
it, else random images of the same size. One intra-op thread everywhere.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from tutelage.data import Augmentation, Crop, Cutout, Flip, Loader, Normalise, Source, from_arrays, load
from tutelage.data.published import CIFAR10
from tutelage.errors import DataError

BATCH = 128
AUGMENTED = Augmentation(Crop(4), Flip(), Normalise.channels(*CIFAR10))
ERASED = Augmentation(Crop(4), Flip(), Normalise.channels(*CIFAR10), Cutout(16))


@dataclass(frozen=True)
class Target:
    """``times[slow] / times[fast]`` shall be at least ``least``."""

    text: str
    fast: str
    slow: str
    least: float


TARGETS = [
    Target("loader / numpy gather (rate)", "loader", "numpy gather", 0.5),
    Target("loader, prefetch 2 / numpy gather (rate)", "loader, prefetch 2", "numpy gather", 0.4),
    Target("loader / DataLoader, no workers", "loader", "DataLoader w=0", 4),
    Target("loader / DataLoader, 2 workers", "loader", "DataLoader w=2", 10),
    Target("28 x 28: loader / DataLoader", "loader 28", "DataLoader 28", 8),
    Target("8 x 8: loader / DataLoader", "loader 8", "DataLoader 8", 8),
    Target("crop, flip, normalise / kornia", "crop, flip, normalise", "kornia", 5),
    Target("... and cutout / kornia", "crop, flip, normalise, cutout", "kornia, erasing", 4),
]


class Rows(Dataset):
    """Image, label and index, one by one: what DataLoader is usually given."""

    def __init__(self, source: Source) -> None:
        self.x, self.y = torch.from_numpy(source.x), source.y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int, int]:
        return self.x[i], int(self.y[i]), i


def images() -> Source:
    try:
        if os.environ.get("TUTELAGE_DATA"):
            return load("cifar10").train
    except DataError as error:
        print(f"{error} Random images are used.")
    return random_images(3, 32)


def random_images(channels: int, side: int) -> Source:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (50_000, channels, side, side), dtype=np.uint8)
    return from_arrays(x, rng.integers(0, 10, 50_000), num_classes=10)


def drain(batches: Iterable[object], count: int) -> int:
    for done, _ in enumerate(batches, start=1):
        if done == count:
            break
    return count * BATCH


def gather(source: Source, count: int) -> int:
    order = np.random.default_rng(0).permutation(len(source))
    for k in range(count):
        index = order[k * BATCH : (k + 1) * BATCH]
        _ = source.x[index], source.y[index]
    return count * BATCH


def candidates(source: Source, count: int) -> dict[str, Callable[[], int]]:
    """Return name -> a run that returns how many rows it made."""
    runs: dict[str, Callable[[], int]] = {"numpy gather": lambda: gather(source, count)}

    def ours(name: str, data: Source, **options: object) -> None:
        loader = Loader(data, batch_size=BATCH, seed=0, **options)
        runs[name] = lambda: drain(loader.batches(count), count)

    def theirs(name: str, data: Source, **options: object) -> None:
        loader = DataLoader(Rows(data), batch_size=BATCH, shuffle=True, drop_last=True, **options)
        runs[name] = lambda: drain(loader, count)

    ours("loader", source, raw=True)
    ours("loader, prefetch 2", source, raw=True, prefetch=2)
    theirs("DataLoader w=0", source)
    theirs("DataLoader w=2", source, num_workers=2, persistent_workers=True)
    for channels, side in ((1, 28), (1, 8)):
        small = random_images(channels, side)
        ours(f"loader {side}", small, raw=True)
        theirs(f"DataLoader {side}", small)
    ours("loader, float32", source)
    ours("crop, flip, normalise", source, augmentation=AUGMENTED)
    ours("crop, flip, normalise, cutout", source, augmentation=ERASED)
    return runs | kornia_runs(source, max(count // 10, 5))


def kornia_runs(source: Source, count: int) -> dict[str, Callable[[], int]]:
    try:
        import kornia.augmentation as ka
    except ImportError:
        return {}
    basic = [ka.RandomCrop((32, 32), padding=4), ka.RandomHorizontalFlip(), ka.Normalize(*CIFAR10)]
    erasing = ka.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0))
    loader = Loader(source, batch_size=BATCH, seed=0)

    def run(ops: list[torch.nn.Module]) -> Callable[[], int]:
        chain = torch.nn.Sequential(*ops)
        return lambda: drain((chain(batch.x) for batch in loader.batches(count)), count)

    return {"kornia": run(basic), "kornia, erasing": run([*basic, erasing])}


def measure(runs: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Return microseconds per row of each run in each round; the runs take turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            rows = run()
            if number:  # the first round warms up
                times[name].append((time.perf_counter() - start) / rows * 1e6)
    return times


def resume_seconds(source: Source) -> float:
    """Return the longest of some times from asking for a step to having it."""
    loader = Loader(source, batch_size=BATCH, seed=0, augmentation=AUGMENTED)
    worst = 0.0
    for start in (1, 777, 12_345, 99_999):
        began = time.perf_counter()
        next(loader.batches(100_000, start=start))
        worst = max(worst, time.perf_counter() - began)
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    source = images()
    times = measure(candidates(source, options.batches), options.rounds)
    report(source, times, resume_seconds(source))


def report(source: Source, times: dict[str, list[float]], resume: float) -> None:
    rates = Table("run", "us per row (median)", "best", title=f"{source.name}, batch {BATCH}")
    for name, values in times.items():
        rates.add_row(name, f"{statistics.median(values):.2f}", f"{min(values):.2f}")
    ratios = Table("target", "at least", "measured (median of rounds)", "")
    for target in TARGETS:
        if target.slow not in times:
            ratios.add_row(target.text, f"{target.least:g}", "not installed", "-")
            continue
        ratio = statistics.median(s / f for s, f in zip(times[target.slow], times[target.fast]))
        ratios.add_row(target.text, f"{target.least:g}", f"{ratio:.2f}", "✓" if ratio >= target.least else "✗")
    ratios.add_row("resume at any step, ms", "at most 50", f"{resume * 1e3:.1f}", "✓" if resume <= 0.05 else "✗")
    console = Console()
    console.print(rates)
    console.print(ratios)


if __name__ == "__main__":
    main()
