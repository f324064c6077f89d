"""A tiny teacher and student for pseudo labels, in float64."""

import itertools
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call

from tutelage import SGD, Adam, Lesson, Student
from tutelage.credit import feedback_loss
from tutelage.losses import cross_entropy
from tutelage.randomness import seeded
from tutelage.rules import Rule

from .look_ahead import DOUBLE, drawn


@dataclass(frozen=True)
class Clipped(Rule):
    """Another rule, of gradients whose common norm is at most ``norm``."""

    rule: Rule
    norm: float

    @property
    def decay(self):
        return self.rule.decay

    def rate(self, step):
        return self.rule.rate(step)

    def init(self, params):
        return self.rule.init(params)

    def step(self, params, gradients, state, decay=None):
        size = torch.stack([g.square().sum() for g in gradients.values()]).sum().sqrt()
        scale = (self.norm / size).clamp_max(1.0)
        return self.rule.step(params, {n: scale * g for n, g in gradients.items()}, state, decay)


RULES = {
    "sgd": SGD(0.5),
    "small sgd": SGD(0.05),
    "heavy ball": SGD(0.1, momentum=0.9),
    "nesterov": SGD(0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "clipped": Clipped(SGD(0.3), 0.05),
    "adam": Adam(0.05, eps=1e-5),  # a bias before batch norm has gradient 0, where Adam's derivative is lr / eps
}


def mlp(*sizes, kind="plain", activation=nn.Tanh, seed=0, dtype=DOUBLE):
    with seeded(seed):
        middle = {"plain": nn.Identity, "dropout": lambda: nn.Dropout(0.4)}.get(kind, lambda: nn.BatchNorm1d(sizes[1]))
        layers = [nn.Linear(sizes[0], sizes[1]), middle(), activation()]
        for a, b in itertools.pairwise(sizes[1:-1]):
            layers += [nn.Linear(a, b), activation()]
        net = nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1])).to(dtype)
    if kind == "batchnorm in evaluation":
        net[1].eval()
    return net


class Tiny:
    """T = MLP 4-5-3, S = MLP 4-6-3, N unlabelled, B = 6 labelled; a student that has studied a few lessons before."""

    def __init__(self, rule, kind="plain", *, n=7, temperature=0.7, seed=0, lessons=9):
        self.temperature = temperature
        self.teacher = mlp(4, 5, 3, seed=10 * seed + 1)
        self.x, self.strong = drawn(n, 4, seed=10 * seed + 2), drawn(n, 4, seed=10 * seed + 3)
        self.labelled = drawn(6, 4, seed=10 * seed + 4), torch.arange(6) % 3
        self.feedback = feedback_loss(*self.labelled)
        self.weight = torch.linspace(0.4, 1.6, n, dtype=DOUBLE)
        self.student = Student(mlp(4, 6, 3, kind=kind, seed=10 * seed + 5), rule, seed=seed)
        for t in range(lessons):
            target = torch.softmax(drawn(n, 3, seed=100 * seed + t), -1)
            self.student.study(Lesson(self.strong, target, self.weight, cross_entropy))
        self.theta = {n: p.detach().clone().requires_grad_() for n, p in self.teacher.named_parameters()}

    def logits(self, theta=None):
        theta = self.theta if theta is None else dict(zip(self.theta, theta))
        return functional_call(self.teacher, theta, (self.x,)) / self.temperature

    def lesson(self, target):
        return Lesson(self.strong, target, self.weight, cross_entropy)

    def loss_after(self, theta):
        """What the teacher is to descend, by really making the student study."""
        with torch.no_grad():
            lesson = self.lesson(torch.softmax(self.logits(theta), -1))
        return float(self.feedback(self.student.after(lesson, differentiable=False)).detach())

    def gradient(self, term):
        found = torch.autograd.grad(term, list(self.theta.values()), retain_graph=True)
        return torch.cat([g.flatten() for g in found])
