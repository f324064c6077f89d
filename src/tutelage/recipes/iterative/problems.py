"""What is to be learned, of one seed: a pool of rows, the loss of a linear learner, and the weights it should get."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ...codewords import Fit
from ...lesson import Batch, Lesson
from ...linear_sgd import LOGISTIC, MCBOOST, SOFTMAX, SQUARED, LinearLoss
from ...randomness import stream
from ...rules import SGD
from ...student import Student
from ..selection.embedding import embedded
from ..selection.filters import filter_of
from ..selection.rows import Drawn
from .minimising import logistic
from .options import Chosen

LOSSES: Mapping[str, LinearLoss] = {"softmax": SOFTMAX, "mcboost": MCBOOST}
LOGISTIC_DECAY = 0.01
"""Weight decay of the minimiser that is the target of the logistic problem."""
_FIT_STEPS, _FIT_RATE, _FIT_DECAY = 400, 0.2, 1e-3


@dataclass(frozen=True, eq=False)
class Problem:
    """What all teachers of a seed are given.

    Attributes:
        seed: of their draws.
        pool: rows (N, d) of float64 that may be shown, their labels, positions in the data.
        loss: of the learner.
        target: where it should end, (K, d).
        eta: rate of its steps.
        true: labels (N,) before the noise; None: they are the labels.
        test: rows and labels; None: there are none.
        facts: counts of the rows that were there, and of those that are left.
    """

    seed: int
    pool: Batch
    loss: LinearLoss
    target: Tensor
    eta: float
    true: Tensor | None
    test: tuple[Tensor, Tensor] | None
    facts: Mapping[str, float]

    def learner(self) -> Student:
        """Return the learner before its first step: weights of 0, plain gradient descent."""
        net = nn.Linear(self.target.shape[1], len(self.target), bias=False).to(self.target)
        nn.init.zeros_(net.weight)
        return Student(net, SGD(self.eta), seed=self.seed)


def made(options: Chosen, seed: int) -> Problem:
    """Return a problem whose rows are drawn from N(0, 1), and whose labels come from a vector of norm 1.

    Regression: labels ``<w, x>``, the target that vector. Logistic: labels ``sign <w, x>``, the target the minimiser of
    the mean logistic loss plus ``0.01 / 2 ||w||^2``, since the loss alone has none.
    """
    generator = torch.Generator().manual_seed(stream(seed, "rows of a problem") >> 1)
    drawn = torch.randn(options.rows + 1, options.dim, generator=generator, dtype=torch.float64)
    x, vector = drawn[1:].to(options.device), (drawn[0] / drawn[0].norm()).to(options.device)
    facts = {"pool": options.rows, "kept": options.rows, "realised": 0.0}
    if options.problem == "regression":
        y, loss, target = x @ vector, SQUARED, vector
    else:
        y = torch.where(x @ vector < 0, -1.0, 1.0).to(x)
        loss, target = LOGISTIC, logistic(x, y, LOGISTIC_DECAY * len(x))
    pool = Batch(x, y, torch.arange(options.rows, device=x.device))
    return Problem(seed, pool, loss, target[None], options.eta, None, None, facts)


def from_rows(drawn: Drawn, options: Chosen, classes: int) -> Problem:
    """Return the problem of rows that were read: centred, of norm 4, those that the filter keeps.

    Raises:
        EmptiedClass: if the filter leaves no row of a class.
    """
    x, test_x = embedded(drawn.pool.x, drawn.test_x)
    pool = replace(drawn.pool, x=x.double())
    rows = filter_of(options.filter, seed=drawn.seed)(pool, classes).nonzero().squeeze(1)
    pool = Batch(pool.x[rows], pool.y[rows], pool.index[rows])
    loss = LOSSES[options.loss]
    facts = {"pool": len(drawn.pool), "kept": len(rows), "realised": drawn.realised}
    target = _FITS[options.loss](pool, classes)
    test = test_x.double(), drawn.test_y
    return Problem(drawn.seed, pool, loss, target, options.eta, drawn.true[rows], test, facts)


def _softmax(pool: Batch, classes: int) -> Tensor:
    """The weights (K, d) after 400 steps of heavy-ball descent of the mean loss, with decay 0.001."""
    net = nn.Linear(pool.x.shape[1], classes, bias=False).to(pool.x)
    nn.init.zeros_(net.weight)
    student = Student(net, SGD(_FIT_RATE, momentum=0.9, weight_decay=_FIT_DECAY))
    lesson = Lesson(pool.x, pool.y, torch.ones_like(pool.x[:, 0]), SOFTMAX.losses)
    for _ in range(_FIT_STEPS):
        student = student.after(lesson, differentiable=False)
    return student.head[1].detach()


def _mcboost(pool: Batch, classes: int) -> Tensor:
    """The same of the MCBoost risk."""
    fit = Fit(steps=_FIT_STEPS, lr=_FIT_RATE, decay=_FIT_DECAY)
    return fit(pool.x[None], pool.y[None], pool.x.new_zeros(1, classes, pool.x.shape[1]))[0]


_FITS: Mapping[str, Callable[[Batch, int], Tensor]] = {"softmax": _softmax, "mcboost": _mcboost}
