"""What is particular to curricula: the moving percentile, burn-in, dropout schedule, normalisation."""

import numpy as np
import pytest
import torch

from tutelage import SGD, Batch, Student, curricula, train
from tutelage.errors import ConfigError
from tutelage.losses import cross_entropy
from tutelage.teachers import Curriculum, focal, hard, predefined, self_paced, spcl
from tutelage.testing import tiny_batch, tiny_net


def student():
    return Student(tiny_net(), SGD(0.0), seed=4)


def at(batch, progress):
    return Batch(batch.x, batch.y, batch.index, progress)


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize("p", [0.5, 0.75])
def test_threshold_is_a_moving_percentile(correct, p):
    teacher, pupil, moving = self_paced(percentile=p, bias_correction=correct), student(), 0.0
    for t in range(1, 12):
        batch = tiny_batch(seed=t)
        losses = cross_entropy(pupil.logits(batch.x), batch.y).detach().numpy()
        moving = 0.5 * moving + 0.5 * np.quantile(losses, p)
        lesson = teacher.teach(batch, pupil)
        needed = moving / (1 - 0.5**t) if correct else moving
        assert float(lesson.notes["threshold"]) == pytest.approx(needed, rel=1e-6)
        teacher.learn(lesson, pupil, None)
    assert int(teacher.pacing.updates) == 11


def test_a_constant_loss():
    teacher, pupil = self_paced(bias_correction=False), student()
    batch = tiny_batch()
    constant = 0.0
    for t in range(1, 8):
        lesson = teacher.teach(batch, pupil)
        constant = constant or float(lesson.notes["threshold"]) / 0.5
        assert float(lesson.notes["threshold"]) == pytest.approx(constant * (1 - 0.5**t), rel=1e-9)
        teacher.learn(lesson, pupil, None)


def test_learning_moves_the_threshold_once_and_teaching_never():
    teacher, pupil = self_paced(), student()
    lesson = teacher.teach(tiny_batch(), pupil)
    teacher.teach(tiny_batch(), pupil)
    assert float(teacher.pacing.threshold) == 0.0
    teacher.learn(lesson, pupil, None)
    assert float(teacher.pacing.threshold) == float(lesson.notes["threshold"])


@pytest.mark.parametrize("burn_in", [0, 18, 100])
def test_burn_in_ends_on_the_percent(burn_in):
    teacher, pupil, batch = self_paced(burn_in=burn_in), student(), tiny_batch()
    for e in range(100):
        weight = teacher.teach(at(batch, e / 100), pupil).weight
        assert bool((weight == 1).all()) is (e < burn_in)


def test_dropout_follows_its_schedule_during_and_after_burn_in():
    schedule = ((0.5, 17), (0.0, 78), (0.9, 5))
    teacher, pupil = self_paced(dropout=schedule, burn_in=100), student()
    batch = tiny_batch(20)
    for e, left in ((0, 10), (16, 10), (17, 20), (94, 20), (95, 2), (97, 2), (99, 2)):
        lesson = teacher.teach(at(batch, e / 100), pupil)
        assert int((lesson.weight == 1).sum()) == int(lesson.notes["kept"].sum()) == left
        assert (lesson.notes["weight"] == 1).all()


def test_kept_weights_are_not_scaled_and_binary_gives_ones():
    batch, pupil = at(tiny_batch(40), 0.95), student()
    soft = spcl(dropout=((0.5, 100),), mode="actual").teach(batch, pupil)
    kept = soft.notes["kept"]
    assert torch.equal(soft.weight[kept], soft.notes["weight"][kept])
    assert (soft.weight[~kept] == 0).all()
    binary = spcl(dropout=((0.5, 100),), mode="binary").teach(batch, pupil)
    assert set(binary.weight.tolist()) == {0.0, 1.0}
    assert torch.equal(binary.notes["kept"], kept)


def test_dropout_differs_from_step_to_step_and_from_seed_to_seed():
    teacher, batch = self_paced(dropout=((0.5, 100),)), tiny_batch(40)
    one, other = student(), Student(tiny_net(), SGD(0.0), seed=5)
    first = teacher.teach(batch, one).notes["kept"]
    assert not torch.equal(first, teacher.teach(batch, other).notes["kept"])
    one.study(teacher.teach(batch, one))
    assert not torch.equal(first, teacher.teach(batch, one).notes["kept"])


