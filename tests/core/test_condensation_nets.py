"""The networks of the tables of dataset distillation: layers, sizes, two derivatives, several at once."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tutelage.errors import ConfigError, ShapeError
from tutelage.nets import build
from tutelage.nets.initial import Scaled, filled
from tutelage.nets.together import Together


def size(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "classes", "needed"),
    [
        ("alexcifarnet", (3, 32, 32), 10, 1_756_426),
        ("convnet3", (3, 32, 32), 10, 320_010),  # the number of the published ConvNet
        ("convnet3", (1, 28, 28), 10, 317_706),
        ("convnet2x32", (1, 8, 8), 10, 10_986),
        ("lenet", (1, 28, 28), 10, 61_706),
        ("lenet", (3, 32, 32), 10, 62_006),
    ],
)
def test_sizes(name, shape, classes, needed):
    assert size(build(name, shape, classes)) == needed


def test_alexcifarnet_is_the_published_one():
    net = build("alexcifarnet", (3, 32, 32), 10).double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w = list(net.parameters())

    def norm(h):
        return F.local_response_norm(h, 4, alpha=0.001 / 9.0, beta=0.75, k=1.0)

    h = norm(F.max_pool2d(F.conv2d(x, w[0], w[1], padding=2).relu(), 3, 2, 1))
    h = F.max_pool2d(norm(F.conv2d(h, w[2], w[3], padding=2).relu()), 3, 2, 1).flatten(1)
    assert h.shape == (2, 4096)
    h = F.linear(F.linear(h, w[4], w[5]).relu(), w[6], w[7]).relu()
    assert torch.allclose(net(x), F.linear(h, w[8], w[9]), rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28)])
def test_convnet_is_the_published_one(shape):
    net = build("convnet3", shape, 10).double()
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w, h = list(net.parameters()), x
    for block in range(3):
        weight, bias, scale, shift = w[4 * block : 4 * block + 4]
        h = F.conv2d(h, weight, bias, padding=3 if shape == (1, 28, 28) and block == 0 else 1)
        h = F.avg_pool2d(F.instance_norm(h, weight=scale, bias=shift).relu(), 2)
    assert h.flatten(1).shape == (2, 2048)
    assert torch.allclose(net(x), F.linear(h.flatten(1), w[12], w[13]), rtol=1e-10)


@pytest.mark.parametrize(("name", "shape"), [("alexcifarnet", (1, 5, 5)), ("convnet2x2", (1, 4, 4))])
def test_several_at_once_answer_and_differentiate_twice_as_each_alone(name, shape):
    net = build(name, shape, 3).double()
    weights = Scaled().draw(net, [1, 2])
    x = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def slope(model, params, each):
        """The derivative in x of the length of the gradient in the parameters."""
        seen = x.clone().requires_grad_()
        loss = F.cross_entropy(each(model(seen)), torch.arange(3))
        grads = torch.autograd.grad(loss, params, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in grads), seen)[0]

    together = Together(net, weights)
    alone = [filled(net, {n: v[k] for n, v in weights.items()}) for k in range(2)]
    assert torch.allclose(together(x), torch.stack([one(x) for one in alone], dim=1), rtol=1e-10, atol=1e-12)
    found = [slope(together, [*together.parameters()], lambda logits, k=k: logits[:, k]) for k in range(2)]
    needed = [slope(one, [*one.parameters()], nn.Identity()) for one in alone]
    assert torch.allclose(torch.stack(found), torch.stack(needed), rtol=1e-8, atol=1e-10)


def test_what_convnet_refuses():
    with pytest.raises(ShapeError, match=r"convnet4 halves images 4 times, .* 16x16, but .* 8x8: .* such as convnet3"):
        build("convnet4", (1, 8, 8), 10)
    with pytest.raises(ConfigError, match="convnet0x128: depth and width must be at least 1"):
        build("convnet0", (1, 8, 8), 10)
    with pytest.raises(ShapeError, match=r"convnet3 needs images \(C, H, W\), but the examples have shape \(64,\)"):
        build("convnet3", (64,), 10)
