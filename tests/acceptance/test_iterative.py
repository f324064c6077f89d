"""Iterative teaching and label synthesis of linear learners, against plain loops, and teaching sets of digits.

Thresholds were set before the first run, from another implementation. Squared error: 500 rows of N(0, 1) in 10
dimensions, a target of norm 1, from 0, rate 0.05; logistic loss: labels by sign, the target the minimiser with weight
decay 0.01, rate 0.2.
"""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from tutelage import SGD, Batch, Student
from tutelage.codewords import Fit, centred
from tutelage.linear_sgd import LOGISTIC, SQUARED
from tutelage.pools import Consistent
from tutelage.sequences import Course, Refitted, teach_together
from tutelage.teachers.label.label_synthesis import LabelSynthesis
from tutelage.teachers.select.at_random import AtRandom
from tutelage.teachers.select.iterative import ImitationTeaching, IterativeTeaching

pytestmark = pytest.mark.slow

SEEDS = range(10)
DIGIT_SEEDS = range(8)


def data(seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(500, 10, generator=g, dtype=torch.float64)
    target = torch.randn(10, generator=g, dtype=torch.float64)
    return x, target / target.norm()


def linear(eta):
    net = nn.Linear(10, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(net.weight)
    return Student(net, SGD(eta))


def distances(teacher, pool, target, eta, steps):
    student, found = linear(eta), []
    for _ in range(steps):
        lesson = teacher.teach(pool, student)
        teacher.learn(lesson, student, None)
        student.study(lesson)
        found.append(float((student.head[1].detach()[0] - target).square().sum()))
    return found


def at_random(x, y, target, eta, steps, seed):
    """Plain stochastic gradient descent on the squared error."""
    w, found = torch.zeros_like(target), []
    for i in torch.randint(len(x), (steps,), generator=torch.Generator().manual_seed(1000 + seed)):
        w = w - eta * (w @ x[i] - y[i]) * x[i]
        found.append(float((w - target).square().sum()))
    return found


def reaches(found, least=1e-2):
    return next((step for step, value in enumerate(found, 1) if value <= least), None)


@pytest.mark.parametrize("seed", SEEDS)
def test_squared_error(seed):
    """Measured, median of ten seeds, at 10, 30, 100 steps: omniscient 6.1e-4, 2.4e-10,
    7e-33; surrogate 3.5e-3, 2e-7, 9e-22; imitation .013, 3.1e-4, 3.1e-10; random rows .51, .12, 4.1e-4. Steps to .01:
    omniscient 6 to 7, surrogate 8 to 11, imitation 7 to 15, random rows 47 to 94.
    """
    x, target = data(seed)
    pool = Batch(x, x @ target, torch.arange(500))
    random = at_random(x, pool.y, target, 0.05, 100, seed)
    omniscient = distances(IterativeTeaching(target, loss=SQUARED), pool, target, 0.05, 20)
    surrogate = distances(IterativeTeaching(target, loss=SQUARED, surrogate=True), pool, target, 0.05, 20)
    imitation = distances(ImitationTeaching(target, loss=SQUARED, seed=seed), pool, target, 0.05, 100)
    assert reaches(omniscient) <= 10
    assert reaches(surrogate) <= 15
    assert imitation[-1] < random[-1]


@pytest.mark.parametrize("seed", SEEDS)
def test_label_synthesis(seed):
    """At a rate at which true labels teach little; measured, median at 100 steps: 2.8e-5 with
    the default bound, 1.5e-5 without, random rows with true labels .17.
    """
    x, target = data(seed)
    pool = Batch(x, x @ target, torch.arange(500))
    random = at_random(x, pool.y, target, 0.01, 100, seed)
    for bound in (None, torch.inf):
        assert distances(LabelSynthesis(target, bound=bound, seed=seed), pool, target, 0.01, 100)[-1] < random[-1]


def test_imitation_needs_questions():
    """Without any it is worse than random rows at 100 steps; measured: in 8 of ten seeds."""
    worse = 0
    for seed in SEEDS:
        x, target = data(seed)
        pool = Batch(x, x @ target, torch.arange(500))
        silent = distances(ImitationTeaching(target, loss=SQUARED, queries=0, seed=seed), pool, target, 0.05, 100)
        worse += silent[-1] > at_random(x, pool.y, target, 0.05, 100, seed)[-1]
    assert worse >= 7


def minimiser(x, y):
    """Of the mean logistic loss plus 0.01 / 2 ||w||^2, by Newton's method."""
    w = x.new_zeros(x.shape[1])
    for _ in range(50):
        p = torch.sigmoid(-y * (x @ w))
        slope = -(y * p) @ x / len(x) + 0.01 * w
        curvature = (p * (1 - p)) * x.T @ x / len(x) + 0.01 * torch.eye(len(w), dtype=x.dtype)
        w = w - torch.linalg.solve(curvature, slope)
    return w


@pytest.mark.parametrize("seed", SEEDS)
def test_logistic(seed):
    """Steps until the squared distance is 0.01; measured: omniscient 112 to 116, surrogate 125 to 132, imitation 111 to
    118.
    """
    x, true = data(seed)
    y = (x @ true).sign()
    target, pool = minimiser(x, y), Batch(x, y, torch.arange(500))
    teachers = {
        "omniscient": IterativeTeaching(target, loss=LOGISTIC),
        "surrogate": IterativeTeaching(target, loss=LOGISTIC, surrogate=True),
        "imitation": ImitationTeaching(target, loss=LOGISTIC, seed=seed),
    }
    for teacher in teachers.values():
        steps = reaches(distances(teacher, pool, target, 0.2, 150))
        assert steps is not None
        assert steps <= 150


def digits(seed, noise):
    """Digits 3, 4, 5, 8, 9: a pool of 720 rows, some of whose labels were drawn anew, and test rows."""
    x, y = load_digits(return_X_y=True)
    names = [3, 4, 5, 8, 9]
    keep = [i for i, label in enumerate(y) if label in names]
    x, y = torch.tensor(x[keep] / 16, dtype=torch.float32), torch.tensor([names.index(y[i]) for i in keep])
    g = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=g)
    x, y = x[order], y[order]
    drawn = torch.rand(720, generator=g) < noise
    labels = y[:720].clone()
    labels[drawn] = torch.randint(0, 5, (int(drawn.sum()),), generator=g)
    x = centred(x, x[:720].mean(0))
    return Batch(x[:720], labels, torch.arange(720)), x[720:], y[720:]


def taught_digits(noise):
    """Accuracy in percent on test rows after 20 shown ones, of each seed, by teacher."""
    courses, found = [], {}
    for seed in DIGIT_SEEDS:
        pool, *test = digits(seed, noise)
        kept = Consistent()
        rows = kept(pool, 5)
        clean = Fit(steps=400)(pool.x[rows][None], pool.y[rows][None], torch.zeros(1, 5, 64))[0]
        noisy = Fit(steps=400)(pool.x[None], pool.y[None], torch.zeros(1, 5, 64))[0]
        teachers = {
            "random": AtRandom(seed=seed),
            "noisy target": IterativeTeaching(noisy, eta=0.05, again=False),
            "noisy target, filter": IterativeTeaching(noisy, eta=0.05, again=False, keep=kept),
            "clean target": IterativeTeaching(clean, eta=0.05, again=False),
        }
        for name, teacher in teachers.items():
            net = nn.Linear(64, 5, bias=False)
            with torch.no_grad():
                net.weight.copy_(0.1 * torch.eye(5, 64))
            courses.append((name, test, Course(teacher, pool, Student(net, SGD(0.1)))))
    teach_together([course for *_, course in courses], 20, Refitted())
    for name, (x, y), course in courses:
        right = (course.student.predict(x).argmax(1) == y).double().mean()
        found.setdefault(name, []).append(100 * float(right))
    return {name: torch.tensor(values) for name, values in found.items()}


def test_digits():
    """Mean accuracy; measured on 24 seeds: 92.4, at random 80.4, standard errors 0.5 and 1.2; at rate 0.1 93.7."""
    found = taught_digits(0.0)
    assert (found["noisy target"] - found["random"]).mean() >= 7


def test_digits_with_wrong_labels():
    """A target that was fitted to wrong labels asks for them: 16 % of what is shown is wrong, of the pool 8 %.

    Measured on 24 seeds: noisy target 80.7, with the filter 91.5, clean target 92.2, at random 71.9, standard errors
    0.9, 0.6, 0.6, 1.4; at rate 0.1: 89.4, 92.3, 93.7.
    """
    found = taught_digits(0.1)
    for name in ("noisy target, filter", "clean target"):
        assert (found[name] - found["random"]).mean() >= 7
        assert (found[name] - found["noisy target"]).mean() >= 4
