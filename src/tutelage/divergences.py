"""How far a student's logits are from a teacher's: pure functions, one number a row, no reduction over rows.

``z_s`` and ``z_t`` are logits (..., C) of student and teacher, ``y`` class ids (...) with -1 for an unlabelled row, T a
temperature; a result has shape (...). All are twice differentiable in ``z_s`` and once more in ``z_t``: nothing is
detached, drawn or changed in place. Arithmetic is at least float32, for half-precision logits and under autocast too.

A logit of -inf is a class that is not there: what compares probabilities gives it none. Where the teacher gives it
one and the student not, a divergence is infinite, as it is by its definition. What compares logits themselves, their
squared distance or their standardised values, needs finite ones.
"""

import torch
from torch import Tensor

from .errors import ConfigError, ShapeError

_NONE = float("-inf")
LEAST_SPREAD = 1e-4
"""Standard deviation of logits, or of probabilities over their mean, below which a row says nothing of an order."""


def wide(z: Tensor) -> Tensor:
    """Return the tensor in float32 if its type is a narrower one, else as it is."""
    return z if z.dtype == torch.float64 else z.float()


def check_temperature(temperature: float) -> None:
    """Raise ConfigError unless T is above 0."""
    if not temperature > 0:
        raise ConfigError(f"temperature is {temperature}; it must be above 0: 1 is the plain softmax, 4 a soft one.")


def check_classes(z_s: Tensor, z_t: Tensor) -> None:
    """Raise ShapeError unless both have logits for the same rows and the same number of classes."""
    if z_s.shape[-1] != z_t.shape[-1]:
        raise ShapeError(
            f"the student answers with {z_s.shape[-1]} classes, but the teacher with {z_t.shape[-1]}: both need logits "
            "of the same classes, and class_map where their order differs."
        )
    if z_s.shape != z_t.shape:
        raise ShapeError(
            f"the teacher's logits have shape {tuple(z_t.shape)}, but need {tuple(z_s.shape)}, those of the student."
        )


def log_probabilities(z: Tensor, temperature: float = 1.0) -> Tensor:
    """Return ``log softmax(z / T)``, (..., C), at least in float32."""
    check_temperature(temperature)
    return torch.log_softmax(wide(z) / temperature, -1)


def label_cross_entropy(z_s: Tensor, y: Tensor) -> Tensor:
    """Return ``-log softmax(z_s)_y``, (...), and 0 for the rows without a label (y < 0).

    Raises:
        ShapeError: unless there is one integer label a row.
    """
    if y.shape != z_s.shape[:-1] or y.is_floating_point():
        raise ShapeError(
            f"labels have shape {tuple(y.shape)} and type {y.dtype}, but need {tuple(z_s.shape[:-1])} and integers, "
            "one class id per row of the logits, -1 for none."
        )
    chosen = log_probabilities(z_s).gather(-1, y.clamp_min(0).long().unsqueeze(-1)).squeeze(-1)
    return torch.where(y >= 0, -chosen, 0.0)


def uniform_cross_entropy(z_s: Tensor) -> Tensor:
    """Return ``mean_c(-log softmax(z_s)_c)``, (...): the cross-entropy to a teacher that knows nothing."""
    return -log_probabilities(z_s).mean(-1)


def _mean(log_p: Tensor, values: Tensor) -> Tensor:
    """``sum_c p_c values_c``, in which a class of probability 0 counts 0, whatever its value."""
    p = log_p.exp()
    return (p * torch.where(p == 0, 0.0, values)).sum(-1)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return _mean(log_p, log_p - log_q)


def log_sum(z: Tensor) -> Tensor:
    """Return ``log sum_c exp(z_c)``, (..., 1); -inf without a gradient, not one that is NaN, where all z are -inf."""
    none = (z == _NONE).all(-1, keepdim=True)
    return torch.where(none, _NONE, torch.where(none, 0.0, z).logsumexp(-1, keepdim=True))


