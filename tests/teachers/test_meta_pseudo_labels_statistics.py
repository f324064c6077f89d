"""Meta pseudo labels: drawn labels, the control, going on from a state, running statistics and metrics."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tutelage import SGD, Student, train
from tutelage.credit import feedback_loss
from tutelage.masks import FlexMatch, FreeMatch, SoftMatch
from tutelage.randomness import seeded
from tutelage.schedules import Wait
from tutelage.semi_supervised import UDA, Average, confidences

from .meta_pseudo import (
    HARD,
    MODES,
    NESTEROV,
    equal,
    pair,
    plain,
    semi_batch,
    state_of,
)

# randomness and state


@pytest.mark.parametrize("mode", HARD)
def test_credit_goes_to_the_label_that_was_used(mode):
    """Drawn from the weak view, taught on the strong one; the same tensor is taught and credited."""
    teacher, student = pair(mode)
    batch = semi_batch()
    lesson = teacher.teach(batch, student)
    assert lesson.x is batch.views["strong"]
    assert lesson.target.dtype == torch.int64
    with seeded(0):
        weak = lesson.notes["z"][6:18].detach()
    assert torch.allclose(lesson.notes["q"].detach(), torch.softmax(weak, -1))
    assert torch.equal(lesson.target, teacher.teach(batch, student).target)
    argmax, _ = pair(mode, sample=False)
    assert torch.equal(argmax.teach(batch, student).target, weak.argmax(-1))
    assert argmax.biased == "biased: labels are the most probable ones, not drawn"
    assert argmax.learn(argmax.teach(batch, student), student, None)["biased"]
    assert teacher.biased is None


def test_labels_are_drawn_anew_at_each_step():
    """Same batch and same teacher: the draw belongs to the step and to the student's seed."""
    teacher, student = pair("hard-scalar", net=plain)
    other = Student(plain(2), NESTEROV, seed=5)
    batch = semi_batch(n=60)
    lesson = teacher.teach(batch, student)
    assert not torch.equal(lesson.target, teacher.teach(batch, other).target)
    student.study(lesson)
    assert not torch.equal(lesson.target, teacher.teach(batch, student).target)


def test_the_control_computes_no_feedback(monkeypatch):
    monkeypatch.setattr("tutelage.credit.feedback_loss", None)
    for options in ({"mode": "distil"}, {"mode": "soft-jvp", "meta_weight": 0.0}):
        teacher, student = pair(**options)
        assert "h" not in teacher.learn(teacher.teach(semi_batch(), student), student, None)
    waiting, student = pair(rule=SGD(Wait(lambda step: 0.1, 1)))
    assert "h" not in waiting.learn(waiting.teach(semi_batch(), student), student, None)


def test_the_control_draws_the_same():
    """Same labels and masks as with feedback, until the teacher has moved."""
    one, student = pair("hard-scalar", uda=UDA())
    other, _ = pair("hard-scalar", uda=UDA(), meta_weight=0.0)
    assert torch.equal(one.teach(semi_batch(), student).target, other.teach(semi_batch(), student).target)


@pytest.mark.parametrize("mode", MODES)
def test_going_on_from_a_state(mode):
    """Five steps more give the same bytes: networks, statistics, optimisers, average, baseline, mask."""

    def made():
        teacher, student = pair(mode, uda=UDA(ramp=4), mask=FreeMatch(3), tsa="linear")
        return teacher, student, Average(student)

    def run(teacher, student, average, steps):
        metrics = {}
        for step in train(student, teacher, (semi_batch(t, progress=t / 10) for t in steps)):
            average.update(student)
            metrics = {k: v.tolist() if torch.is_tensor(v) else v for k, v in step.metrics.items()}
        return {**state_of(student), **average.state_dict(), **teacher.state_dict()}, metrics

    whole, metrics = run(*made(), range(10))
    parts = made()
    run(*parts, range(5))
    others = made()
    for part, other in zip(parts, others):
        other.load_state_dict(copy.deepcopy(part.state_dict()))
    thawed = pickle.loads(pickle.dumps(parts))  # noqa: S301
    for resumed in (others, thawed):
        found, again = run(*resumed, range(5, 10))
        assert equal(found, whole)
        assert again == metrics


def test_running_statistics_move_once_a_step():
    teacher, student = pair(uda=UDA())
    list(train(student, teacher, [semi_batch(t) for t in range(3)]))
    assert int(teacher.network.net[1].num_batches_tracked) == 3
    assert int(student.net[1].num_batches_tracked) == 3
    teacher.eval()  # how the module stands changes nothing
    list(train(student, teacher, [semi_batch(3)]))
    assert int(teacher.network.net[1].num_batches_tracked) == 4
    x = semi_batch().x
    assert torch.allclose(teacher.predict(x, batch_size=5), copy.deepcopy(teacher.network.net).eval()(x))


