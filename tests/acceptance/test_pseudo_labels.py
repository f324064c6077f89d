"""Two moons, twenty digits, and a teacher that labels reach through its student only.

The settings are those of the recipes; thresholds were set before the first run, from another implementation. By default
with fewer seeds, for continuous integration; with TUTELAGE_FULL=1 with all of them. Nothing is chosen by test accuracy.
Not claimed: that the meta-gradient helps on two moons, where consistency alone is enough; any single seed of digits.
"""

import os

import numpy as np
import pytest

from tutelage.recipes import pseudo_labels, two_moons

pytestmark = pytest.mark.slow

FULL = os.environ.get("TUTELAGE_FULL") == "1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def run(recipe, out, **options):
    return recipe.run(recipe.Config(device="cpu", threads=1, **options), out)


def values(result, arm, metric="accuracy"):
    return np.array(result["arms"][arm][metric]["values"])


def difference(result, a, b):
    return values(result, a).mean() - values(result, b).mean()


def test_two_moons_are_solved_by_consistency_with_or_without_the_meta_gradient(folder):
    """A. Measured on seeds 100 to 102: labels alone .856, offline .862; uda, distil, soft, scalar .998 and more."""
    seeds, of = (10, 0.9) if FULL else (2, 1.0)
    groups = [["supervised", "offline"], ["uda", "distil"], ["mpl-soft", "mpl-scalar"]]
    labels_alone, consistency, meta = groups if FULL else [group[:1] for group in groups]
    arms = ",".join([*labels_alone, *consistency, *meta])
    result = run(two_moons, folder / "a", seeds=seeds, first_seed=100, teachers=arms)
    solved = {arm: (values(result, arm) >= 0.95).mean() for arm in result["order"]}
    assert max(solved[arm] for arm in labels_alone) <= 1 - of + 1e-9
    assert min(solved[arm] for arm in consistency) >= of
    assert min(solved[arm] for arm in meta) >= (0.8 if FULL else of)


@pytest.mark.skipif(FULL, reason="the full form is below")
def test_twenty_digits(folder):
    """B, the quick form, seeds 0 to 3. Measured +.092. Against ``distil`` it is a tie over 8 seeds: +.002 +-.012."""
    result = run(pseudo_labels, folder / "b", seeds=4, first_seed=0, teachers="supervised,mpl-soft")
    assert difference(result, "mpl-soft", "supervised") >= 0.04


@pytest.mark.skipif(not FULL, reason="set TUTELAGE_FULL=1: four minutes and more")
def test_twenty_digits_in_full(folder):
    """B, seeds 20 to 35, measured +.045, +.111 and +.046; and the wrong sign, which ruins the teacher."""
    arms = "supervised,distil,mpl-soft,mpl-per-sample"
    result = run(pseudo_labels, folder / "b", seeds=16, first_seed=20, teachers=arms)
    assert difference(result, "mpl-soft", "distil") >= 0.01
    assert difference(result, "mpl-soft", "supervised") >= 0.05
    assert difference(result, "mpl-per-sample", "distil") >= 0.0
    turned = run(pseudo_labels, folder / "sign", seeds=4, first_seed=20, teachers="mpl-wrong-sign")
    assert values(turned, "mpl-wrong-sign", "teacher_accuracy").mean() <= 0.40


ALONE = {"supervised_weight": 0.0, "uda_weight": 0.0, "wait": 0, "finetune_steps": 0, "labels_per_class": 3}


def test_labels_train_a_teacher_through_its_student_alone(folder):
    """C. Measured on seeds 40 to 47: soft .703, per sample .516; controls .097, .109, .109 on the first four."""
    result = run(
        pseudo_labels, folder / "c", teachers="mpl-soft,mpl-per-sample", seeds=8 if FULL else 4, first_seed=40, **ALONE
    )
    assert values(result, "mpl-soft").mean() >= 0.50
    assert values(result, "mpl-per-sample").mean() >= 0.40
    few = {"seeds": 8 if FULL else 2, "first_seed": 40, **ALONE}
    controls = run(pseudo_labels, folder / "d", teachers="distil,mpl-wrong-sign", **few)
    turned = run(pseudo_labels, folder / "e", teachers="mpl-per-sample", meta_weight=-1.0, **few)
    assert values(controls, "distil").mean() <= 0.20
    assert values(controls, "mpl-wrong-sign").mean() <= 0.20
    assert values(turned, "mpl-per-sample").mean() <= 0.20


MOONS = {"supervised_weight": 0.0, "uda_weight": 0.0, "steps": 1500, "student": "tutelage.recipes.two_moons:tanh_8"}


@pytest.mark.skipif(not FULL, reason="set TUTELAGE_FULL=1: two minutes and more")
def test_so_it_does_on_two_moons(folder):
    """C on two moons, seeds 0 to 7, also with the paper's scalar credit, whose variance is no obstacle there."""
    arms = "mpl-soft,mpl-per-sample,mpl-scalar,mpl-wrong-sign"
    result = run(two_moons, folder / "f", seeds=8, teachers=arms, **MOONS)
    for arm in ("mpl-soft", "mpl-per-sample", "mpl-scalar"):
        assert values(result, arm).mean() > 0.7, arm
    assert values(result, "mpl-wrong-sign").mean() < 0.5
    turned = run(two_moons, folder / "g", seeds=8, teachers="mpl-scalar", scalar_weight=-1.0, **MOONS)
    assert values(turned, "mpl-scalar").mean() < 0.5
