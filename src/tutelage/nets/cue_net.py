"""Networks whose logits are linear in the mean of their last maps, so that class activation maps of them are exact."""

from collections.abc import Sequence

from torch import nn

from .resnet import _Block


def cue_net(shape: Sequence[int], classes: int, *, channels: Sequence[int] = (24, 48, 64, 64)) -> nn.Sequential:
    """Return 3x3 convolutions with batch norm and ReLU, a global average and a linear layer without bias.

    A max-pool of 2 follows the first two convolutions, so that maps of the last have a quarter of the image's sides.

    Args:
        shape: (C, H, W), H and W at least 4.
        classes: number of logits.
        channels: of each convolution.
    """
    depth = shape[0]
    layers: list[nn.Module] = []
    for place, width in enumerate(channels):
        layers += [nn.Conv2d(depth, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        if place < 2:
            layers.append(nn.MaxPool2d(2))
        depth = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(depth, classes, bias=False))


def explain_net(shape: Sequence[int], classes: int) -> nn.Sequential:
    """Return ResNet-18 up to its second stage, a 3x3 convolution to 64 maps, their mean, and a linear layer.

    The maps have an eighth of the image's sides, the linear layer no bias. Published for crops of 128 pixels.

    Args:
        shape: (C, H, W), H and W at least 8.
        classes: number of logits.

    Source: code of Mac Aodha, Su, Chen, Perona and Yue, "Teaching categories to human learners with visual
    explanations", CVPR 2018; ResNet-18 of He, Zhang, Ren and Sun, "Deep residual learning for image recognition",
    CVPR 2016, table 1, initialised as He et al., ICCV 2015.
    """
    blocks = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    trunk = nn.Sequential(
        nn.Conv2d(shape[0], 64, 7, 2, padding=3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
        *(_Block(inputs, outputs, stride, True) for inputs, outputs, stride in blocks),
    )
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    maps = [nn.Conv2d(128, 64, 3, padding=1), nn.ReLU()]
    return nn.Sequential(trunk, *maps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes, bias=False))
