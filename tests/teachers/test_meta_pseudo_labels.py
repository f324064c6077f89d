"""Meta pseudo labels: the step, what it costs, and its gradients against the mathematics."""

import copy

import pytest
import torch
import torch.nn.functional as F

from tutelage import SGD, Batch, Student, train
from tutelage.credit import feedback_loss, losses_around, pulled_back
from tutelage.hypergradient import Unrolled
from tutelage.semi_supervised import UDA, consistency

from .meta_pseudo import (
    DOUBLE,
    HARD,
    MODES,
    NESTEROV,
    SOFT,
    equal,
    normal,
    pair,
    plain,
    semi_batch,
    state_of,
)


@pytest.mark.parametrize("mode", MODES)
def test_the_step_taken_is_the_step_looked_at(mode):
    """Commit = virtual, to the bit; teach and learn leave the student and random state alone, teach the teacher too."""
    teacher, student = pair(mode, uda=UDA(ramp=2))
    for t in range(3):
        before, own, random = state_of(student), copy.deepcopy(teacher.state_dict()), torch.get_rng_state()
        batch = semi_batch(t)
        lesson = teacher.teach(batch, student)
        assert equal(own, teacher.state_dict())
        virtual = state_of(student.after(lesson, differentiable=False))
        teacher.learn(lesson, student, None)
        assert equal(before, state_of(student))
        assert torch.equal(random, torch.get_rng_state())
        assert not equal(own, teacher.state_dict())
        student.study(lesson)
        assert equal(virtual, state_of(student))


@pytest.mark.parametrize(
    ("mode", "passes"),
    [
        ("distil", 1),
        ("soft-unroll", 2),
        ("soft-jvp", 3),
        ("soft-fd", 4),
        ("hard-per-sample", 3),
        ("hard-scalar", 2),
    ],
)
def test_passes_of_a_step(mode, passes, monkeypatch):
    """One of the teacher; of the student the studied one, the feedback, and what the mode adds; one gradient."""
    teacher, student = pair(mode, uda=UDA(), net=plain)
    list(train(student, teacher, [semi_batch(1)]))  # the first step is one of those that report more
    count = {"teacher": 0, "student": 0, "gradient": 0}
    for who, module in (("teacher", teacher.network.net), ("student", student.architecture)):
        module.register_forward_hook(lambda *_, who=who: count.update({who: count[who] + 1}))
    inner = Student._gradients

    def counted(self, *arguments):
        count["gradient"] += 1
        return inner(self, *arguments)

    monkeypatch.setattr(Student, "_gradients", counted)
    lesson = teacher.teach(semi_batch(), student)
    teacher.learn(lesson, student, None)
    student.study(lesson)
    assert count == {"teacher": 1, "student": passes, "gradient": 1}


def difference_after(teacher, student, batch, feedback):
    lesson = teacher.teach(batch, student)
    return float(feedback(student.after(lesson, differentiable=False)).detach())


OTHERWISE = {"student_smoothing": 0.2, "label_view": "strong", "label_threshold": 0.4}


@pytest.mark.parametrize(
    ("mode", "options"), [("soft-jvp", {}), ("soft-jvp", OTHERWISE), ("soft-unroll", OTHERWISE), ("soft-fd", OTHERWISE)]
)
def test_the_gradient_is_that_of_the_students_next_loss(mode, options):
    """Central differences over the teacher's parameters of what the student's labelled loss really becomes."""
    teacher, student = pair(mode, supervised_weight=0.0, temperature=0.7, **options)
    for t in range(2):
        lesson = teacher.teach(semi_batch(t), student)
        teacher.learn(lesson, student, None)
        student.study(lesson)
    batch = semi_batch(5)
    feedback = feedback_loss(batch.labelled.x, batch.labelled.y)
    start = copy.deepcopy(teacher.state_dict())
    lesson = teacher.teach(batch, student)
    assert 0 < float(lesson.weight.mean()) <= 1
    teacher.learn(lesson, student, None)
    found = torch.cat([p.grad.flatten() for p in teacher.network.net.parameters()])
    teacher.load_state_dict(start)
    needed = []
    for p in teacher.network.net.parameters():
        flat = p.data.view(-1)
        for i in range(len(flat)):
            center = float(flat[i])
            sides = []
            for h in (1e-5, -1e-5):
                flat[i] = center + h
                sides.append(difference_after(teacher, student, batch, feedback))
            flat[i] = center
            needed.append((sides[0] - sides[1]) / 2e-5)
    needed = torch.tensor(needed, dtype=DOUBLE)
    assert float((found - needed).norm() / needed.norm()) <= 1e-6


