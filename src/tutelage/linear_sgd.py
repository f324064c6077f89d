"""Learners that are linear in their inputs and descend one example at a time: what an example does to them.

With weights ``W`` (K, d), an input ``x`` (d,), logits ``z = W x`` and a loss whose residual is ``R = dL/dz`` (K,), the
gradient is ``R x^T``, and a step ``W+ = W - eta R x^T`` moves the learner with regard to a target ``W*`` by::

    ||W+ - W*||^2 = ||W - W*||^2 + eta^2 T1 - 2 eta T2
    T1 = ||R||^2 ||x||^2                how difficult the example is
    T2 = <R, (W - W*) x>                how useful it is

A whole pool is measured in O(N K d), and no gradient is formed. Source: Liu, Dai, Humayun, Tay, Yu, Smith, Rehg and
Song, "Iterative machine teaching", ICML 2017: the difficulty and the usefulness of an example.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from . import losses
from .errors import ConfigError, ShapeError
from .lesson import Loss
from .mcboost import CAP, gaps, mcboost, pulls
from .student import Student

Labels: TypeAlias = Literal["classes", "numbers"]
"""What labels are: class ids 0 .. K - 1, or numbers, also such as -1 and +1."""


@dataclass(frozen=True)
class LinearLoss:
    """A loss of a linear learner, and its derivative in closed form.

    Attributes:
        name: of the loss.
        losses: (logits (N, K), target) -> (N,), as lessons take it.
        residuals: (logits (N, K), target) -> ``R = dL/dz`` (N, K).
        labels: what the labels of a pool are.
        label_for: (logits (N, K), residuals (N, K)) -> the target, (N,) if K is 1 and else (N, K), whose residual is
            nearest to a wanted one, of all numbers or of all mixtures of labels; None: labels do not mix.
    """

    name: str
    losses: Loss
    residuals: Callable[[Tensor, Tensor], Tensor]
    labels: Labels
    label_for: Callable[[Tensor, Tensor], Tensor] | None = None


class Terms(NamedTuple):
    """What examples do to a learner.

    Attributes:
        difficulty: ``T1`` (N,), >= 0.
        usefulness: ``T2`` (N,).
    """

    difficulty: Tensor
    usefulness: Tensor

    def gain(self, eta: float | Tensor) -> Tensor:
        """Return by how much a step of rate ``eta`` lowers the squared distance to the target, (N,)."""
        return 2 * eta * self.usefulness - eta**2 * self.difficulty


def terms(residuals: Tensor, features: Tensor, apart: Tensor) -> Terms:
    """Return ``T1`` and ``T2`` of examples.

    Args:
        residuals: (N, K).
        features: (N, d).
        apart: ``W - W*`` (K, d).
    """
    difficulty = residuals.square().sum(1) * features.square().sum(1)
    return Terms(difficulty, (residuals * (features @ apart.T)).sum(1))


def surrogate_terms(loss: LinearLoss, features: Tensor, labels: Tensor, logits: Tensor, aim: Tensor) -> Terms:
    """Return ``T1``, and the lower bound of ``T2`` that losses alone give: ``L(W) - L(W*)``, for a convex loss.

    Args:
        loss: convex in the logits.
        features: (N, d).
        labels: of the examples.
        logits: of the learner, (N, K).
        aim: logits of the target, (N, K).

    Source: as the module: the surrogate teacher.
    """
    difficulty = loss.residuals(logits, labels).square().sum(1) * features.square().sum(1)
    return Terms(difficulty, loss.losses(logits, labels) - loss.losses(aim, labels))


def weights_of(target: Tensor | Student) -> Tensor:
    """Return the weights (K, d) to which a learner is to be taught, as values of their own.

    Args:
        target: such weights, (d,) if K is 1, or a trained student: the weights of its last linear layer.

    Raises:
        ShapeError: for weights of another number of dimensions.
    """
    weights = target.head[1] if isinstance(target, Student) else target
    if weights.ndim not in (1, 2) or not weights.is_floating_point():
        raise ShapeError(
            f"the target has shape {tuple(weights.shape)} and type {weights.dtype}, but needs floating (outputs, "
            "features), or (features,) for a single output: give the weights of a last linear layer."
        )
    return weights.detach().clone().reshape(-1, weights.shape[-1])


def check_learner(student: Student, target: Tensor) -> str:
    """Return the name of the weights that are taught.

    Raises:
        ShapeError: if the target (K, d) has another shape than the weights of the student's last linear layer.
        ConfigError: if that layer has a bias, which would be learned beside them.
    """
    name, weights = student.head
    if weights.shape != target.shape:
        raise ShapeError(
            f"the target has shape {tuple(target.shape)}, but the student's last linear layer {tuple(weights.shape)}: "
            "take the target from a student of the same architecture."
        )
    if student.last_linear is not None and student.last_linear.bias is not None:
        raise ConfigError(
            "the student's last linear layer has a bias, but a target of weights alone says nothing of it: use "
            "bias=False, and a constant 1 among the features where needed."
        )
    return name


def numbers(logits: Tensor, target: Tensor) -> Tensor:
    """Return labels that are numbers as logits have them, (N, K) of their type.

    Args:
        logits: (N, K).
        target: (N, K), or (N,) if K is 1.

    Raises:
        ShapeError: for another shape.
    """
    alone = target.shape == logits.shape[:1] and logits.shape[1:] == (1,)
    if not alone and target.shape != logits.shape:
        raise ShapeError(
            f"labels that are numbers have shape {tuple(target.shape)}, but logits {tuple(logits.shape)} need as many, "
            "or (N,) for a single output: give the network one output a number."
        )
    return target.reshape(logits.shape).to(logits)


def squared_losses(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``1/2 ||z - y||^2`` (N,) of logits (N, K) and numbers (N, K), or (N,) if K is 1."""
    return losses.squared_error(logits, numbers(logits, target))


