"""Label synthesis: labels that bring the student nearest, and what they may be."""

import copy
import pickle

import pytest
import torch
from torch import nn

from tutelage import SGD, Batch, Lesson, Student
from tutelage.errors import ConfigError, ShapeError
from tutelage.linear_sgd import LOGISTIC, MCBOOST, SOFTMAX, SQUARED
from tutelage.teachers.label.label_synthesis import LabelSynthesis
from tutelage.testing.laws import identical


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def student(weights, lr):
    net = nn.Linear(weights.shape[1], weights.shape[0], bias=False, dtype=weights.dtype)
    with torch.no_grad():
        net.weight.copy_(weights)
    return Student(net, SGD(lr))


def pool(n=40, d=6, seed=0):
    return Batch(normal(seed, n, d), torch.full((n,), -1), torch.arange(n))


def taught(teacher, learner, rows, steps):
    seen = []
    for _ in range(steps):
        lesson = teacher.teach(rows, learner)
        teacher.learn(lesson, learner, None)
        learner.study(lesson)
        seen.append((int(lesson.notes["index"]), lesson.target.tolist()))
    return seen


def fall(learner, lesson, target):
    after = learner.after(lesson, differentiable=False).head[1].detach()
    return float((learner.head[1].detach() - target).square().sum() - (after - target).square().sum())


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("eta", [1e-3, 0.05, 2.0])
def test_the_answer_is_the_targets_after_the_step(outputs, eta):
    rows = pool()
    for seed in range(5):
        target = normal(seed + 9, outputs, 6)
        learner = student(normal(seed, outputs, 6), eta)
        teacher = LabelSynthesis(target, bound=torch.inf, seed=seed)
        for _ in range(4):
            lesson = teacher.teach(rows, learner)
            teacher.learn(lesson, learner, None)
            learner.study(lesson)
            assert lesson.target.shape == ((1,) if outputs == 1 else (1, outputs))
            assert (lesson.x @ (learner.head[1].detach() - target).T).abs().max() < 1e-9


def test_labels_are_bounded():
    rows, target = pool(), normal(9, 6)
    learner = student(normal(0, 1, 6), 1e-4)
    most = 2 * (rows.x @ target).abs().max()
    found, given, free = (
        LabelSynthesis(target, bound=bound).teach(rows, learner).target for bound in (None, 0.25, torch.inf)
    )
    torch.testing.assert_close(found.abs(), most[None])
    assert given.abs() == 0.25
    assert free.abs() > most
    assert found.sign() == free.sign() == given.sign()


def test_a_clipped_label_is_the_best_of_those_allowed():
    rows, target = pool(), normal(9, 1, 6)
    learner = student(normal(0, 1, 6), 0.01)
    lesson = LabelSynthesis(target, bound=1.5).teach(rows, learner)
    falls = [
        fall(learner, Lesson(lesson.x, torch.tensor([y]), lesson.weight, lesson.loss), target)
        for y in torch.linspace(-1.5, 1.5, 301, dtype=torch.float64)
    ]
    assert float(lesson.notes["score"]) == pytest.approx(fall(learner, lesson, target), rel=1e-9)
    assert float(lesson.notes["score"]) >= max(falls) - 1e-12


@pytest.mark.parametrize(("loss", "outputs"), [(SOFTMAX, 4), (LOGISTIC, 1)], ids=["softmax", "logistic"])
@pytest.mark.parametrize("lr", [0.02, 0.5])
def test_mixed_labels_beat_all_real_ones(loss, outputs, lr):
    rows, target = pool(), normal(9, outputs, 6)
    learner = student(normal(0, outputs, 6), lr)
    mixed, hard = LabelSynthesis(target, loss=loss), LabelSynthesis(target, loss=loss, hard=True)
    before = float((learner.head[1].detach() - target).square().sum())
    for _ in range(30):
        soft, real = mixed.teach(rows, learner), hard.teach(rows, learner)
        assert torch.equal(soft.x, real.x)
        assert float(soft.notes["score"]) == pytest.approx(fall(learner, soft, target), rel=1e-9, abs=1e-12)
        assert float(soft.notes["score"]) >= float(real.notes["score"]) - 1e-12
        for teacher, lesson in ((mixed, soft), (hard, real)):
            teacher.learn(lesson, learner, None)
        learner.study(soft)
    assert float((learner.head[1].detach() - target).square().sum()) < before


