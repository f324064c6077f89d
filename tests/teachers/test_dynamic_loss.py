"""What is particular to the dynamic loss: its forms, its state, and that gradients reach all of it."""

import math
from dataclasses import replace

import pytest
import torch

from tutelage import SGD, Batch, Student, train
from tutelage.errors import ConfigError, ShapeError
from tutelage.hypergradient import OneStep, Recompute, Unrolled
from tutelage.losses import cross_entropy
from tutelage.rules import Adam
from tutelage.teachers import DynamicLoss
from tutelage.teachers.label.dynamic_loss import attention, linear_loss, sigmoid_loss
from tutelage.testing import tiny_batch, tiny_net
from tutelage.training import with_next

from ..core.look_ahead import along, relative

DOUBLE = torch.float64
FORMS = ("soft", "paper", "linear")


def student(seed=3):
    return Student(tiny_net(), SGD(lambda t: 0.2 / (1 + t), momentum=0.9, weight_decay=1e-3), seed=seed)


def teacher(form="soft", slots=3, **options):
    """A teacher whose slots differ, so that all its parameters matter."""
    t = DynamicLoss(3, form=form, slots=slots, **options).double()
    with torch.no_grad():
        t.memory += torch.randn(t.memory.shape, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    return t


def batches(n, total=20):
    return [replace(tiny_batch(seed=k), progress=k / total) for k in range(n)]


def validation_loss(pupil):
    v = tiny_batch(seed=99)
    return cross_entropy(pupil.logits(v.x, training=False), v.y).mean()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("strategy", [None, Recompute(1)], ids=["auto", "recompute"])
def test_the_gradient_is_that_of_real_training(form, steps, strategy):
    t = teacher(form, steps=steps, every=5, strategy=strategy)
    names = dict(t.named_parameters())
    start = t.state_dict()
    start = {n: v.clone() for n, v in start.items()}
    first, *rest = batches(steps)
    lesson = t.teach(replace(first, ahead=tuple(rest)), student())
    t.learn(lesson, student(), tiny_batch(seed=99))
    found = [p.grad for p in names.values()]
    t.load_state_dict(start)

    def trained(values):
        with torch.no_grad():
            for p, value in zip(names.values(), values):
                p.copy_(value)
        pupil = student()
        for batch in batches(steps):
            pupil.study(t.teach(batch, pupil))
        return float(validation_loss(pupil).detach())

    assert along(trained, [start[n] for n in names], found) < 1e-6
    reached = {n for n, g in zip(names, found) if bool(g.any())}
    assert reached == set(names) - ({"bias"} if form == "linear" else set())  # a constant loss moves no student


def test_the_gradient_reaches_the_teacher_through_the_public_lesson():
    t, pupil = teacher(), student()
    lessons = [lambda s, b=b: t.teach(b, s) for b in batches(2)]
    _, attached = Unrolled()(pupil, lessons, validation_loss, t.parameters())
    static = [t.teach(b, pupil) for b in batches(2)]  # it does not read the student: the same
    for strategy in (Unrolled(), Recompute("sqrt")):
        _, found = strategy(pupil, static, validation_loss, t.parameters())
        assert relative(found, attached) < 1e-12
    _, jvp = OneStep("jvp")(pupil, lessons[:1], validation_loss, t.parameters())
    assert relative(jvp, Unrolled()(pupil, lessons[:1], validation_loss, t.parameters())[1]) < 1e-9


def test_forms_against_loops():
    z, y = torch.randn(5, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)), [0, 2, 1, 2, 2]
    w = torch.randn(3, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    target = torch.cat([w[y], torch.full((5, 1), 0.3, dtype=DOUBLE)], 1)
    q = w.softmax(1)
    for i, label in enumerate(y):
        log_p = [float(z[i, c] - z[i].exp().sum().log()) for c in range(3)]
        line = -sum(float(w[label, c]) * log_p[c] for c in range(3)) + 0.3
        assert float(linear_loss(z, target)[i]) == pytest.approx(line, rel=1e-12)
        assert float(sigmoid_loss(z, target)[i]) == pytest.approx(1 / (1 + math.exp(-line)), rel=1e-12)
        soft = -sum(float(q[label, c]) * log_p[c] for c in range(3))
        assert float(cross_entropy(z, q[y])[i]) == pytest.approx(soft, rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_the_lesson_has_the_map_of_its_state(form):
    t, pupil, batch = teacher(form), student(), replace(tiny_batch(), progress=0.25)
    t.averages.held.copy_(torch.tensor([0.5, 0.75]))
    if form != "soft":
        with torch.no_grad():
            t.bias.fill_(0.125)
    state = torch.tensor([0.25, 0.5, 0.75], dtype=DOUBLE)
    keys, query = t.keys.detach(), t.query.detach()
    scores = [sum(float(k[j]) * math.tanh(float(query[j] @ state)) for j in range(8)) for k in keys]
    a = [math.exp(s) / sum(map(math.exp, scores)) for s in scores]
    assert attention(state, keys, query).tolist() == pytest.approx(a, rel=1e-12)
    w = sum(a_m * w_m for a_m, w_m in zip(a, t.memory.detach()))
    lesson = t.teach(batch, pupil)
    needed = w.softmax(1)[batch.y] if form == "soft" else torch.cat([w[batch.y], torch.full((12, 1), 0.125)], 1)
    assert torch.allclose(lesson.target, needed.to(DOUBLE), rtol=1e-12, atol=0)
    assert torch.equal(lesson.weight, torch.ones(12, dtype=DOUBLE))
    assert torch.equal(lesson.notes["state"], state)


def test_soft_rows_are_distributions_and_become_cross_entropy():
    t, pupil, batch = teacher(), student(), tiny_batch()
    assert torch.allclose(t.label_map.sum(1), torch.ones(3, dtype=DOUBLE), rtol=0, atol=1e-9)
    assert bool((t.label_map > 0).all())
    assert not t.label_map.requires_grad
    one = DynamicLoss(3).double()
    with torch.no_grad():
        one.memory.copy_(40.0 * torch.eye(3))
    losses = one.teach(batch, pupil).losses(pupil.logits(batch.x))
    assert torch.allclose(losses, cross_entropy(pupil.logits(batch.x), batch.y), rtol=0, atol=1e-9)
    assert torch.equal(DynamicLoss(3).label_map, torch.full((3, 3), 1 / 3))
    four = DynamicLoss(3, form="linear", start="identity", slots=2)
    assert torch.allclose(four.label_map, 4 * torch.eye(3), atol=1e-6)


def run(t, pupil, source, start=0, stop=None):
    steps = []
    for batch, ahead in list(with_next(source, t.ahead))[start:stop]:
        batch = replace(batch, ahead=ahead)
        lesson = t.teach(batch, pupil)
        metrics = t.learn(lesson, pupil, tiny_batch(seed=99))
        lesson = t.revise(lesson, pupil)
        pupil.study(lesson)
        steps.append((lesson, metrics))
    return steps


@pytest.mark.parametrize("window", ["ahead", "back"])
@pytest.mark.parametrize("every", [1, 3])
def test_the_state_stands_still_within_a_window(window, every):
    t, pupil = teacher(window=window, every=every, steps=every), student()
    average, held, seen = [1.0, 1.0], [1.0, 1.0], []
    for k, batch in enumerate(source := batches(10)):
        if k % every == 0 and window == "ahead":
            held = list(average)
        loss = float(cross_entropy(pupil.predict(batch.x), batch.y).mean())
        lesson = t.teach(replace(batch, ahead=tuple(source[k + 1 : k + every])), pupil)
        metrics = t.learn(lesson, pupil, tiny_batch(seed=99))
        average[0] = 0.9 * average[0] + 0.1 * loss / math.log(3)
        if "validation_loss" in metrics:
            average[1] = 0.9 * average[1] + 0.1 * float(metrics["validation_loss"]) / math.log(3)
            seen.append(k)
        if k % every == 0 and window == "back":
            held = list(average)
        lesson = t.revise(lesson, pupil)
        if k > 0:  # before the first window lies none that could be looked back at
            assert lesson.notes["state"].tolist() == pytest.approx([k / 20, *held], rel=1e-9)
        pupil.study(lesson)
        assert float(t.averages.progress) == k / 20
    assert seen == [k for k in range(10) if k % every == 0 and (k > 0 or window == "ahead")]


def test_the_lessons_looked_at_are_those_studied():
    """With one update only: the student after the window has the validation loss that the look-ahead had."""
    t, pupil = teacher(steps=4, every=4, rule=SGD(0.0)), student()
    steps = run(t, pupil, batches(8))
    for first in (0, 4):
        twin = student()
        run(teacher(steps=4, every=4, rule=SGD(0.0)), twin, batches(first + 4))
        needed = float(validation_loss(twin).detach())
        assert float(steps[first][1]["validation_loss"]) == pytest.approx(needed, rel=1e-12)


def test_what_was_learned_counts_at_once():
    t, pupil = teacher(steps=2, every=2), student()
    batch, later = batches(2)
    lesson = t.teach(replace(batch, ahead=(later,)), pupil)
    t.learn(lesson, pupil, tiny_batch(seed=99))
    revised = t.revise(lesson, pupil)
    assert not torch.equal(revised.target, lesson.target)
    assert torch.equal(revised.target, t.map_at(lesson.notes["state"])[batch.y])
    pupil.study(revised)
    lesson = t.teach(later, pupil)
    assert t.revise(lesson, pupil) is lesson


def test_frozen():
    t, pupil = teacher(), student()
    t.freeze()
    before = [p.detach().clone() for p in t.parameters()]
    assert t.ahead == 0
    for step in train(pupil, t, batches(6)):
        assert step.metrics.keys() == {"loss", "losses", "logits", "unlabelled"}
    assert all(torch.equal(a, b) for a, b in zip(before, t.parameters()))
    assert float(t.averages.moving[0]) != 1.0


def test_examples_without_a_label():
    t, pupil, batch = teacher(steps=1), student(), tiny_batch(6)
    y = batch.y.clone()
    y[[1, 4]] = torch.tensor([-1, 3])
    lesson = t.teach(Batch(batch.x, y, batch.index), pupil)
    assert lesson.weight.tolist() == [1, 0, 1, 1, 0, 1]
    mean = cross_entropy(pupil.predict(batch.x), batch.y)[[0, 2, 3, 5]].mean()
    assert float(lesson.notes["mean_loss"]) == pytest.approx(float(mean))
    assert int(t.learn(lesson, pupil, tiny_batch(seed=99))["unlabelled"]) == 2


@pytest.mark.parametrize("window", ["ahead", "back"])
def test_resume_inside_a_window(window):
    source = batches(14)
    t, pupil = teacher(window=window), student()
    run(t, pupil, source)
    first, fellow = teacher(window=window), student()
    run(first, fellow, source, stop=7)
    second, other = teacher(window=window, seed=9), student(seed=0)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(fellow.state_dict())
    run(second, other, source, start=7)
    for one, two in ((t, second), (pupil, other)):
        for name, value in one.state_dict().items():
            assert torch.equal(value, two.state_dict()[name]), name


def test_errors():
    with pytest.raises(ConfigError, match='form is "hard"; it must be one of soft, paper, linear'):
        DynamicLoss(3, form="hard")
    with pytest.raises(ConfigError, match='start is "ones"; it must be one of zeros, identity'):
        DynamicLoss(3, start="ones")
    for options in ({"classes": 1}, {"slots": 0}, {"decay": 1.0}):
        with pytest.raises(ConfigError, match="it needs at least 2 classes, 1 slot, and decay in"):
            DynamicLoss(**({"classes": 3} | options))
    with pytest.raises(ShapeError, match=r"made for 10 classes, but .* are \(12, 3\): make another, with classes=3"):
        DynamicLoss(10).double().teach(tiny_batch(), student())
    t, pupil = teacher(), student()
    with pytest.raises(ConfigError, match="learns from trusted examples; pass them as validation"):
        t.learn(t.teach(tiny_batch(), pupil), pupil, None)


def test_arguments_make_it_again():
    t = DynamicLoss(4, form="paper", slots=2, start="identity", lr=0.1, decay=0.5, seed=3, steps=2, window="back")
    twin = DynamicLoss(**t.arguments)
    assert twin.arguments == t.arguments
    assert all(torch.equal(a, b) for a, b in zip(t.parameters(), twin.parameters()))
    assert (twin.look_ahead.steps, twin.look_ahead.window, twin.ahead) == (2, "back", 0)
    assert twin.look_ahead.optimiser.rule == Adam(0.1)
    assert DynamicLoss(3).look_ahead.optimiser.rule == Adam(0.05)
    assert DynamicLoss(3).ahead == 4
