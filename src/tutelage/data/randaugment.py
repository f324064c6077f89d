"""RandAugment where every example draws its own operations, magnitudes and signs."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from ..errors import ConfigError, DataError, ShapeError
from ..randomness import integer_tensor
from .distortions import Policy, distort, operations
from .transforms import Epoch, Stage, Transform, draws, sides

Magnitude: TypeAlias = Literal["fixed", "uniform"]

_LARGEST = 30


@dataclass(frozen=True)
class RandAugment(Transform):
    """Apply n operations, drawn with replacement for each example by itself, to float images in [0, 1].

    With ``v = v_3k, v_3k+1, v_3k+2`` for the k-th of them: operation ``int(v_3k, number of operations)``, magnitude
    ``a = m / 30`` or ``(1 + int(v_3k+1, m)) / 30``, sign from ``int(v_3k+2, 2)``. The default operations are
    identity; autocontrast; equalise; rotate by +-30 a degrees; solarise above 1 - a; posterise to 8 - round(4 a)
    bits; colour, contrast, brightness, sharpness by the factor 1 +- .9 a; shear in x or y by +-.3 a; translate in
    x or y by +-.1 a of the side. ``policy="kornia"`` has the operations, ranges and definitions of kornia's default
    policy: invert and solarise-add too, no identity, and a sign for motions only.

    Parameters: int64, shape (2, n, N): numbers of the operations, and signed magnitudes -30..30.

    Args:
        n: operations a row, at least 1.
        m: magnitude, 0..30.
        magnitude: ``"fixed"``: always m; ``"uniform"``: from 1..m, for each operation anew.
        policy: which operations.
        name: of the random stream.

    Raises:
        ConfigError: if an argument is not valid, or kornia is not installed.
        ShapeError: from ``apply``, if x holds no images of 1 or 3 channels and sides of 3 or more.
        DataError: from ``apply``, if x leaves [0, 1].

    Source: Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space",
    NeurIPS 2020; n operations an example as in its published code.
    """

    stage: ClassVar[Stage] = Stage.DISTORT
    n: int = 2
    m: int = 10
    magnitude: Magnitude = "fixed"
    policy: Policy = "default"
    name: str = "randaugment"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"randaugment: n is {self.n}; it must be at least 1.")
        least = 1 if self.magnitude == "uniform" else 0
        if not least <= self.m <= _LARGEST:
            raise ConfigError(f"randaugment: m is {self.m}; it must lie in {least}..{_LARGEST}.")
        for what, given, known in (
            ("magnitude", self.magnitude, ("fixed", "uniform")),
            ("policy", self.policy, ("default", "kornia")),
        ):
            if given not in known:
                raise ConfigError(f'randaugment: {what} is "{given}"; it must be {known[0]} or {known[1]}.')
        if find_spec("kornia") is None:
            raise ConfigError('RandAugment needs kornia: pip install "tutelage[kornia]".')

    def draw(self, seed: int, epoch: Epoch, index: Tensor) -> Tensor:
        """Return operations and signed magnitudes, int64, shape (2, n, N)."""
        v = draws(seed, self.name, epoch, index, 3 * self.n).view(self.n, 3, -1)
        operation = integer_tensor(v[:, 0], len(operations(self.policy)))
        size = 1 + integer_tensor(v[:, 1], self.m) if self.magnitude == "uniform" else self.m
        return torch.stack([operation, size * (1 - 2 * integer_tensor(v[:, 2], 2))])

    def apply(self, x: Tensor, params: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the distorted images, same shape and type as x, in [0, 1]."""
        _check(x)
        for operation, magnitude in zip(*params):
            x = distort(x, operations(self.policy), operation, magnitude.to(torch.float64) / _LARGEST)
        return x


def _check(x: Tensor) -> None:
    height, width = sides("randaugment", x)
    if x.shape[1] not in (1, 3) or min(height, width) < 3:
        raise ShapeError(
            f"randaugment: x has shape {tuple(x.shape)}; it needs 1 or 3 channels and sides of at least 3."
        )
    if not x.is_floating_point():
        raise ShapeError(f"randaugment: x is {x.dtype}; it needs floats in [0, 1].")
    low, high = x.detach().aminmax() if x.numel() else (x.new_zeros(()), x.new_zeros(()))
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"randaugment: x reaches from {low:g} to {high:g}; it needs [0, 1], before normalising and with the "
            "right scale."
        )
