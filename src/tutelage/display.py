"""What the terminal shows: progress bars, the table of a result, and the list of teachers and recipes."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

_SELECTED = "validation_selected_accuracy"
_WIDE = 100
"""Columns of what is written to a file or a pipe, at least."""


def console() -> Console:
    """Return a console for standard output: as wide as the terminal, and at least 100 columns where there is none."""
    found = Console(emoji=False)  # of what users name, ":b:" stays as it is
    if not found.is_terminal:
        found.width = max(found.width, _WIDE)
    return found


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


def _difference(comparison: Mapping[str, Any] | None, scale: float = 100.0) -> str:
    """A paired difference, in points of a percentage: coloured where shown, else grey with a sign of what it is."""
    if comparison is None:
        return ""
    mean, width = scale * comparison["mean_difference"], comparison["ci95"]
    if width is None:
        return f"{mean:+.1f}"
    text = f"{mean:+.1f} ±{scale * width:.1f}"
    verdict = comparison.get("verdict") or ("tie" if abs(mean) <= scale * width else "better" if mean > 0 else "worse")
    match verdict:
        case "better":
            return f"[green]{text}[/green] "
        case "worse":
            return f"[red]{text}[/red] "
        case "numbers only":
            return f"{text} "
    return f"[dim]{text}{'?' if verdict == 'not shown' else '='}[/dim]"


@dataclass(frozen=True)
class ResultTable:
    """A table that leaves out its last columns where the terminal is too narrow for them, and says so.

    Attributes:
        title: above it.
        caption: below it.
        columns: heading and cells of each; the first two are always shown.
    """

    title: str
    caption: str
    columns: Sequence[tuple[str, Sequence[str]]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """Yield the widest table that fits."""
        count = len(self.columns)
        wide = options.update(max_width=10_000)
        while count > 2 and self._table(count).__rich_measure__(console, wide).maximum > options.max_width:
            count -= 1
        yield self._table(count)

    def _table(self, count: int) -> Table:
        missing = ", ".join(" ".join(name.split()) for name, _ in self.columns[count:])
        caption = f"{self.caption}; too narrow for: {missing}" if missing else self.caption
        table = Table(title=self.title, caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for position, (name, _) in enumerate(self.columns[:count]):
            if position:
                table.add_column(name, justify="right", no_wrap=True)
            else:
                table.add_column(name, style="bold", no_wrap=True)
        for row in zip(*(cells for _, cells in self.columns[:count])):
            table.add_row(*row)
        return table


def result_table(result: Mapping[str, Any]) -> ResultTable:
    """Return the result of a recipe as a table: a row an arm, with paired differences to the baselines.

    Of a run over several rates or kinds of label noise: a row an arm, a column for each.
    """
    if "stages" in result:
        return _by_stage(result)
    if "sets" in result:
        return _by_set(result)
    if "selection" in result:
        return _by_shown(result)
    if "iterative" in result:
        return _by_distance(result)
    if "noise" not in result and "levels" not in result:
        return _by_label(result)
    return _by_noise(result) if "levels" in result else _by_arm(result)


def _by_arm(result: Mapping[str, Any]) -> ResultTable:
    noise, order = result["noise"], result["order"]
    arms = [result["arms"][name] for name in order]
    wrong = f"{100 * sum(noise['realised']) / len(noise['realised']):.1f} % wrong labels"
    comparisons = {(c["a"], c["b"]): c for c in result["comparisons"]}
    columns = [("teacher", order), ("accuracy", [_percent(arm["accuracy"]) for arm in arms])]
    if all(_SELECTED in arm for arm in arms):
        columns.append(("val-sel", [_percent(arm[_SELECTED]) for arm in arms]))
    for base in dict.fromkeys(c["b"] for c in result["comparisons"]):
        cells = [_difference(comparisons.get((name, base))) for name in order]
        columns.append(("− " + base.replace("-", "\n"), cells))
    caption = "test accuracy in %, ± 95 % interval"
    if all(_SELECTED in arm for arm in arms):
        caption += "; val-sel: at the best validation epoch"
    if comparisons:
        caption += "; paired differences, = where a tie"
    if noise["requested"]:  # else nobody knows which labels are wrong
        caption += "; mean weights of right/wrong labels"
        columns.append(("weights", [_weights(arm) for arm in arms]))
        columns.append(("AUC", [_mean(arm.get("auc")) for arm in arms]))
        if any("noisy_fit" in arm for arm in arms):
            columns.append(("noisy\nfit", [_mean(arm.get("noisy_fit")) for arm in arms]))
    return ResultTable(_title(result, wrong if noise["requested"] else "labels as they came"), caption, columns)


def _by_noise(result: Mapping[str, Any]) -> ResultTable:
    columns: list[tuple[str, Sequence[str]]] = [("teacher", result["order"])]
    for level in result["levels"]:
        found = {name: result["arms"][f"{name} @ {level}"]["accuracy"] for name in result["order"]}
        best = max((s["mean"] for name, s in found.items() if name != "oracle"), default=None)
        cells = [f"[bold]{_percent(s)}[/bold]" if s["mean"] == best else _percent(s) for s in found.values()]
        columns.append((f"noise {level}" if level[0].isdecimal() else level.replace(" ", "\n"), cells))
    levels = ", ".join(result["levels"])
    caption = "test accuracy in %, ± 95 % interval; the best arm but for the oracle in bold"
    return ResultTable(_title(result, f"label noise {levels}"), caption, columns)


def conclusions(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a run says of itself in words: warnings first, then what follows from it; marked up."""
    parts = [*result.get("levels", {"": result}).items()]
    for name, part in parts:
        before = f"{name}: " if name else ""
        for line in part.get("warnings", []):
            yield f"[yellow]warning: {escape(before + line)}[/yellow]"
    for _, part in parts:
        first, *rest = part.get("conclusion", {}).get("lines") or [""]
        if first:
            yield f"[bold]{escape(first)}[/bold]"
        yield from (f"  {escape(line)}" for line in rest)


