"""ZCA whitening: pixels without correlations, as near to the images as can be."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError, ShapeError


@dataclass(frozen=True)
class Whitening:
    """``z = (x - mean) W`` on flattened examples, ``W = U (L + eps)^(-1/2) U^T`` of the covariance ``U L U^T``.

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
            ShapeError: for examples of another size.
        """
        whitened: Tensor = self._flat(x) @ self.matrix.to(x)
        return whitened.view_as(x)

    def undone(self, z: Tensor) -> Tensor:
        """Return whitened examples (N, ...) as they were.

        Raises:
            ShapeError: for examples of another size.
        """
        self._check(z)
        back: Tensor = torch.linalg.solve(self.matrix.double(), z.flatten(1).double().T.to(self.matrix.device)).T
        found: Tensor = (back + self.mean.double().to(back.device)).to(z)
        return found.view_as(z)

    def _flat(self, x: Tensor) -> Tensor:
        self._check(x)
        return x.flatten(1) - self.mean.to(x)

    def _check(self, x: Tensor) -> None:
        size = x[0].numel()
        if size != len(self.mean):
            raise ShapeError(
                f"whitening: examples of shape {tuple(x.shape[1:])} have {size} numbers, but it was fitted to "
                f"{len(self.mean)}: fit it to such examples."
            )


def fitted_whitening(x: Tensor, *, eps: float = 0.1) -> Whitening:
    """Return the whitening of training examples, normalised but not augmented.

    Args:
        x: (N, ...), at least 2.
        eps: added to the variances, > 0.

    Raises:
        ConfigError: for fewer examples, or an eps that is not positive.
    """
    if len(x) < 2:
        raise ConfigError(f"whitening: {len(x)} examples have no covariance; give at least 2.")
    if not eps > 0:
        raise ConfigError(f"whitening: eps is {eps}; it must be above 0, such as 0.1.")
    flat = x.flatten(1).double()
    mean = flat.mean(0)
    centred = flat - mean
    variances, vectors = torch.linalg.eigh(centred.T @ centred / (len(x) - 1))
    matrix = (vectors * (variances.clamp_min(0.0) + eps).rsqrt()) @ vectors.T
    return Whitening(mean.to(x), matrix.to(x))
