"""Experts: networks trained on real data, with their weights after every epoch, for a set to lead others along."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .data.records.headed import read_headed, write_headed
from .distilled import crowd
from .distilled.free_training import Augment, study_epochs
from .errors import ConfigError, DataError, ShapeError
from .nets.together import check_weights
from .randomness import counter, stream
from .rules import SGD, Rule

_VERSION = 1
_BUFFERS = "buffers."
"""Before the names of the network's buffers in a file."""


@dataclass(frozen=True)
class Experts:
    """Trajectories of P networks through parameter space.

    Attributes:
        net: the architecture, with the buffers that all networks share, such as running statistics.
        flat: weights (P, epochs + 1, D), those before the first epoch included; the parameters of a network one after
            the other, as ``named_parameters`` gives them.

    Raises:
        ShapeError: for weights that are not those of the network, or of an integer type.
    """

    net: nn.Module
    flat: Tensor

    def __post_init__(self) -> None:
        size = sum(p.numel() for p in self.net.parameters())
        if self.flat.ndim != 3 or self.flat.shape[2] != size:
            raise ShapeError(
                f"experts: weights have shape {tuple(self.flat.shape)}, but need (experts, epochs + 1, {size}) for "
                "this network; they are of another architecture."
            )
        if not self.flat.is_floating_point():
            raise ShapeError(f"experts: weights are {self.flat.dtype}, but need a floating type.")

    def __len__(self) -> int:
        return len(self.flat)

    @property
    def epochs(self) -> int:
        """How long they were trained."""
        return self.flat.shape[1] - 1

    def at(self, expert: Tensor, epoch: Tensor | int) -> dict[str, Tensor]:
        """Return the weights of experts int64 (K,) after epochs (K,), or one for all: by name, each (K, ...)."""
        chosen = self.flat[expert.to(self.flat.device), torch.as_tensor(epoch, device=self.flat.device)]
        parameters = dict(self.net.named_parameters())
        pieces = torch.split(chosen, [p.numel() for p in parameters.values()], dim=1)
        return {name: piece.view(len(chosen), *p.shape) for (name, p), piece in zip(parameters.items(), pieces)}


def train_experts(
    net: nn.Module,
    weights: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    *,
    epochs: int = 50,
    rule: Rule | None = None,
    batch_size: int = 256,
    augment: Augment | None = None,
    together: int = 16,
    freeze_buffers: bool = False,
    seed: int = 0,
) -> Experts:
    """Train networks on real data, and keep their weights after every epoch.

    Networks are trained several at once, and these see the same batches: they differ by where they start, and from
    the next ones by the order of the rows as well.

    Args:
        net: the architecture.
        weights: where they start, by name, each (P, ...).
        x: real inputs (N, ...).
        y: class ids (N,).
        epochs: at least 1.
        rule: of the updates; default: SGD of rate 0.01, as published: without momentum, so that the steps are those
            that a set is to lead along.
        batch_size: rows a step.
        augment: what a batch becomes, by a key of its step, such as ``Siamese().each``.
        together: networks at once.
        freeze_buffers: keep running statistics as those of ``net``; networks that have some are refused otherwise.
        seed: of batches, augmentation and dropout.

    Raises:
        ConfigError: for an option outside its range, or a network with running statistics that are not frozen.
        ShapeError: for weights that are not those of the network, or labels that do not fit the inputs.
        NotFiniteError: if training diverges.

    Source: Cazenavette et al., "Dataset distillation by matching training trajectories", CVPR 2022, section 3.1.
    """
    count = check_weights(net, weights)
    if together < 1:
        raise ConfigError(f"together is {together}; at least one network is trained at once.")
    found = []
    for first in range(0, count, together):
        some = {name: weights[name][first : first + together] for name, _ in net.named_parameters()}
        key = counter(stream(seed, "experts"), first)
        student = crowd(net, some, rule or SGD(0.01), freeze_buffers=freeze_buffers).seeded(key)
        path = [_flat(some)]
        for later in study_epochs(student, x, y, epochs=epochs, batch_size=batch_size, augment=augment, seed=key):
            path.append(_flat({name: later.params.get(f"net.{name}", value) for name, value in some.items()}))
        found.append(torch.stack(path, dim=1))
    return Experts(net, torch.cat(found))


def _flat(weights: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([value.detach().flatten(1) for value in weights.values()], dim=1)


def save_experts(path: Path, experts: Experts, *, origin: Mapping[str, Any] | None = None) -> None:
    """Write experts, and the buffers of their network, to one safetensors file.

    Args:
        path: the file.
        experts: to keep.
        origin: how they were made, as plain JSON.

    Raises:
        ConfigError: for an origin that is none.
        DataError: if the file cannot be written.
    """
    shapes = [[name, list(p.shape)] for name, p in experts.net.named_parameters()]
    facts = {"parameters": shapes, "origin": dict(origin or {})}
    buffers = {_BUFFERS + name: value for name, value in experts.net.named_buffers()}
    write_headed(path, "trajectory", _VERSION, facts, {"weights": experts.flat, **buffers})


def load_experts(path: Path, net: nn.Module) -> Experts:
    """Return the experts in a file of :func:`save_experts`.

    Args:
        path: the file.
        net: their architecture; it stays as it is, and the experts' has the buffers of the file.

    Raises:
        DataError: if there is no such file, it is damaged, or a weight is not finite.
        ShapeError: if they are of another architecture, naming the first difference.
    """
    facts, tensors = read_headed(path, "trajectory", _VERSION, maker="save_experts")
    try:
        there = [(str(name), tuple(shape)) for name, shape in facts["parameters"]]
        weights = tensors.pop("weights")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error!r}.") from None
    if not bool(weights.isfinite().all()):
        raise DataError(f"{path} has weights that are not finite: train the experts at a lower rate.")
    buffers = {name.removeprefix(_BUFFERS): value for name, value in tensors.items()}
    there += [(name, tuple(value.shape)) for name, value in sorted(buffers.items())]
    here = [(name, tuple(p.shape)) for name, p in net.named_parameters()]
    here += [(name, tuple(b.shape)) for name, b in sorted(net.named_buffers())]
    if there != here:
        a, b = next((a, b) for a, b in zip_longest(there, here, fillvalue=("no more", ())) if a != b)
        raise ShapeError(
            f"{path} is of another architecture: it has {a[0]} {a[1] or ''} where the network has {b[0]} {b[1] or ''}."
        )
    known = copy.deepcopy(net)
    for name, value in known.named_buffers():
        value.copy_(buffers[name])
    return Experts(known, weights)
