"""Engines: what is chosen, the compiled outer step, run as it is here, and the memory of the graph of all steps."""

import pickle
import shutil

import pytest
import torch
from torch import nn

from tests.teachers.distilling import conv_net, real_rows, soft_labels, tanh_net, teacher_of
from tutelage.distilled.compiled import OuterStep
from tutelage.errors import ConfigError, NotFiniteError
from tutelage.hypergradient import Fitting, Recompute, Unrolled, fitting
from tutelage.lesson import Batch
from tutelage.rules import SGD
from tutelage.student import Student

SHAPES = {"perceptron": (6,), "convolutions": (1, 4, 4)}


@pytest.fixture
def as_it_is(monkeypatch):
    """Nothing is compiled."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


def far(found, needed):
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, needed, strict=True))


@pytest.mark.parametrize(
    ("net", "side", "rows", "steps", "needed"),
    [
        (tanh_net(), None, 512, 1, "hand"),
        (nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 3)), None, 512, 1, "vmap"),
        (nn.Conv2d(1, 16, 3), 8, 256, 1, "vmap"),
        (nn.Conv2d(1, 16, 3), 8, 512, 3, None),
        (nn.Conv2d(1, 16, 3), 8, 512, 10, "vmap"),
        (nn.Conv2d(1, 64, 3), 8, 256, 10, None),
        (nn.Conv2d(1, 16, 3), 28, 256, 10, None),
    ],
)
def test_the_engine_follows_what_was_measured(net, side, rows, steps, needed):
    shape = (6,) if side is None else (1, side, side)
    teacher = teacher_of(net, shape, epochs=steps, steps=1)
    real = Batch(torch.zeros(rows, *shape), torch.zeros(rows, dtype=torch.int64), torch.arange(rows))
    assert teacher._how(Student(net, SGD(0.1)), real) == needed


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.usefixtures("as_it_is")
def test_it_equals_the_loop(kind, labels, dtype, error):
    net, shape = (tanh_net(dtype) if kind == "perceptron" else conv_net(dtype)), SHAPES[kind]
    student, real = Student(net, SGD(0.1)), real_rows(shape, dtype=dtype)
    given = soft_labels().to(dtype) if labels == "soft" else None
    loss, needed = teacher_of(net, shape, labels=given, engine="loop").gradients(student, real)
    same, found = teacher_of(net, shape, labels=given, engine="compile").gradients(student, real)
    assert float(same) == pytest.approx(float(loss), rel=error)
    assert far(found, needed) <= error


@pytest.mark.usefixtures("as_it_is")
def test_it_starts_where_the_student_stands_and_leaves_frozen_parameters():
    net = tanh_net()
    net[-1].weight.requires_grad_(False)
    student, real = Student(net, SGD(0.1)), real_rows()
    _, needed = teacher_of(net, starts=None).gradients(student, real)
    _, found = teacher_of(net, starts=None, engine="compile").gradients(student, real)
    assert far(found, needed) <= 1e-12


@pytest.mark.usefixtures("as_it_is")
def test_running_statistics_may_be_frozen():
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)).double()
    student, real = Student(net, SGD(0.1)), real_rows()
    with pytest.raises(ConfigError, match="BatchNorm1d"):
        teacher_of(net, engine="compile").gradients(student, real)
    _, needed = teacher_of(net, engine="loop", freeze_buffers=True).gradients(student, real)
    _, found = teacher_of(net, engine="compile", freeze_buffers=True).gradients(student, real)
    assert far(found, needed) <= 1e-12


@pytest.mark.usefixtures("as_it_is")
def test_it_keeps_the_laws_of_teachers():
    net = tanh_net(torch.float32)
    teacher = teacher_of(net, engine="compile")
    student, real = Student(net, SGD(0.1)), real_rows(dtype=torch.float32)
    teacher.learn(teacher.teach(real, student), student, real)
    again = pickle.loads(pickle.dumps(teacher))  # noqa: S301
    for each in (teacher, again):
        each.learn(each.teach(real, student), student, real)
    assert torch.equal(teacher.images, again.images)


@pytest.mark.usefixtures("as_it_is")
def test_a_loss_that_is_not_finite_raises_before_anything_moves():
    net = tanh_net()
    teacher = teacher_of(net, engine="compile")
    real = real_rows()
    teacher.raw.data.fill_(1.7e308)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    with pytest.raises(NotFiniteError, match=r"outer step: .* not finite\. Step sizes are 1\.7e\+308, 1"):
        teacher.learn(None, Student(net, SGD(0.1)), real)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("strategy", [Recompute(), Unrolled(2), Fitting(truncate=1)])
def test_it_neither_recomputes_nor_truncates(strategy):
    with pytest.raises(ConfigError, match='engine "compile" keeps the graph of all steps: use "auto"'):
        teacher_of(tanh_net(), engine="compile", hypergradient=strategy)


def test_it_draws_nothing():
    net = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 3))
    with pytest.raises(ConfigError, match='draws nothing, but layer 1 is Dropout: use "vmap"'):
        OuterStep(net)


def test_it_needs_a_compiler(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler, and none is found: install"):
        OuterStep(tanh_net())


def test_memory_decides_between_the_graph_and_recomputing(monkeypatch):
    net, real = tanh_net(), real_rows()
    student, needed = Student(net, SGD(0.1)), None
    for free, reruns in ((1 << 40, 0), (1, 4)):
        monkeypatch.setattr(fitting, "free_bytes", lambda device, free=free: free)
        teacher = teacher_of(net)
        _, found = teacher.gradients(student, real)
        assert isinstance(teacher.hypergradient, Fitting)
        assert teacher.hypergradient.stats.reruns == reruns
        assert needed is None or far(found, needed) <= 1e-12
        needed = found


@pytest.mark.parametrize(("free", "reruns"), [(1 << 40, 0), (0, 4)])
def test_a_run_that_goes_on_decides_alike(monkeypatch, free, reruns):
    net, real = tanh_net(torch.float32), real_rows(dtype=torch.float32)
    student, whole, first, second = Student(net, SGD(0.1)), *(teacher_of(net) for _ in range(3))
    monkeypatch.setattr(fitting, "free_bytes", lambda device: free)
    for teacher, steps in ((whole, 4), (first, 2)):
        for _ in range(steps):
            teacher.learn(None, student, real)
    assert teacher_of(net).state_dict()["decision.recomputes"] == -1
    second.load_state_dict(first.state_dict())
    monkeypatch.setattr(fitting, "free_bytes", lambda device: (1 << 40) - free)
    for _ in range(2):
        second.learn(None, student, real)
        assert second.hypergradient.stats.reruns == reruns
    assert torch.equal(whole.images, second.images)
    assert torch.equal(whole.raw, second.raw)


def test_a_graph_that_cannot_fit_is_refused(monkeypatch):
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 1)
    student, real = Student(tanh_net(), SGD(0.1)), real_rows()
    for engine in ("loop", "hand"):
        teacher = teacher_of(tanh_net(), engine=engine, hypergradient=Unrolled())
        with pytest.raises(ConfigError, match=r"the graph of 4 steps needs .* GB of memory are free: use Recompute"):
            teacher.gradients(student, real)
    teacher_of(tanh_net(), hypergradient=Recompute()).gradients(student, real)
