"""The robustness report of the first seed: other step sizes, orders, roundings, networks and inits."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from ...distilled import DistilledSet
from ...distilled.free_training import RATES, train_freely
from ...distilled.judging import ByFreeTraining, ByLessons, Judge
from ...distilled.robustness import robustness
from ...distilled.variants import Variant, neighbours, other_initial_weights, other_initialisations, other_networks
from ...nets import build
from ...nets.initial import Initialiser, Scaled
from ...starts import Fresh
from .networks import Networks, own
from .options import FIXED, TRAINED, Chosen
from .rows import Domain

_CLIPPED, _WHITENED = "clipped 8-bit", "the images are whitened, and cannot be shown as they are"
_TRAINED = "networks of this kind would have to be trained first"
_KNOWN = "the set is made for the stored weights of one architecture"


def robustness_rows(
    distilled: DistilledSet,
    networks: Networks,
    domain: Domain,
    initial: Initialiser,
    seed: int,
    options: Chosen,
    *,
    rates: Sequence[float] = RATES,
) -> list[Mapping[str, Any]]:
    """Return the rows, see :func:`tutelage.distilled.robustness.robustness`.

    Args:
        distilled: the set.
        networks: that judge it.
        domain: of training and test rows.
        initial: how fresh networks are drawn.
        seed: of the orders, and of other networks.
        options: with nothing left to choose.
        rates: of free training, to choose from.
    """
    freely: Judge | None = None
    if options.free_epochs:
        train = partial(train_freely, epochs=options.free_epochs, seed=seed)
        freely = ByFreeTraining(
            *(domain.test_x, domain.test_y, *domain.tuning),
            rates=rates,
            nets=options.free_nets,
            train=train,
            freeze_buffers=networks.frozen,
        )
    judge = (
        ByLessons(domain.test_x, domain.test_y, freeze_buffers=networks.frozen) if distilled.applications else freely
    )
    if judge is None:
        return []
    variants, reasons = _variants(networks.net, domain, initial, seed, options)
    scaling = domain.scaling
    rows = robustness(
        distilled,
        networks.net,
        networks.judges,
        judge,
        variants=[_moved(variant, options.device) for variant in variants],
        freely=freely if distilled.applications else None,
        normalisation=(scaling.mean.flatten().tolist(), scaling.std.flatten().tolist())
        if len(domain.shape) == 3 and domain.whitening is None
        else None,
        reasons=reasons,
        seed=seed,
    )
    return [
        {**row, "note": _WHITENED} if domain.whitening is not None and row["name"] == _CLIPPED else row for row in rows
    ]


def _variants(
    net: nn.Module, domain: Domain, initial: Initialiser, seed: int, options: Chosen
) -> tuple[list[Variant], Mapping[str, str]]:
    """Other networks, and why there are none of a kind."""
    kinds = ("initialisation", "width", "depth", "architecture", "initial weights")
    if options.init in TRAINED:
        return [], dict.fromkeys(kinds, _TRAINED)
    if options.init in FIXED:
        return other_initial_weights(net, initial, 200, seed), dict.fromkeys(kinds[:-1], _KNOWN)
    count = options.held_out
    found = other_initialisations(net, initial, count, seed) if isinstance(initial, Scaled) else []
    shape, classes = domain.shape, domain.classes
    if isinstance(initial, Scaled):
        found += other_networks(options.net, shape, classes, initial, count, seed)
    else:  # an initialisation of one network's own is none of another's
        for kind, name in neighbours(options.net, shape):
            other = build(name, shape, classes)
            found.append(Variant(kind, name, other, Fresh(other, own(name, shape, classes), seed).held_out(count)))
    return found, {
        "initialisation": "the network draws its weights by itself",
        "initial weights": "every network that judges it is fresh",
    }


def _moved(variant: Variant, device: str) -> Variant:
    weights = {name: value.to(device) for name, value in variant.weights.items()}
    return Variant(variant.kind, variant.name, variant.net.to(device), weights)
