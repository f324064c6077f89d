"""Other networks than those that a set was distilled for: their initialisation, width, depth, architecture."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

from torch import Tensor, nn

from ..nets.build import build
from ..nets.initial import Initialiser, Scaled
from ..starts import Fresh

Kind: TypeAlias = Literal["initialisation", "width", "depth", "architecture", "initial weights"]
"""In what networks differ; ``initial weights``: fresh draws, for a set that was made for known ones."""
KINDS: tuple[Kind, ...] = get_args(Kind)


class Variant(NamedTuple):
    """Other networks than those that a set was made for.

    Attributes:
        kind: in what they differ.
        name: what they are.
        net: the architecture.
        weights: where they start, by name, each (K, ...).
    """

    kind: Kind
    name: str
    net: nn.Module
    weights: Mapping[str, Tensor]


def other_initialisations(net: nn.Module, own: Scaled, count: int, seed: int = 0) -> list[Variant]:
    """Return ``count`` networks each from the initialisation with sqrt(2) times the gain, and from another scheme.

    The other one is PyTorch's own; for a set that was made with that, xavier-normal.

    Args:
        net: the architecture.
        own: what the set was made with.
        count: of networks.
        seed: of their weights.
    """
    other = Scaled("xavier-normal" if own.scheme == "torch" else "torch")
    return [
        Variant("initialisation", made.name, net, Fresh(net, made, seed).held_out(count))
        for made in (Scaled(own.scheme, own.gain * math.sqrt(2)), other)
    ]


def other_initial_weights(net: nn.Module, initialiser: Initialiser, count: int, seed: int = 0) -> list[Variant]:
    """Return ``count`` networks of fresh weights, for a set that was made for known ones."""
    weights = Fresh(net, initialiser, seed).held_out(count)
    return [Variant("initial weights", f"{count} fresh draws", net, weights)]


def other_networks(
    name: str, shape: Sequence[int], classes: int, initialiser: Initialiser, count: int, seed: int = 0
) -> list[Variant]:
    """Return ``count`` networks of each of the :func:`neighbours` of an architecture.

    Args:
        name: of the architecture, see :func:`tutelage.nets.build.build`.
        shape: of one example.
        classes: number of logits.
        initialiser: draws their weights.
        count: of networks.
        seed: of their weights.
    """
    found = []
    for kind, other in neighbours(name, shape):
        net = build(other, shape, classes)
        found.append(Variant(kind, other, net, Fresh(net, initialiser, seed).held_out(count)))
    return found


def neighbours(name: str, shape: Sequence[int]) -> list[tuple[Kind, str]]:
    """Return what differs, and the name, of networks near one: half and twice the width, another depth, another kind.

    ``mlp-128`` for (1, 8, 8): ``mlp-64``, ``mlp-256``, ``mlp-128-128`` and ``convnet2x32``. A network that is neither
    perceptron nor ConvNet has neighbours of another architecture only.

    Args:
        name: of an architecture.
        shape: of one example.
    """
    if match := re.fullmatch(r"mlp(-gelu)?((?:-\d+)*)(-dropout-0?\.\d+)?", name):
        first, widths, last = f"mlp{match[1] or ''}", [int(w) for w in match[2].split("-")[1:]], match[3] or ""
        widths = widths or [256, 256]
        others = [[max(1, w // 2) for w in widths], [2 * w for w in widths], [*widths, widths[-1]]]
        names = [f"{first}-{'-'.join(map(str, other))}{last}" for other in others]
        return [*_within(name, names), *_convnet(shape)]
    if match := re.fullmatch(r"convnet(\d+)(?:x(\d+))?", name):
        depth, width = int(match[1]), int(match[2] or 128)
        deeper = depth + 1 if min(shape[1:]) >> (depth + 1) else max(1, depth - 1)
        names = [f"convnet{depth}x{max(1, width // 2)}", f"convnet{depth}x{2 * width}", f"convnet{deeper}x{width}"]
        return [*_within(name, names), ("architecture", "mlp-128")]
    return [*_convnet(shape), ("architecture", "mlp-128")]


def _within(name: str, others: Sequence[str]) -> list[tuple[Kind, str]]:
    """Two of other widths and one of another depth, without those that are the same: half of width 1 is 1."""
    kinds: tuple[Kind, ...] = ("width", "width", "depth")
    return [(kind, other) for kind, other in zip(kinds, others) if other != name]


def _convnet(shape: Sequence[int]) -> list[tuple[Kind, str]]:
    """A convolutional network for images of at least 4x4: three blocks, fewer for small ones."""
    if len(shape) != 3 or min(shape[1:]) < 4:
        return []
    return [("architecture", f"convnet{min(3, int(math.log2(min(shape[1:]))) - 1)}x32")]
