"""MentorNet's table on digits at 20, 40 and 80 % noise, five seeds; nothing is chosen on the test set.

All thresholds were set before the first run. The measured values beside them come from other splits and other seeds of
the generator. Not claimed, because it does not hold: any order at 80 % noise, or of self-paced against the mixture.
By default 40 % noise only, for continuous integration; with TUTELAGE_FULL=1 all of it, which takes some 20 minutes.
"""

import os
from functools import cache

import numpy as np
import pytest

from tutelage.recipes.mentornet import Config, run

pytestmark = pytest.mark.slow

FULL = os.environ.get("TUTELAGE_FULL") == "1"
ARMS = "uniform,self-paced,predefined,mentornet-dd,oracle"
if FULL:
    ARMS += ",mentornet-pd,trusted-only,early-stopping,mixture-mask"
full = pytest.mark.skipif(not FULL, reason="takes a minute and more: set TUTELAGE_FULL=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def table(folder):
    """By rate of noise, each made once."""

    @cache
    def at(noise):
        return run(Config(noise=str(noise), teachers=ARMS, threads=1), folder / f"noise-{noise}")

    return at


@pytest.fixture(scope="module")
def few_trusted(folder):
    arms = "uniform,mentornet-dd,trusted-only,early-stopping"
    return run(Config(trusted=0.02, teachers=arms, threads=1), folder / "few")


def values(result, arm, metric="accuracy"):
    return np.array(result["arms"][arm][metric]["values"])


def test_plain_training_memorises_the_noise(table):
    """A1; measured .767, and .187 below its best epoch."""
    plain = values(table(0.4), "uniform")
    assert 0.70 <= plain.mean() <= 0.82
    assert values(table(0.4), "uniform", "best_epoch_accuracy").mean() - plain.mean() >= 0.10


def test_a_learned_mentor_at_40_percent(table):
    """A2; measured .962, .959, .143."""
    learned = values(table(0.4), "mentornet-dd")
    assert learned.mean() >= 0.945
    assert learned.min() >= 0.925
    assert (learned - values(table(0.4), "uniform")).min() >= 0.10


def test_a_learned_mentor_beats_the_written_curricula_at_40_percent(table):
    """A3; measured .011, .035, 5 of 5."""
    learned, paced = values(table(0.4), "mentornet-dd"), values(table(0.4), "self-paced")
    assert learned.mean() - paced.mean() >= 0.003
    assert learned.mean() - values(table(0.4), "predefined").mean() >= 0.003
    assert (learned > paced).sum() >= 4


def test_written_curricula_help_at_40_percent(table):
    """A4; measured .184, .160."""
    plain = values(table(0.4), "uniform").mean()
    assert values(table(0.4), "self-paced").mean() - plain >= 0.08
    assert values(table(0.4), "predefined").mean() - plain >= 0.06


@full
def test_a_learned_mentor_at_20_percent(table):
    """A5; measured .972, .078, .119, .070."""
    learned = values(table(0.2), "mentornet-dd")
    assert learned.mean() >= 0.955
    assert learned.mean() - values(table(0.2), "self-paced").mean() >= 0.03
    assert learned.mean() - values(table(0.2), "predefined").mean() >= 0.03
    assert (learned - values(table(0.2), "uniform")).min() >= 0.03


@full
def test_a_learned_mentor_forgives_a_small_percentile(table, folder):
    """A6; measured ranges over the percentiles .003 and .063."""
    found = {arm: [values(table(0.2), arm).mean()] for arm in ("mentornet-dd", "self-paced")}
    for p in ("0.6", "0.7"):
        config = Config(noise="0.2", percentile=p, teachers="uniform,self-paced,mentornet-dd", threads=1)
        result = run(config, folder / f"p{p}")
        for arm, means in found.items():
            means.append(values(result, arm).mean())
    assert np.ptp(found["mentornet-dd"]) <= 0.015
    assert np.ptp(found["self-paced"]) >= 0.03


@full
def test_25_trusted_labels(few_trusted):
    """A7; measured .955, .26 above training on these labels alone."""
    learned = values(few_trusted, "mentornet-dd")
    assert learned.mean() >= 0.92
    assert learned.mean() - values(few_trusted, "trusted-only").mean() >= 0.15


@full
def test_a_mentor_learned_at_20_percent_noise_used_at_40(table, folder):
    """A8; measured .960."""
    table(0.2)
    config = Config(teachers="mentornet-dd", mentor=str(folder / "noise-0.2"), threads=1)
    assert values(run(config, folder / "transfer"), "mentornet-dd").mean() >= 0.94


@full
def test_a_mentor_learned_during_the_run(folder):
    """A8; measured .963, with half the cost."""
    config = Config(teachers="mentornet-dd", update_at="21,75", threads=1)
    assert values(run(config, folder / "updates"), "mentornet-dd").mean() >= 0.94


def test_the_oracle_and_the_weights_at_40_percent(table, folder):
    """A9; measured .972, .72, .993, .974."""
    assert values(table(0.4), "oracle").mean() >= 0.955
    right = values(table(0.4), "mentornet-dd", "weight_right")
    wrong = values(table(0.4), "mentornet-dd", "weight_wrong")
    assert (right - wrong).mean() >= 0.45
    suspects = table(0.4)["suspects"]["mentornet-dd"]
    assert suspects["auc"]["mean"] >= 0.97
    assert suspects["precision_at_count"]["mean"] >= 0.94


@full
def test_80_percent(table):
    """A10; measured .255. The honest rows stand beside it, and win."""
    gain = values(table(0.8), "mentornet-dd").mean() - values(table(0.8), "uniform").mean()
    assert gain >= 0.12
    for arm in ("trusted-only", "early-stopping", "mixture-mask"):
        assert len(values(table(0.8), arm)) == 5


@full
def test_the_learned_network_of_the_written_mixture_helps(table):
    """It is softer than the mixture where losses are tiny, and better at a percentile that is too small."""
    for noise in (0.2, 0.4):
        found = table(noise)
        assert values(found, "mentornet-pd").mean() >= values(found, "predefined").mean() - 0.01


@full
def test_a_mentor_learned_on_digits_helps_on_mnist(table, folder, real_data):
    """7,000 images, 40 % noise: the interval of the paired difference to plain training lies above 0."""
    table(0.4)
    config = Config(
        data=str(real_data / "mnist-test.parquet"),
        classes=10,
        mentor=str(folder / "noise-0.4"),
        teachers="uniform,mentornet-dd,trusted-only,early-stopping",
        epochs=20,
        threads=1,
    )
    result = run(config, folder / "mnist")
    (against_plain,) = [c for c in result["comparisons"] if (c["a"], c["b"]) == ("mentornet-dd", "uniform")]
    assert against_plain["mean_difference"] - against_plain["ci95"] > 0
    assert (result["data"]["train_rows"], result["data"]["test_rows"]) == (7000, 3000)
    assert len(result["arms"]["trusted-only"]["accuracy"]["values"]) == 5
