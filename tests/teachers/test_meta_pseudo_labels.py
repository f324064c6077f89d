"""Meta pseudo labels, unsupervised data augmentation and offline labels: what the teachers do with the mathematics."""

import copy
import pickle
import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tutelage import SGD, Adam, AdamW, Batch, Student, train
from tutelage.credit import feedback_loss, losses_around, pulled_back
from tutelage.errors import ConfigError, DataError, NotDifferentiable, ShapeError
from tutelage.hypergradient import Unrolled
from tutelage.losses import cross_entropy
from tutelage.masks import FlexMatch, FreeMatch, SoftMatch
from tutelage.randomness import seeded
from tutelage.schedules import Wait
from tutelage.semi_supervised import UDA, Average, confidences, consistency
from tutelage.teachers import MetaPseudoLabels, OfflinePseudoLabels, UnsupervisedDataAugmentation
from tutelage.testing import tiny_batch, tiny_net

DOUBLE = torch.float64
SOFT, HARD = ("soft-jvp", "soft-unroll", "soft-fd"), ("hard-per-sample", "hard-scalar")
MODES = (*SOFT, *HARD, "distil")
NESTEROV = SGD(0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)


def normal(*shape, seed):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def semi_batch(seed=0, n=12, progress=0.5):
    """Unlabelled rows in two views, and six labelled ones."""
    x = tiny_batch(n, seed=seed).x
    index = torch.randperm(100, generator=torch.Generator().manual_seed(seed))[:n]
    views = {"weak": x + 0.05 * normal(n, 6, seed=seed + 100), "strong": x + 0.3 * normal(n, 6, seed=seed + 200)}
    labelled = Batch(normal(6, 6, seed=seed + 300), torch.arange(6) % 3, torch.arange(100, 106))
    return Batch(x, torch.full((n,), -1), index, progress, views=views, labelled=labelled)


def deep_net(seed=1):
    """Batch norm and dropout together."""
    with seeded(seed):
        layers = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3)
        return nn.Sequential(*layers).double()


def pair(mode="soft-jvp", *, net=deep_net, rule=NESTEROV, own=None, **options):
    teacher = MetaPseudoLabels(net(1), AdamW(0.01) if own is None else own, mode, **options)
    return teacher.double(), Student(net(2), rule, seed=4)


def plain(seed):
    return tiny_net("plain", seed=seed)


def state_of(student):
    return {n: t.detach().clone() for n, t in student.state_dict().items()}


def equal(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[n], b[n]) for n in a)


# the step


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


# options


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


class Bent(torch.autograd.Function):
    """A function without forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (1 - x.tanh() ** 2)


class WithBent(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(Bent.apply(self.first(x)))


class Attentive(nn.Module):
    """Fused attention: neither forward mode nor a second derivative."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 24), nn.Linear(8, 3)

    def forward(self, x):
        q, k, v = self.first(x.view(len(x), 1, 3, 2)).chunk(3, -1)
        return self.last(F.scaled_dot_product_attention(q, k, v).mean((1, 2)))


@pytest.mark.parametrize(
    ("net", "mode", "operator"),
    [
        (WithBent, "soft-jvp", "autograd.Function"),
        (WithBent, "hard-per-sample", "autograd.Function"),
        (Attentive, "soft-jvp", "_scaled_dot_product_flash_attention_for_cpu"),
        (Attentive, "soft-unroll", "_scaled_dot_product_flash_attention_for_cpu_backward"),
    ],
)
def test_a_student_without_the_derivative_that_the_mode_needs(net, mode, operator):
    with seeded(0):
        made = net().double()
    teacher, student = MetaPseudoLabels(tiny_net(), SGD(0.1), mode).double(), Student(made, SGD(0.1))
    with pytest.raises(NotDifferentiable, match=rf"{operator} has no .* mode \"soft-fd\" \(--soft fd\) or \"hard-s"):
        teacher.learn(teacher.teach(semi_batch(), student), student, None)
    for other in ("soft-fd", "hard-scalar"):
        able = MetaPseudoLabels(tiny_net(), SGD(0.1), other).double()
        assert list(train(student, able, [semi_batch()]))


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


