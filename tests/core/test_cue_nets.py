"""Networks linear in the mean of their last maps: sizes, maps, heads."""

import pytest
import torch
from torch import nn

from tutelage.errors import ShapeError
from tutelage.nets import build


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters", "maps"),
    [
        ("cue-net", (1, 48, 48), 3, 216 + 48 + 10368 + 96 + 27648 + 128 + 36864 + 128 + 192, (64, 12, 12)),
        # ResNet-18: stem 9,536, first stage 147,968, second 525,568
        ("explain-net", (3, 128, 128), 5, 9536 + 147968 + 525568 + 128 * 64 * 9 + 64 + 64 * 5, (64, 16, 16)),
    ],
)
def test_sizes(name, shape, classes, parameters, maps):
    net = build(name, shape, classes)
    assert sum(p.numel() for p in net.parameters()) == parameters
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    last = net.eval()[:-3](x)
    assert last.shape == (2, *maps)
    assert net[-1].bias is None
    torch.testing.assert_close(net(x), last.mean((2, 3)) @ net[-1].weight.T)


def test_normalised_everywhere_but_behind_the_stages():
    net = build("explain-net", (3, 32, 32), 5)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 1 + 4 + 4 + 1 + 1  # stem, two stages, the shortcut, the last
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == 10
    assert [m.bias is not None for m in convolutions] == [False] * 10 + [True]


def test_too_small_an_image():
    with pytest.raises(ShapeError, match="student cue-net cannot take inputs of shape"):
        build("cue-net", (1, 3, 3), 2)
