"""How far layers of a student are from layers of its teacher, one number a row; and the loss that adds them up.

Features are (N, C), or (N, C, ...) with up to three inner dimensions; those of student and teacher are pooled to the
smaller size of each. All functions are twice differentiable, at rows that are equal or 0 as well.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from .divergences import wide
from .errors import ConfigError, ShapeError, unknown
from .soft_targets import SoftTarget, TargetLoss
from .soft_targets.losses import Scale

FAINT = 1e-15
"""Largest entry of a row below which it counts as 0: its direction has second derivatives that float32 cannot hold."""

_POOLS: Mapping[int, Callable[..., Tensor]] = {
    3: F.adaptive_avg_pool1d,
    4: F.adaptive_avg_pool2d,
    5: F.adaptive_avg_pool3d,
}


def pooled(f_s: Tensor, f_t: Tensor) -> tuple[Tensor, Tensor]:
    """Return both features with equal inner sizes, averaged to the smaller of each: (N, C_s, ...), (N, C_t, ...).

    Raises:
        ShapeError: if they have different numbers of dimensions, or more than 5.
    """
    if f_s.ndim != f_t.ndim or f_s.ndim > 5 or len(f_s) != len(f_t):
        raise ShapeError(
            f"a layer of the student has shape {tuple(f_s.shape)}, one of the teacher {tuple(f_t.shape)}: compare "
            "layers of the same kind, (N, C) or (N, C, ...) with up to three inner dimensions."
        )
    size = [min(pair) for pair in zip(f_s.shape[2:], f_t.shape[2:])]

    def to_size(f: Tensor) -> Tensor:
        return f if list(f.shape[2:]) == size else _POOLS[f.ndim](f, size)

    return to_size(f_s), to_size(f_t)


def regressed(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``r(F) = weight F + bias`` at each inner position, a 1x1 convolution: (N, C', ...).

    Args:
        features: (N, C, ...).
        weight: (C', C), of any floating type: the wider of both is the result's.
        bias: (C',).
    """
    kind = torch.promote_types(features.dtype, weight.dtype)
    return F.linear(features.to(kind).movedim(1, -1), weight.to(kind), bias.to(kind)).movedim(-1, 1)


def hint_distance(f_s: Tensor, f_t: Tensor, scale: Scale = "mean") -> Tensor:
    """Return ``mean (F_t - F_s)^2`` over all elements of a row, or ``1/2 sum``, (N,).

    Args:
        f_s: the student's (N, C, ...), regressed to the teacher's channels.
        f_t: the teacher's (N, C, ...).
        scale: ``"mean"`` or ``"half_sum"``.

    Raises:
        ShapeError: if they are of different channels.
    """
    f_s, f_t = pooled(wide(f_s), wide(f_t))
    if f_s.shape != f_t.shape:
        raise ShapeError(
            f"a hint of {f_t.shape[1]} channels cannot be compared with {f_s.shape[1]} of the student: regress them."
        )
    squares = (f_t - f_s).square().flatten(1)
    return squares.mean(1) if scale == "mean" else squares.sum(1) / 2


def attention(features: Tensor) -> Tensor:
    """Return ``Q / ||Q||`` with ``Q = mean_c F_c^2``, where a layer looks: (N, positions).

    Raises:
        ShapeError: for features without inner dimensions.
    """
    if features.ndim < 3:
        raise ShapeError(
            f"attention needs features with positions, (N, C, ...), but got {tuple(features.shape)}: name an earlier "
            "layer."
        )
    strong, _ = _over_largest(wide(features).flatten(1))
    return _unit(strong.view(features.shape).square().mean(1).flatten(1))


def attention_distance(f_s: Tensor, f_t: Tensor) -> Tensor:
    """Return ``mean (Q_s / ||Q_s|| - Q_t / ||Q_t||)^2`` over positions, (N,), for features (N, C, ...)."""
    f_s, f_t = pooled(f_s, f_t)
    return (attention(f_s) - attention(f_t)).square().mean(1)


def _unlike(a_s: Tensor, a_t: Tensor) -> Tensor:
    """Mean of ``smoothL1(a_s - a_t)`` over all but the rows, (N,)."""
    return F.smooth_l1_loss(a_s, a_t, reduction="none").flatten(1).mean(1)