def test_the_students_view_and_weights():
    teacher, student = pair(student_view="weak", label_threshold=0.45)
    batch = semi_batch()
    lesson = teacher.teach(batch, student)
    assert lesson.x is batch.views["weak"]
    assert torch.equal(lesson.weight, (lesson.target.amax(-1) >= 0.45).double())
    assert 0 < float(lesson.weight.mean()) < 1


def test_the_clean_view_scores_the_student():
    batch = semi_batch()
    labelled = replace(batch.labelled, views={"clean": normal(6, 6, seed=1)})
    clean = replace(batch, labelled=labelled)
    losses = []
    for b in (batch, clean):
        teacher, student = pair()
        losses.append(float(teacher.learn(teacher.teach(b, student), student, None)["feedback_loss"]))
    assert losses[0] != losses[1]


def test_reduced():
    """A small network adjusts stored logits; the gradient is that of the loss after the step."""
    table = 2 * normal(106, 3, seed=5)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    teacher = MetaPseudoLabels(net, SGD(0.0), reduced=table).double()
    student = Student(tiny_net(), SGD(0.3))
    batch = semi_batch()
    lesson = teacher.teach(batch, student)
    inner = teacher.network.net
    assert torch.allclose(lesson.target, torch.softmax(inner(table[batch.index]), -1).detach())
    q = torch.softmax(inner(table[batch.index]), -1)
    later = student.after(type(lesson)(lesson.x, q, lesson.weight, cross_entropy))
    loss = feedback_loss(batch.labelled.x, batch.labelled.y)(later)
    loss = loss + cross_entropy(inner(table[batch.labelled.index]), batch.labelled.y).mean()
    needed = torch.autograd.grad(loss, list(inner.parameters()))
    teacher.learn(lesson, student, None)
    for p, gradient in zip(inner.parameters(), needed):
        assert torch.allclose(p.grad, gradient, atol=1e-14)
    assert "reduced" not in teacher.state_dict()
    short = MetaPseudoLabels(net, SGD(0.0), reduced=table[:50]).double()
    with pytest.raises(ShapeError, match=r"reduced has 50 rows of logits, but an example has index 105"):
        short.teach(batch, student)


# guards


