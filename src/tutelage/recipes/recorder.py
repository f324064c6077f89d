"""What a trajectory remembers of each example: its weight and its loss, epoch by epoch."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ConfigError
from ..training import Step

Floats = npt.NDArray[np.floating]

EARLY = 0.10
"""Share of training whose losses count as early."""
BURN_IN = 0.18
"""Share of training before which weights do not count towards their mean."""
_PENDING = ("pending_index", "pending_weight", "pending_loss")


class Recorder:
    """Weights before example dropout, and unweighted losses, of every training row.

    Args:
        index: the training rows (N,), ascending.
        size: length of the source that the index points into.
        epochs: how many there will be.
    """

    def __init__(self, index: npt.NDArray[np.int64], size: int, epochs: int) -> None:
        rows = len(index)
        self._row = np.full(size, -1, dtype=np.int64)
        self._row[index] = np.arange(rows)
        self.weight = np.full((epochs, rows), np.nan, dtype=np.float16)
        self.loss = np.full((epochs, rows), np.nan, dtype=np.float16)
        self.weight_sum = np.zeros(rows)
        self.weight_count = np.zeros(rows)
        self.early_sum = np.zeros(rows)
        self.early_count = np.zeros(rows)
        self._steps: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, step: Step) -> None:
        """Take in a step; nothing is read from the device before the epoch ends."""
        weight = step.lesson.notes.get("weight", step.lesson.weight)
        if len(weight) != len(step.batch):
            raise ConfigError(
                f"a recorded teacher must keep the rows of the batch: it made {len(weight)} of {len(step.batch)}."
            )
        self._steps.append((step.batch.index, weight.detach(), step.metrics["losses"]))

    def end_epoch(self, epoch: int, progress: float) -> tuple[Floats, Floats]:
        """File the steps of an epoch; return the weight and loss (N,) of each row, NaN for rows not drawn."""
        index, weight, loss = (torch.cat([step[i].cpu() for step in self._steps]).numpy() for i in range(3))
        self._steps.clear()
        rows = self._row[index]
        weights = np.full(len(self.weight_sum), np.nan)
        losses = np.full(len(self.weight_sum), np.nan)
        weights[rows], losses[rows] = weight, loss
        self.weight[epoch], self.loss[epoch] = weights, np.minimum(losses, 6e4)  # float16 ends at 65504
        if progress >= BURN_IN:
            self.weight_sum[rows] += weight
            self.weight_count[rows] += 1
        if progress < EARLY or epoch == 0:
            self.early_sum[rows] += loss
            self.early_count[rows] += 1
        return weights, losses

    @property
    def mean_weight(self) -> Floats:
        """Mean weight (N,) of each row after 18 % of training (the usual burn-in), NaN if it was not drawn since."""
        return _ratio(self.weight_sum, self.weight_count)

    @property
    def early_loss(self) -> Floats:
        """Mean loss (N,) of each row over the first tenth of training, NaN for rows that were not drawn."""
        return _ratio(self.early_sum, self.early_count)

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything as tensors, the steps of an unfinished epoch included."""
        state = {name: torch.from_numpy(getattr(self, name)) for name in self._names()}
        if self._steps:
            for name, parts in zip(_PENDING, zip(*self._steps)):
                state[name] = torch.cat([part.cpu() for part in parts])
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state from ``state_dict``."""
        for name in self._names():
            getattr(self, name)[...] = state[name].numpy()
        if _PENDING[0] in state:
            index, weight, loss = (state[name] for name in _PENDING)
            self._steps = [(index, weight, loss)]

    @staticmethod
    def _names() -> Sequence[str]:
        return ("weight", "loss", "weight_sum", "weight_count", "early_sum", "early_count")


def _ratio(total: Floats, count: Floats) -> Floats:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
