"""Few labels and many examples without: from labels alone to meta pseudo labels, and what each part is worth.

The ladder: supervised learning, labels made once (offline), consistency (UDA), a student beside that network (distil,
the control without feedback), and teachers that learn from the student's labelled loss (mpl-*). Arms share labelled
rows, batches and initial networks by seed, so that ``uda - supervised`` is what consistency is worth, and
``mpl-soft - distil`` the meta-gradient.

Source: Pham et al., "Meta pseudo labels", CVPR 2021; Xie et al., "Unsupervised data augmentation for consistency
training", NeurIPS 2020; in a size for two cores, or with ``--schedule published`` in theirs.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from ...data import DataSet, Normalise
from ...errors import ConfigError, DataError
from ...runs import RunFolder
from ..naming import DataOptions, full, loaded
from ..ranges import flag, within
from ..trajectory import Watcher
from . import running
from .arms import ARMS as ARMS
from .checks import check, check_arms, check_used
from .drawing import draw, from_files
from .options import DIGITS, PUBLISHED, Options, filled, with_batches
from .running import Plan, Recipe
from .setting import Setting
from .views import Noise, Pictures, Views

HELP = "Few labels, many examples without: what pseudo labels, consistency and the meta-gradient are worth."


@dataclass(frozen=True)
class Config(DataOptions, Options):
    """Options of the recipe; None means: chosen by the profile, for the data or the number of steps."""

    schedule: Literal["auto", "digits", "published"] = "auto"
    """What options become that are not given: as for our comparison on digits, as in the published code for CIFAR-10,
    or auto: published for colour images of at least 32 pixels a side."""
    labels: int | None = None
    """Labelled rows in all, shared evenly by the classes; default: 2 a class, published 400 a class."""
    labels_per_class: int | None = None
    """Labelled rows a class, in place of --labels."""
    labelled_rows: str | None = None
    """CSV or Parquet file whose column index names the labelled rows of your own data, in place of --labels."""
    unlabelled_rows: str | None = None
    """The same for the unlabelled rows; default: all that are neither labelled nor tested on."""
    include_labelled: bool | None = None
    """Have the labelled rows among the unlabelled ones as well; default: digits yes, published no."""
    draw: Literal["stratified", "random-state"] | None = None
    """How rows are drawn: by this library's counters, or by numpy's RandomState(seed), as our documented figures;
    default: digits random-state, published stratified."""
    test: float | None = None
    """Share held out as test set, if the data has none of its own; default: 0.2766."""
    views: Literal["auto", "noise", "pictures"] = "auto"
    """Weak and strong views: by noise, or by crop and flip, with RandAugment and cut-out in the strong one (extra
    kornia); auto: pictures for colour images of at least 32 pixels a side."""
    weak_noise: float = 0.05
    """Standard deviation of the noise on the weak view."""
    strong_noise: float = 0.25
    """Standard deviation of the noise on the strong view."""
    labelled_noise: float = 0.1
    """Standard deviation of the noise on labelled examples as the teacher sees them."""
    pad: int = 4
    """Pixels at each side before a random crop."""
    operations: int = 2
    """Operations of RandAugment."""
    magnitude: int = 16
    """Magnitude of these, 0..30."""
    cutout: int = 16
    """Side of the square that is cut out of the strong view; 0: none."""
    normalise: bool | None = None
    """Bring values to mean 0 and variance 1 before noise; default: no for images, yes for tables; pictures always."""


_NOISE = ("weak_noise", "strong_noise", "labelled_noise", "normalise")
_PICTURES = ("pad", "operations", "magnitude", "cutout")


def _prepare(given: Any, *, fresh: bool) -> Plan:
    """Return what follows from the options; ``fresh``: as a user gave them, not as a run folder keeps them."""
    check(given)
    _check(given)
    data, fingerprints = loaded(given)
    published = given.schedule == "published" or (given.schedule == "auto" and data.train.colour)
    options = _of_the_data(filled(given, PUBLISHED if published else DIGITS), data, published)
    names = check_arms(options)
    if fresh:
        check_used(given, options, names)
        _check_views(given, options)
        _check_rows(given, data)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    splits = [_roles(data, seed, options) for seed in seeds]
    options = with_batches(options, len(splits[0].trusted), len(splits[0].unlabelled), published=published)
    settings = [
        Setting(
            seed=seed,
            source=data.train,
            test_source=data.train if data.test is None else data.test,
            roles=split,
            views=_views(data, seed, split.unlabelled, options),
            device=torch.device(options.device),
            batch_size=options.batch_size,
            labelled_batch=options.labelled_batch,
            replacement=options.replacement,
            he=options.init == "he",
        )
        for seed, split in zip(seeds, splits)
    ]
    return Plan(RECIPE, options, names, settings, fingerprints)


def _of_the_data(options: Any, data: DataSet, published: bool) -> Any:
    """Fill in what depends on the data."""
    per_class = options.labels_per_class or (400 if published else 2)
    chosen = {
        "data": full(options.data),
        "labelled_rows": full(options.labelled_rows),
        "unlabelled_rows": full(options.unlabelled_rows),
        "schedule": "published" if published else "digits",
        "labels": None if options.labelled_rows else options.labels or per_class * data.train.num_classes,
        "labels_per_class": None,
        "views": ("pictures" if data.train.colour else "noise") if options.views == "auto" else options.views,
    }
    usual = {
        "include_labelled": not published,
        "draw": "stratified" if published else "random-state",
        "test": 0.2766,
        "normalise": data.train.x.ndim != 4,
    }
    chosen |= {name: value for name, value in usual.items() if getattr(options, name) is None}
    return replace(options, **chosen)


def _check(given: Any) -> None:
    if not given.data:
        raise ConfigError("--data is empty; give a name, a file or a folder.")
    if sum(getattr(given, n) is not None for n in ("labels", "labels_per_class", "labelled_rows")) > 1:
        raise ConfigError("give one of --labels, --labels-per-class and --labelled-rows.")
    if given.unlabelled_rows is not None and given.labelled_rows is None:
        raise ConfigError("--unlabelled-rows needs --labelled-rows.")
    if given.test is not None and not 0 < given.test < 1:
        raise ConfigError(f"--test is {given.test}; it is a share of the rows and must lie between 0 and 1.")
    for name in ("labels", "labels_per_class", "pad"):
        value = getattr(given, name)
        if value is not None and value < 1:
            raise ConfigError(f"{flag(name)} is {value}; it must be at least 1.")
    for name in ("weak_noise", "strong_noise", "labelled_noise", "cutout"):
        within(given, name, 0, 10**6)


def _check_views(given: Any, options: Any) -> None:
    """Refuse options of views that the data does not have."""
    usual = Config()
    for name in _PICTURES if options.views == "noise" else _NOISE:
        if getattr(given, name) != getattr(usual, name):
            raise ConfigError(f"{flag(name)} does nothing with --views {options.views}; leave it out.")


def _check_rows(given: Any, data: DataSet) -> None:
    """Refuse options on drawing rows where nothing is drawn."""
    if given.draw is not None and given.labelled_rows is not None:
        raise ConfigError("--draw does nothing with --labelled-rows; leave it out.")
    if given.test is not None and data.test is not None:
        raise ConfigError(f"--test does nothing with {data.train.name}, which has test rows of its own; leave it out.")


def _roles(data: DataSet, seed: int, options: Any) -> Any:
    include = options.include_labelled
    if options.labelled_rows is None:
        return draw(data, seed, options.labels, test=options.test, how=options.draw, include_labelled=include)
    return from_files(
        data, seed, options.labelled_rows, options.unlabelled_rows, test=options.test, include_labelled=include
    )


def _views(data: DataSet, seed: int, pool: Any, options: Any) -> Views:
    source = data.train
    if options.views == "noise":
        kind: Literal["pixel", "channel"] = "pixel" if source.x.ndim == 4 else "channel"
        scaling = Normalise.fit(source, pool, kind) if options.normalise else None
        sizes = (options.labelled_noise, options.weak_noise, options.strong_noise)
        return Noise(seed, source.scale, scaling, *sizes)
    if source.x.ndim != 4:
        raise DataError(f"--views pictures needs images (N, C, H, W), but {source.name} has {source.x.shape}.")
    return Pictures(
        seed,
        source.scale,
        Normalise.fit(source, pool),
        pad=options.pad,
        operations=options.operations,
        magnitude=options.magnitude,
        cutout=options.cutout,
    )


RECIPE = Recipe("pseudo-labels", Config, _prepare)


def run(config: Config, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all arms into a new folder, see :func:`tutelage.recipes.pseudo_labels.running.run`."""
    return running.run(RECIPE, config, out, watcher)


def resume(folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped, see :func:`tutelage.recipes.pseudo_labels.running.resume`."""
    return running.resume(RECIPE, folder, watcher)
