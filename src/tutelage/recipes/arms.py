"""From what trajectories recorded to the numbers of an arm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from ..evaluation import auc, summary
from .experiment import Setting
from .trajectory import Outcome

_METRICS = ("accuracy", "calibration_error", "weight_right", "weight_wrong")


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
    if arm.pick == "last":
        return [seed[-1] for seed in records]
    return [max(seed, key=lambda record: (record["trusted_accuracy"], -record["epoch"])) for seed in records]


def arm_values(
    arm: Arm, picked: Sequence[dict[str, Any]], outcomes: Mapping[str, Outcome], settings: Sequence[Setting]
) -> dict[str, list[float]]:
    """Return each metric's values over seeds; metrics that an arm lacks are left out."""
    outcome = outcomes[arm.trajectory]
    values: dict[str, list[float | None]] = {m: [record[m] for record in picked] for m in _METRICS}
    values["best_epoch_accuracy"] = [max(r["accuracy"] for r in seed) for seed in outcome.records]
    values["epoch"] = [float(record["epoch"]) for record in picked]
    if arm.trajectory != "trusted-only":
        seeds = zip(settings, outcome.tensors["rows"].numpy(), outcome.tensors["mean_weight"].numpy())
        values["auc"] = [auc(weight[s.known(rows)], s.right(rows)[s.known(rows)]) for s, rows, weight in seeds]
    return {m: cast(list[float], v) for m, v in values.items() if None not in v}


def per_class_summary(records: Sequence[dict[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Return the accuracy of each class over seeds; classes without test examples are left out."""
    columns = zip(classes, zip(*(record["per_class"] for record in records)))
    return {name: summary(column) for name, column in columns if None not in column}
