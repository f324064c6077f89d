"""Pacing: what all curricula share. A moving percentile of the losses, burn-in, example dropout, normalising."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from . import curricula
from .curricula import CurriculumFunction, Interpolation
from .errors import ConfigError
from .example_dropout import DropoutMode, kept, per_percent, rows_left
from .lesson import Batch, Lesson, Loss, percent
from .losses import cross_entropy
from .randomness import counter, stream
from .student import Student


class Pacing(nn.Module):
    """Makes a weighted lesson of a batch by a curriculum function of loss, moving percentile and progress.

    ``P_t`` = the p-quantile of the batch's losses before weighting; ``lam_t = a lam_{t-1} + (1 - a) P_t``, by default
    divided by ``1 - a^t``; ``weight = v(loss, lam_t, progress)``, 1 during burn-in, then example dropout. The losses
    are those of the student's one training pass; the weights carry no gradient.

    Args:
        percentile: p in (0, 1), or 100 values, one a percent of training.
        decay: a in [0, 1) of the moving percentile.
        burn_in: percent of training during which all weights are 1.
        dropout: example dropout as (rate, percents of training), ... adding up to 100; kept weights are not scaled.
        mode: how dropout draws, see :func:`tutelage.example_dropout.kept`; ``"binary"`` gives the drawn rows weight 1.
        bias_correction: divide the moving percentile by ``1 - a^t`` (the published code does not).
        interpolation: of the quantile.
        normalise: ``"batch"``: the loss is divided by N; ``"weights"``: by ``max(sum of weights, 1e-6)``.
        keep_positive: give weight 1 to every label above 0 (object detection: keep the foreground).
        allow_empty: allow dropout to leave no row.
        loss: per-example loss.

    Raises:
        ConfigError: for options outside their ranges, or dropout that leaves no row.

    Source: Jiang et al., "MentorNet", ICML 2018, sections 3 and 4. Unlike its published code, burn-in ends after
    exactly ``burn_in`` percent, and the dropout schedule goes on after it.
    """

    threshold: Tensor
    updates: Tensor

    def __init__(
        self,
        *,
        percentile: float | Sequence[float] = 0.7,
        decay: float = 0.5,
        burn_in: int = 18,
        dropout: Sequence[tuple[float, int]] | None = None,
        mode: DropoutMode = "random",
        bias_correction: bool = True,
        interpolation: Interpolation = "linear",
        normalise: Literal["batch", "weights"] = "batch",
        keep_positive: bool = False,
        allow_empty: bool = False,
        loss: Loss = cross_entropy,
    ) -> None:
        super().__init__()
        levels = (percentile,) * 100 if isinstance(percentile, (int, float)) else tuple(percentile)
        _check(levels, decay, burn_in, dropout)
        self.percentiles = levels
        self.decay = decay
        self.burn_in = burn_in
        self.dropout = None if dropout is None else per_percent(dropout)
        self.mode = mode
        self.bias_correction = bias_correction
        self.interpolation = interpolation
        self.normalise = normalise
        self.keep_positive = keep_positive
        self.allow_empty = allow_empty
        self.loss = loss
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def lesson(self, batch: Batch, student: Student, v: CurriculumFunction) -> Lesson:
        """Return the batch with its given labels, weighted; the notes say how."""
        e = percent(batch.progress)
        losses = student.losses(batch.x, batch.y, self.loss).detach()
        level = curricula.percentile(losses, self.percentiles[e], self.interpolation)
        # the corrected average in its incremental form, which keeps a constant loss to the last bit
        past = self.decay ** (self.updates + 1).double() if self.bias_correction else 0.0
        gain = (1.0 - self.decay) / (1.0 - past)
        threshold = self.threshold + gain * (level.double() - self.threshold)
        if e < self.burn_in:
            before = torch.ones_like(losses)
        else:
            before = v(losses, threshold, batch.progress)
            if self.keep_positive:
                before = before.masked_fill(batch.y > 0, 1.0)
        notes: dict[str, Any] = {
            "loss": losses,
            "threshold": threshold,
            "percent": e,
            "percentile": self.percentiles[e],
            "weight": before,
        }
        weight = before if self.dropout is None else self._drop(before, batch, student, e, notes)
        if self.normalise == "weights":
            weight = weight * (len(batch) / weight.sum().clamp_min(1e-6))
        return Lesson(batch.x, batch.y, weight, self.loss, notes)

    @torch.no_grad()
    def commit(self, lesson: Lesson) -> None:
        """Take over the moving percentile that a lesson was made with."""
        self.threshold.copy_(lesson.notes["threshold"])
        self.updates += 1

    def _drop(self, weight: Tensor, batch: Batch, student: Student, e: int, notes: dict[str, Any]) -> Tensor:
        assert self.dropout is not None
        if len(batch) == 1:  # a single row is not dropped
            return weight
        if not self.allow_empty and rows_left(len(batch), max(self.dropout)) == 0:
            raise ConfigError(
                f"example dropout {max(self.dropout)} leaves none of {len(batch)} rows; "
                "lower it, or pass allow_empty (--allow-empty)."
            )
        key = counter(stream(student.seed, "example dropout"), student.step)
        mask = kept(weight, batch.index, self.dropout[e], self.mode, key)
        notes["kept"] = mask
        return mask.to(weight.dtype) if self.mode == "binary" else weight * mask


def _check(levels: Sequence[float], decay: float, burn_in: int, dropout: Sequence[tuple[float, int]] | None) -> None:
    if len(levels) != 100:
        raise ConfigError(f"percentile: {len(levels)} values given; give one, or 100, one a percent of training.")
    for level in levels:
        if not 0 < level < 1:
            raise ConfigError(f"percentile is {level}; it must lie between 0 and 1, such as 1 minus the noise rate.")
    if not 0 <= decay < 1:
        raise ConfigError(f"decay of the moving percentile is {decay}; it must be in [0, 1).")
    if not 0 <= burn_in <= 100:
        raise ConfigError(f"burn_in is {burn_in}; it is a percent of training, in 0..100.")
    for rate, _ in dropout or ():
        if not 0 <= rate <= 1:
            raise ConfigError(f"example dropout rate is {rate}; it must be in [0, 1].")
