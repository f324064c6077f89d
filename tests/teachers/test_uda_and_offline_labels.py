"""Unsupervised data augmentation and offline labels: the other rungs of the ladder to meta pseudo labels."""

import copy

import pytest
import torch
import torch.nn.functional as F

from tutelage import SGD, Adam, Student, train
from tutelage.errors import ConfigError, DataError
from tutelage.masks import FreeMatch, SoftMatch
from tutelage.semi_supervised import UDA, confidences
from tutelage.teachers import MetaPseudoLabels, OfflinePseudoLabels, UnsupervisedDataAugmentation
from tutelage.testing import tiny_net

from .meta_pseudo import (
    NESTEROV,
    normal,
    semi_batch,
)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.15}, {"tsa": "exp"}, {"mask": SoftMatch(3, 0.5)}])
def test_a_teacher_without_feedback_is_uda_itself(options):
    """The teacher of distillation becomes, batch norm included, what the student of UDA becomes."""
    uda, net = UDA(weight=4, threshold=0.4, ramp=3), tiny_net("batchnorm", seed=3)
    distil = MetaPseudoLabels(net, NESTEROV, "distil", uda=uda, **copy.deepcopy(options)).double()
    alone = UnsupervisedDataAugmentation(uda, **copy.deepcopy(options)).double()
    network, batches = Student(net, NESTEROV), [semi_batch(t) for t in range(5)]
    one = [s.metrics for s in train(Student(tiny_net(), SGD(0.1)), distil, batches)]
    other = [s.metrics for s in train(network, alone, batches)]
    for a, b in zip(distil.network.net.state_dict().values(), network.net.state_dict().values()):
        assert torch.allclose(a, b, atol=1e-13)
    for a, b in zip(one, other):
        assert float(a["mask_rate"]) == pytest.approx(float(b["mask_rate"]), abs=1e-12)
        total = float(a["supervised_loss"]) + a["uda_weight"] * float(a["uda_loss"])
        assert float(b["loss"]) == pytest.approx(total, rel=1e-12)


def test_supervised_alone_is_a_plain_loop():
    net = tiny_net("batchnorm")
    student, teacher = Student(copy.deepcopy(net), Adam(0.01)), UnsupervisedDataAugmentation(None)
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for t in range(5):
        batch = semi_batch(t)
        optimiser.zero_grad()
        F.cross_entropy(net(batch.labelled.x), batch.labelled.y).backward()
        optimiser.step()
        list(train(student, teacher, [batch]))
    for a, b in zip(student.net.state_dict().values(), net.state_dict().values()):
        assert torch.allclose(a, b, atol=1e-13)
    with pytest.raises(ConfigError, match="mask is of the consistency term; give uda, too"):
        UnsupervisedDataAugmentation(None, mask=FreeMatch(3))
    with pytest.raises(ConfigError, match=r"label_smoothing is 2; it must be in \[0, 1\)"):
        UnsupervisedDataAugmentation(None, label_smoothing=2)


@pytest.mark.parametrize("hard", [True, False])
def test_offline_labels(hard):
    """CE(S(x_s), label) + CE(S(x_l), y), by hand; rows below the threshold do not count."""
    pool = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    logits = normal(100, 3, seed=2)
    teacher = OfflinePseudoLabels(logits, pool, hard=hard, threshold=0.5).double()
    batch, student = semi_batch(), Student(tiny_net(), SGD(0.1))
    rows = torch.tensor([int((pool == i).nonzero()) for i in batch.index])
    soft = torch.softmax(logits[rows], -1)
    keep = (soft.amax(-1) >= 0.5).double()
    assert 0 < keep.sum() < 12
    target = soft.argmax(-1) if hard else soft
    net = student.net
    needed = (keep * F.cross_entropy(net(batch.views["strong"]), target, reduction="none")).mean()
    needed = needed + F.cross_entropy(net(batch.labelled.x), batch.labelled.y)
    lesson = teacher.teach(batch, student)
    assert float(student.study(lesson)["loss"]) == pytest.approx(float(needed.detach()), rel=1e-12)


def test_offline_options():
    logits = normal(20, 3, seed=2)
    balanced = OfflinePseudoLabels(logits, balance=True)
    sums = [float(balanced.weights[logits.argmax(-1) == c].sum()) for c in range(3)]
    assert sums == pytest.approx([20 / 3] * 3)
    alone = OfflinePseudoLabels(normal(100, 3, seed=2), supervised_weight=0.0).double()
    assert len(alone.teach(semi_batch(), Student(tiny_net(), SGD(0.1)))) == 12
    with pytest.raises(DataError, match="no label was made for example"):
        OfflinePseudoLabels(logits).teach(semi_batch(), Student(tiny_net(), SGD(0.1)))
    with pytest.raises(DataError, match="needs finite logits"):
        OfflinePseudoLabels(logits / 0)
    with pytest.raises(DataError, match=r"index has shape \(3,\); it needs a position a row"):
        OfflinePseudoLabels(logits, torch.arange(3))
    for temperature in (0, float("inf")):
        with pytest.raises(ConfigError, match=f"temperature is {temperature}; it must be above 0, and finite"):
            OfflinePseudoLabels(logits, temperature=temperature)
    some = OfflinePseudoLabels(logits, threshold=0.7)
    metrics = some.learn(None, None, None)
    sure = torch.softmax(logits, -1).amax(-1) >= 0.7
    assert float(metrics["label_rate"]) == float(sure.double().mean())
    assert torch.equal(metrics["confidence_histogram"], confidences(torch.softmax(logits, -1)))
