"""Learning to reweight: both forms, the identities that it rests on, and its edges."""

import pytest
import torch
from torch import nn

from tests.teachers.learned import as_batch, batches, student, validation
from tutelage import SGD, Adam, Student, train
from tutelage.errors import ConfigError, ShapeError
from tutelage.hypergradient import Unrolled
from tutelage.lesson import Lesson
from tutelage.losses import cross_entropy, squared_error
from tutelage.teachers import LearningToReweight
from tutelage.teachers.weigh.learning_to_reweight import (
    agreement_by_backward,
    agreement_by_jvp,
    positive_part,
    validation_gradient,
)
from tutelage.testing import tiny_batch

FORMS = {"jvp": agreement_by_jvp, "backward": agreement_by_backward}


def agreement(how, runner, batch, trusted, loss=cross_entropy):
    return FORMS[how](runner, batch.x, batch.y, loss, validation_gradient(runner, trusted, loss))


def close(a, b, tolerance=1e-12):
    return torch.allclose(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("how", FORMS)
@pytest.mark.parametrize("kind", ["plain", "dropout", "shared"])
def test_agreement_by_a_loop(how, kind):
    runner, batch, trusted = student(kind=kind), tiny_batch(), validation()
    s = validation_gradient(runner, trusted, cross_entropy)
    losses = cross_entropy(runner.at({}).logits(batch.x), batch.y)
    for i, found in enumerate(agreement(how, runner, batch, trusted)):
        g = torch.autograd.grad(losses[i], list(runner.params.values()), retain_graph=True)
        needed = sum(float((a * b).sum()) for a, b in zip(g, s.values()))
        assert float(found) == pytest.approx(needed, abs=1e-12)


@pytest.mark.parametrize("kind", ["plain", "batchnorm", "dropout", "shared"])
def test_the_forms_agree(kind):
    runner, batch, trusted = student(kind=kind), tiny_batch(), validation()
    found = [agreement(how, runner, batch, trusted) for how in FORMS]
    assert close(*found)
    weights = [LearningToReweight(trusted, how=how).teach(batch, runner).weight for how in FORMS]
    assert close(*weights)
    assert weights[0].any()


def test_it_is_the_derivative_of_a_step_at_weights_of_zero():
    """``-dM / d eps_i = lr / N J_i`` for the plain step of the example weights eps = 0."""
    runner, batch, trusted, lr = student(rule=SGD(0.3)), tiny_batch(), validation(), 0.3
    eps = torch.zeros(12, dtype=torch.float64, requires_grad=True)

    def loss(s):
        return cross_entropy(s.logits(trusted.x), trusted.y).mean()

    _, (g,) = Unrolled()(runner, [Lesson(batch.x, batch.y, eps, cross_entropy)], loss, [eps])
    assert close(-g * 12 / lr, agreement("jvp", runner, batch, trusted))


@pytest.mark.parametrize("how", FORMS)
def test_closed_form_of_a_linear_student_and_squares(how):
    """``J_i = <r_i x_i, grad M>`` with r the residual."""
    net = nn.Linear(6, 3, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.linspace(-1, 1, 18, dtype=torch.float64).view(3, 6))
    runner = Student(net, SGD(0.1))
    x, target = tiny_batch().x, torch.linspace(-1, 1, 36, dtype=torch.float64).view(12, 3)
    v = validation()
    vy = torch.linspace(1, -1, 45, dtype=torch.float64).view(15, 3)
    w = net.weight.detach()
    grad = ((v.x @ w.T - vy).T @ v.x) / 15
    s = validation_gradient(runner, as_batch(v.x, vy), squared_error)
    assert close(s["weight"], grad)
    found = FORMS[how](runner, x, target, squared_error, s)
    r = x @ w.T - target
    assert close(found, torch.stack([(torch.outer(r[i], x[i]) * grad).sum() for i in range(12)]))


@pytest.mark.parametrize("how", FORMS)
def test_neither_rate_nor_momentum_nor_the_size_of_the_loss_matter(how):
    batch, trusted = tiny_batch(), validation()

    def louder(logits, target):
        return 7.0 * cross_entropy(logits, target)

    rules = [SGD(0.1), SGD(3.0, momentum=0.9, weight_decay=0.1, nesterov=True), Adam(1e-3)]
    found = [LearningToReweight(trusted, how=how).teach(batch, student(rule=rule)).weight for rule in rules]
    found.append(LearningToReweight(trusted, how=how, loss=louder).teach(batch, student()).weight)
    assert all(close(found[0], other) for other in found[1:])


def test_positive_part_by_hand():
    j = torch.tensor([0.2, -3.0, 0.6, 0.0], dtype=torch.float64)
    assert positive_part(j).tolist() == pytest.approx([1.0, 0.0, 3.0, 0.0], abs=1e-12)
    assert positive_part(-j.abs()).tolist() == [0.0] * 4
    tiny = positive_part(torch.full((4,), 5e-324, dtype=torch.float64))
    assert tiny.tolist() == [1.0] * 4


@pytest.mark.parametrize("how", FORMS)
def test_no_example_helps(how):
    """Labels that are all opposed to the validation set: weights 0, a step of momentum and decay, and a count."""
    runner = student(rule=SGD(0.1, momentum=0.9))
    x = torch.ones(1, 6, dtype=torch.float64)
    other = 1 + int(runner.predict(x)[0, 1:].argmax())  # the likeliest of the wrong classes
    trusted, batch = as_batch(x, torch.tensor([0])), as_batch(x.repeat(4, 1), torch.tensor([other] * 4))
    trusted_teacher = LearningToReweight(trusted, how=how)
    j = agreement(how, runner, batch, trusted)
    assert float(j.max()) < 0
    lesson = trusted_teacher.teach(batch, runner)
    assert lesson.weight.tolist() == [0.0] * 4
    assert float(trusted_teacher.learn(lesson, runner, None)["all_zero"]) == 1.0
    before = {n: p.clone() for n, p in runner.params.items()}
    runner.study(lesson)
    assert all(torch.equal(p, before[n]) for n, p in runner.params.items())
    helpful = trusted_teacher.teach(as_batch(x, torch.tensor([0])), runner)
    assert helpful.weight.tolist() == pytest.approx([1.0])
    assert float(trusted_teacher.learn(helpful, runner, None)["all_zero"]) == 0.0


@pytest.mark.parametrize("how", FORMS)
def test_duplicates_count_the_same(how):
    batch = tiny_batch()
    twice = as_batch(batch.x.repeat(2, 1), batch.y.repeat(2))
    weight = LearningToReweight(validation(), how=how).teach(twice, student()).weight
    assert close(weight[:12], weight[12:])
    assert float(weight.sum()) == pytest.approx(24)


@pytest.mark.parametrize("how", FORMS)
def test_rows_without_a_label(how):
    batch = tiny_batch(12)
    y = torch.where(torch.arange(12) % 3 == 0, -1, batch.y)
    t = LearningToReweight(validation(), how=how)
    lesson = t.teach(as_batch(batch.x, y), student())
    assert not lesson.weight[::3].any()
    assert int(t.learn(lesson, student(), None)["unlabelled"]) == 4
    with pytest.raises(ShapeError, match="several labels a row"):
        t.teach(as_batch(batch.x, torch.zeros(12, 3, dtype=torch.int64)), student())


def test_the_form_follows_the_sizes():
    small, large = tiny_batch(4), tiny_batch(400)
    for batch, how in ((small, "backward"), (large, "jvp")):
        t, runner = LearningToReweight(validation()), student()
        lesson = t.teach(batch, runner)
        assert lesson.notes["how"] == how
        assert t.how == "auto"
        t.learn(lesson, runner, None)
        assert t.how == how


@pytest.mark.parametrize("how", FORMS)
def test_passes(how):
    """The one that is studied and the validation loss; forward mode takes one more."""
    runner, t = student(), LearningToReweight(validation(), how=how)
    passes = []
    runner.architecture.register_forward_hook(lambda *_: passes.append(1))
    for _ in train(runner, t, batches(3), None):
        pass
    assert len(passes) == 3 * (3 if how == "jvp" else 2)


def test_validation_rows_are_drawn():
    trusted, batch = validation(60), tiny_batch()
    t, whole = LearningToReweight(trusted, validation_rows=10), LearningToReweight(trusted)
    runner = student()
    assert torch.equal(t.teach(batch, runner).weight, t.teach(batch, runner).weight)
    assert not torch.equal(t.teach(batch, runner).weight, whole.teach(batch, runner).weight)


def test_there_is_nothing_to_remember():
    t = LearningToReweight(validation())
    assert not t.state_dict()
    assert not list(t.parameters())
    assert t.float().x.dtype == torch.float32


def test_single_precision():
    t = LearningToReweight(validation())
    for step in train(student(dtype=torch.float32), t, batches(3, dtype=torch.float32), None):
        assert step.lesson.weight.dtype == torch.float32
        assert float(step.lesson.weight.sum()) == pytest.approx(12, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "fd"}, 'how is "fd"; it must be one of auto, jvp, backward'),
        ({"validation_rows": 0}, "needs at least one validation example a step"),
    ],
)
def test_options_outside_their_ranges(options, message):
    with pytest.raises(ConfigError, match=message):
        LearningToReweight(validation(), **options)


def test_a_batch_keeps_its_rows():
    batch = tiny_batch()
    lesson = LearningToReweight(validation()).teach(batch, student())
    assert lesson.x is batch.x
    assert not lesson.weight.requires_grad
