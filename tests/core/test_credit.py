"""Credit of pseudo labels: against differences, reverse mode, the engine, and the enumeration of all labels."""

import copy
import itertools

import pytest
import torch
from torch import nn

from tutelage import SGD, Lesson, Student
from tutelage.credit import (
    by_difference,
    by_jvp,
    by_unrolling,
    check_meta_gradient,
    feedback_loss,
    losses_around,
    per_sample_term,
    pulled_back,
    scalar_term,
    soft_term,
)
from tutelage.errors import NotDifferentiable
from tutelage.hypergradient import OneStep, Unrolled
from tutelage.losses import cross_entropy

from .look_ahead import DOUBLE, central, cosine, drawn, flat, relative
from .pseudo_labels import RULES, Tiny, mlp

KINDS = ["plain", "dropout", "batchnorm in evaluation", "batchnorm"]


def soft_gradient(tiny, how):
    q = torch.softmax(tiny.logits(), -1)
    if how == "unroll":
        _, table = by_unrolling(tiny.student, tiny.lesson(q), tiny.feedback)
    else:
        lesson = tiny.lesson(q.detach())
        by = by_jvp if how == "jvp" else by_difference
        table = by(tiny.student, lesson, pulled_back(tiny.student, lesson, tiny.feedback).s)
    assert not table.requires_grad
    return tiny.gradient(soft_term(q, table))


@pytest.mark.parametrize(("rule", "kind"), [*((rule, "plain") for rule in RULES), ("nesterov", "batchnorm")])
def test_unrolling_equals_central_differences_of_real_steps(rule, kind):
    tiny = Tiny(RULES[rule], kind)
    needed = central(tiny.loss_after, list(tiny.theta.values()))
    assert relative(soft_gradient(tiny, "unroll"), needed) <= 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", RULES)
def test_forward_mode_equals_reverse_mode(rule, kind):
    tiny = Tiny(RULES[rule], kind)
    needed = soft_gradient(tiny, "unroll")
    assert needed.norm() > 1e-6
    assert relative(soft_gradient(tiny, "jvp"), needed) <= 1e-12
    assert relative(soft_gradient(tiny, "fd"), needed) <= 1e-8


@pytest.mark.parametrize("strategy", [Unrolled(), OneStep("jvp")], ids=["unrolled", "one step"])
def test_equals_the_engine(strategy):
    tiny = Tiny(RULES["nesterov"], "dropout")
    lesson = tiny.lesson(torch.softmax(tiny.logits(), -1))
    _, found = strategy(tiny.student, [lesson], tiny.feedback, list(tiny.theta.values()))
    assert relative(soft_gradient(tiny, "jvp"), found) <= 1e-12


def single(activation, dtype):
    student = Student(mlp(64, 64, 64, 10, activation=activation, seed=1, dtype=dtype), SGD(0.5))
    x, logits = drawn(128, 64, seed=2, dtype=dtype), drawn(128, 10, seed=3, dtype=dtype)
    feedback = feedback_loss(drawn(32, 64, seed=4, dtype=dtype), torch.arange(32) % 10)
    q = torch.softmax(logits, -1).requires_grad_()
    lesson = Lesson(x, q.detach(), torch.ones(128, dtype=dtype), cross_entropy)
    s = pulled_back(student, lesson, feedback).s
    unrolled = by_unrolling(student, Lesson(x, q, lesson.weight, cross_entropy), feedback)[1]
    return {"jvp": by_jvp(student, lesson, s), "fd": by_difference(student, lesson, s), "unroll": unrolled}


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_single_precision(activation):
    found, needed = single(activation, torch.float32), single(activation, DOUBLE)
    for how, tolerance in (("jvp", 1e-5), ("unroll", 1e-5), ("fd", 1e-4 if activation is nn.Tanh else 1e-2)):
        assert relative(found[how].double(), needed["jvp"]) <= tolerance, how


def hard(tiny, seed=0):
    q = torch.softmax(tiny.logits(), -1).detach()
    return tiny.lesson(torch.multinomial(q, 1, generator=torch.Generator().manual_seed(seed)).squeeze(1))