def squared_residuals(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``z - y`` (N, K)."""
    return logits - numbers(logits, target)


def squared_label(logits: Tensor, residuals: Tensor) -> Tensor:
    """Return the numbers ``z - R``, (N, K), or (N,) if K is 1."""
    return (logits - residuals).squeeze(1)


def logistic_losses(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``ln(1 + exp(-y z))`` (N,) of labels -1 and +1; one between is the mean over a label drawn with that mean.

    Args:
        logits: (N, 1).
        target: (N,) or (N, 1), in [-1, 1].
    """
    share = (1 + numbers(logits, target)) / 2
    return (share * F.softplus(-logits) + (1 - share) * F.softplus(logits)).sum(1)


def logistic_residuals(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``(tanh(z / 2) - y) / 2`` (N, 1), which is ``-y / (1 + exp(y z))`` for labels -1 and +1."""
    return (torch.tanh(logits / 2) - numbers(logits, target)) / 2


def logistic_label(logits: Tensor, residuals: Tensor) -> Tensor:
    """Return the mean label (N,) in [-1, 1] whose residual is nearest to one of (N, 1)."""
    return (torch.tanh(logits / 2) - 2 * residuals).clamp(-1, 1).squeeze(1)


def softmax_residuals(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``softmax(z) - y`` (N, K), the label y a class id (N,) or probabilities (N, K)."""
    return logits.softmax(1) - (target if target.is_floating_point() else F.one_hot(target.long(), logits.shape[1]))


def softmax_label(logits: Tensor, residuals: Tensor) -> Tensor:
    """Return the probabilities (N, K) whose residual is nearest: ``softmax(z) - R``, projected onto the simplex.

    The projection is ``max(v - theta, 0)``, theta such that the sum is 1. Source: Duchi, Shalev-Shwartz, Singer and
    Chandra, "Efficient projections onto the l1-ball for learning in high dimensions", ICML 2008, figure 1.
    """
    wanted = logits.softmax(1) - residuals
    ordered = wanted.sort(1, descending=True).values
    thetas = (ordered.cumsum(1) - 1) / torch.arange(1, wanted.shape[1] + 1, device=wanted.device)
    last = (ordered > thetas).sum(1, keepdim=True) - 1
    return (wanted - thetas.gather(1, last)).clamp_min(0)


def mcboost_residuals(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``-A / 2`` (N, K) of :func:`tutelage.mcboost.pulls`, no weight above :data:`tutelage.mcboost.CAP`.

    Args:
        logits: (N, K).
        target: class ids (N,).
    """
    return -pulls(gaps(logits, target).clamp_max(math.log(CAP)), target) / 2


SQUARED = LinearLoss("squared error", squared_losses, squared_residuals, "numbers", squared_label)
LOGISTIC = LinearLoss("logistic", logistic_losses, logistic_residuals, "numbers", logistic_label)
SOFTMAX = LinearLoss("softmax cross-entropy", losses.cross_entropy, softmax_residuals, "classes", softmax_label)
MCBOOST = LinearLoss("MCBoost", mcboost, mcboost_residuals, "classes")