def _by_label(result: Mapping[str, Any]) -> ResultTable:
    """Few labels: accuracy of each arm, with paired differences, and that of its teacher."""
    data, order, seeds = result["data"], result["order"], len(result["seeds"])
    arms = [result["arms"][name] for name in order]
    comparisons = {(c["a"], c["b"]): c for c in result["comparisons"]}
    columns = [("arm", order), ("accuracy", [_percent(arm["accuracy"]) for arm in arms])]
    for base in dict.fromkeys(c["b"] for c in result["comparisons"]):
        columns.append(("− " + base, [_difference(comparisons.get((name, base))) for name in order]))
    if any("teacher_accuracy" in arm for arm in arms):
        teachers = [_percent(arm["teacher_accuracy"]) if "teacher_accuracy" in arm else "" for arm in arms]
        columns.append(("its teacher", teachers))
    title = (
        f"{escape(data['name'])}: {data['labelled_rows']:,} labelled rows, {data['unlabelled_rows']:,} without, "
        f"{data['test_rows']:,} test rows, {seeds} seed{'s' if seeds > 1 else ''}"
    )
    return ResultTable(title, "test accuracy in %, ± 95 % interval; paired differences, = where a tie", columns)


def _by_stage(result: Mapping[str, Any]) -> ResultTable:
    """Staged training: accuracy of each arm, with paired differences, and how it follows its teacher."""
    data, order, seeds = result["data"], result["order"], len(result["seeds"])
    arms = [result["arms"][name] for name in order]
    comparisons = {(c["a"], c["b"]): c for c in result["comparisons"]}
    columns = [("arm", order), ("accuracy", [_percent(arm["accuracy"]) for arm in arms])]
    for base in dict.fromkeys(c["b"] for c in result["comparisons"]):
        columns.append(("− " + base, [_difference(comparisons.get((name, base))) for name in order]))
    caption = "test accuracy in %, ± 95 % interval; paired differences, = equivalent, ? not shown"
    if any("agreement" in arm for arm in arms):
        caption += "; agrees: with its teacher, on the rows that it studied"
        columns.append(("agrees", [_mean(arm.get("agreement")) for arm in arms]))
    rows = f"{data['train_rows']:,} training rows"
    if studied := result.get("distillation", {}).get("student_rows"):
        rows += f", {studied:,} of them for students"
    title = f"{escape(data['name'])}: {rows}, {data['test_rows']:,} test rows, {seeds} seed{'s' if seeds > 1 else ''}"
    return ResultTable(title, caption, columns)


_OF_SETS = {
    "accuracy": "lessons",
    "neighbour_accuracy": "1-NN",
    "free_accuracy": "free",
    "attack": "taken for",
    "a_accuracy": "for itself",
    "others": "others",
    "overall": "overall",
}