def kl(z_s: Tensor, z_t: Tensor, temperature: float = 1.0) -> Tensor:
    """Return ``KL(p_t || p_s) = sum_c p_t,c (log p_t,c - log p_s,c)``, ``p = softmax(z / T)``, (...), without a T^2.

    Its gradient is ``(p_s - p_t) / T`` in z_s.

    Raises:
        ConfigError: for T <= 0.
        ShapeError: for other shapes.

    Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, section 2.
    """
    check_classes(z_s, z_t)
    return _kl(log_probabilities(z_t, temperature), log_probabilities(z_s, temperature))


def soft_cross_entropy(z_s: Tensor, z_t: Tensor, temperature: float = 1.0) -> Tensor:
    """Return ``-sum_c p_t,c log p_s,c``, (...): :func:`kl` plus the teacher's entropy.

    Same gradient in z_s, and same mixed second derivative; another gradient in z_t, so a teacher that learns takes
    :func:`kl`. Arguments and errors as there.
    """
    check_classes(z_s, z_t)
    return -_mean(log_probabilities(z_t, temperature), log_probabilities(z_s, temperature))


def squared_distance(z_s: Tensor, z_t: Tensor, *, center: bool = False) -> Tensor:
    """Return ``sum_c (z_s,c - z_t,c)^2``, (...).

    Args:
        z_s: student's logits (..., C).
        z_t: teacher's logits (..., C).
        center: take each row's mean off first, on both sides.

    Source: Ba and Caruana, "Do deep nets really need to be deep?", NeurIPS 2014, equation 1 (half of this).
    """
    check_classes(z_s, z_t)
    difference = wide(z_s) - wide(z_t)
    if center:
        difference = difference - difference.mean(-1, keepdim=True)
    return difference.square().sum(-1)


