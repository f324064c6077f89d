"""Hints: layers of a student learn those of a teacher, by name, without editing either network."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tutelage import SGD, Adam, Batch, Student, train
from tutelage.errors import ConfigError, ShapeError
from tutelage.feature_losses import (
    AttentionTransfer,
    HintRegression,
    RelationalAngle,
    RelationalDistance,
    attention_distance,
    distance_relation,
)
from tutelage.frozen import Frozen
from tutelage.losses import cross_entropy
from tutelage.randomness import seeded
from tutelage.soft_targets import KnowledgeDistillation, SoftTarget
from tutelage.teachers import Hints, hint_sizes
from tutelage.testing import tiny_batch, tiny_net

BATCH = tiny_batch()
PAIR = [("2", "2")]


def conv_net(width, seed, pool=1, norm=False):
    """Two convolutions on (1, 8, 8), a pooling between them, 3 classes."""
    with seeded(seed):
        layers = [nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width) if norm else nn.Identity(), nn.ReLU()]
        layers += [nn.MaxPool2d(pool), nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 3)).double()


def images(n=6, seed=0):
    x = torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Batch(x, torch.arange(n) % 3, torch.arange(n))


def plain(terms=None, **options):
    options.setdefault("sizes", [(8, 8)])
    return Hints(Frozen(tiny_net(seed=4)), PAIR, terms or [HintRegression(1.0)], **options)


def test_a_step_is_that_of_one_optimiser_on_student_and_regressor():
    """FitNets by plain torch: the hint's gradient reaches the student and the regressor, both before the step."""
    teacher = plain([HintRegression(3.0)], rule=SGD(0.05, momentum=0.9))
    theirs = teacher.source.nets[0]
    net, regressor = tiny_net().train(), nn.Linear(8, 8).double()
    teacher.double()
    with torch.no_grad():
        for mine, other in zip(regressor.parameters(), teacher.regressors.parameters()):
            mine.copy_(other)
    pupil = Student(tiny_net(), SGD(0.05, momentum=0.9))
    optimiser = torch.optim.SGD([*net.parameters(), *regressor.parameters()], 0.05, momentum=0.9)
    for seed in range(5):
        batch = tiny_batch(seed=seed)
        hidden = net[:3](batch.x)
        hint = (theirs[:3](batch.x) - regressor(hidden)).square().mean(1)
        loss = (cross_entropy(net[3](hidden), batch.y) + 3.0 * hint).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        lesson = teacher.teach(batch, pupil)
        metrics = teacher.learn(lesson, pupil, None)
        assert float(metrics["hint_loss"]) == pytest.approx(3.0 * float(hint.mean().detach()), rel=1e-9)
        for mine, other in zip(regressor.parameters(), teacher.regressors.parameters()):
            assert torch.allclose(mine.grad, other.grad, atol=1e-12)
        pupil.study(lesson)
    for name, value in net.named_parameters():
        assert torch.allclose(value, pupil.params[name], atol=1e-12), name
    for mine, other in zip(regressor.parameters(), teacher.regressors.parameters()):
        assert torch.allclose(mine, other, atol=1e-12)


def test_learn_leaves_the_true_gradient():
    """Of the lesson's own loss, by central differences."""
    teacher, pupil = plain([HintRegression(1.0, scale="half_sum")]).double(), Student(tiny_net(), SGD(0.1))
    lesson = teacher.teach(BATCH, pupil)
    logits, layers = pupil.logits(BATCH.x), pupil.layers(BATCH.x, lesson.layers)

    def mark(weight):
        target = lesson.target._replace(regressors=(lesson.target.regressors[0]._replace(weight=weight),))
        return float((lesson.loss(logits, target, layers)).mean().detach())

    start, h = teacher.regressors[0].weight.detach().clone(), 1e-6
    needed = torch.zeros_like(start)
    for place in range(0, start.numel(), 7):
        move = torch.zeros_like(start)
        move.view(-1)[place] = h
        needed.view(-1)[place] = (mark(start + move) - mark(start - move)) / (2 * h)
    teacher.learn(lesson, pupil, None)
    found = teacher.regressors[0].weight.grad
    assert torch.allclose(found.view(-1)[::7], needed.view(-1)[::7], atol=1e-7)
    assert float(found.norm()) > 1e-3


def test_what_is_studied_does_not_depend_on_whether_the_teacher_learned_before():
    teacher, pupil = plain().double(), Student(tiny_net(), SGD(0.1))
    lesson = teacher.teach(BATCH, pupil)
    needed = pupil.after(lesson, differentiable=False)
    teacher.learn(lesson, pupil, None)
    pupil.study(lesson)
    assert all(torch.equal(pupil.params[n], p) for n, p in needed.params.items())


