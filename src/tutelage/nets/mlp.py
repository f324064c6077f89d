"""Multi-layer perceptrons."""

import math
from collections.abc import Sequence

from torch import nn


def mlp(shape: Sequence[int], classes: int, *, widths: Sequence[int] = (256, 256)) -> nn.Sequential:
    """Return ``Flatten, (Linear, ReLU) for each width, Linear``, with PyTorch's initialisation.

    Args:
        shape: shape of one example, such as (1, 8, 8).
        classes: number of logits.
        widths: sizes of the hidden layers.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    size = math.prod(shape)
    for width in widths:
        layers += [nn.Linear(size, width), nn.ReLU()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, classes))
