"""Update rules: SGD, Adam and AdamW as pure functions.

``step(params, gradients, state) -> (params, state)`` changes nothing in place and is differentiable in all it is
given, the learning rate included. Every rule equals its ``torch.optim`` counterpart.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from .decay import Decay as Decay
from .decay import Scalar as Scalar
from .errors import ConfigError
from .schedules import check_rate

Params: TypeAlias = dict[str, Tensor]
Gradients: TypeAlias = Mapping[str, Tensor | None]
Rate: TypeAlias = Scalar | Callable[[int], Scalar]
"""A learning rate: a number, a 0-dim tensor, a 1-dim tensor with one value a step, or a schedule. A momentum too."""
Beta: TypeAlias = float | Callable[[int], float]
"""Decay rate of a moment: a number, or a schedule such as ``OneCycle(...).momentum``."""


class RuleState(NamedTuple):
    """What a rule remembers.

    Attributes:
        step: number of steps taken.
        slots: named tensors for each parameter.
        skipped: for parameters that had no gradient at some steps, at how many: torch counts steps by parameter.
    """

    step: int
    slots: Mapping[str, Mapping[str, Tensor]]
    skipped: Mapping[str, int] = {}


class Rule(ABC):
    """An update rule of the student."""

    @property
    @abstractmethod
    def decay(self) -> Decay:
        """The weight decay of this rule."""

    @abstractmethod
    def rate(self, step: int) -> Scalar:
        """Return the learning rate of a step, counted from 0."""

    @abstractmethod
    def init(self, params: Mapping[str, Tensor]) -> RuleState:
        """Return the state before the first step."""

    @abstractmethod
    def step(
        self,
        params: Mapping[str, Tensor],
        gradients: Gradients,
        state: RuleState,
        decay: Mapping[str, Scalar] | None = None,
    ) -> tuple[Params, RuleState]:
        """Return the parameters and the state after one step.

        Args:
            params: current values by name.
            gradients: same names and shapes; None leaves the parameter and its slots as they are, as ``torch.optim``
                does for a parameter without gradient.
            state: as returned by ``init`` or the previous step.
            decay: coefficient of each decayed parameter; default: ``self.decay.coefficients(params)``.
        """

    def has_begun(self, slot: str, steps: int) -> bool:
        """Return whether a slot has values after so many steps, for the parameters that had a gradient."""
        return steps > 0


def _as_decay(value: float | Tensor | Decay) -> Decay:
    return value if isinstance(value, Decay) else Decay(value)


def _rate(lr: Rate, step: int) -> Scalar:
    if isinstance(lr, Tensor):
        return lr[step] if lr.ndim == 1 else lr
    return lr if isinstance(lr, (int, float)) else lr(step)


def _check(lr: Rate) -> None:
    if isinstance(lr, (int, float)):
        check_rate(lr)


def _check_momentum(momentum: Rate) -> None:
    if isinstance(momentum, (int, float)) and not 0 <= momentum < 1:
        raise ConfigError(f"momentum is {momentum}; it must be in [0, 1).")


def _check_betas(betas: tuple[Beta, Beta]) -> None:
    if not all(callable(beta) or 0 <= beta < 1 for beta in betas):
        raise ConfigError(f"betas are {betas}; each must be in [0, 1).")


def _betas(betas: tuple[Beta, Beta], step: int) -> tuple[float, float]:
    first, second = (beta(step) if callable(beta) else beta for beta in betas)
    if callable(betas[0]) or callable(betas[1]):
        _check_betas((first, second))
    return first, second


def _check_adam(lr: Rate, betas: tuple[Beta, Beta], eps: float) -> None:
    _check(lr)
    _check_betas(betas)
    if not eps > 0:
        raise ConfigError(f"eps is {eps}; it must be above 0.")


def _minus(p: Tensor, scale: Scalar, direction: Tensor) -> Tensor:
    """``p - scale * direction`` in one kernel where the scale is a plain number."""
    if isinstance(scale, Tensor):
        return p - scale * direction
    return torch.add(p, direction, alpha=-scale)


def _plus_decay(gradient: Tensor, p: Tensor, coefficient: Scalar | None) -> Tensor:
    if coefficient is None:
        return gradient
    if isinstance(coefficient, Tensor):
        return torch.addcmul(gradient, p, coefficient)
    return torch.add(gradient, p, alpha=coefficient)


@dataclass(frozen=True)
class SGD(Rule):
    """Stochastic gradient descent with momentum, equal to ``torch.optim.SGD``.

    With ``d = g + weight_decay * w`` and ``v = momentum * v + (1 - dampening) * d`` (``v = d`` at the first step):
    ``w <- w - lr * v``, or with Nesterov momentum ``w <- w - lr * (d + momentum * v)``.

    Attributes:
        lr: learning rate, a number, tensor or schedule.
        momentum: in [0, 1), a tensor, or a schedule such as ``OneCycle(...).momentum``.
        dampening: in [0, 1].
        weight_decay: coefficient, or a :class:`Decay`.
        nesterov: needs momentum and no dampening.
    """

    lr: Rate
    momentum: Rate = 0.0
    dampening: float = 0.0
    weight_decay: float | Tensor | Decay = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        _check(self.lr)
        # a tensor is looked at here alone: at each step that would wait for its device
        for momentum in self.momentum.flatten().tolist() if isinstance(self.momentum, Tensor) else [self.momentum]:
            _check_momentum(momentum)
        if self.nesterov and (not self._has_momentum or self.dampening != 0):
            raise ConfigError("SGD: nesterov=True needs momentum > 0 and dampening 0.")

    @property
    def _has_momentum(self) -> bool:
        return not isinstance(self.momentum, (int, float)) or self.momentum != 0

    @property
    def decay(self) -> Decay:
        """The weight decay, added to the gradient."""
        return _as_decay(self.weight_decay)

    def rate(self, step: int) -> Scalar:
        """Return the learning rate of a step, counted from 0."""
        return _rate(self.lr, step)

    def momentum_at(self, step: int) -> Scalar:
        """Return the momentum of a step, counted from 0.

        Raises:
            ConfigError: if a schedule leaves [0, 1).
        """
        momentum = _rate(self.momentum, step)
        _check_momentum(momentum)
        return momentum

    def has_begun(self, slot: str, steps: int) -> bool:
        """Return whether momentum was used in any of so many steps: a schedule may start at 0."""
        return any(self._moves(step) for step in range(steps))

    def _moves(self, step: int) -> bool:
        momentum = self.momentum_at(step)
        return isinstance(momentum, Tensor) or momentum != 0

    def init(self, params: Mapping[str, Tensor]) -> RuleState:
        """Return empty momentum buffers: a buffer starts as the first gradient."""
        return RuleState(0, {"momentum": {}} if self._has_momentum else {})

    def step(
        self,
        params: Mapping[str, Tensor],
        gradients: Gradients,
        state: RuleState,
        decay: Mapping[str, Scalar] | None = None,
    ) -> tuple[Params, RuleState]:
        """Return the parameters and the state after one step."""
        lr, momentum, moving = self.rate(state.step), self.momentum_at(state.step), self._moves(state.step)
        coefficients = self.decay.coefficients(params) if decay is None else decay
        new = dict(params)
        slots = {name: dict(slot) for name, slot in state.slots.items()}
        for name, p in params.items():
            gradient = gradients[name]
            if gradient is None:
                continue
            d = _plus_decay(gradient, p, coefficients.get(name))
            if moving:
                old = slots["momentum"].get(name)
                v = d if old is None else (momentum * old).add_(d, alpha=1.0 - self.dampening)
                slots["momentum"][name] = v
                d = _minus(d, -momentum, v) if self.nesterov else v
            new[name] = _minus(p, lr, d)
        return new, RuleState(state.step + 1, slots)


def _root(u: Tensor) -> Tensor:
    """Square root with derivative 0, not infinity, at 0; equal in value to ``sqrt``."""
    positive = u > 0
    return torch.where(positive, torch.where(positive, u, torch.ones_like(u)).sqrt(), torch.zeros_like(u))


def _moving(old: Tensor, gradient: Tensor, beta: float) -> Tensor:
    """``beta * old + (1 - beta) * gradient^2``; the in-place kernel touches a fresh temporary only."""
    return (old * beta).addcmul_(gradient, gradient, value=1.0 - beta)


def _denominator(u: Tensor, shift: float) -> Tensor:
    """``sqrt(u) + shift``, in one allocation where no gradient is wanted."""
    if torch.is_grad_enabled() and u.requires_grad:
        return _root(u) + shift
    return u.sqrt().add_(shift)


def _adam_step(
    rule: "Adam | AdamW",
    params: Mapping[str, Tensor],
    gradients: Gradients,
    state: RuleState,
    decay: Mapping[str, Scalar] | None,
    *,
    decoupled: bool,
) -> tuple[Params, RuleState]:
    lr = rule.rate(state.step)
    coefficients = rule.decay.coefficients(params) if decay is None else decay
    b1, b2 = _betas(rule.betas, state.step)
    skipped = dict(state.skipped)
    new = dict(params)
    first, second = dict(state.slots["first"]), dict(state.slots["second"])
    for name, p in params.items():
        gradient, coefficient = gradients[name], coefficients.get(name)
        if gradient is None:
            skipped[name] = skipped.get(name, 0) + 1
            continue
        t = state.step + 1 - skipped.get(name, 0)
        scale = math.sqrt(1.0 - b2**t)  # both corrections are moved into the step size and eps: one kernel less
        size = lr * (scale / (1.0 - b1**t))
        if coefficient is not None and decoupled:
            p = p * (1.0 - lr * coefficient)
        elif coefficient is not None:
            gradient = _plus_decay(gradient, p, coefficient)
        m = first[name] = torch.lerp(first[name], gradient, 1.0 - b1)
        u = second[name] = _moving(second[name], gradient, b2)
        denominator = _denominator(u, rule.eps * scale)
        if isinstance(size, Tensor):
            new[name] = p - size * (m / denominator)
        else:
            new[name] = torch.addcdiv(p, m, denominator, value=-size)
    return new, RuleState(state.step + 1, {"first": first, "second": second}, skipped)


def _moments(params: Mapping[str, Tensor]) -> RuleState:
    zeros = {n: torch.zeros_like(p, requires_grad=False) for n, p in params.items()}
    return RuleState(0, {"first": zeros, "second": dict(zeros)})


@dataclass(frozen=True)
class Adam(Rule):
    """Adam, equal to ``torch.optim.Adam``; weight decay is added to the gradient.

    ``m = b1 m + (1 - b1) g``, ``u = b2 u + (1 - b2) g^2``,
    ``w <- w - lr / (1 - b1^t) * m / (sqrt(u) / sqrt(1 - b2^t) + eps)``, t counted from 1.

    The derivative of a step in g at g = 0 is lr / eps at the first step: a larger ``eps`` (1e-4) smooths
    hypergradients. Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.

    Attributes:
        lr: learning rate, a number, tensor or schedule.
        betas: decay rates of the two moments, each in [0, 1) or a schedule, such as ``OneCycle(...).momentum``.
        eps: > 0.
        weight_decay: coefficient, or a :class:`Decay`.
    """

    lr: Rate = 1e-3
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float | Tensor | Decay = 0.0

    def __post_init__(self) -> None:
        _check_adam(self.lr, self.betas, self.eps)

    @property
    def decay(self) -> Decay:
        """The weight decay, added to the gradient."""
        return _as_decay(self.weight_decay)

    def rate(self, step: int) -> Scalar:
        """Return the learning rate of a step, counted from 0."""
        return _rate(self.lr, step)

    def init(self, params: Mapping[str, Tensor]) -> RuleState:
        """Return zero moments."""
        return _moments(params)

    def step(
        self,
        params: Mapping[str, Tensor],
        gradients: Gradients,
        state: RuleState,
        decay: Mapping[str, Scalar] | None = None,
    ) -> tuple[Params, RuleState]:
        """Return the parameters and the state after one step."""
        return _adam_step(self, params, gradients, state, decay, decoupled=False)


@dataclass(frozen=True)
class AdamW(Rule):
    """Adam with decoupled weight decay, equal to ``torch.optim.AdamW``.

    First ``w <- w (1 - lr * weight_decay)``, then Adam's step. Source: Loshchilov and Hutter, "Decoupled weight decay
    regularization", ICLR 2019, algorithm 2.

    Attributes:
        lr: learning rate, a number, tensor or schedule.
        betas: decay rates of the two moments, each in [0, 1) or a schedule, such as ``OneCycle(...).momentum``.
        eps: > 0.
        weight_decay: coefficient, or a :class:`Decay`.
    """

    lr: Rate = 1e-3
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float | Tensor | Decay = 1e-2

    def __post_init__(self) -> None:
        _check_adam(self.lr, self.betas, self.eps)

    @property
    def decay(self) -> Decay:
        """The weight decay, applied to the parameter itself."""
        return _as_decay(self.weight_decay)

    def rate(self, step: int) -> Scalar:
        """Return the learning rate of a step, counted from 0."""
        return _rate(self.lr, step)

    def init(self, params: Mapping[str, Tensor]) -> RuleState:
        """Return zero moments."""
        return _moments(params)

    def step(
        self,
        params: Mapping[str, Tensor],
        gradients: Gradients,
        state: RuleState,
        decay: Mapping[str, Scalar] | None = None,
    ) -> tuple[Params, RuleState]:
        """Return the parameters and the state after one step."""
        return _adam_step(self, params, gradients, state, decay, decoupled=True)
