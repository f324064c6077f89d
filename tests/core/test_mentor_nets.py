"""The students of the published MentorNet tables, against forward passes and counts written from their description."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from tutelage import SGD, Lesson, Student
from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import cross_entropy
from tutelage.nets import build, cifarnet, mentor_resnet
from tutelage.randomness import seeded
from tutelage.rules import Decay


def size(net):
    return sum(p.numel() for p in net.parameters())


def images(n, *shape, seed=0):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shaken(net, seed=1):
    """The network in float64, its vectors moved, so that norms and biases matter."""
    generator = torch.Generator().manual_seed(seed)
    net = net.double()
    for p in net.parameters():
        if p.ndim == 1:
            p.data += 0.3 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return net


# Sizes


def residual_size(units, width, channels, classes):
    """Parameters by arithmetic: 3x3 kernels, two numbers a normalised channel, one dense layer."""
    a, b, c = 16 * width, 32 * width, 64 * width
    kernels = channels * 16 + 16 * a + a * b + b * c + (2 * units - 1) * (a * a + b * b + c * c)
    normalised = 16 + a + b + (2 * units - 1) * (a + b + c) + c  # each stage ends where the next one's norm begins
    return 9 * kernels + 2 * normalised + (c + 1) * classes


@pytest.mark.parametrize(("classes", "parameters"), [(10, 84_627_034), (100, 84_684_724)])
def test_the_published_resnet_has_84_million_parameters(classes, parameters):
    with torch.device("meta"):
        net = mentor_resnet((3, 32, 32), classes)
    assert size(net) == residual_size(9, 10, 3, classes) == parameters
    assert len([m for m in net.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]) == 56
    assert {n for n, _ in net.named_parameters() if "bias" in n and "norm" not in n} == {"linear.bias"}


@pytest.mark.parametrize(("units", "width", "channels"), [(1, 1, 3), (2, 2, 1), (3, 1, 3)])
def test_sizes_of_its_siblings(units, width, channels):
    net = build(f"mentor-resnet-{6 * units + 2}-{width}", (channels, 8, 8), 7)
    assert size(net) == residual_size(units, width, channels, 7)


def test_the_published_name_is_one_of_the_family():
    with torch.device("meta"):
        published, ours = (build(name, (3, 32, 32), 10) for name in ("resnet101", "mentor-resnet-56-10"))
    assert repr(published) == repr(ours)


@pytest.mark.parametrize(("classes", "parameters"), [(10, 1_756_426), (100, 1_773_796)])
def test_the_published_inception_has_1_7_million_parameters(classes, parameters):
    needed = (75 + 1) * 64 + (25 * 64 + 1) * 64 + (8 * 8 * 64 + 1) * 384 + (384 + 1) * 192 + (192 + 1) * classes
    assert size(build("inception", (3, 32, 32), classes)) == needed == parameters


# Forward passes


def same_padded(x, kernel, stride):
    """Zeros as TensorFlow's SAME puts them: as few as give ceil(side / stride), the odd one on the far side."""
    for axis in (-1, -2):
        total = max((math.ceil(x.shape[axis] / stride) - 1) * stride + kernel - x.shape[axis], 0)
        sides = (total // 2, total - total // 2)
        x = F.pad(x, sides if axis == -1 else (0, 0, *sides))
    return x


def convolved(x, kernel, stride=1):
    return F.conv2d(same_padded(x, kernel.shape[-1], stride), kernel, stride=stride)


def leaky(x):
    return torch.where(x < 0, 0.1 * x, x)


def halved(x):
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


class Naive:
    """The published ResNet as one function of a list of tensors, in the order of their use."""

    def __init__(self, net, running=False):
        self.tensors = iter([p.detach() for p in net.parameters()])
        self.running = iter([m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)] if running else [])
        self.means = []

    def norm(self, x, gain, shift):
        module = next(self.running, None)
        if module is None:
            mean = x.mean((0, 2, 3))
            variance = ((x - mean[:, None, None]) ** 2).mean((0, 2, 3))
            count = x.numel() / x.shape[1]
            self.means.append((mean, variance * count / (count - 1)))
        else:
            mean, variance = module.running_mean, module.running_var
        scaled = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-3).sqrt()
        return scaled * gain[:, None, None] + shift[:, None, None]

    def __call__(self, x, units):
        take = self.tensors.__next__
        x = convolved(x, take())
        for stage in range(3):
            for position in range(units):
                stride = 2 if stage > 0 and position == 0 else 1
                if stage == position == 0:
                    x = inner = self.norm(leaky(x), take(), take())
                else:
                    inner = leaky(self.norm(x, take(), take()))
                inner = convolved(inner, take(), stride)
                inner = convolved(leaky(self.norm(inner, take(), take())), take())
                x = halved(x) if stride == 2 else x
                zeros = torch.zeros_like(inner)[:, : (inner.shape[1] - x.shape[1]) // 2]
                x = inner + torch.cat([zeros, x, zeros], 1)
        x = leaky(self.norm(x, take(), take())).mean((2, 3))
        out = x @ take().T + take()
        assert not list(self.tensors)
        return out


@pytest.mark.parametrize(
    ("units", "width", "shape"), [(2, 2, (3, 16, 16)), (1, 3, (1, 8, 12)), (3, 1, (2, 4, 4))], ids=str
)
def test_the_resnet_is_what_the_description_says(units, width, shape):
    net = shaken(mentor_resnet(shape, 5, depth=6 * units + 2, width=width))
    x = images(4, *shape)
    naive = Naive(net)
    assert torch.allclose(net(x), naive(x, units), rtol=0, atol=1e-10)
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == len(naive.means) == 6 * units + 1
    for module, (mean, variance) in zip(norms, naive.means):
        assert torch.allclose(module.running_mean, 0.1 * mean)
        assert torch.allclose(module.running_var, 0.9 + 0.1 * variance)
    assert torch.allclose(net.eval()(x), Naive(net, running=True)(x, units), rtol=0, atol=1e-10)


def looped(x, kernel, stride):
    """A 3x3 convolution of one image by loops; at stride 2 the windows begin at the even pixels."""
    out = torch.zeros(kernel.shape[0], x.shape[1] // stride, x.shape[2] // stride, dtype=x.dtype)
    first = -1 if stride == 1 else 0
    for o, r, c in itertools.product(*map(range, out.shape)):
        for dr, dc in itertools.product(range(3), range(3)):
            row, column = r * stride + first + dr, c * stride + first + dc
            if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                out[o, r, c] += x[:, row, column] @ kernel[o, :, dr, dc]
    return out


@pytest.mark.parametrize("position", [0, 1], ids=["the first, shared", "one that halves"])
def test_a_unit_by_loops(position):
    unit = shaken(mentor_resnet((1, 4, 4), 3, depth=8, width=2)).eval().units[position]
    for norm in (unit.norm1, unit.norm2):
        norm.running_mean += 0.2
        norm.running_var *= 1.7
    x = images(1, unit.conv1.in_channels, 4, 4)

    def norm(x, module):
        columns = [v.detach()[:, None, None] for v in (module.weight, module.bias)]
        return (x - 0.2) / math.sqrt(1.7 + 1e-3) * columns[0] + columns[1]

    short = norm(leaky(x[0]), unit.norm1) if position == 0 else x[0]
    inner = short if position == 0 else leaky(norm(short, unit.norm1))
    inner = looped(inner, unit.conv1.weight.detach(), (1, 2)[position])
    inner = looped(leaky(norm(inner, unit.norm2)), unit.conv2.weight.detach(), 1)
    short = short if position == 0 else halved(short)
    edge = len(short) // 2  # the channels double: a quarter of zeros at either end
    assert inner.shape == (2 * len(short), *short.shape[1:])
    inner[edge:-edge] += short
    assert torch.allclose(unit(x)[0], inner, rtol=0, atol=1e-10)


def test_sides_that_cannot_be_halved_lose_their_last_rows_and_columns():
    net = shaken(mentor_resnet((1, 9, 9), 3, depth=8, width=1)).eval()
    x = images(2, 1, 9, 9)
    seen = []
    for unit in net.units:
        unit.register_forward_hook(lambda _module, _inputs, out: seen.append(tuple(out.shape[2:])))
    net(x)
    assert seen == [(9, 9), (4, 4), (2, 2)]


def normalised(x):
    """Local response normalisation (4, 1, .001 / 9, .75), channel by channel."""
    out = torch.empty_like(x)
    for c in range(x.shape[1]):
        near = (x[:, max(c - 4, 0) : c + 5] ** 2).sum(1)
        out[:, c] = x[:, c] / (1 + 0.001 / 9 * near) ** 0.75
    return out


def pooled(x):
    """The largest of 2x2; an odd last row or column stands alone."""
    rows = [x[..., i : i + 2, :].amax(-2) for i in range(0, x.shape[-2], 2)]
    x = torch.stack(rows, -2)
    return torch.stack([x[..., i : i + 2].amax(-1) for i in range(0, x.shape[-1], 2)], -1)


def naive_cifarnet(net, x, drop):
    k1, b1, k2, b2, w3, b3, w4, b4, w5, b5 = (p.detach() for p in net.parameters())
    x = normalised(pooled((convolved(x, k1) + b1[:, None, None]).clamp(min=0)))
    x = pooled(normalised((convolved(x, k2) + b2[:, None, None]).clamp(min=0)))
    x = drop((x.flatten(1) @ w3.T + b3).clamp(min=0))
    return (x @ w4.T + b4).clamp(min=0) @ w5.T + b5


def test_inception_rounds_sides_up():
    net = cifarnet((1, 9, 14), 5)
    sides = []
    for layer in net[:8]:
        layer.register_forward_hook(lambda _module, _inputs, out: sides.append(tuple(out.shape[2:])))
    net(torch.zeros(2, 1, 9, 14))
    assert sides == [(9, 14)] * 2 + [(5, 7)] * 5 + [(3, 4)]


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (2, 7, 9)], ids=str)
def test_inception_is_what_the_description_says(shape):
    net = shaken(cifarnet(shape, 5))
    x = 10 * images(2, *shape)  # large, so that the normalisation matters
    assert torch.allclose(net.eval()(x), naive_cifarnet(net, x, lambda h: h), rtol=1e-10, atol=1e-10)
    with seeded(5):
        found = net.train()(x)
    with seeded(5):
        kept = torch.bernoulli(torch.full((2, 384), 0.8, dtype=torch.float64))
    assert torch.allclose(found, naive_cifarnet(net, x, lambda h: h * kept / 0.8), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(found, net.eval()(x))


# Initial values


def test_initial_values_of_the_resnet():
    net = build("mentor-resnet-14-4", (3, 32, 32), 100)
    for name, p in net.state_dict().items():
        if p.ndim == 4:
            needed = math.sqrt(2 / (9 * p.shape[0]))
            assert abs(float(p.std()) / needed - 1) < 4 / math.sqrt(2 * p.numel()), name
            assert abs(float(p.mean())) < 4 * needed / math.sqrt(p.numel()), name
            if p.numel() > 10_000:
                assert p.abs().max() > 3.5 * needed, name  # normal, not cut
        elif "norm" in name:
            assert torch.equal(p, torch.full_like(p, name.endswith(("weight", "var")))), name
    bound = math.sqrt(3 / 256)
    weight = net.linear.weight.detach()
    assert weight.shape == (100, 256)
    assert 0.999 * bound < weight.abs().max() <= bound
    assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not net.linear.bias.any()


def test_initial_values_of_inception():
    net = build("inception", (3, 32, 32), 100)
    weights = [p.detach() for p in net.parameters() if p.ndim > 1]
    biases = [p.detach() for p in net.parameters() if p.ndim == 1]
    for p, sd in zip(weights, (0.05, 0.05, 0.04, 0.04, 1 / 192), strict=True):
        assert 1.98 * sd < p.abs().max() <= 2 * sd
        # a normal cut at two standard deviations has 0.8796 of the deviation
        assert float(p.std()) == pytest.approx(0.8796 * sd, rel=0.03)
        assert abs(float(p.mean())) < 4 * sd / math.sqrt(p.numel())
    for p, value in zip(biases, (0, 0, 0.1, 0.1, 0), strict=True):
        assert torch.equal(p, torch.full_like(p, value))


@pytest.mark.parametrize("name", ["mentor-resnet-8-1", "inception"])
def test_the_seed_decides(name):
    a, b, c = (build(name, (1, 8, 8), 3, seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert not any(torch.equal(a[n], c[n]) for n in a if n.endswith("weight") and a[n].ndim > 1)


# As students


@pytest.mark.parametrize("name", ["mentor-resnet-8-1", "mentor-resnet-14-2", "inception"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 9, 7), (1, 4, 4)], ids=str)
def test_other_images(name, shape):
    net = build(name, shape, 7)
    out = net(torch.ones(2, *shape))
    out.sum().backward()
    assert out.shape == (2, 7)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "kind", "message"),
    [
        ("mentor-resnet-15-1", (3, 8, 8), ConfigError, r"mentor-resnet-15-1: the depth must be 6n \+ 2, such as 8"),
        ("mentor-resnet-2-1", (3, 8, 8), ConfigError, r"mentor-resnet-2-1: the depth must be 6n \+ 2"),
        ("mentor-resnet-8-0", (3, 8, 8), ConfigError, "mentor-resnet-8-0: the width must be at least 1"),
        ("resnet101", (3, 3, 8), ShapeError, r"at least 4 pixels a side, but .* shape \(3, 3, 8\); use mlp"),
        ("resnet101", (64,), ShapeError, r"resnet101 needs images \(C, H, W\), but .* shape \(64,\); use mlp"),
        ("inception", (64,), ShapeError, r"inception needs images \(C, H, W\), but .* shape \(64,\); use mlp"),
        ("inceptoin", (3, 8, 8), ConfigError, r'unknown student "inceptoin"\. Did you mean "inception"\?'),
        ("mentor-resnet", (3, 8, 8), ConfigError, r'"mentor-resnet"\. Did you mean "mentor-resnet-14-2"\?'),
    ],
)
def test_what_is_refused(name, shape, kind, message):
    with pytest.raises(kind, match=message):
        build(name, shape, 3)