def distance_relation(f_s: Tensor, f_t: Tensor) -> Tensor:
    """Return ``mean_j smoothL1(d_s,ij - d_t,ij)``, (N,), of distances in units of their mean over pairs i != j.

    The mean over rows is that over all N^2 pairs, as published. 0 for one row. Features are flattened to (N, d).
    """
    return _unlike(_distances(_offsets(f_s)), _distances(_offsets(f_t)))


def angle_relation(f_s: Tensor, f_t: Tensor) -> Tensor:
    """Return ``mean_jk smoothL1(cos_s(j, i, k) - cos_t(j, i, k))``, (N,), of the angles at row i between rows j and k.

    The mean over rows is that over all N^3 triplets, as published, and takes memory for them. Features are flattened
    to (N, d).
    """
    with torch.autocast(f_s.device.type, enabled=False):
        a_s, a_t = (torch.bmm(e, e.mT) for e in (_unit(_offsets(f_s)), _unit(_offsets(f_t))))
    return _unlike(a_s, a_t)


def _offsets(features: Tensor) -> Tensor:
    """``x_j - x_i`` at [i, j]: (N, N, d)."""
    x = wide(features).flatten(1)
    return x.unsqueeze(0) - x.unsqueeze(1)


def _over_largest(v: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (..., d) over their largest entry, and that entry (..., 1) as a constant; faint ones are 0, over 1.

    What does not see scale has the same derivatives for any such constant, and with this one no square leaves float32.
    """
    largest = v.detach().abs().amax(-1, keepdim=True)
    faint = largest < FAINT
    largest = torch.where(faint, 1.0, largest)
    return torch.where(faint, 0.0, v / largest), largest


def _unit(v: Tensor) -> Tensor:
    """Vectors (..., d) of length 1; faint ones are 0, with gradient 0."""
    v, _ = _over_largest(v)
    squares = v.square().sum(-1, keepdim=True)
    return v * torch.where(squares == 0, 1.0, squares).rsqrt()


def _distances(offsets: Tensor) -> Tensor:
    """Lengths (N, N) of offsets (N, N, d), over their mean for i != j."""
    offsets, largest = _over_largest(offsets)
    squares = offsets.square().sum(-1)
    none = squares == 0
    lengths = torch.where(none, 0.0, torch.where(none, 1.0, squares).sqrt()) * largest.squeeze(-1)
    mean = lengths.sum() / max(len(lengths) * (len(lengths) - 1), 1)
    return lengths / torch.where(mean == 0, 1.0, mean)


class FeatureTerm(ABC):
    """What a layer of the student is to have in common with a layer of its teacher.

    Attributes:
        weight: of the term, >= 0.
        regressed: whether the student's features are first mapped to the teacher's channels by a learned regressor.
        batch_coupled: whether a row's distance depends on other rows.
    """

    weight: float
    regressed: ClassVar[bool] = False
    batch_coupled: ClassVar[bool] = False

    @abstractmethod
    def distance(self, f_s: Tensor, f_t: Tensor) -> Tensor:
        """Return how far the student's features (N, ...) are from the teacher's (N, ...): (N,)."""


def _check(term: FeatureTerm) -> None:
    if not 0 <= term.weight < float("inf"):
        raise ConfigError(f"{type(term).__name__}: weight is {term.weight}; it must be at least 0 and finite.")


@dataclass(frozen=True)
class HintRegression(FeatureTerm):
    """``weight mean (F_t - r(F_s))^2``, r a learned regressor; see :func:`hint_distance`.

    Attributes:
        weight: published for the mean over elements; the paper trains the half sum alone, in a stage of its own.
        scale: ``"mean"``, or the paper's ``"half_sum"``, ``1/2 ||F_t - r(F_s)||^2``.

    Source: Romero et al., "FitNets: hints for thin deep nets", ICLR 2015, equation 3; weight and mean as in the
    published code of "Contrastive representation distillation", ICLR 2020.
    """

    weight: float = 100.0
    scale: Scale = "mean"
    regressed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self)
        if self.scale not in get_args(Scale):
            raise ConfigError(unknown("scale of HintRegression", str(self.scale), get_args(Scale)))

    def distance(self, f_s: Tensor, f_t: Tensor) -> Tensor:
        """Return :func:`hint_distance`."""
        return hint_distance(f_s, f_t, self.scale)


@dataclass(frozen=True)
class AttentionTransfer(FeatureTerm):
    """``weight mean (Q_s / ||Q_s|| - Q_t / ||Q_t||)^2`` with ``Q = mean_c F_c^2``; see :func:`attention_distance`.

    Source: Zagoruyko and Komodakis, "Paying more attention to attention", ICLR 2017, equation 2, with the mean of the
    published code.
    """

    weight: float = 1000.0

    def __post_init__(self) -> None:
        _check(self)

    def distance(self, f_s: Tensor, f_t: Tensor) -> Tensor:
        """Return :func:`attention_distance`."""
        return attention_distance(f_s, f_t)


@dataclass(frozen=True)
class RelationalDistance(FeatureTerm):
    """``weight mean_ij smoothL1(d_s,ij - d_t,ij)``: rows as far apart as the teacher's; :func:`distance_relation`.

    Source: Park et al., "Relational knowledge distillation", CVPR 2019, equation 6.
    """

    weight: float = 25.0
    batch_coupled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self)

    def distance(self, f_s: Tensor, f_t: Tensor) -> Tensor:
        """Return :func:`distance_relation`."""
        return distance_relation(f_s, f_t)


@dataclass(frozen=True)
class RelationalAngle(FeatureTerm):
    """``weight mean_ijk smoothL1(cos_s - cos_t)``: triplets of rows with the teacher's angles; :func:`angle_relation`.

    Source: Park et al., "Relational knowledge distillation", CVPR 2019, equation 9.
    """

    weight: float = 50.0
    batch_coupled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self)

    def distance(self, f_s: Tensor, f_t: Tensor) -> Tensor:
        """Return :func:`angle_relation`."""
        return angle_relation(f_s, f_t)


class Regressor(NamedTuple):
    """A 1x1 convolution: ``weight`` (C_t, C_s) and ``bias`` (C_t,)."""

    weight: Tensor
    bias: Tensor


class HintTarget(NamedTuple):
    """What a lesson with hints tells.

    Attributes:
        soft: labels and the teacher's logits.
        features: the teacher's, (N, ...), one a layer of :attr:`FeatureLoss.layers`.
        regressors: for these layers, if a term needs them.
    """

    soft: SoftTarget
    features: tuple[Tensor, ...]
    regressors: tuple[Regressor, ...] = ()


@dataclass(frozen=True)
class FeatureLoss:
    """``loss(z_s, soft) + sum_terms weight sum_l distance(F_s,l, F_t,l)``: the loss of a lesson that looks at layers.

    Attributes:
        loss: of the logits.
        terms: of the features.
        layers: of the student, one a feature of the target; a name may be there twice.
    """

    loss: TargetLoss
    terms: tuple[FeatureTerm, ...]
    layers: tuple[str, ...]

    @property
    def batch_coupled(self) -> bool:
        """Whether a row's loss depends on other rows."""
        return self.loss.batch_coupled or any(term.batch_coupled for term in self.terms)

    def __call__(self, logits: Tensor, target: HintTarget, layers: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of each row, (N,).

        Args:
            logits: the student's (N, C).
            target: of the teacher.
            layers: outputs of the student's layers by name.
        """
        total = self.loss(logits, target.soft)
        for term in self.terms:
            total = total + term.weight * self.distance(term, target, layers)
        return total

    def distance(self, term: FeatureTerm, target: HintTarget, layers: Mapping[str, Tensor]) -> Tensor:
        """Return one term before its weight, summed over the layers, (N,)."""
        rows = []
        for place, (name, f_t) in enumerate(zip(self.layers, target.features, strict=True)):
            f_s = layers[name]
            if term.regressed:
                f_s = regressed(pooled(f_s, f_t)[0], *target.regressors[place])
            rows.append(term.distance(f_s, f_t))
        return sum(rows[1:], rows[0])
