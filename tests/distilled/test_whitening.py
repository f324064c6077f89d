"""ZCA whitening."""

from dataclasses import replace

import pytest
import torch

from tutelage import SGD, Batch, Student
from tutelage.distilled import Artefact, labels_in_turn, load, save
from tutelage.distilled import whitening as module
from tutelage.distilled.facts import Architecture, FreeRecipe, Start
from tutelage.distilled.inputs import Inputs
from tutelage.distilled.whitening import fitted_whitening
from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.experts import train_experts
from tutelage.nets import build
from tutelage.nets.initial import Scaled
from tutelage.siamese import Siamese
from tutelage.starts import Fresh
from tutelage.teachers import DatasetDistillation, DistributionMatching, GradientMatching, TrajectoryMatching


def rows(n=200):
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    return (torch.randn(n, 12, generator=generator, dtype=torch.float64) @ mix + 3.0).view(n, 3, 2, 2)


def test_pixels_are_without_correlations():
    x = rows()
    z = fitted_whitening(x, eps=1e-9)(x).flatten(1)
    assert z.shape == (200, 12)
    assert torch.allclose(torch.cov(z.T), torch.eye(12, dtype=torch.float64), atol=1e-6)
    assert z.mean(0).abs().max() < 1e-12


def test_the_formula():
    x = rows()
    flat = x.flatten(1)
    u, s, _ = torch.linalg.svd(torch.cov(flat.T))
    needed = (flat - flat.mean(0)) @ (u @ torch.diag((s + 0.1).rsqrt()) @ u.T)
    assert torch.allclose(fitted_whitening(x)(x).flatten(1), needed)


def test_it_is_the_whitening_of_kornia():
    """What published trajectory matching does to CIFAR; theirs is of float32."""
    kornia = pytest.importorskip("kornia")
    train, test = rows().float(), rows(230)[200:].float()
    theirs = kornia.enhance.ZCAWhitening(eps=0.1, compute_inv=True).fit(train)
    ours = fitted_whitening(train)
    for x in (train, test):
        assert torch.allclose(ours(x), theirs(x), atol=2e-4)
        assert torch.allclose(ours.undone(ours(x)), x, atol=1e-4)


def test_examples_may_be_summed_in_pieces(monkeypatch):
    x = rows()
    whole = fitted_whitening(x)
    monkeypatch.setattr(module, "_ROWS", 7)
    pieces = fitted_whitening(x)
    assert torch.allclose(whole.mean, pieces.mean, rtol=1e-12)
    assert torch.allclose(whole.matrix, pieces.matrix, rtol=1e-9)


def test_it_is_a_map_of_each_row_alone():
    """Validation and test rows are changed as the training rows, whatever stands beside them."""
    x = rows()
    whitening = fitted_whitening(x[:150])
    assert torch.allclose(whitening(x)[150:], whitening(x[150:]))
    assert whitening(x[:0]).shape == x[:0].shape


def test_it_can_be_undone():
    x = rows()
    whitening = fitted_whitening(x[:5])  # fewer examples than pixels
    assert torch.allclose(whitening.undone(whitening(x)), x)
    single = fitted_whitening(x.float())
    assert single(x.float()).dtype == torch.float32
    assert torch.allclose(single.undone(single(x.float())), x.float(), atol=1e-4)


def test_errors():
    with pytest.raises(ConfigError, match="1 examples have no covariance"):
        fitted_whitening(rows(1))
    with pytest.raises(ConfigError, match="eps is 0; it must be above 0"):
        fitted_whitening(rows(), eps=0)
    with pytest.raises(ConfigError, match="eps is nan; it must be above 0"):
        fitted_whitening(rows(), eps=float("nan"))
    with pytest.raises(DataError, match="an example has numbers that are not finite"):
        fitted_whitening(rows() / 0)
    for call in (fitted_whitening, fitted_whitening(rows()), fitted_whitening(rows()).undone):
        with pytest.raises(ShapeError, match=r"examples are torch\.uint8, but need a floating type: normalise"):
            call(torch.zeros(3, 3, 2, 2, dtype=torch.uint8))
    with pytest.raises(ShapeError, match=r"shape \(3, 3, 3\) have 27 numbers, but it was fitted to 12"):
        fitted_whitening(rows())(torch.zeros(2, 3, 3, 3))


def taught_by_each(net, real, images, labels):
    """Each teacher after two outer steps on whitened rows, and where its set starts."""
    starts = Fresh(net, Scaled("torch"), 0)
    experts = train_experts(net, starts.held_out(3), real.x, real.y, epochs=4, rule=SGD(0.1), batch_size=50)
    paths = {"inner_steps": 2, "epochs": 1, "max_start": 3, "nets": 2}
    for teacher in (
        DatasetDistillation(images, labels, starts=starts, nets=2, real_batch=50),
        GradientMatching(images, labels, starts=starts, outer=2, inner=1, siamese=Siamese()),
        DistributionMatching(images, labels, starts=starts, siamese=Siamese()),
        TrajectoryMatching(images, labels, experts, siamese=Siamese(), **paths),
    ):
        for _ in range(2):
            teacher.learn(None, Student(net, SGD(0.1)), real)
        yield teacher


def test_every_teacher_learns_whitened_images_and_the_file_carries_the_whitening(tmp_path):
    """Fitted to training rows alone; the file makes of raw test rows what the networks were made for."""
    raw = 8 * rows().float().view(-1, 3, 2, 2).sigmoid()
    train, test, y = raw[:150], raw[150:], torch.arange(200) % 3
    plain = Inputs((3, 2, 2), 8.0, torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.3))
    inputs = replace(plain, whitening=fitted_whitening(plain.seen(train)))
    real = Batch(inputs.seen(train), y[:150], torch.arange(150))
    net, images = build("convnet1x4", (3, 2, 2), 3), inputs.seen(train[:3]).unsqueeze(0)
    parts = {"architecture": Architecture.of(net, "convnet1x4"), "start": Start("random", "torch")}
    for teacher in taught_by_each(net, real, images, labels_in_turn(3, 1)):
        made = teacher.distilled.images.detach()
        assert not torch.equal(made, images)
        made = Artefact(teacher.distilled, tuple("abc"), inputs, free_training=FreeRecipe(epochs=2), **parts)
        save(made, tmp_path / "set.safetensors")
        again = load(tmp_path / "set.safetensors")
        whitening = again.inputs.whitening
        assert torch.equal(again.inputs.seen(test), inputs.seen(test))
        assert again.evaluate(again.inputs.seen(test), y[150:], 4) == made.evaluate(inputs.seen(test), y[150:], 4)
        pixels = whitening.undone(again.distilled.images[0]) * plain.std + plain.mean  # to be drawn
        assert torch.allclose(again.inputs.seen(8.0 * pixels), again.distilled.images[0], atol=1e-4)
