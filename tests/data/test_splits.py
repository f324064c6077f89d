"""Splits: golden sizes, disjointness, proportionality, overlaps on request, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Split, load, split
from tutelage.data.splits import ROLES
from tutelage.errors import ConfigError, DataError

Y = np.repeat(np.arange(10), 5000)


def test_golden_digits():
    y = load("digits").train.y
    roles = split(y, {"train": "rest", "validation": 126, "test": 540}, seed=0)
    assert np.bincount(y[roles.test]).tolist() == [54, 55, 53, 55, 54, 55, 54, 54, 52, 54]
    assert np.bincount(y[roles.validation]).tolist() == [12, 13, 12, 13, 13, 13, 13, 12, 12, 13]
    assert len(roles.train) == 1131


@settings(deadline=None, max_examples=40)
@given(
    labels=st.lists(st.integers(0, 4), min_size=30, max_size=120),
    sizes=st.dictionaries(st.sampled_from(ROLES), st.integers(1, 7), min_size=1, max_size=4),
    seed=st.integers(0, 50),
    stratified=st.booleans(),
)
def test_roles_are_disjoint_complete_and_proportional(labels, sizes, seed, stratified):
    y = np.array(labels)
    rest = next(r for r in ROLES if r not in sizes)
    roles = split(y, {**sizes, rest: "rest"}, seed=seed, stratified=stratified)
    everything = np.concatenate([roles[r] for r in ROLES])
    assert sorted(everything) == list(range(len(y)))
    assert all(len(roles[r]) == m for r, m in sizes.items())
    if stratified:
        left = np.bincount(y, minlength=5)
        for role in ("test", "validation", "trusted", "unlabelled", "train"):
            got = np.bincount(y[roles[role]], minlength=5)
            assert (np.abs(got - left * got.sum() / max(left.sum(), 1)) < 1).all()
            left = left - got


def test_a_split_depends_on_the_seed_only():
    sizes = {"train": "rest", "validation": 0.1}
    a, b = (split(Y, sizes, seed=1) for _ in range(2))
    np.testing.assert_array_equal(a.validation, b.validation)
    assert len(a.validation) == 5000
    assert split(Y, sizes, seed=2).validation.tolist() != a.validation.tolist()


def test_overlap_only_on_request_and_on_record():
    sizes = {"train": "rest", "trusted": 100, "unlabelled": 500}
    roles = split(Y, sizes, seed=0, train_includes=("trusted",), unlabelled_includes=("trusted",))
    assert np.isin(roles.trusted, roles.train).all()
    assert len(roles.train) == 49_500
    assert len(roles.unlabelled) == 600
    assert roles.overlaps == (("train", "trusted"), ("unlabelled", "trusted"))


def test_explicit_sets_must_be_disjoint():
    with pytest.raises(DataError, match=r"^validation and test share 3 indices, e.g. 17.$"):
        Split(validation=np.array([1, 17, 18, 19]), test=np.array([17, 18, 19]))
    with pytest.raises(DataError, match="train names index 4 twice"):
        Split(train=np.array([4, 4]))


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ({"train": 40_000, "test": 20_000}, DataError, r"^split: 40,000 \+ 20,000 > 50,000.$"),
        ({"train": "rest", "test": 50_000}, DataError, "split: no row is left for train; 50,000 rows"),
        ({"train": "rest", "test": 1e-6}, DataError, "split: no row is left for test"),
        ({"train": "rest", "test": "rest"}, ConfigError, '"rest" is given more than once'),
        ({"train": "all"}, ConfigError, "the size of train is all"),
        ({"train": -1}, ConfigError, "the size of train is -1"),
        ({"train": 1.5}, ConfigError, "the size of train is 1.5"),
        ({"train": float("nan")}, ConfigError, "the size of train is nan"),
        ({"trian": 5}, ConfigError, 'unknown role "trian". Did you mean "train"'),
    ],
)
def test_bad_sizes(sizes, error, message):
    with pytest.raises(error, match=message):
        split(Y, sizes, seed=0)


def test_bad_overlaps():
    with pytest.raises(ConfigError, match="train cannot include trusted"):
        split(Y, {"train": "rest"}, seed=0, train_includes=("trusted",))
    with pytest.raises(ConfigError, match='unknown role "tets"'):
        split(Y, {"train": "rest"}, seed=0)["tets"]
