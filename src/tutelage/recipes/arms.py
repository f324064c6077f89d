"""From what trajectories recorded to the numbers of an arm."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from ..evaluation import auc, summary
from .diagnostics import NAMES as DIAGNOSTICS
from .experiment import Setting
from .outcome import Outcome

_METRICS = ("accuracy", "calibration_error", "weight_right", "weight_wrong")
SELECTED = "validation_selected_accuracy"


@dataclass(frozen=True)
class Arm:
    """A row of the table: a trajectory, and which epoch of it counts.

    Attributes:
        trajectory: how the students are trained.
        pick: the last epoch, or the one with the best accuracy on the trusted rows.
    """

    trajectory: str
    pick: Literal["last", "trusted"] = "last"


def picked_records(arm: Arm, outcomes: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """Return the record of each seed that counts; the earliest epoch wins a tie on the trusted rows."""
    records = outcomes[arm.trajectory].records
    return [seed[-1] if arm.pick == "last" else _selected(seed) for seed in records]


def _selected(seed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return max(seed, key=lambda record: (record["trusted_accuracy"], -record["epoch"]))


def arm_values(
    arm: Arm, picked: Sequence[dict[str, Any]], outcomes: Mapping[str, Outcome], settings: Sequence[Setting]
) -> dict[str, list[float]]:
    """Return each metric's values over seeds; metrics that an arm lacks are left out.

    Where diagnostics were recorded, those of the epoch that counts are among them (``auc`` then is that of the raw
    scores of this epoch, else that of the mean weights), the norm of the hypergradient over all of training, and the
    accuracy at the epoch that validation rows choose.
    """
    outcome = outcomes[arm.trajectory]
    values: dict[str, list[float | None]] = {m: [record[m] for record in picked] for m in _METRICS}
    values["best_epoch_accuracy"] = [max(r["accuracy"] for r in seed) for seed in outcome.records]
    values["epoch"] = [float(record["epoch"]) for record in picked]
    if "noisy_fit" in picked[0]:
        values |= {name: [record[name] for record in picked] for name in DIAGNOSTICS}
        values["hypergradient_norm"] = [_mean(r["hypergradient_norm"] for r in seed) for seed in outcome.records]
        values[SELECTED] = [_selected(seed)["accuracy"] for seed in outcome.records]
    elif arm.trajectory != "trusted-only":
        seeds = zip(settings, outcome.tensors["rows"].numpy(), outcome.tensors["mean_weight"].numpy())
        values["auc"] = [auc(weight[s.known(rows)], s.right(rows)[s.known(rows)]) for s, rows, weight in seeds]
    return {m: cast(list[float], v) for m, v in values.items() if None not in v}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def per_class_summary(records: Sequence[dict[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Return the accuracy of each class over seeds; classes without test examples are left out."""
    columns = zip(classes, zip(*(record["per_class"] for record in records)))
    return {name: summary(column) for name, column in columns if None not in column}