class Certain(nn.Module):
    """Probability 1 for class 0, whatever it learned."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3, dtype=DOUBLE))

    def forward(self, x):
        return self.shift + torch.tensor([2000.0, 0.0, 0.0], dtype=DOUBLE).expand(len(x), 3)


@pytest.mark.parametrize("mode", ["soft-jvp", "soft-unroll", "hard-per-sample", "hard-scalar"])
def test_a_teacher_that_nothing_reaches_is_refused(mode):
    teacher = MetaPseudoLabels(Certain(), SGD(0.1), mode).double()
    student = Student(tiny_net(), SGD(0.1))
    with pytest.raises(NotDifferentiable, match="the meta-gradient is 0 at the first step; it does not depend on"):
        teacher.learn(teacher.teach(semi_batch(), student), student, None)
    control = MetaPseudoLabels(Certain(), SGD(0.1), mode, meta_weight=0.0).double()
    control.learn(control.teach(semi_batch(), student), student, None)


def test_the_guard_looks_at_the_first_step_that_has_feedback():
    teacher, student = pair(rule=SGD(Wait(lambda step: 0.1, 2)))
    for step, _ in enumerate(train(student, teacher, [semi_batch(t) for t in range(3)])):
        assert bool(teacher.checked) == (step == 2)
    assert bool(teacher.checked)


@pytest.mark.parametrize("who", ["teacher", "student"])
def test_a_network_that_ends_in_a_softmax(who):
    soft = nn.Sequential(tiny_net(), nn.Softmax(-1))
    nets = {"teacher": tiny_net(), "student": tiny_net()} | {who: soft}
    teacher, student = MetaPseudoLabels(nets["teacher"], SGD(0.1)).double(), Student(nets["student"], SGD(0.1))
    with pytest.warns(UserWarning, match=f"rows of the {who}'s logits sum to 1: .* softmax; remove it"):
        teacher.teach(semi_batch(), student)
    right = MetaPseudoLabels(tiny_net(), SGD(0.1)).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right.teach(semi_batch(), Student(tiny_net(), SGD(0.1)))


def test_other_classes():
    teacher = MetaPseudoLabels(nn.Linear(6, 4), SGD(0.1)).double()
    with pytest.raises(ShapeError, match=r"teacher answers with 4 classes, but the student's .* \(12, 3\): both need"):
        teacher.teach(semi_batch(), Student(tiny_net(), SGD(0.1)))

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(6, dtype=DOUBLE))

        def forward(self, x):
            return x @ self.w

    with pytest.raises(ShapeError, match=r"teacher's network returned \(18,\), but needs logits of shape \(18, "):
        MetaPseudoLabels(Flat(), SGD(0.1)).double().teach(semi_batch(), Student(tiny_net(), SGD(0.1)))


def test_a_mask_that_keeps_nothing_is_told(monkeypatch):
    monkeypatch.setattr("tutelage.masks.SILENT", 60)
    teacher, student = pair("distil", net=plain, uda=UDA(threshold=1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(train(student, teacher, [semi_batch(t) for t in range(60)]))
    with pytest.warns(UserWarning, match=r"loss was 0 for 100 steps, since its mask keeps no example; .* \[0, "):
        list(train(student, teacher, [semi_batch(t) for t in range(40)]))
    kept, student = pair("distil", net=plain, uda=UDA(threshold=0.0))
    list(train(student, kept, [semi_batch(t) for t in range(3)]))
    assert int(kept.silence.steps) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "soft"}, r'unknown mode "soft"\. Did you mean "soft-fd"\?'),
        ({"meta_weight": float("nan")}, "meta_weight is nan; it must be finite"),
        ({"supervised_weight": -1}, "supervised_weight is -1; it must be at least 0"),
        ({"temperature": 0}, "temperature is 0; it must be above 0"),
        ({"temperature": float("inf")}, "temperature is inf; it must be above 0, and finite"),
        ({"label_smoothing": 1}, r"label_smoothing is 1; it must be in \[0, 1\)"),
        ({"label_view": "clean"}, r'unknown label_view "clean"'),
        ({"credit": "cosine", "mode": "hard-scalar"}, r'unknown credit "cosine"'),
        ({"credit": "dot"}, "baseline, credit and scale are of hard-scalar; the mode is soft-jvp, which has none"),
        ({"baseline": 0.9, "mode": "hard-per-sample"}, "baseline, credit and scale are of hard-scalar"),
        ({"sample": False}, "sample=False is of the hard modes; the mode is soft-jvp, whose labels are soft"),
        ({"mask": FreeMatch(3)}, "mask is of the consistency term; give uda, too"),
        ({"tsa": "linear", "supervised_weight": 0}, "tsa is of the supervised term, whose weight is 0"),
        ({"reduced": torch.zeros(3, 3), "uda": UDA()}, "reduced: one row of logits is stored for each example"),
        ({"report_every": 0}, "report_every is 0; it is a number of steps, at least 1"),
    ],
)
def test_options(options, message):
    with pytest.raises(ConfigError, match=message):
        MetaPseudoLabels(tiny_net(), SGD(0.1), **options)


def test_batches_without_what_is_needed():
    bare = Batch(semi_batch().x, torch.full((12,), -1), torch.arange(12))
    teacher, student = pair()
    with pytest.raises(ConfigError, match="the batch has no labelled examples; give them, or supervised_weight=0"):
        teacher.teach(bare, student)
    unlabelled, student = pair(supervised_weight=0.0)
    with pytest.raises(ConfigError, match="no labelled examples to score the student on; pass them as validation"):
        unlabelled.learn(unlabelled.teach(bare, student), student, None)
    consistent, student = pair(supervised_weight=0.0, uda=UDA())
    with pytest.raises(ConfigError, match="UDA needs the view 'strong' of its batches, but they have none"):
        consistent.teach(bare, student)
    with pytest.raises(ConfigError, match="UnsupervisedDataAugmentation: the batch has no labelled examples"):
        UnsupervisedDataAugmentation(UDA()).teach(bare, student)


# the other rungs of the ladder


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.15}, {"tsa": "exp"}, {"mask": SoftMatch(3, 0.5)}])
def test_a_teacher_without_feedback_is_uda_itself(options):
    """The teacher of distillation becomes, batch norm included, what the student of UDA becomes."""
    uda, net = UDA(weight=4, threshold=0.4, ramp=3), tiny_net("batchnorm", seed=3)
    distil = MetaPseudoLabels(net, NESTEROV, "distil", uda=uda, **copy.deepcopy(options)).double()
    alone = UnsupervisedDataAugmentation(uda, **copy.deepcopy(options)).double()
    network, batches = Student(net, NESTEROV), [semi_batch(t) for t in range(5)]
    one = [s.metrics for s in train(Student(tiny_net(), SGD(0.1)), distil, batches)]
    other = [s.metrics for s in train(network, alone, batches)]
    for a, b in zip(distil.network.net.state_dict().values(), network.net.state_dict().values()):
        assert torch.allclose(a, b, atol=1e-13)
    for a, b in zip(one, other):
        assert float(a["mask_rate"]) == pytest.approx(float(b["mask_rate"]), abs=1e-12)
        total = float(a["supervised_loss"]) + a["uda_weight"] * float(a["uda_loss"])
        assert float(b["loss"]) == pytest.approx(total, rel=1e-12)


def test_supervised_alone_is_a_plain_loop():
    net = tiny_net("batchnorm")
    student, teacher = Student(copy.deepcopy(net), Adam(0.01)), UnsupervisedDataAugmentation(None)
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for t in range(5):
        batch = semi_batch(t)
        optimiser.zero_grad()
        F.cross_entropy(net(batch.labelled.x), batch.labelled.y).backward()
        optimiser.step()
        list(train(student, teacher, [batch]))
    for a, b in zip(student.net.state_dict().values(), net.state_dict().values()):
        assert torch.allclose(a, b, atol=1e-13)
    with pytest.raises(ConfigError, match="mask is of the consistency term; give uda, too"):
        UnsupervisedDataAugmentation(None, mask=FreeMatch(3))
    with pytest.raises(ConfigError, match=r"label_smoothing is 2; it must be in \[0, 1\)"):
        UnsupervisedDataAugmentation(None, label_smoothing=2)


@pytest.mark.parametrize("hard", [True, False])
def test_offline_labels(hard):
    """CE(S(x_s), label) + CE(S(x_l), y), by hand; rows below the threshold do not count."""
    pool = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    logits = normal(100, 3, seed=2)
    teacher = OfflinePseudoLabels(logits, pool, hard=hard, threshold=0.5).double()
    batch, student = semi_batch(), Student(tiny_net(), SGD(0.1))
    rows = torch.tensor([int((pool == i).nonzero()) for i in batch.index])
    soft = torch.softmax(logits[rows], -1)
    keep = (soft.amax(-1) >= 0.5).double()
    assert 0 < keep.sum() < 12
    target = soft.argmax(-1) if hard else soft
    net = student.net
    needed = (keep * F.cross_entropy(net(batch.views["strong"]), target, reduction="none")).mean()
    needed = needed + F.cross_entropy(net(batch.labelled.x), batch.labelled.y)
    lesson = teacher.teach(batch, student)
    assert float(student.study(lesson)["loss"]) == pytest.approx(float(needed.detach()), rel=1e-12)


def test_offline_options():
    logits = normal(20, 3, seed=2)
    balanced = OfflinePseudoLabels(logits, balance=True)
    sums = [float(balanced.weights[logits.argmax(-1) == c].sum()) for c in range(3)]
    assert sums == pytest.approx([20 / 3] * 3)
    alone = OfflinePseudoLabels(normal(100, 3, seed=2), supervised_weight=0.0).double()
    assert len(alone.teach(semi_batch(), Student(tiny_net(), SGD(0.1)))) == 12
    with pytest.raises(DataError, match="no label was made for example"):
        OfflinePseudoLabels(logits).teach(semi_batch(), Student(tiny_net(), SGD(0.1)))
    with pytest.raises(DataError, match="needs finite logits"):
        OfflinePseudoLabels(logits / 0)
    with pytest.raises(DataError, match=r"index has shape \(3,\); it needs a position a row"):
        OfflinePseudoLabels(logits, torch.arange(3))
    for temperature in (0, float("inf")):
        with pytest.raises(ConfigError, match=f"temperature is {temperature}; it must be above 0, and finite"):
            OfflinePseudoLabels(logits, temperature=temperature)
    some = OfflinePseudoLabels(logits, threshold=0.7)
    metrics = some.learn(None, None, None)
    sure = torch.softmax(logits, -1).amax(-1) >= 0.7
    assert float(metrics["label_rate"]) == float(sure.double().mean())
    assert torch.equal(metrics["confidence_histogram"], confidences(torch.softmax(logits, -1)))
