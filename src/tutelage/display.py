"""What the terminal shows: progress bars, the table of a result, and the list of teachers and recipes."""

import inspect
import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

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


def _interval(summary: Mapping[str, Any] | None, digits: int = 3) -> str:
    if summary is None:
        return ""
    text = f"{summary['mean']:.{digits}f}"
    return text if summary["ci95"] is None else f"{text} ±{summary['ci95']:.{digits}f}"


def _mean(summary: Mapping[str, Any] | None) -> str:
    return "" if summary is None else f"{summary['mean']:.2f}"


def _difference(comparison: Mapping[str, Any] | None) -> str:
    """A paired difference; one whose interval contains 0 is a tie."""
    if comparison is None:
        return ""
    mean, width = comparison["mean_difference"], comparison["ci95"]
    text = f"{mean:+.3f}" + ("" if width is None else f" ±{width:.3f}")
    if width is None:
        return text
    if abs(mean) <= width:
        return f"[dim]{text} tie[/dim]"
    return f"[green]{text}[/green]" if mean > 0 else f"[red]{text}[/red]"


def result_table(result: Mapping[str, Any]) -> Table:
    """Return the result of a recipe as a table: a row an arm, with paired differences to the baselines."""
    data, noise = result["data"], result["noise"]
    realised = sum(noise["realised"]) / len(noise["realised"])
    title = (
        f"{data['name']}: {data['train_rows']:,} training rows, {100 * realised:.1f} % of their labels wrong, "
        f"{data['test_rows']:,} test rows, {len(result['seeds'])} seeds"
    )
    comparisons = {(c["a"], c["b"]): c for c in result["comparisons"]}
    baselines = list(dict.fromkeys(c["b"] for c in result["comparisons"]))
    table = Table(title=title, caption="test accuracy at the last epoch; ± 95 % interval; differences are paired")
    table.add_column("teacher", style="bold")
    table.add_column("accuracy", justify="right")
    table.add_column("best epoch*", justify="right", style="dim")
    for name in baselines:
        table.add_column(f"minus {name}", justify="right")
    table.add_column("weight right/wrong", justify="right")
    table.add_column("AUC", justify="right")
    for name, arm in result["arms"].items():
        differences = [_difference(comparisons.get((name, base))) for base in baselines]
        weights = f"{_mean(arm.get('weight_right'))} / {_mean(arm.get('weight_wrong'))}"
        table.add_row(
            name,
            _interval(arm["accuracy"]),
            _mean(arm["best_epoch_accuracy"]),
            *differences,
            weights if "weight_wrong" in arm else "",
            _mean(arm.get("auc")),
        )
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
