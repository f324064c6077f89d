"""How a teacher that weighs is doing, epoch by epoch: does it see the wrong labels, does the student learn them?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..evaluation import auc
from ..training import Step

NAMES = (
    "auc", "gap", "score_right", "score_wrong", "noisy_fit", "effective_share", "hypergradient_norm", "all_zero",
)  # fmt: skip
_OF_ROWS = ("index", "score", "fits")
_OF_STEPS = ("effective_share", "hypergradient_norm", "all_zero")
_REPORTED = ("hypergradient_norm", "all_zero")
"""What teachers say in their metrics."""


class Diagnostics:
    """Raw scores, answers and what teachers report, of the steps of an epoch.

    Args:
        noisy: labels (n,) of all rows of the source, as the noise made them.
    """

    def __init__(self, noisy: Tensor) -> None:
        self._noisy = noisy
        self._rows: list[tuple[Tensor, ...]] = []
        self._reports: dict[str, list[Tensor]] = {name: [] for name in _OF_STEPS}

    def add(self, step: Step) -> None:
        """Take in a step; nothing is read from the device before the epoch ends."""
        score = step.lesson.notes.get("score", step.lesson.notes.get("weight", step.lesson.weight)).detach()
        if self._noisy.device != score.device:
            self._noisy = self._noisy.to(score.device)
        fits = step.metrics["logits"].argmax(-1) == self._noisy[step.batch.index]
        self._rows.append((step.batch.index, score, fits))
        share = score.sum().square() / (len(score) * score.square().sum()).clamp_min(1e-30)
        self._reports["effective_share"].append(share)
        for name in _REPORTED:
            if name in step.metrics:
                self._reports[name].append(torch.as_tensor(step.metrics[name]))

    def end_epoch(self, right: Any, wrong: Any) -> dict[str, float | None]:
        """Return the numbers of the epoch by name, None for what is not defined.

        ``auc``: P(score of a right label > of a wrong one), ties half; ``gap``: mean score of right less that of wrong
        labels; ``noisy_fit``: share of the noisy labels that the student gave as its answer when it studied them;
        ``effective_share``: ``(sum s)^2 / (N sum s^2)``, mean over batches; ``hypergradient_norm``: mean over updates;
        ``all_zero``: share of the steps in which no example counted, of teachers that report it.

        Args:
            right: booleans (n,), the rows of the source whose given label is known to be right.
            wrong: the same for wrong.
        """
        index, score, fits = (torch.cat([row[i].cpu() for row in self._rows]).numpy() for i in range(3))
        of_right, of_wrong = right[index], wrong[index]
        known = of_right | of_wrong
        above, below = _mean(score[of_right]), _mean(score[of_wrong])
        found = {
            "auc": auc(score[known], of_right[known]),
            "gap": None if above is None or below is None else above - below,
            "score_right": above,
            "score_wrong": below,
            "noisy_fit": _mean(fits),
        }
        for name, values in self._reports.items():
            found[name] = _mean(torch.stack([v.detach().cpu().double() for v in values]).numpy()) if values else None
            values.clear()
        self._rows.clear()
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """Return the steps of an unfinished epoch as tensors."""
        state = {name: torch.stack([v.cpu().double() for v in given]) for name, given in self._reports.items() if given}
        for name, parts in zip(_OF_ROWS, zip(*self._rows)):
            state[name] = torch.cat([part.cpu() for part in parts])
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state from ``state_dict``."""
        self._rows = [tuple(state[name] for name in _OF_ROWS)] if "index" in state else []
        self._reports = {name: list(state[name]) if name in state else [] for name in _OF_STEPS}


def _mean(values: Any) -> float | None:
    return float(np.mean(values, dtype=np.float64)) if len(values) else None
