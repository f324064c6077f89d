"""Offline pseudo labels: made once by a trained network, then taught to a fresh student."""

import math
from typing import Any

import torch
from torch import Tensor

from ...errors import ConfigError, DataError
from ...lesson import Batch, Lesson
from ...losses import cross_entropy
from ...semi_supervised import (
    balancing_weights,
    confidences,
    confident,
    pseudo_labels,
    smoothed,
    view_of,
)
from ...student import Student
from ...teacher import Teacher


class OfflinePseudoLabels(Teacher):
    """Teaches ``CE(label_i, S(x_s,i))`` with labels that a trained network gave once, and the labelled examples.

    For several rounds, train a student, take its logits as those of the next teacher, and start afresh.

    Args:
        logits: of the trained network on the clean pool, (n, C).
        index: positions of these rows in the data set, (n,); default 0..n-1.
        hard: the most probable class as label; False: the probabilities.
        temperature: of these, > 0.
        threshold: leave out rows whose largest probability is below it.
        balance: weigh rows so that every predicted class counts the same.
        supervised_weight: of the labelled examples that come with a batch; 0: they are not used.

    Raises:
        ConfigError: for options outside their ranges.
        DataError: for logits that are not finite, an index that does not fit, or a batch with an unknown example.

    Source: Lee, "Pseudo-label", ICML workshop 2013 (hard labels); Xie et al., "Self-training with noisy student
    improves ImageNet classification", CVPR 2020 (soft labels, threshold, balance, rounds).
    """

    labels: Tensor
    weights: Tensor
    row: Tensor
    histogram: Tensor

    def __init__(
        self,
        logits: Tensor,
        index: Tensor | None = None,
        *,
        hard: bool = True,
        temperature: float = 1.0,
        threshold: float = 0.0,
        balance: bool = False,
        supervised_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ConfigError(f"temperature is {temperature}; it must be above 0, and finite.")
        if logits.ndim != 2 or not logits.isfinite().all():
            raise DataError("OfflinePseudoLabels: needs finite logits (n, C), one row for each example of the pool.")
        index = torch.arange(len(logits), device=logits.device) if index is None else index
        if index.shape != logits.shape[:1] or int(index.min()) < 0:
            raise DataError(f"OfflinePseudoLabels: index has shape {tuple(index.shape)}; it needs a position a row.")
        logits = logits.detach()
        keep = confident(logits, threshold)
        weights = keep.to(logits.dtype)
        if balance:
            weights = balancing_weights(logits.argmax(-1), logits.shape[1], keep).to(logits.dtype)
        row = torch.full((int(index.max()) + 1,), -1, device=index.device)
        row[index] = torch.arange(len(index), device=index.device)
        self.supervised_weight = supervised_weight
        self.register_buffer("labels", pseudo_labels(logits, hard=hard, temperature=temperature))
        self.register_buffer("weights", weights)
        self.register_buffer("row", row)
        self.register_buffer("histogram", confidences(torch.softmax(logits, -1)))

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the strong view with its labels, then the labelled examples if there are any."""
        known = batch.index < len(self.row)
        rows = self.row[batch.index.clamp_max(len(self.row) - 1)]
        if not bool((known & (rows >= 0)).all()):
            strange = int(batch.index[~known | (rows < 0)][0])
            raise DataError(f"OfflinePseudoLabels: no label was made for example {strange}.")
        x, dtype = view_of(batch, "strong"), batch.weight_dtype
        target, weight = self.labels[rows].to(dtype), self.weights[rows].to(dtype)
        if batch.labelled is None or not self.supervised_weight:
            return Lesson(x, target, weight, cross_entropy)
        own = batch.labelled
        total = len(own) + len(x)
        target = torch.cat([target, smoothed(own.y, target.shape[1], 0.0, dtype)])
        each = torch.full((len(own),), self.supervised_weight * total / len(own), dtype=dtype, device=x.device)
        return Lesson(torch.cat([x, own.x]), target, torch.cat([weight * (total / len(x)), each]), cross_entropy)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Return ``label_rate``, the share of all labels that count, and ``confidence_histogram`` (10,) of them all."""
        return {"label_rate": (self.weights > 0).double().mean(), "confidence_histogram": self.histogram}