def test_normalise_by_the_sum_of_weights():
    batch, pupil = tiny_batch(), student()
    plain = self_paced().teach(batch, pupil).weight
    scaled = self_paced(normalise="weights").teach(batch, pupil).weight
    assert torch.allclose(scaled, plain * 12 / plain.sum())
    assert float(scaled.mean()) == pytest.approx(1.0)


def test_keep_positive():
    batch, pupil = tiny_batch(), student()
    weight = self_paced(keep_positive=True, percentile=0.01).teach(batch, pupil).weight
    assert (weight[batch.y > 0] == 1).all()
    assert (weight[batch.y == 0] == 0).any()


@pytest.mark.parametrize(
    ("teacher", "v"),
    [
        (self_paced(), curricula.self_paced),
        (hard(), curricula.hard),
        (spcl(gamma=0.5), lambda *a: curricula.spcl_linear(*a, gamma=0.5)),
        (focal(gamma=3.0), lambda *a: curricula.focal(*a, gamma=3.0)),
        (predefined(dropout=None), curricula.predefined),
        (Curriculum(curricula.spcl_2015), curricula.spcl_2015),
    ],
)
def test_weights_are_those_of_the_function(teacher, v):
    batch, pupil = at(tiny_batch(30), 0.93), student()
    lesson = teacher.teach(batch, pupil)
    assert torch.equal(lesson.weight, v(lesson.notes["loss"], lesson.notes["threshold"], 0.93))
    assert not lesson.weight.requires_grad


def test_percentile_by_percent_of_training():
    levels = [0.1] * 50 + [0.9] * 50
    teacher, pupil, batch = self_paced(percentile=levels, decay=0.0, burn_in=0), student(), tiny_batch(40)
    early, late = (teacher.teach(at(batch, p), pupil).weight.sum() for p in (0.2, 0.7))
    assert int(early) == 4
    assert int(late) == 36


def test_percentile_follows_the_noise_rate():
    """p = 1 - noise keeps that share of the examples."""
    pupil = Student(tiny_net(), SGD(0.2))
    steps = list(train(pupil, self_paced(percentile=0.6), [at(tiny_batch(200, seed=s), 0.5) for s in range(20)]))
    assert float(steps[-1].lesson.weight.mean()) == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percentile": 0.0}, r"percentile is 0.0; it must lie between 0 and 1, such as 1 minus the noise rate"),
        ({"percentile": 1.0}, "percentile is 1.0"),
        ({"percentile": [0.5, 0.6]}, "percentile: 2 values given; give one, or 100"),
        ({"decay": 1.0}, r"decay of the moving percentile is 1.0; it must be in \[0, 1\)"),
        ({"burn_in": 101}, r"burn_in is 101; it is a percent of training, in 0\.\.100"),
        ({"dropout": ((1.5, 100),)}, r"example dropout rate is 1.5; it must be in \[0, 1\]"),
        ({"dropout": ((0.5, 99),)}, "covers 99 percent, but needs 100 in all"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        self_paced(**options)


@pytest.mark.parametrize("make", [spcl, focal])
def test_bad_gamma(make):
    with pytest.raises(ConfigError, match=r"gamma is 0\.0; it must be above 0"):
        make(gamma=0.0)


def test_dropout_that_leaves_nothing():
    teacher = self_paced(dropout=((1.0, 100),))
    with pytest.raises(ConfigError, match=r"example dropout 1\.0 leaves none of 12 rows; .*--allow-empty"):
        teacher.teach(tiny_batch(), student())
    allowed = self_paced(dropout=((1.0, 100),), allow_empty=True).teach(tiny_batch(), student())
    assert float(allowed.weight.sum()) == 0.0


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("make", [self_paced, hard])
def test_an_example_at_the_threshold_counts(make, decay):
    """One row is its own percentile: d = 0, weight 1, whatever the rounding of the bias correction."""
    teacher, pupil, batch = make(decay=decay, burn_in=0), student(), tiny_batch(1)
    for _ in range(6):
        lesson = teacher.teach(batch, pupil)
        assert lesson.weight.tolist() == [1.0]
        teacher.learn(lesson, pupil, None)
