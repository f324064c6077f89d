"""Unsupervised data augmentation, and plain supervised learning: a network that labels for itself."""

from typing import Any

import torch
from torch import Tensor

from ...errors import ConfigError
from ...lesson import Batch, Lesson
from ...losses import cross_entropy
from ...masks import Mask, Silence
from ...semi_supervised import UDA, Annealing, label_health, labelled_weights, smoothed, view_of
from ...student import Student
from ...teacher import Teacher


class UnsupervisedDataAugmentation(Teacher):
    """Teaches the student its labelled examples, and on others to answer on a strong view as it does on a weak one.

    ``supervised_weight CE(y, S(x_l)) + w(t) (1/N) sum_i m_i CE(sg[softmax(S(x_w) / temperature)]_i, S(x_s)_i)``: what
    the teacher of meta pseudo labels descends by itself, here of the network that is trained and evaluated. One pass
    over ``[x_l, x_w, x_s]`` gives the labels and is the one that is studied.

    Args:
        uda: of the second term; None: supervised learning, of ``batch.labelled`` alone.
        mask: instead of the threshold of ``uda``, one that adapts.
        supervised_weight: of the first term.
        label_smoothing: of the labels, in [0, 1).
        tsa: release labelled examples slowly: ``"linear"``, ``"exp"``, ``"log"``.

    Raises:
        ConfigError: for a mask without ``uda``, or a batch without what the terms need.

    Source: Xie et al., "Unsupervised data augmentation for consistency training", NeurIPS 2020, section 2.
    """

    def __init__(
        self,
        uda: UDA | None,
        *,
        mask: Mask | None = None,
        supervised_weight: float = 1.0,
        label_smoothing: float = 0.0,
        tsa: Annealing | None = None,
    ) -> None:
        super().__init__()
        if mask is not None and uda is None:
            raise ConfigError("mask is of the consistency term; give uda, too.")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing is {label_smoothing}; it must be in [0, 1).")
        self.uda, self.mask, self.tsa, self.silence = uda, mask, tsa, Silence()
        self.supervised_weight, self.label_smoothing = supervised_weight, label_smoothing

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return labelled rows, weak and strong views in one lesson; the weak ones have weight 0."""
        labelled = batch.labelled
        if labelled is None:
            raise ConfigError("UnsupervisedDataAugmentation: the batch has no labelled examples.")
        views = [] if self.uda is None else [view_of(batch, "weak"), view_of(batch, "strong", needed_by="UDA")]
        x = torch.cat([labelled.x, *views]) if views else labelled.x
        z = student.logits(x).detach()
        own, weak = z[: len(labelled)], z[len(labelled) : len(labelled) + len(batch)]
        target = smoothed(labelled.y, z.shape[1], self.label_smoothing, z.dtype)
        weight = self.supervised_weight * labelled_weights(own, labelled.y, batch.progress, self.tsa)
        notes: dict[str, Any] = {}
        if self.uda is not None:
            q, w = torch.softmax(weak, -1), self.uda.weight_at(student.step)
            mask = self.uda.mask(weak) if self.mask is None else self.mask.weights(q, batch.index)
            sharp = self.uda.target(weak)
            target = torch.cat([target, sharp, sharp])
            weight = torch.cat([weight, torch.zeros_like(mask), w * mask / len(batch)])
            notes = {"q": q, "index": batch.index, "mask": mask, "uda_weight": w}
        return Lesson(x, target, len(x) * weight, cross_entropy, notes)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Move the mask on; return ``mask_rate``, ``uda_weight`` and the health of the labels."""
        if self.uda is None:
            return {}
        q: Tensor = lesson.notes["q"]
        if self.mask is not None:
            self.mask.update(q, lesson.notes["index"])
        self.silence(lesson.notes["mask"], q, student.step)
        return {
            "mask_rate": lesson.notes["mask"].mean(),
            "uda_weight": lesson.notes["uda_weight"],
            **label_health(q),
        }
