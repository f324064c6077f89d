"""Pages of runs in which networks teach networks: results, how students follow, and where answers came from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..evaluation import Summary, summary
from ..gap import LARGEST
from ..statistics import told
from . import (
    bands,
    diagnosis,
    distilled_answers,
    distilled_chain,
    distilled_differences,
    distilled_setting,
    distilled_views,
    few_labels_plots,
    plots,
    sections,
    tables,
)
from .canvas import QUIET, Look
from .markup import Markup, element, paragraph, picture, section, text
from .reading import Run

Looks = Mapping[str, Look]
_COLUMNS = (
    tables.Column("accuracy", "Test accuracy", "%", 100.0, 2),
    tables.Column("validation_accuracy", "Validation", "accuracy, %", 100.0, 2),
    tables.Column("mean_member_accuracy", "One alone", "accuracy, mean of its networks, %", 100.0, 2),
    tables.Column("calibration_error", "Calibration error", "%, lower is better", 100.0, 1),
    tables.Column("agreement", "Agrees", "with its teacher, studied rows, %", 100.0, 1),
    tables.Column("gap", "Gap r", "0: answers as its teacher", 1.0, 3),
    tables.Column("label_accuracy", "Its labels", "% right, of the rows without", 100.0, 2),
    tables.Column("degenerate_rows", "Degenerate rows", "a step, left out"),
)
_REFERENCE = Look(QUIET, "-", "D")
_SKIP = 0.25


def is_one(run: Run) -> bool:
    """Return whether a run consists of stages in which networks teach networks."""
    return "stages" in run.result


def body(run: Run, looks: Looks) -> list[Markup | None]:
    """Return the sections of the page, in order."""
    run = _by_class(run)
    return [
        distilled_setting.head(run),
        diagnosis.warnings(distilled_differences.without_power(run)),
        conclusion(run),
        outcome(run, looks),
        *distilled_chain.parts(run),
        *distilled_views.parts(run, looks),
        distilled_differences.section_of(run, looks),
        learning(run, looks),
        following(run, looks),
        *distilled_answers.parts(run),
        caches(run),
        sections.classes(run, looks),
        networks(run),
        sections.options(run),
    ]


def conclusion(run: Run) -> Markup | None:
    """What follows from the run in words, as the recipe put it; what a table says again is left to that."""
    lines = run.part("conclusion").get("lines", [])
    if not lines:
        return None
    tabled = {told(difference) for difference in run.result.get("comparisons", [])}
    first, *rest = (line for line in lines if line not in tabled)
    parts = [element("p", element("strong", text(first[:1].upper() + first[1:])))]
    if rest:
        parts.append(element("ul", *(element("li", text(line)) for line in rest)))
    return section("What follows", *parts)


def outcome(run: Run, looks: Looks) -> Markup:
    """Accuracy as dots, the teachers' too, and the table of results."""
    summaries = {arm: m["accuracy"] for arm in run.arms if "accuracy" in (m := run.part("arms")[arm])}
    teachers = _teachers(run)
    shown, look = {**teachers, **summaries}, {**looks, **dict.fromkeys(teachers, _REFERENCE)}
    parts = [sections.interval_note(run)]
    if teachers:
        parts.append(paragraph("In grey the teacher: for reference, not an arm."))
    if shown:
        means = ", ".join(f"{name} {100 * s['mean']:.2f} %" for name, s in shown.items())
        parts.append(picture(plots.accuracy_dots(shown, look), f"Test accuracy: {means}.", "wide"))
    there = [c for c in _COLUMNS if any(c.metric in run.part("arms")[arm] for arm in run.arms)]
    head = [tables.heading("Arm"), *(tables.heading(c.heading, c.note) for c in there)]
    rows = [element("tr", tables.arm_name(name, look), *_cells({"accuracy": s}, there)) for name, s in teachers.items()]
    rows += [element("tr", tables.arm_name(arm, looks), *_cells(run.part("arms")[arm], there)) for arm in run.arms]
    return section("Results", *parts, tables.table(head, rows), *sections.about(run))


def _teachers(run: Run) -> dict[str, Summary]:
    stages = run.part("stages")
    return {name: stages[name]["accuracy"] for name in ("teacher",) if name in stages and name not in run.arms}


def _cells(metrics: Mapping[str, Summary], columns: Sequence[tables.Column]) -> list[Markup]:
    values = [(metrics.get(c.metric), c) for c in columns]
    return [
        tables.cell("–" if value is None else tables.mean_and_interval(value, c.scale, c.digits)) for value, c in values
    ]


def learning(run: Run, looks: Looks) -> Markup | None:
    """Test accuracy over steps."""
    series = {arm: (t, t.series("accuracy")) for arm, t in run.trajectories.items()}
    curves = {
        arm: ([int(record["step"]) for record in t.records[0]][: values.shape[1]], values)
        for arm, (t, values) in series.items()
        if values.shape[1] > 1
    }
    if not curves:
        return None
    note = paragraph(
        "Accuracy on the test examples over steps; the first quarter may leave the frame. They are looked at for these",
        f"curves only: what counts is {_picked(run)}.",
        bands.describe(len(run.seeds)),
    )
    ends = ", ".join(f"{arm} {100 * float(v[:, -1].mean()):.2f} %" for arm, (_, v) in curves.items())
    shown = few_labels_plots.by_step(curves, looks, "test accuracy, %", scale=100.0, skip=_SKIP)
    return section("Learning curves", note, picture(shown, f"Learning curves; at the end: {ends}.", "wide"))


def _picked(run: Run) -> str:
    by_validation = run.part("config").get("pick") == "validation"
    return "the step that is best on the validation examples" if by_validation else "the last step"


