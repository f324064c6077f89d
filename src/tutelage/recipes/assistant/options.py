"""Options of the recipe assistant, and which of them count when."""

from dataclasses import dataclass
from typing import Any, Literal

from ...errors import ConfigError
from ..distilling.options import DIGITS, PUBLISHED, Options, check
from ..distilling.using import FREE_MOMENTUM
from ..ranges import within
from ..used import Table, use


@dataclass(frozen=True)
class Config(Options):
    """Options of the recipe; None means: chosen by the profile, or for the data."""

    chain: str | None = None
    """Networks from the teacher to the student, separated by commas, or widths as 256-64-16-4: of one hidden layer,
    the teacher of two with dropout; default: 256-64-16-4, published plain10,plain4,plain2."""
    ladder: str | None = None
    """Candidates of the planner, in the same form, without teacher and student; default: those of --chain."""
    teacher: str | None = None
    """Network of the teacher, with --student and --ladder in place of --chain."""
    student: str | None = None
    """Network of the student: mlp[-gelu]-W1-W2[-dropout-P], cnn, lenet, plainD, vggD, resnetD, resnetDxK, wrn-D-W, or
    your own as package.module:function."""
    train_rows: int | None = None
    """Assistants and student study only so many of the training rows; default: all."""
    test: float | None = None
    """Share held out as test set, if the data has none of its own; default: 0.4435."""
    teacher_lr: float | None = None
    """The teacher's learning rate; default: 0.005, published 0.01."""
    teacher_batch: int | None = None
    """Examples a step of its training; default: 64, published 128."""
    epochs: int | None = None
    """Passes over the rows, of every network; default: published 160."""
    batch_size: int | None = None
    """Examples a step of assistants and student; default: 32, published 128."""
    lr: float | None = None
    """Their learning rate; default: 0.015, published 0.01, for residual networks 0.1 with --rates steps."""
    weight_decay: float | None = None
    """Weight decay, on all parameters; default: 0.0001."""
    rates: Literal["one-cycle", "steps", "cosine", "constant"] | None = None
    """Learning rates of all networks: up and down in one cycle, divided by 10 at 62.5, 75 and 87.5 % of training, half
    a cosine to 0, or constant; default: one-cycle, published constant."""
    plan: Literal["none", "one", "bisect", "all"] = "bisect"
    """What is proposed: nothing; the candidate nearest the middle of teacher and student in accuracy; a chain by
    halving intervals; or the best of all chains, which are all trained."""
    min_gap: float = 0.01
    """bisect: accuracy, in [0, 1], from which on an interval is halved."""
    max_hops: int = 3
    """bisect: most assistants."""
    force: bool = False
    """all: train the chains of more than four candidates as well."""
    plan_share: float = 0.25
    """Share of the steps in which candidates are measured, in (0, 1]."""
    validation: float = 0.2
    """Share of the training rows that is held out for the planner; 0: none, with --plan none."""
    temperature: str = "4"
    """Temperature of every hop, or one for each network that is taught, separated by commas, the student's last."""
    kd_weight: str = "0.9"
    """Weight of the teacher in every hop, or in each."""
    ce_weight: str | None = None
    """Weight of the labels; default: 1 less the teacher's."""
    label_smoothing: float = 0.1
    """Smoothing of the control label-smoothing, in (0, 1]."""


PROFILES = {
    "digits": DIGITS.but(
        teacher=None, student=None, chain="256-64-16-4", train_rows=None, test=0.4435, teacher_lr=5e-3
    ),
    "published": PUBLISHED.but(
        teacher=None,
        student=None,
        chain="plain10,plain4,plain2",
        epochs=160,
        batch_size=128,
        teacher_batch=128,
        lr=0.01,
        teacher_lr=0.01,
        weight_decay=1e-4,
        rates="constant",
    ),
}

USED: Table = {
    **dict.fromkeys(("ladder", "plan_share"), use(plan=("one", "bisect", "all"))),
    **dict.fromkeys(("min_gap", "max_hops"), use(plan="bisect")),
    "force": use(plan="all"),
    "momentum": (
        use(rule="sgd", rates=FREE_MOMENTUM),
        use(teacher_rule="sgd", teacher_weights=None, rates=FREE_MOMENTUM),
    ),
    **dict.fromkeys(
        ("teacher_steps", "teacher_batch", "teacher_rule", "teacher_lr", "teacher_weight_decay"),
        use(teacher_weights=None),
    ),
}
"""Options that count in some runs only."""


def check_given(given: Any) -> None:
    """Refuse what is wrong whatever the data is.

    Raises:
        ConfigError: naming the option.
    """
    check(given)
    within(given, "min_gap", 0, 1)
    within(given, "max_hops", 0, 100)
    within(given, "plan_share", 0, 1, above=True)
    within(given, "label_smoothing", 0, 1, above=True)
    if given.plan != "none" and not given.validation:
        raise ConfigError(f"--plan {given.plan} measures on validation rows; give --validation, such as 0.2.")
    if given.chain is None and (given.teacher is None) != (given.student is None):
        raise ConfigError("give both --teacher and --student, or --chain.")
    if given.chain is None and given.teacher is not None and given.ladder is None:
        more = "--chain" if given.plan == "none" else "--ladder, or --chain"
        raise ConfigError(f"--teacher and --student have nothing between them; give {more}.")
