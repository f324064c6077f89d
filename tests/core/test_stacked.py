"""Students in a stack equal students one by one."""

import pytest
import torch
from torch import nn

from tutelage import SGD, Adam, Student
from tutelage.errors import ConfigError
from tutelage.nets import build
from tutelage.rules import Decay
from tutelage.stacked import StackedStudent, stackable
from tutelage.teachers import predefined, self_paced
from tutelage.testing import tiny_batch, tiny_net
from tutelage.training import train, train_stacked

RULES = [Adam(0.01, weight_decay=Decay(0.1, on="weights", scaled=True)), SGD(0.1, 0.9, weight_decay=0.01)]


def students(rule, dtype=torch.float64, n=4):
    return [Student(tiny_net(seed=s, dtype=dtype), rule, seed=s) for s in range(n)]


def streams(steps, dtype=torch.float64, n=4):
    return [[tiny_batch(seed=100 * s + t, progress=t / steps, dtype=dtype) for t in range(steps)] for s in range(n)]


@pytest.mark.parametrize("rule", RULES, ids=["adam", "sgd"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("make", [self_paced, predefined])
def test_equals_one_by_one(rule, dtype, tolerance, make):
    alone, together = students(rule, dtype), students(rule, dtype)
    steps = 40
    metrics = []
    for student, stream in zip(alone, streams(steps, dtype)):
        metrics.append([float(step.metrics["loss"]) for step in train(student, make(), stream)])
    stack = StackedStudent(together)
    teachers = [make() for _ in together]
    rounds = train_stacked(stack, teachers, zip(*streams(steps, dtype)), [None] * 4)
    stacked_metrics = [[float(step.metrics["loss"]) for step in row] for row in rounds]
    x = tiny_batch(seed=77, dtype=dtype).x
    predicted = stack.predict([x] * 4)
    for s, student in enumerate(stack.students()):
        assert metrics[s] == pytest.approx([row[s] for row in stacked_metrics], abs=tolerance)
        for name, value in alone[s].state_dict().items():
            other = student.state_dict()[name]
            assert torch.allclose(value.double(), other.double(), atol=tolerance, rtol=0), name
        assert torch.allclose(predicted[s], alone[s].predict(x), atol=tolerance)


def test_a_member_looks_ahead_by_itself():
    alone, together = students(RULES[0]), students(RULES[0])
    batches = [stream[0] for stream in streams(1)]
    members = StackedStudent(together).members(batches)
    lesson = self_paced().teach(batches[1], alone[1])
    weight = lesson.weight.clone().requires_grad_()
    lesson = type(lesson)(lesson.x, lesson.target, weight, lesson.loss)
    for student in (alone[1], members[1]):
        later = student.after(lesson)
        (gradient,) = torch.autograd.grad(later.logits(batches[0].x).sum(), weight)
        if student is alone[1]:
            needed = gradient
    assert torch.allclose(gradient, needed, atol=1e-12)
    assert needed.abs().max() > 0
    assert torch.allclose(members[1].features(batches[1].x), alone[1].features(batches[1].x))


def test_one_pass_serves_all():
    stack = StackedStudent(students(RULES[0]))
    passes = []
    stack._call.net.register_forward_hook(lambda *_: passes.append(1))
    for _ in train_stacked(stack, [self_paced() for _ in range(4)], zip(*streams(3)), [None] * 4):
        pass
    assert len(passes) == 3


@pytest.mark.parametrize(
    ("make", "yes"),
    [
        (lambda: tiny_net(dtype=torch.float32), True),
        (lambda: tiny_net("shared", dtype=torch.float32), True),
        (lambda: tiny_net("batchnorm", dtype=torch.float32), False),
        (lambda: tiny_net("dropout", dtype=torch.float32), False),
        (lambda: build("mlp", (6,), 3), True),
        (lambda: nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 3, 6), nn.Flatten()), False),
    ],
)
def test_which_networks_stack(make, yes):
    x = tiny_batch(dtype=torch.float32).x
    assert stackable([Student(make(), SGD(0.1), seed=s) for s in range(3)], x) is yes
    assert not stackable([Student(make(), SGD(0.1))], x)


def test_control_flow_on_the_data_does_not_stack():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(6, 3)

        def forward(self, x):
            return self.linear(x) if x.sum() > 0 else self.linear(-x)

    assert not stackable([Student(Branches(), SGD(0.1)) for _ in range(2)], tiny_batch(dtype=torch.float32).x)


def test_students_at_different_steps_do_not_stack():
    pair = students(RULES[0], n=2)
    for _ in train(pair[0], self_paced(), streams(1)[0]):
        pass
    with pytest.raises(ConfigError, match="same number of lessons"):
        StackedStudent(pair)
