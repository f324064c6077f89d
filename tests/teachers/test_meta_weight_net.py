"""Meta-Weight-Net: its curve, its step by hand, and the order of a step."""

import json
import math

import pytest
import torch

from tests.core.look_ahead import relative
from tests.teachers.learned import batches, error_of_learn, student, validation
from tutelage import SGD, Batch, train
from tutelage.errors import ConfigError
from tutelage.hypergradient import Unrolled
from tutelage.losses import cross_entropy
from tutelage.schedules import Cosine
from tutelage.teachers import MetaWeightNet
from tutelage.testing import tiny_batch


def teacher(**options):
    return MetaWeightNet(**({"hidden": (7,), "seed": 1} | options)).double()


def trained(rule, steps=3):
    """A student whose rule remembers something."""
    runner = student(rule=rule)
    for _ in train(runner, teacher(every=100), batches(steps), validation()):
        pass
    return runner


def test_scores_by_a_loop():
    runner, batch, t = student(), tiny_batch(), teacher()
    first, second = t.curve[0], t.curve[2]
    needed = []
    for loss in cross_entropy(runner.logits(batch.x), batch.y).tolist():
        hidden = [max(0.0, w * loss + b) for (w,), b in zip(first.weight.tolist(), first.bias.tolist())]
        logit = sum(w * h for w, h in zip(second.weight.tolist()[0], hidden)) + second.bias.item()
        needed.append(1 / (1 + math.exp(-logit)))
    lesson = t.teach(batch, runner)
    assert lesson.notes["score"].tolist() == pytest.approx(needed, abs=1e-12)
    assert lesson.weight.tolist() == pytest.approx([12 * s / (sum(needed) + 1e-8) for s in needed], abs=1e-12)
    assert teacher(normalise="mean").teach(batch, runner).weight.tolist() == pytest.approx(needed, abs=1e-12)


def test_sizes():
    assert sum(p.numel() for p in MetaWeightNet().parameters()) == 301
    shapes = [tuple(p.shape) for p in MetaWeightNet(hidden=(10, 20)).parameters()]
    assert shapes == [(10, 1), (10,), (20, 10), (20,), (1, 20), (1,)]
    assert not torch.equal(MetaWeightNet(seed=0).curve[0].weight, MetaWeightNet(seed=1).curve[0].weight)


def by_hand(t, batch, runner, trusted, momentum, decay):
    """The published algorithm on plain tensors, with or without what the student's rule adds to the gradient."""
    params = {n: p.detach().clone().requires_grad_() for n, p in runner.params.items()}

    def forward(p, x):
        return torch.tanh(x @ p["0.weight"].T + p["0.bias"]) @ p["3.weight"].T + p["3.bias"]

    losses = torch.nn.functional.cross_entropy(forward(params, batch.x), batch.y, reduction="none")
    score = torch.sigmoid(t.curve(losses.detach().unsqueeze(1))).squeeze(1)
    weight = len(batch) * score / (score.sum() + 1e-8)
    gradients = torch.autograd.grad((weight * losses).mean(), list(params.values()), create_graph=True)
    velocity = runner.rule_state.slots["momentum"]
    lr = runner.lr
    later = {}
    for (n, p), g in zip(params.items(), gradients):
        later[n] = p.detach() - lr * (momentum * velocity[n] + g + decay * p.detach())
    loss = torch.nn.functional.cross_entropy(forward(later, trusted.x), trusted.y)
    return torch.autograd.grad(loss, list(t.parameters()))


RULE = SGD(Cosine(0.5, 12), momentum=0.9, weight_decay=0.02)


@pytest.mark.parametrize(("look_ahead", "momentum", "decay"), [("plain", 0.0, 0.0), ("rule", 0.9, 0.02)])
def test_a_step_by_hand(look_ahead, momentum, decay):
    runner, trusted, batch = trained(RULE), validation(), tiny_batch(seed=77)
    t = teacher(look_ahead=look_ahead)
    needed = by_hand(t, batch, runner, trusted, momentum, decay)
    t.learn(t.teach(batch, runner), runner, trusted)
    assert relative([p.grad for p in t.parameters()], needed) < 1e-12