def target_and_others(z_s: Tensor, z_t: Tensor, y: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the two parts of ``KL(p_t || p_s) = TCKD + (1 - P) NCKD``, each (...).

    With ``P = p_t[y]``, ``Q = p_s[y]``: ``TCKD = P log(P / Q) + (1 - P) log((1 - P) / (1 - Q))``; NCKD is the
    divergence of both distributions renormalised over the classes other than y.

    Args:
        z_s: student's logits (..., C), C >= 2.
        z_t: teacher's logits (..., C).
        y: class ids (...), all >= 0.
        temperature: T > 0.

    Source: Zhao et al., "Decoupled knowledge distillation", CVPR 2022, section 3.1.
    """
    check_classes(z_s, z_t)
    chosen = y.long().unsqueeze(-1)
    is_target = torch.zeros_like(z_s, dtype=torch.bool).scatter(-1, chosen, True)

    def parts(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_p = log_probabilities(z, temperature)
        # log(1 - P) as the sum of the others: 1 - P itself is 0 for a confident network
        log_rest = log_sum(log_p.masked_fill(is_target, _NONE))
        others = torch.where(log_p == _NONE, _NONE, log_p - log_rest)
        return log_p.gather(-1, chosen), log_rest, others.masked_fill(is_target, 0.0)

    (log_p, log_not_p, others_t), (log_q, log_not_q, others_s) = parts(z_t), parts(z_s)
    binary = _kl(torch.cat([log_p, log_not_p], -1), torch.cat([log_q, log_not_q], -1))
    return binary, _kl(others_t, others_s)


def constant(values: Tensor, dim: int = -1, *, relative: bool = False, least: float = LEAST_SPREAD) -> Tensor:
    """Return where the unbiased standard deviation along ``dim`` is at most ``least``, as bool without that dimension.

    One value alone is constant; values that are not finite are not, so that they are seen in what comes of them.

    Args:
        values: of at least one dimension.
        dim: along which.
        relative: measure it in units of the mean.
        least: > 0.
    """
    values = wide(values)
    scale = values.mean(dim).abs() if relative else 1.0
    return _variance(values, dim) <= (least * scale) ** 2


def _from_first(values: Tensor, dim: int) -> Tensor:
    """Values less the first of them: the mean of equal large ones is not they, but that of zeros is 0."""
    return values - values.narrow(dim, 0, min(values.shape[dim], 1))


def _variance(values: Tensor, dim: int) -> Tensor:
    values = _from_first(values, dim)
    deviation = values - values.mean(dim, keepdim=True)
    return deviation.square().sum(dim) / max(values.shape[dim] - 1, 1)


def standardised(z: Tensor) -> Tensor:
    """Return ``(z - mean_c z) / (sd_c z + 1e-7)``, (..., C), with the unbiased sd; constant rows give 0.

    Source: Sun et al., "Logit standardization in knowledge distillation", CVPR 2024, algorithm 1.
    """
    z = _from_first(wide(z), -1)
    flat = constant(z).unsqueeze(-1)
    # both sides of the choice are finite, or the derivative of the one not taken would spoil the other's
    sd = torch.where(flat, 1.0, _variance(z, -1).unsqueeze(-1)).sqrt()
    return torch.where(flat, 0.0, (z - z.mean(-1, keepdim=True)) / (sd + 1e-7))


def standardised_kl(z_s: Tensor, z_t: Tensor, temperature: float = 1.0) -> Tensor:
    """Return :func:`kl` of the :func:`standardised` logits, (...); 0 where either row is constant.

    Does not change when a row z becomes ``a z + b`` with a > 0. Arguments and errors as :func:`kl`.
    """
    check_classes(z_s, z_t)
    flat = constant(z_s) | constant(z_t)
    return torch.where(flat, 0.0, kl(standardised(z_s), standardised(z_t), temperature))


def pearson_distance(u: Tensor, v: Tensor, dim: int = -1) -> Tensor:
    """Return ``1 - rho(u, v)`` along ``dim``, in [0, 2]; 0 where the spread of either is no 1e-4 of its mean.

    Args:
        u: of any shape.
        v: of the same shape.
        dim: along which both are correlated; it is not in the result.
    """
    flat = constant(u, dim, relative=True) | constant(v, dim, relative=True)
    u, v = (wide(w) - wide(w).mean(dim, keepdim=True) for w in (u, v))
    size = torch.where(flat, 1.0, u.square().sum(dim)).sqrt() * torch.where(flat, 1.0, v.square().sum(dim)).sqrt()
    return torch.where(flat, 0.0, 1.0 - (u * v).sum(dim) / size)


def shares(z: Tensor, temperature: float, dim: int) -> Tensor:
    """Return ``softmax(z / T)`` (..., C), for ``dim=-2`` with every class divided by its sum over the rows.

    Correlations do not see the scale of a class, but numbers do: a rare one would vanish when it is squared. A class
    that no row has is the same in all.
    """
    log_p = log_probabilities(z, temperature)
    if dim == -1:
        return log_p.exp()
    return torch.softmax(torch.where((log_p == _NONE).all(dim, keepdim=True), 0.0, log_p), dim)


def within_rows(z_s: Tensor, z_t: Tensor, temperature: float = 1.0) -> Tensor:
    """Return ``1 - rho(p_s,i: , p_t,i:)`` of each row, (...), p = softmax(z / T); 0 for constant rows.

    Source: Huang et al., "Knowledge distillation from a stronger teacher", NeurIPS 2022.
    """
    check_classes(z_s, z_t)
    return pearson_distance(shares(z_s, temperature, -1), shares(z_t, temperature, -1))


def across_rows(z_s: Tensor, z_t: Tensor, temperature: float = 1.0) -> Tensor:
    """Return ``mean_c(1 - rho(p_s,:c , p_t,:c))`` over the rows of z (..., N, C), the same for each of them, (..., N).

    A class whose probability is the same in all rows counts 0.

    Raises:
        ShapeError: for fewer than two rows.

    Source: as of :func:`within_rows`.
    """
    check_classes(z_s, z_t)
    if z_s.ndim < 2 or z_s.shape[-2] < 2:
        raise ShapeError(
            f"logits have shape {tuple(z_s.shape)}, but a correlation over the rows of a batch needs at least 2 rows: "
            "use gamma=0, or larger batches (drop_last)."
        )
    distance = pearson_distance(shares(z_s, temperature, -2), shares(z_t, temperature, -2), -2).mean(-1, keepdim=True)
    return distance.expand(z_s.shape[:-1])
