"""Scores, at their fixed points."""

import math

import pytest

from tutelage.distilled.scores import (
    augmentation_robust_score,
    hard_label_recovery,
    improvement_over_random,
    label_robust_score,
)


def test_differences():
    assert hard_label_recovery(0.9, 0.6) == pytest.approx(0.3)
    assert improvement_over_random(0.6, 0.4) == pytest.approx(0.2)


def test_scores_map_the_interval_from_minus_one_to_one_onto_zero_to_one():
    assert label_robust_score(1.0, -1.0) == pytest.approx(0.0)
    assert label_robust_score(-1.0, 1.0) == pytest.approx(1.0)
    assert augmentation_robust_score(-1.0, -1.0) == pytest.approx(0.0)
    assert augmentation_robust_score(1.0, 1.0) == pytest.approx(1.0)


def test_scores_by_hand():
    needed = (math.exp(0.5 * 0.2 - 0.5 * 0.3) - math.exp(-1)) / (math.e - math.exp(-1))
    assert label_robust_score(0.3, 0.2) == pytest.approx(needed)
    needed = (math.exp(0.5 * 0.2 + 0.5 * 0.1) - math.exp(-1)) / (math.e - math.exp(-1))
    assert augmentation_robust_score(0.2, 0.1) == pytest.approx(needed)
