"""Learning from few labels and many examples without: consistency, masks, ramps, pseudo labels, averaged students.

Pure functions on tensors, their options as values, and the moving average of a student.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import CheckpointError, ConfigError, unknown
from .lesson import Batch
from .losses import cross_entropy
from .randomness import hashed_tensor, real_tensor
from .soft_targets import confidence
from .student import Student

Annealing: TypeAlias = Literal["linear", "exp", "log"]


def _share(value: float, what: str) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{what} is {value}; it must be in 0..1.")


# Ramps: functions of the step, counted from 0, with values in [0, 1].


def linear_ramp(step: int, ramp: int) -> float:
    """Return ``min(1, (step + 1) / ramp)``: 1 / ramp at the first step, 1 from step ramp - 1 on; 1 for a ramp of 0."""
    return 1.0 if ramp <= 0 else min(1.0, (step + 1) / ramp)


def two_point_ramp(step: int, start: int, end: int) -> float:
    """Return 0 until ``start``, then a line to 1 at ``end``.

    Source: Lee, "Pseudo-label: the simple and efficient semi-supervised learning method", ICML workshop 2013.
    """
    if end <= start:
        return float(step >= end)
    return min(1.0, max(0.0, (step - start) / (end - start)))


def exponential_ramp(step: int, ramp: int) -> float:
    """Return ``exp(-5 (1 - x)^2)`` with ``x = min(1, step / ramp)``: exp(-5) at the first step.

    Source: Laine and Aila, "Temporal ensembling for semi-supervised learning", ICLR 2017.
    """
    x = 1.0 if ramp <= 0 else min(1.0, step / ramp)
    return math.exp(-5.0 * (1.0 - x) ** 2)


# Labelled examples.


def annealing_threshold(progress: float, classes: int, annealing: Annealing) -> float:
    """Return ``1/C + a(r) (1 - 1/C)``: ``a = r``, ``exp(5 (r - 1))`` or ``1 - exp(-5 r)`` (linear, exp, log).

    Args:
        progress: r, share of training that lies behind, in [0, 1].
        classes: C.
        annealing: how labels are released.

    Source: training signal annealing; Xie et al., "Unsupervised data augmentation for consistency training", NeurIPS
    2020, section 2.4.
    """
    if annealing not in get_args(Annealing):
        raise ConfigError(unknown("annealing", str(annealing), get_args(Annealing)))
    a = {"linear": progress, "exp": math.exp(5.0 * (progress - 1.0)), "log": 1.0 - math.exp(-5.0 * progress)}
    return 1.0 / classes + a[annealing] * (1.0 - 1.0 / classes)


def labelled_weights(logits: Tensor, y: Tensor, progress: float = 0.0, annealing: Annealing | None = None) -> Tensor:
    """Return what each labelled example counts in a sum: 1/B, or 1 / (number kept) for those that annealing keeps.

    An example is kept while its label's probability is at most the threshold of the moment.

    Args:
        logits: (B, C).
        y: (B,).
        progress: as of :func:`annealing_threshold`.
        annealing: None: all count.

    Returns:
        (B,), without gradient.
    """
    kept = torch.ones(len(y), dtype=logits.dtype, device=logits.device)
    if annealing is not None:
        p = torch.softmax(logits.detach(), -1).gather(1, y.unsqueeze(1)).squeeze(1)
        kept = (p <= annealing_threshold(progress, logits.shape[1], annealing)).to(logits.dtype)
    return kept / kept.sum().clamp_min(1.0)


def smoothed(y: Tensor, classes: int, smoothing: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the targets (N, C) ``(1 - s) onehot(y) + s / C``."""
    return F.one_hot(y.long(), classes).to(dtype) * (1.0 - smoothing) + smoothing / classes


# Examples without labels.


