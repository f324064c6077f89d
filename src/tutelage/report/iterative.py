"""Pages of runs whose teachers choose each step of a learner: how soon it comes where it should end, and by what."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..statistics import PairedDifference
from . import bands, iterative_plots, iterative_shown, sections, selected, selected_plots, setting, tables
from .canvas import Look, looks
from .diagnosis import warnings
from .markup import Markup, element, paragraph, picture, section, text
from .reading import Run

_ENOUGH = 6
"""Seeds from which on a median has an interval."""
_PROBLEMS = {
    "regression": "Labels are numbers, linear in the inputs; the loss is the squared error.",
    "logistic": "Labels are signs; the loss is the logistic one, the target its minimiser with weight decay 0.01.",
    "digits": "Labels are classes; the target is a linear model that was fitted to the pool.",
}
_FILTERS = {
    "none": "all rows",
    "in-sample": "rows whose label a linear model of the whole pool predicts",
    "cross-fitted": "rows whose label a linear model of the other folds predicts",
}


def is_one(run: Run) -> bool:
    """Return whether teachers of a run chose each step of a learner with a known target."""
    return "iterative" in run.result


def body(run: Run) -> list[Markup | None]:
    """Return the sections of the page, in order."""
    return [
        head(run),
        selected.verdict(run),
        warnings(run),
        outcome(run),
        curves(run),
        accuracy(run),
        iterative_shown.first(run),
        smallest(run),
        sections.options(run),
    ]


def head(run: Run) -> Markup:
    """Title, the setting in a paragraph, the facts."""
    config, facts = run.part("config"), run.part("iterative")
    own = {
        "Learner": f"linear, from weights of 0; {facts['steps']} steps of rate {config['eta']:g}, a row each",
        "Target": f"squared norm {size(facts['start']['median'], 0.0)}, median over seeds",
        **(_of_rows(config, facts) if facts["problem"] == "digits" else {}),
    }
    return setting.head(run, _sentences(run), setting.with_own(run, own))


def _of_rows(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str]:
    rows = facts["rows"]
    return {
        "Loss": config["loss"],
        "Filter": f"{config['filter']}: {_FILTERS[config['filter']]}, {rows['kept']:.0f} of {rows['pool']:.0f}",
        "Label noise": f"{100 * rows['realised']:.1f} % of the pool's labels are wrong",
    }


def _sentences(run: Run) -> list[str]:
    data, facts = run.part("data"), run.part("iterative")
    found = [
        f"A linear learner takes {facts['steps']} steps of gradient descent, each on one of {data['pool_rows']:,} rows "
        f"of {data['name']}. Teachers know the weights at which it should end, and choose the row of each step, or its "
        "label, from what they know of the learner.",
        _PROBLEMS[facts["problem"]],
        "Measured is the squared distance of the learner's weights to the target.",
    ]
    if data["test_rows"]:
        found.append(f"Accuracy is measured on {data['test_rows']:,} test rows, by which nothing is chosen.")
    return [*found, "This is a simulation, of a learner who forgets nothing and takes steps of a known size."]


def outcome(run: Run) -> Markup:
    """Distances after some steps with the difference from random, and when the learner arrives."""
    facts, seeds = run.part("iterative"), len(run.seeds)
    note = [f"Median over {seeds} seed{'s' * (seeds > 1)} of the squared distance to the target after so many steps"]
    if seeds >= _ENOUGH:
        note[0] += ", with the 95 % interval of that median"
    note[0] += "; the smallest of a column is bold."
    if seeds > 1:
        note.append(
            "Below it the paired difference from random in orders of magnitude, the mean of the logarithms' differences"
            " ± half its 95 % interval: +2 is a hundredth of the squared distance. Equivalent: neither better nor "
            f"worse is shown, and the 90 % interval lies within ±{facts['margin']:g}."
        )
    note.append(f"Squared distances below {size(facts['floor'], 0.0)} are rounding, and count as that much.")
    about = {name: run.part("about")[name] for name in run.result["order"]}
    return section("Results", paragraph(*note), _table(run), *sections.told_about(about))


def _table(run: Run) -> Markup:
    facts = run.part("iterative")
    marks = [str(m) for m in facts["marks"]]
    near = "half of the start" if facts["near"] is None else f"{facts['near']:g}"
    columns = [tables.heading("Teacher"), *(tables.heading(f"{m} steps", "minus random, orders") for m in marks)]
    columns.append(tables.heading("Arrives", f"steps to {near}"))
    tested = bool(run.part("data")["test_rows"])
    if tested:
        columns.append(tables.heading("Test accuracy", f"%, {marks[-1]} steps"))
    differences = {m: {c["a"]: c for c in facts["differences"][m]} for m in marks}
    best = {m: min(own["distance"][m]["median"] for own in facts["arms"].values()) for m in marks}
    best = {m: max(value, facts["floor"]) for m, value in best.items()}
    rows = []
    for name in run.result["order"]:
        own = facts["arms"][name]
        cells = [_cell(own["distance"][m], differences[m].get(name), best[m], facts["floor"]) for m in marks]
        cells.append(_arrival(own["reached"]))
        if tested:
            cells.append(tables.cell(tables.mean_and_interval(own["accuracy"][marks[-1]], 100.0, 1)))
        rows.append(element("tr", tables.arm_name(name, _looks(run)), *cells))
    return tables.table(columns, rows)


def _cell(value: Mapping[str, Any], difference: PairedDifference | None, best: float, floor: float) -> Markup:
    """A distance, below it its interval, and the difference from the baseline with its verdict."""
    shown = text(size(value["median"], floor))
    parts = [element("b", shown) if value["median"] <= best else shown]
    if value["low"] is not None:
        between = f"{size(value['low'], floor)} to {size(value['high'], floor)}"
        parts.append(element("span", text(between), class_="under"))
    return tables.compared(parts, difference, 1.0, 2)


def _arrival(own: Mapping[str, Any]) -> Markup:
    there = [value for value in own["values"] if value is not None]
    middle = "not in time" if own["median"] is None else f"{own['median']:g}"
    if not there:
        return element("td", text("never"))
    lines = [f"{min(there):g} to {max(there):g}", f"{len(there)} of {len(own['values'])} seeds"]
    return element("td", text(middle), *(element("span", text(line), class_="under") for line in lines))


def size(value: float, floor: float) -> str:
    """Return a squared distance with two digits, such as ``0.12`` and ``3.4e−7``; one below rounding as that."""
    if value < floor or value == 0.0:
        return f"< {size(floor, 0.0)}" if floor else "0"
    digits, power = f"{value:.1e}".split("e")
    if 2 <= int(power) < 4:
        return f"{value:.0f}"
    return f"{value:.2g}" if -4 < int(power) < 2 else f"{digits}e{int(power)}".replace("-", "−")


def curves(run: Run) -> Markup:
    """Distance by step, on a logarithmic axis: all steps, and the first ones larger."""
    facts, seeds = run.part("iterative"), len(run.seeds)
    band = "There is one seed, so there is no band." if seeds < 2 else f"The band is the range of the {seeds} seeds."
    if seeds >= _ENOUGH:
        band = f"The band is the 95 % interval of the median over {seeds} seeds."
    note = paragraph(f"Median squared distance to the target after each step, on a logarithmic axis. {band}")
    blocks = []
    for last in dict.fromkeys((facts["steps"], facts["marks"][-2] if len(facts["marks"]) > 1 else facts["steps"])):
        found = {n: {k: v[: last + 1] for k, v in facts["arms"][n]["curve"].items()} for n in run.result["order"]}
        ends = ", ".join(f"{name} {size(curve['median'][-1], facts['floor'])}" for name, curve in found.items())
        image = iterative_plots.by_step(found, _looks(run))
        title = element("h3", text(f"{'All' if last == facts['steps'] else 'The first'} {last} steps"))
        blocks.append(element("div", title, picture(image, f"After step {last}: {ends}.", "wide"), class_="block"))
    return section("On the way to the target", note, *blocks)


def accuracy(run: Run) -> Markup | None:
    """Test accuracy by step, where there are test rows."""
    facts = run.part("iterative")
    if not run.part("data")["test_rows"]:
        return None
    found = {name: np.array(facts["arms"][name]["accuracies"])[:, 1:] for name in run.result["order"]}
    ends = ", ".join(f"{name} {100 * float(values[:, -1].mean()):.1f} %" for name, values in found.items())
    note = paragraph(
        "Mean test accuracy after each step.",
        bands.describe(len(run.seeds)),
        "A learner may answer right long before its weights are those of the target; the dotted line is the target.",
    )
    shares = {name: 100 * values for name, values in found.items()}
    image = selected_plots.by_rows(shares, _looks(run), 1, line=100 * facts["target_accuracy"])
    return section("Accuracy on test rows", note, picture(image, f"At the end: {ends}.", "wide"))


def smallest(run: Run) -> Markup:
    """The smallest sets for the target, and what learners make of them."""
    classes: Sequence[str] = run.part("data")["classes"]
    each = f", for each of the {len(classes)} classes against the rest" if classes else ""
    note = paragraph(
        "A learner that studies a set all at once, and minimises the sum of its losses plus weight decay",
        f"{run.part('config')['decay']:g}, has no steps that could be chosen, but a smallest set that teaches it",
        f"exactly these weights{each}. It was made, and a learner trained on it; the error is the largest over seeds.",
    )
    head = [tables.heading("Learner"), tables.heading("Items"), tables.heading("‖w − w*‖ / ‖w*‖", "after training")]
    rows = []
    for name, own in run.part("iterative")["dimension"].items():
        sizes = [value for output in own["sizes"] for value in output["values"]]
        items = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
        cells = [tables.cell(items), tables.cell(size(own["error"], 0.0))]
        rows.append(element("tr", element("th", text(name), scope="row"), *cells))
    return section("The smallest sets", note, tables.table(head, rows))


def _looks(run: Run) -> dict[str, Look]:
    return looks(run.result["order"])
