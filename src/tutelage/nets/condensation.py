"""The networks of the published tables of dataset distillation and condensation."""

import math
from collections.abc import Sequence

from torch import nn

from ..errors import ConfigError, ShapeError


def alexcifarnet(shape: Sequence[int], classes: int) -> nn.Sequential:
    """Return AlexCifarNet: two convolutions 5x5 of 64 channels with local response norm, then 384 and 192 units.

    Args:
        shape: (C, H, W), at least 5x5; (3, 32, 32) in the tables, where the first linear layer has 4096 inputs.
        classes: number of logits.

    Source: code of Wang, Zhu, Torralba and Efros, "Dataset distillation", 2018.
    """
    height, width = (math.ceil(side / 4) for side in shape[1:])  # each pooling rounds an odd side up
    return nn.Sequential(
        nn.Conv2d(shape[0], 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.LocalResponseNorm(4, alpha=0.001 / 9, beta=0.75, k=1.0),
        nn.Conv2d(64, 64, 5, padding=2),
        nn.ReLU(),
        nn.LocalResponseNorm(4, alpha=0.001 / 9, beta=0.75, k=1.0),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(64 * height * width, 384),
        nn.ReLU(),
        nn.Linear(384, 192),
        nn.ReLU(),
        nn.Linear(192, classes),
    )


def convnet(shape: Sequence[int], classes: int, *, depth: int = 3, width: int = 128) -> nn.Sequential:
    """Return ConvNet-D: blocks of (conv 3x3, instance norm, ReLU, average pool 2), then a linear layer.

    Instance norm has a scale and a shift a channel, and no running statistics: it is a group norm of one channel a
    group. The first convolution pads images of 28x28 to 32x32.

    Args:
        shape: (C, H, W), so large that D poolings leave at least one pixel.
        classes: number of logits.
        depth: D, at least 1.
        width: channels of each convolution, at least 1.

    Raises:
        ConfigError: for a depth or width below 1.
        ShapeError: for images that are too small.

    Source: Gidaris and Komodakis, "Dynamic few-shot visual learning without forgetting", CVPR 2018, as in Zhao, Mopuri
    and Bilen, "Dataset condensation with gradient matching", ICLR 2021, where D is 3.
    """
    if depth < 1 or width < 1:
        raise ConfigError(f"convnet{depth}x{width}: depth and width must be at least 1.")
    channels, sides = shape[0], [32 if side == 28 else side for side in shape[1:]]
    if min(sides) < 2**depth:
        raise ShapeError(
            f"convnet{depth} halves images {depth} times, so they must be at least {2**depth}x{2**depth}, but these "
            f"are {shape[1]}x{shape[2]}: use fewer blocks, such as convnet{max(1, int(math.log2(max(2, min(sides)))))}."
        )
    layers: list[nn.Module] = []
    for block in range(depth):
        rows, columns = (3 if side == 28 and block == 0 else 1 for side in shape[1:])
        convolution = nn.Conv2d(channels, width, 3, padding=(rows, columns))
        layers += [convolution, nn.GroupNorm(width, width), nn.ReLU(), nn.AvgPool2d(2)]
        channels, sides = width, [side // 2 for side in sides]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * sides[0] * sides[1], classes))
