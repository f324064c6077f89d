"""What the benchmarks share: the results file, and the table of ratios in time and memory."""

import json
import platform
import subprocess
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


def _judged(ratio, target):
    if target is None:
        return f"{ratio:.2f}", "", ""
    return f"{ratio:.2f}", f"<= {target}", "ok" if ratio <= target else "MISSED"
