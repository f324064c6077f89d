"""The CIFAR residual networks of depth 6n + 2."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError


class _Block(nn.Module):
    """Two 3x3 convolutions with batch norm; the shortcut pads channels with zeros (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.missing = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.missing:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.missing // 2, self.missing // 2))
        return F.relu(out + x)


class ResNet(nn.Module):
    """Residual network for small images: a convolution, three stages of blocks, global average, linear."""

    def __init__(self, channels: int, classes: int, *, depth: int, width: int = 16) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ConfigError(f"resnet{depth}: the depth must be 6n + 2, such as 8, 20, 32, 44, 56 or 110.")
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        blocks: list[nn.Module] = []
        inputs = width
        for stage in range(3):
            for position in range((depth - 2) // 6):
                outputs = width << stage
                blocks.append(_Block(inputs, outputs, 2 if stage and not position else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, channels, H, W) to logits (N, classes)."""
        x = self.blocks(F.relu(self.norm(self.conv(x))))
        out: Tensor = self.linear(torch.mean(x, (2, 3)))
        return out


def resnet(shape: Sequence[int], classes: int, *, depth: int = 20, width: int = 16) -> ResNet:
    """Return the CIFAR ResNet of a depth 6n + 2.

    Args:
        shape: (C, H, W).
        classes: number of logits.
        depth: 6n + 2: 8, 14, 20, 32, 44, 56, 110, ...
        width: channels of the first stage; the others have 2 and 4 times as many.

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016, section 4.2, with
    parameter-free shortcuts (option A) and the initialisation of He et al., ICCV 2015.
    """
    return ResNet(shape[0], classes, depth=depth, width=width)
