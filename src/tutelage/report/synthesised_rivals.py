"""What a distilled set is worth beside real ones of its size: results, differences, scores, robustness."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from ..evaluation import Summary
from ..statistics import PairedDifference, power_warning
from . import synthesised_plots, tables
from .canvas import Look
from .markup import Markup, element, paragraph, picture, section, text
from .reading import Run
from .synthesised_reading import AUGMENTED, FULL, MADE, WAYS, of_seed, order, rivals, shared, value

Looks = Mapping[str, Look]
_SAME = 1e-9
"""Means nearer than this are one number: sums of the same shares round in their own order."""
_SCORES = {
    "HLR": ("hard-label recovery, points", "What is lost against training on all data, both trained freely; 0 loses "
            "nothing, lower is better."),
    "IOR": ("improvement over random, points", "What is won against as many random real examples, both trained freely "
            "at their best rate; 0 or below: random ones do as well."),
    "LRS": ("label-robust score, 0 to 1", "HLR and IOR in one number; 0.27 wins and loses nothing, higher is better."),
    "ARS": ("augmentation-robust score, 0 to 1", "IOR with augmented images and without in one number; 0.27 is no "
            "better than random real examples, higher is better."),
}  # fmt: skip


class Rival(NamedTuple):
    """Something simpler, and how it stands to the distilled set.

    Attributes:
        name: what was done with as many real images.
        mean: accuracy in [0, 1].
        better: whether it does better; None: neither was shown to.
        told: what that rests on.
    """

    name: str
    mean: float
    better: bool | None
    told: str


def simpler(run: Run) -> list[Rival]:
    """Return what does as well as the distilled set, or better, the best first."""
    metric = str(run.result["metric"])
    here = value(run, MADE, metric)
    if here is None:
        return []
    found = [_rival(run, c, here["mean"], metric) for c in run.result.get("comparisons", [])]
    return sorted((rival for rival in found if rival is not None), key=lambda rival: -rival.mean)


def _rival(run: Run, c: PairedDifference, here: float, metric: str) -> Rival | None:
    """Free training is compared with lessons by means alone: the paired difference is of another pair."""
    arm = c["b"].removeprefix("1-NN on ")
    there = value(run, arm, c["metric"])
    if arm == FULL or there is None:
        return None
    ways = {"accuracy": "in as many steps", "free_accuracy": "trained on freely"}
    name = f"{c['b']} {ways.get(c['metric'], '')}".strip()
    direct = c["metric"] in (metric, "neighbour_accuracy")
    if direct and c["verdict"] == "better":
        return None
    if direct and c["verdict"] != "numbers only":
        return Rival(name, there["mean"], True if c["verdict"] == "worse" else None, c["verdict"])
    if there["mean"] < here - _SAME:
        return None
    told = "too few seeds for a verdict" if direct else "compared by means"
    return Rival(name, there["mean"], there["mean"] > here + _SAME or None, told)


def outcome(run: Run, looks: Looks) -> Markup:
    """Accuracy of each set by each way; of an attack it has a section of its own."""
    names = {metric: name for metric, name, _ in WAYS}
    shown = {arm: {names[m]: found for m in names if (found := value(run, arm, m)) is not None} for arm in order(run)}
    shown = {arm: ways for arm, ways in shown.items() if ways}
    parts = [_interval_note(run)]
    if shown:
        told = "; ".join(f"{arm} {_listed(ways)}" for arm, ways in shown.items())
        image = synthesised_plots.side_by_side(shown, list(names.values()), looks)
        parts.append(picture(image, f"Test accuracy: {told}.", "wide"))
    parts += [_results(run, looks), _missing(run), _about(run), _rates(run)]
    return section("Beside real images", *parts)


def _listed(ways: Mapping[str, Summary]) -> str:
    return ", ".join(f"{way} {_percent(values['mean'])} %" for way, values in ways.items())


def _interval_note(run: Run) -> Markup:
    seeds = len(run.seeds)
    mean = (
        f"Mean over {seeds} seeds ± half the width of its 95 % confidence interval." if seeds > 1 else "One seed only."
    )
    return paragraph(
        f"All sets have as many images, and face the same networks and test rows. {mean} By lessons: the distilled set",
        "with its own step sizes, real ones at the constant one that does best on training rows, in as many steps.",
        "1-NN: the label of the nearest image, no network at all. Trained freely: SGD with momentum, rate by training",
        f"rows{_free_nets(run)}.",
        "" if not shared(run) else "The trained networks are the same for all seeds, which differ in images and rows.",
    )


def _free_nets(run: Run) -> str:
    """How many networks are trained freely, of those that judge."""
    found = of_seed(run, run.seeds[0]).get("free", {}).get(MADE)
    if not found:
        return ""
    count = len(found["accuracies"])
    return f", {count} network{'s' * (count != 1)} a set and seed"


def _results(run: Run, looks: Looks) -> Markup:
    extra = ("best_draw", "Best of its draws", "by lessons, chosen on training rows")
    augmented = ("augmented_accuracy", "Trained freely, augmented", "with changed images")
    columns = [(m, name, note) for m, name, note in (WAYS[0], extra, *WAYS[1:], augmented)]
    columns = [c for c in columns if any(value(run, arm, c[0]) is not None for arm in order(run))]
    head = [tables.heading("Set"), *(tables.heading(name[:1].upper() + name[1:], note) for _, name, note in columns)]
    rows = []
    for arm in order(run):
        values = [value(run, arm, metric) for metric, _, _ in columns]
        cells = [tables.cell("–" if v is None else tables.mean_and_interval(v, 100.0, 1)) for v in values]
        rows.append(element("tr", tables.arm_name(arm, looks), *cells))
    return tables.table(head, rows)


def _missing(run: Run) -> Markup:
    """Say what was left out, since a comparison that is not there cannot speak against the set."""
    arms, gone = run.part("arms"), []
    if not rivals(run):
        gone.append("real sets (--baselines)")
    if "free_accuracy" not in arms[MADE]:
        gone.append("free training (--free-epochs)")
    if FULL not in arms:
        gone.append("training on all data (--full-epochs)")
    return paragraph(f"Not measured in this run: {', '.join(gone)}." if gone else "", class_="quiet")


def _about(run: Run) -> Markup:
    lines = [(arm, run.part("about").get(arm)) for arm in order(run)]
    items = [element("li", element("b", text(arm)), text(f": {line}")) for arm, line in lines if line]
    return element("ul", *items, class_="about")


def _rates(run: Run) -> Markup:
    """What was chosen on training rows: step sizes of real sets by draw, and rates of free training."""
    head = [tables.heading("Seed"), tables.heading("Set", class_="words"), tables.heading("Way", class_="words")]
    head += [tables.heading("Chosen rate"), tables.heading("Training rows", "%"), tables.heading("Test rows", "%")]
    rows = []
    for seed in run.seeds:
        found = of_seed(run, seed)
        lines = [
            (arm, f"by lessons, draw {k + 1}", d["rate"], d["train_accuracy"], d["accuracy"])
            for arm, draws in found["baselines"].items()
            for k, d in enumerate(draws)
            if {"rate", "train_accuracy", "accuracy"} <= d.keys()
        ]
        lines += [
            (arm.removeprefix(AUGMENTED), f"trained freely{', augmented' * arm.startswith(AUGMENTED)}", f["rate"],
             f["tried"][f"{f['rate']:g}"], sum(f["accuracies"]) / len(f["accuracies"]))
            for arm, f in found.get("free", {}).items()
        ]  # fmt: skip
        for arm, way, rate, train, test in lines:
            words = [element("td", text(word), class_="words") for word in (arm, way)]
            cells = [tables.cell(v) for v in (f"{rate:g}", _percent(train), _percent(test))]
            rows.append(element("tr", element("th", text(seed), scope="row"), *words, *cells))
    if not rows:
        return text("")
    summary = element("summary", text("What was chosen on training rows: step sizes and rates"))
    return element("details", summary, tables.table(head, rows))


def differences(run: Run, looks: Looks) -> Markup | None:
    """The distilled set minus each real set, by each way."""
    found: Sequence[PairedDifference] = run.result.get("comparisons", [])
    if not found:
        return None
    kinds = [m for m in ("attack", *(m for m, _, _ in WAYS)) if any(c["metric"] == m for c in found)]
    names = {m: name for m, name, _ in WAYS} | {"attack": "share of the attacked class"}
    notes = {"neighbour_accuracy": f"{names.get(run.result['metric'])} − its 1-NN, points"}
    head = [tables.heading("Distilled minus")]
    head += [tables.heading(names[m][:1].upper() + names[m][1:], notes.get(m, "points")) for m in kinds]
    by_pair = {(c["b"].removeprefix("1-NN on "), c["metric"]): c for c in found}
    rows = []
    for arm in [arm for arm in order(run) if any((arm, m) in by_pair for m in kinds)]:
        cells = [tables.difference_cell(_in_points(by_pair.get((arm, m)))) for m in kinds]
        rows.append(element("tr", tables.arm_name(arm, looks), *cells))
    note = paragraph(
        "Seed by seed, mean ± half the 95 % interval. Better or worse: the interval excludes 0, and p, corrected for",
        "the number of sets in a column by Holm's procedure, is at most .05; equivalent: the 90 % interval is within",
        f"±{100 * found[0]['margin']:g} points; not shown: neither. With fewer than three seeds: numbers only.",
    )
    small = [line for c in found if (line := power_warning(c)) is not None]
    power = [element("ul", *(element("li", text(line)) for line in small), class_="about")] if small else []
    return section("Paired differences", note, tables.table(head, rows), *power)


def _in_points(c: PairedDifference | None) -> PairedDifference | None:
    """Tables tell accuracies in points, and know them by this name."""
    return None if c is None else cast(PairedDifference, {**c, "metric": "accuracy"})


def scores(run: Run) -> Markup | None:
    """HLR, IOR, LRS, ARS, and what they mean."""
    found = run.part("scores")
    there = [name for name in _SCORES if name in found]
    if not there:
        return None
    head = [tables.heading("Score"), tables.heading("Value"), tables.heading("What it says", class_="words")]
    rows = []
    for name in there:
        scale, digits = (100.0, 1) if name in ("HLR", "IOR") else (1.0, 3)
        label = element("th", text(name), element("span", text(_SCORES[name][0]), class_="under"), scope="row")
        shown = tables.cell(tables.mean_and_interval(found[name], scale, digits))
        rows.append(element("tr", label, shown, element("td", text(_SCORES[name][1]), class_="words")))
    note = paragraph("Scores of DD-Ranking (Li et al., 2025), of the images alone: order and step sizes do not count.")
    return section("Scores", note, tables.table(head, rows))


def robustness(run: Run) -> Markup | None:
    """What the set bears: changed step sizes, orders, roundings, networks."""
    rows: Sequence[Mapping[str, Any]] = run.result.get("robustness", [])
    known = [row for row in rows if row["mean"] is not None]
    if not known:
        return None
    head = [
        tables.heading("Change"), tables.heading("Test accuracy", "%, mean ± std"), tables.heading("Drop", "points"),
        tables.heading("Note", class_="words"),
    ]  # fmt: skip
    lines = [_robust_row(row) for row in rows]
    note = paragraph(
        f"The set of seed {run.seeds[0]}, changed one way at a time; the drop is against the set as it is. A large one",
        "says what must be kept with the images: their step sizes, their order, the network they were made for.",
    )
    changes = ", ".join(f"{row['name']} {_percent(row['mean'])} %" for row in known)
    alt = f"Accuracy by change: {changes}."
    image = picture(synthesised_plots.robustness(rows), alt, "wide")
    return section("What the set bears", note, image, tables.table(head, lines))


def _robust_row(row: Mapping[str, Any]) -> Markup:
    name = element("th", text("none: as it is" if row["name"] == "none" else row["name"]), scope="row")
    remark = element("td", text(row["note"]), class_="words")
    if row["mean"] is None:
        return element("tr", name, tables.cell("–"), tables.cell("–"), remark)
    std = "" if row["std"] is None else f" ± {_percent(row['std'])}"
    drop = 100 * row["drop"]
    tint = f"background: rgb(213 94 0 / {round(45 * min(max(drop, 0.0) / 50, 1.0))}%)"
    shown = "–" if row["name"] == "none" else tables.number(drop, 1)
    return element("tr", name, tables.cell(_percent(row["mean"]) + std), element("td", text(shown), style=tint), remark)


def _percent(share: float) -> str:
    return tables.number(100 * share, 1)
