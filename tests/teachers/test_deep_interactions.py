"""Deep interactions: formulas against loops, gradients against real training, and what it refuses."""

import json
import math

import pytest
import torch
from torch import nn

from tests.teachers.learned import as_batch, batches, error_of_learn, student, validation, window
from tutelage import SGD, Batch, Student, train
from tutelage.errors import ConfigError, ShapeError
from tutelage.hypergradient import Unrolled
from tutelage.losses import cross_entropy
from tutelage.randomness import seeded
from tutelage.stacked import StackedStudent
from tutelage.teachers import DeepInteractions
from tutelage.testing import tiny_batch, tiny_net
from tutelage.training import train_stacked

FORMS = ("deep", "bilinear", "surface")


def teacher(form="deep", **options):
    defaults = {"features": 8, "classes": 3, "width": 5, "seed": 2}
    return DeepInteractions(form, **(defaults | options)).double()


def smooth(form="deep", **options):
    """A teacher without kinks, which central differences across them would measure."""
    t = teacher(form, **options)
    if form == "surface":
        t.scorer.net[1] = nn.Tanh()
    return t


def rows(runner, batch):
    """Loss, margin and features of each row, by a loop over plain numbers."""
    z, h = runner.logits(batch.x).tolist(), runner.features(batch.x).tolist()
    for answers, inside, y in zip(z, h, batch.y.tolist()):
        loss = math.log(sum(math.exp(a) for a in answers)) - answers[y]
        gap = answers[y] - max(a for c, a in enumerate(answers) if c != y)
        yield [loss, batch.progress, min(max(gap, -10), 10) / 5], inside, y


def affine(layer, values):
    w, b = layer.weight.tolist(), layer.bias.tolist()
    return [sum(a * v for a, v in zip(row, values)) + c for row, c in zip(w, b)]


def logit(t, surface, h, y):
    f = t.scorer
    e = f.label.weight.tolist()[y]
    if t.form == "deep":
        hidden = [math.tanh(a + b + c) for a, b, c in zip(affine(f.features, h), e, affine(f.surface, surface))]
        return affine(f.out, hidden)[0]
    if t.form == "bilinear":
        inner = sum(a * b for a, b in zip(affine(f.features, h), e))
        return inner / math.sqrt(len(e)) + affine(f.surface, surface)[0]
    hidden = [max(0.0, a) for a in affine(f.net[0], surface + e)]
    return affine(f.net[2], hidden)[0]


@pytest.mark.parametrize("form", FORMS)
def test_scores_and_weights_by_a_loop(form):
    runner, batch = student(), tiny_batch(12, progress=0.25)
    t = teacher(form)
    lesson = t.teach(batch, runner)
    needed = [1 / (1 + math.exp(-logit(t, *row))) for row in rows(runner, batch)]
    assert lesson.notes["score"].tolist() == pytest.approx(needed, abs=1e-12)
    total = sum(needed) + 1e-8
    assert lesson.weight.tolist() == pytest.approx([12 * s / total for s in needed], abs=1e-12)
    assert not lesson.notes["score"].requires_grad
    mean = teacher(form, normalise="mean").teach(batch, runner)
    assert mean.weight.tolist() == pytest.approx(needed, abs=1e-12)


@pytest.mark.parametrize(("form", "count"), [("deep", 9217), ("bilinear", 4452), ("surface", 913)])
def test_sizes_and_initialisation(form, count):
    before = torch.get_rng_state()
    t = DeepInteractions(form, features=128)
    assert sum(p.numel() for p in t.parameters()) == count
    assert torch.equal(before, torch.get_rng_state())
    again, other = DeepInteractions(form, features=128), DeepInteractions(form, features=128, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(t.parameters(), again.parameters()))
    assert not any(torch.equal(a, b) for a, b in zip(t.parameters(), other.parameters()))
    spread = float(t.scorer.label.weight.detach().std())
    assert spread == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("rate", ["cosine", "steps"])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_that_of_the_process(form, steps, rate):
    t = smooth(form, steps=steps, every=1)
    assert error_of_learn(t, batches(steps), student(rate), validation()) < 1e-6


