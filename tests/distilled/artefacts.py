"""Small sets with all that a file says of them."""

import torch

from tutelage.distilled import DistilledSet, labels_in_turn
from tutelage.distilled.artefact import Artefact
from tutelage.distilled.facts import Architecture, FreeRecipe, Start
from tutelage.distilled.inputs import Inputs
from tutelage.nets import build
from tutelage.nets.initial import Scaled

SHAPE = (1, 4, 4)
INPUTS = Inputs(SHAPE, 16.0, torch.tensor(0.3), torch.tensor(0.4))


def numbers(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def made(batches=2, count=3, epochs=2, **changes):
    """A set of random images, for mlp-8 from fresh weights."""
    images = numbers(batches, count, *SHAPE)
    sizes = torch.linspace(0.1, 0.2, batches * epochs)
    distilled = DistilledSet(images, labels_in_turn(count, 1), sizes, epochs)
    parts = {
        "distilled": distilled,
        "classes": tuple("abcdefgh"[:count]),
        "inputs": INPUTS,
        "architecture": Architecture.of(build("mlp-8", SHAPE, count), "mlp-8"),
        "start": Start("random", seed=5),
    }
    return Artefact(**parts | changes)


def unordered(**changes):
    """A set without step sizes."""
    images = numbers(1, 3, *SHAPE)
    distilled = DistilledSet(images, labels_in_turn(3, 1), torch.zeros(0))
    recipe = FreeRecipe(lr=0.05, epochs=4)
    return made(distilled=distilled, **{"free_training": recipe, "method": "gradient-matching"} | changes)


def stored(regime, count=2, seed=0):
    """A start with weights of mlp-8 for three classes."""
    net = build("mlp-8", SHAPE, 3)
    return Start(regime, weights=Scaled().draw(net, range(seed, seed + count)))
