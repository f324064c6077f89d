"""What is particular to the keep-mask teacher: the gradient of an expected return, its state, and a bandit."""

import itertools
import math

import pytest
import torch

from tutelage import SGD, Batch, Lesson, Student
from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import cross_entropy
from tutelage.teachers import KeepMask
from tutelage.teachers.select.keep_mask import (
    STATE,
    descent,
    draw,
    episode_return,
    keep_weights,
    log_probability,
    score_gradient,
)
from tutelage.testing import tiny_batch, tiny_net

DOUBLE = torch.float64


class Enumerated:
    """Four examples, all 16 masks, a linear f and any return of a mask."""

    def __init__(self, seed):
        g = torch.Generator().manual_seed(seed)
        self.x = torch.randn(4, 3, generator=g, dtype=DOUBLE)
        self.f = torch.randn(3, generator=g, dtype=DOUBLE).requires_grad_()
        self.masks = torch.tensor(list(itertools.product([False, True], repeat=4)))
        self.returns = torch.randn(16, generator=g, dtype=DOUBLE)
        p = torch.sigmoid(self.x @ self.f)
        self.chances = torch.where(self.masks, p, 1 - p).prod(1)
        self.expected = (self.chances * self.returns).sum()
        (self.true,) = torch.autograd.grad(self.expected, self.f, retain_graph=True)

    def mean(self, estimator, baseline):
        """Of what an estimator would have descended, with the sign turned: the ascent direction."""
        found = [-descent(estimator(mask), r, baseline) * c for mask, r, c in zip(*self.cases)]
        return torch.stack(found).sum(0)

    @property
    def cases(self):
        return self.masks, self.returns, self.chances.detach()

    def ours(self, mask):
        return score_gradient(self.x @ self.f, mask, [self.f])[0]

    def log_p_of_all(self, mask):
        return torch.autograd.grad(log_probability(self.x @ self.f, torch.ones_like(mask)).sum(), self.f)[0]

    def kept_only(self, mask):
        return torch.autograd.grad((log_probability(self.x @ self.f, mask) * mask).sum(), self.f)[0]

    def thresholded(self, baseline):
        mask = self.x @ self.f > 0
        at = int((self.masks == mask).all(1).nonzero())
        return -descent(self.ours(mask), self.returns[at], baseline)


@pytest.mark.parametrize("with_baseline", [False, True])
def test_the_estimator_is_the_gradient_of_the_expected_return(with_baseline):
    for seed in range(30):
        problem = Enumerated(seed)
        baseline = problem.expected.detach() if with_baseline else 0.0
        assert torch.allclose(problem.mean(problem.ours, baseline), problem.true, rtol=0, atol=1e-12)


def off(found, true):
    """Whether a direction is not the gradient: another direction, or a length that is more than a tenth off."""
    return float(torch.cosine_similarity(found, true, 0)) < 0.999 or abs(float(found.norm() / true.norm()) - 1) > 0.1


def test_the_three_wrong_forms_are_not():
    cosines = []
    for seed in range(30):
        problem = Enumerated(seed)
        b = problem.expected.detach()
        assert problem.mean(problem.log_p_of_all, b).abs().max() < 1e-12  # no signal at all
        assert off(problem.mean(problem.log_p_of_all, b), problem.true)
        assert off(problem.mean(problem.kept_only, b), problem.true)
        assert off(problem.thresholded(b), problem.true)
        assert not off(problem.mean(problem.ours, b), problem.true)
        cosines.append(float(torch.cosine_similarity(problem.thresholded(b), problem.true, 0)))
    assert sum(c < 0 for c in cosines) >= 8  # the wrong way as often as not


def test_a_baseline_makes_the_estimate_steadier():
    spreads = []
    for seed in range(30):
        problem = Enumerated(seed)
        problem.returns += 10.0
        spread = []
        for b in (0.0, 10.0):
            found = torch.stack([-descent(problem.ours(m), r, b) for m, r in zip(problem.masks, problem.returns)])
            spread.append((problem.chances.detach() @ (found - problem.true).square().sum(1)).sqrt())
        spreads.append(float(spread[1] / spread[0]))
    assert max(spreads) < 0.3