def orders(seed, eta):
    """Errors of the dot at the new end and of the average of both, relative to eta ||v|| ||g||."""
    tiny = Tiny(SGD(eta), seed=seed, lessons=0)
    lesson = hard(tiny, seed)
    old, new = losses_around(tiny.student, lesson, tiny.feedback)
    back = pulled_back(tiny.student, lesson, tiny.feedback)
    start = pulled_back(tiny.student, lesson, tiny.feedback, at="old")
    g = flat(list(tiny.student.descent(lesson, keep=True).gradients.values()))
    size = float(flat(list(back.s.values())).norm() * g.norm())  # s has eta in it
    assert float(start.loss) == pytest.approx(float(old), abs=1e-15)
    return [abs(float(h - (old - new))) / size for h in (back.dot, (back.dot + start.dot) / 2)]


def test_the_dot_is_the_difference_to_first_order():
    for seed in range(20):
        first, second, third = (orders(seed, eta) for eta in (0.1, 0.01, 0.001))
        assert first[0] <= 0.1
        assert second[0] <= 0.01
        assert third[0] <= 0.001
        assert 8.5 <= first[0] / second[0] <= 11.5
        assert second[1] <= 2e-5


@pytest.mark.parametrize("rule", RULES)
def test_credits_of_the_samples_sum_to_the_dot(rule):
    tiny = Tiny(RULES[rule])
    lesson = hard(tiny)
    back = pulled_back(tiny.student, lesson, tiny.feedback)
    table = by_jvp(tiny.student, lesson, back.s)
    h = -table.gather(1, lesson.target.unsqueeze(1))
    assert float(h.sum()) == pytest.approx(float(back.dot), rel=1e-12)


class Enumerated:
    """All 27 label vectors of three examples and three classes, and the estimators' exact moments."""

    def __init__(self, seed=0):
        self.tiny = tiny = Tiny(SGD(0.05), n=3, temperature=1.0, seed=seed, lessons=0)
        tiny.weight = torch.ones(3, dtype=DOUBLE)
        self.logits = tiny.logits()
        self.q = torch.softmax(self.logits, -1)
        self.all = [torch.tensor(y) for y in itertools.product(range(3), repeat=3)]
        self.p = [self.q.gather(1, y.unsqueeze(1)).prod() for y in self.all]
        self.around = [losses_around(tiny.student, tiny.lesson(y), tiny.feedback) for y in self.all]
        self.back = [pulled_back(tiny.student, tiny.lesson(y), tiny.feedback) for y in self.all]
        self.truth = tiny.gradient(sum(p * new for p, (_, new) in zip(self.p, self.around)))

    def moments(self, estimate):
        """The mean of an estimator's gradient, and its standard deviation over the mean's norm."""
        p = torch.stack(self.p).detach()
        found = torch.stack([self.tiny.gradient(estimate(k)) for k in range(27)])
        mean = (p[:, None] * found).sum(0)
        spread = (p * (found - mean).square().sum(1)).sum().sqrt()
        return mean, float(spread / mean.norm())

    def scalar(self, k, h, scale="sum"):
        return scalar_term(self.logits, self.all[k], h, scale)

    def difference(self, k):
        return self.around[k][0] - self.around[k][1]

    def per_sample(self, k):
        lesson = self.tiny.lesson(self.all[k])
        return per_sample_term(self.logits, self.all[k], by_jvp(self.tiny.student, lesson, self.back[k].s))


@pytest.mark.parametrize("seed", range(3))
def test_all_label_vectors(seed):
    e = Enumerated(seed)
    mean_h = sum(p.detach() * e.difference(k) for k, p in enumerate(e.p))

    def check(estimate, cosine_within, norm, norm_within):
        mean, spread = e.moments(estimate)
        assert cosine(mean, e.truth) == pytest.approx(1.0 if norm > 0 else -1.0, abs=cosine_within)
        assert float(mean.norm() / e.truth.norm()) == pytest.approx(abs(norm), abs=norm_within)
        return spread

    scalar = check(lambda k: e.scalar(k, e.difference(k)), 1e-9, 1.0, 1e-9)
    check(lambda k: e.scalar(k, e.back[k].dot), 5e-3, 1.0, 0.03)
    check(lambda k: e.scalar(k, e.difference(k) - mean_h), 1e-9, 1.0, 1e-9)
    alone = check(e.per_sample, 1e-3, 1.0, 0.03)
    check(lambda k: e.scalar(k, e.difference(k), "mean"), 1e-9, 1 / 3, 1e-9)
    check(lambda k: e.scalar(k, -e.difference(k)), 1e-9, -1.0, 1e-9)  # new - old, as in the published ports
    assert alone <= 0.7 * scalar
    soft = e.tiny.lesson(e.q.detach())
    table = by_jvp(e.tiny.student, soft, pulled_back(e.tiny.student, soft, e.tiny.feedback).s)
    check(lambda _: soft_term(e.q, table), 1e-3, 1.0, 0.03)


