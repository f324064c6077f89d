"""Wide residual networks, WRN-depth-width."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError


class _Block(nn.Module):
    """Pre-activation block: norm, ReLU, conv, norm, ReLU, dropout, conv; 1x1 shortcut where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        out = self.conv2(self.dropout(F.relu(self.norm2(self.conv1(active)))))
        total: Tensor = out + (x if self.shortcut is None else self.shortcut(active))
        return total


class WideResNet(nn.Module):
    """Wide residual network for small images."""

    def __init__(self, channels: int, classes: int, *, depth: int, width: int, dropout: float) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ConfigError(f"wrn-{depth}-{width}: the depth must be 6n + 4, such as 10, 16, 22, 28 or 40.")
        self.conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        blocks: list[nn.Module] = []
        inputs = 16
        for stage in range(3):
            for position in range((depth - 4) // 6):
                outputs = (16 * width) << stage
                blocks.append(_Block(inputs, outputs, 2 if stage and not position else 1, dropout))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(inputs)
        self.linear = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, channels, H, W) to logits (N, classes)."""
        x = F.relu(self.norm(self.blocks(self.conv(x))))
        out: Tensor = self.linear(torch.mean(x, (2, 3)))
        return out


def wide_resnet(
    shape: Sequence[int], classes: int, *, depth: int = 28, width: int = 10, dropout: float = 0.0
) -> WideResNet:
    """Return WRN-depth-width.

    Args:
        shape: (C, H, W).
        classes: number of logits.
        depth: 6n + 4: 10, 16, 22, 28, 40, ...
        width: factor on the channels 16, 32, 64.
        dropout: probability between the two convolutions of a block, in [0, 1).

    Source: Zagoruyko and Komodakis, "Wide residual networks", BMVC 2016, table 1.
    """
    return WideResNet(shape[0], classes, depth=depth, width=width, dropout=dropout)
