"""What the unrolled teacher refuses."""

import pytest
import torch
from torch import nn

from tests.teachers.distilling import DOUBLE, conv_net, images_of, real_rows, soft_labels, tanh_net, teacher_of
from tutelage.distilled.poison import Poison
from tutelage.errors import ConfigError, DataError, NotFiniteError, ShapeError
from tutelage.hypergradient import ConjugateGradient, OneStep, Reversible
from tutelage.lesson import Batch
from tutelage.nets.initial import Own, Scaled
from tutelage.rules import SGD
from tutelage.starts import Fresh, Pool
from tutelage.student import Student
from tutelage.teachers import DatasetDistillation, DistributionMatching, GradientMatching


@pytest.mark.parametrize("size", [0.0, -0.1, float("nan"), float("inf")])
def test_step_sizes_that_are_not_positive_are_refused(size):
    with pytest.raises(ConfigError, match=r"a step size is .*; it must be finite and above 0"):
        teacher_of(tanh_net(), step_size=size)


def stand(teacher):
    return {n: t.clone() for n, t in teacher.state_dict().items()}


@pytest.mark.parametrize("engine", ["loop", "vmap", "hand"])
def test_a_loss_that_is_not_finite_raises_before_anything_moves(engine):
    net, real = tanh_net(), real_rows()
    teacher, student = teacher_of(net, engine=engine), Student(net, SGD(0.1))
    teacher.learn(None, student, real)
    teacher.raw.data.fill_(1.7e308)
    before = stand(teacher)
    with pytest.raises(NotFiniteError, match=r"Step sizes are .*: start them lower, or lower lr_steps"):
        teacher.learn(None, student, real)
    assert all(torch.equal(a, b) for a, b in zip(stand(teacher).values(), before.values()))


@pytest.mark.parametrize("engine", ["loop", "vmap", "hand"])
def test_numbers_that_are_not_finite_are_not_blamed_on_the_step_sizes(engine):
    net, real = tanh_net(), real_rows()
    student = Student(net, SGD(0.1))
    spoilt = Batch(real.x.clone(), real.y, real.index)
    spoilt.x[7, 2] = float("nan")
    teacher = teacher_of(net, engine=engine, real_batch=None)
    before = stand(teacher)
    with pytest.raises(DataError, match="the real examples are not finite, first in row 7: mend them"):
        teacher.learn(None, student, spoilt)
    weights = Scaled().draw(net, range(3))
    weights["3.bias"][1, 0] = float("inf")
    pool = teacher_of(net, engine=engine, starts=Pool(net, weights), nets=3)
    with pytest.raises(DataError, match=r"3\.bias of the initial networks are not finite, first in row [012]: mend"):
        pool.learn(None, student, real)
    assert all(torch.equal(a, b) for a, b in zip(stand(teacher).values(), before.values()))


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        (Reversible(), "no momentum to go back by"),
        (OneStep(), "one pass a scalar"),
        (ConjugateGradient(), "no stationary point"),
    ],
)
def test_strategies_that_cannot_distil_are_refused_with_a_reason(strategy, why):
    with pytest.raises(ConfigError, match=f"cannot distil a dataset: .*{why}.*use Unrolled or Recompute"):
        teacher_of(tanh_net(), hypergradient=strategy)


def test_running_statistics_are_refused_unless_frozen():
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).to(DOUBLE)
    student, real = Student(net, SGD(0.1)), real_rows()
    for engine in ("vmap", "loop"):
        with pytest.raises(ConfigError, match=r"layer 1 \(BatchNorm1d\) keeps running statistics"):
            teacher_of(net, engine=engine).gradients(student, real)
    together = teacher_of(net, engine="vmap", freeze_buffers=True).gradients(student, real)[1]
    alone = teacher_of(net, engine="loop", freeze_buffers=True).gradients(student, real)[1]
    assert all(torch.allclose(a, b, rtol=1e-9) for a, b in zip(together, alone))


