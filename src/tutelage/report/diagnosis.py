"""How teachers that learn from validation rows did: what follows from the run, warnings, and curves over training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import bands, plots, tables
from .canvas import Look
from .markup import Markup, element, paragraph, picture, section, text
from .reading import Floats, Run

Looks = Mapping[str, Look]


def conclusion(run: Run) -> Markup | None:
    """What follows from the run in words, as the recipe put it; for each level of noise, if there are several."""
    parts = _levels(run)
    lines = {name: part.get("conclusion", {}).get("lines", []) for name, part in parts.items()}
    told = [
        element("div", paragraph(first), element("ul", *(element("li", text(line)) for line in rest)))
        for first, *rest in (each for each in lines.values() if each)
    ]
    if not told:
        return None
    note = paragraph(
        "A difference counts if the 95 % confidence interval of the paired differences excludes 0, else none is shown;",
        "this rule and the pairs were fixed before. Each stands for itself, without correction for their number.",
    )
    return section("What follows", note, *told)


def warnings(run: Run) -> Markup | None:
    """Warnings of the recipe, to be seen before the results."""
    parts = _levels(run)
    lines = [f"{name}: {line}" if name else line for name, part in parts.items() for line in part.get("warnings", [])]
    if not lines:
        return None
    items = [element("li", text(line)) for line in lines]
    return element("div", element("b", text("Warning")), element("ul", *items), class_="warning")


def inside(run: Run, looks: Looks) -> Markup | None:
    """Over training: how well teachers tell labels apart, how far students learn wrong ones, and the mean scores."""
    fits = {arm: t.series("noisy_fit") for arm, t in run.trajectories.items()}
    fits = {arm: values for arm, values in fits.items() if values.shape[1]}
    if not fits or not run.knows_truth:
        return None
    areas = {arm: t.series("auc") for arm, t in run.weighing.items()}
    areas = {arm: values for arm, values in areas.items() if values.shape[1]}
    clean = 100 * (1 - float(np.mean(run.part("noise")["realised"])))
    parts = [_fits(fits, looks, clean)]
    if areas:
        parts.insert(0, _areas(areas, looks))
    parts += _scores(run, looks)
    return section("Inside the teachers", paragraph(bands.describe(len(run.seeds))), *parts)


def _levels(run: Run) -> Mapping[str, Mapping[str, Any]]:
    return run.part("levels") or {"": run.result}


def _areas(areas: Mapping[str, Floats], looks: Looks) -> Markup:
    note = paragraph(
        "AUC: how often an example with a right label has a higher raw score than one with a wrong label.",
        "1 tells all apart, 0.5 is blind, below that the teacher prefers wrong labels.",
    )
    image = plots.value_curves(areas, looks, "AUC of raw scores", line=0.5)
    return element("div", note, picture(image, f"AUC over training; after the last epoch: {_ends(areas, 2)}.", "wide"))


def _fits(fits: Mapping[str, Floats], looks: Looks, clean: float) -> Markup:
    note = paragraph(
        "Noisy fit: how many of the noisy training labels the student gives as its answer when it studies them.",
        f"The dotted line is the share of right labels, {clean:.1f} %: a student that goes far above it has learned",
        "wrong labels by heart. Arms that train on other rows or labels are counted on theirs.",
    )
    percent = {arm: 100 * values for arm, values in fits.items()}
    image = plots.value_curves(percent, looks, "noisy labels given as answer, %", line=clean)
    return element("div", note, picture(image, f"Noisy fit over training, %; at the end: {_ends(percent, 0)}.", "wide"))


def _scores(run: Run, looks: Looks) -> list[Markup]:
    """Mean raw score of right and of wrong labels, for each arm that weighs."""
    pictures = []
    for arm, trajectory in run.weighing.items():
        right, wrong = trajectory.series("score_right"), trajectory.series("score_wrong")
        if not right.shape[1] or not wrong.shape[1]:
            continue
        alt = f"{arm}: mean raw score at the end {right[:, -1].mean():.2f} and {wrong[:, -1].mean():.2f}."
        title = element("h3", tables.swatch(looks[arm]), text(arm))
        image = picture(plots.weight_curves(right, wrong, "mean raw score"), alt)
        pictures.append(element("div", title, image, class_="block"))
    if not pictures:
        return []
    note = paragraph(
        "The raw score before weights are made of it; compare the gap within one teacher over time, not",
        "between teachers. Two lines that climb together to the top are a teacher that gives up.",
    )
    return [note, tables.right_and_wrong(), element("div", *pictures, class_="multiples")]


def _ends(curves: Mapping[str, Floats], digits: int) -> str:
    ends: Sequence[str] = [f"{arm} {float(np.nanmean(values[:, -1])):.{digits}f}" for arm, values in curves.items()]
    return ", ".join(ends)
