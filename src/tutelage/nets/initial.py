"""Initial weights of many networks at once: drawn stacked, each network from a key of its own."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from ..errors import ConfigError, unknown
from ..randomness import seeded

Scheme = Literal["xavier-normal", "xavier-uniform", "kaiming-normal", "kaiming-uniform", "torch"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm, nn.modules.batchnorm._BatchNorm)
_WITH_FANS = (nn.Linear, nn.modules.conv._ConvNd)


class Initialiser(Protocol):
    """Draws the initial weights of networks."""

    @property
    def name(self) -> str:
        """What the artefact of a distillation calls it."""

    def draw(self, net: nn.Module, keys: Sequence[int]) -> dict[str, Tensor]:
        """Return parameters by name, each (K, ...), those of network k a function of key k alone."""


@dataclass(frozen=True)
class Scaled:
    """Independent draws, scaled layer by layer by its fans; norms start as the identity.

    With a layer's ``fan_in`` inputs and ``fan_out`` outputs a unit, weights are of standard deviation
    ``gain sqrt(2 / (fan_in + fan_out))`` (xavier) or ``gain sqrt(2 / fan_in)`` (kaiming), and biases 0; ``torch`` is
    what PyTorch's layers do by themselves: weights and biases uniform within ``gain / sqrt(fan_in)``.

    Attributes:
        scheme: one of :data:`SCHEMES`.
        gain: > 0.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS
    2010; He et al., "Delving deep into rectifiers", ICCV 2015.

    Raises:
        ConfigError: for an unknown scheme or a gain that is not positive.
    """

    scheme: Scheme = "xavier-normal"
    gain: float = 1.0

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ConfigError(unknown("initialisation", self.scheme, SCHEMES))
        if not (math.isfinite(self.gain) and self.gain > 0):
            raise ConfigError(f"the gain of the initialisation is {self.gain}; it must be above 0.")

    @property
    def name(self) -> str:
        """The scheme, with its gain where that is not 1."""
        return self.scheme if self.gain == 1 else f"{self.scheme} gain {self.gain:g}"

    def draw(self, net: nn.Module, keys: Sequence[int]) -> dict[str, Tensor]:
        """Return parameters by name, each (K, ...), on the CPU; see :class:`Initialiser`.

        Raises:
            ConfigError: for a network with parameters of other layers than linear, convolution and norm.
        """
        parameters = dict(net.named_parameters())
        if not parameters:
            return {}
        sizes = [p.numel() for p in parameters.values()]
        flat = torch.stack([self._flat(key, sum(sizes)) for key in keys])
        scales = dict(_fans(net))
        drawn: dict[str, Tensor] = {}
        for (name, p), piece in zip(parameters.items(), torch.split(flat, sizes, dim=1)):
            piece = piece.view(len(keys), *p.shape).to(p.dtype)
            drawn[name] = self._scaled(piece, name, p, scales.get(name))
        return drawn

    def _flat(self, key: int, size: int) -> Tensor:
        generator = torch.Generator().manual_seed(key)
        if self.scheme.endswith("normal"):
            return torch.randn(size, generator=generator)
        return torch.rand(size, generator=generator).mul_(2.0).sub_(1.0)

    def _scaled(self, draws: Tensor, name: str, p: Tensor, fans: "tuple[str, int, int] | None") -> Tensor:
        if fans is None:
            raise ConfigError(
                f"initialisation {self.scheme}: {name} belongs to no linear, convolution or norm layer; use the "
                'network\'s own initialisation ("own").'
            )
        kind, inputs, outputs = fans
        if kind == "norm":
            return torch.ones_like(draws) if name.endswith("weight") else torch.zeros_like(draws)
        if self.scheme == "torch":
            return draws * (self.gain / math.sqrt(inputs))
        if kind == "bias":
            return torch.zeros_like(draws)
        variance = 2.0 / (inputs + outputs) if self.scheme.startswith("xavier") else 2.0 / inputs
        spread = 1.0 if self.scheme.endswith("normal") else math.sqrt(3.0)
        return draws * (self.gain * spread * math.sqrt(variance))


def _fans(net: nn.Module) -> Iterator[tuple[str, tuple[str, int, int]]]:
    """The kind of each parameter, and the inputs and outputs of a unit of its layer."""
    for path, module in net.named_modules():
        prefix = f"{path}." if path else ""
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, _NORMS):
            yield from ((prefix + name, ("norm", 0, 0)) for name in own)
        elif isinstance(module, _WITH_FANS):
            field = module.weight[0, 0].numel() if module.weight.ndim > 2 else 1
            fans = (module.weight.shape[1] * field, module.weight.shape[0] * field)
            yield from ((prefix + name, (name, *fans)) for name in own)


@dataclass(frozen=True)
class Own:
    """What the network's own constructor draws.

    Attributes:
        make: returns a new network; it is called with torch's global generator seeded, as constructors draw from it.
    """

    make: Callable[[], nn.Module]

    @property
    def name(self) -> str:
        """``own``."""
        return "own"

    def draw(self, net: nn.Module, keys: Sequence[int]) -> dict[str, Tensor]:
        """Return parameters by name, each (K, ...); see :class:`Initialiser`."""
        nets = []
        for key in keys:
            with seeded(key):
                nets.append(self.make())
        return stacked([dict(net.named_parameters()) for net in nets])


def stacked(weights: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the weights of K networks by name, each (K, ...), without a graph."""
    return {name: torch.stack([each[name].detach() for each in weights]) for name in weights[0]}


def filled(net: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a network with these weights, by name; buffers stay."""
    made = copy.deepcopy(net)
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.copy_(weights[name])
    return made
