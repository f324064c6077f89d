"""VGG networks for small images."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from ..errors import ConfigError, ShapeError

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the five blocks."""
CONVOLUTIONS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""How many each block has, by depth: the name counts the three linear layers of the original, of which one is left."""


def vgg(shape: Sequence[int], classes: int, *, depth: int) -> nn.Sequential:
    """Return the VGG network of a depth: five blocks of 3x3 convolutions with batch norm, an average, one linear layer.

    Max-pooling follows the first three blocks, and the fourth as well for images of 64x64 and more; the average over
    what is left takes any size.

    Args:
        shape: (C, H, W), at least 16x16.
        classes: number of logits.
        depth: 8, 11, 13, 16 or 19.

    Raises:
        ConfigError: for another depth.
        ShapeError: for images that are too small.

    Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
    table 1, in the form for CIFAR of Tian, Krishnan and Isola, "Contrastive representation distillation", ICLR 2020,
    where vgg8 comes from.
    """
    if depth not in CONVOLUTIONS:
        raise ConfigError(f"vgg{depth}: the depth must be {', '.join(map(str, CONVOLUTIONS))}.")
    if min(shape[1:]) < 16:
        raise ShapeError(
            f"vgg{depth} needs images of at least 16x16, but these are {shape[1]}x{shape[2]}: use plain4 or mlp."
        )
    pooled = 4 if min(shape[1:]) >= 64 else 3
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    channels = shape[0]
    for number, (width, count) in enumerate(zip(WIDTHS, CONVOLUTIONS[depth])):
        layers: list[nn.Module] = []
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        parts[f"block{number}"] = nn.Sequential(*layers)
        if number < pooled:
            parts[f"pool{number}"] = nn.MaxPool2d(2)
    parts["average"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    parts["linear"] = nn.Linear(channels, classes)
    net = nn.Sequential(parts)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return net
