"""What the matching teachers have in common: what they refuse, what they draw, and lessons."""

from functools import partial

import pytest
import torch

from tutelage import Batch
from tutelage.distilled import labels_in_turn
from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.experts import Experts
from tutelage.siamese import Siamese
from tutelage.teachers import DistributionMatching, GradientMatching, TrajectoryMatching

from .matching import conv_net, draw, real_images, student_of


def trajectories(images, labels, **options):
    net = conv_net()
    flat = 0.3 * draw(4, 6, sum(p.numel() for p in net.parameters())).cumsum(1)
    options = {"inner_steps": 2, "epochs": 2, "max_start": 3, "nets": 2, **options}
    return TrajectoryMatching(images, labels, Experts(net, flat), **options)


GRADIENTS = partial(GradientMatching, outer=1, inner=0, real_batch=4)
DISTRIBUTIONS = partial(DistributionMatching, real_batch=4)
MATCHED = pytest.mark.parametrize("make", [GRADIENTS, DISTRIBUTIONS], ids=["gradients", "distributions"])
ALL = pytest.mark.parametrize(
    "make", [GRADIENTS, DISTRIBUTIONS, trajectories], ids=["gradients", "distributions", "trajectories"]
)


@ALL
@pytest.mark.parametrize("batches", [1, 2])
def test_what_does_not_fit_is_refused_at_once(make, batches):
    labels, images = labels_in_turn(3, 2), draw(batches, 6, 2, 4, 4)
    for x, y, error, match in (
        (images, labels.repeat(batches, 1), ConfigError, r"labels have shape \(\d, 6\), but all batches .* share"),
        (images, labels.double(), ConfigError, "must be class ids, not soft labels"),
        (images, labels - 1, DataError, "labels: -1 is no class; class ids are 0 or more"),
        (images, 2 * labels, ConfigError, "class 1 has no synthetic image; give at least one of each class"),
        (images, labels[:0], ShapeError, r"labels of shape \(0,\) do not fit images"),
        (images[:, :0], labels[:0], ShapeError, r"images have shape \(\d, 0, 2, 4, 4\), but need"),
        (images[:0], labels, ShapeError, r"images have shape \(0, 6, 2, 4, 4\), but need"),
        (images.long(), labels, ShapeError, r"images are torch\.int64, but need a floating type"),
        (images * torch.nan, labels, DataError, "numbers that are not finite"),
    ):
        with pytest.raises(error, match=match):
            make(x, y)


@MATCHED
def test_images_rows_and_network_must_be_alike(make):
    net, real = student_of(conv_net()), real_images()
    single = Batch(real.x.float(), real.y, real.index)
    for given, student, match in (
        (single, net, "images torch.float64 on cpu, real rows torch.float32 on cpu, the network torch.float64 on cpu"),
        (real, student_of(conv_net().float()), "the network torch.float32 on cpu; they must be of one type"),
        (Batch(real.x[:, :1], real.y, real.index), net, r"have shape \(2, 4, 4\), but real rows \(1, 4, 4\)"),
    ):
        made = make(draw(1, 6, 2, 4, 4), labels_in_turn(3, 2))
        with pytest.raises(ShapeError, match=f"{type(made).__name__}: synthetic .*{match}"):
            made.learn(None, student, given)
        assert made.steps == 0


@pytest.mark.parametrize("make", [GRADIENTS, trajectories], ids=["gradients", "trajectories"])
def test_a_network_of_fewer_classes(make):
    made, real = make(draw(1, 8, 2, 4, 4), labels_in_turn(4, 2)), real_images()
    with pytest.raises(DataError, match="there are labels up to 3, but the network answers 3 classes"):
        made.learn(None, student_of(conv_net()), Batch(real.x, torch.arange(30) % 4, real.index))


class Noted(Siamese):
    """Changes nothing, and notes for what it was asked."""

    def __call__(self, x, key):
        asked.append((x.detach(), key))
        return x


asked = []


def asked_for(make, seed, steps=2):
    """What real and synthetic rows of each class are changed by at each step: lists of (x, key)."""
    asked.clear()
    made, real = make(draw(1, 6, 2, 4, 4), labels_in_turn(3, 2), siamese=Noted(), seed=seed), real_images()
    for _ in range(steps):
        made.learn(None, student_of(conv_net()), real)
    calls = [asked[6 * step : 6 * step + 6] for step in range(steps)]
    if make is GRADIENTS:  # a class after the other
        return [(six[0::2], six[1::2]) for six in calls]
    return [(six[:3], six[3:]) for six in calls]


@MATCHED
def test_every_step_and_class_has_a_change_of_its_own(make):
    """The same for both sides of a class; of another seed another."""
    seen = [asked_for(make, seed) for seed in range(2)]
    assert asked_for(make, 1)[0][0][0][1] == seen[1][0][0][0][1]
    keys = []
    for real, synthetic in [step for run in seen for step in run]:
        assert [key for _, key in real] == [key for _, key in synthetic]
        keys += [key for _, key in real]
    assert len(set(keys)) == 12


@MATCHED
def test_every_step_draws_real_rows_of_its_own(make):
    """As many of each class as asked for, without replacement; others in the next step, and from another seed."""
    rows, found = real_images().x.flatten(1), []
    for step in asked_for(make, 0) + asked_for(make, 1):
        places = [[int((rows == row.flatten()).all(1).nonzero()) for row in x] for x, _ in step[0]]
        assert [[p % 3 for p in some] for some in places] == [[0] * 4, [1] * 4, [2] * 4]
        assert all(len(set(some)) == 4 for some in places)
        assert len({tuple(p // 3 for p in some) for some in places}) == 3  # a class's draw is not another's
        found.append(str(places))
    assert len(set(found)) == 4


@ALL
def test_rows_of_lessons_are_changed_each_by_itself(make):
    """And otherwise at each step; not the set itself."""
    made = make(draw(1, 6, 2, 4, 4), labels_in_turn(3, 2), siamese=Siamese(("color",)))
    student = student_of(conv_net())
    lesson = made.teach(None, student)
    moved = (lesson.x - made.distilled.images[0]).detach().mean((1, 2, 3))
    assert len({round(float(m), 9) for m in moved}) == 6
    student.study(lesson)
    assert not torch.equal(made.teach(None, student).x, lesson.x)
