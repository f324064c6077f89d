"""Ramps, masks, consistency, pseudo labels and averages: against values written by hand."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from tutelage import SGD, Batch, Lesson, Student
from tutelage.errors import CheckpointError, ConfigError, ShapeError
from tutelage.losses import cross_entropy
from tutelage.masks import FlexMatch, FreeMatch, SoftMatch
from tutelage.schedules import Cosine, Wait, WarmCosine
from tutelage.semi_supervised import (
    UDA,
    Average,
    annealing_threshold,
    balancing_weights,
    confidences,
    confident,
    consistency,
    drawn_labels,
    exponential_ramp,
    label_health,
    labelled_weights,
    linear_ramp,
    most_confident,
    pseudo_labels,
    smoothed,
    two_point_ramp,
    view_of,
)
from tutelage.testing import tiny_batch, tiny_net

from .look_ahead import DOUBLE, drawn


def logits_of(*p):
    return torch.tensor(p, dtype=DOUBLE).log()


def test_ramps():
    assert [linear_ramp(t, 4) for t in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert linear_ramp(0, 0) == 1.0
    assert [two_point_ramp(t, 100, 600) for t in (0, 100, 350, 600, 900)] == [0, 0, 0.5, 1, 1]
    assert [two_point_ramp(t, 5, 5) for t in (4, 5)] == [0, 1]
    assert exponential_ramp(0, 80) == pytest.approx(math.exp(-5))
    assert exponential_ramp(40, 80) == pytest.approx(math.exp(-1.25))
    assert exponential_ramp(80, 80) == exponential_ramp(99, 80) == 1.0


def test_the_weight_of_uda():
    uda = UDA(weight=8, ramp=5000)
    assert uda.weight_at(0) == 8 / 5000
    assert uda.weight_at(4998) < uda.weight_at(4999) == uda.weight_at(10**6) == 8


def test_annealing():
    assert annealing_threshold(0.0, 10, "linear") == pytest.approx(0.1)
    assert annealing_threshold(1.0, 10, "linear") == 1.0
    assert annealing_threshold(0.0, 10, "exp") == pytest.approx(0.1 + math.exp(-5) * 0.9)
    assert annealing_threshold(1.0, 10, "exp") == 1.0
    assert annealing_threshold(0.0, 10, "log") == pytest.approx(0.1)
    assert annealing_threshold(1.0, 10, "log") == pytest.approx(0.1 + (1 - math.exp(-5)) * 0.9)
    with pytest.raises(ConfigError, match=r'unknown annealing "cosine"\. .*Known: linear, exp, log'):
        annealing_threshold(0.5, 10, "cosine")


def test_annealing_divides_by_the_number_kept():
    logits, y = logits_of((0.9, 0.1), (0.6, 0.4), (0.3, 0.7)), torch.tensor([0, 0, 0])
    assert labelled_weights(logits, y).tolist() == pytest.approx([1 / 3] * 3)
    assert labelled_weights(logits, y, 0.5, "linear").tolist() == [0, 0.5, 0.5]  # up to .75
    assert labelled_weights(logits[:1], y[:1], 0.0, "linear").tolist() == [0]  # none kept: 0 / max(0, 1)


def naive_consistency(weak, strong, uda):
    total = 0.0
    for w, s in zip(weak, strong):
        sharp = torch.softmax(w / uda.temperature, 0)
        if sharp.max() >= uda.threshold:
            total += -(sharp * torch.log_softmax(s, 0)).sum()
    return total / len(weak)


def test_consistency_is_over_all_rows_and_reaches_the_strong_view_only():
    weak, strong = (3 * drawn(9, 4, seed=s) for s in (1, 2))
    weak.requires_grad_()
    strong.requires_grad_()
    uda = UDA(threshold=0.8)
    assert 0 < int(uda.mask(weak).sum()) < 9
    found = consistency(weak, strong, uda)
    assert float(found.detach()) == pytest.approx(float(naive_consistency(weak, strong, uda).detach()), rel=1e-12)
    by_weak, by_strong = torch.autograd.grad(found, [weak, strong], allow_unused=True)
    assert by_weak is None
    assert by_strong.abs().sum() > 0
    assert not consistency(weak, strong, uda, torch.zeros(9, dtype=DOUBLE)).any()


def test_the_threshold_looks_at_the_sharpened_or_the_plain():
    weak = logits_of((0.6, 0.4))  # sharpened at .5: .36 / .52 = .692
    assert UDA(temperature=0.5, threshold=0.69).mask(weak).tolist() == [1]
    assert UDA(temperature=0.5, threshold=0.69, mask_on="plain").mask(weak).tolist() == [0]
    half = torch.zeros(1, 2, dtype=DOUBLE)
    assert UDA(threshold=0.5).mask(half).tolist() == [1]  # reached
    assert UDA(threshold=0.5, mask_on="plain").mask(half).tolist() == [0]  # not exceeded
    assert UDA(threshold=0.0).mask(drawn(50, 3)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1}, "UDA: weight is -1; it must be at least 0"),
        ({"weight": math.inf}, "UDA: weight is inf; it must be at least 0, and finite"),
        ({"temperature": math.inf}, "UDA: temperature is inf; it must be above 0, and finite"),
        ({"temperature": 0}, "UDA: temperature is 0; it must be above 0"),
        ({"threshold": 1.5}, r"UDA: threshold is 1\.5; it must be in 0\.\.1"),
        ({"ramp": -1}, "UDA: ramp is -1; it is a number of steps"),
        ({"mask_on": "both"}, "UDA: mask_on is 'both'; it must be sharpened or plain"),
    ],
)
def test_options_of_uda(options, message):
    with pytest.raises(ConfigError, match=message):
        UDA(**options)


def test_smoothing_equals_that_of_the_loss():
    logits, y = drawn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    soft = cross_entropy(logits, smoothed(y, 4, 0.15, DOUBLE))
    assert torch.allclose(soft, F.cross_entropy(logits, y, label_smoothing=0.15, reduction="none"), atol=1e-14)


def test_labels_are_drawn_with_their_probabilities():
    q = torch.tensor([[0.1, 0.25, 0.6, 0.05]], dtype=DOUBLE).expand(100_000, 4)
    labels = drawn_labels(q, torch.arange(100_000), key=5)
    counts = torch.bincount(labels, minlength=4)
    assert stats.chisquare(counts.numpy(), (1e5 * q[0]).numpy()).pvalue > 1e-4
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn_labels(q[:1000], order, 5), labels[order])


def test_an_example_that_is_there_twice_draws_twice():
    q = torch.full((20_000, 2), 0.5, dtype=DOUBLE)
    twice = drawn_labels(q, torch.arange(10_000).repeat(2), key=1).view(2, -1)
    agree = int((twice[0] == twice[1]).sum())
    assert stats.binomtest(agree, 10_000, 0.5).pvalue > 1e-4
    assert torch.equal(twice[0], drawn_labels(q[:10_000], torch.arange(10_000), key=1))


def test_a_class_of_probability_zero_is_never_drawn():
    q = torch.tensor([[0.0, 1.0, 0.0]], dtype=DOUBLE).expand(1000, 3)
    assert (drawn_labels(q, torch.arange(1000), key=2) == 1).all()


def test_labels_made_once():
    logits = logits_of((0.7, 0.2, 0.1), (0.1, 0.5, 0.4))
    assert pseudo_labels(logits).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert torch.allclose(pseudo_labels(logits, hard=False), logits.exp())
    sharp = pseudo_labels(logits, hard=False, temperature=0.5)
    assert torch.allclose(sharp[0], torch.tensor([0.49, 0.04, 0.01], dtype=DOUBLE) / 0.54)
    assert confident(logits, 0.6).tolist() == [True, False]


def test_classes_are_balanced():
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    weights = balancing_weights(labels, 4)
    assert [float(weights[labels == c].sum()) for c in range(3)] == pytest.approx([2, 2, 2])
    keep = labels != 1
    some = balancing_weights(labels, 4, keep)
    assert [float(some[labels == c].sum()) for c in range(3)] == pytest.approx([2.5, 0, 2.5])
    assert float(some[keep].mean()) == pytest.approx(1)
    logits = logits_of((0.9, 0.1), (0.8, 0.2), (0.7, 0.3), (0.4, 0.6))
    assert most_confident(logits, 2).tolist() == [True, True, False, True]


def test_health_of_labels():
    q = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]], dtype=DOUBLE)
    health = label_health(q)
    entropy = (math.log(2) - 0.25 * math.log(0.25) - 0.75 * math.log(0.75)) / 3
    assert float(health["label_entropy"]) == pytest.approx(entropy)
    assert health["label_histogram"].tolist() == [2, 1]
    assert health["confidence_histogram"].tolist() == confidences(q).tolist() == [0, 0, 0, 0, 0, 1, 0, 1, 0, 1]


def test_views():
    x = torch.zeros(2, 1)
    batch = Batch(x, torch.tensor([-1, -1]), torch.arange(2), views={"weak": x + 1})
    assert view_of(batch, "strong") is x
    assert float(view_of(batch, "weak")[0]) == 1
    with pytest.raises(ConfigError, match=r"UDA needs the view 'strong' of its batches, but they have weak: augment"):
        view_of(batch, "strong", needed_by="UDA")


# masks that adapt


def test_flexmatch():
    """Counts by hand: two of class 0, one of class 1, none of 2; five examples of ten not yet confident of any."""
    mask = FlexMatch(3, 10, 0.9)
    assert mask.thresholds().tolist() == [0, 0, 0]
    q = torch.tensor([[0.95, 0.05, 0], [0.92, 0.08, 0], [0.05, 0.95, 0], [0.2, 0.2, 0.6]], dtype=DOUBLE)
    mask.update(q, torch.tensor([3, 7, 1, 2]))
    b = torch.tensor([2 / 7, 1 / 7, 0.0], dtype=DOUBLE)  # seven examples are not confident of any class
    assert torch.allclose(mask.thresholds(), 0.9 * b / (2 - b))
    mask.update(q[:1].expand(7, 3), torch.tensor([0, 2, 4, 5, 6, 8, 9]))
    assert torch.allclose(mask.thresholds(), 0.9 * torch.tensor([1, (1 / 9) / (2 - 1 / 9), 0], dtype=DOUBLE))
    assert mask.weights(torch.tensor([[0.85, 0.1, 0.05], [0.1, 0.5, 0.4]], dtype=DOUBLE), None).tolist() == [0, 1]
    with pytest.raises(ShapeError, match="FlexMatch is of 10 examples, but one has index 10"):
        mask.update(q[:1], torch.tensor([10]))
    assert FlexMatch(3, 10, unlabelled=4).unlabelled == 4


def test_freematch():
    mask = FreeMatch(2, momentum=0.9).double()
    q = torch.tensor([[0.9, 0.1], [0.7, 0.3]], dtype=DOUBLE)
    mask.update(q, torch.arange(2))
    m, pbar = 0.9 * 0.5 + 0.1 * 0.8, [0.9 * 0.5 + 0.1 * 0.8, 0.9 * 0.5 + 0.1 * 0.2]
    needed = torch.tensor([m, m * pbar[1] / pbar[0]], dtype=DOUBLE)
    assert torch.allclose(mask.thresholds(), needed)
    at = torch.stack([torch.tensor([p, 1 - p], dtype=DOUBLE) for p in (0.52, 0.54, 0.49)])
    assert mask.weights(at, None).tolist() == [0, 1, 1]  # .51 of class 1 is above its lower threshold


def test_softmatch():
    mask = SoftMatch(2, momentum=0.9)
    q = torch.tensor([[0.9, 0.1], [0.7, 0.3]], dtype=DOUBLE)
    assert mask.weights(q, None).tolist() == [1, 1]  # the mean starts at 1/C
    mask.update(q, torch.arange(2))
    mu, s2 = 0.9 * 0.5 + 0.1 * 0.8, 0.9 * 1.0 + 0.1 * 0.02
    found = mask.weights(torch.tensor([[0.6, 0.4], [0.51, 0.49]], dtype=DOUBLE), None)
    assert found.tolist() == pytest.approx([1.0, math.exp(-2 * (0.51 - mu) ** 2 / s2)])


@pytest.mark.parametrize("make", [lambda: FlexMatch(3, 20), lambda: FreeMatch(3), lambda: SoftMatch(3)])
def test_masks_remember_in_their_state(make):
    one, other = make(), make()
    q = torch.softmax(4 * drawn(20, 3), -1)
    one.update(q, torch.arange(20))
    before = copy.deepcopy(one.state_dict())
    weights = one.weights(q, torch.arange(20))
    assert all(torch.equal(a, b) for a, b in zip(before.values(), one.state_dict().values()))
    other.load_state_dict(before)
    assert torch.equal(other.weights(q, torch.arange(20)), weights)
    with pytest.raises(ConfigError, match="a mask needs at least 2 classes, but got 1"):
        FreeMatch(1)


# averages


def study(student, seed):
    batch = tiny_batch(seed=seed)
    student.study(Lesson(batch.x, batch.y, torch.ones(12, dtype=DOUBLE), cross_entropy))


def test_the_average_of_a_student():
    student = Student(tiny_net("batchnorm"), SGD(0.5))
    average = Average(student, 0.15)
    assert [average.decay_at(t) for t in range(3)] == pytest.approx([0.1, 0.15, 0.15])
    assert Average(student, 0.999).decay_at(1) == pytest.approx(2 / 11)
    assert Average(student, 0.5, warm=False).decay_at(0) == 0.5
    values = [{n: t.detach().clone() for n, t in student.state_dict().items()}]
    for t in range(3):
        study(student, t)
        average.update(student)
        values.append({n: t.detach().clone() for n, t in student.state_dict().items()})
    view = average.of(student)
    for name in ("params.0.weight", "buffers.1.running_mean"):
        needed = values[0][name]
        for decay, value in zip((0.1, 0.15, 0.15), values[1:]):
            needed = decay * needed + (1 - decay) * value[name]
        assert torch.allclose(view.state_dict()[name], needed, atol=1e-15), name
    assert int(view.net[1].num_batches_tracked) == 3
    assert not torch.equal(view.predict(tiny_batch().x), student.predict(tiny_batch().x))
    tuned = Student(view.net, SGD(0.1))  # fine-tuning goes on from the average
    study(tuned, 9)
    assert int(student.net[1].num_batches_tracked) == 3


def test_an_average_goes_on_from_its_state():
    student = Student(tiny_net("batchnorm"), SGD(0.5))
    one, other = Average(student), Average(student)
    study(student, 0)
    one.update(student)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    study(student, 1)
    for average in (one, other):
        average.update(student)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))
    with pytest.raises(CheckpointError, match="state of an average: names or shapes do not fit"):
        Average(Student(tiny_net(), SGD(0.5))).load_state_dict(one.state_dict())
    with pytest.raises(ConfigError, match=r"decay of the average is 2; it must be in 0\.\.1"):
        Average(student, 2)


# rates


def test_the_published_rates():
    student = Wait(WarmCosine(0.05, steps=1000 - 30, warmup=50), 30)
    assert [student(t) for t in (0, 29)] == [0, 0]
    assert student(30) == pytest.approx(0.05 / 50)
    assert student(79) == pytest.approx(0.05)
    assert student(80) == pytest.approx(0.05)
    assert student(80 + 460) == pytest.approx(0.025)
    assert student(999) == pytest.approx(0.05 * (1 + math.cos(math.pi * 919 / 920)) / 2)
    assert student(1000) == 0.0
    teacher = WarmCosine(0.05, 1000, 50)
    assert teacher(0) == pytest.approx(0.001)
    assert teacher(525) == pytest.approx(0.025)
    assert WarmCosine(0.05, 1000)(0) == 0.05
    late = Wait(Cosine(0.5, 800), 200, shift=False)
    assert [late(199), late(200)] == [0, pytest.approx(0.25 * (1 + math.cos(math.pi / 4)))]
    with pytest.raises(ConfigError, match=r"warmup is 10; it must be in 0\.\.9, below the steps in all"):
        WarmCosine(0.1, 10, 10)