def test_hand_needs_a_perceptron():
    net = conv_net()
    with pytest.raises(ConfigError, match='engine "hand" needs linear layers'):
        teacher_of(net, (1, 4, 4), engine="hand").gradients(Student(net, SGD(0.1)), real_rows((1, 4, 4)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "fast"}, "engine"),
        ({"nets": 0}, "nets is 0; it must be at least 1"),
        ({"real_batch": 0}, "real_batch is 0; it must be at least 1"),
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"clip": 0.0}, r"clip is 0\.0; it needs to be above 0, or None"),
        ({"clip": float("nan")}, "clip is nan; it needs to be above 0"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        teacher_of(tanh_net(), **options)


def test_labels_that_do_not_fit_the_images_are_refused():
    with pytest.raises(ShapeError, match="do not fit images"):
        teacher_of(tanh_net(), labels=torch.arange(4))


def test_real_examples_are_needed():
    with pytest.raises(ConfigError, match="needs real examples"):
        teacher_of(tanh_net()).learn(None, Student(tanh_net(), SGD(0.1)), None)


def test_images_that_are_not_finite_or_integers_are_refused():
    images = images_of()
    images[1, 2, 0] = float("nan")
    with pytest.raises(DataError, match="the images start with numbers that are not finite"):
        DatasetDistillation(images, torch.arange(3))
    with pytest.raises(DataError, match="the images start with numbers that are not finite"):
        GradientMatching(images, torch.arange(3))
    for kind in (DatasetDistillation, GradientMatching):
        with pytest.raises(ShapeError, match=r"images are torch.uint8, but need a floating type: use \.float\(\)"):
            kind(torch.zeros(2, 3, 6, dtype=torch.uint8), torch.arange(3))


def test_labels_that_are_neither_classes_nor_probabilities_are_refused():
    with pytest.raises(DataError, match="labels: -1 is no class; class ids are 0 or more"):
        teacher_of(tanh_net(), labels=torch.tensor([0, -1, 2]))
    soft = soft_labels()
    soft[1, 2] = torch.tensor([1.0, 0.5, -0.5])
    with pytest.raises(DataError, match=r"row \(1, 2\) of the soft labels is \(1, 0\.5, -0\.5\); rows are"):
        teacher_of(tanh_net(), labels=soft)
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    for given in (logits, soft_labels() * 1.01, soft_labels() * float("nan")):
        with pytest.raises(DataError, match=r"row \(0, 0\) of the soft labels .* of logits take \.softmax\(-1\)"):
            teacher_of(tanh_net(), labels=given)
    found = teacher_of(tanh_net(), labels=soft_labels()).distilled.targets(1)
    assert torch.allclose(found, soft_labels()[1], atol=1e-12)


def test_soft_labels_of_another_type_become_that_of_the_images():
    net, real = tanh_net(torch.float32), real_rows(dtype=torch.float32)
    teacher = teacher_of(net, labels=soft_labels())
    assert teacher.labels.dtype == torch.float32
    teacher.learn(None, Student(net, SGD(0.1)), real)


def test_a_set_without_a_row_is_refused():
    for shape in ((2, 0, 6), (0, 3, 6)):
        with pytest.raises(ShapeError, match=r"need \(S, n, ...\), at least one batch of one row"):
            DatasetDistillation(torch.zeros(shape), torch.zeros(shape[1], dtype=torch.int64))
        with pytest.raises(ShapeError, match="at least one batch of one row"):
            GradientMatching(torch.zeros(shape), torch.zeros(shape[1], dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"images have shape \(6,\), but need"):
        DatasetDistillation(torch.zeros(6), torch.zeros(6, dtype=torch.int64))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_step_sizes_in_another_number_are_refused(count):
    with pytest.raises(ShapeError, match=rf"step_size has shape \({count},\), but 4 applications need \(4,\)"):
        teacher_of(tanh_net(), step_size=torch.full((count,), 0.1))
    several = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=DOUBLE)
    assert torch.allclose(teacher_of(tanh_net(), step_size=several).distilled.step_sizes, several)
    assert teacher_of(tanh_net(), step_size=torch.tensor([0.1])).distilled.applications == 4


@pytest.mark.parametrize("engine", ["loop", "vmap", "hand", "compile"])
def test_classes_that_the_network_does_not_know_are_refused(engine, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    net, real = tanh_net(), real_rows()
    strange = Batch(real.x, torch.arange(20) % 4, real.index)
    images = images_of(rows=4)
    teacher = DatasetDistillation(images, torch.arange(4), starts=Fresh(net, Scaled()), nets=2, engine=engine)
    with pytest.raises(DataError, match="there are labels up to 3, but the network answers 3 classes"):
        teacher.learn(None, Student(net, SGD(0.1)), strange)
    poisoned = teacher_of(net, engine=engine, objective=Poison(0, 5), real_batch=None)
    with pytest.raises(DataError, match="there are labels up to 5, but the network answers 3 classes"):
        poisoned.learn(None, Student(net, SGD(0.1)), real)


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_real_and_synthetic_examples_are_of_the_same_classes(labels):
    net, real = tanh_net(), real_rows()
    given = soft_labels() if labels == "soft" else None
    student = Student(net, SGD(0.1))
    for y, message in (
        (torch.arange(20) % 2, "class 2 has no real example, but synthetic ones"),
        (torch.arange(20) % 4, "class 3 has no synthetic example, but real ones"),
        (torch.arange(20) % 3 - 1, "the real examples have class -1: leave out rows without a class"),
        (torch.zeros(20, 3), "the real examples have soft labels, but need class ids"),
    ):
        with pytest.raises(DataError, match=message):
            teacher_of(net, labels=given).learn(None, student, Batch(real.x, y, real.index))


@pytest.mark.parametrize("kind", [GradientMatching, DistributionMatching])
def test_matching_teachers_want_the_same_classes(kind):
    net, real = tanh_net(), real_rows()
    teacher, student = kind(images_of(), torch.arange(3)), Student(net, SGD(0.1))
    with pytest.raises(DataError, match=r"row 3 of the real examples has class 3, but the classes are 0\.\.2"):
        teacher.learn(None, student, Batch(real.x, torch.arange(20) % 4, real.index))
    with pytest.raises(DataError, match="class 2 has no real example"):
        teacher.learn(None, student, Batch(real.x, torch.arange(20) % 2, real.index))
    with pytest.raises(DataError, match="row 0 of the real examples has class -1"):
        teacher.learn(None, student, Batch(real.x, torch.arange(20) % 3 - 1, real.index))


@pytest.mark.parametrize("kind", [GradientMatching, DistributionMatching])
def test_labels_of_matching_teachers_are_shared_by_all_batches(kind):
    with pytest.raises(ConfigError, match=r"labels have shape \(2, 3\), but all batches .* share theirs: give \(n,\)"):
        kind(images_of(), torch.arange(3).repeat(2, 1))
    with pytest.raises(DataError, match="labels: -2 is no class"):
        kind(images_of(), torch.tensor([0, -2, 1]))


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_images_that_the_network_cannot_take_are_refused(engine):
    teacher = teacher_of(tanh_net(), (5,), engine=engine)
    with pytest.raises(ShapeError, match=r"the network cannot take images of shape \(5,\): mat1 and mat2"):
        teacher.learn(None, Student(tanh_net(), SGD(0.1)), real_rows((5,)))


@pytest.mark.parametrize("engine", ["auto", "loop", "vmap"])
def test_a_network_without_parameters_is_refused(engine):
    net, real = nn.Sequential(nn.Flatten(), nn.Tanh()), Batch(torch.zeros(9, 3), torch.arange(9) % 3, torch.arange(9))
    for starts in (Fresh(net, Scaled()), Fresh(net, Own(lambda: net))):
        teacher = DatasetDistillation(images_of((3,)), torch.arange(3), starts=starts, nets=2, engine=engine)
        with pytest.raises(ConfigError, match="Sequential has no parameters, so there is nothing to teach it"):
            teacher.learn(None, Student(net, SGD(0.1)), real)


def test_a_network_of_frozen_parameters_is_refused():
    net = tanh_net().requires_grad_(False)
    for options in ({}, {"starts": None}):
        with pytest.raises(ConfigError, match="the student has no parameters that learn"):
            teacher_of(net, **options).learn(None, Student(net, SGD(0.1)), real_rows())


def test_rows_need_no_place_in_a_data_set():
    net, real = tanh_net(), real_rows()
    bare = Batch(real.x, real.y, None)
    _, needed = teacher_of(net).gradients(Student(net, SGD(0.1)), real)
    _, found = teacher_of(net).gradients(Student(net, SGD(0.1)), bare)
    assert all(torch.equal(a, b) for a, b in zip(found, needed))


def test_poison_wants_class_ids():
    with pytest.raises(ConfigError, match=r"poison 0:1 changes class ids, but these labels are soft: take \.argmax"):
        Poison(0, 1).labels(torch.eye(3))


@pytest.mark.parametrize("engine", ["loop", "auto", "compile"])
def test_running_statistics_are_refused_where_the_student_stands_as_well(engine, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).to(DOUBLE)
    with pytest.raises(ConfigError, match=r"layer 1 \(BatchNorm1d\) keeps running statistics"):
        teacher_of(net, starts=None, engine=engine).learn(None, Student(net, SGD(0.1)), real_rows())
