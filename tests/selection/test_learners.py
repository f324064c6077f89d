"""Version-space learners: their draws follow the model, and they learn."""

import pytest
import torch

from tests.selection.spaces import cloud, drawn
from tutelage.errors import ConfigError
from tutelage.hypothesis_space import HypothesisSpace
from tutelage.learners import VersionSpaceLearners


def test_new_learners_have_any_hypothesis():
    learners = VersionSpaceLearners.new(drawn(cloud()), 3, 4000)
    assert learners.held.shape == (4000, 3)
    shares = torch.stack([torch.bincount(learners.held[:, c], minlength=20) for c in range(3)]) / 4000
    assert shares.min() > 0.035
    assert shares.max() < 0.065


@pytest.mark.parametrize("classes", [2, 3])
def test_what_they_hold_follows_the_chain(classes):
    """The share of a hypothesis: m'(h) = m(h) if it is right, + the share of wrong ones times q(h)."""
    pool = cloud(classes)
    hypotheses = drawn(pool)
    learners = VersionSpaceLearners.new(hypotheses, classes, 20_000)
    known = hypotheses.tasks(pool.x, pool.y, classes)
    tasks = len(known.errors)
    expected = torch.full((tasks, 20), 1 / 20, dtype=torch.float64)
    for row in range(8):
        learners = learners.taught(pool.x[row : row + 1], pool.y[row : row + 1])
        q = known.log_posterior(torch.arange(row + 1)).softmax(1)
        wrong = known.wrong(torch.tensor([row]))[:, 0]
        expected = expected.masked_fill(wrong, 0) + (expected * wrong).sum(1, keepdim=True) * q
        shares = torch.stack([torch.bincount(learners.held[:, c], minlength=20) for c in range(tasks)]) / 20_000
        assert torch.allclose(shares.double(), expected, atol=0.015)
    assert torch.allclose(learners.log_q.softmax(1), q)


def test_who_is_right_keeps_what_it_has():
    pool = cloud()
    hypotheses = drawn(pool)
    before = VersionSpaceLearners.new(hypotheses, 3, 300)
    after = before.taught(pool.x[:1], pool.y[:1])
    wrong = hypotheses.tasks(pool.x, pool.y, 3).wrong(torch.tensor([0]))[:, 0]
    for c in range(3):
        was_wrong = wrong[c][before.held[:, c]]
        assert torch.equal(after.held[~was_wrong, c], before.held[~was_wrong, c])
        assert (after.held[was_wrong, c] != before.held[was_wrong, c]).float().mean() > 0.8


def test_rows_one_by_one_or_at_once():
    pool = cloud()
    new = VersionSpaceLearners.new(drawn(pool), 3, 50, seed=2)
    at_once = new.taught(pool.x[:5], pool.y[:5])
    one_by_one = new
    for i in range(5):
        one_by_one = one_by_one.taught(pool.x[i : i + 1], pool.y[i : i + 1])
    assert torch.equal(at_once.held, one_by_one.held)
    assert torch.allclose(at_once.log_q, one_by_one.log_q, rtol=1e-13)
    assert at_once.shown == 5
    assert new.shown == 0


def test_seeds_differ_and_repeat():
    hypotheses = drawn(cloud())
    held = [VersionSpaceLearners.new(hypotheses, 3, 50, seed=seed).held for seed in (1, 1, 2)]
    assert torch.equal(held[0], held[1])
    assert not torch.equal(held[0], held[2])


@pytest.mark.parametrize("classes", [2, 3])
def test_predictions_as_a_loop(classes):
    pool = cloud(classes)
    learners = VersionSpaceLearners.new(drawn(pool), classes, 7)
    margins, found = learners.hypotheses.margins(pool.x), learners.predict(pool.x)
    assert found.shape == (7, len(pool))
    for b in range(7):
        for i in range(len(pool)):
            own = [float(margins[i, h]) for h in learners.held[b].tolist()]
            assert int(found[b, i]) == (max(range(3), key=own.__getitem__) if classes == 3 else int(own[0] > 0))
    shares = learners.probabilities(pool.x)
    assert shares.shape == (len(pool), classes)
    assert torch.allclose(shares.sum(1), torch.ones(()).double())
    assert float(shares[0, int(found[0, 0])]) == float((found[:, 0] == found[0, 0]).double().mean())
    assert learners.accuracy(pool.x, pool.y) == pytest.approx(float((found == pool.y).double().mean()))


@pytest.mark.parametrize("classes", [2, 3])
def test_taught_learners_know_more(classes):
    pool = cloud(classes, spread=0.5)
    new = VersionSpaceLearners.new(HypothesisSpace()(pool, classes), classes)
    taught = new.taught(pool.x[:18], pool.y[:18])
    assert new.accuracy(pool.x, pool.y) < 0.65
    assert taught.accuracy(pool.x, pool.y) > 0.85
    assert float((taught.posterior_mean(pool.x) == pool.y).double().mean()) > 0.9


def test_the_posterior_mean_is_a_vote_of_margins():
    pool = cloud()
    learners = VersionSpaceLearners.new(drawn(pool), 3, 1).taught(pool.x[:6], pool.y[:6])
    margins, q = learners.hypotheses.margins(pool.x), learners.log_q.softmax(1)
    for i in range(10):
        votes = [sum(float(q[c, h] * margins[i, h]) for h in range(20)) for c in range(3)]
        assert int(learners.posterior_mean(pool.x)[i]) == max(range(3), key=votes.__getitem__)


def test_bad_numbers():
    with pytest.raises(ConfigError, match="0 learners of 3 classes: needs 1 learner and 2 classes or more"):
        VersionSpaceLearners.new(drawn(cloud()), 3, 0)
