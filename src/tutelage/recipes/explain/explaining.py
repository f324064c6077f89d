"""The network of a pool: trained on its rows alone, then asked for features and for explanations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...data.geometry import Crop
from ...errors import NotConverged
from ...evaluation import accuracy
from ...explanations import class_activation, entropy_scores, occlusion, placed
from ...lesson import Batch, Lesson
from ...losses import cross_entropy
from ...randomness import permutation, stream
from ...rules import SGD, Adam
from ...schedules import OneCycle
from ...student import Student

_BATCH, _RATE = 64, 4e-3
_SHIFT, _PATCH, _STRIDE, _BLUR = 12, 4, 3, 32
"""Parts of an image's side: by which it is shifted in training, that a patch covers, of which strides and blurs are."""


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network.

    Attributes:
        net: maps images to logits of the run's classes.
    """

    net: nn.Module

    def features(self, x: Tensor) -> Tensor:
        """Return what the last layer sees of rows (N, ...), (N, d)."""
        return self._student.embed(x)[0]

    def logits(self, x: Tensor) -> Tensor:
        """Return (N, K)."""
        return self._student.predict(x)

    def maps(self, x: Tensor, labels: Tensor, kind: str) -> Tensor:
        """Return where the labels (N,) show in images (N, C, H, W), (N, h, w), by ``cam`` or ``occlusion``."""
        if kind == "cam":
            return class_activation(self.net, x, labels)
        patch = max(1, min(x.shape[2:]) // _PATCH)
        return occlusion(self.logits, x, labels, patch=patch, stride=max(1, patch // _STRIDE))

    def difficulty(self, pool: Batch, kind: str) -> Tensor:
        """Return how hard it is to explain each row of a pool, (N,), in [0, 1]."""
        right = self.logits(pool.x).argmax(1) == pool.y
        return entropy_scores(self.maps(pool.x, pool.y, kind), right, pool.y)

    def overlays(self, x: Tensor, labels: Tensor, kind: str) -> Tensor:
        """Return the maps at the size of the images, (N, H, W)."""
        high, wide = x.shape[2:]
        return placed(self.maps(x, labels, kind), (high, wide), sigma=min(1.5, min(high, wide) / _BLUR))

    @property
    def _student(self) -> Student:
        return Student(self.net, SGD(1.0))


def trained(net: nn.Module, pool: Batch, *, epochs: int, seed: int, advance: Callable[[], None]) -> Network:
    """Return a network trained on a pool by Adam, its rate in one cycle up to 0.004, images shifted by a twelfth.

    Args:
        net: fresh; changed.
        pool: rows and given labels.
        epochs: passes, in batches of 64.
        seed: of order and shifts.
        advance: called after each pass.
    """
    batches = -(-len(pool) // _BATCH)
    cycle = OneCycle(_RATE, epochs * batches)
    student = Student(net, Adam(cycle, betas=(cycle.momentum, 0.999)), seed=seed)
    shift = Crop(max(1, min(pool.x.shape[2:]) // _SHIFT)) if pool.x.ndim == 4 else None
    for epoch in range(epochs):
        order = torch.from_numpy(permutation(stream(seed, f"order of pass {epoch}"), len(pool))).to(pool.x.device)
        for rows in torch.tensor_split(order, batches):
            x = pool.x[rows]
            if shift is not None:
                x = shift.apply(x, shift.draw(seed, epoch, pool.index[rows]))
            weight = torch.ones(len(rows), dtype=pool.weight_dtype, device=x.device)
            student.study(Lesson(x, pool.y[rows], weight, cross_entropy))
        advance()
    return Network(student.net)


def check_learned(net: Network, pool: Batch, classes: int) -> float:
    """Return a network's accuracy on the pool that it was trained on.

    Raises:
        NotConverged: if it is no better than the commonest class.
    """
    found = accuracy(net.logits(pool.x), pool.y)
    commonest = int(torch.bincount(pool.y.long(), minlength=classes).max()) / len(pool)
    if found <= commonest:
        raise NotConverged(
            f"the network is right on {100 * found:.0f} % of the rows that it was trained on, no more than a guess of "
            f"the commonest class ({100 * commonest:.0f} %): take more --epochs, or another --net."
        )
    return found


def explainable(net: Network, pool: Batch, options: Any) -> None:
    """Ask an untrained network for what the run will ask it, of one row.

    Raises:
        TutelageError: if it cannot answer, such as one without convolutions for activation maps.
    """
    net.features(pool.x[:1])
    if options.explain != "none":
        net.maps(pool.x[:1], pool.y[:1], options.explain)
