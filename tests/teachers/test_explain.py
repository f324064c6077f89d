"""EXPLAIN: STRICT's score times E and D, which never reach the posterior."""

import math

import pytest
import torch

from tests.selection.spaces import cloud, drawn, fixed, loop_greedy, shown_by, signs, student
from tutelage.errors import ConfigError, DataError
from tutelage.pools import everything
from tutelage.teachers.select.explain import Explain, distances
from tutelage.teachers.select.strict import Strict


def loop_distances(rows, labels, kept):
    """Mean squared distance to kept rows of the class."""
    found = []
    for i in range(len(rows)):
        own = [j for j in range(len(rows)) if kept[j] and labels[j] == labels[i]]
        found.append(sum(float((rows[i] - rows[j]).square().sum()) for j in own) / len(own))
    return found


def test_distances_as_a_loop():
    pool = cloud()
    kept = torch.arange(36) % 5 != 0
    rows = pool.x.double()
    expected = loop_distances(rows, pool.y.tolist(), kept.tolist())
    assert distances(rows, pool.y, kept, 3).tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_as_a_triple_loop(classes):
    pool = cloud(classes)
    hypotheses = drawn(pool)
    given = torch.rand(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    dist = torch.tensor(
        loop_distances(hypotheses.features(pool.x), pool.y.tolist(), [True] * len(pool)), dtype=torch.float64
    )
    d = (2.0 * (dist - dist.mean()) / dist.std(correction=0)).sigmoid()
    factor = ((3.0 * given[pool.index]).sigmoid() * d).tolist()
    rows, left = loop_greedy(hypotheses.margins(pool.x).tolist(), signs(pool.y, classes), 0.5, 10, factor)
    teacher = Explain(everything, difficulty=given, sigma_e=3.0, sigma_d=2.0, space=fixed(hypotheses))
    shown, scores, _ = shown_by(teacher, pool, student(classes), 10)
    assert shown == rows
    assert [math.exp(-score) for score in scores] == pytest.approx(left, rel=1e-12)


def test_with_e_and_d_the_same_for_all_it_is_strict():
    pool = cloud(5)
    strict, scores, lessons = shown_by(Strict(), pool, student(5), 10)
    rows, own, own_lessons = shown_by(Explain(sigma_d=0.0), pool, student(5), 10)
    assert rows == strict
    assert (torch.tensor(own) - torch.tensor(scores)).tolist() == pytest.approx([torch.tensor(2.0).log().item()] * 10)
    even = shown_by(Explain(difficulty=torch.full((200,), 0.3), sigma_d=0.0), pool, student(5), 10)[0]
    assert even == strict
    for one, other in zip(lessons, own_lessons):
        assert one.notes["expected_error"] == other.notes["expected_error"]


def test_raw_distances_of_many_features_are_without_effect_and_standardised_ones_are_not():
    pool, someone = cloud(width=64, each=20), student(width=64)
    hypotheses = drawn(pool, 30)
    strict, scores, _ = shown_by(Strict(everything, space=fixed(hypotheses)), pool, someone, 10)
    raw = Explain(everything, dist_scale="raw", space=fixed(hypotheses))
    assert float(raw.log_d(pool, 3).exp().min()) > 1 - 1e-12
    rows, own, _ = shown_by(raw, pool, someone, 10)
    assert rows == strict
    assert own == pytest.approx(scores, rel=1e-12)
    scaled = Explain(everything, space=fixed(hypotheses))
    d = scaled.log_d(pool, 3).exp()
    assert float(d.max() - d.min()) > 0.5
    assert shown_by(scaled, pool, someone, 10)[0] != strict


def test_easy_explanations_and_dense_regions_are_preferred():
    pool = cloud()
    hypotheses = drawn(pool)
    easy = torch.arange(36) % 3 == 0
    given = torch.ones(200)
    given[pool.index[easy]] = 0.0
    teacher = Explain(everything, difficulty=given, sigma_e=50.0, sigma_d=0.0, space=fixed(hypotheses))
    score = teacher.score(teacher.looked(pool, student()), torch.ones(36, dtype=torch.bool))
    plain = Strict(everything, space=fixed(hypotheses))
    gained = score - plain.score(plain.looked(pool, student()), torch.ones(36, dtype=torch.bool))
    assert (gained[easy] > gained[~easy].max()).all()
    dense = Explain(everything, space=fixed(hypotheses)).log_d(pool, 3)
    rows = hypotheses.features(pool.x)
    nearest = distances(rows, pool.y, torch.ones(36, dtype=torch.bool), 3).argmin()
    assert dense.argmin() == nearest


def test_they_never_reach_the_posterior():
    """What was shown counts alone: two teachers that showed the same rows are of one mind about the error."""
    pool = cloud()
    hypotheses = drawn(pool)
    given = torch.rand(200, generator=torch.Generator().manual_seed(0))
    explain, strict = (
        Explain(everything, difficulty=given, space=fixed(hypotheses)), Strict(everything, space=fixed(hypotheses))
    )  # fmt: skip
    rows, _, lessons = shown_by(explain, pool, student(), 6)
    strict.shown = pool.index[rows[:5]].tolist()
    look = strict.looked(pool, student()).showing(rows[5])
    noted = strict.known.noted(look, torch.tensor(rows[5:]))
    for name in ("expected_error", "posterior_entropy", "difficulty"):
        assert lessons[-1].notes[name] == noted[name]


def test_distances_are_standardised_by_kept_rows():
    pool = cloud()
    kept = torch.arange(36) % 3 != 0
    hypotheses = drawn(pool)
    dist = distances(hypotheses.features(pool.x), pool.y, kept, 3)
    needed = ((dist - dist[kept].mean()) / dist[kept].std(correction=0)).sigmoid().log()
    torch.testing.assert_close(Explain(lambda p, c: kept, space=fixed(hypotheses)).log_d(pool, 3), needed)


def test_rows_that_are_all_alike_have_one_density():
    pool = cloud()
    pool.x[:] = torch.nn.functional.one_hot(pool.y, 4).float()
    found = Explain(everything, space=fixed(drawn(pool))).log_d(pool, 3)
    assert found.tolist() == pytest.approx([-0.693147] * 36, abs=1e-4)


def test_refused():
    with pytest.raises(ConfigError, match=r'unknown scale of distances "log". Known: zscore, raw'):
        Explain(dist_scale="log")
    with pytest.raises(ConfigError, match=r"sigma_e = -1 and .* both need to be 0 or more"):
        Explain(sigma_e=-1)
    pool = cloud()
    highest = int(pool.index.max())
    with pytest.raises(DataError, match=f"the row with index {highest} has no finite difficulty; {highest} were given"):
        Explain(everything, difficulty=torch.zeros(highest)).teach(pool, student())
    given = torch.zeros(200)
    given[highest] = float("nan")
    with pytest.raises(DataError, match=f"index {highest} has no finite difficulty"):
        Explain(everything, difficulty=given).teach(pool, student())
