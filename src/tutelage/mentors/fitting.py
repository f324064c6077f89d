"""Fitting: a network learns a written curriculum, or which given labels are right."""

import math
import time as clock
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import vector_to_parameters

from .. import __version__, curricula
from ..curricula import CurriculumFunction
from ..errors import ConfigError, DataError, NotFiniteError, unknown
from ..randomness import counter, permutation, stream
from ..rules import Adam
from .network import Form, MentorNetwork, Time
from .rows import Rows, grid

RecipeName: TypeAlias = Literal["ours", "published"]

DRAWN = 100_000
"""Rows of the grid that a curriculum is learned from."""

FEWEST = 20
"""Rows with trusted labels that are needed."""

_BINARY = (curricula.uniform, curricula.self_paced, curricula.hard)


@dataclass(frozen=True)
class FitReport:
    """How well a network fits the held-out rows.

    Attributes:
        mean_absolute_error: ``mean |v - v*|``.
        agreement: share of rows with ``[v > .5] = [v* > .5]``.
        worst_percent_error: the largest ``mean |v - v*|`` of the rows of one percent.
        rows: number of rows in all.
        held_out: number of rows among them that were not learned from.
        seconds: what the fit took.
    """

    mean_absolute_error: float
    agreement: float
    worst_percent_error: float
    rows: int
    held_out: int
    seconds: float

    def origin(self, **learned_from: Any) -> dict[str, Any]:
        """Return what :class:`Settings` keep: what was learned from, how well, and by which version; no times.

        Args:
            **learned_from: whatever JSON can hold, such as ``curriculum="focal"``, or ``dump=dump.fingerprint()``.
        """
        facts = {name: value for name, value in vars(self).items() if name != "seconds"}
        return {**learned_from, **facts, "tutelage": __version__}


@dataclass(frozen=True)
class _Recipe:
    """Adam; the learning rate falls along a cosine to 0, or by a tenth every 1000 steps."""

    steps: int
    batch: int
    lr: float
    clip: float = 5.0
    cosine: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not self.lr > 0 or not self.clip > 0:
            given = f"{self.steps}, {self.batch}, {self.lr}, {self.clip}"
            raise ConfigError(f"a fit needs steps, batch, lr and clip above 0; got {given}.")

    def rate(self, step: int) -> float:
        if self.cosine:
            return self.lr * 0.5 * (1.0 + math.cos(math.pi * step / self.steps))
        return self.lr * 0.9 ** (step // 1000)


_RECIPES = {
    "ours": _Recipe(steps=4000, batch=512, lr=0.03, cosine=True),
    "published": _Recipe(steps=30_000, batch=32, lr=0.1),
}


def fit_curriculum(
    v: CurriculumFunction,
    *,
    seed: int = 0,
    form: Form = "gate",
    time: Time = "progress",
    recipe: RecipeName = "ours",
    steps: int | None = None,
    binary: bool | None = None,
    drop_impossible: bool = False,
    bias_in_matrix: bool = False,
) -> tuple[MentorNetwork, FitReport]:
    """Teach a written curriculum to a network: 100,000 rows of :func:`grid`, 80 % to learn from, 20 % held out.

    Args:
        v: a function of :mod:`tutelage.curricula`, or one's own; see :func:`grid` for how it is called.
        seed: of the rows drawn, the split, the initialisation and the order.
        form: of the network.
        time: of the network.
        recipe: ``"ours"``: Adam .03 along a cosine, batches of 512, 4000 steps; ``"published"``: Adam .1, times .9
            every 1000 steps, batches of 32, 30,000 steps. Both clip the gradient's norm to 5.
        steps: instead of the recipe's.
        binary: whether v* is 0 or 1, learned by cross-entropy, or anything in [0, 1], learned by the squared error.
            None: True for ``uniform``, ``self_paced`` and ``hard``, else False.
        drop_impossible: do not learn from rows with d > l.
        bias_in_matrix: see :class:`MentorNetwork`.

    Raises:
        ConfigError: for an unknown form, time or recipe, steps below 1, or a binary curriculum with values between.
        ShapeError: if ``v`` does not return one weight a loss.
        DataError: if it returns a weight outside [0, 1].
        NotFiniteError: if the fit diverges.

    Source: Jiang et al., "MentorNet", ICML 2018, section 3.1, and its published code.
    """
    if recipe not in get_args(RecipeName):
        raise ConfigError(unknown("recipe", recipe, get_args(RecipeName)))
    network = MentorNetwork(form, time, seed=seed, bias_in_matrix=bias_in_matrix)
    plan = _RECIPES[recipe] if steps is None else replace(_RECIPES[recipe], steps=steps)
    rows = grid(v, drop_impossible=drop_impossible)
    drawn = permutation(stream(seed, "mentor rows"), len(rows))[:DRAWN]
    rows = rows.take(torch.from_numpy(drawn))
    train, held = _split(rows, seed)
    return network, _fit(network, train, held, plan, seed, binary=v in _BINARY if binary is None else binary)


def fit_rows(
    rows: Rows,
    *,
    seed: int = 0,
    form: Form = "gate",
    time: Time = "progress",
    steps: int = 2000,
    lr: float = 0.02,
    batch: int = 32,
    clip: float = 5.0,
    binary: bool = True,
    ids: Tensor | None = None,
    bias_in_matrix: bool = False,
) -> tuple[MentorNetwork, FitReport]:
    """Fit a network to rows whose right weights are known: ``v* = 1[given label == trusted label]``.

    Adam, the learning rate times .9 every 1000 steps. A fifth of the examples is held out, with all their rows. To
    refit a mentor during a training, to the rows of that moment: ``steps=400, lr=0.05``.

    Args:
        rows: at least 20, with more than one value of v*, such as from :meth:`Dump.rows` or :meth:`Rows.joined`.
        seed: of the split, the initialisation and the order.
        form: of the network.
        time: of the network.
        steps: of Adam.
        lr: learning rate, above 0.
        batch: rows a step.
        clip: the gradient's norm is brought down to this.
        binary: whether v* is 0 or 1, learned by cross-entropy, or anything in [0, 1], learned by the squared error.
        ids: which example each row belongs to, int64, shape (N,); None: ``rows.group``.
        bias_in_matrix: see :class:`MentorNetwork`.

    Raises:
        DataError: for fewer than 20 rows, only one value of v* among all or those not held out, or only one example.
        ConfigError: for an unknown form or time, a number outside its range, or binary targets between 0 and 1.
        NotFiniteError: if the fit diverges.

    Source: Jiang et al., "MentorNet", ICML 2018, section 3.2.
    """
    if len(rows) < FEWEST:
        raise DataError(f"{len(rows)} rows with trusted labels; a mentor needs at least {FEWEST}: trust more labels.")
    if ids is not None:
        rows = replace(rows, group=ids)
    network = MentorNetwork(form, time, seed=seed, bias_in_matrix=bias_in_matrix)
    train, held = _split(rows, seed)
    if (train.target == train.target[0]).all():
        right = "right" if train.target[0] > 0.5 else "wrong"
        raise DataError(
            f"all given labels of the {len(train)} rows to learn from are {right}; a mentor learns from right and "
            "wrong ones: trust more labels."
        )
    return network, _fit(network, train, held, _Recipe(steps, batch, lr, clip), seed, binary=binary)


@torch.enable_grad()
def _fit(network: MentorNetwork, train: Rows, held: Rows, recipe: _Recipe, seed: int, *, binary: bool) -> FitReport:
    if binary and not ((train.target == 0) | (train.target == 1)).all():
        raise ConfigError("the weights were declared binary, but some lie between 0 and 1; pass binary=False.")
    began = clock.perf_counter()
    parameters = list(network.parameters())
    flat = torch.cat([p.detach().flatten() for p in parameters])
    vector_to_parameters(flat, parameters)  # they become parts of one vector, so that a step of Adam is few kernels
    adam = Adam(recipe.rate)
    state = adam.init({"all": flat})
    order = _order(stream(seed, "mentor order"), len(train), recipe)
    batches = zip(train.loss[order], train.difference[order], train.percent[order], train.target[order])
    for loss, difference, percent, target in batches:
        logits = network(loss, difference, percent)
        if binary:
            misfit = F.binary_cross_entropy_with_logits(logits, target)
        else:
            misfit = F.mse_loss(logits.sigmoid(), target)
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(misfit, parameters)])
        gradient *= (recipe.clip / (gradient.norm() + 1e-6)).clamp(max=1.0)
        moved, state = adam.step({"all": flat}, {"all": gradient}, state)
        flat.copy_(moved["all"])
    for parameter in parameters:
        parameter.data = parameter.detach().clone()  # each its own again
    errors = _errors(network, held)
    if not math.isfinite(errors[0]):
        raise NotFiniteError(f"the fit of the mentor diverged; lower its learning rate, {recipe.lr}.")
    return FitReport(*errors, len(train) + len(held), len(held), clock.perf_counter() - began)