@pytest.mark.parametrize("rate", ["cosine", "steps"])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("form", FORMS)
def test_the_detached_gradient_is_that_with_frozen_inputs(form, steps, rate):
    t = smooth(form, steps=steps, every=1, inputs="detached", strategy=Unrolled())
    assert error_of_learn(t, batches(steps), student(rate), validation(), frozen=t.scorer) < 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_attached_and_detached_differ_beyond_one_step(form):
    found = {}
    for steps in (1, 5):
        for inputs in ("attached", "detached"):
            t = teacher(form, steps=steps, every=1, inputs=inputs)
            runner = student()
            t.learn(t.teach(window(batches(steps)), runner), runner, validation())
            found[steps, inputs] = torch.cat([p.grad.flatten() for p in t.parameters()])
    one, five = (found[k, "attached"] - found[k, "detached"] for k in (1, 5))
    assert float(one.norm() / found[1, "attached"].norm()) < 1e-7
    assert float(five.norm() / found[5, "attached"].norm()) > 1e-5


@pytest.mark.parametrize("kind", ["batchnorm", "dropout"])
@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_with_batch_norm_and_dropout(form, kind):
    """In training mode: running statistics are constants of the derivative."""
    t = smooth(form, steps=3, every=1, strategy=Unrolled(validation_mode="train"))
    assert error_of_learn(t, batches(3), student(kind=kind), validation(), training=True) < 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_with_mean_and_unlabelled_rows(form):
    given = [Batch(b.x, torch.where(torch.arange(12) % 4 == 0, -1, b.y), b.index, b.progress) for b in batches(3)]
    for normalise in ("sum", "mean"):
        t = smooth(form, steps=3, every=1, normalise=normalise)
        assert error_of_learn(t, given, student(), validation()) < 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_weights(form):
    runner, batch, t = student(), tiny_batch(16), teacher(form)
    weight = t.teach(batch, runner).weight
    assert weight.sum().item() == pytest.approx(16, abs=1e-6)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    shuffled = Batch(batch.x[order], batch.y[order], batch.index[order], batch.progress)
    assert torch.allclose(t.teach(shuffled, runner).weight, weight[order], rtol=0, atol=1e-12)
    alone = t.teach(as_batch(batch.x[:1], batch.y[:1]), runner)
    assert alone.weight.tolist() == pytest.approx([1.0], abs=1e-7)


def test_rows_without_a_label_count_nothing_and_are_counted():
    runner, t = student(), teacher()
    batch = tiny_batch(6)
    y = torch.tensor([0, -1, 2, 3, 100, 1])
    lesson = t.teach(as_batch(batch.x, y), runner)
    assert lesson.weight[[1, 3, 4]].tolist() == [0.0] * 3
    assert lesson.notes["score"][[1, 3, 4]].tolist() == [0.0] * 3
    assert float(lesson.weight.detach().sum()) == pytest.approx(6.0, abs=1e-6)
    metrics = t.learn(lesson, runner, validation())
    assert int(metrics["unlabelled"]) == 3
    assert torch.isfinite(runner.study(lesson)["loss"])
    assert t.teach(as_batch(batch.x, torch.full((6,), -1)), runner).weight.tolist() == [0.0] * 6


def test_the_lesson_is_taught_again_after_an_update_only():
    t, runner = teacher(steps=2, every=2), student()
    for step in train(runner, t, batches(4), validation()):
        again = t.teach(step.batch, runner)
        assert again is not step.lesson
        assert ("hypergradient_norm" in step.metrics) == (step.number % 2 == 0)
    first, given = teacher(steps=1, every=2), batches(2)
    runner = student()
    lesson = first.teach(given[0], runner)
    first.learn(lesson, runner, validation())
    revised = first.revise(lesson, runner)
    assert not torch.equal(revised.weight, lesson.weight)
    assert torch.equal(revised.weight, first.teach(given[0], runner).weight)
    runner.study(revised)
    lesson = first.teach(given[1], runner)
    first.learn(lesson, runner, validation())
    assert first.revise(lesson, runner) is lesson


