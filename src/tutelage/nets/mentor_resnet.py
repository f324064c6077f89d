"""The wide residual network of the published MentorNet tables, called resnet101 there."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError, ShapeError


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1)


def _active(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


class _Unit(nn.Module):
    """Pre-activation unit of two 3x3 convolutions with a shortcut that has no parameters.

    Where the size changes, the shortcut averages over the stride and puts zero channels half before and half after.
    The first unit of the network is ``shared``: leaky ReLU, *then* batch norm, and both branches start from there.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, shared: bool) -> None:
        super().__init__()
        self.norm1 = _norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1 if stride == 1 else 0, bias=False)
        self.norm2 = _norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.stride = stride
        self.missing = outputs - inputs
        self.shared = shared

    def forward(self, x: Tensor) -> Tensor:
        if self.shared:
            x = active = self.norm1(_active(x))
        else:
            active = _active(self.norm1(x))
        if self.stride == 2:
            active = F.pad(active, (0, 1, 0, 1))  # TensorFlow's SAME: a stride of 2 needs zeros on the far sides only
            x = F.avg_pool2d(x, 2)
        if self.missing:
            x = F.pad(x, (0, 0, 0, 0, self.missing // 2, self.missing // 2))
        total: Tensor = self.conv2(_active(self.norm2(self.conv1(active)))) + x
        return total


class MentorResNet(nn.Module):
    """Pre-activation wide residual network for small images, with leaky ReLU and parameter-free shortcuts."""

    def __init__(self, channels: int, classes: int, *, depth: int, width: int) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ConfigError(f"mentor-resnet-{depth}-{width}: the depth must be 6n + 2, such as 8, 14, 20 or 56.")
        if width < 1:
            raise ConfigError(f"mentor-resnet-{depth}-{width}: the width must be at least 1.")
        self.conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        units: list[nn.Module] = []
        inputs = 16
        for stage in range(3):
            for position in range((depth - 2) // 6):
                outputs = (16 * width) << stage
                units.append(_Unit(inputs, outputs, 2 if stage and not position else 1, shared=not units))
                inputs = outputs
        self.units = nn.Sequential(*units)
        self.norm = _norm(inputs)
        self.linear = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        bound = (3 / inputs) ** 0.5
        nn.init.uniform_(self.linear.weight, -bound, bound)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, channels, H, W) to logits (N, classes)."""
        x = _active(self.norm(self.units(self.conv(x))))
        out: Tensor = self.linear(torch.mean(x, (2, 3)))
        return out


def mentor_resnet(shape: Sequence[int], classes: int, *, depth: int = 56, width: int = 10) -> MentorResNet:
    """Return the wide ResNet of the published MentorNet tables; depth 56 and width 10 is their "resnet101".

    A convolution to 16 channels, three stages of units of two convolutions with strides 1, 2 and 2, batch norm,
    leaky ReLU, global average and a linear layer. Leaky ReLU has slope 0.1, batch norm keeps 0.9 of its statistics
    and has eps 1e-3. Convolutions have no bias and start from N(0, 2 / (9 outputs)), the linear weight from
    U(+-sqrt(3 / inputs)), its bias from 0. Unlike :func:`wide_resnet` no shortcut is learned. The published code
    moves the variance towards the biased one, torch towards the unbiased one.

    Args:
        shape: (C, H, W), H and W at least 4; sides that 4 does not divide lose their last rows and columns when the
            size is halved.
        classes: number of logits.
        depth: 6n + 2, with n units a stage: 8, 14, 20, ..., 56.
        width: factor on the channels 16, 32, 64, at least 1.

    Raises:
        ConfigError: for another depth or width.
        ShapeError: for smaller images.

    Source: code of Jiang, Zhou, Leung, Li and Fei-Fei, "MentorNet: learning data-driven curriculum for very deep
    neural networks on corrupted labels", ICML 2018, after Zagoruyko and Komodakis, "Wide residual networks", 2016.
    """
    if min(shape[1:]) < 4:
        raise ShapeError(
            "resnet101 and mentor-resnet need images of at least 4 pixels a side, but the examples have shape "
            f"{tuple(shape)}; use mlp."
        )
    return MentorResNet(shape[0], classes, depth=depth, width=width)
