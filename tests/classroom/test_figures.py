"""Statistics of people: published numbers, definitions by hand, and how often intervals hold what they should."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from tests.human_data import released
from tutelage.classroom.figures import (
    contrasts,
    mean_of,
    required_n,
    resampled_means,
    welch,
    wilson,
    worst,
)
from tutelage.errors import ConfigError
from tutelage.human_answers import answers_of

PUBLISHED = {
    ("oct", "explain_1vall", "random"): (21.33, 11.31, 31.35),
    ("oct", "explain_1vall", "strict_1vall"): (7.75, -2.10, 17.60),
    ("oct", "strict_1vall", "random"): (13.58, 3.51, 23.65),
    ("oct", "random_feedback", "random"): (11.53, -0.44, 23.51),
    ("butterflies_crop", "explain_1vall", "random"): (3.13, -6.41, 12.66),
    ("butterflies_crop", "explain_1vall", "strict_1vall"): (3.33, -6.50, 13.16),
    ("butterflies_crop", "strict_1vall", "random"): (-0.20, -7.87, 7.46),
    ("butterflies_crop", "random_feedback", "random"): (2.10, -6.47, 10.68),
    ("chinese_chars", "explain_1vall", "random"): (-0.24, -8.89, 8.40),
    ("chinese_chars", "explain_1vall", "strict_1vall"): (-5.10, -15.48, 5.28),
    ("chinese_chars", "strict_1vall", "random"): (4.86, -5.31, 15.03),
    ("chinese_chars", "random_feedback", "random"): (11.85, 1.88, 21.82),
    ("chinese_chars_crowd", "explain_1vall", "strict_1vall"): (11.73, 1.42, 22.04),
}
"""Differences of test accuracy in points with 95 % intervals, without sessions that were saved twice."""


def scores_of(real_data, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of ids that belong to another list
        answers = answers_of(released(real_data, name))
    people = {}
    for answer in answers:
        if answer.phase == "test" and not answer.duplicate:
            people.setdefault(answer.arm, {}).setdefault(answer.session, []).append(100 * answer.correct)
    return {arm: [float(np.mean(right)) for right in by.values()] for arm, by in people.items()}


@pytest.mark.parametrize(("name", "a", "b"), PUBLISHED)
def test_published_differences(name, a, b, real_data):
    scores = scores_of(real_data, name)
    found = welch(scores[a], scores[b])
    assert (found.difference, *found.interval) == pytest.approx(PUBLISHED[name, a, b], abs=0.00501)


def test_published_p_values(real_data):
    for name, a, b, p in (
        ("chinese_chars", "random_feedback", "random", 0.0204),
        ("chinese_chars_crowd", "explain_1vall", "strict_1vall", 0.0264),
    ):
        scores = scores_of(real_data, name)
        assert welch(scores[a], scores[b]).p == pytest.approx(p, abs=0.000051)


def test_published_intervals_of_one_arm(real_data):
    scores = scores_of(real_data, "oct")
    assert mean_of(scores["explain_1vall"]).interval == pytest.approx((65.33, 79.42), abs=0.00501)
    assert mean_of(scores["random"]).interval == pytest.approx((43.70, 58.39), abs=0.00501)


@pytest.mark.parametrize(
    ("std", "expected"), [(18, (204, 51, 23, 13)), (22, (304, 76, 34, 19)), (26, (425, 107, 48, 27))]
)
def test_required_people(std, expected):
    assert tuple(required_n(std, difference) for difference in (5, 10, 15, 20)) == expected


def test_the_required_number_has_the_power():
    n, draws = required_n(22, 15), np.random.RandomState(0)
    found = [welch(draws.normal(65, 22, n).tolist(), draws.normal(50, 22, n).tolist()).p < 0.05 for _ in range(1000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


def test_welch_by_hand():
    a, b = [1.0, 2.0, 3.0, 6.0], [2.0, 4.0]
    va, vb = 14 / 3 / 4, 2.0 / 2
    df = (va + vb) ** 2 / (va**2 / 3 + vb**2)
    found = welch(a, b)
    assert found.df == pytest.approx(df)
    assert found.interval.high - found.interval.low == pytest.approx(2 * stats.t.ppf(0.975, df) * math.sqrt(va + vb))
    assert (found.difference, found.p) == pytest.approx((0.0, 1.0))
    expected = stats.ttest_ind(a, [9.0, 9.5, 12.0], equal_var=False)
    other = welch(a, [9.0, 9.5, 12.0])
    assert (other.p, other.df) == pytest.approx((expected.pvalue, expected.df))


def test_groups_without_a_spread_have_no_difference():
    assert welch([1.0], [1.0, 2.0]) is None
    assert welch([1.0, 1.0], [2.0, 2.0]) is None
    assert contrasts({"a": [1.0, 1.0], "b": [2.0, 2.0]}) == ()


def test_equal_scores_have_no_spread_though_their_variance_is_rounded():
    a, b = [100 / 3] * 10, [200 / 3] * 5
    assert np.var(a, ddof=1) > 0
    assert welch(a, a[:7]) is None
    assert welch(a, b) is None
    assert mean_of(a) == (10, 100 / 3, 0.0, (100 / 3, 100 / 3), 100 / 3)
    one = welch(a, [0.0, 100.0, 50.0])
    assert (one.df, one.difference) == pytest.approx((2, 100 / 3 - 50))


def test_means_by_hand():
    assert mean_of([]) == (0, None, None, None, None)
    assert mean_of([3.0]) == (1, 3.0, None, None, 3.0)
    n, mean, std, interval, median = mean_of([1.0, 2.0, 6.0])
    assert (n, mean, std, median) == (3, 3.0, pytest.approx(math.sqrt(7)), 2.0)
    assert interval == pytest.approx((3 - 4.302653 * math.sqrt(7 / 3), 3 + 4.302653 * math.sqrt(7 / 3)))


@pytest.mark.parametrize(("right", "of"), [(0, 1), (1, 1), (7, 20), (20, 20)])
def test_wilson_is_the_interval_of_the_score_test(right, of):
    """Its ends p solve |right / of - p| = z sqrt(p (1 - p) / of)."""
    for p in wilson(right, of):
        assert abs(right / of - p) == pytest.approx(1.959964 * math.sqrt(p * (1 - p) / of), abs=1e-9)


def test_contrasts_are_adjusted_for_each_other():
    draws = np.random.RandomState(1)
    scores = {name: draws.normal(mean, 10, 30).tolist() for name, mean in (("a", 50), ("b", 58), ("c", 53))}
    found = contrasts(scores, seed=3)
    assert [(c.a, c.b) for c in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    p = sorted(c.welch.p for c in found)
    assert sorted(c.p_holm for c in found) == pytest.approx([3 * p[0], max(3 * p[0], 2 * p[1]), max(2 * p[1], p[2])])
    for c in found:  # of such scores the two intervals differ little
        assert c.bootstrap == pytest.approx(c.welch.interval, abs=1.0)
    assert found == contrasts(scores, seed=3)
    assert found[0].bootstrap != contrasts(scores, seed=4)[0].bootstrap


def test_drawing_people_by_their_number_is_drawing_people():
    a = [0.0] * 3 + [50.0] * 6 + [100.0] * 2 + [25.0]
    draws = np.random.RandomState(0)
    naive = [np.mean(draws.choice(a, len(a))) for _ in range(20_000)]
    found = resampled_means(a, 1, 20_000)
    assert (found.mean(), found.std()) == pytest.approx((np.mean(naive), np.std(naive)), abs=0.3)
    shares = (0.025, 0.25, 0.5, 0.75, 0.975)
    assert np.quantile(found, shares) == pytest.approx(np.quantile(naive, shares), abs=2.1)


def test_the_worst_people():
    found = worst(np.array([5.0, 1.0, 2.0, 1.0, 3.0, 9.0]), 0.34)
    assert found.tolist() == [False, True, False, True, False, False]
    assert worst(np.array([5.0, 1.0, 2.0, 4.0]), 0.2).sum() == 0


def test_leaving_out_the_worst_is_not_harmless(real_data):
    scores = scores_of(real_data, "oct")
    for arm, expected in (("explain_1vall", 81.25), ("random", 57.29)):
        values = np.array(scores[arm])
        assert values[~worst(values, 0.2)].mean() == pytest.approx(expected, abs=0.00501)


@pytest.mark.parametrize("n", [20, 40])
@pytest.mark.parametrize(("a", "b"), [(2.85, 1.09), (2.21, 2.12), (5.90, 3.15), (4.57, 5.14)])
def test_intervals_hold_the_mean_as_often_as_they_say(n, a, b):
    draws = np.random.RandomState(n)
    scores = draws.binomial(20, draws.beta(a, b, (20_000, n))) / 20
    half = stats.t.ppf(0.975, n - 1) * scores.std(1, ddof=1) / math.sqrt(n)
    held = np.mean(np.abs(scores.mean(1) - a / (a + b)) <= half)
    assert 0.93 <= held <= 0.965
    found = mean_of(scores[0].tolist())
    assert found.interval.high - found.mean == pytest.approx(half[0])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: wilson(3, 2), "3 of 2 right: needs 1 answer or more, and no more right ones"),
        (lambda: wilson(0, 0), "0 of 0 right: needs 1 answer or more"),
        (lambda: required_n(0, 5), "std = 0 and difference = 5: both must be above 0"),
        (lambda: required_n(20, -1), "difference = -1: both must be above 0"),
    ],
)
def test_refusals(call, told):
    with pytest.raises(ConfigError, match=told):
        call()
