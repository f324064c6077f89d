"""Small problems for hypergradients, and their honest oracle: central differences of real training."""

import torch
from torch import nn

from tutelage import Lesson, Student
from tutelage.losses import cross_entropy
from tutelage.randomness import seeded

DOUBLE = torch.float64


def drawn(*shape, seed=0, dtype=DOUBLE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE).to(dtype)


def relative(found, needed):
    found, needed = flat(found).detach(), flat(needed).detach()
    return float((found - needed).norm() / needed.norm())


def cosine(a, b):
    return float(torch.cosine_similarity(flat(a), flat(b), 0))


def flat(tensors):
    return tensors.flatten() if torch.is_tensor(tensors) else torch.cat([t.flatten() for t in tensors])


def net(kind="plain", dtype=DOUBLE):
    middle = {"plain": nn.Identity(), "dropout": nn.Dropout(0.5), "batchnorm": nn.BatchNorm1d(8)}[kind]
    with seeded(5):
        return nn.Sequential(nn.Linear(6, 8), middle, nn.Tanh(), nn.Linear(8, 3)).to(dtype)


class ProblemA:
    """MLP 6-8-3, 20 examples, 12 a batch; eta: 20 weight logits, 20 x 6 perturbations, log of the weight decay."""

    def __init__(self, rule, steps=8, kind="plain", dtype=DOUBLE):
        """``rule``: (weight decay) -> Rule."""
        self.rule, self.steps, self.kind, self.dtype = rule, steps, kind, dtype
        self.x, self.y = drawn(20, 6, seed=1, dtype=dtype), torch.arange(20) % 3
        self.rows = [torch.randperm(20, generator=torch.Generator().manual_seed(t))[:12] for t in range(steps)]
        self.validation = drawn(15, 6, seed=2, dtype=dtype), torch.arange(15) % 3
        self.eta = [
            (0.5 * drawn(20, seed=3)).to(dtype).requires_grad_(),
            (0.1 * drawn(20, 6, seed=4)).to(dtype).requires_grad_(),
            torch.tensor(-4.0, dtype=dtype, requires_grad=True),
        ]

    def student(self, eta=None):
        eta = self.eta if eta is None else eta
        return Student(net(self.kind, self.dtype), self.rule(eta[2].exp()), seed=7)

    def lessons(self, eta=None):
        logits, shift, _ = self.eta if eta is None else eta
        return [Lesson(self.x[r] + shift[r], self.y[r], torch.sigmoid(logits[r]), cross_entropy) for r in self.rows]

    def loss(self, student):
        x, y = self.validation
        return cross_entropy(student.logits(x, training=False), y).mean()

    def trained(self, eta):
        """The validation loss after really studying."""
        eta = [e.detach() for e in eta]
        student = self.student(eta)
        for lesson in self.lessons(eta):
            student.study(lesson)
        return float(self.loss(student).detach())

    def gradients(self, strategy):
        return strategy(self.student(), self.lessons(), self.loss, self.eta)[1]


def central(function, values, h=1e-5):
    """The gradient of ``function`` (list of tensors -> float), a coordinate at a time."""
    values = [v.detach().clone() for v in values]
    found = []
    for i, value in enumerate(values):
        slope = torch.zeros_like(value)
        for j in range(value.numel()):
            sides = []
            for sign in (1, -1):
                moved = [v.clone() for v in values]
                moved[i].view(-1)[j] += sign * h
                sides.append(function(moved))
            slope.view(-1)[j] = (sides[0] - sides[1]) / (2 * h)
        found.append(slope)
    return found


def along(function, values, gradients, directions=8, h=1e-5):
    """The largest error of a gradient along random directions, relative to its length."""
    worst, size = 0.0, float(flat(gradients).norm())
    for k in range(directions):
        d = [drawn(*v.shape, seed=100 + k) for v in values]
        norm = float(flat(d).norm())
        d = [p / norm for p in d]
        sides = [function([v.detach() + sign * h * p for v, p in zip(values, d)]) for sign in (1, -1)]
        slope = float(flat(gradients) @ flat(d))
        worst = max(worst, abs(slope - (sides[0] - sides[1]) / (2 * h)) / size)
    return worst