def _split(rows: Rows, seed: int) -> tuple[Rows, Rows]:
    """Return the rows to learn from and those held out: of either kind one example in five, with all its rows."""
    example = np.arange(len(rows)) if rows.group is None else np.unique(rows.group.numpy(), return_inverse=True)[1]
    count = int(example.max()) + 1
    if count < 2:
        raise DataError("all rows belong to one example; a mentor is held against others: trust more labels.")
    right = np.zeros(count, dtype=np.bool_)
    right[example] = rows.target.numpy() > 0.5
    order = permutation(stream(seed, "mentor held-out"), count)
    held = np.zeros(count, dtype=np.bool_)
    for kind in (order[right[order]], order[~right[order]]):
        held[kind[round(0.8 * len(kind)) :]] = True
    if not held.any():
        held[order[-1]] = True
    mask = held[example]
    return rows.take(torch.from_numpy(np.flatnonzero(~mask))), rows.take(torch.from_numpy(np.flatnonzero(mask)))


def _order(key: int, n: int, recipe: _Recipe) -> Tensor:
    """Return the rows of each step, (steps, batch): one permutation after the other."""
    needed = recipe.steps * recipe.batch
    passes = [permutation(counter(key, i), n) for i in range(-(-needed // n))]
    return torch.from_numpy(np.concatenate(passes)[:needed].reshape(recipe.steps, recipe.batch))


@torch.no_grad()
def _errors(network: MentorNetwork, rows: Rows) -> tuple[float, float, float]:
    """Return mean absolute error, agreement and the worst error of a percent."""
    v = network(rows.loss, rows.difference, rows.percent).sigmoid()
    error = (v - rows.target).abs().double()
    agreement = ((v > 0.5) == (rows.target > 0.5)).double().mean()
    sums, counts = error.new_zeros(100), error.new_zeros(100)
    sums.index_add_(0, rows.percent, error)
    counts.index_add_(0, rows.percent, torch.ones_like(error))
    return error.mean().item(), agreement.item(), (sums / counts.clamp_min(1)).max().item()