# metrics


def test_metrics():
    teacher, student = pair(uda=UDA(threshold=0.0), report_every=2)
    found = [step.metrics for step in train(student, teacher, [semi_batch(t) for t in range(3)])]
    assert {"eta", "h", "feedback_loss", "supervised_loss", "uda_loss", "uda_weight", "mask_rate"} <= found[0].keys()
    for name in ("meta_norm", "meta_cosine", "feedback_before"):
        assert [name in m for m in found] == [True, False, True]
    assert -1 <= float(found[0]["meta_cosine"]) <= 1
    assert float(found[0]["mask_rate"]) == 1.0
    assert int(found[0]["label_histogram"].sum()) == int(found[0]["confidence_histogram"].sum()) == 12
    assert not any(t.requires_grad for m in found for t in m.values() if torch.is_tensor(t))


def test_the_cosine_is_with_the_gradient_of_the_supervised_term():
    """Not of all the rest; none without that term; both losses of the feedback are those of the real step."""
    own = {"own": SGD(0.0), "rule": SGD(0.3), "net": plain, "temperature": 0.7}
    teacher, student = pair(uda=UDA(4.0, 0.7, 0.0, 0), **own)
    batch = semi_batch()
    feedback = feedback_loss(batch.labelled.x, batch.labelled.y)
    net, params = teacher.network.net, list(teacher.network.net.parameters())
    q = torch.softmax(net(batch.views["weak"]) / 0.7, -1)
    lesson = teacher.teach(batch, student)
    after = student.after(replace(lesson, target=q))
    sides = feedback(after), F.cross_entropy(net(batch.labelled.x), batch.labelled.y)
    meta, supervised = (torch.cat([g.flatten() for g in torch.autograd.grad(side, params)]) for side in sides)
    metrics = teacher.learn(lesson, student, None)
    assert float(metrics["meta_cosine"]) == pytest.approx(float(torch.cosine_similarity(meta, supervised, 0)))
    assert float(metrics["meta_norm"]) == pytest.approx(float(meta.norm()))
    assert float(metrics["feedback_before"]) == pytest.approx(float(feedback(student).detach()), rel=1e-12)
    assert float(metrics["feedback_loss"]) == pytest.approx(float(feedback(after).detach()), rel=1e-12)
    alone, student = pair(supervised_weight=0.0, **own)
    metrics = alone.learn(alone.teach(batch, student), student, None)
    assert "meta_norm" in metrics
    assert "meta_cosine" not in metrics


def test_the_masks_histogram_is_of_what_the_mask_looks_at():
    """The weak view before the temperature of the labels; that of the labels is of the labels."""
    teacher, student = pair("distil", net=plain, uda=UDA(), label_view="strong", temperature=0.2, label_threshold=0.99)
    batch = semi_batch()
    weak, strong = (torch.softmax(teacher.network.net(batch.views[v]).detach(), -1) for v in ("weak", "strong"))
    labels = torch.softmax(teacher.network.net(batch.views["strong"]).detach() / 0.2, -1)
    lesson = teacher.teach(batch, student)
    metrics = teacher.learn(lesson, student, None)
    assert torch.equal(metrics["mask_histogram"], confidences(weak))
    assert torch.equal(metrics["confidence_histogram"], confidences(labels))
    assert not torch.equal(confidences(weak), confidences(strong))
    assert float(metrics["label_rate"]) == float((labels.amax(-1) >= 0.99).double().mean())


def test_reporting_changes_nothing():
    states = []
    for every in (1, 1000):
        teacher, student = pair(uda=UDA(), report_every=every)
        list(train(student, teacher, [semi_batch(t) for t in range(1, 4)]))
        states.append(torch.cat([p.flatten() for p in teacher.network.net.parameters()]))
    assert torch.allclose(*states, atol=1e-12)


@pytest.mark.parametrize("mask", [FlexMatch(3, 100, 0.5), FreeMatch(3, 0.5), SoftMatch(3, 0.5)], ids=repr)
def test_masks_that_adapt(mask):
    teacher, student = pair(uda=UDA(), mask=copy.deepcopy(mask))
    rates = [float(s.metrics["mask_rate"]) for s in train(student, teacher, [semi_batch(t) for t in range(3)])]
    assert all(0 <= r <= 1 for r in rates)
    assert not equal(teacher.mask.state_dict(), mask.double().state_dict())
