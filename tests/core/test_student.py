import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tutelage import SGD, Adam, Lesson, Student
from tutelage.errors import CheckpointError, ConfigError, ShapeError
from tutelage.losses import cross_entropy
from tutelage.rules import Decay
from tutelage.testing import tiny_batch, tiny_net


def lesson_of(batch, weight=None):
    weight = torch.ones(len(batch), dtype=batch.x.dtype) if weight is None else weight
    return Lesson(batch.x, batch.y, weight, cross_entropy)


@pytest.mark.parametrize("kind", ["plain", "batchnorm", "shared"])
def test_equals_a_plain_loop(kind):
    """Twenty steps of Adam, against the loop that everybody writes."""
    net = tiny_net(kind)
    student = Student(copy.deepcopy(net), Adam(0.01, weight_decay=0.1))
    optimiser = torch.optim.Adam(net.parameters(), 0.01, weight_decay=0.1)
    for seed in range(20):
        batch = tiny_batch(seed=seed)
        student.study(lesson_of(batch))
        optimiser.zero_grad()
        F.cross_entropy(net(batch.x), batch.y).backward()
        optimiser.step()
    theirs, ours = net.state_dict(), student.net.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.allclose(ours[name].double(), value.double(), atol=1e-12), name


def test_weighted_loss_and_scaled_decay_equal_a_loop():
    """L = (1/B) sum v l + wd mean(v) 1/2 sum ||W||^2 over matrices only."""
    net, batch = tiny_net(), tiny_batch()
    weight = torch.rand(12, dtype=torch.float64)
    student = Student(copy.deepcopy(net), SGD(1.0, weight_decay=Decay(0.3, on="weights", scaled=True)))
    losses = F.cross_entropy(net(batch.x), batch.y, reduction="none")
    total = sum(float(v) * loss for v, loss in zip(weight, losses)) / 12
    decay = sum(float(v) for v in weight) / 12 * 0.3
    total = total + decay * 0.5 * sum(p.square().sum() for p in net.parameters() if p.ndim >= 2)
    total.backward()
    student.study(lesson_of(batch, weight))
    for name, p in net.named_parameters():
        assert torch.allclose(student.params[name], p - p.grad, atol=1e-10), name


def test_a_lesson_of_weight_zero_changes_nothing_but_the_step():
    student = Student(tiny_net(), SGD(1.0, weight_decay=Decay(0.3, on="weights", scaled=True)))
    before = {n: p.detach().clone() for n, p in student.params.items()}
    student.study(lesson_of(tiny_batch(), torch.zeros(12, dtype=torch.float64)))
    assert all(torch.equal(before[n], p) for n, p in student.params.items())
    assert student.step == 1


@pytest.mark.parametrize(
    "rule", [SGD(0.5, 0.9, weight_decay=Decay(0.3, "weights", True)), Adam(0.05)], ids=["sgd", "adam"]
)
@pytest.mark.parametrize("kind", ["plain", "batchnorm", "dropout"])
def test_after_is_differentiable_in_the_weights(rule, kind):
    student = Student(tiny_net(kind), rule, seed=2)
    batch, validation = tiny_batch(), tiny_batch(seed=9)
    student.study(lesson_of(tiny_batch(seed=4)))

    def loss(weight):
        later = student.after(lesson_of(batch, weight))
        return cross_entropy(later.logits(validation.x), validation.y).mean()

    weight = torch.full((12,), 0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, weight, eps=1e-6, atol=1e-6)


def test_after_is_differentiable_in_inputs_and_over_two_steps():
    student = Student(tiny_net(), SGD(0.5, momentum=0.9))
    y = torch.tensor([0, 1, 2])
    validation = tiny_batch(seed=9)

    def loss(x):
        lesson = Lesson(x, y, torch.ones(3, dtype=torch.float64), cross_entropy)
        later = student.after(lesson).after(lesson)
        return cross_entropy(later.logits(validation.x), validation.y).mean()

    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, x, atol=1e-6)


