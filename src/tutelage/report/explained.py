"""Pages of runs that teach learners with hypotheses: what errors these are left with, and what is shown, and why."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..evaluation import Summary
from . import bands, explained_images, sections, selected, selected_plots, setting, tables
from .canvas import Look, looks
from .diagnosis import warnings
from .markup import Markup, element, paragraph, picture, section, text
from .reading import Run

_KINDS = {
    "cluster_rand": "learned from clusters, classes and pairs of classes, filled up with random ones",
    "cluster": "learned from clusters, classes and pairs of classes",
    "rand": "learned from each class, and random ones",
    "sparse": "learned from each class, and random ones that look at two features",
}
_EXPLANATIONS = {
    "none": "none",
    "cam": "class activation maps of the label that is told",
    "occlusion": "how much covering a part of the image lowers the probability of the label that is told",
}
_TITLES = {
    "error": ("Expected error", "expected test error, %"),
    "accuracy": ("Right answers", "right answers of a learner, %"),
    "entropy": ("Hypotheses that are left", "entropy of the hypotheses, bits"),
}


def is_one(run: Run) -> bool:
    """Return whether teachers of a run chose rows for learners with hypotheses."""
    return run.result.get("recipe") == "explain"


def body(run: Run) -> list[Markup | None]:
    """Return the sections of the page, in order."""
    return [
        head(run),
        selected.verdict(run),
        warnings(run),
        outcome(run),
        curves(run),
        selected.wrong(run),
        kept(run),
        explained_images.chosen(run),
        sections.options(run),
    ]


def head(run: Run) -> Markup:
    """Title, the setting in a paragraph, the facts."""
    config, facts = run.part("config"), run.part("selection")
    own = {
        "Shown": f"{facts['size']} rows, {config['rows']} at a time",
        "Label noise": selected.label_noise(run),
        "Hypotheses": f"{facts['hypotheses']}, {_KINDS[config['hypotheses']]}; alpha {config['alpha']:g}",
        "They look at": "pixels" if config["features"] == "pixels" else f"features of {config['net']}",
        "Network": _network(run),
        "Explanations": _EXPLANATIONS[config["explain"]],
        "Learners": f"{config['learners']} a seed",
    }
    return setting.head(run, _sentences(run), setting.with_own(run, own))


def _sentences(run: Run) -> list[str]:
    data, facts = run.part("data"), run.part("selection")
    found = [
        f"From {data['pool_rows']:,} labelled rows of {data['name']}, {len(data['classes'])} classes, teachers choose "
        f"{facts['size']} to show, in an order, to learners who decide each class by a linear hypothesis and let go of "
        "it where it is wrong.",
        f"Learners are asked about {data['test_rows']:,} test rows, by which nothing is chosen.",
        "This is a simulation: that such learners are left with few errors says nothing of people.",
    ]
    if facts["one_network"]:
        found.append("Seeds share pool and test, and the network where there is no noise: they differ in draws alone.")
    return found


def _network(run: Run) -> str:
    config, levels = run.part("config"), run.part("selection")["levels"]
    if config["net"] is None:
        return ""
    told = "; ".join(
        f"noise {rate}: {tables.mean_and_interval(level['network']['pool_accuracy'], 100.0, 1)} % of the pool right, "
        f"{tables.mean_and_interval(level['network']['test_accuracy'], 100.0, 1)} % of the test"
        for rate, level in levels.items()
    )
    return f"{config['net']}, {config['epochs']} passes over the pool alone; {told}"


def outcome(run: Run) -> Markup:
    """Errors and answers at a few sizes with the difference from random, tables for each rate of noise."""
    parts: list[Markup] = [_intervals(run)]
    for rate, level in run.part("selection")["levels"].items():
        parts.append(element("h3", text(f"Label noise {rate}")))
        parts += [_table(run, level, metric) for metric in ("error", "accuracy")]
        parts.append(_limits(level))
    return section("Results", *parts, *sections.about(run))


def _intervals(run: Run) -> Markup:
    if (seeds := len(run.seeds)) < 2:
        return paragraph(sections.ONE_SEED)
    return paragraph(
        "Expected error: of the hypotheses that are left, as likely as each is, the share of test rows that they take",
        "for the wrong side of a class, mean over classes. Right answers: the share of test rows that a learner takes",
        f"for their class, mean over learners; vote: that of all hypotheses together. Means over {seeds} seeds ± half",
        "the 95 % interval; below them the paired difference from random rows, in points, with its verdict. The best",
        "mean of a column is bold.",
    )


def _table(run: Run, level: Mapping[str, Any], metric: str) -> Markup:
    facts = run.part("selection")
    counts, error = [str(n) for n in facts["sizes"]], metric == "error"
    found = level["error_differences" if error else "differences"]
    differences = {n: {c["a"]: c for c in found[n]} for n in counts}
    pick, scale = (min, -100.0) if error else (max, 100.0)
    best = {n: pick(own[metric][n]["mean"] for own in level["arms"].values()) for n in counts}
    head = [tables.heading(_TITLES[metric][0]), *(tables.heading(f"{n} rows", "%, minus random") for n in counts)]
    head += [tables.heading("Entropy", "bits, end")] if error else [tables.heading("Vote", "%, end")]
    styles, rows = looks(run.result["order"]), []
    for name in run.result["order"]:
        own = level["arms"][name]
        cells = [tables.percent_compared(own[metric][n], best[n], differences[n].get(name), scale) for n in counts]
        last = own["entropy" if error else "posterior"][counts[-1]]
        cells.append(tables.cell(tables.mean_and_interval(last, 1.0 if error else 100.0, 2 if error else 1)))
        rows.append(element("tr", tables.arm_name(name, styles), *cells))
    return tables.table(head, rows)


def _limits(level: Mapping[str, Any]) -> Markup:
    start, best = level["start"], level["best"]
    return paragraph(
        f"Before the first row: an expected error of {_percent(start['error'])}, {_percent(start['accuracy'])} right",
        "answers. With the hypotheses of least error on the pool, which is what teaching can lead to:",
        f"{_percent(best['error'])} and {_percent(best['accuracy'])}.",
        class_="quiet",
    )


def _percent(value: Summary) -> str:
    return f"{tables.mean_and_interval(value, 100.0, 1)} %"


def curves(run: Run) -> Markup:
    """What learners are left with by the number of shown rows, figures for each rate of noise."""
    rows, styles = run.part("config")["rows"], looks(run.result["order"])
    note = paragraph(
        "Means after each lesson, from before the first row on.",
        bands.describe(len(run.seeds)),
        "The dotted line is where the hypotheses of least error on the pool are.",
    )
    blocks = []
    for rate, level in run.part("selection")["levels"].items():
        for metric, (name, label) in _TITLES.items():
            scale = 1.0 if metric == "entropy" else 100.0
            line = level["best"].get(metric)
            image = _figure(level, metric, scale, styles, rows, label, None if line is None else scale * line["mean"])
            title = element("h3", text(f"{name}, label noise {rate}"))
            blocks.append(element("div", title, image, class_="block"))
    return section("By the number of rows", note, *blocks)


def _figure(
    level: Mapping[str, Any],
    metric: str,
    scale: float,
    styles: Mapping[str, Look],
    rows: int,
    label: str,
    line: float | None,
) -> Markup:
    values = {name: scale * np.array(own["curves"][metric]) for name, own in level["arms"].items()}
    ends = ", ".join(f"{name} {float(v[:, -1].mean()):.2f}" for name, v in values.items())
    image = selected_plots.by_rows(values, styles, rows, first=0, label=label, line=line)
    return picture(image, f"{label}; at the end: {ends}.", "wide")


def kept(run: Run) -> Markup | None:
    """Rows of each class that the filter keeps."""
    facts, classes = run.part("selection"), run.part("data")["classes"]
    if facts["filter"] == "none":
        return None
    rows = []
    for rate, level in facts["levels"].items():
        share = 100 * sum(level["kept"]) / sum(level["pool"])
        cells = [tables.cell(tables.number(count, 1)) for count in level["kept"]]
        label = element("th", text(f"noise {rate}"), scope="row")
        rows.append(element("tr", label, *cells, tables.cell(f"{tables.number(share, 1)} %")))
    note = paragraph(
        "Rows that all teachers, random too, choose from, by their given label, mean over seeds: those on which the",
        "hypothesis of least error of every class is right.",
    )
    head = [tables.heading("Rows"), *(tables.heading(str(name)) for name in classes), tables.heading("Of the pool")]
    return section("What the filter keeps", note, tables.table(head, rows))
