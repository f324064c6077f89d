"""Plain convolutional networks of 2 to 10 layers: the ladder of teachers, assistants and students."""

from collections.abc import Sequence

from torch import nn

from ..errors import ConfigError, ShapeError

TEN_CLASSES = {
    2: "16 M 16 M",
    4: "16 16 M 32 32 M",
    6: "16 16 M 32 32 M 64 64 M",
    8: "16 16 M 32 32 M 64 64 M 128 128 M FC64",
    10: "32 32 M 64 64 M 128 128 M 256 256 256 256 M FC128",
}
"""Forms for CIFAR-10: a number is a convolution of so many channels, M a max-pooling, FC a linear layer."""
MORE_CLASSES = {
    2: "32 M 32 M",
    4: "32 32 M 64 64 M",
    6: "32 32 M 64 64 M 128 128",
    8: "32 32 M 64 64 M 128 128 M 256 256 M FC64",
    10: "32 32 M 64 64 M 128 128 M 256 256 256 256 M FC512",
}
"""Forms for CIFAR-100."""


def plain(shape: Sequence[int], classes: int, *, depth: int) -> nn.Sequential:
    """Return the plain network of ``depth`` convolutions, each 3x3 with batch norm and ReLU, and its linear layers.

    An even depth has the published form: that for CIFAR-10 up to ten classes, that for CIFAR-100 above. An odd depth is
    the next deeper form without its last convolution.

    Args:
        shape: (C, H, W), large enough that every convolution sees at least 2x2: 4x4 for depth 2, 16x16 for depth 10.
        classes: number of logits.
        depth: 2 to 10.

    Raises:
        ConfigError: for another depth.
        ShapeError: for images that are too small.

    Source: Mirzadeh, Farajtabar, Li, Levine, Matsukawa and Ghasemzadeh, "Improved knowledge distillation via teacher
    assistant", AAAI 2020, appendix; the odd depths are ours.
    """
    if not 2 <= depth <= 10:
        raise ConfigError(f"plain{depth}: the depth must be 2 to 10.")
    form = _form(TEN_CLASSES if classes <= 10 else MORE_CLASSES, depth)
    _check_size(shape, form, depth)
    layers: list[nn.Module] = []
    channels, height, width = shape
    for part in form:
        if part == "M":
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        elif part.isdigit():
            layers += [nn.Conv2d(channels, int(part), 3, padding=1), nn.BatchNorm2d(int(part)), nn.ReLU()]
            channels = int(part)
    layers.append(nn.Flatten())
    size = channels * height * width
    if form[-1].startswith("FC"):
        hidden = int(form[-1].removeprefix("FC"))
        layers += [nn.Linear(size, hidden), nn.ReLU()]
        size = hidden
    return nn.Sequential(*layers, nn.Linear(size, classes))


def _form(forms: dict[int, str], depth: int) -> list[str]:
    form = forms[depth + depth % 2].split()
    if depth % 2:
        del form[_last_convolution(form)]
    return form


def _last_convolution(form: Sequence[str]) -> int:
    return max(i for i, part in enumerate(form) if part.isdigit())


def _check_size(shape: Sequence[int], form: Sequence[str], depth: int) -> None:
    least = 2 << form[: _last_convolution(form)].count("M")
    if min(shape[1:]) < least:
        raise ShapeError(
            f"plain{depth} needs images of at least {least}x{least}, but these are {shape[1]}x{shape[2]}: use fewer "
            "layers, such as plain2, or mlp."
        )