def test_one_pass_serves_teacher_and_study():
    student = Student(tiny_net("batchnorm"), SGD(0.1))
    passes = []
    student.architecture.register_forward_hook(lambda *_: passes.append(1))
    batch = tiny_batch()
    student.logits(batch.x)
    student.features(batch.x)
    student.study(lesson_of(batch))
    assert len(passes) == 1
    assert int(student.net[1].num_batches_tracked) == 1


def test_inputs_changed_in_place_are_seen_again():
    student = Student(tiny_net(), SGD(0.1))
    x = tiny_batch().x
    first = student.logits(x).detach().clone()
    x += 1.0
    assert not torch.equal(student.logits(x), first)


def test_features_are_the_input_of_the_last_linear_layer():
    net, batch = tiny_net(), tiny_batch()
    student = Student(net, SGD(0.1))
    features = student.features(batch.x)
    assert features.shape == (12, 8)
    assert torch.allclose(features @ net[3].weight.T + net[3].bias, student.logits(batch.x))


@pytest.mark.parametrize("kind", ["plain", "batchnorm", "dropout"])
def test_features_of_a_named_layer_come_from_the_pass_that_is_studied(kind):
    net, batch = tiny_net(kind), tiny_batch()
    student, passes = Student(net, SGD(0.1)), []
    net.register_forward_hook(lambda *_: passes.append(1))
    hidden = student.features(batch.x, "2")
    logits = student.logits(batch.x)
    student.study(lesson_of(batch))
    assert len(passes) == 1
    assert torch.allclose(student.features(batch.x), student.features(batch.x, "2"))
    assert torch.allclose(hidden @ net[3].weight.T + net[3].bias, logits)
    assert not net[2]._forward_hooks
    inner = student.features(batch.x, "0", training=False)
    assert torch.allclose(
        torch.nn.functional.linear(batch.x, student.params["0.weight"], student.params["0.bias"]), inner
    )


def test_a_layer_that_is_asked_for_late_costs_one_pass_once():
    net, student_passes = tiny_net("dropout"), []
    student = Student(net, SGD(0.1))
    net.register_forward_hook(lambda *_: student_passes.append(1))
    batch = tiny_batch()
    first = student.logits(batch.x)
    student.features(batch.x, "0")
    assert torch.equal(first, student.logits(batch.x))
    assert len(student_passes) == 2
    later = student.after(lesson_of(batch))
    later.features(batch.x, "0")
    assert len(student_passes) == 3


def test_a_layer_needs_to_exist_and_to_answer_each_row():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.unused, self.pair = nn.Linear(6, 3), nn.Linear(6, 3), nn.GRU(6, 6, batch_first=True)

        def forward(self, x):
            return self.inner(self.pair(x.unsqueeze(1))[0].squeeze(1))

    student, x = Student(Odd().double(), SGD(0.1)), tiny_batch().x
    with pytest.raises(
        ConfigError, match=r'unknown layer of the network "iner". Did you mean "inner"\? Known: inner, un'
    ):
        student.features(x, "iner")
    with pytest.raises(ShapeError, match=r"layer unused needs .* but the forward pass does not reach it"):
        student.features(x, "unused")
    with pytest.raises(ShapeError, match=r"layer pair needs an output of shape \(12, ...\), but its output is tuple"):
        student.features(x, "pair")


def test_features_need_a_linear_layer():
    student = Student(nn.Sequential(nn.Conv1d(1, 3, 6), nn.Flatten()).double(), SGD(0.1))
    with pytest.raises(ShapeError, match=r"no nn\.Linear layer"):
        student.features(tiny_batch().x.unsqueeze(1))


