"""Multi-layer perceptrons."""

import math
from collections.abc import Callable, Sequence

from torch import nn


def mlp(
    shape: Sequence[int],
    classes: int,
    *,
    widths: Sequence[int] = (256, 256),
    activation: Callable[[], nn.Module] = nn.ReLU,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Return ``Flatten, (Linear, activation[, Dropout]) for each width, Linear``, with PyTorch's initialisation.

    Args:
        shape: shape of one example, such as (1, 8, 8).
        classes: number of logits.
        widths: sizes of the hidden layers.
        activation: after each of them, such as ``nn.GELU``.
        dropout: rate after each activation, in [0, 1); 0: no such layer.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    size = math.prod(shape)
    for width in widths:
        layers += [nn.Linear(size, width), activation()]
        layers += [nn.Dropout(dropout)] if dropout else []
        size = width
    return nn.Sequential(*layers, nn.Linear(size, classes))
