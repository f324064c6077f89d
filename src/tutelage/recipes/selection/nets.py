"""Networks that are taught: a trunk trained before on other classes, embeddings of a known size, codewords on top."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import ConfigError, ShapeError
from ...lesson import Lesson
from ...losses import cross_entropy
from ...nets import build
from ...randomness import permutation, seeded, stream
from ...rules import Adam
from ...student import Student

SMALL = "net"
"""The small network of :func:`small`."""
NORM = 2.0
"""Mean norm of embeddings: an exponential loss on longer ones leaps, whatever the learning rate."""
_BATCH, _RATE = 64, 2e-3


def small(shape: Sequence[int], classes: int) -> nn.Module:
    """Return two convolutions of 16 and 32 channels, the second with stride 2, 64 units and a linear layer."""
    if len(shape) != 3:
        raise ShapeError(f"student {SMALL} needs images (C, H, W), but a row has shape {tuple(shape)}; use linear.")
    channels, high, wide = shape
    inner = 32 * -(-high // 2) * -(-wide // 2)
    return nn.Sequential(
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(inner, 64), nn.ReLU(), nn.Linear(64, classes)),
    )


def made(name: str, shape: Sequence[int], classes: int, seed: int) -> nn.Module:
    """Return a fresh network by name, :data:`SMALL` or as :func:`tutelage.nets.build` takes them."""
    if name != SMALL:
        return build(name, shape, classes, seed=seed)
    with seeded(stream(seed, "initialisation")):
        return small(shape, classes)


def trained_before(net: nn.Module, x: Tensor, y: Tensor, *, epochs: int, seed: int) -> nn.Module:
    """Return a network trained by Adam on rows of other classes.

    Args:
        net: with as many logits as there are labels; changed.
        x: rows (M, ...).
        y: class ids (M,).
        epochs: passes over them, in batches of 64.
        seed: of their order.
    """
    student = Student(net.to(x.device), Adam(_RATE), seed=seed)
    for epoch in range(epochs):
        order = torch.from_numpy(permutation(stream(seed, f"training before {epoch}"), len(x))).to(x.device)
        for rows in torch.split(order, _BATCH):
            weight = torch.ones(len(rows), dtype=x.dtype, device=x.device)
            student.study(Lesson(x[rows], y[rows], weight, cross_entropy))
    return student.net


class Scaled(nn.Module):
    """Embeddings times a constant.

    Args:
        factor: the constant.
    """

    factor: Tensor

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``factor * x``."""
        return self.factor * x


def with_codewords(net: nn.Module, x: Tensor, classes: int, seed: int) -> nn.Module:
    """Return a copy of a network whose last linear layer is a fresh one without bias, on embeddings of mean norm 2.

    Args:
        net: ends with a linear layer.
        x: rows (N, ...) over which the mean norm is taken.
        classes: K.
        seed: of the fresh layer, uniform in ``+-1 / sqrt d`` as PyTorch has it.

    Raises:
        ConfigError: if the network has no linear layer.
    """
    net = copy.deepcopy(net).to(x.device)
    features, _ = Student(net, Adam(_RATE)).embed(x)
    with seeded(stream(seed, "codewords")):
        head = nn.Linear(features.shape[1], classes, bias=False)
    mean = float(features.norm(dim=1).mean())
    layers = nn.Sequential(Scaled(NORM / max(mean, torch.finfo(x.dtype).tiny)), head).to(x.device)
    name = [n for n, module in net.named_modules() if isinstance(module, nn.Linear)][-1]
    if not name:
        return layers
    above, _, last = name.rpartition(".")
    setattr(net.get_submodule(above), last, layers)
    return net


def check_trunk(name: str, epochs: int, rows: int) -> None:
    """Make sure that there is something to train a trunk on.

    Raises:
        ConfigError: if there is not.
    """
    if epochs and not rows:
        raise ConfigError(
            f"--student {name} is trained before on the classes that are not used, but all are used: name some with "
            "--only, or give --before 0 for a network that needs no training before."
        )
