"""Pools, hypotheses and the triple loop that the tests of hypotheses share."""

import math
from functools import partial

import torch
from torch import nn

from tutelage import SGD, Batch, Student
from tutelage.hypotheses import Features, Hypotheses


def cloud(classes=3, each=12, width=4, seed=0, spread=1.0):
    """Rows around a centre a class, in no order of labels, with indices that are not places."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(classes).repeat(each)
    centres = 3 * torch.randn(classes, width, generator=g)
    x = centres[y] + spread * torch.randn(len(y), width, generator=g)
    return Batch(x, y, 100 + torch.randperm(len(y), generator=g))


def student(classes=3, width=4):
    return Student(nn.Linear(width, classes), SGD(0.1))


def drawn(pool, count=20, alpha=0.5, seed=1):
    """Random hypotheses of a pool, one of which is 0 and so predicts -1 everywhere."""
    features = Features.of(pool.x)
    g = torch.Generator().manual_seed(seed)
    weights = torch.randn(count, features.mean.numel() + 1, generator=g, dtype=torch.float64)
    weights[0] = 0
    return Hypotheses(weights, features, alpha)


def these(hypotheses, pool, classes):
    return hypotheses


def fixed(hypotheses):
    """A space that finds these, whatever the pool; one that pickles."""
    return partial(these, hypotheses)


def signs(y, classes):
    """+-1 of each task and row: one task for two classes."""
    tasks = range(classes) if classes > 2 else [1]
    return [[1 if label == c else -1 for label in y.tolist()] for c in tasks]


def likelihood(h, y, alpha):
    """``Lk`` of one margin and one sign."""
    right = (h > 0) == (y > 0)
    return 1.0 if right else 1 / (1 + math.exp(-alpha * y * h))


def loop_greedy(margins, targets, alpha, steps, factor=None, allowed=None):
    """Rows that a triple loop shows, and their scores ``sum_c sum_h q err Lk`` (times a factor a row)."""
    count, size = len(margins), len(margins[0])
    allowed = range(count) if allowed is None else allowed
    wrong = [[sum((margins[i][h] > 0) != (t[i] > 0) for i in allowed) for h in range(size)] for t in targets]
    q = [[1 / size] * size for _ in targets]
    shown, scores = [], []
    for _ in range(steps):
        best = None
        for i in allowed:
            total = 0.0
            for c, t in enumerate(targets):
                for h in range(size):
                    total += q[c][h] * wrong[c][h] / len(allowed) * likelihood(margins[i][h], t[i], alpha)
            total *= 1 if factor is None else factor[i]
            if i not in shown and (best is None or total < best[0]):
                best = total, i
        scores.append(best[0])
        shown.append(best[1])
        for c, t in enumerate(targets):
            q[c] = [q[c][h] * likelihood(margins[best[1]][h], t[best[1]], alpha) for h in range(size)]
    return shown, scores


def shown_by(teacher, pool, student, steps):
    """Rows that a teacher shows, their scores, and the lessons."""
    lessons = []
    for _ in range(steps):
        lessons.append(teacher.teach(pool, student))
        teacher.learn(lessons[-1], student, None)
    rows = [row for lesson in lessons for row in lesson.notes["row"].tolist()]
    return rows, [score for lesson in lessons for score in lesson.notes["score"].tolist()], lessons
