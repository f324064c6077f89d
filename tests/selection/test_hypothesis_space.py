"""Hypotheses of a pool: how many of which kind, seeds, order, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.selection.spaces import cloud, drawn, fixed
from tutelage import Batch
from tutelage.errors import ConfigError, DataError
from tutelage.fingerprints import of_tensor
from tutelage.hypothesis_space import HypothesisSpace
from tutelage.version_space import OneVsAll


@pytest.mark.parametrize(("classes", "learned"), [(2, 4 + 2), (3, 6 + 3 + 3), (5, 10 + 5 + 10)])
def test_how_many_are_learned(classes, learned):
    pool = cloud(classes)
    assert len(HypothesisSpace("cluster")(pool, classes)) == learned
    filled = HypothesisSpace()(pool, classes)
    assert len(filled) == 100
    assert torch.equal(filled.weights[:learned], HypothesisSpace("cluster")(pool, classes).weights)
    assert float(filled.weights[learned:].std()) == pytest.approx(1, abs=0.15)


def test_learned_ones_separate_their_groups():
    pool = cloud(3, spread=0.3)
    known = HypothesisSpace("cluster")(pool, 3).tasks(pool.x, pool.y, 3)
    for c in range(3):
        assert known.errors[c, 6 + c] == 0  # the class against the rest
    pairs = known.errors[:, 9:]  # (0, 1), (0, 2), (1, 2): each is wrong on all rows of one task's other classes
    assert torch.allclose(pairs[2, 0], torch.ones(()).double())
    clusters = torch.stack([known.positive[:, h] for h in range(6)])
    for c in range(3):
        assert not clusters[2 * c, pool.y != c].any()
        both = clusters[2 * c : 2 * c + 2, pool.y == c].int().sum(0)
        assert float((both == 1).float().mean()) > 0.8


def test_learned_ones_minimise_the_published_objective():
    """``||w||_1 + sum_i max(0, 1 - y_i <w, x_i>)^2``: no change of a single weight lowers it."""
    pool = cloud(3, spread=2.0)
    found = HypothesisSpace("cluster")(pool, 3)
    rows = found.features(pool.x)
    for c in range(3):
        signs = (pool.y == c).double() * 2 - 1

        def objective(w, signs=signs):
            return float(w.abs().sum() + (1 - signs * (rows @ w)).clamp_min(0).square().sum())

        best = found.weights[6 + c]
        for place in range(len(best)):
            for step in (-best[place], -0.1, -0.01, 0.01, 0.1):
                other = best.clone()
                other[place] += step
                assert objective(other) >= objective(best) - 1e-3


def test_random_and_sparse_have_the_truth_beside_them():
    pool = cloud(3, spread=0.3)
    truth = HypothesisSpace("cluster")(pool, 3).weights[6:9]
    for kind in ("rand", "sparse"):
        weights = HypothesisSpace(kind, 40)(pool, 3).weights
        assert weights.shape == (40, 5)
        assert torch.equal(weights[:3], truth)
    others = HypothesisSpace("sparse", 40)(pool, 3).weights[3:]
    assert ((others != 0).sum(1) == 2).all()
    assert set(others.abs().unique().tolist()) == {0.0, 1.0}
    assert len(others.unique(dim=0)) > 20


def test_the_same_for_the_same_seed_in_another_process():
    code = (
        "from tests.selection.spaces import cloud; from tutelage.hypothesis_space import HypothesisSpace;"
        "from tutelage.fingerprints import of_tensor; import torch; torch.set_num_threads(1); torch.manual_seed(5);"
        "print(of_tensor(HypothesisSpace(seed=3)(cloud(), 3).weights))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert out == of_tensor(HypothesisSpace(seed=3)(cloud(), 3).weights)
    assert out != of_tensor(HypothesisSpace(seed=4)(cloud(), 3).weights)


def test_the_order_of_rows_does_not_matter():
    pool = cloud()
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(1))
    turned = Batch(pool.x[order], pool.y[order], pool.index[order])
    assert torch.equal(HypothesisSpace()(pool, 3).weights, HypothesisSpace()(turned, 3).weights)


def test_global_randomness_is_left_alone():
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    HypothesisSpace()(cloud(), 3)
    assert torch.equal(before, torch.get_rng_state())
    assert (numbers == np.random.get_state()[1]).all()  # noqa: NPY002


def test_it_remembers_the_last_pool():
    pool, space = cloud(), HypothesisSpace()
    first = space(pool, 3)
    assert space(pool, 3) is first
    pool.x[0] += 1
    assert space(pool, 3) is not first


def test_a_class_of_equal_rows_has_no_clusters():
    pool = cloud(3)
    pool.x[pool.y == 1] = pool.x[pool.y == 1][0]
    assert len(HypothesisSpace("cluster")(pool, 3)) == 4 + 3 + 3


def test_too_few():
    with pytest.raises(ConfigError, match="size = 11, but 12 hypotheses are learned from this pool: take a size of 12"):
        HypothesisSpace(size=11)(cloud(), 3)
    assert len(HypothesisSpace(size=12)(cloud(), 3)) == 12


def test_a_missing_class():
    pool = cloud(3)
    rows = pool.y != 1
    with pytest.raises(DataError, match="class 1 of 3 has no row in the pool of 24"):
        HypothesisSpace()(Batch(pool.x[rows], pool.y[rows], pool.index[rows]), 3)


def test_bad_options():
    with pytest.raises(ConfigError, match='unknown kind of hypotheses "random"'):
        HypothesisSpace("random")
    with pytest.raises(ConfigError, match=r"alpha = 0.0, but needs a number above 0"):
        HypothesisSpace(alpha=0.0)


def test_the_filter_keeps_rows_that_are_right_in_every_task():
    pool = cloud(3, spread=0.5)
    wrong = torch.tensor([0, 10, 20])
    pool.y[wrong] = (pool.y[wrong] + 1) % 3
    hypotheses = drawn(pool, 200)
    known = hypotheses.tasks(pool.x, pool.y, 3)
    margins = hypotheses.margins(pool.x).tolist()
    best = [min(range(200), key=lambda h, c=c: float(known.errors[c, h])) for c in range(3)]
    expected = [
        all((margins[i][best[c]] > 0) == (int(pool.y[i]) == c) for c in range(3)) for i in range(len(pool))
    ]  # fmt: skip
    keep = OneVsAll(fixed(hypotheses))(pool, 3)
    assert keep.tolist() == expected
    assert 0 < int(keep.sum()) < 36


def test_wrong_labels_are_left_out():
    pool = cloud(3, each=40, spread=0.5)
    wrong = torch.tensor([0, 10, 20])
    pool.y[wrong] = (pool.y[wrong] + 1) % 3
    keep = OneVsAll(HypothesisSpace("rand", 3))(pool, 3)
    assert not keep[wrong].any()
    assert int(keep.sum()) > 100


def test_the_filter_of_two_classes_has_one_task():
    pool = cloud(2, spread=0.3)
    pool.y[0] = 1 - pool.y[0]
    keep = OneVsAll(HypothesisSpace("rand", 2))(pool, 2)
    assert int(keep.sum()) in (23, 24)


def test_a_class_left_empty_is_named():
    pool = cloud(3)
    hypotheses = drawn(pool, 1)  # 0 alone: it takes every row for -1
    with pytest.raises(DataError, match=r"leaves no row of class 0 \(12 in the pool\): .* off \(none\)"):
        OneVsAll(fixed(hypotheses))(pool, 3)


def test_a_machine_that_does_not_end_is_a_hypothesis_without_a_warning(monkeypatch, recwarn):
    """Machines that are stopped after one pass; scikit-learn's warning of that, and no other, is kept from the user."""
    import warnings

    from sklearn.svm import LinearSVC

    whole = LinearSVC.fit

    def stopped(self, x, y):
        self.max_iter = 1
        warnings.warn("another one", UserWarning, stacklevel=1)
        return whole(self, x, y)

    monkeypatch.setattr(LinearSVC, "fit", stopped)
    generator = torch.Generator().manual_seed(0)
    pool = Batch(torch.randn(60, 8, generator=generator), torch.arange(60) % 3, torch.arange(60))
    assert HypothesisSpace("rand", 5)(pool, 3).weights.shape == (5, 9)
    assert {str(w.message) for w in recwarn} == {"another one"}