@pytest.mark.parametrize(("loss", "outputs"), [(SOFTMAX, 4), (MCBOOST, 4), (LOGISTIC, 1)], ids=lambda v: str(v)[:30])
def test_hard_labels_are_the_best_real_ones(loss, outputs):
    rows, target = pool(), normal(9, outputs, 6)
    learner = student(normal(0, outputs, 6), 0.1)
    teacher, seen = LabelSynthesis(target, loss=loss, hard=True), set()
    for _ in range(12):
        lesson = teacher.teach(rows, learner)
        real = [-1.0, 1.0] if loss is LOGISTIC else range(outputs)
        falls = [fall(learner, Lesson(lesson.x, torch.tensor([y]), lesson.weight, lesson.loss), target) for y in real]
        assert float(lesson.target) == real[max(range(len(real)), key=falls.__getitem__)]
        assert float(lesson.notes["score"]) == pytest.approx(max(falls), rel=1e-9)
        seen.add(float(lesson.target))
        teacher.learn(lesson, learner, None)
        learner.study(lesson)
    assert len(seen) > 1


def test_rows_are_drawn_by_index_and_seed():
    rows, target = pool(), normal(9, 1, 6)
    drawn = [i for i, _ in taught(LabelSynthesis(target), student(target, 0.1), rows, 60)]
    assert len(set(drawn)) > 20
    assert len(set(drawn)) < 60  # with replacement
    assert drawn != [i for i, _ in taught(LabelSynthesis(target, seed=1), student(target, 0.1), rows, 60)]
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    shuffled = Batch(rows.x[order], rows.y, rows.index[order])
    assert drawn == [i for i, _ in taught(LabelSynthesis(target), student(target, 0.1), shuffled, 60)]


def test_teach_reads_and_the_state_is_all():
    rows, target = pool(), normal(9, 4, 6)
    teacher, learner = LabelSynthesis(target, loss=SOFTMAX), student(normal(0, 4, 6), 0.1)
    taught(teacher, learner, rows, 3)
    state = torch.get_rng_state()
    before = copy.deepcopy(teacher.state_dict())
    teacher.teach(rows, learner)
    assert identical(teacher.state_dict(), before)
    restored = LabelSynthesis(torch.zeros_like(target), loss=SOFTMAX)
    restored.load_state_dict(teacher.state_dict())
    others = [restored, copy.deepcopy(teacher), pickle.loads(pickle.dumps(teacher))]  # noqa: S301
    twins = [copy.deepcopy(learner) for _ in others]
    expected = taught(teacher, learner, rows, 5)
    for other, twin in zip(others, twins):
        assert taught(other, twin, rows, 5) == expected
    assert torch.equal(torch.get_rng_state(), state)


def test_the_rate_is_the_students_unless_given():
    rows, target = pool(), normal(9, 1, 6)
    learner = student(normal(0, 1, 6), 0.3)
    labels = [LabelSynthesis(target, eta=eta).teach(rows, learner).target for eta in (None, 0.3, 0.4)]
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], labels[2])


def test_refusals():
    target = normal(9, 4, 6)
    with pytest.raises(ConfigError, match="eta = -1"):
        LabelSynthesis(target, eta=-1)
    with pytest.raises(ConfigError, match="bound = 0"):
        LabelSynthesis(target, bound=0)
    with pytest.raises(ConfigError, match=r"bound is of the squared error.*softmax"):
        LabelSynthesis(target, loss=SOFTMAX, bound=1.0)
    with pytest.raises(ConfigError, match="hard chooses among real labels"):
        LabelSynthesis(target, loss=SQUARED, hard=True)
    with pytest.raises(ConfigError, match=r"MCBoost loss do not mix.*hard=True"):
        LabelSynthesis(target, loss=MCBOOST)
    with pytest.raises(ShapeError, match=r"target has shape \(4, 6\)"):
        LabelSynthesis(target).teach(pool(), student(target[:2], 0.1))
    with pytest.raises(ConfigError, match="has a bias"):
        LabelSynthesis(target).teach(pool(), Student(nn.Linear(6, 4, dtype=torch.float64), SGD(0.1)))