def _by_set(result: Mapping[str, Any]) -> ResultTable:
    """Dataset distillation: what networks reach with each set, in each way, with paired differences."""
    data, order, seeds, facts = result["data"], result["order"], len(result["seeds"]), result["distillation"]
    arms = [result["arms"][name] for name in order]
    columns: list[tuple[str, Sequence[str]]] = [("set", order)]
    for metric, name in _OF_SETS.items():
        if any(metric in arm for arm in arms):
            columns.append((name, [_percent(arm[metric]) if metric in arm else "" for arm in arms]))
    differences = {c["b"]: c for c in result["comparisons"] if c["metric"] == result["metric"]}
    columns.append(("distilled\n− it", [_difference(differences.get(name)) for name in order]))
    caption = "accuracy on test rows in %, ± 95 % interval; paired differences, = equivalent, ? not shown"
    if result["metric"] == "attack":
        a, b = (data["classes"][c] for c in facts["attack"])
        caption = f"share of {escape(a)} taken for {escape(b)}, and for itself; other classes; all test rows; in %"
    steps = f" in {facts['applications']} step{'s' * (facts['applications'] != 1)}" if facts["applications"] else ""
    title = (
        f"{escape(data['name'])}: {facts['images']} images{steps}, {data['train_rows']:,} training rows, "
        f"{data['test_rows']:,} test rows, {seeds} seed{'s' if seeds > 1 else ''}"
    )
    return ResultTable(title, caption, columns)


def _by_shown(result: Mapping[str, Any]) -> ResultTable:
    """Selection: accuracy after all rows were shown, by rate of label noise, with paired differences from random."""
    data, order, facts, seeds = result["data"], result["order"], result["selection"], len(result["seeds"])
    last = str(facts["size"])
    columns: list[tuple[str, Sequence[str]]] = [("teacher", order)]
    for rate, level in facts["levels"].items():
        differences = {c["a"]: c for c in level["differences"][last]}
        columns.append((f"noise {rate}", [_percent(level["arms"][name]["accuracy"][last]) for name in order]))
        columns.append((f"− {facts['baseline']}", [_difference(differences.get(name)) for name in order]))
    for rate, level in facts["levels"].items():
        if float(rate):
            wrong = [f"{100 * level['arms'][name]['wrong']['mean']:.0f}" for name in order]
            columns.append((f"wrong\n{rate}", wrong))
    title = (
        f"{escape(data['name'])}: {facts['size']} of {data['pool_rows']:,} rows shown, "
        f"{data['test_rows']:,} test rows, {seeds} seed{'s' if seeds > 1 else ''}"
    )
    caption = "test accuracy in %, ± 95 % interval; paired differences, = equivalent, ? not shown"
    return ResultTable(title, f"{caption}; wrong: % of the shown labels", columns)


def _by_distance(result: Mapping[str, Any]) -> ResultTable:
    """Iterative teaching: squared distances to the target, with paired differences in orders of magnitude."""
    order, facts, seeds = result["order"], result["iterative"], len(result["seeds"])
    columns: list[tuple[str, Sequence[str]]] = [("teacher", order)]
    for mark in map(str, facts["marks"]):
        differences = {c["a"]: c for c in facts["differences"][mark]}
        ends = [facts["arms"][name]["distance"][mark]["median"] for name in order]
        columns.append((f"{mark} steps", [f"{value:.1e}" for value in ends]))
        columns.append((f"− {facts['baseline']}", [_difference(differences.get(name), 1.0) for name in order]))
    steps = [facts["arms"][name]["reached"]["median"] for name in order]
    columns.append(("arrives", ["-" if value is None else f"{value:g}" for value in steps]))
    title = f"{escape(result['data']['name'])}: {result['data']['pool_rows']:,} rows, {seeds} seed{'s' * (seeds > 1)}"
    caption = "median squared distance to the target; paired differences in orders of magnitude, = equivalent"
    return ResultTable(title, f"{caption}, ? not shown; arrives: median steps until it is near", columns)


def silent_masks(result: Mapping[str, Any]) -> list[str]:
    """Return a line for each arm whose mask kept no example for a pass, with how sure its labels were then."""
    lines = []
    for (arm, option), found in _by_name(result.get("silent_masks", [])).items():
        counts = ", ".join(map(str, found[0]["histogram"]))
        seeds = ", ".join(str(f["seed"]) for f in found)
        also = " or --uda-temperature" if option == "--uda-threshold" else ""
        lines.append(
            f"{arm}, seeds {seeds}: the threshold masked every example for {max(f['steps'] for f in found)} steps; "
            f"examples by confidence, in tenths: {counts}. Lower {option}{also}."
        )
    return lines


def _by_name(warnings: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for warning in warnings:
        found.setdefault((warning["arm"], warning["option"]), []).append(warning)
    return found


def _title(result: Mapping[str, Any], labels: str) -> str:
    data, seeds = result["data"], len(result["seeds"])
    return (
        f"{escape(data['name'])}: {data['train_rows']:,} training rows, {labels}, "
        f"{data['test_rows']:,} test rows, {seeds} seed{'s' if seeds > 1 else ''}"
    )


def _weights(arm: Mapping[str, Any]) -> str:
    return f"{_mean(arm['weight_right'])}/{_mean(arm['weight_wrong'])}" if "weight_wrong" in arm else ""


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