def following(run: Run, looks: Looks) -> Markup | None:
    """How far students are from their teachers in the end, on the rows that they studied."""
    arms = {arm: m for arm in run.arms if "agreement" in (m := run.part("arms")[arm])}
    if not arms:
        return None
    note = paragraph(
        "Gap r: how much of what the teacher says its student does not, on the rows that it studied; the mean KL",
        "divergence of the two over that of the teacher and its own mean answer: 0 answers as the teacher, 1 does no",
        f"better than one answer for all. Above {LARGEST:g} the student cannot follow this teacher; a smaller teacher,",
        "an assistant between the two or more weight on labels may help, none of them for sure. Arms that are not",
        "meant to answer as their teacher (hints, weighed labels, permuted answers) may have any gap.",
    )
    head = [
        tables.heading("Arm"), tables.heading("Gap r", "mean ± 95 %"), tables.heading("Agreement", "same class, %"),
        tables.heading("Follows", ""),
    ]  # fmt: skip
    rows = []
    for arm, metrics in arms.items():
        gap = metrics.get("gap")
        word = "–" if gap is None else "yes" if gap["mean"] <= LARGEST else f"r above {LARGEST:g}"
        cells = [
            tables.cell("–" if gap is None else tables.mean_and_interval(gap, 1.0, 3)),
            tables.cell(tables.mean_and_interval(metrics["agreement"], 100.0, 1)),
            element("td", element("b", text(word)), class_="verdict-worse" if word.startswith("r") else "verdict"),
        ]
        rows.append(element("tr", tables.arm_name(arm, looks), *cells))
    return section("Can the student follow?", note, tables.table(head, rows))


def caches(run: Run) -> Markup | None:
    """Where the teachers' answers came from: files, which and how large, or the networks themselves, and why."""
    part = run.part("distillation")
    live = {f"of {arm}": {"source": "live", "reason": reason} for arm, reason in part.get("live", {}).items()}
    found: Mapping[str, Mapping[str, Any]] = {**part.get("caches", {}), **live}
    if not found:
        return None
    head = [tables.heading("Teacher"), tables.heading("Answers", class_="words")]
    head += [tables.heading(n) for n in ("Size", "Rows × views × classes", "Stored as", "Fingerprint")]
    head.append(tables.heading("File", class_="words"))
    rows = []
    for name, facts in found.items():
        cells = [element("td", text(_origin(facts)), class_="words"), *map(tables.cell, _measures(facts))]
        cells.append(element("td", text(facts.get("file", "–")), class_="words"))
        rows.append(element("tr", element("th", text(name), scope="row"), *cells))
    note = paragraph(
        "A file stands for the teacher only if its fingerprint is that of the teacher, the rows and their transforms,",
        "if rows recomputed at the start agree, and if every input is the one that the teacher saw; else the run",
        "stops. All steps of arms that only ask for the teacher's logits are answered from it.",
    )
    return section("The teachers' answers", note, tables.table(head, rows))


def _origin(facts: Mapping[str, Any]) -> str:
    if facts["source"] != "cache":
        return f"live: {facts.get('reason', '')}"
    return "a file that was there before" if facts.get("reused") else "a file, made in this run"


def _measures(facts: Mapping[str, Any]) -> list[str]:
    if "bytes" not in facts:
        return ["–"] * 4
    shape = " × ".join(f"{facts[name]:,}" for name in ("rows", "views", "classes"))
    return [_size(facts["bytes"]), shape, str(facts["storage"]), str(facts["fingerprint"])[:16]]


def _size(count: int) -> str:
    return f"{count / 1e3:,.1f} kB" if count < 1e6 else f"{count / 1e6:,.1f} MB"


def networks(run: Run) -> Markup | None:
    """All networks that were trained, whose pupils they are, their size, steps and time."""
    names = ("Network", "Taught by", "Parameters", "Steps", "Test accuracy", "Seconds", "Fingerprint")
    rows = []
    for name, stage in run.part("stages").items():
        prints = [str(seed["network"])[:8] for seed in stage.get("fingerprints", [])]
        seconds = run.part("seconds").get(name)
        values = [
            ", ".join(stage["needs"]) or "labels",
            f"{stage['parameters']:,}" if "parameters" in stage else "–",
            f"{stage['steps']:,}",
            tables.mean_and_interval(stage["accuracy"], 100.0, 2),
            "–" if seconds is None else f"{seconds:.0f}",
        ]
        cells = [tables.cell(value) for value in values]
        cells.append(element("td", text(" ".join(prints)), class_="words"))
        rows.append(element("tr", element("th", text(name), scope="row"), *cells))
    note = paragraph(
        "Every network of the run, of all seeds together; the first eight digits of each seed's fingerprint, in order.",
        "A network that several arms need is trained once.",
    )
    table = tables.table([tables.heading(n) for n in names], rows)
    shown = element("details", element("summary", text(f"All {len(rows)} kinds of networks")), note, table)
    return section("Networks", shown) if rows else None


def _by_class(run: Run) -> Run:
    """Add the accuracy of each class, from the records that count."""
    names = run.part("data").get("classes", [])
    found = {}
    for arm, trajectory in run.trajectories.items():
        rows = [end["per_class"] for end in trajectory.ends if len(end.get("per_class", ())) == len(names)]
        if names and rows:
            values = np.array(rows, dtype=np.float64)  # None, for a class without test rows, becomes NaN
            known = {name: column[np.isfinite(column)].tolist() for name, column in zip(names, values.T)}
            found[arm] = {name: summary(column) for name, column in known.items() if column}
    return replace(run, result={**run.result, "per_class": found}) if found else run
