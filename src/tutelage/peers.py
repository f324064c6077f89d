"""Peers: several students that teach each other, without a teacher that was trained before."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from .errors import ConfigError, ShapeError, unknown
from .lesson import Batch
from .soft_targets import MutualLearning, TargetLoss
from .student import Student
from .teachers import Distillation
from .training import Step, guard_on

Order: TypeAlias = Literal["simultaneous", "sequential"]


class PeerLogits:
    """What other students answer, in the pass that they study from: a :class:`~tutelage.frozen.LogitSource`.

    Args:
        others: one or more; they change as they study.
    """

    def __init__(self, others: Sequence[Student]) -> None:
        self.others = tuple(others)

    def answers_for(self, batch: Batch) -> Tensor:
        """Return their logits without gradient, (N, K - 1, C).

        Raises:
            ShapeError: if they answer with different classes.
        """
        found = [other.logits(batch.x).detach() for other in self.others]
        if len({logits.shape for logits in found}) > 1:
            counts = ", ".join(str(logits.shape[-1]) for logits in found)
            raise ShapeError(f"the peers answer with {counts} classes; all need the same.")
        return torch.stack(found, -2)

    def notes(self, batch: Batch) -> dict[str, Any]:
        """Return ``source`` and the number of ``peers``."""
        return {"source": "peers", "peers": len(self.others)}


def train_peers(
    students: Sequence[Student],
    batches: Iterable[Batch],
    *,
    loss: TargetLoss | None = None,
    order: Order = "simultaneous",
) -> Iterator[tuple[Step, ...]]:
    """Train K students on the same batches, each by the labels and by what the others answer, a step at a time.

    With ``MutualLearning``, the default, student i studies ``CE(y, z_i) + 1/(K-1) sum_{j != i} KL(p_j || p_i)``, where
    the others' answers are values: nothing of its gradient reaches them.

    Args:
        students: at least 2, of any architectures, each with a rule of its own; they change at every step.
        batches: what all of them study; ends the training when it ends.
        loss: of a soft target with the logits (N, K - 1, C) of the others.
        order: ``"simultaneous"``: all see the answers from before the step, one pass each. ``"sequential"``: one after
            another, each sees what those before it have become; passes that changed are made anew.

    Yields:
        a step of each student, in their order.

    Raises:
        ConfigError: for fewer than 2 students, one that is there twice, or an unknown order.
        NotFiniteError: if a loss is NaN or infinite.

    Source: Zhang et al., "Deep mutual learning", CVPR 2018, equations 5 and 9, algorithm 1 (``"sequential"``).
    """
    different = len({id(student) for student in students})
    if different < max(2, len(students)):
        raise ConfigError(
            f"train_peers: {len(students)} students given, {different} of them different; mutual learning needs at "
            "least 2, each there once."
        )
    if order not in get_args(Order):
        raise ConfigError(unknown("order", str(order), get_args(Order)))
    return _train(students, batches, MutualLearning() if loss is None else loss, order)


def _train(
    students: Sequence[Student], batches: Iterable[Batch], loss: TargetLoss, order: Order
) -> Iterator[tuple[Step, ...]]:
    teachers = [Distillation(PeerLogits([s for s in students if s is not mine]), loss) for mine in students]
    guard = None
    for batch in batches:
        guard = guard or guard_on(batch.x.device)
        pairs = list(zip(teachers, students))
        at_once = [teacher.teach(batch, student) for teacher, student in pairs] if order == "simultaneous" else []
        steps = []
        for i, (teacher, student) in enumerate(pairs):
            number, lr = student.step, student.lr
            lesson = at_once[i] if at_once else teacher.teach(batch, student)
            metrics = student.study(lesson)
            guard.watch(number, teacher, lr, metrics["loss"])
            steps.append(Step(number, batch, lesson, dict(metrics)))
        yield tuple(steps)
    if guard is not None:
        guard.look()
