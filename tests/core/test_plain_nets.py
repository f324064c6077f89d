"""The networks of the distillation tables: forms, sizes, and what they refuse."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tutelage import SGD, Lesson, Student
from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import cross_entropy
from tutelage.nets import build

CIFAR = (3, 32, 32)


def size(net):
    return sum(p.numel() for p in net.parameters())


def form(net):
    """A plain network in the notation of the papers."""
    parts = []
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            assert (layer.kernel_size, layer.padding, layer.stride) == ((3, 3), (1, 1), (1, 1))
            parts.append(str(layer.out_channels))
        elif isinstance(layer, nn.MaxPool2d):
            assert layer.kernel_size == 2
            parts.append("M")
        elif isinstance(layer, nn.Linear):
            parts.append(f"FC{layer.out_features}")
    kinds = [type(layer) for layer in net]
    for i, kind in enumerate(kinds):
        if kind is nn.Conv2d:
            assert kinds[i + 1 : i + 3] == [nn.BatchNorm2d, nn.ReLU]
    return " ".join(parts)


@pytest.mark.parametrize(
    ("name", "classes", "needed"),
    [
        ("plain2", 10, "16 M 16 M FC10"),
        ("plain3", 10, "16 16 M 32 M FC10"),
        ("plain4", 10, "16 16 M 32 32 M FC10"),
        ("plain5", 10, "16 16 M 32 32 M 64 M FC10"),
        ("plain6", 10, "16 16 M 32 32 M 64 64 M FC10"),
        ("plain7", 10, "16 16 M 32 32 M 64 64 M 128 M FC64 FC10"),
        ("plain8", 10, "16 16 M 32 32 M 64 64 M 128 128 M FC64 FC10"),
        ("plain9", 10, "32 32 M 64 64 M 128 128 M 256 256 256 M FC128 FC10"),
        ("plain10", 10, "32 32 M 64 64 M 128 128 M 256 256 256 256 M FC128 FC10"),
        ("plain2", 100, "32 M 32 M FC100"),
        ("plain4", 100, "32 32 M 64 64 M FC100"),
        ("plain5", 100, "32 32 M 64 64 M 128 FC100"),
        ("plain6", 100, "32 32 M 64 64 M 128 128 FC100"),
        ("plain8", 100, "32 32 M 64 64 M 128 128 M 256 256 M FC64 FC100"),
        ("plain10", 100, "32 32 M 64 64 M 128 128 M 256 256 256 256 M FC512 FC100"),
    ],
)
def test_plain_forms(name, classes, needed):
    assert form(build(name, CIFAR, classes)) == needed


def plain_size(text, classes, side=32):
    """Parameters by hand: convolutions and linear layers with biases, two a channel for batch norm."""
    channels, total, flat = 3, 0, None
    for part in [*text.split(), f"FC{classes}"]:
        if part == "M":
            side //= 2
        elif part.startswith("FC"):
            outputs = int(part[2:])
            inputs = channels * side * side if flat is None else flat
            total, flat = total + (inputs + 1) * outputs, outputs
        else:
            width = int(part)
            total, channels = total + (9 * channels + 1) * width + 2 * width, width
    return total


@pytest.mark.parametrize(
    ("name", "text", "published"),
    [
        ("plain2", "32 M 32 M", 0.215e6),
        ("plain4", "32 32 M 64 64 M", 0.476e6),
        ("plain10", "32 32 M 64 64 M 128 128 M 256 256 256 256 M FC512", 2.93e6),
    ],
)
def test_plain_sizes(name, text, published):
    found = size(build(name, CIFAR, 100))
    assert found == plain_size(text, 100)
    assert found == pytest.approx(published, abs=0.5 * 10 ** (4 if published > 1e6 else 3))


def vgg_size(blocks, classes=100):
    channels, total = 3, 0
    for width, count in zip((64, 128, 256, 512, 512), blocks):
        for _ in range(count):
            total, channels = total + (9 * channels + 1) * width + 2 * width, width
    return total + (channels + 1) * classes


@pytest.mark.parametrize(
    ("name", "blocks", "parameters"),
    [
        ("vgg8", (1, 1, 1, 1, 1), 3_965_028),
        ("vgg13", (2, 2, 2, 2, 2), 9_462_180),
        ("vgg16", (2, 2, 3, 3, 3), 14_774_436),
    ],
)
def test_vgg_sizes(name, blocks, parameters):
    assert size(build(name, CIFAR, 100)) == vgg_size(blocks) == parameters


def resnet_size(depth, stem, widths, projected, classes=100):
    total, inputs = 9 * 3 * stem + 2 * stem, stem
    for width in widths:
        for _ in range((depth - 2) // 6):
            total += 9 * inputs * width + 9 * width * width + 4 * width
            total += (inputs * width + 2 * width) * (projected and inputs != width)
            inputs = width
    return total + (inputs + 1) * classes


@pytest.mark.parametrize(
    ("name", "needed", "published"),
    [
        ("resnet8x4", resnet_size(8, 32, (64, 128, 256), True), 1_233_540),
        ("resnet32x4", resnet_size(32, 32, (64, 128, 256), True), 7_433_860),
        ("resnet20x1", resnet_size(20, 16, (16, 32, 64), True), 278_324),
        ("resnet56x1", resnet_size(56, 16, (16, 32, 64), True), 861_620),
        ("resnet110x1", resnet_size(110, 16, (16, 32, 64), True), 1_736_564),
        ("resnet20", resnet_size(20, 16, (16, 32, 64), False), 275_572),
        ("resnet56", resnet_size(56, 16, (16, 32, 64), False), 858_868),
    ],
)
def test_resnet_sizes(name, needed, published):
    assert size(build(name, CIFAR, 100)) == needed == published


def naive_resnet(state, x, units):
    """The projected network from its formula, in evaluation mode."""

    def norm(x, name):
        mean, var, w, b = (state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        shape = (1, -1, 1, 1)
        return (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt() * w.view(shape) + b.view(shape)

    def conv(x, name, stride=1, padding=1):
        return F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)

    x = norm(conv(x, "conv"), "norm").relu()
    for i in range(3 * units):
        name, stride = f"blocks.{i}", 2 if i in (units, 2 * units) else 1
        y = norm(conv(x, f"{name}.conv1", stride), f"{name}.norm1").relu()
        y = norm(conv(y, f"{name}.conv2"), f"{name}.norm2")
        if f"{name}.shortcut.0.weight" in state:
            x = norm(conv(x, f"{name}.shortcut.0", stride, 0), f"{name}.shortcut.1")
        x = (x + y).relu()
    return x.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"]


@pytest.mark.parametrize(("name", "units"), [("resnet8x2", 1), ("resnet14x1", 2)])
def test_the_projected_resnet_is_what_the_formula_says(name, units):
    net = build(name, (1, 12, 12), 3, seed=2).double()
    generator = torch.Generator().manual_seed(0)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(4, 1, 12, 12, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(net.eval()(x), naive_resnet(net.state_dict(), x, units), atol=1e-10)


def test_initial_values_of_vgg():
    net = build("vgg8", CIFAR, 10)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            needed = (2 / (9 * module.out_channels)) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(needed, rel=0.1)
            assert not module.bias.any()
        elif isinstance(module, nn.Linear):
            assert float(module.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
            assert not module.bias.any()


@pytest.mark.parametrize("side", [32, 63, 64])
def test_where_vgg_pools(side):
    net = build("vgg8", (1, side, side), 3)
    assert sum(isinstance(module, nn.MaxPool2d) for module in net) == (4 if side >= 64 else 3)


@pytest.mark.parametrize("name", ["plain2", "plain9", "plain10", "vgg8", "resnet8x1"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 16, 17)])
def test_other_images(name, shape):
    """One row at a time, in float64, through a step of training."""
    student = Student(build(name, shape, 3, seed=1).double(), SGD(0.1))
    x = torch.randn(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    metrics = student.study(Lesson(x, torch.tensor([1]), torch.ones(1, dtype=torch.float64), cross_entropy))
    assert metrics["loss"].isfinite()
    assert student.predict(x).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "shape", "kind", "message"),
    [
        ("plain1", CIFAR, ConfigError, r"plain1: the depth must be 2 to 10"),
        ("plain11", CIFAR, ConfigError, r"plain11: the depth must be 2 to 10"),
        ("plain2", (1, 3, 8), ShapeError, r"plain2 needs images of at least 4x4, but these are 3x8: use fewer layers"),
        ("plain10", (1, 8, 8), ShapeError, r"plain10 needs images of at least 16x16, but these are 8x8: use fewer"),
        ("vgg12", CIFAR, ConfigError, r"vgg12: the depth must be 8, 11, 13, 16, 19"),
        ("vgg8", (1, 8, 8), ShapeError, r"vgg8 needs images of at least 16x16, but these are 8x8: use plain4 or mlp"),
        ("vgg8", (64,), ShapeError, r"vgg8 needs images \(C, H, W\), but the examples have shape \(64,\); use mlp"),
        ("resnet9x4", CIFAR, ConfigError, r"resnet9: the depth must be 6n \+ 2"),
        ("resnet8x0", CIFAR, ConfigError, r"resnet8x0: the factor must be at least 1"),
        ("plian4", CIFAR, ConfigError, r'unknown student "plian4"\. Did you mean "plain4"'),
    ],
)
def test_what_is_refused(name, shape, kind, message):
    with pytest.raises(kind, match=message):
        build(name, shape, 10)


@pytest.mark.parametrize(
    ("name", "least"), [("plain4", 4), ("plain6", 8), ("plain8", 16), ("plain7", 16), ("plain5", 8), ("vgg13", 16)]
)
def test_the_smallest_images(name, least):
    build(name, (1, least, least), 3)
    with pytest.raises(ShapeError, match=f"{name} needs images of at least {least}x{least}"):
        build(name, (1, least, least - 1), 3)
