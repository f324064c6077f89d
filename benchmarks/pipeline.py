"""The pipeline beside numpy, torch's DataLoader, grain and kornia.

    python benchmarks/pipeline.py [--rounds 5] [--batches 200] [--json benchmarks/results/pipeline-DEVICE.json]

All runs take turns in one process; a ratio is the median over rounds. 50,000 images of 3 x 32 x 32 bytes: CIFAR-10 if
it is found in the folder of TUTELAGE_DATA or beside the project, else noise. One intra-op thread everywhere.
"""

import argparse
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from common import write_results
from tutelage.data import Augmentation, Crop, Cutout, Flip, Normalise, Pipeline, Source, from_arrays, load
from tutelage.data.images import decode
from tutelage.data.published import CIFAR10

ROOT = Path(__file__).resolve().parents[1]
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
    Target("pipeline / numpy gather", "pipeline", "numpy gather", 0.5),
    Target("with prefetch / numpy gather", "pipeline, prefetch 2", "numpy gather", 0.4),
    Target("shuffle(1000) / numpy gather", "pipeline, shuffle(1000)", "numpy gather", 0.45),
    Target("memmap / numpy gather", "pipeline, memmap", "numpy gather", 0.5),
    Target("pipeline / DataLoader, no workers", "pipeline", "DataLoader w=0", 4),
    Target("pipeline / DataLoader, 2 workers", "pipeline", "DataLoader w=2", 10),
    Target("28 x 28: pipeline / DataLoader", "pipeline 28", "DataLoader 28", 8),
    Target("8 x 8: pipeline / DataLoader", "pipeline 8", "DataLoader 8", 8),
    Target("pipeline / grain, by elements", "pipeline", "grain, by elements", 1),
    Target("pipeline / grain, by steps, 1 thread", "pipeline", "grain, by steps", 1),
    Target("crop, flip, normalise / kornia", "crop, flip, normalise", "kornia", 5),
    Target("... and cutout / kornia", "crop, flip, normalise, cutout", "kornia, erasing", 4),
    Target("RandAugment per example / kornia, per batch", "RandAugment", "kornia RandAugment", 1 / 1.5),
    Target("decoding PNG / a bare PIL loop", "decode", "PIL", 1 / 1.3),
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
    folder = Path(os.environ.get("TUTELAGE_DATA", ROOT.parent / "shared" / "data"))
    if (folder / "cifar10-train.parquet").is_file():
        return load(folder / "cifar10-train.parquet").train
    return random_images(3, 32)


def random_images(channels: int, side: int) -> Source:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (50_000, channels, side, side), dtype=np.uint8)
    return from_arrays(x, rng.integers(0, 10, 50_000), num_classes=10, name="noise")


def endless(pipe: Pipeline, **options: object) -> Iterable[object]:
    return pipe.repeat().batches(1 << 40, **options)


def again(loader: Iterable[object]) -> Iterable[object]:
    while True:
        yield from loader


def drain(batches: Iterable[object], count: int) -> int:
    for _ in islice(batches, count):
        pass
    return count * BATCH


