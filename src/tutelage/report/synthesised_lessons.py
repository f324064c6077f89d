"""What a distilled set does lesson by lesson, to which networks, and how it came to be."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import synthesised_plots, tables
from .markup import Markup, element, paragraph, picture, section, text
from .reading import Array, Run
from .synthesised_images import outer_steps
from .synthesised_reading import MADE, Kept, applications, attack, kept, of_seed, shared

_OPEN = 30
"""Applications up to which their table stands open."""
_JUDGES = {
    "fixed": "the networks with the stored initial weights, for which alone the set is made",
    "random": "networks with fresh initial weights, which no outer step saw",
    "pretrained": "networks that were trained before, held out from distillation",
    "pretrained-fixed": "the one trained network that is known, for which alone the set is made",
}


def judges(run: Run) -> str:
    """Return who judges the set, and how many they are."""
    init, found = run.part("distillation")["init"], _judged(run, run.seeds[0])
    count = "" if found is None else f"{len(found[1])}: "
    return f"{count}{_JUDGES.get(init, init)}"


def lessons(run: Run) -> Markup | None:
    """Accuracy before and after each application, with its step size."""
    seed = run.seeds[0]
    first = of_seed(run, seed).get("along")
    if not applications(run) or first is None:
        return None
    others = [of_seed(run, s)["along"]["mean"] for s in run.seeds[1:]]
    ends = f"{_percent(first['mean'][0])} % before, {_percent(first['mean'][-1])} % at the end"
    note = paragraph(
        f"Accuracy on the test rows before the first application and after each, seed {seed}, over",
        f"{judges(run)}. Each application is one step of plain gradient descent on a batch.",
        "What counts is the end; the steps between are not meant to be good by themselves.",
        _changed(run),
    )
    image = picture(synthesised_plots.along(first, others), f"Accuracy by application: {ends}.", "wide")
    return section("Lesson by lesson", note, image, _table(run, seed, first))


def _changed(run: Run) -> str:
    return "Of an attack, this is the accuracy with the true labels." if attack(run) else ""


def _table(run: Run, seed: int, along: Mapping[str, Sequence[float]]) -> Markup:
    sizes = of_seed(run, seed)["step_sizes"]
    batches = int(run.part("config").get("batches") or len(sizes))
    heads = [
        tables.heading("Application"), tables.heading("Batch"), tables.heading("Epoch"), tables.heading("Step size"),
        tables.heading("Test accuracy", "%, mean ± std"), tables.heading("Least to most", "%"),
    ]  # fmt: skip
    rows = []
    for t in range(len(sizes) + 1):
        place = (
            ["–"] * 3 if t == 0 else [str((t - 1) % batches + 1), str((t - 1) // batches + 1), f"{sizes[t - 1]:.4g}"]
        )
        spread = f"{_percent(along['mean'][t])} ± {_percent(along['std'][t])}"
        values = [*place, spread, f"{_percent(along['least'][t])} to {_percent(along['most'][t])}"]
        name = element("th", text("before" if t == 0 else t), scope="row")
        rows.append(element("tr", name, *map(tables.cell, values)))
    table = tables.table(heads, rows)
    if len(sizes) <= _OPEN:
        return table
    return element("details", element("summary", text(f"All {len(sizes)} applications")), table)


def networks(run: Run) -> Markup | None:
    """How many networks reach which accuracy, over all seeds."""
    found = [pair for seed in run.seeds if (pair := _judged(run, seed)) is not None]
    if not found or sum(len(after) for _, after in found) < 5:
        return None
    before, after = (np.concatenate([pair[i] for pair in found]) for i in (0, 1))
    seeds = f"{len(found)} seed{'s' * (len(found) != 1)}"
    who = f"all {len(after):,} networks that judge, of {seeds} together"
    if shared(run):
        who = f"the {len(found[0][1]):,} networks that judge, the same for all of {seeds}, each once a seed"
    note = paragraph(
        f"The accuracies of {who}: after the last application {_spread(after)}. The two axes differ.",
    )
    alt = f"Histograms of accuracies: before {_spread(before)}, after {_spread(after)}."
    return section("Networks that judge", note, picture(synthesised_plots.histograms(before, after), alt, "wide"))


def _judged(run: Run, seed: int) -> tuple[Array, Array] | None:
    """Accuracies of networks before and after."""
    found = of_seed(run, seed)
    if found.get("attack"):
        return np.array(found["attack"]["before"]["overall"]), np.array(found["attack"]["after"]["overall"])
    if found.get("along"):
        return np.array(found["along"]["before"]), np.array(found["along"]["after"])
    return None


def _spread(values: Array) -> str:
    std = f" ± {_percent(float(values.std(ddof=1)))}" if len(values) > 1 else ""
    return f"{_percent(float(values.mean()))}{std} %, {_percent(values.min())} to {_percent(values.max())} %"


def optimisation(run: Run) -> Markup | None:
    """Outer loss, accuracy on training rows and step sizes over outer steps."""
    seed = run.seeds[0]
    records: Sequence[Mapping[str, Any]] = of_seed(run, seed)["records"]
    if not records:
        return None
    steps = [int(record["step"]) for record in records]
    loss = np.array([record["outer_loss"] for record in records])
    shown = [
        picture(synthesised_plots.over_steps(steps, [("", loss)], "outer loss"), f"Outer loss, {loss[-1]:.3g} last.")
    ]
    if all("train_accuracy" in record for record in records):
        values = 100 * np.array([record["train_accuracy"] for record in records], dtype=np.float64)  # None: diverged
        alt = f"Accuracy on training rows, {values[-1]:.1f} % last."
        what = "accuracy on training rows, %"
        shown.append(picture(synthesised_plots.over_steps(steps, [("", values)], what), alt))
    if (found := kept(run, MADE, seed)) is not None and (sizes := _sizes(run, found)) is not None:
        shown.append(picture(sizes, "Step sizes over outer steps."))
    note = paragraph(
        f"How the set of seed {seed} was learned: the mean outer loss between two looks, the accuracy of a few of the",
        "networks on training rows, and the step size of each application. No test row is looked at here.",
    )
    return section("Over optimisation", note, element("div", *shown, class_="multiples"))


def _sizes(run: Run, found: Kept) -> str | None:
    sizes = found.frame_step_sizes
    if sizes is None or not sizes.shape[1]:
        return None
    curves = [(f"step {t + 1}", column.numpy()) for t, column in enumerate(sizes.T)]
    return synthesised_plots.over_steps(outer_steps(run), curves, "step sizes, the later the darker")


def _percent(value: float) -> str:
    return tables.number(100 * value, 1)
