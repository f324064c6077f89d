"""Data distillation on digits: what rows without labels are worth when a network labels them by seven views.

The setting is the recipe's own; thresholds were set before the first run, from another implementation. Seeds are fresh.
By default with fewer seeds, for continuous integration; with TUTELAGE_FULL=1 with all of them.
Not claimed: that seven views beat one; that classes as labels beat probabilities, on so few seeds.
"""

import os

import numpy as np
import pytest

from tutelage.recipes import data_distillation

pytestmark = pytest.mark.slow

FULL = os.environ.get("TUTELAGE_FULL") == "1"


def values(result, arm, metric="accuracy"):
    return 100 * np.array(result["arms"][arm][metric]["values"])


def test_rows_without_labels_are_worth_half_a_point(tmp_path):
    """A8, 100 labels. Measured on seeds 0 to 9: supervised 91.99, by seven views 92.98 (+.99, t 4.6, 9 of 10 seeds);
    of the labels 92.42 % are right, by one view 91.84. Elsewhere 92.11, 93.35 (+1.24), 92.36 and 91.83."""
    arms = "supervised,views-hard" + (",one-view-hard,views-soft,true-labels" if FULL else "")
    seeds = 10 if FULL else 5
    options = data_distillation.Config(arms=arms, seeds=seeds, first_seed=300, device="cpu", threads=1)
    result = data_distillation.run(options, tmp_path / "run")
    difference = values(result, "views-hard") - values(result, "supervised")
    assert difference.mean() >= 0.5
    assert (difference > 0).mean() >= 0.6
    assert 90 < values(result, "views-hard", "label_accuracy").mean() < 95
    assert 90 < values(result, "supervised").mean() < 95
    if FULL:
        assert values(result, "true-labels").mean() > values(result, "views-hard").mean() + 1
