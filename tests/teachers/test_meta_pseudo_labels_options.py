"""Meta pseudo labels: modes and options, and what is refused or told."""

import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tutelage import SGD, Batch, Student, train
from tutelage.credit import feedback_loss
from tutelage.errors import ConfigError, NotDifferentiable, ShapeError
from tutelage.losses import cross_entropy
from tutelage.masks import FreeMatch
from tutelage.randomness import seeded
from tutelage.schedules import Wait
from tutelage.semi_supervised import UDA
from tutelage.teachers import MetaPseudoLabels, UnsupervisedDataAugmentation
from tutelage.testing import tiny_net

from .meta_pseudo import DOUBLE, Bent, normal, pair, plain, semi_batch

# modes and options


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