def test_the_mean_of_per_sample_credit_is_the_soft_one():
    """Rao-Blackwell: at one direction of the feedback, over all labels."""
    e = Enumerated()
    soft = e.tiny.lesson(e.q.detach())
    table = by_jvp(e.tiny.student, soft, pulled_back(e.tiny.student, soft, e.tiny.feedback).s)
    mean, _ = e.moments(lambda k: per_sample_term(e.logits, e.all[k], table))
    assert relative(mean, e.tiny.gradient(soft_term(e.q, table))) <= 1e-12


def test_the_most_probable_label_is_another_estimator():
    """Never drawn, as in a published port: the cosine with the true gradient is all over the place."""
    found = []
    for seed in range(30):
        tiny = Tiny(SGD(0.05), temperature=1.0, seed=seed, lessons=0)
        lesson = tiny.lesson(tiny.logits().argmax(-1))
        old, new = losses_around(tiny.student, lesson, tiny.feedback)
        guess = tiny.gradient(scalar_term(tiny.logits(), lesson.target, old - new))
        found.append(cosine(guess, soft_gradient(tiny, "jvp")))
    assert sum(found) / 30 < 0.7
    assert min(found) < 0.0


def test_without_a_step_the_losses_are_the_same():
    """Same statistics, same masks: the difference is exactly 0, though the pass of the lesson moves the statistics."""
    for kind in KINDS:
        tiny = Tiny(SGD(0.5), kind, lessons=3)
        still = Student(copy.deepcopy(tiny.student.net), SGD(0.0))
        old, new = losses_around(still, hard(tiny), tiny.feedback)
        assert float(old - new) == 0.0
        back = pulled_back(still, hard(tiny), tiny.feedback)
        assert float(back.dot) == 0.0
        assert not by_difference(still, hard(tiny), back.s).any()


def test_looking_leaves_no_trace_and_holds_no_graph():
    tiny = Tiny(RULES["nesterov"], "batchnorm")
    lesson = tiny.lesson(torch.softmax(tiny.logits(), -1).detach())
    before, random = copy.deepcopy(tiny.student.state_dict()), torch.get_rng_state()
    back = pulled_back(tiny.student, lesson, tiny.feedback)
    found = [back.loss, back.dot, *back.s.values(), by_jvp(tiny.student, lesson, back.s)]
    found += [by_difference(tiny.student, lesson, back.s), *losses_around(tiny.student, lesson, tiny.feedback)]
    assert not any(t.requires_grad for t in found)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), tiny.student.state_dict().values()))
    assert torch.equal(random, torch.get_rng_state())


def test_the_published_term_has_no_gradient_and_is_refused():
    z = drawn(12, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(0.3 * cross_entropy(z, torch.softmax(z, -1).detach()).sum(), z)
    assert float(gradient.abs().max()) < 1e-12
    with pytest.raises(NotDifferentiable, match=r"is 0 at the first step; it does not depend .* its own softmax"):
        check_meta_gradient(gradient, torch.tensor(0.3, dtype=DOUBLE))
    with pytest.raises(NotDifferentiable, match=r"is 0 at the first step; no label changes the feedback loss"):
        check_meta_gradient(gradient, torch.tensor(0.0))
    with pytest.raises(NotDifferentiable, match=r"not finite at the first step; the student's step .* lower"):
        check_meta_gradient(gradient / 0.0, torch.tensor(1.0))
    check_meta_gradient(torch.full((2, 3), 1e-9), torch.full((2, 3), 1e-8))
