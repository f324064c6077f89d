"""The networks of a seed: those that are distilled for, those that judge, and those that step sizes are tried on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ...nets import build
from ...nets.initial import Initialiser, Own, Scaled
from ...randomness import counter, stream
from ...starts import Fresh, Pool, Starts
from .options import FIXED, OWN, TRAINED, Chosen
from .rows import Domain

Weights: TypeAlias = Mapping[str, Tensor]
TRIED = 16
"""Networks that constant step sizes of real sets are tried on, at most."""
WATCHED = 8
"""Networks by which a distillation is watched, at most."""


@dataclass(frozen=True, eq=False)
class Networks:
    """Networks of one architecture in their roles.

    Attributes:
        net: the architecture.
        starts: those that outer steps distil for.
        judges: those that sets are judged by, each (K, ...); of stored weights these themselves.
        tried: those that step sizes of real sets are chosen with, on training rows.
        nets: how many an outer step distils for.
        frozen: whether running statistics stay as they are.
        stored: weights that belong to the set because it works with them alone; None: it is for any of their kind.
    """

    net: nn.Module
    starts: Starts
    judges: Weights
    tried: Weights
    nets: int
    frozen: bool
    stored: Weights | None = None


def architecture(domain: Domain, options: Chosen) -> nn.Module:
    """Return the network, on the run's device; its own weights do not count.

    Raises:
        ConfigError, ShapeError: if it cannot be made.
    """
    return build(options.net, domain.shape, domain.classes).to(options.device)


def initialiser(domain: Domain, options: Chosen) -> Initialiser:
    """Return how initial weights are drawn."""
    if options.initialisation != OWN:
        return Scaled(options.initialisation, options.gain)

    return own(options.net, domain.shape, domain.classes)


def own(name: str, shape: tuple[int, ...], classes: int) -> Own:
    """Return the initialisation that a network's constructor makes."""

    def make() -> nn.Module:
        # build() seeds its own draws, here by one from the stream that the caller has seeded
        return build(name, shape, classes, seed=int(torch.randint(2**62, (1,))))

    return Own(make)


def networks(seed: int, net: nn.Module, initial: Initialiser, pool: Weights | None, options: Chosen) -> Networks:
    """Return the networks of a seed.

    Args:
        seed: of their draws.
        net: the architecture.
        initial: how fresh ones are drawn.
        pool: those that were trained before, those held out last; None if there are none.
        options: with nothing left to choose.
    """
    frozen = bool(options.freeze_buffers)
    if options.init in FIXED:
        if options.init in TRAINED:
            assert pool is not None
            weights = some(pool, 0, 1)
        else:
            key = stream(seed, "stored networks")
            weights = _on(net, initial.draw(net, [counter(key, k) for k in range(options.nets)]))
        return Networks(net, Pool(net, weights, seed), weights, weights, options.nets, frozen, stored=weights)
    if options.init in TRAINED:
        assert pool is not None
        count = size(pool) - options.held_out
        taught, judges = some(pool, 0, count), some(pool, count, size(pool))
        return Networks(net, Pool(net, taught, seed), judges, some(taught, 0, TRIED), options.nets, frozen)
    fresh = Fresh(net, initial, seed)
    judges = _on(net, fresh.held_out(options.held_out))
    tried = _on(net, fresh.held_out(TRIED, first=options.held_out))
    return Networks(net, fresh, judges, tried, options.nets, frozen)


def size(weights: Weights) -> int:
    """Return how many networks these are."""
    return len(next(iter(weights.values())))


def some(weights: Weights, first: int, last: int) -> dict[str, Tensor]:
    """Return networks first..last - 1 of these."""
    return {name: value[first:last] for name, value in weights.items()}


def _on(net: nn.Module, weights: Weights) -> dict[str, Tensor]:
    device = next(net.parameters()).device
    return {name: value.to(device) for name, value in weights.items()}
