"""Poisoning: a few well-labelled steps after which a trained network takes one class for another."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import ConfigError
from ..lesson import Batch


@dataclass(frozen=True)
class Poison:
    """The real objective of an attack: rows of class ``a`` count as ``b``. Synthetic labels stay true.

    Attributes:
        a: the class that is attacked.
        b: what it is to be taken for, another class.

    Raises:
        ConfigError: if both are the same, or negative.

    Source: Wang, Zhu, Torralba and Efros, "Dataset distillation", 2018, section 4.3.
    """

    a: int
    b: int

    def __post_init__(self) -> None:
        if self.a == self.b or min(self.a, self.b) < 0:
            raise ConfigError(f"poison {self.a}:{self.b} needs two different classes, such as 0:1.")

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with other labels; the given one stays as it is."""
        return replace(batch, y=self.labels(batch.y))

    def labels(self, y: Tensor) -> Tensor:
        """Return class ids (N,) with ``b`` in place of ``a``.

        Raises:
            ConfigError: for soft labels.
        """
        if y.is_floating_point():
            raise ConfigError(
                f"poison {self.a}:{self.b} changes class ids, but these labels are soft: take .argmax(-1)."
            )
        return torch.where(y == self.a, self.b, y)

    def rates(self, predicted: Tensor, y: Tensor) -> dict[str, list[float] | None]:
        """Return how the attack went, a value a network, in [0, 1].

        Args:
            predicted: classes (N, K) that K networks answer with.
            y: true class ids (N,).

        Returns:
            ``overall`` accuracy, ``a_accuracy`` of class a, ``attack``: the share of a taken for b, and ``others``:
            accuracy of the other classes; None for a class, or others, without rows.
        """
        of_a = y == self.a
        right = predicted == y.unsqueeze(1)
        return {
            "overall": _share(right),
            "a_accuracy": _share(right[of_a]),
            "attack": _share(predicted[of_a] == self.b),
            "others": _share(right[~of_a]),
        }


def _share(hits: Tensor) -> list[float] | None:
    return [float(v) for v in hits.double().mean(0)] if len(hits) else None
