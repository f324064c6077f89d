"""What a trajectory remembers of each example: its weight and its loss, epoch by epoch."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ConfigError
from ..training import Step

Floats = npt.NDArray[np.floating]

EARLY = 0.10
"""Share of training whose losses count as early."""
_PENDING = ("pending_index", "pending_weight", "pending_loss", "pending_answer")
_SUMS = ("weight_sum", "weight_count", "loss_sum", "early_sum", "early_count", "seen")


class Recorder:
    """Weights before example dropout, unweighted losses, and answers, of every training row.

    Args:
        index: the training rows (N,), ascending.
        size: length of the source that the index points into.
        epochs: how many there will be.
        classes: K.
        burn_in: share of training before which weights do not count towards their mean.
    """

    def __init__(
        self, index: npt.NDArray[np.int64], size: int, epochs: int, classes: int, burn_in: float = 0.18
    ) -> None:
        rows = len(index)
        self._burn_in = burn_in
        self._row = np.full(size, -1, dtype=np.int64)
        self._row[index] = np.arange(rows)
        self.weight = np.full((epochs, rows), np.nan, dtype=np.float16)
        self.loss = np.full((epochs, rows), np.nan, dtype=np.float16)
        self.last_weight = np.full(rows, np.nan)
        self.answer_sum = np.zeros((rows, classes), dtype=np.float32)
        self.sums = {name: np.zeros(rows) for name in _SUMS}
        self._steps: list[tuple[Tensor, ...]] = []

    def add(self, step: Step) -> None:
        """Take in a step; nothing is read from the device before the epoch ends."""
        weight = step.lesson.notes.get("weight", step.lesson.weight)
        if len(weight) != len(step.batch):
            raise ConfigError(
                f"a recorded teacher must keep the rows of the batch: it made {len(weight)} of {len(step.batch)}."
            )
        answer = step.metrics["logits"].softmax(-1)
        self._steps.append((step.batch.index, weight.detach(), step.metrics["losses"], answer))

    def end_epoch(self, epoch: int, progress: float) -> tuple[Floats, Floats]:
        """File the steps of an epoch; return the weight and loss (N,) of each row, NaN for rows not drawn."""
        index, weight, loss, answer = (torch.cat([step[i].cpu() for step in self._steps]).numpy() for i in range(4))
        self._steps.clear()
        rows, sums = self._row[index], self.sums
        weights = np.full(len(self.last_weight), np.nan)
        losses = np.full(len(self.last_weight), np.nan)
        weights[rows], losses[rows] = weight, loss
        self.weight[epoch], self.loss[epoch] = weights, np.minimum(losses, 6e4)  # float16 ends at 65504
        self.last_weight[rows] = weight
        np.add.at(self.answer_sum, rows, answer)  # a row may come twice
        np.add.at(sums["loss_sum"], rows, loss)
        np.add.at(sums["seen"], rows, 1)
        if progress >= self._burn_in:
            np.add.at(sums["weight_sum"], rows, weight)
            np.add.at(sums["weight_count"], rows, 1)
        if progress < EARLY or epoch == 0:
            np.add.at(sums["early_sum"], rows, loss)
            np.add.at(sums["early_count"], rows, 1)
        return weights, losses

    @property
    def mean_weight(self) -> Floats:
        """Mean weight (N,) of each row after the burn-in, NaN if it was not drawn since."""
        return _ratio(self.sums["weight_sum"], self.sums["weight_count"])

    @property
    def mean_loss(self) -> Floats:
        """Mean loss (N,) of each row over training, NaN for rows that were never drawn."""
        return _ratio(self.sums["loss_sum"], self.sums["seen"])

    @property
    def early_loss(self) -> Floats:
        """Mean loss (N,) of each row over the first tenth of training, NaN for rows that were not drawn."""
        return _ratio(self.sums["early_sum"], self.sums["early_count"])

    @property
    def seen(self) -> npt.NDArray[np.int64]:
        """How often each row was drawn (N,)."""
        return self.sums["seen"].astype(np.int64)

    @property
    def suggested(self) -> npt.NDArray[np.int64]:
        """The class (N,) that the student's mean answer over training is for, the first of equals."""
        best: npt.NDArray[np.int64] = self.answer_sum.argmax(1)
        return best

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything as tensors, the steps of an unfinished epoch included."""
        state = {name: torch.from_numpy(array) for name, array in self._arrays().items()}
        if self._steps:
            for name, parts in zip(_PENDING, zip(*self._steps)):
                state[name] = torch.cat([part.cpu() for part in parts])
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state from ``state_dict``."""
        for name, array in self._arrays().items():
            array[...] = state[name].numpy()
        if _PENDING[0] in state:
            self._steps = [tuple(state[name] for name in _PENDING)]

    def _arrays(self) -> dict[str, Floats]:
        named = {"weight": self.weight, "loss": self.loss, "last_weight": self.last_weight, "answers": self.answer_sum}
        return named | self.sums


def _ratio(total: Floats, count: Floats) -> Floats:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