@dataclass(frozen=True)
class UDA:
    """Consistency of two views: ``weight(t) / N sum_i m_i CE(sg[softmax(z_weak / temperature)], z_strong)_i``.

    Divided by N, not by how many the mask keeps.

    Attributes:
        weight: of the term at the end of its ramp.
        temperature: > 0; below 1 it sharpens the target.
        threshold: m_i = 1 where the largest probability reaches it; 0: everywhere.
        ramp: steps over which the weight grows: ``weight min(1, (t + 1) / ramp)``.
        mask_on: which probabilities the threshold looks at: ``"sharpened"``, >= as in the published Meta Pseudo
            Labels, or ``"plain"``, > as in the published UDA.

    Source: Xie et al., "Unsupervised data augmentation for consistency training", NeurIPS 2020, equation 1.
    """

    weight: float = 8.0
    temperature: float = 0.7
    threshold: float = 0.6
    ramp: int = 5000
    mask_on: Literal["sharpened", "plain"] = "sharpened"

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ConfigError(f"UDA: weight is {self.weight}; it must be at least 0, and finite.")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"UDA: temperature is {self.temperature}; it must be above 0, and finite.")
        _share(self.threshold, "UDA: threshold")
        if self.ramp < 0:
            raise ConfigError(f"UDA: ramp is {self.ramp}; it is a number of steps, at least 0.")
        if self.mask_on not in ("sharpened", "plain"):
            raise ConfigError(f"UDA: mask_on is {self.mask_on!r}; it must be sharpened or plain.")

    def weight_at(self, step: int) -> float:
        """Return the weight of the term at a step, counted from 0."""
        return self.weight * linear_ramp(step, self.ramp)

    def target(self, weak: Tensor) -> Tensor:
        """Return the sharpened probabilities (N, C) of the logits of the weak view, without gradient."""
        return torch.softmax(weak.detach() / self.temperature, -1)

    def mask(self, weak: Tensor) -> Tensor:
        """Return which rows of the weak view's logits are confident enough: (N,) of 0 and 1."""
        if self.mask_on == "plain":
            return (torch.softmax(weak.detach(), -1).amax(-1) > self.threshold).to(weak.dtype)
        return (self.target(weak).amax(-1) >= self.threshold).to(weak.dtype)


def consistency(weak: Tensor, strong: Tensor, uda: UDA, mask: Tensor | None = None) -> Tensor:
    """Return ``(1/N) sum_i m_i CE(q_weak,i, z_strong,i)``, a scalar; only the strong view's logits get a gradient.

    Args:
        weak: logits of the weak view (N, C).
        strong: logits of the strong view (N, C).
        uda: temperature and threshold.
        mask: (N,), instead of the threshold's.
    """
    m = uda.mask(weak) if mask is None else mask
    return (m * cross_entropy(strong, uda.target(weak))).mean()


def confidences(q: Tensor, bins: int = 10) -> Tensor:
    """Return how many rows have their largest probability in each of ``bins`` equal parts of [0, 1]: (bins,)."""
    place = (q.detach().amax(-1) * bins).long().clamp_max(bins - 1)
    return torch.zeros(bins, dtype=torch.int64, device=q.device).index_add_(0, place, torch.ones_like(place))


def label_health(q: Tensor) -> dict[str, Tensor]:
    """Return what tells whether labels are sane: their mean entropy, how many of each class, and of each confidence.

    Args:
        q: probabilities (N, C).
    """
    q = q.detach()
    entropy = torch.special.entr(q).sum(-1).mean()
    classes = torch.zeros(q.shape[-1], dtype=torch.int64, device=q.device)
    labels = q.argmax(-1)
    return {
        "label_entropy": entropy,
        "label_histogram": classes.index_add_(0, labels, torch.ones_like(labels)),
        "confidence_histogram": confidences(q),
    }


# Pseudo labels.


def drawn_labels(q: Tensor, index: Tensor, key: int) -> Tensor:
    """Return a label (N,) for each row, drawn from its probabilities (N, C) by the example's index.

    An example that is in the batch twice draws twice: the labels of a batch are independent.
    """
    order = index.argsort(stable=True)
    new = torch.ones_like(index, dtype=torch.bool)
    new[1:] = index[order][1:] != index[order][:-1]
    place = torch.arange(len(index), device=index.device)
    turn = torch.empty_like(index)
    turn[order] = place - torch.where(new, place, 0).cummax(0).values
    u = real_tensor(hashed_tensor(hashed_tensor(key, index), turn))
    edges = q.detach().double().cumsum(-1)
    return (u.unsqueeze(1) * edges[:, -1:] >= edges).sum(-1).clamp_max(q.shape[1] - 1)


def pseudo_labels(logits: Tensor, *, hard: bool = True, temperature: float = 1.0) -> Tensor:
    """Return labels from a trained network's logits (N, C): probabilities (N, C), one-hot if ``hard``."""
    if hard:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    return torch.softmax(logits / temperature, -1)


