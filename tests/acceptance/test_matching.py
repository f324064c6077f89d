"""Later teachers of synthetic sets on digits, one image a class, judged by free training of new networks.

Thresholds were set before the first run, from another implementation; ten networks from PyTorch's own initialisation,
at the better of two rates by training accuracy. By default one seed of trajectory matching; with TUTELAGE_FULL=1 three
seeds of all.
Not claimed: that gradient or distribution matching is better than class means; here they are about as good.
"""

import os

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from tutelage import SGD, Batch, Student
from tutelage.distilled import accuracies, labels_in_turn
from tutelage.distilled.free_training import RATES, at_best_rate, train_freely
from tutelage.experts import train_experts
from tutelage.nets.initial import Scaled
from tutelage.real_sets import Real, class_means, random
from tutelage.starts import Fresh
from tutelage.teachers import DistributionMatching, GradientMatching, TrajectoryMatching

pytestmark = pytest.mark.slow

FULL = os.environ.get("TUTELAGE_FULL") == "1"
SEEDS = (0, 1, 2) if FULL else (3,)
LABELS = labels_in_turn(10, 1)


@pytest.fixture(scope="module")
def digits():
    """Training and test rows."""
    data = load_digits()
    order = np.random.RandomState(0).permutation(len(data.images))
    x = torch.tensor(data.images / 16, dtype=torch.float32)[order].unsqueeze(1)
    x, y = (x - x[:1297].mean()) / x[:1297].std(), torch.tensor(data.target)[order]
    return Real(x[:1297], y[:1297], 10), Real(x[1297:], y[1297:], 10)


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def conv():
    def block(depth):
        return nn.Conv2d(depth, 32, 3, padding=1), nn.GroupNorm(32, 32), nn.ReLU(), nn.AvgPool2d(2)

    return nn.Sequential(*block(1), *block(32), nn.Flatten(), nn.Linear(128, 10))


def judged(digits, net, images):
    """Mean accuracy in percent of new networks trained on ten images (1, 10, 1, 8, 8)."""
    train, test = digits
    weights = Fresh(net, Scaled("torch"), 7).held_out(10)
    images = images.detach()[0]
    best = at_best_rate(lambda lr: train_freely(net, weights, images, LABELS, lr=lr), RATES, train.x, train.y)
    return 100 * float(accuracies(best.student, test.x, test.y).mean())


def learned(teacher, digits, net, steps):
    """The images after so many outer iterations."""
    student, real = Student(net, SGD(0.1)), Batch(digits[0].x, digits[0].y, torch.arange(1297))
    for _ in range(steps):
        teacher.learn(None, student, real)
    return teacher.distilled.images


def test_trajectory_matching(digits):
    """E1. Measured on seeds 0 to 2: 94.7, 95.9, 95.3; class means 88.5. Elsewhere 95.8, 95.3, 94.9 and 89.0."""
    train, net = digits[0], mlp()
    means = judged(digits, net, class_means(train, 1, 1, 0))
    for seed in SEEDS:
        starts, options = Fresh(net, Scaled("torch"), seed), {"epochs": 20, "batch_size": 64, "together": 30}
        experts = train_experts(net, starts.held_out(30), train.x, train.y, rule=SGD(0.05), seed=seed, **options)
        options = {"step_size": 0.05, "epochs": 2, "max_start": 16}
        teacher = TrajectoryMatching(random(train, 1, 1, seed), LABELS, experts, seed=seed, **options)
        found = judged(digits, net, learned(teacher, digits, net, 400))
        assert found >= 92
        assert found >= means + 3


@pytest.mark.skipif(not FULL, reason="takes minutes: set TUTELAGE_FULL=1")
def test_distribution_matching(digits):
    """E2. Measured on seeds 0 to 2: 88.4, 87.8, 87.8. Elsewhere 87.6, 87.5, 88.7, and 68.0 of random real images."""
    net = conv()
    real = np.mean([judged(digits, net, random(digits[0], 1, 1, seed)) for seed in range(4)])
    for seed in SEEDS:
        options = {"starts": Fresh(net, Scaled("torch"), seed), "real_batch": 64, "seed": seed}
        teacher = DistributionMatching(random(digits[0], 1, 1, seed), LABELS, **options)
        assert judged(digits, net, learned(teacher, digits, net, 500)) >= real + 12


@pytest.mark.skipif(not FULL, reason="takes minutes: set TUTELAGE_FULL=1")
def test_gradient_matching(digits):
    """E3. Measured on seeds 0 to 2: 87.4, 87.6, 88.2. Elsewhere 88.1, 87.4, 88.5, and 68.0 of random real images."""
    net = conv()
    real = np.mean([judged(digits, net, random(digits[0], 1, 1, seed)) for seed in range(4)])
    for seed in SEEDS:
        options = {"starts": Fresh(net, Scaled("torch"), seed), "real_batch": 64, "seed": seed}
        noise = torch.randn(1, 10, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        teacher = GradientMatching(noise, LABELS, **options)
        assert judged(digits, net, learned(teacher, digits, net, 300)) >= real + 12
