"""Published settings and results of MentorNet's CIFAR tables: data and look-ups, nothing that runs.

Source: Jiang, Zhou, Leung, Li and Fei-Fei, "MentorNet: learning data-driven curriculum for very deep neural networks on
corrupted labels", ICML 2018, table 2, and the commands and the second run of the tables in its published code.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ..errors import ConfigError, unknown
from .schedule import Schedule

Compat: TypeAlias = Literal["written", "effective"]
"""``written``: the commands as they read. ``effective``: percentile 0.7 everywhere, which is what ran if their
misspelt option was dropped. Nobody knows which of the two made the tables."""
Dropout: TypeAlias = tuple[tuple[float, int], ...]

STUDENTS = ("resnet101", "inception")
ARMS = ("uniform", "self-paced", "focal", "mentornet-pd", "mentornet-dd")
RATES = (0.2, 0.4, 0.8)
"""Noise rates of the tables: the share of labels replaced by a uniform class, the true one included."""


@dataclass(frozen=True)
class Command:
    """Options of a teacher, as for :class:`tutelage.pacing.Pacing`.

    Attributes:
        percentile: of the losses, in (0, 1).
        burn_in: percent of training with all weights 1.
        fixed_time: stop the mentor's clock at ``burn_in``.
        dropout: (rate, percents of training), ... adding up to 100; None: none.
        decay: of the moving percentile.
    """

    percentile: float
    burn_in: int
    fixed_time: bool
    dropout: Dropout | None
    decay: float = 0.5


SCHEDULES: Mapping[str, Schedule] = {
    "resnet101": Schedule(
        rule="sgd",
        lr=0.1,
        drops=(19_531 / 39_000, 25_000 / 39_000, 30_000 / 39_000),
        steps=39_000,
        batch_size=128,
        pad=2,
        momentum=0.9,
        weight_decay=2e-4,
        scaling="each",
    ),
    "inception": Schedule(
        rule="sgd",
        lr=0.1,
        drops=(78_125 / 120_000,),  # 200 epochs of 50,000 / 128 steps
        steps=120_000,
        batch_size=128,
        pad=8,
        momentum=0.0,
        weight_decay=0.0,
        scaling="each",
    ),
}
"""How the students of the tables were trained, on 50,000 images of 32x32."""

_PERCENTILES = {
    "self-paced": (0.7, 0.7, 0.7),
    "focal": (0.7, 0.7, 0.7),
    "mentornet-pd": (0.75, 0.75, 0.5),
    "mentornet-dd": (0.8, 0.6, 0.5),
}
_HALF_THEN_LITTLE: Dropout = ((0.5, 17), (0.05, 83))
_HALF_LITTLE_MOST: Dropout = ((0.5, 17), (0.05, 78), (0.9, 5))


def schedule(student: str, arm: str = "mentornet-dd", compat: Compat | None = None) -> Schedule:
    """Return how a student was trained.

    Args:
        student: one of :data:`STUDENTS`.
        arm: one of :data:`ARMS`.
        compat: None: one schedule for all arms. Else the uniform arm of resnet101 has the first of its three drops
            only, as in the published code, which makes that row not comparable with the others.

    Raises:
        ConfigError: for an unknown name.
    """
    _check(student, arm, compat)
    found = SCHEDULES[student]
    if compat and (student, arm) == ("resnet101", "uniform"):
        return replace(found, drops=found.drops[:1])
    return found


def command(arm: str, noise: float, student: str, compat: Compat = "written") -> Command | None:
    """Return the options of a teacher, or None for uniform, which has none; the same for both data sets.

    Args:
        arm: one of :data:`ARMS`.
        noise: rate in [0, 1]. Between the published ones the nearest counts, and the larger of two as near: a
            percentile too low for the noise does less harm than one too high.
        student: one of :data:`STUDENTS`.
        compat: which reading of the commands.

    Raises:
        ConfigError: for an unknown name, or a rate outside [0, 1].
    """
    _check(student, arm, compat)
    if not 0 <= noise <= 1:
        raise ConfigError(f"noise is {noise}; it is a share of the labels and must lie in [0, 1].")
    if arm == "uniform":
        return None
    column = min(range(3), key=lambda i: (round(abs(RATES[i] - noise), 9), -i))
    percentile = 0.7 if compat == "effective" else _PERCENTILES[arm][column]
    match arm:
        case "mentornet-pd":
            return Command(percentile, 0, False, _HALF_THEN_LITTLE)
        case "mentornet-dd":
            return Command(percentile, 18, True, _HALF_LITTLE_MOST if student == "resnet101" else _HALF_THEN_LITTLE)
    return Command(percentile, 0, False, None)


def published(dataset: str, student: str, arm: str, noise: float) -> dict[str, float | None] | None:
    """Return published accuracies on the clean test set, in [0, 1], or None where nothing was published.

    The paper has no row of plain training, the second run (README) no others than :data:`ARMS`. Further rows of the
    paper are ``full-model`` (weight decay, dropout and augmentation, no teacher), ``forgetting`` and ``reed-soft``.

    Args:
        dataset: ``cifar10`` or ``cifar100``.
        student: one of :data:`STUDENTS`.
        arm: a row.
        noise: exactly one of :data:`RATES`; no other was published.

    Returns:
        ``{"icml": table 2 of the paper, "readme": the second run}``, one of them perhaps None.
    """
    column = next((i for i, rate in enumerate(RATES) if math.isclose(rate, noise)), None)
    if column is None:
        return None
    rows = {name: table.get((dataset, student), {}).get(arm) for name, table in _TABLES.items()}
    found = {name: None if row is None else row[column] for name, row in rows.items()}
    return found if any(value is not None for value in found.values()) else None


def _check(student: str, arm: str, compat: str | None) -> None:
    if student not in STUDENTS:
        raise ConfigError(unknown("student of the MentorNet tables", student, STUDENTS))
    if arm not in ARMS:
        raise ConfigError(unknown("arm of the MentorNet tables", arm, ARMS))
    if compat not in (None, "written", "effective"):
        raise ConfigError(unknown("compat", compat, ("written", "effective")))


_Table: TypeAlias = Mapping[tuple[str, str], Mapping[str, tuple[float, float, float]]]

_ICML: _Table = {
    ("cifar10", "resnet101"): {
        "full-model": (0.82, 0.69, 0.18),
        "forgetting": (0.78, 0.63, 0.35),
        "self-paced": (0.89, 0.85, 0.28),
        "focal": (0.79, 0.65, 0.28),
        "reed-soft": (0.81, 0.63, 0.18),
        "mentornet-pd": (0.91, 0.77, 0.33),
        "mentornet-dd": (0.92, 0.89, 0.49),
    },
    ("cifar100", "resnet101"): {
        "full-model": (0.60, 0.45, 0.08),
        "forgetting": (0.61, 0.44, 0.16),
        "self-paced": (0.70, 0.55, 0.13),
        "focal": (0.59, 0.44, 0.09),
        "reed-soft": (0.62, 0.46, 0.08),
        "mentornet-pd": (0.72, 0.56, 0.14),
        "mentornet-dd": (0.73, 0.68, 0.35),
    },
    ("cifar10", "inception"): {
        "full-model": (0.76, 0.73, 0.42),
        "forgetting": (0.76, 0.71, 0.44),
        "self-paced": (0.80, 0.74, 0.33),
        "focal": (0.77, 0.74, 0.40),
        "reed-soft": (0.78, 0.73, 0.39),
        "mentornet-pd": (0.79, 0.74, 0.44),
        "mentornet-dd": (0.79, 0.76, 0.46),
    },
    ("cifar100", "inception"): {
        "full-model": (0.43, 0.38, 0.15),
        "forgetting": (0.42, 0.37, 0.17),
        "self-paced": (0.44, 0.38, 0.14),
        "focal": (0.43, 0.38, 0.15),
        "reed-soft": (0.42, 0.39, 0.12),
        "mentornet-pd": (0.44, 0.39, 0.16),
        "mentornet-dd": (0.46, 0.41, 0.20),
    },
}

_README: _Table = {
    ("cifar10", "resnet101"): {
        "uniform": (0.796, 0.568, 0.238),
        "self-paced": (0.822, 0.802, 0.297),
        "focal": (0.797, 0.634, 0.25),
        "mentornet-pd": (0.910, 0.776, 0.283),
        "mentornet-dd": (0.914, 0.887, 0.463),
    },
    ("cifar100", "resnet101"): {
        "uniform": (0.624, 0.448, 0.084),
        "self-paced": (0.652, 0.509, 0.089),
        "focal": (0.613, 0.467, 0.079),
        "mentornet-pd": (0.733, 0.567, 0.193),
        "mentornet-dd": (0.726, 0.675, 0.301),
    },
    ("cifar10", "inception"): {
        "uniform": (0.775, 0.72, 0.29),
        "self-paced": (0.784, 0.733, 0.272),
        "focal": (0.747, 0.695, 0.309),
        "mentornet-pd": (0.798, 0.731, 0.312),
        "mentornet-dd": (0.800, 0.763, 0.461),
    },
    ("cifar100", "inception"): {
        "uniform": (0.42, 0.346, 0.108),
        "self-paced": (0.408, 0.32, 0.091),
        "focal": (0.391, 0.313, 0.107),
        "mentornet-pd": (0.451, 0.386, 0.125),
        "mentornet-dd": (0.466, 0.411, 0.203),
    },
}

_TABLES: Mapping[str, _Table] = {"icml": _ICML, "readme": _README}
