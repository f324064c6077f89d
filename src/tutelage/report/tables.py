"""The tables of the report, and how numbers are written in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from .. import evaluation, statistics
from ..evaluation import Comparison, Summary, Verdict
from .canvas import Look
from .markup import Markup, element, text
from .reading import Run


@dataclass(frozen=True)
class Column:
    """A metric as a column.

    Attributes:
        metric: its name in ``result.json``.
        heading: above the column.
        note: a second, quiet line of the heading.
        scale: shown is the value times this.
        digits: after the point.
    """

    metric: str
    heading: str
    note: str
    scale: float = 1.0
    digits: int = 3


COLUMNS = (
    Column("accuracy", "Test accuracy", "%", 100.0, 1),
    Column("validation_selected_accuracy", "Validation-selected", "%, see †", 100.0, 1),
    Column("calibration_error", "Calibration error", "%, lower is better", 100.0, 1),
    Column("weight_right", "Weight, right labels", "mean", digits=2),
    Column("weight_wrong", "Weight, wrong labels", "mean", digits=2),
    Column("auc", "AUC of weights", "1: finds all wrong labels", digits=3),
    Column("gap", "Gap of scores", "right minus wrong labels", digits=2),
    Column("noisy_fit", "Noisy fit", "%, noisy labels as answer", 100.0, 1),
    Column("effective_share", "Effective share", "1: all count alike", digits=2),
    Column("hypergradient_norm", "Hypergradient", "mean norm", digits=4),
    Column("best_epoch_accuracy", "Best test epoch", "%, optimistic *", 100.0, 1),
    Column("teacher_accuracy", "Its teacher", "%", 100.0, 1),
    Column("student_accuracy", "Student itself", "%, no fine-tuning", 100.0, 1),
    Column("average_accuracy", "Moving average", "%, no fine-tuning", 100.0, 1),
)
"""Known metrics in the order of the table; others follow under their own names."""

_ABOUT_TRUTH = ("weight_right", "weight_wrong", "auc", "gap", "score_right", "score_wrong", "noisy_fit")
_LOWER_IS_BETTER = ("calibration_error", "loss")
_OPPOSITE: Mapping[Verdict, Verdict] = {"better": "worse", "worse": "better"}


def number(value: float, digits: int) -> str:
    """Return a number with a true minus sign, and no minus before zero."""
    shown = f"{value:.{digits}f}"
    return shown.lstrip("-") if not float(shown) else shown.replace("-", "−")


def mean_and_interval(values: Summary, scale: float, digits: int) -> str:
    """Return ``mean ± half width``, or the mean alone for one seed."""
    mean = number(values["mean"] * scale, digits)
    if values["ci95"] is None:
        return mean
    return f"{mean} ± {number(values['ci95'] * scale, digits)}"


def verdict(comparison: Comparison) -> Verdict | statistics.Verdict:
    """Return what a paired difference says: its own verdict if it has one, else a tie if its interval contains 0."""
    own: statistics.Verdict | None = cast(Mapping[str, Any], comparison).get("verdict")
    if own is not None:
        return own
    said = evaluation.verdict(comparison)
    return _OPPOSITE.get(said, said) if comparison["metric"] in _LOWER_IS_BETTER else said


def facts(rows: Sequence[tuple[str, str]]) -> Markup:
    """Return names and values as a small table."""
    lines = [element("tr", element("th", text(name), scope="row"), element("td", text(value))) for name, value in rows]
    return element("table", element("tbody", *lines), class_="facts")


def results(run: Run, looks: Mapping[str, Look]) -> Markup:
    """Return the result of each arm, a row an arm."""
    columns = _columns(run)
    head = [heading("Arm"), *(heading(c.heading, c.note) for c in columns)]
    show_epoch = any("epoch" in metrics for metrics in run.part("arms").values())
    if show_epoch:
        head.insert(1, heading("Epoch", "that counts"))
    rows = []
    for arm in run.arms:
        metrics = run.part("arms")[arm]
        cells = [_metric_cell(metrics.get(c.metric), c) for c in columns]
        if show_epoch:
            cells.insert(0, cell(_epoch(metrics.get("epoch"), run.part("training").get("epochs"))))
        rows.append(element("tr", arm_name(arm, looks), *cells))
    return table(head, rows)


def differences(run: Run, looks: Mapping[str, Look]) -> Markup:
    """Return the paired difference of each arm to each baseline."""
    found: Sequence[Comparison] = run.result["comparisons"]
    by_pair = {(c["a"], c["b"], c["metric"]): c for c in found}
    kinds = list(dict.fromkeys((c["b"], c["metric"]) for c in found))
    head = [heading("Arm")]
    head += [heading(f"minus {base}", f"{metric.replace('_', ' ')}, {_unit(metric)}") for base, metric in kinds]
    rows = []
    for arm in run.arms:
        cells = [difference_cell(by_pair.get((arm, base, metric))) for base, metric in kinds]
        rows.append(element("tr", arm_name(arm, looks), *cells))
    return table(head, rows)


def per_class(run: Run, looks: Mapping[str, Look], classes: Sequence[str]) -> Markup:
    """Return the accuracy of each class, a row a class; the darker a cell, the more errors."""
    known: Mapping[str, Mapping[str, Summary]] = run.part("per_class")
    arms = [arm for arm in run.arms if arm in known]
    worst = min((s["mean"] for arm in arms for s in known[arm].values()), default=0.0)
    head = [
        heading("Class"),
        *(element("th", swatch(looks[arm]), text(arm), scope="col", class_="arm") for arm in arms),
    ]
    rows = []
    for name in classes:
        cells = [_class_cell(known[arm].get(name), worst) for arm in arms]
        rows.append(element("tr", element("th", text(name), scope="row"), *cells))
    return table(head, rows)


def _columns(run: Run) -> list[Column]:
    there = dict.fromkeys(metric for metrics in run.part("arms").values() for metric in metrics)
    if not run.knows_truth:
        there = {metric: None for metric in there if metric not in _ABOUT_TRUTH}
    known = [c for c in COLUMNS if c.metric in there]
    named = {c.metric for c in COLUMNS} | {"epoch", "score_right", "score_wrong"}
    return known + [Column(m, m.replace("_", " "), "mean") for m in there if m not in named]


def _unit(metric: str) -> str:
    return "points" if _scale(metric) == 100.0 else "difference"


def _scale(metric: str) -> float:
    return next((c.scale for c in COLUMNS if c.metric == metric), 1.0)


def signed(value: float, digits: int) -> str:
    """Return a difference with its sign, a true minus, and none before zero."""
    return ("+" if round(value, digits) > 0 else "") + number(value, digits)


def difference_cell(comparison: Comparison | None) -> Markup:
    """Return a paired difference with its verdict as a cell; a dash for None."""
    if comparison is None:
        return cell("–")
    scale = _scale(comparison["metric"])
    difference, half = comparison["mean_difference"] * scale, comparison["ci95"]
    digits = 1 if scale == 100.0 else 3
    shown = ("+" if difference > 0 else "") + number(difference, digits)
    if half is not None:
        shown += f" ± {number(half * scale, digits)}"
    word = verdict(comparison)
    wins, ties, losses = (comparison[key] for key in ("wins", "ties", "losses"))
    counts = f"{wins} won, {ties} tied, {losses} lost"
    return element(
        "td",
        text(shown),
        element("span", element("b", text(word)), text(f" · {counts}"), class_="under"),
        class_=f"verdict-{word.replace(' ', '-')}",
    )


def compared(
    shown: Sequence[Markup], difference: statistics.PairedDifference | None, scale: float, digits: int
) -> Markup:
    """Return a cell with a paired difference and its verdict below what it shows; None: with nothing below.

    Args:
        shown: above.
        difference: from the baseline.
        scale: shown is the difference times this; negative where less is better.
        digits: after the point.
    """
    if difference is None:
        return element("td", *shown)
    half, word = difference["ci95"], difference["verdict"]
    told = signed(scale * difference["mean_difference"], digits)
    told += "" if half is None else f" ± {number(abs(scale) * half, digits)}"
    below = element("span", text(f"{told} · "), element("b", text(word)), class_="under")
    return element("td", *shown, below, class_=f"verdict-{word.replace(' ', '-')}")


def percent_compared(
    value: Summary, best: float, difference: statistics.PairedDifference | None, scale: float = 100.0
) -> Markup:
    """Return a share in percent, bold if its mean is the best one, above its difference as :func:`compared` has it."""
    shown = text(mean_and_interval(value, 100.0, 1))
    return compared([element("b", shown) if value["mean"] == best else shown], difference, scale, 1)


def _class_cell(values: Summary | None, worst: float) -> Markup:
    if values is None:
        return cell("–")
    share = (1.0 - values["mean"]) / max(1.0 - worst, 1e-9)
    tint = f"background: rgb(213 94 0 / {round(45 * share)}%)"
    return element("td", text(number(100 * values["mean"], 1)), style=tint)


def _epoch(values: Summary | None, epochs: int | None) -> str:
    """Epochs count from 0 in the records, and from 1 for readers."""
    if values is None:
        return "–"
    if len(set(values["values"])) == 1:
        epoch = int(values["mean"]) + 1
        return f"{epoch} (last)" if epoch == epochs else str(epoch)
    return f"{min(values['values']) + 1:.0f} to {max(values['values']) + 1:.0f}"


def _metric_cell(values: Summary | None, column: Column) -> Markup:
    return cell("–" if values is None else mean_and_interval(values, column.scale, column.digits))


def cell(value: str) -> Markup:
    """Return a value as a cell."""
    return element("td", text(value))


def right_and_wrong() -> Markup:
    """Return the legend of pictures with a line for right labels and one for wrong ones."""
    return element(
        "p",
        element("span", class_="line right"),
        text("right labels"),
        element("span", class_="line wrong"),
        text("wrong labels"),
        class_="legend",
    )


def swatch(look: Look) -> Markup:
    """Return a little square in the colour of an arm."""
    return element("span", class_="swatch", style=f"background: {look.colour}")


def arm_name(name: str, looks: Mapping[str, Look]) -> Markup:
    """Return the first cell of an arm's row."""
    return element("th", swatch(looks[name]), text(name), scope="row")


def heading(name: str, note: str = "", class_: str = "") -> Markup:
    """Return the first cell of a column; ``note`` is its second, quiet line."""
    attributes = {"class_": class_} if class_ else {}
    under = [element("span", text(note), class_="under")] if note else []
    return element("th", text(name), *under, scope="col", **attributes)


def table(head: Sequence[Markup], rows: Sequence[Markup]) -> Markup:
    """Return a table, which scrolls where it is wider than the page."""
    whole = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
    return element("div", whole, class_="scroll")
