"""Label noise: golden counts, rates and matrices, nesting, index sets, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import corrupt
from tutelage.data.noise import (
    class_flip,
    from_labels,
    matrix,
    pair_flip,
    probabilities,
    uniform,
    within_groups,
)
from tutelage.data.published import CIFAR10_ASYMMETRIC
from tutelage.errors import ConfigError, DataError

K = 10
Y = np.repeat(np.arange(K), 5000)
GROUPS = [0, 0, 1, 1, 1, 2, 2, 2, 2, 3]
ROWS = np.random.default_rng(3).dirichlet(np.ones(K), K)


@pytest.mark.parametrize(("p", "selected", "changed"), [(0.2, 10014, 9008), (0.4, 20082, 18104), (0.8, 39964, 36004)])
def test_golden_uniform(p, selected, changed):
    exclusive = uniform(Y, p, include_true=False, num_classes=K, seed=0)
    inclusive = uniform(Y, p, include_true=True, num_classes=K, seed=0)
    assert exclusive.selected.sum() == inclusive.selected.sum() == selected
    assert inclusive.mask.sum() == changed
    assert exclusive.mask.sum() == selected
    assert inclusive.expected == pytest.approx(p * 0.9)
    assert exclusive.expected == pytest.approx(p)
    assert inclusive.realised == changed / 50_000
    assert inclusive.requested == p


def test_a_draw_of_uniform_by_hand():
    from tutelage.randomness import counter, stream

    noisy = uniform(Y, 0.4, include_true=False, num_classes=K, seed=5)
    for i in (0, 17, 49_999):
        v1, v2 = (counter(stream(5, "noise"), i, j) for j in (0, 1))
        new = ((v2 >> 32) * (K - 1)) >> 32
        new += new >= Y[i]
        assert noisy.noisy[i] == (new if (v1 >> 40) / 2**24 < 0.4 else Y[i])


KINDS = {
    "inclusive": lambda y, seed: uniform(y, 0.4, include_true=True, num_classes=K, seed=seed),
    "exclusive": lambda y, seed: uniform(y, 0.4, include_true=False, num_classes=K, seed=seed),
    "pair": lambda y, seed: pair_flip(y, 0.4, num_classes=K, seed=seed),
    "asymmetric": lambda y, seed: pair_flip(y, 0.4, num_classes=K, seed=seed, mapping=CIFAR10_ASYMMETRIC),
    "groups": lambda y, seed: within_groups(y, 0.4, GROUPS, seed=seed),
    "matrix": lambda y, seed: matrix(y, ROWS, seed=seed),
    "probabilities": lambda y, seed: probabilities(y, ROWS[y], seed=seed),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_matrix_is_what_happens(kind):
    counts = np.zeros((K, K))
    for seed in range(4):
        result = KINDS[kind](Y, seed)
        np.add.at(counts, (result.clean, result.noisy), 1)
        np.testing.assert_array_equal(result.mask, result.noisy != result.clean)
    n = counts.sum(axis=1, keepdims=True)
    table = result.matrix
    np.testing.assert_allclose(table.sum(axis=1), 1)
    sd = np.sqrt(table * (1 - table) / n)
    assert (np.abs(counts / n - table) <= 5 * sd + 1e-12).all()


@pytest.mark.parametrize("targets", [1, 2])
def test_class_flip_has_fixed_targets(targets):
    result = class_flip(Y, 0.4, targets=targets, num_classes=K, seed=1)
    for a in range(K):
        new = np.unique(result.noisy[(a == Y) & result.mask])
        np.testing.assert_array_equal(new, np.flatnonzero((result.matrix[a] > 0) & (np.arange(K) != a)))
        assert len(new) == targets
    assert result.realised == pytest.approx(0.4, abs=0.01)
    assert class_flip(Y, 0.4, num_classes=K, seed=2).matrix.tolist() != result.matrix.tolist()


@pytest.mark.slow
def test_rates_over_twenty_seeds():
    for seed in range(20):
        inclusive = uniform(Y, 0.4, include_true=True, num_classes=K, seed=seed).mask.sum()
        exclusive = uniform(Y, 0.4, include_true=False, num_classes=K, seed=seed).mask.sum()
        exact = uniform(Y, 0.4, include_true=True, num_classes=K, seed=seed, count="exact").mask.sum()
        assert abs(inclusive - 18_000) <= 5 * 107
        assert abs(exclusive - 20_000) <= 5 * 110
        assert abs(exact - 18_000) <= 5 * 42


def test_exact_counts():
    result = uniform(Y, 0.4, include_true=False, num_classes=K, seed=3, count="exact")
    assert result.mask.sum() == 20_000
    by_class = uniform(Y, 0.4, include_true=False, num_classes=K, seed=3, count="per_class")
    assert np.bincount(Y[by_class.mask]).tolist() == [2000] * K


@settings(deadline=None, max_examples=30)
@given(
    p=st.floats(0, 1),
    q=st.floats(0, 1),
    seed=st.integers(0, 99),
    kind=st.sampled_from(["uniform", "symmetric", "uniform-exact", "symmetric-exact", "pair-flip"]),
)
def test_noise_is_nested_in_p(p, q, seed, kind):
    p, q = sorted((min(p, 0.999), min(q, 0.999)))
    y = np.arange(300) % 7
    less, more = (corrupt(y, kind, rate, num_classes=7, seed=seed) for rate in (p, q))
    assert (more.selected[less.selected]).all()
    np.testing.assert_array_equal(more.noisy[less.selected], less.noisy[less.selected])


@pytest.mark.parametrize("count", ["bernoulli", "exact", "per_class"])
def test_nothing_changes_outside_on(count):
    on = np.arange(0, 50_000, 3)
    result = uniform(Y, 0.5, include_true=False, num_classes=K, seed=0, on=on, count=count)
    outside = np.setdiff1d(np.arange(50_000), on)
    assert not result.mask[outside].any()
    assert not result.selected[outside].any()
    assert result.realised == result.mask[on].mean()


def test_splitting_before_or_after_gives_the_same_labels():
    on = np.arange(100, 400)
    whole = uniform(Y, 0.5, include_true=True, num_classes=K, seed=0)
    part = uniform(Y, 0.5, include_true=True, num_classes=K, seed=0, on=on)
    np.testing.assert_array_equal(part.noisy[on], whole.noisy[on])


def test_a_class_alone_in_its_group_stays_clean():
    result = within_groups(Y, 1.0, GROUPS, seed=0)
    assert not result.mask[Y == 9].any()
    assert result.mask[Y != 9].all()
    groups = np.array(GROUPS)
    np.testing.assert_array_equal(groups[result.noisy], groups[Y])


def test_given_labels_are_counted():
    y = np.array([0, 0, 1, 1])
    result = from_labels(y, np.array([0, 1, 1, 1]), num_classes=3)
    assert result.matrix.tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]
    assert result.realised == result.expected == 0.25
    assert result.seed is None


def test_a_last_class_of_probability_zero_is_never_drawn():
    table = np.tile([0.3, 0.7 - 5e-7, 0.0], (3, 1))
    assert matrix(np.zeros(50_000, dtype=np.int64), table, seed=0).noisy.max() == 1


@pytest.mark.parametrize(
    ("kind", "rate"),
    [
        ("none", 0.0),
        ("uniform", 0.36),
        ("uniform-exact", 0.36),
        ("symmetric", 0.4),
        ("symmetric-exact", 0.4),
        ("pair-flip", 0.4),
        ("class-flip", 0.4),
        ("class-flip-2", 0.4),
    ],
)
def test_corrupt_by_name(kind, rate):
    result = corrupt(Y, kind, 0.4, num_classes=K, seed=0)
    assert result.expected == pytest.approx(rate)
    assert result.realised == pytest.approx(rate, abs=0.01)
    assert result.clean is Y
    assert (np.repeat(np.arange(K), 5000) == Y).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: corrupt(Y, "unifrom", 0.1, num_classes=K, seed=0), ConfigError, 'Did you mean "uniform"'),
        (
            lambda: corrupt(Y, "uniform", 1.1, num_classes=K, seed=0),
            ConfigError,
            r"noise 1.1 is outside \[0, 1\].",
        ),
        (lambda: corrupt(Y, "uniform", -0.1, num_classes=K, seed=0), ConfigError, r"noise -0.1 is outside"),
        (
            lambda: corrupt(Y, "uniform", float("nan"), num_classes=K, seed=0),
            ConfigError,
            r"noise nan is outside",
        ),
        (
            lambda: corrupt(Y, "uniform", 0.1, num_classes=K, seed=0, mapping={0: 1}),
            ConfigError,
            "takes no mapping",
        ),
        (
            lambda: uniform(Y, 1.5, include_true=True, num_classes=K, seed=0),
            ConfigError,
            r"uniform: p is 1.5; it must lie in \[0, 1\].",
        ),
        (
            lambda: uniform(Y, 0.5, include_true=True, num_classes=K, seed=0, count="some"),
            ConfigError,
            'uniform: count is "some"',
        ),
        (
            lambda: uniform(Y, 0.5, include_true=False, num_classes=1, seed=0),
            ConfigError,
            "needs at least 2 classes",
        ),
        (
            lambda: uniform(Y, 0.5, include_true=True, num_classes=9, seed=0),
            DataError,
            "uniform: label 9 at index 45000; K is 9.",
        ),
        (
            lambda: uniform(Y, 0.5, include_true=True, num_classes=K, seed=0, on=np.array([50_000])),
            DataError,
            "on= reaches from 50000 to 50000; valid are 0..49999.",
        ),
        (
            lambda: uniform(Y, 0.5, include_true=True, num_classes=K, seed=0, on=np.array([], dtype=int)),
            DataError,
            "on= is empty",
        ),
        (
            lambda: matrix(Y, np.eye(10) * 0.97, seed=0),
            DataError,
            "matrix: row 0 sums to 0.97, needs 1 within 1e-6.",
        ),
        (
            lambda: matrix(Y, [[2.0, -1.0], [0, 1]], seed=0),
            DataError,
            "matrix: row 0 has a negative probability.",
        ),
        (
            lambda: matrix(Y, np.ones((2, 3)), seed=0),
            DataError,
            r"matrix: shape \(2, 3\); it needs \(K, K\).",
        ),
        (lambda: probabilities(Y, np.eye(10), seed=0), DataError, r"it needs \(50000, K\)."),
        (lambda: from_labels(Y, Y[:3], num_classes=K), DataError, "3 noisy labels for 50000 clean ones"),
        (
            lambda: pair_flip(Y, 0.5, num_classes=K, seed=0, mapping={0: 10}),
            ConfigError,
            "mapping 0 -> 10 leaves the classes 0..9.",
        ),
        (lambda: class_flip(Y, 0.5, num_classes=K, seed=0, targets=10), ConfigError, "10 targets among 10"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_convention_must_be_said():
    with pytest.raises(TypeError, match="include_true"):
        uniform(Y, 0.5, num_classes=K, seed=0)


@pytest.mark.parametrize("kind", ["pair-flip", "class-flip", "class-flip-2", "symmetric", "uniform"])
def test_exact_kinds_select_the_exact_count(kind):
    y = np.arange(1131) % 10
    found = corrupt(y, f"{kind}-exact", 0.4, num_classes=10, seed=3)
    assert found.selected.sum() == 452
    assert (found.mask.sum() == 452) == (kind != "uniform")
    assert "exact" in found.convention
    every = corrupt(y, f"{kind}-exact", 1.0, num_classes=10, seed=3)
    assert every.selected.all()
    if kind == "pair-flip":
        np.testing.assert_array_equal(every.noisy, (y + 1) % 10)
