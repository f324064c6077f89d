"""Lessons whose target is a soft target: studied, looked at, and differentiated in the teacher's logits."""

import copy
import dataclasses
import pickle

import pytest
import torch
from torch.autograd import grad

from tutelage import SGD, Adam, Lesson, Student
from tutelage.hypergradient import Unrolled
from tutelage.lesson import tensors_in
from tutelage.losses import cross_entropy
from tutelage.rules import Decay
from tutelage.soft_targets import (
    DIST,
    KnowledgeDistillation,
    MutualLearning,
    SoftTarget,
    StandardisedDistillation,
    top_logits,
)
from tutelage.stacked import StackedStudent
from tutelage.testing import tiny_batch, tiny_net

KD = KnowledgeDistillation(2.0)
RULES = [SGD(0.5, 0.9, weight_decay=Decay(0.3, "weights", True)), Adam(0.05)]


def logits(seed=1, n=12):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lesson_of(batch, z_t, loss=KD):
    return Lesson(batch.x, SoftTarget(batch.y, z_t), torch.ones(len(batch), dtype=batch.x.dtype), loss)


def params(student):
    return torch.cat([p.detach().flatten() for p in student.params.values()])


def test_tensors_in_a_target():
    a, b, c = torch.ones(1), torch.ones(2), torch.ones(3)
    assert list(tensors_in(a)) == [a]
    assert list(tensors_in(SoftTarget(None, a))) == [a]
    assert [len(t) for t in tensors_in({"x": [a, (b, "words", 1.5)], "y": c})] == [1, 2, 3]
    assert len(list(tensors_in(SoftTarget(a, top_logits(torch.rand(2, 4), 2))))) == 4
    assert list(tensors_in("words")) == []


def test_a_student_of_soft_targets_equals_a_plain_loop():
    net, batch, z_t = tiny_net(), tiny_batch(), logits()
    student = Student(copy.deepcopy(net), SGD(0.5))
    p = (z_t / 2).softmax(1)
    for _ in range(5):
        student.study(lesson_of(batch, z_t))
        z = net(batch.x)
        soft = 4 * (p * (p.log() - (z / 2).log_softmax(1))).sum(1)
        loss = (0.1 * torch.nn.functional.cross_entropy(z, batch.y, reduction="none") + 0.9 * soft).mean()
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for q in net.parameters():
                q -= 0.5 * q.grad
    assert torch.allclose(params(student), torch.cat([q.detach().flatten() for q in net.parameters()]), atol=1e-12)


@pytest.mark.parametrize("rule", RULES, ids=["sgd", "adam"])
@pytest.mark.parametrize("loss", [KD, DIST(), StandardisedDistillation()], ids=lambda loss: type(loss).__name__)
def test_the_next_student_is_differentiable_in_the_teachers_logits(rule, loss):
    student, batch, validation = Student(tiny_net(), rule, seed=2), tiny_batch(), tiny_batch(seed=9)
    student.study(lesson_of(tiny_batch(seed=4), logits(2), loss))

    def after(z_t):
        later = student.after(lesson_of(batch, z_t, loss))
        return cross_entropy(later.logits(validation.x), validation.y).mean()

    z_t = logits().requires_grad_()
    assert torch.autograd.gradcheck(after, z_t, eps=1e-6, atol=1e-7, fast_mode=True)
    assert grad(after(z_t), z_t)[0].abs().max() > 1e-6


