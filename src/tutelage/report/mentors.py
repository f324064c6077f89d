"""The section about learned curricula: how well the mentors fitted, and what they learned."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..mentors import Mentor, load_mentor
from .drawing.files import pictures
from .drawing.frames import frames, palette, signed
from .drawing.numbers import CLEAR, Drawn, Scale, evaluate
from .drawing.panels import panels
from .markup import Markup, data_uri, element, paragraph, picture, section, text
from .reading import Run
from .tables import cell, heading, table

_SCALE = Scale(bound=5.0, percents=(18,), threshold=0.5)
"""The end of the usual burn-in, where the clock of a mentor that learned from labels stops."""
_SOURCES = ("source", "curriculum", "dump")
"""Where an origin says what was learned from, the most readable first."""


def learned(run: Run) -> Markup | None:
    """The mentors of a run: a row a seed, and the curriculum of the first one as a picture."""
    entries: Sequence[Mapping[str, Any]] = run.result.get("mentors") or []
    if not entries:
        return None
    drawn = {i: _drawn(found) for i, entry in enumerate(entries) if (found := _mentor(run, entry)) is not None}
    head = [
        heading("Seed"),
        heading("Held-out error", "mean, of the weight"),
        heading("Agreement", "weight above .5 or not"),
        heading("v(0)", "weight of loss 0"),
        heading("v(10)", "weight of loss 10"),
        heading("d*", "where v crosses .5"),
        heading("Learned from", class_="words"),
    ]
    rows = [_row(entry, drawn.get(i)) for i, entry in enumerate(entries)]
    parts = [_note(), table(head, rows), *_made_for(entries)]
    if 0 in drawn:
        parts.append(_drawing(f"mentor of seed {entries[0]['seed']}", drawn[0]))
    return section("The mentors", *parts)


def _note() -> Markup:
    return paragraph(
        "Error and agreement are those on examples that the mentor did not learn from.",
        f"v(0), v(10) and d* are read off the line that occurs at {_SCALE.percents[0]} % of training if the threshold",
        f"is {_SCALE.threshold:g}: losses differ from it by d, and d* is where an example stops to count.",
        "d* above 0 says that the percentile was lower than it could be, below 0 that it was too high;",
        f"with v(0) − v(10) below {CLEAR:g} there is no clear curriculum.",
    )


def _mentor(run: Run, entry: Mapping[str, Any]) -> Mentor | None:
    path = run.path / entry["file"]
    return load_mentor(path) if path.is_file() else None


def _drawn(mentor: Mentor) -> Drawn:
    return evaluate("mentor", mentor, _SCALE)


def _row(entry: Mapping[str, Any], drawn: Drawn | None) -> Markup:
    origin = entry["origin"]
    fits = origin.get("updates") or [origin]
    cells = [_fits(fits, "mean_absolute_error"), _fits(fits, "agreement"), *_cut(drawn)]
    source = next((str(origin[name]) for name in _SOURCES if name in origin), "–")
    return element(
        "tr",
        element("th", text(entry["seed"]), scope="row"),
        *(cell(value) for value in cells),
        element("td", text(source), class_="words"),
    )


def _fits(fits: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Return a number of the fit, or one for each update with its percent of training."""
    shown = []
    for fit in fits:
        when = f"at {fit['percent']} %: " if "percent" in fit else ""
        shown.append(when + (f"{fit[metric]:.3f}" if metric in fit else "–"))
    return ", ".join(shown)


def _cut(drawn: Drawn | None) -> tuple[str, str, str]:
    if drawn is None:
        return "–", "–", "–"
    cut = float(drawn.cuts[0])
    where = signed(cut) if np.isfinite(cut) else "–"
    return f"{drawn.near[0]:.2f}", f"{drawn.far[0]:.2f}", where if drawn.clear[0] else f"{where}, no clear curriculum"


def _made_for(entries: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """Say what mentors were made for and are not used with."""
    told = [f"seed {entry['seed']} for {', '.join(entry['made_for'])}" for entry in entries if entry.get("made_for")]
    return [paragraph(f"Made for something else: {'; '.join(told)}.", class_="quiet")] if told else []


def _drawing(name: str, drawn: Drawn) -> Markup:
    shown = panels({name: drawn})
    image, _ = pictures(frames(shown, _SCALE), palette(shown))
    alt = f"Weight over loss and difference to the threshold, {name}: d* = {_cut(drawn)[2]}."
    return picture(data_uri("image/png", image), alt, "wide")
