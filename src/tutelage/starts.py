"""Where the students of a distillation start: fresh draws, a pool of known networks, or one of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from .errors import ConfigError, ShapeError
from .nets.initial import Initialiser
from .nets.together import check_weights
from .randomness import counter, permutation, stream


class Starts(Protocol):
    """Gives the initial weights of the networks that an outer step distils for."""

    def draw(self, step: int, count: int) -> dict[str, Tensor]:
        """Return parameters by name, each (count, ...), a function of the step alone."""


def drawn_for(net: nn.Module, starts: Starts, step: int, count: int) -> dict[str, Tensor]:
    """Return the networks of a step by name, each (count, ...), having made sure that they are of an architecture.

    Args:
        net: the architecture.
        starts: where they come from.
        step: from 0.
        count: how many.

    Raises:
        ConfigError: for more networks than there are, or a network without parameters.
        ShapeError: for networks of another architecture, naming the first difference, or in another number.
    """
    weights = starts.draw(step, count)
    found = check_weights(net, weights)
    if found != count:
        raise ShapeError(f"{type(starts).__name__} drew {found} networks, but {count} were asked for.")
    return {name: value.detach() for name, value in weights.items()}


@dataclass(frozen=True)
class Fresh:
    """New networks at every step, drawn from an initialisation.

    Attributes:
        net: the architecture.
        initialiser: how weights are drawn.
        seed: of the run.
    """

    net: nn.Module
    initialiser: Initialiser
    seed: int = 0

    def draw(self, step: int, count: int) -> dict[str, Tensor]:
        """Return the networks of a step; network k is a function of (seed, step, k)."""
        key = stream(self.seed, "initial networks")
        return self.initialiser.draw(self.net, [counter(key, step, k) for k in range(count)])

    def held_out(self, count: int, first: int = 0) -> dict[str, Tensor]:
        """Return networks that no step draws, those of places ``first`` on."""
        key = stream(self.seed, "held-out networks")
        return self.initialiser.draw(self.net, [counter(key, k) for k in range(first, first + count)])


@dataclass(frozen=True)
class Pool:
    """Known networks, so many a step without replacement; one alone is the fixed regime.

    Attributes:
        net: the architecture.
        weights: by name, each (P, ...).
        seed: of the run.

    Raises:
        ShapeError: for weights that are not those of the network.
    """

    net: nn.Module
    weights: Mapping[str, Tensor]
    seed: int = 0

    def __post_init__(self) -> None:
        check_weights(self.net, self.weights)

    def __len__(self) -> int:
        return len(next(iter(self.weights.values())))

    def draw(self, step: int, count: int) -> dict[str, Tensor]:
        """Return the networks of a step.

        Raises:
            ConfigError: for more than the pool has.
        """
        if count > len(self):
            raise ConfigError(f"{count} networks a step, but the pool has {len(self)}: add some, or ask for fewer.")
        chosen = permutation(counter(stream(self.seed, "pool of networks"), step), len(self))[:count]
        place = torch.from_numpy(chosen)
        return {name: value[place.to(value.device)] for name, value in self.weights.items()}