@pytest.mark.parametrize("term", [HintRegression(), AttentionTransfer()], ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("pool", [1, 2])
def test_convolutional_layers_of_other_channels_and_sizes(term, pool):
    batch = images()
    source, pupil = Frozen(conv_net(6, 1)), Student(conv_net(4, 2, pool, norm=True), SGD(0.01))
    layers = [("2", "2"), ("5", "5")]
    sizes = hint_sizes(source, pupil, layers, batch.x)
    assert sizes == ((4, 6), (8, 12))
    teacher = Hints(source, layers, [term], sizes=sizes).double()
    lesson = teacher.teach(batch, pupil)
    assert lesson.layers == ("2", "5")
    logits, mine = pupil.logits(batch.x), pupil.layers(batch.x, ["2", "5"])
    with torch.no_grad():
        net = source.nets[0]
        theirs = {"2": net[:3](batch.x), "5": net[:6](batch.x)}
    needed = cross_entropy(logits, batch.y)
    for place, name in enumerate(("2", "5")):
        f_s, f_t = mine[name], theirs[name]
        if name == "5" and pool == 2:
            f_t = F.avg_pool2d(f_t, 2)
        if isinstance(term, AttentionTransfer):
            needed = needed + 1000.0 * attention_distance(f_s, f_t)
        else:
            r = teacher.regressors[place]
            f_s = F.conv2d(f_s, r.weight[:, :, None, None], r.bias)
            needed = needed + 100.0 * (f_s - f_t).square().flatten(1).mean(1)
    assert torch.allclose(lesson.losses(logits, mine), needed, rtol=1e-10)
    before = float(lesson.mark(logits, mine).detach())
    # by so little that 1000 times a distance goes down
    small = Student(pupil.net, SGD(1e-5))
    small.study(lesson)
    assert float(lesson.mark(small.logits(batch.x), small.layers(batch.x, ["2", "5"])).detach()) < before


def test_attention_and_relations_need_no_regressor():
    terms = [RelationalDistance(), RelationalAngle()]
    teacher = Hints(Frozen(tiny_net(seed=4)), PAIR, terms)
    pupil = Student(tiny_net(), SGD(0.1))
    assert not list(teacher.parameters())
    lesson = teacher.teach(BATCH, pupil)
    assert teacher.learn(lesson, pupil, None) == {}
    assert lesson.target.regressors == ()
    assert lesson.loss.batch_coupled
    mine = pupil.layers(BATCH.x, ["2"])
    needed = cross_entropy(pupil.logits(BATCH.x), BATCH.y) + 25.0 * distance_relation(
        mine["2"], lesson.target.features[0]
    )
    without = lesson.loss.__class__(lesson.loss.loss, (terms[0],), lesson.loss.layers)
    assert torch.allclose(without(pupil.logits(BATCH.x), lesson.target, mine), needed)


def test_soft_targets_and_hints_together():
    source, kd = Frozen(tiny_net(seed=4)), KnowledgeDistillation()
    teacher = Hints(source, PAIR, [HintRegression(0.0)], sizes=[(8, 8)], loss=kd).double()
    pupil = Student(tiny_net(), SGD(0.1))
    lesson = teacher.teach(BATCH, pupil)
    logits = pupil.logits(BATCH.x)
    needed = kd(logits, SoftTarget(BATCH.y, source.answers(BATCH.x)))
    assert torch.allclose(lesson.losses(logits, pupil.layers(BATCH.x, ["2"])), needed)
    assert lesson.notes["teacher"] == source.identity
    assert "HintRegression(weight=0.0, scale='mean')" in lesson.notes["method"]


def test_a_step_takes_one_pass_of_the_student_and_one_of_the_teacher():
    source = Frozen(tiny_net("batchnorm", seed=4))
    teacher = Hints(source, [("0", "0"), ("2", "2")], sizes=[(8, 8), (8, 8)]).double()
    pupil, passes = Student(tiny_net("dropout"), SGD(0.1)), {"teacher": 0, "student": 0}
    source.nets[0].register_forward_hook(lambda *_: passes.update(teacher=passes["teacher"] + 1))
    pupil.architecture.register_forward_hook(lambda *_: passes.update(student=passes["student"] + 1))
    list(train(pupil, teacher, [tiny_batch(seed=s) for s in range(4)]))
    assert passes == {"teacher": 4, "student": 4}
    assert not any(m._forward_hooks for net in (*source.nets, pupil.architecture) for m in net[:3])


def test_two_runs_do_not_share_anything():
    source, net = Frozen(tiny_net(seed=4)), tiny_net()
    one, other = (Hints(source, [(name, name)], sizes=[(8, 8)]).double() for name in ("0", "2"))
    alone = Student(net, SGD(0.1))
    list(train(alone, one, [BATCH] * 2))
    a, b = Student(tiny_net(), SGD(0.1)), Student(tiny_net(), SGD(0.1))
    one = Hints(source, [("0", "0")], sizes=[(8, 8)]).double()
    for _ in range(2):  # turn by turn
        for teacher, pupil in ((one, a), (other, b)):
            lesson = teacher.teach(BATCH, pupil)
            teacher.learn(lesson, pupil, None)
            pupil.study(lesson)
    assert all(torch.equal(alone.params[n], p) for n, p in a.params.items())


def test_state_holds_regressors_and_what_the_rule_remembers():
    def made():
        return plain(rule=Adam(0.01), seed=7).double()

    teacher, pupil = made(), Student(tiny_net(), SGD(0.1))
    list(train(pupil, teacher, [tiny_batch(seed=s) for s in range(3)]))
    state = teacher.state_dict()
    assert int(state["optimiser.steps"]) == 3
    assert {"regressors.0.weight", "regressors.0.bias"} < state.keys()
    assert not any("source" in name or "nets" in name for name in state)
    other = made()
    other.load_state_dict(state)
    needed = copy.deepcopy(teacher)
    for again in (other, pickle.loads(pickle.dumps(teacher))):  # noqa: S301
        twin = Student(tiny_net(), SGD(0.1))
        twin.load_state_dict(pupil.state_dict())
        goal = Student(tiny_net(), SGD(0.1))
        goal.load_state_dict(pupil.state_dict())
        reference = copy.deepcopy(needed)
        list(train(twin, again, [BATCH] * 2))
        list(train(goal, reference, [BATCH] * 2))
        assert all(torch.equal(a, b) for a, b in zip(twin.state_dict().values(), goal.state_dict().values()))
    assert torch.equal(made().regressors[0].weight, made().regressors[0].weight)
    assert not torch.equal(made().regressors[0].weight, plain(seed=8).double().regressors[0].weight)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Hints(Frozen(tiny_net()), []), "give pairs of layers"),
        (lambda: Hints(Frozen(tiny_net()), PAIR, []), "give pairs of layers"),
        (lambda: Hints(Frozen(tiny_net()), PAIR), "1 pairs of layers, but sizes of 0: .* hint_sizes"),
        (
            lambda: plain_with([("7", "2")]),
            r'unknown layer of the teacher\'s network "7"\..*Known: 0, 1, 2, 3',
        ),
        (lambda: plain_with([("2", "hidden")]), r'unknown layer of the network "hidden"\..*Known: 0, 1, 2, 3'),
    ],
)
def test_what_is_refused(made, message):
    with pytest.raises(ConfigError, match=message):
        made()


