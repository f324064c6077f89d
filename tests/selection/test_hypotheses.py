"""Likelihoods, errors and what shown rows leave of hypotheses, against loops and by hand."""

import math

import pytest
import torch

from tests.selection.spaces import cloud, drawn, likelihood, loop_greedy, signs
from tutelage.errors import DataError, ShapeError
from tutelage.hypotheses import CLIP, Features, chances, difficulty, entropy, expected_error, targets, tasks

NOTHING = torch.zeros(0, dtype=torch.long)


@pytest.fixture
def pool():
    return cloud()


@pytest.fixture
def known(pool):
    return drawn(pool).tasks(pool.x, pool.y, 3)


def test_features_are_standardised_cut_and_end_with_a_constant():
    x = torch.zeros(1000, 3)
    x[:, 0] = torch.arange(1000.0)
    x[0, 1] = 1.0
    rows = Features.of(x)(x)
    assert rows.dtype == torch.float64
    assert rows.shape == (1000, 4)
    assert float(rows[:, 0].mean()) == pytest.approx(0, abs=1e-12)
    assert float(rows[:, 0].square().mean()) == pytest.approx(1, abs=1e-12)
    assert rows[0, 1] == CLIP  # it is 31.6 standard deviations out
    assert (rows[:, 2] == 0).all()
    assert (rows[:, 3] == 1).all()


def test_new_rows_are_standardised_by_the_pool(pool):
    features = Features.of(pool.x)
    assert torch.equal(features(pool.x[3:5]), features(pool.x)[3:5])


def test_features_may_be_embedded(pool):
    features = Features.of(pool.x, lambda x: x[:, :2] * 2)
    assert torch.allclose(features(pool.x), Features.of(pool.x[:, :2])(pool.x[:, :2]))


def test_bad_features(pool):
    bad = pool.x.clone()
    bad[5, 1] = math.inf
    with pytest.raises(DataError, match="row 5 of the pool has a feature that is not finite: leave it out"):
        Features.of(bad)
    with pytest.raises(ShapeError, match=r"embed returned \(36,\) for 36 rows, but needs \(N, d\)"):
        Features.of(pool.x, lambda x: x.sum(1))


def test_two_classes_are_one_task_of_class_1():
    assert targets(torch.tensor([0, 1, 1]), 2).tolist() == [[False, True, True]]


def test_three_classes_are_three_tasks():
    found = targets(torch.tensor([0, 1, 2, 1]), 3)
    assert found.int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]]


def test_a_margin_of_0_predicts_minus_1():
    known = tasks(torch.zeros(2, 1), torch.tensor([[True, False]]), 0.5)
    assert known.plus.tolist() == [[0.5], [0.5]]
    assert known.minus.tolist() == [[1.0], [1.0]]
    assert known.errors.tolist() == [[0.5]]


@pytest.mark.parametrize("alpha", [0.1, 0.5, 3.0])
def test_the_model_is_a_softmax_of_two_classes_with_alpha_halved(alpha):
    margins = torch.linspace(-5, 5, 11, dtype=torch.float64)
    softmax = torch.stack([alpha / 2 * margins, -alpha / 2 * margins], 1).softmax(1)[:, 0]
    assert torch.allclose(chances(margins, alpha), softmax, rtol=1e-14, atol=0)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_likelihoods_and_errors_as_a_loop(classes):
    pool = cloud(classes)
    hypotheses = drawn(pool, alpha=0.7)
    known = hypotheses.tasks(pool.x, pool.y, classes)
    margins = hypotheses.margins(pool.x).tolist()
    every = torch.arange(len(pool))
    found = known.log_likelihoods(every).exp()
    for c, sign in enumerate(signs(pool.y, classes)):
        for h in range(20):
            expected = [likelihood(margins[i][h], sign[i], 0.7) for i in range(len(pool))]
            assert found[c, :, h].tolist() == pytest.approx(expected, rel=1e-13)
            assert float(known.errors[c, h]) == sum(value < 1 for value in expected) / len(pool)
    picked = torch.where(known.targets[:, :, None], known.plus, known.minus)
    assert torch.equal(picked, found)


def test_errors_count_only_the_rows_that_count(pool):
    counted = torch.arange(len(pool)) % 3 == 0
    some = drawn(pool).tasks(pool.x, pool.y, 3, counted)
    alone = drawn(pool).tasks(pool.x[counted], pool.y[counted], 3)
    assert torch.equal(some.errors, alone.errors)
    assert some.positive.shape == (36, 20)