def test_hypergradients_reach_a_teacher_that_learns():
    """Through two lessons, whose targets are made by a linear teacher."""
    student, batch, validation = Student(tiny_net(), SGD(0.5, 0.9)), tiny_batch(), tiny_batch(seed=9)
    teacher = torch.randn(batch.x[0].numel(), 3, dtype=torch.float64).mul_(0.3).requires_grad_()

    def lesson(student):
        return lesson_of(batch, batch.x.flatten(1) @ teacher)

    def validate(student):
        return cross_entropy(student.logits(validation.x), validation.y).mean()

    found = Unrolled()(student, [lesson, lesson], validate, [teacher])
    (gradient,) = found[1]
    for place in ((0, 0), (1, 2)):
        ends = []
        for sign in (1, -1):
            moved = teacher.detach().clone()
            moved[place] += sign * 1e-5
            later = student
            for _ in range(2):
                later = later.after(lesson_of(batch, batch.x.flatten(1) @ moved), differentiable=False)
            ends.append(float(validate(later)))
        assert float(gradient[place]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("target", ["own", "graph"])
def test_targets_with_a_graph_are_values_to_study(target):
    """A target made from the student's own answers, or from another network's: the step does not descend through it."""
    one, two = Student(tiny_net(), SGD(0.5)), Student(tiny_net(), SGD(0.5))
    batch = tiny_batch()

    def made(student):
        if target == "own":
            return 1.5 * student.logits(batch.x).flip(0)
        return (2 * logits().requires_grad_()).sin()

    one.study(lesson_of(batch, made(one)))
    two.study(lesson_of(batch, made(two).detach()))
    assert torch.allclose(params(one), params(two), atol=1e-12)
    one, two = Student(tiny_net(), SGD(0.5)), Student(tiny_net(), SGD(0.5))
    assert torch.allclose(
        params(one.after(lesson_of(batch, made(one)))),
        params(two.after(lesson_of(batch, made(two).detach()))),
        atol=1e-12,
    )


def test_a_kept_descent_notices_a_changed_target():
    student, batch, z_t = Student(tiny_net(), SGD(0.5)), tiny_batch(), logits()
    lesson = lesson_of(batch, z_t)
    first = student.descent(lesson, keep=True)
    assert student.descent(lesson, keep=True) is student._known(lesson)
    z_t.mul_(3)
    again = student.descent(lesson, keep=True)
    assert not all(torch.equal(first.gradients[n], again.gradients[n]) for n in first.gradients)


@pytest.mark.parametrize("graph", [False, True], ids=["values", "own answers"])
def test_a_stack_of_students_equals_them_one_by_one(graph):
    def students():
        return [Student(tiny_net(seed=s), Adam(0.01), seed=s) for s in range(3)]

    def lesson(batch, student, s):
        z_t = 2 * student.logits(batch.x).flip(0) if graph else logits(s)
        return lesson_of(batch, z_t)

    alone, together = students(), students()
    stack = StackedStudent(together)
    for step in range(4):
        batches = [tiny_batch(seed=10 * s + step) for s in range(3)]
        for s, student in enumerate(alone):
            student.study(lesson(batches[s], student, s))
        members = stack.members(batches)
        stack.study([lesson(batches[s], members[s], s) for s in range(3)])
    for one, other in zip(alone, stack.students()):
        assert torch.allclose(params(one), params(other), atol=1e-12)


def test_peers_teach_each_other_at_once():
    """Two steps of three peers, against a plain loop that computes all answers before any update."""
    batch = tiny_batch()
    students = [Student(tiny_net(seed=s), SGD(0.3), seed=s) for s in range(3)]
    nets = [copy.deepcopy(student.net) for student in students]
    for _ in range(2):
        answers = [student.logits(batch.x).detach() for student in students]
        for i, student in enumerate(students):
            others = torch.stack([z for j, z in enumerate(answers) if j != i], 1)
            student.study(lesson_of(batch, others, MutualLearning()))
        z = [net(batch.x) for net in nets]
        for i, net in enumerate(nets):
            loss = cross_entropy(z[i], batch.y).mean()
            for j in range(3):
                if j != i:
                    p = z[j].detach().softmax(1)
                    loss = loss + (p * (p.log() - z[i].log_softmax(1))).sum(1).mean() / 2
            for q, g in zip(net.parameters(), grad(loss, list(net.parameters()))):
                q.data -= 0.3 * g
    for student, net in zip(students, nets):
        assert torch.allclose(params(student), torch.cat([q.detach().flatten() for q in net.parameters()]), atol=1e-12)


def test_losses_are_values():
    loss = DIST(gamma=0.0)
    assert pickle.loads(pickle.dumps(loss)) == loss  # noqa: S301
    assert dataclasses.replace(loss, gamma=1.0) == DIST(gamma=1.0)
    assert dataclasses.replace(loss, gamma=1.0).batch_coupled
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.beta = 3.0
