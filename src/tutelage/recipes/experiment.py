"""What the arms of a noisy-label experiment share for one seed: data, noise, splits, loaders, students."""

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

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
    Standardise,
    Transform,
    corrupt,
    preset,
    read_right_labels,
    split,
)
from ..data.noise import from_labels
from ..errors import ConfigError, DataError
from ..lesson import Batch
from ..nets import build
from ..randomness import permutation, stream
from ..rules import Rule
from ..student import Student
from .schedule import Scaling

Index = npt.NDArray[np.int64]
Labels = Literal["given", "true"]
Rows: TypeAlias = Literal["train", "trusted", "right", "all"]
"""Training rows, trusted rows, training rows whose label is right, or training and trusted rows together."""
Augment = Literal["auto", "none", "crop-flip", "randaugment"]


@dataclass(frozen=True)
class Setting:
    """One seed of an experiment: who is in which role, and which labels are wrong.

    Attributes:
        seed: of the split, the noise, the order of examples and the student.
        source: the training source.
        test_source: where the test rows are; the training source itself if the data has no test set of its own.
        roles: indices; ``train`` contains the trusted rows, with their given labels, unless these are held out.
        noise: given and true labels of all rows of the training source; wrong ones among the training rows only.
        scaling: what brings rows to the range that students work in.
        moving: augmentation before scaling, during training.
        device: where batches live.
        truth: whose right labels are known: of all rows, because the noise was injected, or of the trusted ones only.
    """

    seed: int
    source: Source
    test_source: Source
    roles: Split
    noise: NoisyLabels
    scaling: Normalise | Standardise
    moving: tuple[Transform, ...]
    device: torch.device
    truth: Literal["all", "trusted"] = "all"

    def right(self, index: Index) -> npt.NDArray[np.bool_]:
        """Return which rows are known to have a right label as given."""
        return self.known(index) & ~self.noise.mask[index]

    def wrong(self, index: Index) -> npt.NDArray[np.bool_]:
        """Return which rows are known to have a wrong label as given."""
        return self.noise.mask[index]

    def known(self, index: Index) -> npt.NDArray[np.bool_]:
        """Return of which rows it is known whether the given label is right."""
        if self.truth == "all":
            return np.ones(len(index), dtype=np.bool_)
        return np.isin(index, self.roles["trusted"])

    def rows(self, name: Rows) -> Index:
        """Return the rows (N,) that students are trained on."""
        match name:
            case "right":
                train = self.roles["train"]
                return train[self.right(train)]
            case "all":
                return np.union1d(self.roles["train"], self.roles["trusted"])
        return self.roles[name]

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
            rows = Pipeline.from_source(self.test_source, seed=self.seed)
            return rows.batch(batch_size).augment(Augmentation(self.scaling))
        return self._in_order(self.roles[role], batch_size)

    def _in_order(self, index: Index, batch_size: int) -> Pipeline:
        rows = Pipeline.from_source(self.source, self.noise.clean, index, seed=self.seed)
        return rows.batch(batch_size).augment(Augmentation(self.scaling))

    def trusted_batch(self, limit: int = 512) -> Batch:
        """Return the trusted rows with true labels as one batch; drawn by the seed if there are more than ``limit``."""
        rows = self.roles["trusted"]
        drawn = np.sort(rows[permutation(stream(self.seed, "trusted batch"), len(rows))[:limit]])
        return next(self._in_order(drawn, limit).batches(device=self.device))

    def student(self, name: str, rule: Rule, *, initialisation: int = 0) -> Student:
        """Return a fresh student; the same seed gives the same initial parameters, for each ``initialisation``."""
        seed = stream(self.seed, f"initialisation/{initialisation}") if initialisation else self.seed
        net = build(name, self.source.x.shape[1:], self.source.num_classes, seed=seed)
        return Student(net.to(self.device), rule, seed=self.seed)


