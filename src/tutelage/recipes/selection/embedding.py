"""Embeddings of rows that stay as they are while a linear student learns on them."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from ...codewords import centred
from ...errors import ConfigError
from ...student import Student

Embedding: TypeAlias = Literal["pixels", "pca"]
_AT_ONCE = 1024


def embedded(
    pool: Tensor, test: Tensor, *, components: int | None = None, net: Student | None = None
) -> tuple[Tensor, Tensor]:
    """Return rows of pool and test, less the mean of the pool, each of norm 4.

    Args:
        pool: rows (N, ...).
        test: rows (M, ...).
        components: project on as many principal components of the pool; None: on none.
        net: whose embeddings are taken; None: the rows themselves, flattened.

    Returns:
        (N, d) and (M, d).

    Raises:
        ConfigError: for more components than rows or columns.
    """
    first, second = (x.flatten(1) if net is None else net.embed(x, batch_size=_AT_ONCE)[0] for x in (pool, test))
    mean = first.mean(0)
    if components is not None:
        axes = _axes(first - mean, components)
        first, second, mean = (first - mean) @ axes, (second - mean) @ axes, mean.new_zeros(components)
    return centred(first, mean), centred(second, mean)


def _axes(rows: Tensor, count: int) -> Tensor:
    """The principal axes (d, count) of rows (N, d) of mean 0, the largest entry of each positive."""
    if count > min(rows.shape):
        raise ConfigError(f"--components {count} is more than the {min(rows.shape)} that the pool has; ask for fewer.")
    _, vectors = torch.linalg.eigh(rows.double().T @ rows.double())
    axes = vectors[:, -count:].flip(1)
    signs = axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    return torch.mul(axes, signs).to(rows.dtype)
