"""Who is taught: a linear student on rows that stay as they are, or a network that studies with its codewords."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from ...codewords import Fit
from ...evaluation import accuracy
from ...lesson import Lesson, Loss
from ...losses import cross_entropy
from ...mcboost import mcboost, mcboost_published
from ...pools import LinearReference
from ...randomness import counter, hashed_tensor, seeded, stream
from ...rules import SGD
from ...sequences import PUBLISHED, PUBLISHED_RULE, Refitted, Studied, Study
from ...student import Student
from ..selection.embedding import embedded
from ..selection.nets import with_codewords
from ..selection.rows import Drawn
from .options import Chosen

_START = 0.1
"""The linear student starts from this times the first rows of the unit matrix."""
_BATCH, _PASSES = 64, 30


@dataclass(frozen=True, eq=False)
class Taught:
    """Pool and test as the student sees them, and the student.

    Attributes:
        drawn: rows as students see them.
        start: the student before the first row.
        study: how it takes in what is shown.
        loss: what it studies by.
        classes: K.
    """

    drawn: Drawn
    start: Student
    study: Study
    loss: Loss
    classes: int


def taught(drawn: Drawn, options: Chosen, classes: int, trunk: nn.Module | None) -> Taught:
    """Return the student of a seed.

    Args:
        drawn: rows as they are.
        options: with nothing left to choose.
        classes: K.
        trunk: a network whose last layer is replaced; None: the student is linear.
    """
    paper = options.schedule == "paper"
    if trunk is not None and options.backbone == "fine-tuned":
        rule = PUBLISHED_RULE if paper else SGD(options.lr, momentum=0.9, weight_decay=1e-4)
        loss = mcboost_published if paper else cross_entropy if options.loss == "cross-entropy" else mcboost
        start = Student(with_codewords(trunk, drawn.pool.x, classes, drawn.seed), rule, seed=drawn.seed)
        return Taught(drawn, start, PUBLISHED if paper else Studied(options.steps, loss), loss, classes)
    net = None if trunk is None else Student(trunk, SGD(1.0))
    components = options.components if options.embedding == "pca" else None
    x, test_x = embedded(drawn.pool.x, drawn.test_x, components=components, net=net)
    seen = replace(drawn, pool=replace(drawn.pool, x=x), test_x=test_x)
    with seeded(stream(drawn.seed, "codewords")):
        layer = nn.Linear(x.shape[1], classes, bias=False)
    if paper:
        start = Student(layer.to(x), PUBLISHED_RULE, seed=drawn.seed)
        return Taught(seen, start, PUBLISHED, mcboost_published, classes)
    nn.init.eye_(layer.weight).data.mul_(_START)
    start = Student(layer.to(x), SGD(options.lr), seed=drawn.seed)
    return Taught(seen, start, Refitted(Fit(steps=options.steps, lr=options.lr)), mcboost, classes)


def whole_pool(found: Taught, options: Chosen) -> float:
    """Return the test accuracy after all rows of the pool: what a teaching set stands beside.

    A linear student is fitted in 400 steps; a network goes through the pool 30 times, in batches of 64 rows.
    """
    pool, drawn = found.drawn.pool, found.drawn
    if options.backbone != "fine-tuned":
        rows, words = pool.x[None], pool.x.new_zeros(1, found.classes, pool.x.shape[1])
        words = LinearReference().fit(rows, pool.y[None], words)
        return accuracy(drawn.test_x @ words[0].T, drawn.test_y)
    student, key = found.start, stream(drawn.seed, "whole pool")
    for passed in range(_PASSES):
        order = hashed_tensor(counter(key, passed), pool.index.long()).argsort()
        for rows in torch.split(order, _BATCH):
            weight = torch.ones(len(rows), dtype=pool.weight_dtype, device=pool.x.device)
            student = student.after(Lesson(pool.x[rows], pool.y[rows], weight, found.loss), differentiable=False)
    return accuracy(student.predict(drawn.test_x), drawn.test_y)