def make_setting(
    data: DataSet,
    seed: int,
    *,
    noise: float,
    noise_kind: str | None,
    published: str | None,
    trusted: float,
    trusted_labels: str | None = None,
    test: float,
    augment: Augment,
    pad: int = 4,
    scaling: Scaling = "rows",
    held_out: bool = False,
    device: torch.device,
) -> Setting:
    """Draw the split and the noise of one seed.

    Args:
        data: a training source, and perhaps a test source.
        seed: of everything.
        noise: rate in [0, 1].
        noise_kind: see :func:`tutelage.data.corrupt`; of a preset one of its kinds; None: uniform, or its first one.
        published: a preset for split and noise, see :data:`tutelage.data.PRESETS`; None: by the shares.
        trusted: share of the training rows whose true labels are known, in (0, 1).
        trusted_labels: a file with the right labels of some rows instead, see :func:`tutelage.data.read_right_labels`.
        test: share of the rows that is held out if the data has no test source.
        augment: ``auto``: crop and flip for colour images of at least 32 pixels a side; ``randaugment``: these, and
            two operations of magnitude 10.
        pad: zero pixels at each side before the crop.
        scaling: see :data:`tutelage.recipes.schedule.Scaling`.
        held_out: keep the trusted rows out of the training rows.
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
    if trusted_labels is not None:
        if noise or published is not None:
            raise ConfigError("--trusted-labels is for labels as they are; pass --noise 0 and no --preset.")
        roles, noisy = _right_labels(data, seed, trusted_labels, test, held_out)
    elif published is None:
        roles = _shared(data, seed, trusted, test, held_out)
        kind = noise_kind or "uniform"
        noisy = corrupt(source.y, kind, noise, num_classes=source.num_classes, seed=seed, on=roles["train"])
    else:
        roles, noisy = _as_published(data, published, seed, noise, noise_kind, held_out)
    is_image = source.x.ndim == 4
    if augment in ("crop-flip", "randaugment") and not is_image:
        raise ConfigError(f"--augment {augment} needs images (N, C, H, W), but {source.name} has {source.x.shape}.")
    return Setting(
        seed=seed,
        source=source,
        test_source=source if data.test is None else data.test,
        roles=roles,
        noise=noisy,
        scaling=_scaling(scaling, source, roles["train"]),
        moving=_moving(augment, source.colour, pad),
        device=device,
        truth="all" if trusted_labels is None else "trusted",
    )


def _scaling(kind: Scaling, source: Source, rows: Index) -> Normalise | Standardise:
    match kind:
        case "each":
            return Standardise()
        case "centre":
            fitted = Normalise.fit(source, rows, "pixel")
            return Normalise(fitted.mean, torch.ones_like(fitted.std))
    return Normalise.fit(source, rows, "channel" if source.colour else "pixel")


def _moving(augment: Augment, colour: bool, pad: int) -> tuple[Transform, ...]:
    if augment == "none" or (augment == "auto" and not colour):
        return ()
    return (Crop(pad), Flip(), RandAugment(2, 10)) if augment == "randaugment" else (Crop(pad), Flip())


def _shared(data: DataSet, seed: int, trusted: float, test: float, held_out: bool) -> Split:
    """Deal the rows by shares."""
    source, n = data.train, len(data.train)
    n_test = 0 if data.test is not None else (math.ceil if held_out else int)(test * n)
    n_trusted = round(trusted * (n - n_test))
    if n_trusted < 1 or (data.test is None and n_test < 1):
        raise DataError(f"{source.name}: {n} rows are too few for {trusted:g} trusted and {test:g} test rows.")
    sizes: dict[str, int | Literal["rest"]] = {"trusted": n_trusted, "train": "rest"}
    if n_test:
        sizes["test"] = n_test
    return split(source.y, sizes, seed=seed, train_includes=() if held_out else ("trusted",))


def _right_labels(data: DataSet, seed: int, path: str, test: float, held_out: bool) -> tuple[Split, NoisyLabels]:
    """Trust the rows whose right labels a file gives, and deal the others.

    Without a test set of its own, the data is tested on rows with the labels that it has, never on trusted ones.
    """
    source = data.train
    index, labels = read_right_labels(path, source)
    clean = source.y.copy()
    clean[index] = labels
    others = np.setdiff1d(np.arange(len(source)), index)
    n_test = 0 if data.test is not None else int(test * len(source))
    if not 0 <= n_test < len(others) or (data.test is None and n_test < 1):
        raise DataError(f"{source.name}: {len(others)} rows without a trusted label are too few for the test set.")
    order = permutation(stream(seed, "split"), len(others))
    tested, rest = np.sort(others[order[:n_test]]), others[order[n_test:]]
    if held_out:
        roles = Split(train=np.sort(rest), trusted=index, test=tested)
    else:
        roles = Split(train=np.union1d(rest, index), trusted=index, test=tested, overlaps=(("train", "trusted"),))
    noisy = from_labels(clean, source.y, num_classes=source.num_classes, on=roles["train"], convention="as given")
    return roles, noisy


def _as_published(
    data: DataSet, name: str, seed: int, noise: float, kind: str | None, held_out: bool
) -> tuple[Split, NoisyLabels]:
    """Deal the rows and corrupt the labels as a published system does; its validation rows are the trusted ones.

    Raises:
        ConfigError: if it has neither, or trains on them where they must be held out, or is for another data set.
    """
    chosen = preset(name)
    if not _has_trusted(chosen, held_out):
        able = ", ".join(p.name for p in PRESETS.values() if _has_trusted(p, held_out))
        what = "trusted rows outside its training rows" if held_out else "trusted rows"
        raise ConfigError(f"--preset {name} has no {what}, which this recipe needs; known with them: {able}.")
    if noise and not chosen.noises:
        raise ConfigError(f"--preset {name} has no label noise; pass --noise 0.")
    roles, noisy = chosen.prepare(data.train, seed=seed, rate=noise, kind=kind)
    if not len(roles.trusted):
        roles = replace(roles, trusted=roles.validation, validation=roles.trusted)
    if data.test is None and not len(roles.test):
        raise ConfigError(f"--preset {name} takes the data set's own test rows, but {data.train.name} has none.")
    return roles, noisy


def _has_trusted(chosen: Preset, held_out: bool) -> bool:
    layouts = [each for each in chosen.layouts.values() if not (held_out and each.train_includes)]
    return any({"trusted", "validation"} & layout.sizes.keys() for layout in layouts)