def plain_with(layers):
    return hint_sizes(Frozen(tiny_net()), Student(tiny_net(), SGD(0.1)), layers, BATCH.x)


def test_layers_that_cannot_be_compared():
    batch = images()
    source, pupil = Frozen(conv_net(6, 1)), Student(conv_net(4, 2), SGD(0.01))
    teacher = Hints(source, [("2", "7")], [AttentionTransfer()])
    with pytest.raises(ShapeError, match=r"student has shape \(6, 8\), one of the teacher \(6, 6, 8, 8\)"):
        pupil.study(teacher.teach(batch, pupil))
    flat = Hints(source, [("7", "7")], [AttentionTransfer()])
    with pytest.raises(ShapeError, match=r"attention needs features with positions"):
        pupil.study(flat.teach(batch, pupil))


@pytest.mark.parametrize("term", [HintRegression(1.0), RelationalDistance(), RelationalAngle()])
def test_a_student_in_float64_learns_from_a_teacher_in_float32(term):
    teacher = Hints(Frozen(tiny_net(seed=4, dtype=torch.float32)), PAIR, [term], sizes=[(8, 8)], rule=SGD(0.1))
    twin = copy.deepcopy(teacher).double()
    pupil, other = Student(tiny_net(), SGD(0.1)), Student(tiny_net(), SGD(0.1))
    list(train(pupil, teacher, [BATCH] * 3))
    list(train(other, twin, [BATCH] * 3))
    assert all(p.dtype == torch.float32 for p in teacher.parameters())
    assert all(torch.allclose(pupil.params[n], p, atol=1e-5) for n, p in other.params.items())
    for mine, exact in zip(teacher.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(mine.double(), exact, atol=1e-5)
