"""What is done to a teacher's logits before they are taught: averaged, disturbed, permuted, weighed."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..divergences import log_probabilities, wide
from ..errors import ConfigError, ShapeError, unknown
from ..losses import per_row
from ..randomness import hashed_tensor, real_tensor
from .targets import TopLogits, largest_probability

Average: TypeAlias = Literal["probs", "logits"]
NoiseMode: TypeAlias = Literal["multiplicative", "additive"]
NoiseStage: TypeAlias = Literal["logits", "inputs", "dropout"]


def ensemble(logits: Tensor, average: Average = "probs", temperature: float = 1.0) -> Tensor:
    """Return one teacher's logits (..., C) for the answers of K teachers (..., K, C).

    Args:
        logits: (..., K, C).
        average: ``"probs"``: ``T log mean_k softmax(z_k / T)``, whose softmax at the same T is the mean of the
            probabilities; for divergences. ``"logits"``: ``mean_k z_k``; for logit matching.
        temperature: T > 0 at which probabilities are averaged.
    """
    if average not in get_args(Average):
        raise ConfigError(unknown("average", str(average), get_args(Average)))
    if average == "logits":
        return wide(logits).mean(-2)
    log_p = log_probabilities(logits, temperature)
    return temperature * (log_p.logsumexp(-2) - math.log(logits.shape[-2]))


@dataclass(frozen=True)
class Noise:
    """A stochastic teacher: some of its answers are disturbed, each example by a draw of its own.

    Under a squared loss the expected gradient stays that of the undisturbed teacher; it only spreads more, as that of a
    smaller batch does. Under a divergence it changes.

    Attributes:
        probability: that an example is disturbed, in [0, 1].
        sigma: standard deviation of xi, >= 0.
        mode: ``"multiplicative"``: ``z' = (1 + xi) z``; ``"additive"``: ``z' = z + xi``; xi ~ N(0, sigma^2 I).
        stage: what is disturbed: ``"logits"``, after any cache; ``"inputs"`` of a live teacher; ``"dropout"``: nothing
            is added, a live teacher answers with its dropout layers on.

    Source: Sau and Balasubramanian, "Deep model compression: distilling knowledge from noisy teachers", 2016, section 3
    (there one draw decides for a whole batch in public code; here for each example, as in the text).
    """

    probability: float = 0.5
    sigma: float = 0.3
    mode: NoiseMode = "multiplicative"
    stage: NoiseStage = "logits"

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"Noise: probability is {self.probability}; it must be in 0..1.")
        if not 0 <= self.sigma < math.inf:
            raise ConfigError(f"Noise: sigma is {self.sigma}; it must be at least 0 and finite.")
        if self.mode not in get_args(NoiseMode):
            raise ConfigError(unknown("mode of noise", str(self.mode), get_args(NoiseMode)))
        if self.stage not in get_args(NoiseStage):
            raise ConfigError(unknown("stage of noise", str(self.stage), get_args(NoiseStage)))


def disturbed(index: Tensor, noise: Noise, key: int | Tensor) -> Tensor:
    """Return which examples :func:`noisy` disturbs, as bool; arguments as there."""
    return real_tensor(hashed_tensor(hashed_tensor(key, index), torch.zeros_like(index))) < noise.probability


def noisy(values: Tensor, index: Tensor, noise: Noise, key: int | Tensor) -> Tensor:
    """Return the values with noise on some rows, a pure function of the key and of each row's index.

    Args:
        values: logits (N, C) or inputs (N, ...), of a floating type.
        index: int64 positions of the examples in the data set, (N,).
        noise: probability, sigma and mode.
        key: of the draw, such as ``counter(stream(seed, "noise"), step)``. For D draws at once: int64 (D, 1).

    Returns:
        of the shape and type of ``values``; (D, N, ...) for D draws.
    """
    if values.shape[: index.ndim] != index.shape or not values.is_floating_point():
        raise ShapeError(
            f"noisy: values have shape {tuple(values.shape)} and type {values.dtype}, but need floating values of "
            f"shape ({', '.join(map(str, index.shape))}, ...), a row for each index."
        )
    mask = disturbed(index, noise, key)
    shape = values.shape[index.ndim :]
    row = (*mask.shape, *(1 for _ in shape))
    xi = _normals(hashed_tensor(key, index), shape.numel()).view(*mask.shape, *shape) * noise.sigma
    xi = torch.where(mask.view(row), xi, 0.0).to(values.dtype)
    return values * (1.0 + xi) if noise.mode == "multiplicative" else values + xi


def _normals(keys: Tensor, n: int) -> Tensor:
    """Standard normals (..., n) in float64, from two counters each (Box and Muller, 1958)."""
    places = torch.arange(1, n + 1, device=keys.device)
    radius, angle = (real_tensor(hashed_tensor(keys.unsqueeze(-1), offset + places)) for offset in (0, n))
    return (-2.0 * torch.log1p(-radius)).sqrt() * torch.cos(2.0 * math.pi * angle)


def permuted(logits: Tensor, index: Tensor, key: int) -> Tensor:
    """Return the logits with the largest where it was, and the others of each row in a random order of its own.

    Of the answer's "dark knowledge" this keeps how sure it is, and loses which classes are alike.

    Args:
        logits: (N, ..., C); each position of a row has an order of its own.
        index: int64 positions of the examples in the data set, (N,).
        key: of the draw.

    Raises:
        ShapeError: unless there is an index for each row.

    Source: Furlanello et al., "Born-again neural networks", ICML 2018 (permuted predictions).
    """
    if index.shape != logits.shape[:1]:
        raise ShapeError(
            f"permuted: logits have shape {tuple(logits.shape)} and index {tuple(index.shape)}, but needs "
            f"({len(logits)},), one a row."
        )
    top = torch.zeros_like(logits, dtype=torch.long).scatter(-1, logits.argmax(-1, keepdim=True), 1)
    others = top.argsort(stable=True)[..., :-1]
    places = torch.arange(others.shape[1:].numel(), device=index.device)
    draws = hashed_tensor(hashed_tensor(key, index).unsqueeze(-1), places).view(others.shape)
    return logits.scatter(-1, others, logits.gather(-1, others.gather(-1, draws.argsort(-1))))


def confidence(logits: Tensor | TopLogits) -> Tensor:
    """Return how sure each row's answer is, ``max_c softmax(logits)_c``, (N,): its mean over inner positions.

    Args:
        logits: (N, ..., C), or the largest of them with their tail at temperature 1.
    """
    return per_row(largest_probability(logits))


def confidence_weights(logits: Tensor | TopLogits) -> Tensor:
    """Return ``w_i = N c_i / sum_j c_j`` of the :func:`confidence` c, (N,), of mean 1: sure answers count more.

    Args:
        logits: the teacher's, (N, ..., C), or the largest of them.

    Source: Furlanello et al., ICML 2018 (confidence weighted by teacher max; there of sum 1).
    """
    most = confidence(logits)
    return most / most.mean()
