"""The page of a run over several rates or kinds of label noise: arms against levels of noise."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..evaluation import Summary
from . import diagnosis, plots, sections
from .bands import describe
from .canvas import Look, looks
from .markup import Markup, element, paragraph, picture, section, text
from .published import comparison
from .reading import Run
from .tables import arm_name, difference_cell, heading, mean_and_interval, table

_BASELINE = "uniform"
_ORACLE = "oracle"


def body(run: Run) -> list[Markup]:
    """Return the sections.

    Args:
        run: whose ``levels`` are rates, kinds, or both, and whose arms are named ``ARM @ LEVEL``.
    """
    rates = sorted(run.part("levels"), key=float) if _are_rates(run) else list(run.part("levels"))
    names = list(dict.fromkeys(name.rpartition(" @ ")[0] for name in run.arms))
    whole = replace(run, arms=tuple(sorted(names, key=lambda arm: -_mean(run, arm, rates))))
    look = looks(whole.arms)
    parts = [
        sections.head(whole),
        diagnosis.warnings(whole),
        _outcome(whole, rates, look),
        diagnosis.conclusion(whole),
        _against_plain(whole, rates, look),
        comparison(whole, look, {rate: _at(whole, rate) for rate in rates}),
        _reports(whole, rates),
        sections.options(whole),
    ]
    return [part for part in parts if part is not None]


def _are_rates(run: Run) -> bool:
    return all(level[0].isdecimal() for level in run.part("levels"))


def _named(level: str) -> str:
    return f"noise {level}" if level[0].isdecimal() else level


def _metrics(run: Run, arm: str, rate: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run.part("arms").get(f"{arm} @ {rate}", {})
    return found


def _mean(run: Run, arm: str, rates: list[str]) -> float:
    return float(np.mean([_metrics(run, arm, rate)["accuracy"]["mean"] for rate in rates]))


def _at(run: Run, rate: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the metrics of each arm at a rate, and what was published about it."""
    level = run.part("levels")[rate]
    return {arm: _metrics(run, arm, rate) for arm in run.arms}, level.get("published", {})


def _outcome(run: Run, rates: list[str], look: Mapping[str, Look]) -> Markup:
    summaries = {arm: [_metrics(run, arm, rate)["accuracy"] for rate in rates] for arm in run.arms}
    rivals = [arm for arm in run.arms if arm != _ORACLE] or list(run.arms)
    best = [max(rivals, key=lambda arm: summaries[arm][i]["mean"]) for i in range(len(rates))]
    rows = []
    for arm, values in summaries.items():
        cells = [_accuracy(value, best=arm == first) for value, first in zip(values, best)]
        rows.append(element("tr", arm_name(arm, look), *cells))
    head = [heading("Arm"), *(heading(_named(rate).capitalize(), _realised(run, rate)) for rate in rates)]
    points = {arm: np.array([value["values"] for value in values]).T for arm, values in summaries.items()}
    told = "; ".join(f"{_named(rate)}: {first}" for rate, first in zip(rates, best))
    images = []
    if _are_rates(run):
        drawn = plots.accuracy_by_noise(points, rates, look)
        images.append(picture(drawn, f"Test accuracy by noise. Best: {told}.", "wide"))
    return section("Results", paragraph(*_explained(run)), *images, table(head, rows))


def _accuracy(values: Summary, *, best: bool) -> Markup:
    attributes = {"class_": "best"} if best else {}
    return element("td", text(mean_and_interval(values, 100.0, 1)), **attributes)


def _explained(run: Run) -> list[str]:
    aside = " but for the oracle, which knows the wrong labels" if _ORACLE in run.arms else ""
    if len(run.seeds) < 2:
        how = ["Test accuracy in percent, of one seed only: small differences mean nothing."]
    else:
        how = ["Test accuracy in percent: the mean over seeds ± half the width of its 95 % confidence interval."]
        how.append(describe(len(run.seeds)))
    return [*how, f"In bold the best arm of a column{aside}; it may still be tied with others, see below."]


def _realised(run: Run, rate: str) -> str:
    return f"{100 * float(np.mean(run.part('levels')[rate]['noise']['realised'])):.1f} % wrong labels"


def _against_plain(run: Run, rates: list[str], look: Mapping[str, Look]) -> Markup | None:
    found = {(c["a"], c["b"]): c for c in run.result.get("comparisons", []) if c["metric"] == "accuracy"}
    others = [arm for arm in run.arms if arm != _BASELINE]
    if not any(b.startswith(f"{_BASELINE} @ ") for _, b in found):
        return None
    rows = []
    for arm in others:
        cells = [difference_cell(found.get((f"{arm} @ {rate}", f"{_BASELINE} @ {rate}"))) for rate in rates]
        rows.append(element("tr", arm_name(arm, look), *cells))
    head = [heading("Arm"), *(heading(_named(rate).capitalize(), "accuracy, points") for rate in rates)]
    note = paragraph(
        f"Each cell is the arm's accuracy minus that of {_BASELINE}, seed by seed: mean ± 95 % confidence interval.",
        "Where the interval contains 0 the two are called a tie.",
    )
    return section("Against plain training", note, table(head, rows))


def _reports(run: Run, rates: list[str]) -> Markup:
    links = [
        element("li", element("a", text(_named(rate)), href=f"{run.part('levels')[rate]['folder']}/report.html"))
        for rate in rates
    ]
    title = "Each rate by itself" if _are_rates(run) else "Each kind by itself"
    return section(title, paragraph("Curves, curricula and lists:"), element("ul", *links))
