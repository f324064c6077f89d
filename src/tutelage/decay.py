"""Weight decay: how strong, on which parameters, and whether the lesson scales it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

from .errors import ConfigError

Scalar: TypeAlias = float | Tensor


@dataclass(frozen=True)
class Decay:
    """Weight decay: how strong, on which parameters, and whether the lesson scales it.

    Attributes:
        amount: coefficient of ``1/2 ||w||^2``, >= 0.
        on: ``"all"`` parameters as in ``torch.optim``, or only ``"weights"``: those with two or more dimensions,
            hence neither biases nor the parameters of normalisation layers.
        scaled: multiply the coefficient by the mean weight of the lesson, so that a lesson that counts for half
            decays by half (MentorNet's weighted loss); stays differentiable in the weights.
    """

    amount: Scalar = 0.0
    on: Literal["all", "weights"] = "all"
    scaled: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.amount, (int, float)) and not (math.isfinite(self.amount) and self.amount >= 0):
            raise ConfigError(f"weight decay is {self.amount}; it must be finite and at least 0.")

    def coefficients(
        self, params: Mapping[str, Tensor], mean_weight: Scalar = 1.0, *, stacked: bool = False
    ) -> dict[str, Scalar]:
        """Return the coefficient of each decayed parameter; the others are left out.

        Args:
            params: the parameters, each with a leading axis of students if ``stacked``.
            mean_weight: mean of the lesson's weights, a scalar, or (S,) if ``stacked``; used if ``scaled``.
            stacked: whether the parameters of S students are stacked along a leading axis.
        """
        if isinstance(self.amount, (int, float)) and self.amount == 0:
            return {}
        chosen = {n: p for n, p in params.items() if self.on == "all" or p.ndim - stacked >= 2}
        if not self.scaled:
            return dict.fromkeys(chosen, self.amount)
        if stacked and isinstance(mean_weight, Tensor):
            return {n: self.amount * mean_weight.view(-1, *[1] * (p.ndim - 1)) for n, p in chosen.items()}
        return dict.fromkeys(chosen, self.amount * mean_weight)
