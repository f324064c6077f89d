"""Twenty seeds' worth of claims on digits, with five: what a teacher's answers are worth to a student of 16 units.

The setting is the recipe's default; thresholds were set before the first run, from another implementation, and hold on
any five of its twenty seeds. Fresh seeds, never tuned.
With TUTELAGE_FULL=1 the cache is compared on all five. Not claimed: that logit matching beats knowledge distillation,
that noise helps, that temperature 1 beats the labels on every seed; and most of the difference to the labels is what
the teacher, trained on 1,200 rows, knows beyond the student's 100.
"""

import os

import numpy as np
import pytest

from tutelage.recipes import distillation

pytestmark = pytest.mark.slow

FULL = os.environ.get("TUTELAGE_FULL") == "1"


@pytest.fixture(scope="module")
def accuracies(tmp_path_factory):
    arms = "scratch,label-smoothing,kd-t1,kd,logits,noisy"
    config = distillation.Config(arms=arms, first_seed=300, device="cpu", threads=1)
    result = distillation.run(config, tmp_path_factory.mktemp("runs") / "run")
    found = {name: 100 * np.array(arm["accuracy"]["values"]) for name, arm in result["arms"].items()}
    return found | {"teacher": 100 * np.array(result["stages"]["teacher"]["accuracy"]["values"])}


def test_a1_the_teacher(accuracies):
    assert accuracies["teacher"].mean() >= 97.0


def test_a2_distillation_and_labels_alone(accuracies):
    assert accuracies["kd"].mean() >= 93.0
    assert 85.0 <= accuracies["scratch"].mean() <= 90.0


def test_a3_distillation_is_worth_four_points(accuracies):
    difference = accuracies["kd"] - accuracies["scratch"]
    assert difference.mean() >= 4.0
    assert difference.min() > 0


def test_a4_so_is_logit_matching(accuracies):
    assert (accuracies["logits"] - accuracies["scratch"]).mean() >= 3.5


def test_a5_a_temperature_of_4_is_better_than_1(accuracies):
    assert (accuracies["kd"] - accuracies["kd-t1"]).mean() >= 2.5


def test_a6_logits_noise_and_temperature_4_are_about_the_same(accuracies):
    kd, logits, noisy = (accuracies[name].mean() for name in ("kd", "logits", "noisy"))
    assert abs(logits - kd) <= 1.5
    assert abs(noisy - logits) <= 1.0


def test_smoother_labels_are_not_the_reason(accuracies):
    """Measured over 20 seeds +7.4 points, t 18."""
    assert (accuracies["kd"] - accuracies["label-smoothing"]).mean() >= 4.0


@pytest.mark.parametrize("dtype", ["float32", "float16"] if FULL else ["float16"])
def test_a7_a_cache_changes_no_accuracy(tmp_path, monkeypatch, dtype):
    """Measured: 0.00 on all of five seeds."""
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    options = {"arms": "kd", "first_seed": 300, "seeds": 5 if FULL else 1, "device": "cpu", "threads": 1}
    kept = {"cache": True, "cache_mode": "force", "cache_dtype": dtype}
    live, cached = (
        distillation.run(distillation.Config(**options, **more), tmp_path / name)["arms"]["kd"]["accuracy"]["values"]
        for name, more in (("live", {}), ("cached", kept))
    )
    assert np.abs(np.array(live) - np.array(cached)).max() <= 0.005
