"""The CIFAR residual networks of depth 6n + 2."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError


class _Block(nn.Module):
    """Two 3x3 convolutions with batch norm; the shortcut pads channels with zeros, or is a 1x1 (options A and B)."""

    def __init__(self, inputs: int, outputs: int, stride: int, projection: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.missing = outputs - inputs
        self.shortcut: nn.Module | None = None
        if projection and self.missing:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.missing:
            before = self.missing // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.missing - before))
        return F.relu(out + x)


class ResNet(nn.Module):
    """Residual network for small images: a convolution, three stages of blocks, global average, linear."""

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        depth: int,
        width: int = 16,
        stem: int | None = None,
        projection: bool = False,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ConfigError(f"resnet{depth}: the depth must be 6n + 2, such as 8, 20, 32, 44, 56 or 110.")
        stem = stem or width
        self.conv = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(stem)
        blocks: list[nn.Module] = []
        inputs = stem
        for stage in range(3):
            for position in range((depth - 2) // 6):
                outputs = width << stage
                blocks.append(_Block(inputs, outputs, 2 if stage and not position else 1, projection))
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


def resnet(
    shape: Sequence[int],
    classes: int,
    *,
    depth: int = 20,
    width: int = 16,
    stem: int | None = None,
    projection: bool = False,
) -> ResNet:
    """Return the CIFAR ResNet of a depth 6n + 2.

    Args:
        shape: (C, H, W).
        classes: number of logits.
        depth: 6n + 2: 8, 14, 20, 32, 44, 56, 110, ...
        width: channels of the first stage; the others have 2 and 4 times as many.
        stem: channels of the first convolution; default: ``width``.
        projection: where the size changes, a 1x1 convolution with batch norm as the shortcut (option B).

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016, section 4.2, with
    parameter-free shortcuts (option A) and the initialisation of He et al., ICCV 2015.
    """
    return ResNet(shape[0], classes, depth=depth, width=width, stem=stem, projection=projection)


def projected_resnet(shape: Sequence[int], classes: int, *, depth: int, factor: int = 1) -> ResNet:
    """Return the ResNet of the published distillation tables, ``resnetDxK``: projected shortcuts, K times as wide.

    resnet8x4 and resnet32x4 have stages of 64, 128 and 256 channels after a first convolution of 32; with a factor of
    1 it is what these tables call resnet20 or resnet56.

    Args:
        shape: (C, H, W).
        classes: number of logits.
        depth: 6n + 2.
        factor: K, on the channels 16, 32 and 64 of the stages; the first convolution has ``max(16, 8 K)``.

    Source: Tian, Krishnan and Isola, "Contrastive representation distillation", ICLR 2020, and its published code.
    """
    if factor < 1:
        raise ConfigError(f"resnet{depth}x{factor}: the factor must be at least 1.")
    return resnet(shape, classes, depth=depth, width=16 * factor, stem=max(16, 8 * factor), projection=True)