def test_formulas():
    scores = torch.tensor([0.3, -2.0, 50.0, -50.0], dtype=DOUBLE)
    kept = torch.tensor([True, False, False, True])
    needed = [math.log(1 / (1 + math.exp(-0.3))), math.log(1 / (1 + math.exp(-2.0))), math.log(1e-12), math.log(1e-12)]
    assert log_probability(scores, kept).tolist() == pytest.approx(needed, rel=1e-12)
    assert keep_weights(kept, DOUBLE).tolist() == [2.0, 0.0, 0.0, 2.0]
    assert keep_weights(torch.zeros(3, dtype=torch.bool), DOUBLE).tolist() == [0.0, 0.0, 0.0]
    assert keep_weights(torch.ones(1, dtype=torch.bool), DOUBLE).tolist() == [1.0]
    assert episode_return(25, 100) == pytest.approx(math.log(4))
    assert episode_return(100, 100) == 0.0
    assert episode_return(None, 100) == 0.0
    share = draw(torch.full((20_000,), 0.3), torch.arange(20_000), 7).double().mean()
    assert float(share) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(("reached", "budget"), [(0, 10), (11, 10), (None, 0)])
def test_times_that_cannot_be(reached, budget):
    with pytest.raises(ConfigError, match=rf"reached its goal after {reached} of {budget} batches; give 1\.\.budget"):
        episode_return(reached, budget)


def student(seed=3, lr=0.1):
    return Student(tiny_net(), SGD(lr), seed=seed)


def teacher(**options):
    return KeepMask(3, **options).double()


def test_the_state_against_a_loop():
    t, pupil = teacher(), student()
    for seed, accuracy in ((1, 0.25), (2, 0.125)):
        t.learn(t.teach(tiny_batch(9, seed=seed), pupil), pupil, None)
        t.measured(accuracy)
    losses = [float(cross_entropy(pupil.predict(b.x), b.y).mean()) for b in (tiny_batch(9, seed=s) for s in (1, 2))]
    batch = tiny_batch(7, progress=0.75)
    z = pupil.logits(batch.x).tolist()
    y = batch.y.tolist()
    loss = [math.log(sum(math.exp(v - row[k]) for v in row)) for row, k in zip(z, y)]
    for i, row in enumerate(t.teach(batch, pupil).notes["state"].tolist()):
        others = max(v for k, v in enumerate(z[i]) if k != y[i])
        total = sum(map(math.exp, z[i]))
        needed = [loss[i], min(max(z[i][y[i]] - others, -10), 10) / 5, *(float(k == y[i]) for k in range(3)), 0.75]
        needed += [sum(losses) / 2, 0.25, *(math.exp(v) / total for v in z[i])]
        needed += [sum(other <= loss[i] for other in loss) / 7]
        assert row == pytest.approx(needed, rel=1e-9)


def test_before_the_first_lesson_the_mean_loss_is_that_of_guessing():
    t = teacher(state=("mean_loss", "best_accuracy"))
    assert t.teach(tiny_batch(2), student()).notes["state"].tolist() == [[pytest.approx(math.log(3)), 0.0]] * 2


def test_weights_are_of_what_was_drawn_with_the_probabilities_of_f():
    t, pupil = teacher(bias=0.0), student()
    notes = (lesson := t.teach(tiny_batch(40), pupil)).notes
    needed = torch.sigmoid(t.net(notes["state"])).squeeze(1)
    assert torch.equal(notes["score"], needed)
    assert torch.equal(lesson.weight, keep_weights(notes["kept"], DOUBLE))
    assert 0 < int(notes["kept"].sum()) < 40
    assert float(lesson.weight.sum()) == pytest.approx(40)
    assert not any(v.requires_grad for v in [lesson.weight, *notes.values()])