@pytest.mark.parametrize(
    ("name", "rule", "features"),
    [
        ("mentor-resnet-8-1", SGD(0.1, 0.9, weight_decay=Decay(2e-4, "weights", True)), 64),
        ("inception", SGD(0.1), 192),
    ],
)
def test_steps_as_published(name, rule, features):
    y = torch.arange(32) % 3
    x = (images(3, 1, 8, 8)[y] + 0.3 * images(32, 1, 8, 8, seed=1)).float()
    student = Student(build(name, (1, 8, 8), 3), rule, seed=2)
    start = student.state_dict()
    assert student.features(x).shape == (32, features)
    first = student.study(Lesson(x, y, torch.ones(32), cross_entropy))["loss"]
    moved = student.state_dict()
    assert not any(torch.equal(start[f"params.{n}"], moved[f"params.{n}"]) for n in student.params)
    assert {int(moved[n]) for n in moved if n.endswith("num_batches_tracked")} <= {1}  # one pass, counted once
    for _ in range(34):
        last = student.study(Lesson(x, y, torch.ones(32), cross_entropy))["loss"]
    assert last < 0.5 * first
    assert (student.predict(x).argmax(1) == y).float().mean() > 0.9


@pytest.mark.slow
def test_the_published_resnet_answers():
    net = build("resnet101", (3, 32, 32), 10, seed=3).eval()
    with torch.no_grad():
        out = net(torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert out.shape == (1, 10)
    assert out.isfinite().all()