def confident(logits: Tensor, threshold: float) -> Tensor:
    """Return which rows (N,) of the logits (N, C) have a :func:`confidence` of at least ``threshold``, as bool."""
    _share(threshold, "threshold")
    return confidence(logits) >= threshold


def most_confident(logits: Tensor, per_class: int) -> Tensor:
    """Return the mask (N,) of the ``per_class`` most confident rows of each predicted class; all of a smaller class."""
    p, label = torch.softmax(logits, -1).max(-1)
    mask = torch.zeros_like(label, dtype=torch.bool)
    for c in range(logits.shape[-1]):
        rows = (label == c).nonzero().squeeze(1)
        mask[rows[p[rows].argsort(descending=True, stable=True)[:per_class]]] = True
    return mask


def balancing_weights(labels: Tensor, classes: int, keep: Tensor | None = None) -> Tensor:
    """Return weights (N,) with which every class that occurs counts the same in sum, of mean 1 over the kept rows.

    In expectation what repeating the rows of small classes does (Noisy Student).

    Args:
        labels: class ids (N,).
        classes: C.
        keep: bool (N,); rows left out get 0.
    """
    kept = torch.ones_like(labels, dtype=torch.bool) if keep is None else keep
    counts = torch.bincount(labels[kept], minlength=classes).to(torch.get_default_dtype())
    share = kept.sum() / (counts > 0).sum().clamp_min(1)
    return torch.where(kept, share / counts[labels].clamp_min(1.0), 0.0)


# The student that is evaluated.


class Average:
    """The exponential moving average of a student: parameters and floating buffers averaged, integer buffers copied.

    ``average <- d average + (1 - d) student`` with ``d = min(decay, (t + 1) / (t + 10))``, t counted from 0, or the
    constant ``decay``; starts as the student it is made of.

    Args:
        student: whose average.
        decay: in [0, 1].
        warm: let the decay grow as above; False: constant.
    """

    def __init__(self, student: Student, decay: float = 0.999, *, warm: bool = True) -> None:
        _share(decay, "decay of the average")
        self.decay, self.warm, self.updates = decay, warm, 0
        self._values = {n: t.detach().clone() for n, t in _tensors(student).items()}

    def decay_at(self, update: int) -> float:
        """Return the decay of an update, counted from 0."""
        return min(self.decay, (update + 1) / (update + 10)) if self.warm else self.decay

    @torch.no_grad()
    def update(self, student: Student) -> None:
        """Take in the student as it is now; call it after every step."""
        share = 1.0 - self.decay_at(self.updates)
        for name, value in _tensors(student).items():
            mine = self._values[name]
            if mine.is_floating_point():
                mine.lerp_(value, share)
            else:
                mine.copy_(value)
        self.updates += 1

    def of(self, student: Student) -> Student:
        """Return a view of the student with the averaged values; its ``net`` is a copy, ready to be trained further."""
        parts: dict[str, dict[str, Tensor]] = {"params": {}, "buffers": {}}
        for name, value in self._values.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value.clone()
        return student.at({n: p.requires_grad_() for n, p in parts["params"].items()}, buffers=parts["buffers"])

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by name, and how many updates made them."""
        return {**self._values, "updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state from :meth:`state_dict`.

        Raises:
            CheckpointError: if names or shapes do not fit.
        """
        shapes = {n: v.shape for n, v in self._values.items()}
        if {n: v.shape for n, v in state.items() if n != "updates"} != shapes or "updates" not in state:
            raise CheckpointError("state of an average: names or shapes do not fit; it was saved from another network.")
        for name, value in self._values.items():
            value.copy_(state[name])
        self.updates = int(state["updates"])


def _tensors(student: Student) -> dict[str, Tensor]:
    params = {f"params.{n}": p for n, p in student.params.items()}
    return params | {f"buffers.{n}": b for n, b in student.buffers.items()}


def view_of(batch: Batch, name: str, *, needed_by: str | None = None) -> Tensor:
    """Return a view of a batch's rows by name; where there is none, its inputs.

    Raises:
        ConfigError: if ``needed_by`` names who cannot do without it.
    """
    if needed_by is not None and name not in batch.views:
        given = ", ".join(batch.views) or "none"
        raise ConfigError(f"{needed_by} needs the view {name!r} of its batches, but they have {given}: augment them.")
    return batch.views.get(name, batch.x)
