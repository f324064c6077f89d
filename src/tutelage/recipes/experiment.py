"""What the arms of a noisy-label experiment share for one seed: data, noise, splits, loaders, students."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from ..data import (
    PRESETS,
    Augmentation,
    Crop,
    DataSet,
    Flip,
    NoisyLabels,
    Normalise,
    Pipeline,
    Preset,
    RandAugment,
    Source,
    Split,
    Transform,
    corrupt,
    preset,
    split,
)
from ..errors import ConfigError, DataError
from ..lesson import Batch
from ..nets import build
from ..randomness import permutation, stream
from ..rules import SGD, Adam, AdamW, Decay, Rule
from ..schedules import StepDecay
from ..student import Student

Index = npt.NDArray[np.int64]
Labels = Literal["given", "true"]
Augment = Literal["auto", "none", "crop-flip", "randaugment"]


@dataclass(frozen=True)
class Rates:
    """How the student of an experiment is updated.

    Attributes:
        rule: ``adam``, ``adamw`` or ``sgd``.
        lr: learning rate at the start; None: 0.001, for ``sgd`` 0.1.
        weight_decay: coefficient, on weights of two or more dimensions only.
        scale_decay: multiply the decay by the mean weight of the lesson.
        drops: shares of training after which the rate is divided by 10.
    """

    rule: str
    lr: float | None
    weight_decay: float
    scale_decay: bool
    drops: tuple[float, ...] = (0.50, 0.64, 0.77)

    def make(self, steps: int) -> Rule:
        """Return the rule for a training of so many steps.

        Raises:
            ConfigError: for an unknown rule.
        """
        lr = self.lr if self.lr is not None else (0.1 if self.rule == "sgd" else 1e-3)
        schedule = StepDecay(lr, tuple(round(share * steps) for share in self.drops))
        decay = Decay(self.weight_decay, on="weights", scaled=self.scale_decay)
        match self.rule:
            case "adam":
                return Adam(schedule, weight_decay=decay)
            case "adamw":
                return AdamW(schedule, weight_decay=decay)
            case "sgd":
                return SGD(schedule, momentum=0.9, weight_decay=decay)
        raise ConfigError(f'unknown rule "{self.rule}". Known: adam, adamw, sgd.')


@dataclass(frozen=True)
class Setting:
    """One seed of an experiment: who is in which role, and which labels are wrong.

    Attributes:
        seed: of the split, the noise, the order of examples and the student.
        source: the training source.
        test_source: where the test rows are; the training source itself if the data has no test set of its own.
        roles: disjoint indices; ``train`` contains the trusted rows, with their given labels.
        noise: given and true labels of all rows of the training source; wrong ones among the training rows only.
        scaling: statistics of the training rows.
        moving: augmentation before scaling, during training.
        device: where batches live.
    """

    seed: int
    source: Source
    test_source: Source
    roles: Split
    noise: NoisyLabels
    scaling: Normalise
    moving: tuple[Transform, ...]
    device: torch.device

    @property
    def test_rows(self) -> int:
        """How many examples students are tested on."""
        return len(self.test_source) if self.test_source is not self.source else len(self.roles["test"])

    def training(self, labels: Labels, index: Index, batch_size: int) -> Pipeline:
        """Return shuffled, augmented training batches of these rows, with given or true labels.

        Raises:
            ConfigError: if there are fewer rows than a batch has.
        """
        if batch_size > len(index):
            raise ConfigError(
                f"batch size {batch_size} is larger than the {len(index)} training rows; "
                f"use --batch-size {len(index)} or less."
            )
        y = self.noise.noisy if labels == "given" else self.noise.clean
        rows = Pipeline.from_source(self.source, y, index, seed=self.seed)
        return rows.shuffle().batch(batch_size, drop_remainder=True).augment(Augmentation(*self.moving, self.scaling))

    def evaluation(self, role: Literal["test", "trusted"], batch_size: int = 1024) -> Pipeline:
        """Return the test rows, or the trusted rows, in order, with true labels, neither shuffled nor augmented."""
        if role == "test" and self.test_source is not self.source:
            return self._in_order(self.test_source, None, batch_size)
        return self._in_order(self.source, self.roles[role], batch_size)

    def _in_order(self, source: Source, index: Index | None, batch_size: int) -> Pipeline:
        rows = Pipeline.from_source(source, index=index, seed=self.seed)
        return rows.batch(batch_size).augment(Augmentation(self.scaling))

    def trusted_batch(self, limit: int = 512) -> Batch:
        """Return the trusted rows with true labels as one batch; drawn by the seed if there are more than ``limit``."""
        rows = self.roles["trusted"]
        drawn = np.sort(rows[permutation(stream(self.seed, "trusted batch"), len(rows))[:limit]])
        return next(self._in_order(self.source, drawn, limit).batches(device=self.device))

    def student(self, name: str, rule: Rule) -> Student:
        """Return a fresh student; the same seed gives the same initial parameters."""
        net = build(name, self.source.x.shape[1:], self.source.num_classes, seed=self.seed)
        return Student(net.to(self.device), rule, seed=self.seed)


def make_setting(
    data: DataSet,
    seed: int,
    *,
    noise: float,
    noise_kind: str | None,
    published: str | None,
    trusted: float,
    test: float,
    augment: Augment,
    device: torch.device,
) -> Setting:
    """Draw the split and the noise of one seed.

    Args:
        data: a training source, and perhaps a test source.
        seed: of everything.
        noise: rate in [0, 1).
        noise_kind: see :func:`tutelage.data.corrupt`; of a preset one of its kinds; None: uniform, or its first one.
        published: a preset for split and noise, see :data:`tutelage.data.PRESETS`; None: by the shares.
        trusted: share of the training rows whose true labels are known, in (0, 1).
        test: share of the rows that is held out if the data has no test source.
        augment: ``auto``: crop and flip for colour images of at least 32 pixels a side; ``randaugment``: these, and
            two operations of magnitude 10.
        device: where batches live.

    Raises:
        DataError: if a role would be empty.
        ConfigError: for a share outside (0, 1), an unknown kind of noise, or a crop of something that is no image.
    """
    for name, share in (("trusted", trusted), ("test", test)):
        if not 0 < share < 1:
            raise ConfigError(f"--{name} is {share}; it is a share of the rows and must lie between 0 and 1.")
    source = data.train
    if source.x.ndim < 2:
        raise DataError(f"{source.name}: x has shape {source.x.shape}; a row must be a vector or an image.")
    if published is None:
        roles = _shared(data, seed, trusted, test)
        kind = noise_kind or "uniform"
        noisy = corrupt(source.y, kind, noise, num_classes=source.num_classes, seed=seed, on=roles["train"])
    else:
        roles, noisy = _as_published(data, published, seed, noise, noise_kind)
    is_image = source.x.ndim == 4
    if augment in ("crop-flip", "randaugment") and not is_image:
        raise ConfigError(f"--augment {augment} needs images (N, C, H, W), but {source.name} has {source.x.shape}.")
    colour = is_image and source.x.shape[1] == 3 and min(source.x.shape[2:]) >= 32
    return Setting(
        seed=seed,
        source=source,
        test_source=source if data.test is None else data.test,
        roles=roles,
        noise=noisy,
        scaling=Normalise.fit(source, roles["train"], "channel" if colour else "pixel"),
        moving=_moving(augment, colour),
        device=device,
    )


def _moving(augment: Augment, colour: bool) -> tuple[Transform, ...]:
    if augment == "none" or (augment == "auto" and not colour):
        return ()
    return (Crop(4), Flip(), RandAugment(2, 10)) if augment == "randaugment" else (Crop(4), Flip())


def _shared(data: DataSet, seed: int, trusted: float, test: float) -> Split:
    """Deal the rows by shares."""
    source, n = data.train, len(data.train)
    held_out = 0 if data.test is not None else int(test * n)
    n_trusted = round(trusted * (n - held_out))
    if n_trusted < 1 or (data.test is None and held_out < 1):
        raise DataError(f"{source.name}: {n} rows are too few for {trusted:g} trusted and {test:g} test rows.")
    sizes: dict[str, int | Literal["rest"]] = {"trusted": n_trusted, "train": "rest"}
    if held_out:
        sizes["test"] = held_out
    return split(source.y, sizes, seed=seed, train_includes=("trusted",))


def _as_published(data: DataSet, name: str, seed: int, noise: float, kind: str | None) -> tuple[Split, NoisyLabels]:
    """Deal the rows and corrupt the labels as a published system does; its validation rows are the trusted ones.

    Raises:
        ConfigError: if it has neither, or its counts are for another data set.
    """
    chosen = preset(name)
    if not _has_trusted(chosen):
        able = ", ".join(p.name for p in PRESETS.values() if _has_trusted(p))
        raise ConfigError(f"--preset {name} has no trusted rows, which this recipe needs; known with them: {able}.")
    if noise and not chosen.noises:
        raise ConfigError(f"--preset {name} has no label noise; pass --noise 0.")
    roles, noisy = chosen.prepare(data.train, seed=seed, rate=noise, kind=kind)
    if not len(roles.trusted):
        roles = replace(roles, trusted=roles.validation, validation=roles.trusted)
    if data.test is None and not len(roles.test):
        raise ConfigError(f"--preset {name} takes the data set's own test rows, but {data.train.name} has none.")
    return roles, noisy


def _has_trusted(chosen: Preset) -> bool:
    return any({"trusted", "validation"} & layout.sizes.keys() for layout in chosen.layouts.values())