def test_frozen_parameters_stay_and_modes_are_kept():
    net = tiny_net("batchnorm")
    net[0].weight.requires_grad_(False)
    net[1].eval()
    student = Student(net, SGD(0.1))
    before = net[0].weight.clone()
    student.study(lesson_of(tiny_batch()))
    student.predict(tiny_batch().x)
    assert torch.equal(student.net[0].weight, before)
    assert not student.net[1].training
    assert student.net[3].training
    assert int(student.net[1].num_batches_tracked) == 0


def test_a_buffer_that_is_replaced_is_carried_on():
    class Averages(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(6, 3)
            self.register_buffer("mean", torch.zeros(6))

        def forward(self, x):
            if self.training:
                self.mean = 0.5 * self.mean + 0.5 * x.detach().mean(0)
            return self.linear(x - self.mean)

    student = Student(Averages().double(), SGD(0.1))
    batch = tiny_batch()
    student.study(lesson_of(batch))
    assert torch.allclose(student.net.mean, 0.5 * batch.x.mean(0))


def test_at_moves_to_other_parameters():
    student = Student(tiny_net(), SGD(0.1))
    batch = tiny_batch()
    zero = {n: torch.zeros_like(p) for n, p in student.params.items()}
    assert torch.equal(student.at(zero).logits(batch.x), torch.zeros(12, 3, dtype=torch.float64))
    assert not torch.equal(student.logits(batch.x), torch.zeros(12, 3, dtype=torch.float64))
    with pytest.raises(ShapeError, match="at: nothing has shape"):
        student.at({"nothing": torch.zeros(1)})


def test_at_moves_frozen_parameters_as_constants():
    net = tiny_net()
    name = next(iter(dict(net.named_parameters())))
    net.get_parameter(name).requires_grad_(False)
    student, batch = Student(net, SGD(0.1)), tiny_batch()
    moved = torch.full_like(net.get_parameter(name), 0.3).requires_grad_()
    there = student.at({name: moved})
    assert name not in there.params
    assert torch.equal(there.net.get_parameter(name), moved)
    assert not torch.equal(student.net.get_parameter(name), moved)
    assert torch.equal(there.after(lesson_of(batch)).net.get_parameter(name), moved)
    (slope,) = torch.autograd.grad(there.logits(batch.x).sum(), [moved], allow_unused=True)
    assert slope is None
    with pytest.raises(ShapeError, match=f"at: {name} has shape"):
        student.at({name: torch.zeros(1)})


def test_the_module_of_a_view_is_a_copy():
    student = Student(tiny_net(), SGD(0.1))
    view = student.after(lesson_of(tiny_batch()))
    assert torch.equal(view.net[0].weight, view.params["0.weight"])
    assert view.net is not student.architecture
    assert torch.equal(student.net[0].weight, student.params["0.weight"])


def test_predict_in_pieces():
    student = Student(tiny_net("batchnorm"), SGD(0.1))
    batch = tiny_batch()
    assert torch.allclose(student.predict(batch.x, batch_size=5), student.predict(batch.x))
    assert not student.predict(batch.x).requires_grad


def test_dropout_draws_by_seed_and_step():
    batch = tiny_batch()
    one, same, other = (Student(tiny_net("dropout"), SGD(0.0), seed=s) for s in (1, 1, 2))
    first = one.logits(batch.x)
    assert torch.equal(first, same.logits(batch.x))
    assert not torch.equal(first, other.logits(batch.x))
    one.study(lesson_of(batch))
    assert not torch.equal(one.logits(batch.x), first)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Flatten(0), r"the network returned \(72,\), but needs logits of shape \(12, classes\)"),
        (nn.LSTM(6, 3), r"the network returned tuple, but needs"),
    ],
)
def test_networks_of_another_shape(net, message):
    with pytest.raises(ShapeError, match=message):
        Student(net.double(), SGD(0.1)).logits(tiny_batch().x)


def test_a_state_of_another_network_is_refused():
    student = Student(tiny_net(), SGD(0.1))
    with pytest.raises(CheckpointError, match="does not fit; it was saved from another network"):
        student.load_state_dict(Student(tiny_net("batchnorm"), SGD(0.1)).state_dict())
    state = student.state_dict()
    del state["params.0.bias"]
    with pytest.raises(CheckpointError, match=r"params\.0\.bias is missing"):
        student.load_state_dict(state)