def gather(source: Source) -> Iterable[object]:
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(source))
        for k in range(len(order) // BATCH):
            index = order[k * BATCH : (k + 1) * BATCH]
            yield source.x[index], source.y[index], index


def candidates(source: Source, count: int, folder: Path) -> dict[str, Callable[[], int]]:
    """Return name -> a run that returns how many rows it made; streams go on from run to run."""
    runs: dict[str, Callable[[], int]] = {}

    def add(name: str, batches: Iterable[object], batches_a_run: int = count) -> None:
        stream = iter(batches)
        runs[name] = lambda: drain(stream, batches_a_run)

    def ours(data: Source, size: int | str = "all") -> Pipeline:
        return Pipeline.from_source(data).shuffle(size).batch(BATCH, drop_remainder=True)

    def theirs(data: Source, **options: object) -> Iterable[object]:
        return again(DataLoader(Rows(data), batch_size=BATCH, shuffle=True, drop_last=True, **options))

    np.save(folder / "x.npy", source.x)
    mapped = Pipeline.from_tensor_slices((np.load(folder / "x.npy", mmap_mode="r"), source.y), check=False)
    add("numpy gather", gather(source))
    add("pipeline", endless(ours(source)))
    add("pipeline, prefetch 2", endless(ours(source), prefetch=2))
    add("pipeline, shuffle(1000)", endless(ours(source, 1000)))
    add("pipeline, memmap", endless(mapped.shuffle().batch(BATCH, drop_remainder=True)))
    add("DataLoader w=0", theirs(source))
    add("DataLoader w=2", theirs(source, num_workers=2, persistent_workers=True), max(count // 2, 5))
    for channels, side in ((1, 28), (1, 8)):
        small = random_images(channels, side)
        add(f"pipeline {side}", endless(ours(small)))
        add(f"DataLoader {side}", theirs(small))
    add("crop, flip, normalise", endless(ours(source).augment(AUGMENTED)))
    add("crop, flip, normalise, cutout", endless(ours(source).augment(ERASED)))
    add_grain(add, source, count)
    add_kornia(add, ours(source), max(count // 10, 5))
    encoded = png(source, 10 * BATCH)
    runs["decode"] = lambda: len(decode((str(i), data) for i, data in enumerate(encoded)))
    runs["PIL"] = lambda: pil_loop(encoded)
    return runs


def add_grain(add: Callable[..., None], source: Source, count: int) -> None:
    import grain

    def element(i: int) -> tuple[np.ndarray, np.ndarray, int]:
        return source.x[i], source.y[i], i

    def step(index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return source.x[index], source.y[index], index

    shuffled = grain.MapDataset.range(len(source)).shuffle(seed=0).repeat()
    inline = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    elements = shuffled.map(element).to_iter_dataset(inline).batch(BATCH, drop_remainder=True)
    add("grain, by elements", elements, max(count // 20, 2))
    order = np.random.default_rng(0).permutation(len(source))[: len(source) // BATCH * BATCH].reshape(-1, BATCH)
    one = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    add("grain, by steps", grain.MapDataset.source(order).repeat().map(step).to_iter_dataset(one))


def add_kornia(add: Callable[..., None], pipe: Pipeline, count: int) -> None:
    try:
        import kornia.augmentation as ka
        from kornia.augmentation.auto import RandAugment as TheirRandAugment

        from tutelage.data import RandAugment
    except ImportError:
        return
    basic = [ka.RandomCrop((32, 32), padding=4), ka.RandomHorizontalFlip(), ka.Normalize(*CIFAR10)]
    erasing = ka.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0))
    floats = pipe.augment()
    for name, ops in (("kornia", basic), ("kornia, erasing", [*basic, erasing])):
        chain = torch.nn.Sequential(*ops)
        add(name, (chain(batch.x) for batch in endless(floats)), count)
    theirs = TheirRandAugment(n=2, m=10)
    add("kornia RandAugment", (theirs(batch.x) for batch in endless(floats)), count)
    add("RandAugment", endless(pipe.augment(Augmentation(RandAugment(2, 10)))), count)


def png(source: Source, count: int) -> list[bytes]:
    from PIL import Image

    out = []
    for row in source.x[:count]:
        file = BytesIO()
        Image.fromarray(row.transpose(1, 2, 0)).save(file, format="png")
        out.append(file.getvalue())
    return out


def pil_loop(encoded: list[bytes]) -> int:
    from PIL import Image

    x = np.empty((len(encoded), 3, 32, 32), np.uint8)
    for i, data in enumerate(encoded):
        with Image.open(BytesIO(data)) as image:
            x[i] = np.asarray(image).transpose(2, 0, 1)
    return len(x)


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


def resume_ms(source: Source) -> float:
    """Return the longest of some times from a state to the next batch, the arrays being hashed and padded before."""
    pipe = Pipeline.from_source(source).shuffle().batch(BATCH, drop_remainder=True).augment(AUGMENTED).repeat()
    next(pipe.batches(100_000)).x.sum()
    state = pipe.batches(100_000).state_dict()
    worst = 0.0
    for start in (1, 777, 12_345, 99_999):
        began = time.perf_counter()
        batches = pipe.batches(100_000)
        batches.load_state_dict(state | {"step": start})
        next(batches)
        worst = max(worst, time.perf_counter() - began)
    return 1e3 * worst


def _slow(element: object) -> object:
    time.sleep(0.004)
    return element


def overlap_ms(prefetch: int) -> float:
    """Return the milliseconds of a step of a producer and a consumer that take 4 ms each."""
    began = time.perf_counter()
    for _ in Pipeline.range(100).map(_slow).prefetch(prefetch):
        time.sleep(0.004)
    return (time.perf_counter() - began) * 1e3 / 100


def buffer_bytes(source: Source, size: int) -> float:
    """Return the bytes that a shuffle buffer takes an element, of a stream of images."""
    tracemalloc.start()
    elements = Pipeline.from_source(source).filter(_all).shuffle(size).epoch(0)
    next(elements)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / size


def _all(element: object) -> bool:
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    source = images()
    with tempfile.TemporaryDirectory() as folder:
        times = measure(candidates(source, options.batches, Path(folder)), options.rounds)
    rows = [(t.text, *ratio(t, times), ">=", t.least) for t in TARGETS if t.slow in times]
    rows.append(("from a state to the next batch, ms", resume_ms(source), "<=", 50))
    rows.append(("4 ms producer, 4 ms consumer, prefetch 2, ms a step", overlap_ms(2), "<=", 5.2))
    rows.append(("shuffle buffer of a stream, bytes an element", buffer_bytes(source, 20_000), "<=", 600))
    report(source, times, rows)
    if options.json:
        save(options.json, source, times, rows)


def ratio(target: Target, times: dict[str, list[float]]) -> tuple[float]:
    return (statistics.median(s / f for s, f in zip(times[target.slow], times[target.fast])),)


def report(source: Source, times: dict[str, list[float]], rows: list[tuple[str, float, str, float]]) -> None:
    rates = Table("run", "us a row (median)", "best", title=f"{source.name}, batch {BATCH}")
    for name, values in times.items():
        rates.add_row(name, f"{statistics.median(values):.2f}", f"{min(values):.2f}")
    ratios = Table("comparison", "measured", "target", "")
    for text, value, sign, bound in rows:
        met = value >= bound if sign == ">=" else value <= bound
        ratios.add_row(text, f"{value:.2f}", f"{sign} {bound:.3g}", "ok" if met else "MISSED")
    console = Console(width=110)
    console.print(rates)
    console.print(ratios)


def save(path: Path, source: Source, times: dict[str, list[float]], rows: list[tuple[str, float, str, float]]) -> None:
    write_results(
        path,
        torch.device("cpu"),
        data=source.name,
        numpy=np.__version__,
        rows=[dict(zip(("what", "measured", "sign", "target"), row)) for row in rows],
        us_a_row={name: statistics.median(values) for name, values in times.items()},
    )


if __name__ == "__main__":
    main()
