"""The setting of a run in words: what was learned from what, by whom, on what machine."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from . import tables
from .markup import Markup, element, paragraph, text
from .reading import Run

_SHOWN_CLASSES = 20
_UNKNOWN = "nobody knows which reading made the published tables"
_COMPAT = {
    "written": f"written: as its commands read; {_UNKNOWN}",
    "effective": f"effective: percentile 0.7 everywhere, as if its misspelt option was dropped; {_UNKNOWN}",
}


def title(run: Run) -> str:
    """Return the recipe and the data, such as ``curricula on digits``."""
    return " on ".join(str(name) for name in (run.result.get("recipe"), run.part("data").get("name")) if name)


def head(run: Run, told: Iterable[str], facts: Sequence[tuple[str, str]]) -> Markup:
    """Title, the setting in a paragraph, the facts."""
    return element(
        "header",
        element("p", text("tutelage report"), class_="kicker"),
        element("h1", text(title(run))),
        paragraph(*told, class_="lead"),
        tables.facts(facts),
    )


def with_own(run: Run, own: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the facts that all runs have, and between them those of one kind of run; nothing that is not known."""
    facts = dict(fact_rows(run))
    names = ("Data", "Rows", "Classes", *own, "Seeds", "Device", "Versions", "Time")
    return [(name, value) for name in names if (value := own.get(name) or facts.get(name, ""))]


def sentences(run: Run) -> list[str]:
    """Return the setting as sentences, from whatever the run says of itself."""
    data, noise = run.part("data"), run.part("noise")
    student = run.part("config").get("student", "student")
    told = []
    if "name" in data:
        classes = f", {len(data['classes'])} classes" if data.get("classes") else ""
        rows = f", from {data['train_rows']:,} examples" if "train_rows" in data else ""
        told.append(f"A student ({student}) learns {data['name']}{classes}{rows}.")
    if run.knows_truth and noise.get("realised"):
        told.append(f"On average {_percent(np.mean(noise['realised']))} of their labels are wrong.")
    told.append(f"{_count(len(run.arms), 'way')} of teaching are compared over {_count(len(run.seeds), 'seed')}.")
    if "labelled_rows" in data:
        inside = ", the labelled ones among them" if data.get("include_labelled") else ""
        rows = (
            f"{data['labelled_rows']:,} examples have a label, {data['unlabelled_rows']:,} are there without{inside}."
        )
        told.append(rows)
    if data.get("transductive"):
        told.append("Accuracy is measured on these very examples: what is tested was there, unlabelled, in training.")
    elif data.get("test_rows"):
        told.append(f"Accuracy is measured on {data['test_rows']:,} test examples, which no teacher sees.")
    return told


def fact_rows(run: Run) -> list[tuple[str, str]]:
    """Return names and values of the facts that are known."""
    config, training = run.part("config"), run.part("training")
    rows = [
        ("Data", _data(run.part("data"))),
        ("Rows", _rows(run.part("data"))),
        ("Classes", _classes(run.part("data").get("classes", []))),
        ("Label noise", _noise(run.part("noise")) or _levels(run.part("levels"))),
        ("Student", _named(config, ("student", "rule"))),
        ("Training", _training(training)),
        ("Published code", _COMPAT.get(config.get("compat", ""), "")),
        ("Seeds", ", ".join(map(str, run.seeds))),
        ("Device", _device(run.part("environment"))),
        ("Versions", _named(run.part("environment"), ("tutelage", "torch", "python"), show_names=True)),
        ("Time", _time(run.part("seconds"))),
    ]
    return [(name, value) for name, value in rows if value]


def _data(data: Mapping[str, Any]) -> str:
    if "name" not in data:
        return ""
    shape = " × ".join(map(str, data.get("shape", [])))
    return f"{data['name']}, each {shape}" if shape else str(data["name"])


def _rows(data: Mapping[str, Any]) -> str:
    roles = [(key.removesuffix("_rows"), count) for key, count in data.items() if key.endswith("_rows") and count]
    names = {"train": "training"}
    return ", ".join(f"{count:,} {names.get(role, role)}" for role, count in sorted(roles, key=lambda r: -r[1]))


def _classes(classes: Sequence[str]) -> str:
    if not classes:
        return ""
    rest = "" if len(classes) <= _SHOWN_CLASSES else ", …"
    return f"{len(classes)}: {', '.join(classes[:_SHOWN_CLASSES])}{rest}"


def _noise(noise: Mapping[str, Any]) -> str:
    if not noise.keys() >= {"convention", "requested", "expected", "realised"}:
        return ""
    if not noise["requested"]:
        return f"{noise['convention']}; this run put no wrong labels in"
    low, high = min(noise["realised"]), max(noise["realised"])
    realised = _percent(low) if low == high else f"{_percent(low)} to {_percent(high)} by seed"
    return (
        f"{noise['convention']}; requested {_percent(noise['requested'])}, "
        f"wrong labels expected {_percent(noise['expected'])}, realised {realised}"
    )


def _levels(levels: Mapping[str, Any]) -> str:
    return "; ".join(_noise(level["noise"]) for level in levels.values())


def _training(training: Mapping[str, Any]) -> str:
    parts = []
    if "epochs" in training:
        parts.append(_count(training["epochs"], "epoch"))
    if "steps" in training:
        parts.append(_count(training["steps"], "step"))
    if "batch_size" in training:
        parts.append(f"batches of {training['batch_size']}")
    return ", ".join(parts)


def _device(environment: Mapping[str, Any]) -> str:
    if "device" not in environment:
        return ""
    name = f"{environment['device']} ({environment.get('device_name', '')}, {environment.get('system', '')})"
    return f"{name}, {_count(environment['threads'], 'thread')}" if "threads" in environment else name


def _named(facts: Mapping[str, Any], names: Sequence[str], *, show_names: bool = False) -> str:
    there = [name for name in names if facts.get(name) is not None]
    return ", ".join(f"{name} {facts[name]}" if show_names else str(facts[name]) for name in there)


def _time(seconds: Mapping[str, float]) -> str:
    if not seconds:
        return ""
    total = sum(seconds.values())
    return f"{total:.0f} seconds" if total < 120 else f"{total / 60:.1f} minutes"


def _percent(share: float | np.floating[Any]) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _count(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("" if count == 1 else "s")
