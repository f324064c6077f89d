"""What the benchmarks share: the results file, and the table of ratios in time and memory."""

import json
import platform
import subprocess
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import tutelage

ROOT = Path(__file__).resolve().parents[1]


def write_results(path, device, **facts):
    """Write what was measured, with the device, the versions and the commit that it was measured on."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    where = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "torch": torch.__version__,
        "tutelage": tutelage.__version__,
        "commit": commit.stdout.strip(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(where | facts, indent=1) + "\n")


def print_ratios(what, title, rows):
    """Print rows of what, time ratio, its target, memory ratio, its target, ms and MB; small ratios are good."""
    table = Table(what, "time", "target", "", "memory", "target", "", "ms", "MB", title=title)
    for name, ratio, wanted, memory, most, ms, mb in rows:
        table.add_row(name, *_judged(ratio, wanted), *_judged(memory, most), f"{ms:.1f}", f"{mb:.2f}")
    Console(width=120).print(table)


def as_facts(what, rows):
    """Return the rows of :func:`print_ratios` for the results file."""
    names = (what, "time_ratio", "time_target", "memory_ratio", "memory_target", "ms", "mb")
    return [dict(zip(names, row)) for row in rows]


def agree(variants, tolerance, tolerance_of_loss=None):
    """Stop if a variant's loss or gradients differ from the first one's; each returns (loss, gradients)."""
    (name, first), *others = variants.items()
    loss, gradients = first()
    for other, call in others:
        their_loss, theirs = call()
        error = max(float((a - b).norm() / b.norm()) for a, b in zip(theirs, gradients, strict=True))
        error_of_loss = abs(float(their_loss) - float(loss)) / abs(float(loss))
        if not (error <= tolerance and error_of_loss <= (tolerance_of_loss or tolerance)):
            raise SystemExit(f"{other} differs from {name} by {error:.1e}, its loss by {error_of_loss:.1e}")


def timed(variants, rounds, device):
    """Milliseconds of each variant, a list over rounds; they take turns, and the first turn is for warming up."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    found = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, call in variants.items():
            start = clock()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                found[name].append(1e3 * (clock() - start))
    return found


def _judged(ratio, target):
    if target is None:
        return f"{ratio:.2f}", "", ""
    return f"{ratio:.2f}", f"<= {target}", "ok" if ratio <= target else "MISSED"
