"""Pages of runs that distilled a data set: what the images are worth, what does better without them, what they bear."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..statistics import told
from . import sections, setting, synthesised_attack, synthesised_images, synthesised_lessons, synthesised_rivals, tables
from .canvas import looks
from .diagnosis import warnings
from .distilled_differences import without_power
from .drawing.files import write_table
from .markup import Markup, element, paragraph, section, text
from .reading import Array, Run
from .synthesised_reading import MADE, applications, attack, of_seed, order, rivals, value
from .synthesised_rivals import Rival, simpler

TABLES = "tables"
_PLAIN = ("worse", "not shown")
"""Verdicts that the title of their box says already."""
_METHODS = {
    "unrolled": "by the loss after all lessons",
    "gradient-matching": "by matching gradients",
    "siamese": "by matching gradients under a shared augmentation",
    "distribution-matching": "by matching mean features",
    "trajectory-matching": "by matching trajectories of experts",
}


def is_one(run: Run) -> bool:
    """Return whether a run distilled a data set."""
    return "sets" in run.result and "distillation" in run.result


def body(run: Run) -> list[Markup | None]:
    """Return the sections of the page, in order."""
    look = looks(order(run))
    return [
        head(run),
        harm(run),
        verdict(run),
        warnings(without_power(run)),
        synthesised_images.made(run),
        synthesised_attack.section_of(run),
        synthesised_lessons.lessons(run),
        synthesised_lessons.networks(run),
        None if attack(run) else synthesised_rivals.outcome(run, look),
        synthesised_images.beside(run),
        synthesised_rivals.differences(run, look),
        synthesised_rivals.scores(run),
        synthesised_rivals.robustness(run),
        synthesised_lessons.optimisation(run),
        seconds(run),
        sections.options(run),
    ]


def head(run: Run) -> Markup:
    """Title, the setting in a paragraph, the facts."""
    own = {
        "Images": _images(run),
        "Network": _network(run),
        "Judged by": synthesised_lessons.judges(run),
        "Learned": _learned(run),
    }
    return setting.head(run, _sentences(run), setting.with_own(run, own))


def _sentences(run: Run) -> list[str]:
    data, facts = run.part("data"), run.part("distillation")
    steps, count = applications(run), facts["images"]
    order_of = f" and the sizes of {_counted(steps, 'step')} on them" if steps else ""
    lines = [
        f"{_counted(count, 'synthetic image')}{order_of} are learned in place of {data['train_rows']:,} training "
        f"rows of {data['name']}, {_METHODS.get(facts['method'], facts['method'])}."
    ]
    if data.get("source"):
        lines.append(f"The networks know {data['source']} and are to learn {data['name']}.")
    if data.get("whitening", "none") != "none":
        lines.append("Rows are normalised, then whitened (ZCA), both as the training rows ask for.")
    lines.append(f"Accuracy is measured on {data['test_rows']:,} test rows, on which nothing is chosen.")
    return lines


def _images(run: Run) -> str:
    config, steps = run.part("config"), applications(run)
    each, batches, epochs = (int(config.get(name) or 1) for name in ("per_class", "batches", "epochs"))
    if not steps:
        return f"{each} a class, without order or step sizes"
    soft = ", with soft labels that are learned" if config.get("learn_labels") else ""
    return f"{batches} × {each} a class, gone through {_counted(epochs, 'time')}: {_counted(steps, 'step')}{soft}"


def _network(run: Run) -> str:
    facts, config = run.part("distillation"), run.part("config")
    return f"{config.get('net')}, {facts['parameters']:,} parameters, initial weights {facts['initialisation']}"


def _learned(run: Run) -> str:
    config, found = run.part("config"), [f"{_counted(run.part('config').get('steps', 0), 'outer step')}"]
    if config.get("nets"):
        found.append(f"{_counted(config['nets'], 'network')} a step")
    if config.get("real_batch"):
        found.append(f"{config['real_batch']:,} real rows a step")
    found.append(f"images from {config.get('images')}")
    if config.get("truncate"):
        found.append(f"differentiated through the last {config['truncate']} only")
    return ", ".join(found)


def harm(run: Run) -> Markup | None:
    """Say of an attack that it is one."""
    if (pair := attack(run)) is None:
        return None
    line = f"Made to do harm: networks that this set teaches take {pair[0]} for {pair[1]}."
    return element("div", element("b", text(line)), class_="warning")


def verdict(run: Run) -> Markup | None:
    """What follows; first of all whatever does as well, or better, without distillation."""
    lines = run.part("conclusion").get("lines", [])
    found = [] if attack(run) else simpler(run)
    tabled = {told(difference) for difference in run.result.get("comparisons", [])}
    first, *rest = lines or [""]
    rest = [line for line in rest if line.removesuffix(".") not in tabled and "no distillation" not in line]
    parts = [element("p", element("strong", text(first[:1].upper() + first[1:])))] if first else []
    parts += _box("Better, with as many real images and no distillation", [r for r in found if r.better])
    parts += _box("The distilled set is not shown to be better than", [r for r in found if r.better is None])
    parts += _own_neighbours(run)
    if not rivals(run):
        parts.append(paragraph("No real images were compared, so nothing here says what learning them is worth."))
    if rest:
        parts.append(element("ul", *(element("li", text(line[:1].upper() + line[1:])) for line in rest)))
    return section("What follows", *parts) if parts else None


def _own_neighbours(run: Run) -> list[Markup]:
    """Say so if the images teach no network as well as they serve as examples."""
    here, near = value(run, MADE, run.result["metric"]), value(run, MADE, "neighbour_accuracy")
    if here is None or near is None or near["mean"] <= here["mean"]:
        return []
    own, of_networks = (f"{100 * v['mean']:.1f} %" for v in (near, here))
    line = (
        f"The nearest of the distilled images, without any network, is right in {own}, the networks in {of_networks}."
    )
    return [paragraph(line)]


def _box(title: str, found: list[Rival]) -> list[Markup]:
    if not found:
        return []
    items = [
        element("li", text(f"{r.name}: {100 * r.mean:.1f} %{f' ({r.told})' * (r.told not in _PLAIN)}")) for r in found
    ]
    return [element("div", element("b", text(title)), element("ul", *items), class_="warning")]


def seconds(run: Run) -> Markup | None:
    """The time of each part of the run."""
    found: Mapping[str, float] = run.part("seconds")
    if not found:
        return None
    rows = [
        element("tr", element("th", text(name), scope="row"), tables.cell(tables.number(value, 1)))
        for name, value in found.items()
    ]
    device = run.part("environment").get("device", "")
    note = paragraph(f"Seconds of all seeds together, by the clock{f', device {device}' if device else ''}.")
    return section("Time", note, tables.table([tables.heading("Part"), tables.heading("Seconds")], rows))


def write_files(run: Run, folder: Path) -> None:
    """Write pictures, and the numbers of the page as tables; nothing for other runs."""
    if not is_one(run):
        return
    synthesised_images.write_files(run, folder)
    for name, columns in _tables(run).items():
        (folder / TABLES).mkdir(exist_ok=True)
        write_table(columns, folder / TABLES, name)


def _tables(run: Run) -> dict[str, dict[str, Array]]:
    """The columns of each table that has rows."""
    found = {"lessons": _lessons(run), "networks": _networks(run), "robustness": list(run.result.get("robustness", []))}
    return {name: _columns(rows) for name, rows in found.items() if rows}


def _lessons(run: Run) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for seed in run.seeds:
        sizes, along = of_seed(run, seed)["step_sizes"], of_seed(run, seed).get("along") or {}
        for t in range(len(along.get("mean", ()))):
            numbers = {name: along[name][t] for name in ("mean", "std", "least", "most")}
            rows.append({"seed": seed, "application": t, "step_size": sizes[t - 1] if t else None, **numbers})
    return rows


def _networks(run: Run) -> list[Mapping[str, Any]]:
    return [
        {"seed": seed, "network": k, "before": before, "after": after}
        for seed in run.seeds
        if (along := of_seed(run, seed).get("along"))
        for k, (before, after) in enumerate(zip(along["before"], along["after"]))
    ]


def _columns(rows: list[Mapping[str, Any]]) -> dict[str, Array]:
    """Numbers and words by column, NaN for None; lists are left out."""
    names = [name for name in rows[0] if not any(isinstance(row[name], list) for row in rows)]
    return {name: _column([row[name] for row in rows]) for name in names}


def _column(values: list[Any]) -> Array:
    if any(isinstance(value, str) for value in values):
        return np.array(values, dtype=object)
    whole = all(isinstance(value, int) for value in values)
    return np.array(values, dtype=np.int64 if whole else np.float64)


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'s' * (count != 1)}"