@pytest.mark.parametrize("form", FORMS)
def test_one_pass_a_step_without_an_update(form):
    t, runner = teacher(form, steps=3, every=4), student()
    passes = []
    runner.architecture.register_forward_hook(lambda *_: passes.append(runner.step))
    for _ in train(runner, t, batches(8), validation()):
        pass
    assert [passes.count(step) for step in (1, 2, 3, 5, 6, 7)] == [1] * 6


@pytest.mark.parametrize("steps", [1, 3])
def test_the_present_lesson_is_used_once(steps):
    """As if it had been taught again; and after an update, or without a graph, it is."""
    found = []
    for graph in (True, False):
        t, runner, batch = teacher(steps=steps, every=1, strategy=Unrolled()), student(), window(batches(steps))
        with torch.set_grad_enabled(graph):
            lesson = t.teach(batch, runner)
        for _ in range(2):
            t.learn(lesson, runner, validation())
            found.append(torch.cat([p.grad.flatten() for p in t.parameters()]))
    assert torch.allclose(found[0], found[2], rtol=0, atol=1e-14)
    assert torch.allclose(found[1], found[3], rtol=0, atol=1e-14)
    assert not torch.allclose(found[0], found[1], rtol=0, atol=1e-6)


def test_metrics():
    t, runner = teacher(), student()
    for step in train(runner, t, batches(6), validation()):
        s = step.lesson.notes["score"] if step.number % 5 else None
        if s is not None:
            needed = float(s.sum() ** 2 / (12 * (s**2).sum()))
            assert float(step.metrics["effective_share"]) == pytest.approx(needed, abs=1e-12)
        assert int(step.metrics["unlabelled"]) == 0


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside, self.out = nn.Linear(6, 8), nn.Linear(8, 1)

    def forward(self, x):
        return self.out(self.inside(x).tanh())


def squares(logits, target):
    return (logits.squeeze(1) - target).square()


@pytest.mark.parametrize("form", FORMS)
def test_regression(form):
    with seeded(4):
        runner = Student(Regressor().double(), SGD(0.1, momentum=0.9))
    given = [Batch(b.x, b.x.sum(1), b.index, b.progress) for b in batches(2)]
    trusted = as_batch(validation().x, validation().x.sum(1))
    t = teacher(form, classes=1, regression=True, loss=squares, steps=2, every=1)
    lesson = t.teach(window(given), runner)
    assert isinstance(t.scorer.label, nn.Linear)
    assert float(lesson.weight.detach().sum()) == pytest.approx(12, abs=1e-6)
    metrics = t.learn(lesson, runner, trusted)
    later = runner.after(teacher(form, classes=1, regression=True, loss=squares).teach(given[0], runner))
    later = later.after(teacher(form, classes=1, regression=True, loss=squares).teach(given[1], later))
    needed = squares(later.logits(trusted.x), trusted.y).mean()
    assert float(metrics["validation_loss"]) == pytest.approx(float(needed.detach()), abs=1e-12)
    with pytest.raises(ShapeError, match=r"labels are \(12, 6\), but this teacher was made for 1 a row"):
        t.teach(Batch(given[0].x, given[0].x, given[0].index), runner)


def test_the_teacher_of_a_student():
    runner, batch = student(), tiny_batch()
    t = DeepInteractions.for_student(runner, batch, steps=2, window="back")
    assert (t.form, t.features, t.classes, t.look_ahead.steps, t.ahead) == ("deep", 8, 3, 2, 0)
    surface = DeepInteractions.for_student(runner, batch, "surface")
    assert (surface.features, surface.classes) == (None, 3)
    named = DeepInteractions.for_student(runner, batch, "bilinear", layers=("0", "3")).double()
    assert named.features == 11
    assert named.teach(batch, runner).weight.shape == (12,)


