"""What runs of teachers that choose from a pool come to: the parts of the result that are alike."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ... import __version__
from ...statistics import MARGIN, PairedDifference, Runs, compare, power_warning, table
from ..pieces import Done
from .options import BASELINE
from .plan import PoolPlan
from .stages import noise_stage


def result_of(
    recipe: str,
    plan: PoolPlan,
    done: Done,
    about: Mapping[str, str],
    levels: Mapping[str, Mapping[str, Any]],
    selection: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """Return what ``result.json`` holds, but for its conclusion.

    Args:
        recipe: its name.
        plan: of the run.
        done: its finished stages.
        about: a line on each arm, in the order of tables.
        levels: by rate of noise; each has ``arms`` with ``accuracy`` and ``differences``, by the number of shown rows.
        selection: further parts of the recipe's own.
        seconds: how long each stage took, by name.
    """
    first = done.facts(noise_stage(plan.levels[0]), plan.seeds[0])
    last = str(plan.options.size)
    here = next(iter(levels.values()))["arms"]
    return {
        "recipe": recipe,
        "version": __version__,
        "config": asdict(plan.options),
        "seeds": list(plan.seeds),
        "data": {
            "name": plan.material.source.name,
            "classes": list(plan.material.classes),
            "shape": list(plan.material.shape),
            "pool_rows": first["pool_rows"],
            "test_rows": first["test_rows"],
        },
        "order": list(about),
        "about": dict(about),
        "arms": {name: {"accuracy": own["accuracy"][last]} for name, own in here.items()},
        "selection": {
            "size": plan.options.size,
            "sizes": list(sizes(plan.options.size, plan.options.rows)),
            "baseline": BASELINE,
            **selection,
            "levels": dict(levels),
        },
        "warnings": [
            f"noise {name}: {line}"
            for name, level in levels.items()
            for difference in level["differences"][last]
            if (line := power_warning(difference)) is not None
        ],
        "environment": dict(done.folder.read("environment.json")),
        "seconds": dict(seconds),
    }


def sizes(size: int, rows: int) -> tuple[int, ...]:
    """Return the numbers of shown rows that tables have: a quarter, a half and all of them."""
    steps = size // rows
    return tuple(rows * count for count in sorted({max(1, steps // 4), max(1, steps // 2), steps}))


def wrong_share(own: Mapping[str, Any], size: int) -> float:
    """Return the share of the first rows of a teaching set whose given label is wrong."""
    wrong = [int(g != t) for g, t in zip(own["given"][:size], own["true"][:size])]
    return sum(wrong) / size


def mean_counts(counts: Iterable[Sequence[int]]) -> list[float]:
    """Return the mean over seeds of the rows of each class."""
    return [sum(each) / len(each) for each in zip(*counts)]


def differences(
    seeds: Iterable[int], values: Mapping[str, Sequence[float]], base: str, metric: str, *, margin: float = MARGIN
) -> list[PairedDifference]:
    """Return each arm less a base, as one table.

    Args:
        seeds: of the values.
        values: by arm, one a seed; of the base too.
        base: name of an arm.
        metric: what the values are.
        margin: of equivalence, in their units.
    """
    runs = {name: Runs(name, dict(zip(seeds, own))) for name, own in values.items()}
    return table([compare(own, runs[base], metric, margin=margin) for name, own in runs.items() if name != base])
