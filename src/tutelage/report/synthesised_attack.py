"""A poisoning before and after: rates, and what is taken for what."""

from typing import cast

import numpy as np

from ..evaluation import Summary
from . import synthesised_plots, tables
from .markup import Markup, element, paragraph, picture, section, text
from .reading import Run
from .synthesised_reading import attack, classes, of_seed, order, shared, value


def section_of(run: Run) -> Markup | None:
    """An attack before and after: rates of all sets, and confusions of the first seed."""
    pair, found = attack(run), of_seed(run, run.seeds[0]).get("attack")
    if pair is None or found is None:
        return None
    a, b = pair
    rates = (
        ("overall", "Overall", "accuracy, %"), ("attack", f"{a} taken for {b}", "share of its rows, %"),
        ("a_accuracy", f"{a} as itself", "%"), ("others", "Other classes", "accuracy, %"),
    )  # fmt: skip
    head = [tables.heading("Set"), *(tables.heading(name, f"{note}, before → after") for _, name, note in rates)]
    rows = []
    for arm in order(run):
        ends = [(value(run, arm, f"before_{m}"), value(run, arm, m)) for m, _, _ in rates]
        cells = [tables.cell("–" if s is None or e is None else f"{_percent(s['mean'])} → {_mean(e)}") for s, e in ends]
        rows.append(element("tr", element("th", text(arm), scope="row"), *cells))
    note = paragraph(
        f"The real objective had {a} labelled {b}; the synthetic labels stay true, so that the labels of the set do",
        f"not give the attack away. Confusions of seed {run.seeds[0]}, the mean over networks: lines are true classes.",
        "The networks are the same for all seeds." if shared(run) else "",
        *(() if found["after"]["attack"] is not None else (f"No test row is of class {a}: its rates are not known.",)),
    )
    before, after = (np.array(found[when]["confusion"]) for when in ("before", "after"))
    ids = cast(tuple[int, int], tuple(run.part("distillation")["attack"]))
    image = synthesised_plots.confusions(before, after, classes(run), ids)
    shares = f"{_percent(before[ids])} % before, {_percent(after[ids])} % after"
    alt = f"Confusions before and after; {a} taken for {b}: {shares}."
    return section("The attack", note, tables.table(head, rows), picture(image, alt))


def _mean(values: Summary) -> str:
    return tables.mean_and_interval(values, 100.0, 1)


def _percent(share: float) -> str:
    return tables.number(100 * share, 1)
