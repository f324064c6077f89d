"""Pages of runs whose teachers choose what is shown: how soon students learn, what is shown, and why."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import bands, sections, selected_images, selected_plots, setting, tables
from .canvas import Look, looks
from .diagnosis import warnings
from .markup import Markup, element, paragraph, picture, section, text
from .reading import Run

_FILTERS = {
    "none": "all rows may be shown",
    "in-sample": "rows whose label a linear model of the whole pool predicts",
    "cross-fitted": "rows whose label a linear model of the other folds predicts",
}


def is_one(run: Run) -> bool:
    """Return whether teachers of a run chose rows of a pool."""
    return "selection" in run.result


def body(run: Run) -> list[Markup | None]:
    """Return the sections of the page, in order."""
    return [
        head(run),
        verdict(run),
        warnings(run),
        outcome(run),
        curves(run),
        wrong(run),
        kept(run),
        selected_images.chosen(run),
        sections.options(run),
    ]


def head(run: Run) -> Markup:
    """Title, the setting in a paragraph, the facts."""
    config, facts = run.part("config"), run.part("selection")
    own = {
        "Shown": f"{facts['size']} rows, {config['rows']} at a time",
        "Label noise": label_noise(run),
        "Student": _student(config),
        "Published code": "--compat: its schedule, no filter" if config["compat"] else "",
    }
    return setting.head(run, _sentences(run), setting.with_own(run, own))


def _sentences(run: Run) -> list[str]:
    data, facts = run.part("data"), run.part("selection")
    found = [
        f"From {data['pool_rows']:,} labelled rows of {data['name']}, {len(data['classes'])} classes, teachers choose "
        f"{facts['size']} to show, in an order. After each lesson a simulated student studies all that it was shown, "
        "and the next rows are chosen for the student as it is then.",
        f"Accuracy is measured on {data['test_rows']:,} test rows, by which nothing is chosen.",
        "This is a simulation: that a student of this kind learns from a set says nothing of people.",
    ]
    if any(float(rate) for rate in facts["levels"]):
        found.append("Labels of the pool are drawn anew at some rates, to see what teachers make of wrong ones.")
    return found


def label_noise(run: Run) -> str:
    """Say of each rate of noise how many labels are wrong."""
    levels = run.part("selection")["levels"]
    return "; ".join(
        f"{100 * float(rate):g} % drawn anew among all classes, {100 * float(np.mean(level['realised'])):.1f} % wrong"
        if float(rate)
        else "none put in"
        for rate, level in levels.items()
    )


def _student(config: Mapping[str, Any]) -> str:
    if config["embedding"] is not None:
        what = "rows as they are" if config["embedding"] == "pixels" else f"{config['components']} principal components"
        name = f"linear, on {what}"
    else:
        name = f"{config['student']}, {config['backbone']}"
    if config["schedule"] == "paper":
        return f"{name}; 10 steps a row at rate 0.0001, as published: it has not fitted what it was shown"
    return f"{name}; {config['steps']} steps a row at rate {config['lr']:g}"


def verdict(run: Run) -> Markup | None:
    """What follows, as the recipe put it."""
    first, *rest = run.part("conclusion").get("lines") or [""]
    if not first:
        return None
    note = paragraph(
        "Better or worse than random rows: the 95 % interval of the paired differences excludes 0, and p, corrected",
        "for the number of arms by Holm's procedure, is at most .05. Where no difference is shown, there may be one.",
    )
    items = [element("li", text(line)) for line in rest]
    return section("What follows", element("p", element("strong", text(first))), element("ul", *items), note)


def outcome(run: Run) -> Markup:
    """Accuracy at a few sizes with the difference from random, a table for each rate of noise."""
    facts = run.part("selection")
    parts: list[Markup] = [_intervals(run)]
    for rate, level in facts["levels"].items():
        parts += [element("h3", text(f"Label noise {rate}")), _table(run, level)]
    return section("Results", *parts, *_about(run))


def _intervals(run: Run) -> Markup:
    seeds = len(run.seeds)
    if seeds < 2:
        return paragraph(sections.ONE_SEED)
    return paragraph(
        f"Test accuracy in percent after so many shown rows, mean over {seeds} seeds ± half the 95 % interval; below",
        "it the paired difference from random rows, in points, with its verdict. The best mean of a column is bold.",
    )


def _table(run: Run, level: Mapping[str, Any]) -> Markup:
    facts = run.part("selection")
    counts = [str(n) for n in facts["sizes"]]
    head = [tables.heading("Arm"), *(tables.heading(f"{n} rows", f"%, minus {facts['baseline']}") for n in counts)]
    head.append(tables.heading("Mislabelled", "% of the shown"))
    differences = {n: {c["a"]: c for c in level["differences"][n]} for n in counts}
    best = {n: max(own["accuracy"][n]["mean"] for own in level["arms"].values()) for n in counts}
    styles, rows = _looks(run), []
    for name in run.result["order"]:
        own = level["arms"][name]
        cells = [tables.percent_compared(own["accuracy"][n], best[n], differences[n].get(name)) for n in counts]
        cells.append(tables.cell(tables.number(100 * own["wrong"]["mean"], 1)))
        rows.append(element("tr", tables.arm_name(name, {name: styles[_teacher(name)]}), *cells))
    label = element("th", text(f"all {run.part('data')['pool_rows']:,} rows"), scope="row")
    reference = tables.cell(tables.mean_and_interval(level["whole_pool"], 100.0, 1))
    share = tables.cell(tables.number(100 * float(np.mean(level["realised"])), 1))
    rows.append(element("tr", label, *[tables.cell("–")] * (len(counts) - 1), reference, share))
    return tables.table(head, rows)


def _about(run: Run) -> list[Markup]:
    return sections.told_about({_teacher(name): run.part("about")[name] for name in run.result["order"]})


def curves(run: Run) -> Markup:
    """Accuracy by the number of shown rows: a figure for each rate of noise and filter."""
    facts, styles = run.part("selection"), _looks(run)
    note = paragraph(
        "Mean test accuracy after each lesson.",
        bands.describe(len(run.seeds)),
        "The dotted line is the accuracy after all rows of the pool, wrong labels included.",
    )
    blocks = []
    for rate, level in facts["levels"].items():
        for keep in dict.fromkeys(k for name in run.result["order"] if (k := facts["filters"][name]) is not None):
            names = [name for name in run.result["order"] if facts["filters"][name] in (None, keep)]
            values = {_teacher(name): 100 * np.array(level["arms"][name]["curves"]) for name in names}
            ends = ", ".join(f"{name} {float(v[:, -1].mean()):.1f} %" for name, v in values.items())
            whole = 100 * float(level["whole_pool"]["mean"])
            image = selected_plots.by_rows(values, styles, run.part("config")["rows"], line=whole)
            title = element("h3", text(f"Label noise {rate}, {_filter(keep)}"))
            blocks.append(element("div", title, picture(image, f"At the end: {ends}.", "wide"), class_="block"))
    return section("By the number of rows", note, *blocks)


def wrong(run: Run) -> Markup | None:
    """How many of the shown rows are mislabelled."""
    blocks = []
    for rate, level in run.part("selection")["levels"].items():
        there = float(np.mean(level["realised"]))
        if there:
            shares = {name: level["arms"][name]["wrong"] for name in run.result["order"]}
            told = ", ".join(f"{name} {100 * share['mean']:.0f} %" for name, share in shares.items())
            image = picture(selected_plots.wrong_labels(shares, there), f"Mislabelled: {told}.", "wide")
            blocks += [element("h3", text(f"Label noise {rate}")), image]
    if not blocks:
        return None
    note = paragraph(
        "A wrong label is the hardest example of all: a teacher that seeks what the student gets most wrong finds",
        "wrong labels first, unless they are filtered out before.",
    )
    return section("Wrong labels among what is shown", note, *blocks)


def kept(run: Run) -> Markup | None:
    """Rows of each class that the filters keep."""
    facts, classes = run.part("selection"), run.part("data")["classes"]
    rows = []
    for rate, level in facts["levels"].items():
        for keep, counts in level["kept"].items():
            share = 100 * sum(counts) / sum(level["pool"])
            cells = [tables.cell(tables.number(count, 1)) for count in counts]
            label = element("th", text(f"{_filter(keep)}, noise {rate}"), scope="row")
            rows.append(element("tr", label, *cells, tables.cell(f"{tables.number(share, 1)} %")))
    if not rows:
        return None
    note = paragraph("Rows that may be shown, by their given label, mean over seeds; and their share of the pool.")
    told = element("ul", *(element("li", text(f"{_filter(k)}: {_FILTERS[k]}")) for k in level["kept"]), class_="about")
    head = [tables.heading("Filter"), *(tables.heading(str(name)) for name in classes), tables.heading("Of the pool")]
    return section("What the filters keep", note, tables.table(head, rows), told)


def _looks(run: Run) -> dict[str, Look]:
    """A look for each teacher, whatever its filter."""
    return looks(list(dict.fromkeys(_teacher(name) for name in run.result["order"])))


def _teacher(arm: str) -> str:
    return arm.split(" (")[0]


def _filter(keep: str) -> str:
    return "no filter" if keep == "none" else keep
