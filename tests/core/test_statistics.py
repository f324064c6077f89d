"""Verdicts of paired runs by hand-computed numbers, and the gap between student and teacher."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from tutelage.errors import ConfigError, DataError, NotFiniteError, ShapeError
from tutelage.gap import Gap, gap, mean_gap
from tutelage.statistics import Runs, compare, holm, power_warning, table, told


def against_zero(*differences, name="kd", margin=0.5):
    """The comparison whose differences are the given ones."""
    return compare(
        Runs(name, dict(enumerate(differences))), Runs("ce", dict.fromkeys(range(len(differences)), 0.0)),
        "accuracy", margin=margin,
    )  # fmt: skip


def test_by_hand():
    d = against_zero(1, 2, 3, 4, 5)
    assert d["mean_difference"] == pytest.approx(3, abs=1e-12)
    assert d["std"] == pytest.approx(1.581, abs=1e-3)
    assert d["t"] == pytest.approx(4.243, abs=1e-3)
    assert d["mean_difference"] - d["ci95"] == pytest.approx(1.037, abs=1e-3)
    assert d["mean_difference"] + d["ci95"] == pytest.approx(4.963, abs=1e-3)
    assert d["ci90"] == pytest.approx(2.132 * 1.5811 / math.sqrt(5), abs=1e-3)
    assert (d["least"], d["most"], d["share_above"]) == (1, 5, 1)
    assert (d["wins"], d["ties"], d["losses"]) == (5, 0, 0)
    assert d["differences"] == [1, 2, 3, 4, 5]
    assert d["seeds"] == [0, 1, 2, 3, 4]
    assert d["p"] == pytest.approx(stats.ttest_1samp([1, 2, 3, 4, 5], 0).pvalue, rel=1e-9)
    assert d["verdict"] == "better"
    assert json.loads(json.dumps(d, allow_nan=False)) == d


@pytest.mark.parametrize(
    ("n", "t95", "t90"),
    [(3, 4.303, 2.920), (5, 2.776, 2.132), (10, 2.262, 1.833), (20, 2.093, 1.729), (25, 2.064, 1.711),
     (30, 2.045, 1.699)],
)  # fmt: skip
def test_quantiles(n, t95, t90):
    d = against_zero(*np.random.default_rng(0).normal(size=n))
    unit = d["std"] / math.sqrt(n)
    assert d["ci95"] / unit == pytest.approx(t95, abs=1e-3)
    assert d["ci90"] / unit == pytest.approx(t90, abs=1e-3)


def test_without_spread_there_is_no_t():
    zero, one = against_zero(0, 0, 0), against_zero(1, 1, 1)
    assert (zero["t"], zero["p"], zero["std"], zero["verdict"]) == (None, None, 0.0, "identical")
    assert (one["t"], one["p"], one["std"], one["verdict"]) == (None, None, 0.0, "numbers only")
    seeds = range(3)
    rounded = compare(
        Runs("a", dict(zip(seeds, (0.92, 0.03, 0.71)))), Runs("b", dict(zip(seeds, (0.91, 0.02, 0.70)))), "accuracy"
    )
    assert np.ptp([0.92 - 0.91, 0.03 - 0.02, 0.71 - 0.70]) > 0
    assert (rounded["t"], rounded["verdict"]) == (None, "numbers only")


def test_values_that_differ_by_rounding_alone_are_identical():
    a, b = (0.1 + 0.2, 0.3, 0.7), (0.3, 0.1 + 0.2, 0.1 + 0.6)
    assert a[0] != b[0]
    for n in (1, 3):
        d = compare(Runs("a", dict(enumerate(a[:n] + a[:1] * 3))), Runs("b", dict(enumerate(b[:n] + b[:1] * 3))), "m")
        assert (d["verdict"], d["mean_difference"], d["wins"], d["losses"]) == ("identical", 0.0, 0, 0)
        assert d["ties"] == len(d["seeds"])
    mixed = compare(Runs("a", {0: 0.1 + 0.2, 1: 0.5, 2: 0.9}), Runs("b", {0: 0.3, 1: 0.4, 2: 0.7}), "m")
    assert (mixed["ties"], mixed["wins"], mixed["share_above"]) == (1, 2, 2 / 3)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ((-1, -2, -3, -4, -5), "worse"),
        ((0.1, -0.1, 0.2, -0.2, 0.0), "equivalent"),
        ((3, -3, 2, -2, 1), "not shown"),
        ((0.2, 0.21, 0.19, 0.2, 0.2), "better"),  # above 0, though within the margin
        ((1, 2), "numbers only"),
        ((0, 0), "numbers only"),
        ((1,), "numbers only"),
    ],
)
def test_verdicts(differences, verdict):
    assert against_zero(*differences)["verdict"] == verdict


def test_equivalence_is_by_the_90_percent_interval():
    d = against_zero(0.3, -0.2, 0.1, 0.25, -0.15)
    edge = abs(d["mean_difference"]) + d["ci90"]
    assert edge < abs(d["mean_difference"]) + d["ci95"]
    assert against_zero(*d["differences"], margin=edge * 1.0001)["verdict"] == "equivalent"
    assert against_zero(*d["differences"], margin=edge * 0.9999)["verdict"] == "not shown"


def test_one_seed_has_numbers():
    d = against_zero(2.0)
    assert (d["mean_difference"], d["std"], d["t"], d["ci95"], d["ci90"]) == (2.0, None, None, None, None)
    assert told(d) == "kd − ce +200.00 points (above 0 on 1 of 1 seed): numbers only"


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([0.04]) == [0.04]
    assert holm([]) == []
    assert holm([0.02, 0.02]) == pytest.approx([0.04, 0.04])


def test_holm_over_a_table():
    sure, weak = against_zero(1, 2, 3, 4, 5, name="a"), against_zero(0.5, 2, 1, 2.9, 0.8, name="b")
    nothing, idle, few = against_zero(2, -2, 1, -1, 3, name="c"), against_zero(0, 0, 0, name="d"), against_zero(1, 2)
    assert weak["verdict"] == "better"
    assert 0.025 < weak["p"] < 0.05
    found = table([weak, nothing, idle, sure, few])
    assert [d["verdict"] for d in found] == ["not shown", "not shown", "identical", "better", "numbers only"]
    assert found[3]["p_holm"] == pytest.approx(3 * sure["p"])
    assert found[0]["p_holm"] == pytest.approx(2 * weak["p"])
    assert found[4]["p_holm"] == few["p"]
    assert [d["a"] for d in table([weak])] == ["b"]
    assert table([weak])[0]["verdict"] == "better"
    assert table([]) == []


def test_the_power_warning():
    points = [0.003 + 0.009 * z for z in (-1.2, 1.1, 0.4, -0.3, 0.0)]
    d = against_zero(*points, margin=0.005)
    assert d["verdict"] == "not shown"
    needed = math.ceil((3 * d["std"] / d["mean_difference"]) ** 2)
    assert d["seeds_needed"] == needed > 5
    assert power_warning(d) == (
        f"kd − ce: a difference of +0.30 points is small for 5 seeds; about {needed} are needed to show it (t = 3)."
    )
    near = [0.0030, 0.0040, 0.0020, 0.0028, 0.0032]  # claimed, t = 9, and yet the spread is that of five numbers
    assert power_warning(against_zero(*near, margin=0.005)) == (
        "kd − ce: a difference of +0.30 points is small for 5 seeds, whose spread is uncertain: take more."
    )
    assert "−0.30 points is small for 5 seeds, whose" in power_warning(against_zero(*(-d for d in near), margin=0.005))
    assert power_warning(against_zero(*near, 0.0030, margin=0.005)) is None  # plain enough, on six
    assert power_warning(against_zero(*near, margin=0.0029)) is None  # not small
    assert power_warning(against_zero(*(d - 0.003 for d in near), margin=0.005)) is None  # equivalent: nothing claimed
    assert power_warning(against_zero(0.03, -0.02, 0.04, margin=0.005)) is None  # nothing small is claimed
    assert power_warning(against_zero(0.0, 0.0, 0.0)) is None
    assert power_warning(against_zero(0.001, -0.0005, margin=0.005)) is None  # numbers only


def test_in_words():
    d = against_zero(0.01, 0.02, 0.03, 0.04, 0.05, margin=0.005)
    assert told(d) == ("kd − ce +3.00 points (95 % CI +1.04 to +4.96, sd 1.58, t 4.2, above 0 on 5 of 5 seeds): better")
    d = against_zero(-0.01, -0.02, 0.0, margin=0.005)
    assert (
        told(d) == "kd − ce −1.00 points (95 % CI −3.48 to +1.48, sd 1.00, t −1.7, above 0 on 0 of 3 seeds): not shown"
    )


def runs(name, seeds=(1, 2, 3), **shared):
    return Runs(name, {seed: 0.9 + seed / 100 for seed in seeds}, dict.fromkeys(seeds, shared))


@pytest.mark.parametrize(
    ("first", "second", "kind", "message"),
    [
        (runs("kd", (1, 2, 3, 4)), runs("ce", (1, 2, 9)), ConfigError,
         r"kd and ce are not paired: kd alone has seeds 3, 4; ce alone has seeds 9\. Run both with the same seeds"),
        (runs("kd", ()), runs("ce", ()), ConfigError, r"kd and ce are not paired: they have no seeds"),
        (runs("kd", split="a1", order="x"), runs("ce", split="b2", order="x"), ConfigError,
         r"not paired: with seed 1 their split differs, a1 and b2\. Paired runs share everything but the method"),
        (runs("kd", split="a1", teacher="t"), runs("ce", split="a1"), ConfigError,
         r"with seed 1 only kd has a record of its teacher"),
        (runs("kd", split=np.arange(3)), runs("ce", split=np.arange(3)), ConfigError,
         r"with seed 1 their split cannot be compared as one value \(ndarray\); give numbers, words or a fingerprint"),
        (runs("kd", split=torch.arange(3)), runs("ce", split=torch.arange(3)), ConfigError,
         r"with seed 1 their split cannot be compared as one value \(Tensor\)"),
        (runs("kd", split={"a": np.arange(2)}), runs("ce", split={"a": np.arange(2)}), ConfigError,
         r"cannot be compared as one value \(dict\)"),
        (Runs("kd", {0: 0.5, 1: math.nan}), Runs("ce", {0: 0.5, 1: 0.4}), DataError,
         r"the value of kd with seed 1 is nan; it must be finite"),
    ],
)  # fmt: skip
def test_what_is_not_paired_is_refused(first, second, kind, message):
    with pytest.raises(kind, match=message):
        compare(first, second, "accuracy")


def test_pairs_are_by_seed_and_not_by_order():
    a, b = Runs("a", {3: 0.3, 1: 0.1, 2: 0.25}), Runs("b", {1: 0.1, 2: 0.2, 3: 0.2})
    assert compare(a, b, "accuracy")["differences"] == pytest.approx([0.0, 0.05, 0.1])
    assert compare(runs("a", split="x"), runs("b", split="x"), "accuracy")["verdict"] == "identical"


def test_a_margin_of_nothing():
    with pytest.raises(ConfigError, match=r"margin is 0\.0; it must be above 0, such as 0\.005"):
        against_zero(1, 2, 3, margin=0.0)


def naive_gap(z_s, z_t, temperature):
    p_s, p_t = (np.exp(z / temperature) / np.exp(z / temperature).sum(1, keepdims=True) for z in (z_s, z_t))
    mean = p_t.mean(0)
    left = np.mean([sum(p * math.log(p / q) for p, q in zip(t, s)) for t, s in zip(p_t, p_s)])
    whole = np.mean([sum(p * math.log(p / m) for p, m in zip(t, mean)) for t in p_t])
    return left / whole, np.mean(z_s.argmax(1) == z_t.argmax(1))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_gap_equals_a_loop(temperature):
    generator = torch.Generator().manual_seed(0)
    z_t = 3 * torch.randn(40, 5, generator=generator, dtype=torch.float64)
    z_s = z_t + torch.randn(40, 5, generator=generator, dtype=torch.float64)
    assert gap(z_s, z_t, temperature) == pytest.approx(naive_gap(z_s.numpy(), z_t.numpy(), temperature), rel=1e-10)


def test_ends_of_the_gap():
    z_t = 3 * torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    assert gap(z_t + 7.0, z_t) == (pytest.approx(0.0, abs=1e-12), 1.0)
    mean = torch.softmax(z_t.double() / 4, 1).mean(0).log() * 4
    assert gap(mean.expand(50, 4), z_t.double()).r == pytest.approx(1.0)
    assert gap(torch.zeros(3, 2), torch.ones(3, 2)).r is None
    assert gap(z_t[:1], z_t[:1]).r is None
    assert gap(1e4 * z_t, -1e4 * z_t).r > 1


def test_the_gap_of_many_rows_is_taken_piece_by_piece(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    z_t = 3 * torch.randn(41, 5, generator=generator)
    z_s = z_t + torch.randn(41, 5, generator=generator)
    whole = gap(z_s, z_t)
    for together in (1, 20, 200):
        monkeypatch.setattr("tutelage.gap._AT_ONCE", together)
        assert gap(z_s, z_t) == pytest.approx(whole, rel=1e-12)
    z_s[40, 0] = math.inf
    with pytest.raises(NotFiniteError, match="the student's logits are not finite"):
        gap(z_s, z_t)


def test_advice():
    assert Gap(0.05, 0.97).advice is None
    assert Gap(None, 1.0).advice is None
    assert Gap(0.204, 0.86).advice == (
        "the student cannot follow this teacher (r = 0.2, above 0.05; they agree on 86 % of the rows): try a smaller "
        "teacher, a teaching assistant between the two, or a larger ce_weight; none of these is sure to help."
    )


def test_the_mean_gap():
    assert mean_gap([Gap(0.1, 0.9), Gap(None, 1.0), Gap(0.4, 0.5)]) == (pytest.approx(0.25), pytest.approx(0.8))
    assert mean_gap([Gap(None, 1.0)]) == (None, 1.0)
    with pytest.raises(ConfigError, match="there is no gap to take the mean of: give one for each run"):
        mean_gap([])


def test_gaps_that_cannot_be_taken():
    with pytest.raises(ShapeError, match="the student answers with 3 classes, but the teacher with 4"):
        gap(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(NotFiniteError, match=r"the teacher's logits are not finite; did its training diverge\?"):
        gap(torch.zeros(1, 2), torch.tensor([[math.inf, 0.0]]))
    with pytest.raises(ShapeError, match=r"the logits have shape \(0, 3\), but need at least one row"):
        gap(torch.zeros(0, 3), torch.zeros(0, 3))
    with pytest.raises(ConfigError, match=r"temperature is 0\.0"):
        gap(torch.zeros(2, 3), torch.zeros(2, 3), 0.0)
