"""Small convolutional networks."""

import math
from collections.abc import Sequence

import torch
from torch import nn


def small_cnn(shape: Sequence[int], classes: int, *, channels: Sequence[int] = (32, 64, 128)) -> nn.Sequential:
    """Return a few (conv 3x3, batch norm, ReLU, max-pool 2) blocks, a global average and a linear layer.

    Args:
        shape: (C, H, W); pooling stops when a side would fall below 2.
        classes: number of logits.
        channels: channels of each block.
    """
    depth, side = shape[0], min(shape[1:])
    layers: list[nn.Module] = []
    for width in channels:
        layers += [nn.Conv2d(depth, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        if side >= 4:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        depth = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(depth, classes))


def lenet(shape: Sequence[int], classes: int) -> nn.Sequential:
    """Return LeNet-5 with ReLU and max-pooling, for 28x28 (padded to 32x32) and 32x32 images.

    Args:
        shape: (C, H, W), H and W at least 12 after padding by 2 where a side is below 32.
        classes: number of logits.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998,
    figure 2: 6 and 16 feature maps of 5x5, then 120, 84 and ``classes`` units.
    """
    padding = 2 if min(shape[1:]) < 32 else 0
    convolutions = nn.Sequential(
        nn.Conv2d(shape[0], 6, 5, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
    with torch.no_grad():
        size = convolutions(torch.zeros(1, *shape)).shape[1]
    return nn.Sequential(
        *convolutions,
        nn.Linear(size, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


def cifarnet(shape: Sequence[int], classes: int) -> nn.Sequential:
    """Return CifarNet, the small student of the published MentorNet tables, called "inception" there.

    Convolutions and pooling keep the size as TensorFlow's SAME does, so that pooling rounds an odd side up. Weights
    start from a normal distribution cut at two standard deviations: 0.05 for convolutions, 0.04 for hidden linear
    layers (their biases from 0.1), 1/192 for the logits.

    Args:
        shape: (C, H, W).
        classes: number of logits.

    Source: code of Jiang, Zhou, Leung, Li and Fei-Fei, "MentorNet: learning data-driven curriculum for very deep
    neural networks on corrupted labels", ICML 2018; dropout keeps 0.8.
    """
    height, width = (math.ceil(side / 4) for side in shape[1:])
    return nn.Sequential(
        _drawn(nn.Conv2d(shape[0], 64, 5, padding=2), 0.05),
        nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.LocalResponseNorm(9, alpha=1e-3, beta=0.75, k=1.0),
        _drawn(nn.Conv2d(64, 64, 5, padding=2), 0.05),
        nn.ReLU(),
        nn.LocalResponseNorm(9, alpha=1e-3, beta=0.75, k=1.0),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Flatten(),
        _drawn(nn.Linear(64 * height * width, 384), 0.04, bias=0.1),
        nn.ReLU(),
        nn.Dropout(0.2),
        _drawn(nn.Linear(384, 192), 0.04, bias=0.1),
        nn.ReLU(),
        _drawn(nn.Linear(192, classes), 1 / 192),
    )


def _drawn(layer: nn.Conv2d | nn.Linear, sd: float, *, bias: float = 0.0) -> nn.Module:
    assert layer.bias is not None
    nn.init.trunc_normal_(layer.weight, std=sd, a=-2 * sd, b=2 * sd)
    nn.init.constant_(layer.bias, bias)
    return layer