def test_the_arguments_make_the_same_teacher():
    given = {"features": 8, "classes": 3, "layers": ("0",), "width": 5, "normalise": "mean", "seed": 4}
    t = DeepInteractions("bilinear", **given, steps=3, every=2, window="back", inputs="detached", look_ahead="plain")
    again = DeepInteractions(**json.loads(json.dumps(t.arguments)))
    assert again.arguments == t.arguments
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in t.state_dict().items())


def test_freezing_warns():
    t, runner = teacher(), student()
    with pytest.warns(UserWarning, match="rarely serves a student of another initialisation"):
        t.freeze()
    before = {n: v.clone() for n, v in t.state_dict().items()}
    assert t.ahead == 0
    for step in train(runner, t, batches(3), None):
        assert "effective_share" in step.metrics
    assert all(torch.equal(v, t.state_dict()[n]) for n, v in before.items())


@pytest.mark.parametrize("form", FORMS)
def test_single_precision(form):
    runner = student(dtype=torch.float32)
    t = teacher(form, steps=2, every=2).float()
    for step in train(runner, t, batches(5, dtype=torch.float32), validation(dtype=torch.float32)):
        assert step.lesson.weight.dtype == torch.float32
    mixed = teacher(form).teach(tiny_batch(dtype=torch.float32), runner)
    assert mixed.weight.dtype == torch.float32


def test_students_that_are_stacked():
    """In a stack, each teacher weighs as it would alone."""
    alone = []
    for s in range(2):
        runner, t = Student(tiny_net(seed=s), SGD(0.1, momentum=0.9), seed=s), teacher(steps=2, every=2)
        alone.append([step.lesson.weight.detach() for step in train(runner, t, batches(5), validation())])
    stack = StackedStudent([Student(tiny_net(seed=s), SGD(0.1, momentum=0.9), seed=s) for s in range(2)])
    teachers = [teacher(steps=2, every=2) for _ in range(2)]
    pairs = [(b, Batch(b.x.clone(), b.y, b.index, b.progress)) for b in batches(5)]
    for t, steps in enumerate(train_stacked(stack, teachers, pairs, [validation()] * 2)):
        for s, step in enumerate(steps):
            assert torch.allclose(step.lesson.weight.detach(), alone[s][t], rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "wide"}, 'form is "wide"; it must be one of deep, bilinear, surface'),
        ({"features": None}, "features is None, but form deep needs the width"),
        ({"features": 0}, "features is 0, but form deep needs the width"),
        ({"form": "surface", "width": 0}, "width is 0; it must be at least 1"),
        ({"normalise": "max"}, 'normalise is "max"; it must be one of sum, mean'),
        ({"classes": 1}, "classes is 1; a teacher that weighs by labels needs at least 2"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
    ],
)
def test_options_outside_their_ranges(options, message):
    with pytest.raises(ConfigError, match=message):
        teacher(**options)


def test_other_students():
    batch = tiny_batch()
    with seeded(0):
        other = Student(nn.Linear(6, 3).double(), SGD(0.1))
    with pytest.raises(ShapeError, match=r"made for 8 features, but the student has 6: .*features=6"):
        teacher().teach(batch, other)
    with pytest.raises(ShapeError, match=r"made for 5 classes, but the student's answers are \(12, 3\).*classes=3"):
        teacher(classes=5).teach(batch, student())


def test_several_labels_a_row():
    batch = tiny_batch()
    many = Batch(batch.x, torch.zeros(12, 3, dtype=torch.int64), batch.index)
    with pytest.raises(ShapeError, match="several labels a row are not supported"):
        teacher().teach(many, student())


def test_the_source_of_the_loss_is_the_pass_that_is_studied():
    t, runner, batch = teacher(), student(), tiny_batch()
    lesson = t.teach(batch, runner)
    studied = runner.study(lesson)
    assert torch.equal(studied["losses"], cross_entropy(studied["logits"], batch.y))