def test_evaluation_mode_of_the_users_module_changes_nothing():
    students = [Student(tiny_net("batchnorm"), SGD(0.1)) for _ in range(2)]
    for student in students:
        student.study(lesson_of(tiny_batch()))
    students[0].net.eval()(tiny_batch().x)
    for student in students:
        student.study(lesson_of(tiny_batch(seed=1)))
    assert torch.equal(students[0].params["0.weight"], students[1].params["0.weight"])
    assert int(students[0].net[1].num_batches_tracked) == 2
    assert not students[0].net.training


def test_answers_changed_in_place_are_not_studied():
    one, other = (Student(tiny_net(), SGD(0.1)) for _ in range(2))
    one.logits(tiny_batch().x)
    batch = tiny_batch()
    one.logits(batch.x).detach().clamp_(-0.1, 0.1)
    for student in (one, other):
        student.study(lesson_of(batch))
    assert torch.equal(one.params["0.weight"], other.params["0.weight"])


def test_a_gradient_through_the_shared_pass_costs_another_pass_and_no_error():
    one, other = (Student(tiny_net("batchnorm"), SGD(0.1)) for _ in range(2))
    batch = tiny_batch()
    torch.autograd.grad(one.logits(batch.x).sum(), list(one.params.values()))
    for student in (one, other):
        student.study(lesson_of(batch))
    assert torch.equal(one.params["0.weight"], other.params["0.weight"])


@pytest.mark.parametrize("weight", [torch.ones(12), torch.ones(12, dtype=torch.bool)])
def test_weights_of_another_dtype(weight):
    one, other = (Student(tiny_net(), SGD(0.1, weight_decay=Decay(0.1, "weights", True))) for _ in range(2))
    one.study(Lesson(tiny_batch().x, tiny_batch().y, weight, cross_entropy))
    other.study(lesson_of(tiny_batch()))
    assert torch.equal(one.params["0.weight"], other.params["0.weight"])


def test_a_state_of_another_rule_is_refused():
    student = Student(tiny_net(), SGD(0.1, momentum=0.9))
    student.study(lesson_of(tiny_batch()))
    with pytest.raises(CheckpointError, match="it remembers momentum, but Adam needs first, second"):
        Student(tiny_net(), Adam()).load_state_dict(student.state_dict())


def test_copies_and_looks_do_not_mix():
    student = Student(tiny_net("batchnorm"), SGD(0.1))
    batch = tiny_batch()
    student.logits(batch.x)
    twin = copy.deepcopy(student)
    with torch.inference_mode():
        student.logits(batch.x)
    for s in (student, twin):
        s.study(lesson_of(batch))
    assert torch.equal(twin.params["0.weight"], student.params["0.weight"])


def test_parameters_with_a_gradient_now_and_then_follow_adam():
    """torch counts the steps of Adam by parameter."""

    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x):
            return self.a(x) + (self.b(x) if len(x) == 12 else 0.0)

    net = Heads().double()
    student = Student(copy.deepcopy(net), Adam(0.01))
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for seed in range(9):
        batch = tiny_batch(12 if seed % 3 == 1 else 10, seed=seed)
        student.study(lesson_of(batch))
        optimiser.zero_grad()
        F.cross_entropy(net(batch.x), batch.y).backward()
        optimiser.step()
        again = Student(copy.deepcopy(net), Adam(0.01))
        again.load_state_dict(student.state_dict())
        student = again
    for name, p in net.named_parameters():
        assert torch.allclose(student.params[name], p, atol=1e-12), name


