"""Pools of pre-trained networks: many of one architecture at once, kept in one file."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..data.records.headed import read_headed, write_headed
from ..errors import ConfigError, DataError, ShapeError
from ..randomness import counter, stream
from ..rules import Adam, Rate
from ..schedules import Exponential
from ..student import Student
from .free_training import Augment, MakeRule, steps_an_epoch, study_epochs
from .teaching import crowd

FORMAT = 1
"""Version of the layout of a file; one of another version is refused."""

_NAMED = 3


class Pretraining(NamedTuple):
    """How networks are trained before a distillation adapts them: by Adam.

    Attributes:
        epochs: of the training.
        halve_every: so many epochs the rate falls to a half; None: never.
        lr: at the start.
    """

    epochs: int
    halve_every: int | None = None
    lr: float = 1e-3


PUBLISHED: Mapping[str, Pretraining] = {
    "mnist": Pretraining(40, 20, 2e-4),
    "usps": Pretraining(130, 40, 2e-4),
    "svhn": Pretraining(65, 20, 2e-4),
    "cifar10": Pretraining(50, 7, 1e-3),
}
"""By data set. Source: Wang, Zhu, Torralba and Efros, "Dataset distillation", 2018, and its code."""


def pretrained(
    net: nn.Module,
    weights: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    epochs: int,
    *,
    lr: float = 1e-3,
    halve_every: int | None = None,
    batch_size: int = 64,
    rule: MakeRule = Adam,
    augment: Augment | None = None,
    chunk: int = 40,
    freeze_buffers: bool = False,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return the weights of P networks trained on real data, by name, each (P, ...).

    Network p is a function of its initial weights and the seed, wherever it stands in the pool: all networks see the
    same batches. Dropout is drawn for a chunk.

    Args:
        net: the architecture.
        weights: where they start, by name, each (P, ...).
        x: inputs (N, ...).
        y: class ids (N,).
        epochs: at least 1.
        lr: at the start.
        halve_every: so many epochs the rate falls to a half; None: never.
        batch_size: rows a step.
        rule: by its rate.
        augment: see :func:`tutelage.distilled.free_training.train_freely`.
        chunk: networks trained at once.
        freeze_buffers: see :class:`tutelage.nets.together.Together`.
        seed: of batches, augmentation and dropout.

    Raises:
        ConfigError: for an option outside its range.
        ShapeError: for labels that do not fit the inputs, or weights that do not fit the network.
        NotFiniteError: if it diverges, naming epoch and rate.
    """
    for name, value in (("chunk", chunk), ("halve_every", 1 if halve_every is None else halve_every)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1.")
    rate: Rate = lr if halve_every is None else Exponential(lr, 0.5, halve_every * steps_an_epoch(len(x), batch_size))
    key = stream(seed, "dropout of pre-training")
    found: list[dict[str, Tensor]] = []
    for first in range(0, count_of(weights), chunk):
        some = part(weights, first, first + chunk)
        student = crowd(net, some, rule(rate), freeze_buffers=freeze_buffers).seeded(counter(key, first))
        for _ in study_epochs(student, x, y, epochs=epochs, batch_size=batch_size, augment=augment, seed=seed):
            pass
        found.append(weights_of(student))
    return {name: torch.cat([some[name] for some in found]) for name in weights}


def weights_of(student: Student) -> dict[str, Tensor]:
    """Return the weights of K networks that are one student, by the names of the single network, each (K, ...)."""
    return {name.removeprefix("net."): p.detach() for name, p in student.net.named_parameters()}


def count_of(weights: Mapping[str, Tensor]) -> int:
    """Return how many networks stacked weights are of."""
    return len(next(iter(weights.values())))


def part(weights: Mapping[str, Tensor], first: int, last: int) -> dict[str, Tensor]:
    """Return the weights of the networks in ``first..last - 1``."""
    return {name: value[first:last] for name, value in weights.items()}


def data_fingerprint(x: Tensor, y: Tensor) -> str:
    """Return the SHA-256 of a data set: shapes, types and bytes of inputs and labels."""
    digest = hashlib.sha256()
    for tensor in (x, y):
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class NetPool:
    """Pre-trained networks of one architecture, and where they come from.

    Attributes:
        weights: by name, each (P, ...).
        architecture: its name, such as ``mlp-128``.
        data: what they were trained on, as :func:`data_fingerprint` tells it.
        epochs: how long.
        seeds: of what was drawn, by name, such as ``{"initialisation": 0, "batches": 0}``.
        further: anything else that is worth knowing, plain JSON.
    """

    weights: Mapping[str, Tensor]
    architecture: str
    data: str
    epochs: int
    seeds: Mapping[str, int]
    further: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return count_of(self.weights)

    def parts(self, sizes: Sequence[int]) -> list[dict[str, Tensor]]:
        """Return the networks in parts, by position: ``(40, 40)`` gives 40 to distil with, and 40 that are held out.

        Raises:
            ConfigError: for more networks than there are.
        """
        if sum(sizes) > len(self):
            needed = " + ".join(map(str, sizes))
            raise ConfigError(f"the pool has {len(self)} networks, but {needed} are needed: pre-train more.")
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        return [part(self.weights, end - size, end) for end, size in zip(ends, sizes)]


def save_pool(pool: NetPool, path: str | os.PathLike[str]) -> None:
    """Write a pool to one safetensors file, which appears whole or not at all; the same gives the same bytes.

    Raises:
        ConfigError: if ``further`` is nothing that JSON can hold.
        DataError: if the file cannot be written.
    """
    facts = {
        **{"architecture": pool.architecture, "data": pool.data, "epochs": pool.epochs, "networks": len(pool)},
        **{"seeds": dict(pool.seeds), "further": dict(pool.further)},
    }
    write_headed(Path(path), "pool", FORMAT, facts, pool.weights)


def load_pool(path: str | os.PathLike[str], net: nn.Module | None = None, *, data: str | None = None) -> NetPool:
    """Read what :func:`save_pool` wrote, onto the CPU.

    Args:
        path: the file.
        net: the architecture that the networks are needed for; None: any.
        data: fingerprint of the data that they must have been trained on; None: any.

    Raises:
        DataError: if there is no such file, it is no pool file, cut, damaged, of another version or of other data.
        ShapeError: for networks that do not fit ``net``, naming the layers.
    """
    facts, weights = read_headed(Path(path), "pool", FORMAT)
    try:
        taken = {name: facts[name] for name in ("architecture", "data", "epochs", "seeds", "further")}
        counts = {len(value) for value in weights.values()}
        if counts != {facts["networks"]}:
            raise ValueError(f"{facts['networks']} networks, but tensors of {sorted(counts)}")
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error!r}.") from None
    pool = NetPool(weights, **taken)
    if net is not None:
        _check_fit(f"{path}: the {len(pool)} pre-trained networks ({pool.architecture})", net, weights)
    if data is not None and data != pool.data:
        raise DataError(
            f"{path}: its networks were trained on other data (fingerprint {pool.data[:12]}, here {data[:12]}): "
            "give the data that they were trained on, or pre-train anew."
        )
    return pool


def _check_fit(who: str, net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    here = {name: tuple(p.shape) for name, p in net.named_parameters()}
    there = {name: tuple(value.shape[1:]) for name, value in weights.items()}
    wrong = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    if wrong:
        told = [f"{name} is {there.get(name, 'absent')} there, {here.get(name, 'absent')} here" for name in wrong]
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise ShapeError(
            f"{who} do not fit the network: {'; '.join(told[:_NAMED])}{more}. "
            "Give the network that they were trained as, or pre-train a pool of this one."
        )
