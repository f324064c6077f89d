"""How memory grows with the number of steps: the running maximum of the allocations, which is deterministic."""

import pytest
import torch
from torch import nn

from tests.core.look_ahead import drawn
from tutelage import SGD, Lesson, Student
from tutelage.hypergradient import (
    ConjugateGradient,
    Neumann,
    OneStep,
    Recompute,
    Reversible,
    Truncated,
    Unrolled,
)
from tutelage.losses import cross_entropy
from tutelage.memory import peak_bytes
from tutelage.randomness import seeded

STEPS = (10, 40)


def peak(strategy, steps, dtype=torch.float64):
    """Most bytes allocated at a time by a call on batches of 64, and the bytes of the parameters."""
    with seeded(0):
        net = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 10))
    student = Student(net.to(dtype), SGD(0.1, 0.9, weight_decay=1e-3))
    weight = torch.ones(64, dtype=dtype, requires_grad=True)
    y = torch.arange(64) % 10
    lessons = [Lesson(drawn(64, 64, seed=t, dtype=dtype), y, weight, cross_entropy) for t in range(steps)]
    x_valid = drawn(64, 64, seed=99, dtype=dtype)

    def loss(s):
        return cross_entropy(s.logits(x_valid), y).mean()

    strategy(student, lessons[:1], loss, [weight])  # what is made once
    strategy.measure = True
    strategy(student, lessons, loss, [weight])
    most = strategy.stats.peak_bytes
    return most, sum(p.nbytes for p in student.params.values())


def growth(strategy):
    """The ratio of the two peaks, and their difference in parameters a step."""
    (few, weights), (many, _) = (peak(strategy, steps) for steps in STEPS)
    return many / few, (many - few) / (STEPS[1] - STEPS[0]) / weights


def test_unrolled_keeps_every_graph():
    assert 3.0 <= growth(Unrolled())[0] <= 4.2


def test_recompute_keeps_the_parameters_of_every_step():
    ratio, weights = growth(Recompute(1))
    assert weights <= 1.25
    assert ratio <= 3.0


def test_recompute_in_segments_keeps_the_root_of_them():
    assert growth(Recompute("sqrt"))[0] <= 2.0


@pytest.mark.parametrize("strategy", [Truncated(5), Reversible()], ids=["truncated", "reversible"])
def test_constant_memory(strategy):
    assert growth(strategy)[0] <= 1.05


def test_constant_memory_under_autocast():
    """Its cache of casts would keep every student until the block ends."""
    with torch.autocast("cpu", torch.bfloat16):
        few, many = (peak(Truncated(5), steps, torch.float32)[0] for steps in STEPS)
    assert many / few <= 1.05


@pytest.mark.parametrize(
    "strategy",
    [OneStep("jvp"), OneStep("fd"), ConjugateGradient(damping=1.0, iters=5), Neumann(0.01, 5)],
    ids=["jvp", "fd", "conjugate gradient", "neumann"],
)
def test_what_takes_one_lesson_takes_the_memory_of_a_few_steps(strategy):
    assert peak(strategy, 1)[0] < peak(Unrolled(), 4)[0]


def test_memory_is_measured_on_demand_and_is_the_same_each_time():
    assert peak(Unrolled(), 3) == peak(Unrolled(), 3)
    _, most = peak_bytes(lambda: torch.ones(1000, dtype=torch.float64) + 1, torch.device("cpu"))
    assert 16_000 <= most <= 16_064  # and the 1 that is added
