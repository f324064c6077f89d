"""Real examples in place of distilled ones, against naive forms."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from tutelage import real_sets
from tutelage.errors import ConfigError, DataError, NotFiniteError
from tutelage.randomness import counter, permutation, stream
from tutelage.real_sets import CHOICES, RATES, Real, best_rate, check_classes, farthest_first, herded, nearest


@pytest.fixture
def real():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(90) % 3
    return Real(torch.randn(90, 2, 3, generator=generator) + y.view(-1, 1, 1), y, 3)


@pytest.mark.parametrize("name", CHOICES)
def test_sets_are_batches_in_the_order_of_labels(real, name):
    found = CHOICES[name](real, 2, 2, 0)
    assert found.shape == (2, 6, 2, 3)
    assert found.dtype == real.x.dtype
    assert torch.equal(found, CHOICES[name](real, 2, 2, 0))
    if name not in ("class-means", "k-means"):
        for row, label in zip(found.transpose(0, 1).flatten(0, 1), torch.arange(3).repeat_interleave(4)):
            same = (real.x == row).flatten(1).all(1)
            assert real.y[same].tolist() == [label]


@pytest.mark.parametrize("name", ["random", "k-center", "herding"])
def test_no_example_comes_twice(real, name):
    found = CHOICES[name](real, 5, 2, 3).flatten(0, 1).flatten(1)
    assert len(torch.unique(found, dim=0)) == len(found)


def test_random_draws_depend_on_the_seed(real):
    assert not torch.equal(real_sets.random(real, 1, 2, 0), real_sets.random(real, 1, 2, 1))
    first, second = real_sets.draws(real_sets.random, real, 1, 2, 0, 2)
    assert not torch.equal(first, second)


def test_class_means_are_exact_and_k_means_of_one_is_the_mean(real):
    means = torch.stack([real.x[real.y == c].double().mean(0) for c in range(3)]).float()
    assert torch.equal(real_sets.class_means(real, 1, 1, 0)[0], means)
    assert torch.equal(real_sets.kmeans(real, 1, 1, 0)[0], means)


def test_k_means_leaves_each_centroid_at_the_mean_of_its_rows(real):
    centers = real_sets.kmeans(real, 2, 2, 0).flatten(2).double()
    for c in range(3):
        rows = real.x[real.y == c].flatten(1).double()
        own = centers[:, 2 * c : 2 * c + 2].reshape(4, -1)
        nearest_one = torch.cdist(rows, own).argmin(1)
        for k in range(4):
            assert torch.allclose(rows[nearest_one == k].mean(0), own[k], atol=1e-5)


def test_farthest_first_equals_its_naive_form(real):
    flat = real.x.flatten(1).double()
    chosen = [int((flat - flat.mean(0)).norm(dim=1).argmin())]
    while len(chosen) < 6:
        gaps = [min(float((row - flat[c]).norm()) for c in chosen) for row in flat]
        chosen.append(int(np.argmax(gaps)))
    assert farthest_first(real.x, 6).tolist() == chosen


def test_herding_equals_its_naive_form(real):
    flat = real.x.flatten(1).double()
    chosen: list[int] = []
    while len(chosen) < 6:
        free = [i for i in range(len(flat)) if i not in chosen]
        gaps = [float((flat[[*chosen, i]].mean(0) - flat.mean(0)).norm()) for i in free]
        chosen.append(free[int(np.argmin(gaps))])
    assert herded(real.x, 6).tolist() == chosen


def test_a_class_without_examples_is_named(real):
    empty = Real(real.x, real.y.clamp_max(1), 3)
    with pytest.raises(DataError, match="class 2 has no real example, but needs at least 1"):
        real_sets.class_means(empty, 1, 1, 0)
    with pytest.raises(DataError, match="class 0 has 30 real examples, but needs at least 31"):
        real_sets.random(real, 31, 1, 0)


def test_the_best_rate_is_the_lowest_of_equals_and_never_one_that_diverges():
    assert best_rate(lambda rate: float(rate >= 0.1)) == (0.1, 1.0)
    assert best_rate(lambda rate: float("nan") if rate > 0.01 else rate) == (0.01, 0.01)
    assert len(RATES) == 8
    with pytest.raises(ConfigError, match="no step size to try"):
        best_rate(lambda rate: 0.0, ())
    for bad in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(NotFiniteError, match=r"no step size of 0\.1, 1\.0 gives a finite score: try a lower one"):
            best_rate(lambda rate, bad=bad: bad, (0.1, 1.0))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_nearest_neighbours_equal_brute_force(real, k):
    references, labels = real.x[:20], real.y[:20]
    found = nearest(real.x[20:], references, labels, k=k, rows=7)
    for row, answer in zip(real.x[20:], found):
        gaps = sorted((float((row - r).double().norm()), int(label)) for r, label in zip(references, labels))[:k]
        near = [label for _, label in gaps]
        most = max(near.count(label) for label in near)
        assert int(answer) == next(label for label in near if near.count(label) == most)


def test_more_neighbours_than_references_are_refused(real):
    with pytest.raises(ConfigError, match=r"k is 4, but there are 3 references; it must be in 1\.\.3"):
        nearest(real.x, real.x[:3], real.y[:3], k=4)


@pytest.mark.parametrize("name", CHOICES)
def test_no_images_at_all_are_refused(real, name):
    for batches, each in ((0, 1), (1, 0), (-1, -1)):
        with pytest.raises(ConfigError, match=f"{batches} batches of {each} images a class are asked for; both must"):
            CHOICES[name](real, batches, each, 0)


@pytest.mark.parametrize("name", CHOICES)
def test_rows_of_no_class_are_named(real, name):
    y = real.y.clone()
    y[7] = 3
    with pytest.raises(
        DataError, match=r"row 7 of the real examples has class 3, but the classes are 0\.\.2: leave it"
    ):
        CHOICES[name](Real(real.x, y, 3), 1, 1, 0)
    y[5] = -1
    with pytest.raises(DataError, match=r"row 5 of the real examples has class -1"):
        CHOICES[name](Real(real.x, y, 3), 1, 1, 0)


@pytest.mark.filterwarnings("error")
def test_centroids_of_rows_that_come_twice_are_these_rows_in_turn():
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    found = real_sets.kmeans(Real(x, torch.zeros(5, dtype=torch.int64), 1), 1, 4, 0)[0]
    assert sorted(found.tolist()) == [[1, 0], [1, 0], [2, 0], [2, 0]]
    found = real_sets.kmeans(Real(x, torch.zeros(5, dtype=torch.int64), 1), 1, 3, 0)[0]
    assert sorted(found.tolist()) == [[1, 0], [1, 0], [2, 0]]
    found = real_sets.kmeans(Real(x, torch.zeros(5, dtype=torch.int64), 1), 1, 2, 0)[0]
    assert sorted(found.tolist()) == [[1, 0], [2, 0]]


def test_classes_of_both_sides_are_the_same():
    y = torch.tensor([0, 2, 2])
    check_classes(y, torch.tensor([[2, 0]]))
    with pytest.raises(DataError, match="class 1 has no real example, but synthetic ones: add some"):
        check_classes(y, torch.arange(3))
    with pytest.raises(DataError, match="class 2 has no synthetic example, but real ones: give it one"):
        check_classes(y, torch.tensor([0]))
    with pytest.raises(DataError, match="class 4 has no real example"):
        check_classes(y, torch.tensor([0, 2, 4]))


def test_each_class_has_an_order_of_its_own(real):
    found = real_sets.random(real, 2, 3, 5).view(2, 3, 3, 2, 3)
    key = stream(5, "random real examples")
    for c in range(3):
        rows = torch.nonzero(real.y == c).flatten()[torch.from_numpy(permutation(counter(key, c), 30)[:6])]
        assert torch.equal(found[:, c].flatten(0, 1), real.x[rows])


@pytest.mark.parametrize("rows", [4, 30])
def test_centroids_are_those_of_k_means_in_a_drawn_order(real, rows):
    some = Real(real.x[: 3 * rows], real.y[: 3 * rows], 3)
    found = real_sets.kmeans(some, 2, 2, 5).view(2, 3, 2, 2, 3)
    key = stream(5, "k-means")
    for c in range(3):
        flat = some.x[some.y == c].flatten(1).double().numpy()
        centers = KMeans(4, n_init=4, random_state=counter(key, c) % 2**32).fit(flat).cluster_centers_
        needed = torch.from_numpy(centers[permutation(counter(key, c, 1), 4)]).float().view(4, 2, 3)
        assert torch.equal(found[:, c].flatten(0, 1), needed)