def test_the_rule_makes_a_difference():
    found = []
    for look_ahead in ("plain", "rule"):
        t, runner = teacher(look_ahead=look_ahead), trained(RULE)
        t.learn(t.teach(tiny_batch(seed=77), runner), runner, validation())
        found.append([p.grad for p in t.parameters()])
    assert relative(*found) > 1e-3


def test_the_order_of_a_step():
    """Look ahead with the old curve, change it, and study with the weights of the new one."""
    t, twin = teacher(), teacher()
    runner, other = student(), student()
    batch, trusted = tiny_batch(), validation()
    (step,) = train(runner, t, [batch], trusted)
    twin.learn(twin.teach(batch, other), other, trusted)
    lesson = twin.teach(batch, other)
    assert torch.equal(step.lesson.weight, lesson.weight)
    other.study(lesson)
    assert all(torch.equal(p, other.params[n]) for n, p in runner.params.items())


@pytest.mark.parametrize("rate", ["cosine", "steps"])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("normalise", ["sum", "mean"])
def test_the_gradient_is_that_of_the_process(normalise, steps, rate):
    t = teacher(steps=steps, normalise=normalise)
    assert error_of_learn(t, batches(steps), student(rate), validation()) < 1e-6


def test_no_second_pass_for_a_plain_step():
    t, runner = teacher(look_ahead="plain", strategy=Unrolled()), student()
    passes = []
    runner.architecture.register_forward_hook(lambda *_: passes.append(1))
    for _ in train(runner, t, batches(1), validation()):
        pass
    assert len(passes) == 2  # the one that is studied, and the validation loss


def test_rows_without_a_label():
    t, batch = teacher(), tiny_batch(4)
    lesson = t.teach(Batch(batch.x, torch.tensor([0, -1, 7, 2]), batch.index), student())
    assert lesson.weight[[1, 2]].tolist() == [0.0, 0.0]
    assert int(lesson.notes["unlabelled"]) == 2


def test_defaults_and_arguments():
    t = MetaWeightNet()
    assert (t.look_ahead.steps, t.look_ahead.every, t.normalise, t.look_ahead.look_ahead) == (1, 1, "sum", "rule")
    other = MetaWeightNet(hidden=(5, 6), normalise="mean", seed=3, steps=4, every=2, window="back")
    assert (t.ahead, other.ahead, MetaWeightNet(steps=4).ahead) == (0, 0, 3)
    again = MetaWeightNet(**json.loads(json.dumps(other.arguments)))
    assert again.arguments == other.arguments
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in other.state_dict().items())


def test_frozen():
    t, runner = teacher(steps=3), student()
    with pytest.warns(UserWarning, match="compare it with uniform weights"):
        t.freeze()
    before = [p.detach().clone() for p in t.parameters()]
    for _ in train(runner, t, batches(3), None):
        pass
    assert all(torch.equal(a, b) for a, b in zip(before, t.parameters()))
    assert t.ahead == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": ()}, r"hidden is \(\); it needs the width of at least one layer"),
        ({"hidden": (5, 0)}, r"hidden is \(5, 0\)"),
        ({"normalise": "max"}, 'normalise is "max"; it must be one of sum, mean'),
    ],
)
def test_options_outside_their_ranges(options, message):
    with pytest.raises(ConfigError, match=message):
        MetaWeightNet(**options)


def test_a_student_in_single_precision():
    runner = student(dtype=torch.float32)
    for step in train(runner, MetaWeightNet(), batches(2, dtype=torch.float32), validation(dtype=torch.float32)):
        assert step.lesson.weight.dtype == torch.float32
