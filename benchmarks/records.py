"""The readers of record files beside grain's unchecked TFRecord reader and numpy: ratios, measured in turn.

Run: python benchmarks/records.py [--rounds 5] [--megabytes 60]. Files go to a temporary folder; all are read from the
page cache. Both CRCs are on for ours; grain checks none.
"""

import argparse
import logging
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tutelage.allocator import keep_freed_memory
from tutelage.data.reader import Reader
from tutelage.data.records import (
    CsvReader,
    Feature,
    FixedLengthReader,
    FixedLengthWriter,
    TextLineReader,
    TFRecordReader,
    TFRecordWriter,
    iter_tfrecord,
)

SIZES = (100, 3100, 110_000)
BATCH = 128
BLOCK_BYTES = 1 << 20
IMAGE_BYTES = 3073


@dataclass(frozen=True)
class Target:
    """``times[slow] / times[fast]`` shall be at least ``least``."""

    text: str
    fast: str
    slow: str
    least: float


TARGETS = [
    Target("100 B: read / grain unchecked (rate)", "100 B read", "100 B grain", 0.75),
    Target("3.1 kB: read / grain unchecked", "3100 B read", "3100 B grain", 1.0),
    Target("110 kB: read / grain unchecked", "110000 B read", "110000 B grain", 0.75),
    Target("100 B: in random order / grain in order", "100 B shuffled", "100 B grain", 0.75),
    Target("3.1 kB: in random order / grain in order", "3100 B shuffled", "3100 B grain", 1.0),
    Target("110 kB: in random order / grain in order", "110000 B shuffled", "110000 B grain", 0.75),
    Target("fixed length from a memory map / numpy gather", "fixed length gather", "numpy gather", 0.5),
]


def blocks(reader: Reader, size: int, order: np.ndarray) -> Iterator[bytes]:
    """Yield records one by one, read a block at a time, as a pipeline does."""
    block = min(max(BLOCK_BYTES // size, 1), BATCH)
    for at in range(0, len(order), block):
        yield from reader.read(order[at : at + block])


def batches(records: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(records, BATCH)):
        yield batch


def drain(things: Iterator[object]) -> None:
    deque(things, maxlen=0)


def tfrecord_runs(folder: Path, megabytes: int) -> dict[str, tuple[int, Callable[[], object]]]:
    """Return name -> (records, run)."""
    logging.disable(logging.WARNING)  # grain looks for jax
    from grain.experimental import TFRecordIterDataset

    rng = np.random.default_rng(0)
    runs: dict[str, tuple[int, Callable[[], object]]] = {}
    for size in SIZES:
        count = megabytes * 1_000_000 // max(size, 300)
        path = folder / f"{size}.tfrecord"
        with TFRecordWriter(path) as out:
            for _ in range(count):
                out.write(rng.bytes(size))
        reader = TFRecordReader(path)
        ordered, shuffled = np.arange(count), rng.permutation(count)

        def add(name: str, make: Callable[[], Iterator[object]], size: int = size, count: int = count) -> None:
            runs[f"{size} B {name}"] = count, lambda: drain(make())

        def grain(path: Path = path) -> Iterator[bytes]:
            return iter(TFRecordIterDataset(str(path)))

        def ours(order: np.ndarray = ordered, reader: Reader = reader, size: int = size) -> Iterator[bytes]:
            return blocks(reader, size, order)

        add("grain", grain)
        add("read", ours)
        add("shuffled", lambda order=shuffled, run=ours: run(order))
        add("iter_tfrecord", lambda path=path: iter_tfrecord(path))
        add("grain, 128 kept", lambda run=grain: batches(run()))
        add("read, 128 kept", lambda run=ours: batches(run()))
        runs[f"{size} B opening"] = count, lambda path=path: TFRecordReader(path)
    return runs


def other_runs(folder: Path) -> dict[str, tuple[int, Callable[[], object]]]:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (20_000, IMAGE_BYTES), dtype=np.uint8)
    with FixedLengthWriter(folder / "fixed.bin", IMAGE_BYTES) as out:
        for row in rows:
            out.write(row)
    with TFRecordWriter(folder / "examples.tfrecord") as out:
        for row in rows[:5000]:
            out.write_example({"image": row[1:].tobytes(), "label": int(row[0]), "height": 32, "width": 32})
    (folder / "lines.txt").write_text("".join(f"line {i} of some words\n" for i in range(100_000)))
    table = rng.normal(size=(20_000, 10)).round(4)
    header = ",".join("abcdefghij")
    np.savetxt(folder / "table.csv", table, delimiter=",", header=header, comments="", fmt="%.4f")

    order = rng.permutation(len(rows))
    fixed = FixedLengthReader(folder / "fixed.bin", IMAGE_BYTES)
    examples = TFRecordReader(folder / "examples.tfrecord", {"image": Feature("bytes"), "label": Feature("int64")})
    lines = TextLineReader(folder / "lines.txt")

    return {
        "numpy gather": in_batches(order, rows.__getitem__),
        "fixed length gather": in_batches(order, fixed.gather),
        "examples, 2 of 4 features": in_batches(np.arange(5000), examples.read),
        "text lines, shuffled": in_batches(rng.permutation(100_000), lines.read),
        "text lines, opening": (100_000, lambda: TextLineReader(folder / "lines.txt")),
        "CSV of 10 columns, opening": (20_000, lambda: CsvReader(folder / "table.csv")),
    }


def in_batches(order: np.ndarray, get: Callable[[np.ndarray], object]) -> tuple[int, Callable[[], object]]:
    def run() -> None:
        for at in range(0, len(order), BATCH):
            get(order[at : at + BATCH])

    return len(order), run


def measure(runs: dict[str, tuple[int, Callable[[], object]]], rounds: int) -> dict[str, list[float]]:
    """Return microseconds per record of each run in each round; the runs take turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, (count, run) in runs.items():
            start = time.perf_counter()
            run()
            if number:  # the first round warms up
                times[name].append((time.perf_counter() - start) / count * 1e6)
    return times


def report(times: dict[str, list[float]]) -> None:
    rates = Table("run", "us per record (median)", "best", title=f"records, batches of {BATCH}")
    for name, values in times.items():
        rates.add_row(name, f"{statistics.median(values):.2f}", f"{min(values):.2f}")
    ratios = Table("target", "at least", "measured (median of rounds)", "")
    for target in TARGETS:
        ratio = statistics.median(s / f for s, f in zip(times[target.slow], times[target.fast]))
        ratios.add_row(target.text, f"{target.least:g}", f"{ratio:.2f}", "✓" if ratio >= target.least else "✗")
    console = Console()
    console.print(rates)
    console.print(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=60)
    parser.add_argument("--trim", action="store_true", help="leave the allocator as it is, unlike the command line")
    options = parser.parse_args()
    if not options.trim:
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report(measure(tfrecord_runs(folder, options.megabytes) | other_runs(folder), options.rounds))


if __name__ == "__main__":
    main()