def test_a_layer_is_what_it_was_before_the_next_one_works_in_place():
    layers = [nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)]
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    inside = Student(nn.Sequential(*layers), SGD(0.1)).features(x, "0")
    assert float(inside.detach().min()) < 0
    assert torch.equal(inside, layers[0](x))


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("kind", ["plain", "batchnorm", "dropout"])
def test_a_descent_that_is_kept_is_not_taken_again(kind, create_graph, monkeypatch):
    """Studying the lesson gives the same bytes with one gradient less."""
    one, other = (Student(tiny_net(kind), SGD(0.1, momentum=0.9)) for _ in range(2))
    taken, inner = [], Student._gradients
    monkeypatch.setattr(Student, "_gradients", lambda *a: taken.append(1) or inner(*a))
    for seed in range(3):
        lesson = lesson_of(tiny_batch(seed=seed))
        found = one.descent(lesson, create_graph=create_graph, keep=True)
        again = one.descent(lesson, keep=True)
        assert all(torch.equal(g, again.gradients[n]) for n, g in found.gradients.items())
        assert not any(g.requires_grad for g in again.gradients.values())
        results = one.study(lesson), other.study(lesson)
        assert all(torch.equal(results[0][k], results[1][k]) for k in results[0])
    assert len(taken) == 6
    for name, value in other.state_dict().items():
        assert torch.equal(one.state_dict()[name], value), name


def test_a_kept_descent_belongs_to_its_lesson_and_place():
    batch = tiny_batch()
    lesson, weight = lesson_of(batch), torch.ones(12, dtype=torch.float64)
    changes = {
        "another lesson": lambda s, _: s.study(lesson_of(tiny_batch(seed=1))),
        "weights changed in place": lambda s, changed: (changed.weight.mul_(0.5), s.study(changed)),
        "loaded": lambda s, _: (s.load_state_dict(Student(tiny_net(seed=5), SGD(0.1)).state_dict()), s.study(lesson)),
    }
    for name, change in changes.items():
        one, other = (Student(tiny_net(), SGD(0.1)) for _ in range(2))
        mine, theirs = (lesson_of(batch, weight.clone()) for _ in range(2))
        one.descent(mine, keep=True)
        change(one, mine)
        change(other, theirs)
        assert torch.equal(one.params["0.weight"], other.params["0.weight"]), name
    kept = Student(tiny_net(), SGD(0.1))
    kept.descent(lesson, keep=True)
    moved = {n: p + 1 for n, p in kept.params.items()}
    there = kept.at(moved).descent(lesson, keep=True).gradients
    needed = Student(tiny_net(), SGD(0.1)).at(moved).descent(lesson).gradients
    assert all(torch.equal(there[n], g) for n, g in needed.items())


def test_at_other_buffers():
    student = Student(tiny_net("batchnorm"), SGD(0.1))
    student.study(lesson_of(tiny_batch()))
    zeros = {"1.running_mean": torch.zeros(8, dtype=torch.float64)}
    view = student.at({}, buffers=zeros)
    assert torch.equal(view.buffers["1.running_mean"], zeros["1.running_mean"])
    assert torch.equal(view.buffers["1.running_var"], student.buffers["1.running_var"])
    assert student.buffers["1.running_mean"].any()
    assert not torch.equal(view.predict(tiny_batch().x), student.predict(tiny_batch().x))


def test_a_state_saved_before_momentum_begins():
    rule = SGD(0.1, lambda step: 0.0 if step < 2 else 0.9)
    student, other = Student(tiny_net(), rule), Student(tiny_net(seed=1), rule)
    for step in range(5):
        other.load_state_dict(student.state_dict())
        for each in (student, other):
            each.study(lesson_of(tiny_batch(seed=step)))
        assert all(torch.equal(other.params[n], p) for n, p in student.params.items())
    plain = Student(tiny_net(), SGD(0.1))
    for _ in range(3):
        plain.study(lesson_of(tiny_batch()))
    with pytest.raises(CheckpointError, match="it remembers nothing, but SGD needs momentum"):
        other.load_state_dict(plain.state_dict())
