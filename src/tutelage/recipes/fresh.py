"""Fresh networks for the rows of a source."""

import torch
from torch import nn

from ..data import Source
from ..nets import build
from ..randomness import seeded, stream


def fresh(name: str, source: Source, seed: int, *, he: bool) -> nn.Module:
    """Return a network by name for a source's rows and classes.

    Args:
        name: see :func:`tutelage.nets.build`.
        source: of the rows.
        seed: of the initialisation.
        he: weights N(0, 2 / fan-in) and no biases; else the network's own.
    """
    net = build(name, source.x.shape[1:], source.num_classes, seed=seed)
    if he:
        with seeded(stream(seed, "he")), torch.no_grad():
            for module in net.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                    if module.bias is not None:
                        module.bias.zero_()
    return net