def test_draws_go_by_index_step_episode_and_seed():
    t, pupil, batch = teacher(bias=0.0), student(), tiny_batch(40)
    first = t.teach(batch, pupil)
    kept = first.notes["kept"]
    assert not torch.equal(kept, t.teach(batch, student(seed=4)).notes["kept"])
    again = Batch(batch.x, batch.y, batch.index + 1000, batch.progress)
    assert not torch.equal(kept, t.teach(again, pupil).notes["kept"])
    t.learn(first, pupil, None)  # the student has not studied it: kept examples may be gathered over batches
    assert not torch.equal(kept, t.teach(batch, pupil).notes["kept"])
    t.begin_episode()
    assert torch.equal(kept, t.teach(batch, pupil).notes["kept"])
    t.episode += 1
    assert not torch.equal(kept, t.teach(batch, pupil).notes["kept"])
    t.episode -= 1
    pupil.study(first)
    p = t.teach(batch, pupil).notes["score"]
    assert not torch.equal(kept, draw(p, batch.index, 0) & True)


def test_one_step_an_episode_along_the_summed_gradient():
    t, pupil = teacher(bias=0.5), student()
    twin = teacher(bias=0.5)
    adam = torch.optim.Adam(twin.net.parameters(), 0.01)
    for k, reward in enumerate((0.5, 2.0, 0.25)):
        before = [p.detach().clone() for p in t.net.parameters()]
        total = 0.0
        for seed in range(4):
            lesson = t.teach(tiny_batch(10, seed=10 * k + seed), pupil)
            t.learn(lesson, pupil, None)
            pupil.study(lesson)
            scores = twin.net(lesson.notes["state"]).squeeze(1)
            total = total + log_probability(scores, lesson.notes["kept"]).sum()
        assert all(torch.equal(a, b) for a, b in zip(before, t.net.parameters()))
        baseline = (0.0, 0.5, 0.8 * 0.5 + 0.2 * 2.0)[k]
        adam.zero_grad()
        (-(reward - baseline) * total).backward()
        adam.step()
        found = t.rewarded(reward)
        assert found["return"] == reward
        assert found["baseline"] == pytest.approx(baseline, abs=1e-12)
        for a, b in zip(t.net.parameters(), twin.net.parameters()):
            assert torch.allclose(a.grad, b.grad, rtol=1e-9, atol=1e-12)
            assert torch.allclose(a, b, rtol=0, atol=1e-10)
        norm = torch.nn.utils.get_total_norm([p.grad for p in twin.net.parameters()])
        assert found["gradient_norm"] == pytest.approx(float(norm), rel=1e-9)
        assert all(not bool(s.any()) for s in t.gathered.gradients)
        assert (int(t.episode), int(t.gathered.lessons), float(t.gathered.loss_sum)) == (k + 1, 0, 0.0)
    assert t.end_episode(25, 100)["return"] == pytest.approx(math.log(4))


def test_episodes_without_a_better_return_are_counted():
    t = teacher()
    counts = []
    for reward in (0.0, 0.0, 1.0, 0.5, 1.0, 1.5):
        t.rewarded(reward)
        counts.append(int(t.stale))
    assert counts == [0, 1, 0, 1, 2, 0]
    assert float(t.best_return) == 1.5


def test_frozen():
    t, pupil = teacher(), student()
    t.freeze()
    before = [p.detach().clone() for p in t.net.parameters()]
    t.learn(t.teach(tiny_batch(), pupil), pupil, None)
    t.rewarded(3.0)
    assert all(torch.equal(a, b) for a, b in zip(before, t.net.parameters()))
    assert int(t.episode) == 1


def test_examples_without_a_label_are_dropped_and_do_not_count():
    t, pupil, batch = teacher(bias=30.0), student(), tiny_batch(6)
    y = batch.y.clone()
    y[[1, 4]] = torch.tensor([-1, 3])
    lesson = t.teach(Batch(batch.x, y, batch.index), pupil)
    assert lesson.weight.tolist() == [1.5, 0, 1.5, 1.5, 0, 1.5]
    assert int(t.learn(lesson, pupil, None)["unlabelled"]) == 2
    twin, known = teacher(bias=30.0), [0, 2, 3, 5]
    scores = twin.net(lesson.notes["state"][known]).squeeze(1)
    needed = score_gradient(scores, lesson.notes["kept"][known], [*twin.net.parameters()])
    assert all(torch.allclose(a, b, atol=1e-15) for a, b in zip(t.gathered.gradients, needed))


