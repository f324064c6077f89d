"""Sections of runs with few labels: what each part of the ladder is worth, curves by step, health, boundaries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import write_atomically
from ..evaluation import Comparison
from . import bands, few_labels_plots, sections, tables
from .canvas import Look
from .drawing.boundaries import Boundaries, animation, picture_grid
from .markup import Markup, data_uri, element, paragraph, picture, section, text
from .reading import Floats, Run

Looks = Mapping[str, Look]
_PARTS = (
    ("offline", "supervised", "labels made once, offline"),
    ("uda", "supervised", "consistency: UDA's part"),
    ("uda-2", "uda", "twice the weight on labels"),
    ("distil", "uda", "a student beside the network, without feedback"),
    ("mpl-soft", "distil", "the meta-gradient, exact: its part"),
    ("mpl-per-sample", "distil", "the meta-gradient, drawn labels with a credit each"),
    ("mpl-scalar", "distil", "the meta-gradient as in the paper: one credit for the batch"),
    ("mpl-wrong-sign", "distil", "control: the meta-gradient with its sign turned"),
)
_WORDS = {"better": "a gain", "worse": "a loss", "tie": "a tie", "one seed": "one seed only, no verdict"}
_BESIDES = {"ema": "moving average", "finetune_steps": "fine-tuning"}
_MOST_CLASSES = 20
PNG, GIF = "boundaries.png", "boundaries.gif"


def is_one(run: Run) -> bool:
    """Return whether a run is one with few labels."""
    return "labelled_rows" in run.part("data")


def body(run: Run, looks: Looks) -> list[Markup | None]:
    """Return the sections of the page, in order."""
    return [
        sections.head(run),
        sections.outcome(run, looks),
        parts(run, looks),
        sections.comparison(run, looks),
        learning(run, looks),
        boundaries(run),
        health(run, looks),
        label_shares(run, looks),
        sections.options(run),
    ]


def parts(run: Run, looks: Looks) -> Markup | None:
    """Which part of the gain is whose: the steps of the ladder as paired differences."""
    found = {(c["a"], c["b"]): c for c in run.result.get("comparisons", [])}
    steps = [(a, b, words, found[a, b]) for a, b, words in _PARTS if (a, b) in found]
    if not steps:
        return None
    after = _after(run)
    head = [tables.heading("Step"), tables.heading("What is added", class_="words"), tables.heading("Worth")]
    rows = [
        element(
            "tr",
            element("th", tables.swatch(looks[a]), text(f"{a} − {b}"), scope="row"),
            element("td", text(words + (after if a == "distil" else "")), class_="words"),
            tables.difference_cell(difference),
        )
        for a, b, words, difference in steps
    ]
    note = paragraph(
        "Each row adds one part to the arm before it, with the same labelled rows, batches and initial networks:",
        "the paired difference in accuracy is what that part is worth here, a tie where its interval contains 0.",
    )
    return section("Where the gain comes from", note, *_in_a_sentence(found, after), tables.table(head, rows))


def _after(run: Run) -> str:
    """What a student has besides that the network of uda has not."""
    config = run.part("config")
    parts = [name for option, name in _BESIDES.items() if config.get(option)]
    return f", with its {' and '.join(parts)}" if parts else ""


def _in_a_sentence(found: Mapping[tuple[str, str], Comparison], after: str) -> list[Markup]:
    whole, uda, student, meta = (
        found.get(pair)
        for pair in (("mpl-soft", "supervised"), ("uda", "supervised"), ("distil", "uda"), ("mpl-soft", "distil"))
    )
    if whole is None or uda is None or student is None or meta is None:
        return []

    def said(c: Comparison) -> str:
        return f"{tables.number(100 * c['mean_difference'], 1)} points ({_WORDS[tables.verdict(c)]})"

    line = (
        f"From labels alone to soft meta pseudo labels accuracy changes by {said(whole)}: {said(uda)} are UDA's, "
        f"{said(student)} the student's beside it{after}, {said(meta)} the meta-gradient's."
    )
    return [paragraph(line)]


def learning(run: Run, looks: Looks) -> Markup | None:
    """Test accuracy over steps."""
    curves = {arm: (_steps(run, arm), _series(run, arm, "accuracy")) for arm in run.arms if arm in run.trajectories}
    if not curves:
        return None
    note = paragraph(
        "Accuracy on the test examples over steps, of the network that counts: a student's moving average where there",
        "is one, its fine-tuning and further rounds at the end.",
        bands.describe(len(run.seeds)),
    )
    ends = ", ".join(f"{arm} {100 * float(v[:, -1].mean()):.1f} %" for arm, (_, v) in curves.items())
    shown = few_labels_plots.by_step(curves, looks, "test accuracy, %", scale=100.0)
    return section("Learning curves", note, picture(shown, f"Learning curves; at the end: {ends}.", "wide"))


def health(run: Run, looks: Looks) -> Markup | None:
    """How many examples pass the mask, how sure labels are, and the warning where none passes."""
    masks = _curves(run, "mask_rate")
    sure = {arm: counts for arm in run.arms if (counts := _counts(run, arm, "confidence_histogram")) is not None}
    if not masks and not sure:
        return None
    shown = [_warning(warning) for warning in run.result.get("silent_masks", [])]
    for metric, what, scale, limits in (
        ("mask_rate", "share of unlabelled examples that pass the mask, %", 100.0, (0.0, 100.0)),
        ("label_rate", "share of labels that are sure enough for the student, %", 100.0, (0.0, 100.0)),
        ("h", "credit h of the labels: by how much they lower the labelled loss *", 1.0, None),
        ("feedback_loss", "labelled loss of the student after its step, nats", 1.0, None),
        ("meta_cosine", "cosine of the meta-gradient and that of the teacher's labelled loss", 1.0, (-1.0, 1.0)),
        ("label_entropy", "mean entropy of the labels, nats", 1.0, None),
    ):
        if curves := _curves(run, metric):
            drawn = few_labels_plots.by_step(curves, looks, what, scale=scale, limits=limits)
            shown.append(picture(drawn, f"{what}, over steps."))
    if _curves(run, "h"):
        shown.append(
            paragraph(
                "* The difference itself in mpl-scalar under plain SGD, else to first order at the step's end: where",
                "steps are large the loss may fall though h is below 0.",
            )
        )
    if sure:
        shown.append(paragraph("Labels by confidence, the largest probability, in percent, at the end of training:"))
        shown.append(_shares(sure, [f"from {i / 10:.1f}" for i in range(10)], looks))
    note = paragraph(
        "The consistency term counts examples whose label is sure enough. Where the mask lets none pass, the term is 0",
        "and nothing is learned from unlabelled examples. Below, for every arm with labels:",
    )
    return section("Health of the labels", note, *shown)


def _warning(warning: Mapping[str, Any]) -> Markup:
    counts = ", ".join(map(str, warning["histogram"]))
    line = (
        f"Warning: in {warning['arm']}, seed {warning['seed']}, the threshold masked every example for "
        f"{warning['steps']} steps; examples by confidence, in tenths: {counts}. Lower {warning['option']}."
    )
    return element("p", element("strong", text(line)))


def label_shares(run: Run, looks: Looks) -> Markup | None:
    """Which classes the labels are of, at the end of training."""
    found = {arm: counts for arm in run.arms if (counts := _counts(run, arm, "label_histogram")) is not None}
    names = list(run.part("data").get("classes", []))
    if not found or len(names) > _MOST_CLASSES:
        return None
    note = paragraph(
        "Shares of the classes among the labels at the end of training, in percent, the mean over seeds. A class",
        "without labels is one that the student cannot learn from unlabelled examples.",
    )
    return section("Labels by class", note, _shares(found, names, looks))


def _shares(found: Mapping[str, Floats], names: Sequence[str], looks: Looks) -> Markup:
    """Return shares as a table, a row an arm; the larger, the darker."""
    rows = []
    for arm, values in found.items():
        cells = [
            element(
                "td",
                text(tables.number(100 * share, 1)),
                style=f"background: rgb(0 114 178 / {round(45 * share / max(values.max(), 1e-9))}%)",
            )
            for share in values.tolist()
        ]
        rows.append(element("tr", tables.arm_name(arm, looks), *cells))
    return tables.table([tables.heading("Arm"), *(tables.heading(name) for name in names)], rows)


def boundaries(run: Run) -> Markup | None:
    """The boundary of each arm over training, with links to the files."""
    path = run.path / PNG
    if not path.is_file():
        return None
    note = paragraph(
        f"The plane at five moments of training, seed {run.seeds[0]}: the colour is the probability of a class, white",
        "where it is one half; labelled points are large.",
    )
    links = element(
        "p",
        text("Files: "),
        element("a", text(PNG), href=PNG),
        text(", "),
        element("a", text(GIF), href=GIF),
        text(" (all of training)."),
    )
    alt = f"Decision boundaries of {', '.join(run.part('about'))} at five moments of training."
    return section("Boundaries", note, picture(data_uri("image/png", path.read_bytes()), alt, "wide"), links)


def write_pictures(run: Run, folder: Path) -> None:
    """Write the boundaries of a run on two axes as a picture and an animation; nothing for other runs."""
    if drawn := _drawn(run):
        write_atomically(folder / PNG, picture_grid(drawn))
        write_atomically(folder / GIF, animation(drawn))


def _drawn(run: Run) -> dict[str, Boundaries]:
    order = [arm for arm in run.result.get("order", []) if arm in run.trajectories]
    arrays = {arm: run.trajectories[arm].arrays for arm in order}
    return {
        arm: Boundaries(
            a["frames"], a["probe"], a["x"], a["y"], a["labelled"], _steps(run, arm),
            [float(r["accuracy"]) for r in run.trajectories[arm].records[0]],
        )
        for arm, a in arrays.items()
        if "frames" in a
    }  # fmt: skip


def _series(run: Run, arm: str, metric: str) -> Floats:
    return run.trajectories[arm].series(metric)


def _steps(run: Run, arm: str) -> list[int]:
    return [int(record["step"]) for record in run.trajectories[arm].records[0]]


def _curves(run: Run, metric: str) -> dict[str, tuple[list[int], Floats]]:
    """Curves of the arms that recorded a metric, without the steps at which none of their seeds did."""
    found = {}
    for arm in run.trajectories:
        values = _series(run, arm, metric)
        if values.shape[1]:
            there = np.flatnonzero(np.isfinite(values).any(axis=0))
            steps = _steps(run, arm)
            found[arm] = [steps[i] for i in there], values[:, there]
    return found


def _counts(run: Run, arm: str, name: str) -> Floats | None:
    """Shares by bin of the last record that has them, the mean over seeds."""
    if arm not in run.trajectories:
        return None
    last = [next((r[name] for r in reversed(seed) if name in r), None) for seed in run.trajectories[arm].records]
    shares = [np.array(counts, dtype=np.float64) / max(sum(counts), 1) for counts in last if counts is not None]
    return np.mean(shares, axis=0) if shares else None
