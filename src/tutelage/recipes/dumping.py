"""What a run keeps of its trusted rows while it trains: losses at moments, which mentors are learned from."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..lesson import percent
from ..losses import cross_entropy
from ..mentors import Dump

_EVERY = 3
"""Percents of training between two moments."""


class Dumper:
    """Losses of the trusted rows under their given labels, in evaluation mode, at the ends of some epochs.

    Args:
        given: labels as given of the trusted rows (T,).
    """

    def __init__(self, given: Tensor) -> None:
        self._given = given
        self._percents: list[int] = []
        self._thresholds: list[float] = []
        self._losses: list[Tensor] = []

    def add(self, progress: float, logits: Tensor, threshold: Tensor) -> None:
        """Take in a moment, if it is the first in its three percents of training.

        Args:
            progress: of the last step, in [0, 1).
            logits: of the trusted rows (T, K).
            threshold: moving percentile of the training losses at that step, a scalar.
        """
        e = percent(progress)
        if self._percents and e // _EVERY == self._percents[-1] // _EVERY:
            return
        self._percents.append(e)
        self._thresholds.append(float(threshold))
        self._losses.append(cross_entropy(logits, self._given.to(logits.device)).detach().float().cpu())

    def state_dict(self) -> dict[str, Tensor]:
        """Return the moments as tensors: ``percent`` and ``threshold`` (M,), ``loss`` (M, T)."""
        losses = torch.stack(self._losses) if self._losses else torch.empty(0, len(self._given))
        percents = torch.tensor(self._percents, dtype=torch.int64)
        return {"percent": percents, "threshold": torch.tensor(self._thresholds, dtype=torch.float64), "loss": losses}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state from ``state_dict``."""
        self._percents = state["percent"].tolist()
        self._thresholds = state["threshold"].tolist()
        self._losses = list(state["loss"])


def dump_of(tensors: Mapping[str, Tensor], position: int, source: str) -> Dump:
    """Return what a trajectory kept of one seed.

    Args:
        tensors: of its outcome.
        position: of the seed among those of the run.
        source: a name for messages.
    """
    percents, loss = tensors["dump_percent"], tensors["dump_loss"][position]
    moments, rows = loss.shape

    def each(values: Tensor) -> Tensor:
        return values[position].repeat(moments)

    return Dump(
        each(tensors["dump_index"]),
        percents.repeat_interleave(rows),
        each(tensors["dump_given"]),
        each(tensors["dump_trusted"]),
        loss.flatten(),
        tensors["dump_threshold"][position].repeat_interleave(rows),
        source,
    )
