"""From options to settings and rules: data, splits, steps, learning rates."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch

from ...data import Augmentation, Crop, DataSet, Flip, Normalise, Split
from ...data.sources import IntArray
from ...errors import ConfigError, DataError
from ...rules import SGD, Adam, AdamW, Decay, Rate, Rule
from ...schedules import Cosine, OneCycle, StepDecay
from .. import naming
from .options import DIGITS, PUBLISHED, Chosen, Profile, filled
from .setting import Setting

_DROPS = (0.625, 0.75, 0.875)


def loaded(given: Any) -> tuple[DataSet, dict[str, str]]:
    """Return the data that options name, and its fingerprints by role; a row is a vector or an image."""
    data, fingerprints = naming.loaded(given)
    if data.train.x.ndim < 2:
        raise DataError(f"{data.train.name}: x has shape {data.train.x.shape}; a row must be a vector or an image.")
    return data, fingerprints


def chosen(given: Any, data: DataSet, profiles: Mapping[str, Profile] | None = None) -> Any:
    """Return options with what profile, data and machine choose filled in.

    Args:
        given: as the user gave them, checked.
        data: what they name.
        profiles: "digits" and "published"; default: those of every staged recipe.
    """
    colour = data.train.colour
    name = ("published" if colour else "digits") if given.schedule == "auto" else given.schedule
    options = filled(given, (profiles or {"digits": DIGITS, "published": PUBLISHED})[name])
    usual: dict[str, Any] = {"schedule": name, "normalise": options.normalise}
    if options.normalise is None:
        usual["normalise"] = data.train.x.ndim != 4 or colour
    if options.augment == "auto":
        usual["augment"] = "crop-flip" if colour else "none"
    elif options.augment == "crop-flip" and data.train.x.ndim != 4:
        raise ConfigError(
            f"--augment crop-flip needs images (N, C, H, W), but {data.train.name} has {data.train.x.shape}."
        )
    return replace(options, **usual)


def settings(data: DataSet, options: Chosen, *, views: int | None = None) -> list[Setting]:
    """Return a setting for each seed.

    Args:
        data: where the rows are.
        options: with nothing left to choose.
        views: see :class:`Setting`.

    Raises:
        DataError: if a role would be empty.
    """
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    return [_setting(data, seed, options, views) for seed in seeds]


def _setting(data: DataSet, seed: int, options: Chosen, views: int | None) -> Setting:
    roles, order = draw(data, seed, test=options.test, validation=options.validation)
    moving = (Crop(options.pad), Flip()) if options.augment == "crop-flip" else ()
    kind: Literal["channel", "pixel"] = "pixel" if data.train.x.ndim == 4 and data.train.x.shape[1] != 3 else "channel"
    device = torch.device(options.device)
    return Setting(
        seed=seed,
        source=data.train,
        test_source=data.train if data.test is None else data.test,
        roles=roles,
        order=order,
        scaling=_moved(Normalise.fit(data.train, roles.train, kind), device) if options.normalise else None,
        moving=Augmentation(*moving),
        device=device,
        he=options.init == "he",
        views=views,
    )


def _moved(scaling: Normalise, device: torch.device) -> Normalise:
    return Normalise(scaling.mean.to(device), scaling.std.to(device))


def draw(data: DataSet, seed: int, *, test: float, validation: float) -> tuple[Split, IntArray]:
    """Draw the roles of a seed: a permutation by torch's own generator of seed 1000 + seed.

    Its first rows are tested on, if the data has no test rows of its own, its last ones are for validation.

    Args:
        data: a training source, and perhaps a test source.
        seed: of the draw.
        test: share of the rows that are tested on.
        validation: share of the others that are for validation.

    Returns:
        the roles, and the training rows in the order of the draw.

    Raises:
        DataError: if a role would be empty.
    """
    n = len(data.train)
    generator = torch.Generator().manual_seed((1000 + seed) % 2**63)
    order: IntArray = torch.randperm(n, generator=generator).numpy()
    tested = 0 if data.test is not None else round(test * n)
    validated = round(validation * (n - tested))
    rows = order[tested : n - validated]
    if not len(rows) or (data.test is None and not tested) or (validation and not validated):
        raise DataError(f"{data.train.name}: {n} rows are too few for {tested} test and {validated} validation rows.")
    return Split(train=rows, validation=order[n - validated :], test=order[:tested]), rows


def steps_of(options: Chosen, rows: int, batch_size: int) -> int:
    """Return how many steps a stage takes: as the options say, or so many passes over its rows."""
    if options.steps is not None:
        return int(options.steps)
    return max(1, round(int(options.epochs) * rows / batch_size))


def with_rows(options: Chosen, all_rows: int) -> Chosen:
    """Return options with the number of rows that students study: as many as they say, or all.

    Raises:
        ConfigError: if there are not so many.
    """
    rows = options.train_rows or all_rows
    if rows > all_rows:
        raise ConfigError(f"--train-rows {rows} is larger than the {all_rows} training rows; use {all_rows} or less.")
    return replace(options, train_rows=rows)


def check_batch(name: str, size: int, rows: int, options: Chosen) -> None:
    """Refuse batches of more rows than there are.

    Raises:
        ConfigError: naming the option.
    """
    if size > rows and not options.replacement:
        raise ConfigError(
            f"{name} {size} is larger than the {rows} training rows; use {rows} or less, or --replacement."
        )


def rule(kind: str, lr: float, decay: float, steps: int, *, rates: str, momentum: float = 0.9) -> Rule:
    """Return an update rule for a stage of so many steps, with its rates; weight decay is on all parameters.

    Args:
        kind: adam, adamw or sgd.
        lr: the largest learning rate.
        decay: coefficient.
        steps: of the stage.
        rates: one-cycle, steps, cosine or constant.
        momentum: of sgd; within one cycle it goes from .95 to .85 and back, as torch's does.
    """
    weights = Decay(decay)
    if rates == "one-cycle":
        cycle = OneCycle(lr, steps)
        if kind == "sgd":
            return SGD(cycle, momentum=cycle.momentum, weight_decay=weights)
        return (AdamW if kind == "adamw" else Adam)(cycle, betas=(cycle.momentum, 0.999), weight_decay=weights)
    schedules: dict[str, Rate] = {
        "steps": StepDecay(lr, tuple(round(share * steps) for share in _DROPS)),
        "cosine": Cosine(lr, steps),
        "constant": lr,
    }
    rate = schedules[rates]
    if kind == "sgd":
        return SGD(rate, momentum=momentum, weight_decay=weights)
    return (AdamW if kind == "adamw" else Adam)(rate, weight_decay=weights)


def student_rule(options: Chosen, steps: int) -> Rule:
    """Return the update rule of students."""
    return rule(options.rule, options.lr, options.weight_decay, steps, rates=options.rates, momentum=options.momentum)


def teacher_rule(options: Chosen, steps: int) -> Rule:
    """Return the update rule of teachers; what is not given is as of students."""
    decay = options.weight_decay if options.teacher_weight_decay is None else options.teacher_weight_decay
    kind = options.teacher_rule or options.rule
    return rule(kind, options.teacher_lr, decay, steps, rates=options.rates, momentum=options.momentum)
