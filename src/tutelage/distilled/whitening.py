"""ZCA whitening: pixels without correlations, as near to the images as can be."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError, DataError, ShapeError

_ROWS = 4096
"""Examples whose products are summed at a time."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """``z = (x - mean) W`` on flattened examples, ``W = U (L + eps)^(-1/2) U^T`` of the covariance ``U L U^T``.

    Fitted to training rows, normalised but not augmented, it is a part of the inputs of all networks: of real rows,
    validation and test rows, and of the synthetic images, which a teacher learns whitened. A file of a distilled set
    carries it (:class:`tutelage.distilled.inputs.Inputs`); to draw images, undo it first.

    Attributes:
        mean: (D,).
        matrix: W, symmetric, (D, D).

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009, appendix A; with eps 0.1 what
    Cazenavette et al., "Dataset distillation by matching training trajectories", CVPR 2022, do to CIFAR.
    """

    mean: Tensor
    matrix: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Return examples (N, ...), whitened.

        Raises:
            ShapeError: for examples of another size, or of an integer type.
        """
        self._check(x)
        whitened: Tensor = (x.flatten(1) - self.mean.to(x)) @ self.matrix.to(x)
        return whitened.view_as(x)

    def undone(self, z: Tensor) -> Tensor:
        """Return whitened examples (N, ...) as they were: for drawing them.

        Raises:
            ShapeError: for examples of another size, or of an integer type.
        """
        self._check(z)
        flat = z.flatten(1).to(self.matrix.device, torch.float64)
        back: Tensor = torch.linalg.solve(self.matrix.double(), flat.T).T + self.mean.double()
        return back.to(z).view_as(z)

    def _check(self, x: Tensor) -> None:
        if not x.is_floating_point():
            raise ShapeError(f"whitening: examples are {x.dtype}, but need a floating type: normalise them first.")
        size = x.shape[1:].numel()
        if size != len(self.mean):
            raise ShapeError(
                f"whitening: examples of shape {tuple(x.shape[1:])} have {size} numbers, but it was fitted to "
                f"{len(self.mean)}: fit it to such examples."
            )


def fitted_whitening(x: Tensor, *, eps: float = 0.1) -> Whitening:
    """Return the whitening of training examples, normalised but not augmented.

    Args:
        x: (N, ...), at least 2.
        eps: added to the variances, > 0 and finite.

    Raises:
        ConfigError: for fewer examples, or an eps that is not positive.
        DataError: for examples that are not finite.
        ShapeError: for examples of an integer type.
    """
    if len(x) < 2:
        raise ConfigError(f"whitening: {len(x)} examples have no covariance; give at least 2.")
    if not 0 < eps < float("inf"):
        raise ConfigError(f"whitening: eps is {eps}; it must be above 0, such as 0.1.")
    if not x.is_floating_point():
        raise ShapeError(f"whitening: examples are {x.dtype}, but need a floating type: normalise them first.")
    if not bool(x.isfinite().all()):
        raise DataError("whitening: an example has numbers that are not finite.")
    pieces = torch.split(x.flatten(1), _ROWS)
    mean = torch.stack([piece.double().sum(0) for piece in pieces]).sum(0) / len(x)
    products = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=x.device)
    for piece in pieces:
        centred = piece.double() - mean
        products.addmm_(centred.T, centred)
    variances, vectors = torch.linalg.eigh(products / (len(x) - 1))
    matrix = (vectors * (variances.clamp_min(0.0) + eps).rsqrt()) @ vectors.T
    return Whitening(mean.to(x), matrix.to(x))
