"""What the terminal shows: progress bars, the table of a result, and the list of teachers and recipes."""

import inspect
import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table


class Bars:
    """A bar for each trajectory of a run: steps done, and the mean test accuracy of the last epoch.

    Args:
        console: where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:16}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[accuracy]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "Bars":
        """Get ready; drawing starts with the first trajectory, so that refused options leave no empty line."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop to draw."""
        if self._task is not None:
            self._progress.stop()

    def start(self, name: str, steps: int, done: int) -> None:
        """A trajectory begins, or goes on after ``done`` steps."""
        self._progress.start()
        self._task = self._progress.add_task(name, total=steps, completed=done, accuracy="")

    def advance(self, accuracy: float | None) -> None:
        """All students took a step; with the mean test accuracy if an epoch ended."""
        assert self._task is not None
        if accuracy is None:
            self._progress.update(self._task, advance=1)
        else:
            self._progress.update(self._task, advance=1, accuracy=f"test {accuracy:.3f}")


def _percent(summary: Mapping[str, Any]) -> str:
    text = f"{100 * summary['mean']:.1f}"
    return text if summary["ci95"] is None else f"{text} ±{100 * summary['ci95']:.1f}"


def _mean(summary: Mapping[str, Any] | None) -> str:
    return "" if summary is None else f"{summary['mean']:.2f}".removeprefix("0") if summary["mean"] < 0.995 else "1.0"


def _difference(comparison: Mapping[str, Any] | None) -> str:
    """A paired difference in percentage points; grey with "=" if its interval contains 0: a tie."""
    if comparison is None:
        return ""
    mean, width = 100 * comparison["mean_difference"], comparison["ci95"]
    if width is None:
        return f"{mean:+.1f}"
    text = f"{mean:+.1f} ±{100 * width:.1f}"
    if abs(mean) <= 100 * width:
        return f"[dim]{text}=[/dim]"
    return f"[green]{text}[/green] " if mean > 0 else f"[red]{text}[/red] "


def result_table(result: Mapping[str, Any]) -> Table:
    """Return the result of a recipe as a table: a row an arm, with paired differences to the baselines."""
    data, noise = result["data"], result["noise"]
    realised = sum(noise["realised"]) / len(noise["realised"])
    title = (
        f"{data['name']}: {data['train_rows']:,} training rows, {100 * realised:.1f} % wrong labels, "
        f"{data['test_rows']:,} test rows, {len(result['seeds'])} seeds"
    )
    caption = "test accuracy in %, ± 95 % interval; paired differences, = where a tie; weights of right/wrong labels"
    comparisons = {(c["a"], c["b"]): c for c in result["comparisons"]}
    baselines = list(dict.fromkeys(c["b"] for c in result["comparisons"]))
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("teacher", style="bold", no_wrap=True)
    table.add_column("accuracy", justify="right", no_wrap=True)
    for name in baselines:
        table.add_column("− " + name.replace("-", "\n"), justify="right", no_wrap=True)
    table.add_column("weights", justify="right", no_wrap=True)
    table.add_column("AUC", justify="right", no_wrap=True)
    for name in result["order"]:
        arm = result["arms"][name]
        weights = f"{_mean(arm['weight_right'])}/{_mean(arm['weight_wrong'])}" if "weight_wrong" in arm else ""
        differences = [_difference(comparisons.get((name, base))) for base in baselines]
        table.add_row(name, _percent(arm["accuracy"]), *differences, weights, _mean(arm.get("auc")))
    return table


def described(thing: Callable[..., Any] | object) -> tuple[str, str]:
    """Return the first line of a docstring and the text after ``Source:``, both on one line."""
    text = inspect.getdoc(thing) or ""
    first = text.split("\n", 1)[0]
    source = re.search(r"Source: (.+?)(?:\n\n|\Z)", text, re.DOTALL)
    return first, " ".join(source[1].split()) if source else ""


def catalogue_table(title: str, rows: Mapping[str, tuple[str, str]]) -> Table:
    """Return names with what they do and where they come from.

    Args:
        title: of the table.
        rows: name -> (what it does, source).
    """
    table = Table(title=title, title_justify="left", show_lines=False)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("what it does")
    table.add_column("source", style="dim")
    for name, (what, source) in rows.items():
        table.add_row(name, what, source)
    return table