def test_none_kept():
    t, pupil = teacher(bias=-60.0), student()
    lesson = t.teach(tiny_batch(), pupil)
    assert lesson.weight.tolist() == [0.0] * 12
    pupil.study(lesson)


def test_resume_within_an_episode():
    t, pupil = teacher(bias=0.0), student()

    def go_on(one, other, steps):
        for s in steps:
            lesson = one.teach(tiny_batch(10, seed=s), other)
            one.learn(lesson, other, None)
            other.study(lesson)

    go_on(t, pupil, range(5))
    t.rewarded(1.0)
    go_on(t, pupil, range(5, 8))
    twin, fellow = teacher(bias=7.0, seed=5), student()
    twin.load_state_dict(t.state_dict())
    fellow.load_state_dict(pupil.state_dict())
    for one, other in ((t, pupil), (twin, fellow)):
        go_on(one, other, range(8, 12))
        one.rewarded(0.5)
    for name, value in t.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name


def test_errors():
    with pytest.raises(ConfigError, match=r'unknown part of the state "los"\. Did you mean "loss"'):
        KeepMask(3, state=("los",))
    for options in ({"classes": 1}, {"hidden": -1}, {"decay": 1.0}, {"state": ()}):
        with pytest.raises(ConfigError, match="it needs at least 2 classes, hidden >= 0, decay"):
            KeepMask(**({"classes": 3} | options))
    with pytest.raises(ShapeError, match=r"made for 10 classes, but .* are \(12, 3\): make another, with classes=3"):
        KeepMask(10).double().teach(tiny_batch(), student())


def test_arguments_make_it_again():
    t = KeepMask(4, state=("rank", "loss"), hidden=5, bias=1.0, lr=0.1, decay=0.5, seed=3)
    twin = KeepMask(**t.arguments)
    assert all(torch.equal(a, b) for a, b in zip(t.parameters(), twin.parameters()))
    assert twin.arguments == t.arguments
    assert KeepMask(10).net[0].in_features == 2 * 10 + len(STATE) - 2
    linear = KeepMask(3, hidden=0)
    assert len(linear.net) == 1
    assert KeepMask(3, seed=1).net[0].weight[0, 0] != KeepMask(3).net[0].weight[0, 0]


class Bandit:
    """Examples of which 40 % are bad, and show it a little: x ~ N(1, 1) for good, N(-1, 1) for bad ones."""

    def __init__(self, n, generator):
        self.good = torch.arange(n) >= round(0.4 * n)
        x = torch.randn(n, generator=generator, dtype=DOUBLE) + torch.where(self.good, 1.0, -1.0)
        # two logits whose margin is x / 2
        self.batch = Batch(torch.stack([2.5 * x, 0 * x], 1), torch.zeros(n, dtype=torch.int64), torch.arange(n))

    def reward(self, kept):
        return float((kept * torch.where(self.good, 1.0, -1.0)).mean())


def greedy_reward(seed):
    generator = torch.Generator().manual_seed(seed)
    net = torch.nn.Linear(2, 2, bias=False).double()
    torch.nn.init.eye_(net.weight)
    pupil = Student(net, SGD(0.0), seed=seed)
    t = KeepMask(2, state=("margin",), hidden=0, bias=0.0, lr=0.05, seed=seed).double()
    bandit = Bandit(64, generator)
    for _ in range(300):
        lesson: Lesson = t.teach(bandit.batch, pupil)
        t.learn(lesson, pupil, None)
        t.rewarded(bandit.reward(lesson.notes["kept"]))
    new = Bandit(4000, generator)
    return new.reward(t.teach(new.batch, pupil).notes["score"] > 0.5)


@pytest.mark.slow
def test_a_bandit():
    """The rule of Bayes gets .446, keeping all .20."""
    rewards = [greedy_reward(seed) for seed in range(10)]
    assert sum(rewards) / 10 >= 0.42
    assert min(rewards) >= 0.40
