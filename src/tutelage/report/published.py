"""Published numbers beside those of a run."""

from collections.abc import Mapping
from typing import Any

from ..evaluation import Summary
from .canvas import Look
from .markup import Markup, element, paragraph, section
from .reading import Run
from .tables import arm_name, cell, heading, mean_and_interval, number, table

_SOURCES = {"icml": "Paper", "readme": "Second run"}


def beside_ours(run: Run, looks: Mapping[str, Look]) -> Markup | None:
    """Published accuracies for the same data, student and rate of noise, if there are any."""
    rate = f"{run.part('noise').get('requested', 0):g}"
    return comparison(run, looks, {rate: (run.part("arms"), run.part("published"))})


def comparison(
    run: Run,
    looks: Mapping[str, Look],
    rates: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Mapping[str, float | None]]]],
) -> Markup | None:
    """Return the section for some rates of noise.

    Args:
        run: whose arms are the rows.
        looks: of each arm.
        rates: by rate, the metrics of each arm, and what was published about it.
    """
    there = {rate: found for rate, found in rates.items() if found[1]}
    arms = [arm for arm in run.arms if any(arm in known for _, known in there.values())]
    if not arms:
        return None
    names = ("Ours", *_SOURCES.values())
    head = [heading("Arm"), *(heading(name, f"%, noise {rate}") for rate in there for name in names)]
    rows = []
    for arm in arms:
        cells = [c for metrics, known in there.values() for c in _cells(metrics.get(arm), known.get(arm, {}))]
        rows.append(element("tr", arm_name(arm, looks), *cells))
    return section("Published numbers", _note(run), table(head, rows))


def _note(run: Run) -> Markup:
    compat = run.result.get("compat") or run.part("config").get("compat", "none")
    if compat == "none":
        ours = "Ours were trained with this library's settings, not with those of the published code."
    else:
        ours = f"Ours follow the published code as it is {compat}; see the setting above."
    return paragraph(
        "Accuracy on the clean test set, for the same data, student and rate of noise:",
        "in table 2 of the paper (ICML 2018), and in a second run, told of in the README of its code;",
        "each is one number, without an interval.",
        ours,
    )


def _cells(ours: Mapping[str, Summary] | None, known: Mapping[str, float | None]) -> list[Markup]:
    values = [known.get(name) for name in _SOURCES]
    return [
        cell("–" if not ours else mean_and_interval(ours["accuracy"], 100.0, 1)),
        *(cell("–" if value is None else number(100 * value, 1)) for value in values),
    ]
