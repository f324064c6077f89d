"""Distillation: a student learns from the answers of trained networks."""

import dataclasses
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import ConfigError
from ...frozen import Frozen, LogitSource
from ...lesson import Batch, Lesson
from ...randomness import counter, stream
from ...soft_targets import (
    DIST,
    KnowledgeDistillation,
    LogitMatching,
    Noise,
    SoftTarget,
    StandardisedDistillation,
    TargetLoss,
    TopLogits,
    confidence,
    confidence_weights,
    degenerate_rows,
    noisy,
    permuted,
    warm_up,
)
from ...student import Student
from ...teacher import Teacher

_MAY_LEAVE_ROWS_OUT = (DIST, LogitMatching, StandardisedDistillation)


class Distillation(Teacher):
    """Teaches ``loss(S(x_i), y_i, z_i)`` with a teacher's logits ``z_i`` of the very inputs that the student sees.

    Every chain is made of it: generations that are born again, assistants between a large and a small network, and
    peers are other sources. The teacher is no module of this one, so it is in no optimiser and no ``state_dict``.

    Args:
        source: of the logits: :class:`~tutelage.frozen.Frozen` networks, or a cache of their answers.
        loss: of the student's logits and the soft target.
        noise: a stochastic teacher; on inputs or by dropout it needs a live one, on logits it comes after any cache.
        confidence_weighting: weigh the rows by the teacher's :func:`~tutelage.soft_targets.confidence`, with mean 1;
            published with labels only, ``KnowledgeDistillation(ce_weight=1, kd_weight=0)`` (CWTM).
        permute: shuffle the logits below the largest of each row, anew at each step (DKPP).
        threshold: weight 0 for rows whose confidence is below it, in [0, 1]; for hard labels.
        warm_up: share of the training in [0, 1] in which ``kd_weight`` grows from 0, evenly; 20 / 240 for DKD.
        allow_coupled: let weights differ with a loss that couples the rows of a batch.

    Raises:
        ConfigError: for options outside their ranges or that do not go together.

    Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015; Furlanello et al.,
    "Born-again neural networks", ICML 2018 (CWTM, DKPP); Sau and Balasubramanian, 2016 (noise).
    """

    def __init__(
        self,
        source: LogitSource,
        loss: TargetLoss | None = None,
        *,
        noise: Noise | None = None,
        confidence_weighting: bool = False,
        permute: bool = False,
        threshold: float | None = None,
        warm_up: float = 0.0,
        allow_coupled: bool = False,
    ) -> None:
        super().__init__()
        self.source = source
        self.loss: TargetLoss = KnowledgeDistillation() if loss is None else loss
        self.noise, self.confidence_weighting, self.permute = noise, confidence_weighting, permute
        self.threshold, self.warm_up, self.allow_coupled = threshold, warm_up, allow_coupled
        self._check()

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the rows with their labels and the teacher's logits.

        The notes have ``method``, the loss with its options; what the source says of itself, such as ``source``,
        whether the answers were live, and ``teacher``, whose they are; ``degenerate_rows`` where the loss may leave
        rows out; and ``warm_up`` while the teacher's weight grows.
        """
        answers = self._answers(batch, student)
        weight = torch.ones(len(batch), dtype=batch.weight_dtype, device=batch.x.device)
        if self.confidence_weighting:
            weight = confidence_weights(answers).to(weight.dtype)
        if self.threshold is not None:
            weight = weight * (confidence(answers) >= self.threshold)
        if self.permute:
            answers = permuted(_all(answers, "permute"), batch.index, _key(student, "permuted answers"))
        target = SoftTarget(batch.y, answers)
        notes = {"method": repr(self.loss), **self.source.notes(batch)}
        if isinstance(self.loss, _MAY_LEAVE_ROWS_OUT):
            notes["degenerate_rows"] = degenerate_rows(self.loss, student.logits(batch.x), target)
        loss = self.loss
        if batch.progress < self.warm_up:
            notes["warm_up"] = share = warm_up(batch.progress, self.warm_up)
            loss = dataclasses.replace(loss, kd_weight=share * loss.kd_weight)  # type: ignore[type-var]
        return Lesson(batch.x, target, weight, loss, notes)

    def _answers(self, batch: Batch, student: Student) -> Tensor | TopLogits:
        noise, source = self.noise, self.source
        if noise is None:
            return source.answers_for(batch)
        key = _key(student, "noise of the teacher")
        if noise.stage == "logits":
            return noisy(_all(source.answers_for(batch), "noise"), batch.index, noise, key)
        assert isinstance(source, Frozen)
        if noise.stage == "inputs":
            return source.answers(noisy(batch.x, batch.index, noise, key))
        return source.answers(batch.x, dropout=key)

    def _check(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold is {self.threshold}; it is a probability, in 0..1.")
        if not 0 <= self.warm_up <= 1:
            raise ConfigError(f"warm_up is {self.warm_up}; it is a share of the training, in 0..1.")
        name = type(self.loss).__name__
        fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(self.loss) if is_dataclass(self.loss) else ()
        if self.warm_up and "kd_weight" not in [field.name for field in fields]:
            raise ConfigError(f"warm_up lets kd_weight grow, which {name} has not.")
        if self.loss.batch_coupled and (self.confidence_weighting or self.threshold) and not self.allow_coupled:
            raise ConfigError(
                f"{name} couples the rows of a batch, so that weights of single rows have no meaning in it: leave out "
                "confidence_weighting and threshold, or give allow_coupled=True."
            )
        if self.noise is not None and self.noise.stage != "logits" and not isinstance(self.source, Frozen):
            raise ConfigError(
                f'noise at the stage "{self.noise.stage}" needs a live teacher, Frozen, but the source is a '
                f'{type(self.source).__name__}: use stage="logits".'
            )


def _key(student: Student, name: str) -> int:
    return counter(stream(student.seed, name), student.step)


def _all(answers: Tensor | TopLogits, option: str) -> Tensor:
    if isinstance(answers, TopLogits):
        raise ConfigError(
            f"{option} needs the teacher's logits of all classes, but only the largest {answers.values.shape[-1]} are "
            "stored: store all."
        )
    return answers