def test_all_terms_together():
    """lambda_sup CE + w(t) L_uda + lambda_m G, each written out, and the baseline of the scalar credit."""
    teacher, student = pair(
        "hard-scalar", own=SGD(0.0), rule=SGD(0.3), net=plain, uda=UDA(4.0, 0.7, 0.4, 10), supervised_weight=2.0,
        meta_weight=0.3, label_smoothing=0.1, temperature=0.8,
    )  # fmt: skip
    b = 0.0
    for t in range(4):
        batch = semi_batch(t)
        lesson = teacher.teach(batch, student)
        feedback = feedback_loss(batch.labelled.x, batch.labelled.y)
        old, new = losses_around(student, lesson, feedback)
        net = teacher.network.net
        z = [net(x) for x in (batch.labelled.x, batch.views["weak"], batch.views["strong"])]
        uda = consistency(z[1], z[2], teacher.uda)
        h = float(old - new)
        meta = (h - b) * F.cross_entropy(z[1] / 0.8, lesson.target, reduction="sum")
        own = F.cross_entropy(z[0], batch.labelled.y, label_smoothing=0.1)
        total = 2.0 * own + 4.0 * min(1, (t + 1) / 10) * uda + 0.3 * meta
        needed = torch.autograd.grad(total, list(net.parameters()))
        metrics = teacher.learn(lesson, student, None)
        for p, gradient in zip(net.parameters(), needed):
            assert torch.allclose(p.grad, gradient, atol=1e-13)
        assert float(metrics["h"]) == pytest.approx(h)
        assert float(metrics["baseline"]) == pytest.approx(b)
        assert float(metrics["feedback_before"] - metrics["feedback_loss"]) == pytest.approx(h)
        b = 0.99 * b + 0.01 * h
        assert float(teacher.moving_h) == pytest.approx(b, rel=1e-12)
        student.study(lesson)


@pytest.mark.parametrize(("credit", "rule"), [("dot", SGD(0.3)), ("average", SGD(0.3)), ("auto", NESTEROV)])
def test_other_credits(credit, rule):
    teacher, student = pair("hard-scalar", rule=rule, credit=credit)
    batch = semi_batch()
    lesson = teacher.teach(batch, student)
    feedback = feedback_loss(batch.labelled.x, batch.labelled.y)
    ends = [float(pulled_back(student, lesson, feedback, at=at).dot) for at in ("new", "old")]
    needed = sum(ends) / 2 if credit == "average" else ends[0]
    assert float(teacher.learn(lesson, student, None)["h"]) == pytest.approx(needed, rel=1e-12)


def test_the_sum_is_the_mean_times_the_number():
    found = []
    for scale in ("sum", "mean"):
        teacher, student = pair("hard-scalar", scale=scale, supervised_weight=0.0)
        teacher.learn(teacher.teach(semi_batch(), student), student, None)
        found.append(torch.cat([p.grad.flatten() for p in teacher.network.net.parameters()]))
    assert torch.allclose(found[0], 12 * found[1], atol=1e-14)


def test_soft_labels_equal_the_engine():
    teacher, student = pair("soft-jvp", supervised_weight=0.0)
    batch = semi_batch()
    teacher.learn(teacher.teach(batch, student), student, None)
    other, again = pair("soft-unroll", supervised_weight=0.0)
    lesson = other.teach(batch, again)
    params = list(other.network.net.parameters())
    _, needed = Unrolled()(again, [lesson], feedback_loss(batch.labelled.x, batch.labelled.y), params)
    for p, gradient in zip(teacher.network.net.parameters(), needed):
        assert torch.allclose(p.grad, gradient, atol=1e-15)


@pytest.mark.parametrize("mode", [*SOFT, *HARD])
def test_labels_reach_the_teacher_through_the_student_alone(mode):
    """No own loss: the gradient changes with the labels of the feedback, and is 0 without a step."""

    def gradient(y, rule=NESTEROV):
        teacher, student = pair(mode, rule=rule, supervised_weight=0.0)
        validation = Batch(normal(6, 6, seed=8), y, torch.arange(6))
        metrics = teacher.learn(teacher.teach(semi_batch(), student), student, validation)
        return torch.cat([p.grad.flatten() for p in teacher.network.net.parameters()]), metrics

    one, metrics = gradient(torch.tensor([0, 1, 2, 0, 1, 2]))
    other, _ = gradient(torch.tensor([2, 1, 0, 0, 2, 1]))
    assert float((one - other).norm()) > 0.1 * float(one.norm()) > 0
    assert float(metrics["h"]) != 0.0
    still, metrics = gradient(torch.tensor([0, 1, 2, 0, 1, 2]), SGD(0.0))
    assert not still.any()
    assert "h" not in metrics
