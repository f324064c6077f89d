import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from tutelage.errors import ShapeError
from tutelage.evaluation import accuracy, auc, calibration_error, paired, per_class_accuracy, summary

LOGITS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 3.0, 0.0], [1.0, 0.0, 0.0]])
Y = torch.tensor([0, 1, 0, 0])


def test_accuracy():
    assert accuracy(LOGITS, Y) == 0.75
    assert per_class_accuracy(LOGITS, Y) == [2 / 3, 1.0, None]


def test_calibration_error_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(500, 4, generator=generator)
    y = torch.randint(4, (500,), generator=generator)
    probabilities = torch.softmax(logits.double(), 1)
    needed = 0.0
    for b in range(15):
        rows = [i for i in range(500) if b / 15 < float(probabilities[i].max()) <= (b + 1) / 15]
        if rows:
            right = sum(int(logits[i].argmax()) == int(y[i]) for i in rows) / len(rows)
            sure = sum(float(probabilities[i].max()) for i in rows) / len(rows)
            needed += len(rows) / 500 * abs(right - sure)
    assert calibration_error(logits, y) == pytest.approx(needed, abs=1e-12)
    assert calibration_error(torch.tensor([[100.0, 0.0]]), torch.tensor([0])) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error(torch.tensor([[100.0, 0.0]]), torch.tensor([1])) == pytest.approx(1.0)


def test_auc_by_hand():
    scores = [0.1, 0.4, 0.35, 0.8, 0.4, math.nan]
    right = [False, False, True, True, True, True]
    # pairs (positive, negative): .35>.1, .35<.4, .8>.1, .8>.4, .4>.1, .4=.4
    assert auc(scores, right) == pytest.approx((1 + 0 + 1 + 1 + 1 + 0.5) / 6)
    assert auc([1.0, 1.0], [True, True]) is None
    with pytest.raises(ShapeError, match="must agree"):
        auc([1.0], [True, False])


def test_auc_equals_scikit_learn():
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 10, 300) / 10
    kind = generator.random(300) < 0.3
    assert auc(scores, kind) == pytest.approx(roc_auc_score(kind, scores))


def test_summary():
    values = [0.9, 0.8, 0.85, 0.95]
    found = summary(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert found["mean"] == pytest.approx(0.875)
    assert found["std"] == pytest.approx(np.std(values, ddof=1))
    assert found["mean"] - found["ci95"] == pytest.approx(low)
    assert found["mean"] + found["ci95"] == pytest.approx(high)
    assert summary([0.5]) == {"mean": 0.5, "std": None, "ci95": None, "values": [0.5]}


def test_paired():
    a, b = [0.9, 0.8, 0.7], [0.8, 0.8, 0.75]
    found = paired("a", "b", "accuracy", a, b)
    needed = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found["mean_difference"] == pytest.approx(np.mean(a) - np.mean(b))
    assert found["mean_difference"] + found["ci95"] == pytest.approx(needed.high)
    assert (found["wins"], found["ties"], found["losses"]) == (1, 1, 1)
    with pytest.raises(ShapeError, match="same seeds"):
        paired("a", "b", "accuracy", a, b[:2])
