"""Small sets with all that a file says of them."""

import copy

import torch
from torch import nn

from tutelage.distilled import DistilledSet, labels_in_turn
from tutelage.distilled.artefact import Artefact
from tutelage.distilled.facts import Architecture, Evaluation, FreeRecipe, Start
from tutelage.distilled.inputs import Inputs
from tutelage.distilled.whitening import Whitening
from tutelage.nets import build
from tutelage.nets.initial import Scaled, filled
from tutelage.starts import Fresh

SHAPE = (1, 4, 4)
INPUTS = Inputs(SHAPE, 16.0, torch.tensor(0.3), torch.tensor(0.4))
STATED = Evaluation((0.5, 0.75, 1.0), 8, "abc", {"data": "digits"}, (0.25, 0.25, 0.5))


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


def full():
    """One with a value in every field."""
    whitening = Whitening(numbers(16), torch.eye(16))
    soft = DistilledSet(numbers(2, 3, *SHAPE), numbers(2, 3, 3), torch.tensor([0.1, 0.2]))
    return made(
        distilled=soft,
        inputs=Inputs(SHAPE, 255.0, torch.tensor([[[0.1307]]]), torch.tensor([[[0.3081]]]), whitening),
        start=stored("fixed"),
        attack=(0, 2),
        objective="poisoning",
        method="unrolled",
        augmentation=("crop", "scale"),
        free_training=FreeRecipe(0.05, 1000, augmentation=("crop",)),
        evaluation=STATED,
        truncate=3,
        seed=7,
        log=[{"step": 1, "loss": 0.5}],
        report={"scores": {"HLR": 0.1}},
    )


def by_hand(artefact, net):
    """Plain gradient descent, written out."""
    net = copy.deepcopy(net).train()
    made = artefact.distilled
    for t, size in enumerate(made.step_sizes):
        s = t % len(made.images)
        loss = nn.functional.cross_entropy(net(made.images[s]), made.labels)
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for p, gradient in zip(net.parameters(), gradients):
                p -= size * gradient
    return net


def equal(a, b, tolerance=1e-6):
    return all(torch.allclose(p, q, atol=tolerance) for p, q in zip(a.state_dict().values(), b.state_dict().values()))


def fresh(seed, place=0, scheme="xavier-normal"):
    net = build("mlp-8", SHAPE, 3)
    weights = Fresh(net, Scaled(scheme), seed).held_out(1, first=place)
    return filled(net, {name: value[0] for name, value in weights.items()})