@pytest.mark.parametrize("classes", [2, 4])
def test_greedy_rows_are_those_of_a_triple_loop(classes):
    pool = cloud(classes)
    hypotheses = drawn(pool)
    known = hypotheses.tasks(pool.x, pool.y, classes)
    rows, scores = loop_greedy(hypotheses.margins(pool.x).tolist(), signs(pool.y, classes), 0.5, 10)
    shown = NOTHING
    for row, score in zip(rows, scores, strict=True):
        left = known.log_remaining(shown).index_fill(0, shown, torch.inf)
        assert int(left.argmin()) == row
        assert float(left.min().exp()) == pytest.approx(score, rel=1e-12)
        shown = torch.cat([shown, left.argmin()[None]])


def test_what_is_left_is_what_the_value_lacks(known):
    """F(A + i) = sum q0 err - sum q[A] err Lk_i: the argmin of the score is the argmax of F."""
    shown = torch.tensor([4, 7])
    most = known.errors.sum() / 20
    values = torch.stack([known.value(torch.tensor([4, 7, i])) for i in range(36)])
    assert torch.allclose(most - values, known.log_remaining(shown).exp(), rtol=1e-11)


def test_the_value_begins_at_0_and_never_decreases(known):
    order = torch.randperm(36, generator=torch.Generator().manual_seed(3))
    values = torch.stack([known.value(order[:n]) for n in range(37)])
    assert values[0] == 0
    assert (values.diff() >= 0).all()
    assert values[-1] > 0.5 * known.errors.sum() / 20


def test_the_value_is_submodular(known):
    small, large = torch.tensor([2, 9]), torch.tensor([2, 9, 20, 31])
    for i in (0, 5, 17, 35):
        gains = [known.value(torch.cat([a, torch.tensor([i])])) - known.value(a) for a in (small, large)]
        assert gains[0] >= gains[1] >= 0


def test_nothing_underflows_after_thousands_of_rows(known):
    shown = torch.arange(36).repeat(3000)
    assert known.log_posterior(shown)[known.errors > 0].max() < -1000  # e to which is 0
    left = known.log_remaining(shown)
    assert left.isfinite().all()
    assert left.unique().numel() > 1
    assert known.log_posterior(shown).min() < -1000
    assert expected_error(known.log_posterior(shown), known.errors).isfinite().all()


def test_hypotheses_that_are_never_wrong_do_not_count():
    """However small the others have become."""
    margins = torch.tensor([[3.0, -800.0, -20.0], [-3.0, 900.0, -20.0], [-3.0, -1.0, 20.0]]).double()
    found = tasks(margins, torch.tensor([[True, False, False]]), 1.0)
    assert found.errors.tolist() == [[0.0, 2 / 3, 2 / 3]]
    shown = torch.tensor([0, 1, 0, 1, *[2] * 40])
    left = found.log_remaining(shown)
    logs = (found.log_posterior(shown) + found.errors.log())[0]
    assert logs[1] < -3000
    assert logs[2] == pytest.approx(math.log(2 / 9) - 840)
    assert (left - logs[2]).tolist() == pytest.approx([-20, 0, -20])
    always_right = tasks(margins[:, :1], torch.tensor([[True, False, False]]), 1.0)
    assert always_right.log_remaining(shown).isfinite().all()


def test_expected_error_and_entropy_by_hand():
    log_q = torch.tensor([[0.0, math.log(3.0)], [5.0, 5.0]], dtype=torch.float64)
    errors = torch.tensor([[0.5, 0.1], [0.0, 1.0]], dtype=torch.float64)
    assert expected_error(log_q, errors).tolist() == pytest.approx([0.25 * 0.5 + 0.75 * 0.1, 0.5])
    assert entropy(log_q).tolist() == pytest.approx([-(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)), 1.0])
    assert entropy(torch.tensor([[0.0, -math.inf]])).tolist() == [0.0]


def test_difficulty_is_the_binary_entropy_of_the_mean_answer():
    log_q = torch.zeros(1, 2, dtype=torch.float64)
    margins = torch.tensor([[0.0, 0.0], [2.0, -2.0], [100.0, 2.0]], dtype=torch.float64)
    p = (1 / (1 + math.exp(-50)) + 1 / (1 + math.exp(-1))) / 2
    expected = [1.0, 1.0, -(p * math.log2(p) + (1 - p) * math.log2(1 - p))]
    assert difficulty(log_q, margins, 0.5)[0].tolist() == pytest.approx(expected)


def test_shown_rows_move_the_posterior_to_right_hypotheses(known):
    shown = torch.arange(0, 36, 2)
    before, after = (expected_error(known.log_posterior(rows), known.errors) for rows in (NOTHING, shown))
    assert torch.allclose(before, known.errors.mean(1))
    assert (after < before).all()
