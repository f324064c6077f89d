"""Options that the recipes on badly labelled data share, and how they are read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ..errors import ConfigError, unknown
from .experiment import Augment
from .naming import DataOptions

EXPORTS = (".csv", ".parquet", ".html")
"""Kinds of files that a list of suspects can be written to."""

_MOST = {"seeds": 1000, "threads": 1024, "resize": 4096}
"""The largest values of options that are counted; 1,000,000 for the others."""
_SHARES = ("lr", "weight_decay", "moving_average", "gamma", "checkpoint_seconds")
_COUNTS = ("seeds", "epochs", "batch_size", "threads", "classes", "resize")


@dataclass(frozen=True)
class Options(DataOptions):
    """Options of a recipe; None means: chosen to fit the data or the method."""

    noise: str = "0.4"
    """Share of the training labels to corrupt, in [0, 1]; several, as 0.2,0.4,0.8: a run for each, and one table."""
    noise_kind: str | None = None
    """uniform (true class included; default), symmetric (excluded), pair-flip, class-flip(-2), all also with -exact,
    none; of a preset one of its own; several, separated by commas: a run for each, and one table."""
    preset: str | None = None
    """Split and noise as published: mentornet, meta-weight-net or l2t-di; in place of --trusted and --test."""
    student: str = "mlp"
    """Network: mlp, mlp-W1-W2, cnn, lenet, resnetD, wrn-D-W, mentor-resnet-D-W, resnet101 or inception as in the
    MentorNet tables, or your own as package.module:function."""
    teachers: str = "uniform"
    """Arms to compare, separated by commas."""
    seeds: int = 5
    """Number of seeds; each draws its own split, noise, order and initial student, shared by all arms."""
    first_seed: int = 0
    """The first seed."""
    epochs: int | None = None
    """Passes over the training rows; default: as many as make about 900 steps."""
    batch_size: int | None = None
    """Examples a step; default: 128, or all training rows if there are fewer."""
    trusted: float = 0.1
    """Share of the training rows whose true labels are known."""
    trusted_labels: str | None = None
    """CSV or Parquet file with the columns index and label: right labels of some rows of your own data, which are then
    the trusted ones; in place of --trusted, with --noise 0."""
    test: float = 0.3
    """Share held out as test set, if the data has none of its own."""
    rule: str | None = None
    """Update rule: adam (default), adamw or sgd (momentum 0.9)."""
    lr: float | None = None
    """Learning rate at the start; default: 0.001, for sgd 0.1; divided by 10 at 50, 64 and 77 % of training."""
    weight_decay: float | None = None
    """Weight decay, on weight matrices and kernels only; default: 0.0002."""
    scale_decay: bool = True
    """Multiply the decay by the mean weight of the batch."""
    normalise: Literal["batch", "weights"] = "batch"
    """Divide a curriculum's weighted loss by the batch size, or by the sum of the weights."""
    percentile: str | None = None
    """Percentile of the losses that is the threshold, in (0, 1); or one for each percent of training: 0.7x18,0.5x82
    (percentile x percents); or trusted: the share of right labels there. Default: 0.5."""
    moving_average: float | None = None
    """Decay of the moving percentile, in [0, 1); default: 0.5, none for spcl and hard."""
    bias_correction: bool = True
    """Correct the moving percentile for its start at 0."""
    interpolation: Literal["linear", "nearest"] = "linear"
    """Of the percentile between two losses."""
    burn_in: int | None = None
    """Percent of training with all weights 1; default: 18, for predefined 0 (it brings its own)."""
    dropout: str | None = None
    """Example dropout: 0.5x17,0.05x83 (rate x percent of training), or none; default: that, for the arms that were
    published with it."""
    dropout_mode: Literal["random", "actual", "binary"] = "random"
    """How dropout draws: uniformly, by weight, or by weight with weight 1 afterwards."""
    allow_empty: bool = False
    """Allow example dropout to leave no row of a batch."""
    gamma: float | None = None
    """Width of the ramp of spcl (default 1), exponent of focal (default 2)."""
    keep_positive: bool = False
    """Curricula give weight 1 to every label above 0, as in detection."""
    augment: Augment = "auto"
    """crop-flip, randaugment (crop, flip and RandAugment; extra kornia), none, or auto: crop and flip for colour
    images of at least 32 pixels a side."""
    export: str | None = None
    """Write suspected label errors to this .csv, .parquet or .html file as well."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto: cuda if there is one."""
    threads: int | None = None
    """Threads of a CPU operation; default: PyTorch's choice."""
    stack: bool = True
    """Train all seeds in one pass where the network allows it."""
    checkpoint_seconds: float = 30.0
    """Least time between two checkpoints."""


def check_ranges(options: Options) -> None:
    """Refuse numbers outside their ranges, and what is empty.

    Raises:
        ConfigError: naming the option.
    """
    if not options.data:
        raise ConfigError("--data is empty; give a name, a file or a folder.")
    levels = len(noise_rates(options.noise)) * len(noise_kinds(options.noise_kind))
    _check_export(options.export, levels)
    for name in _SHARES:
        value = getattr(options, name)
        if value is not None and not 0 <= value <= 1e6:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be in 0..1000000.")
    if not 0 <= options.first_seed < 2**62:
        raise ConfigError(f"--first-seed is {options.first_seed}; it must be in 0..2^62.")
    for name in _COUNTS:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be at least 1.")
        if value is not None and value > _MOST.get(name, 10**6):
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be at most {_MOST.get(name, 10**6)}.")


def _check_export(target: str | None, levels: int) -> None:
    if target is None:
        return
    if Path(target).suffix not in EXPORTS:
        raise ConfigError(f"--export {target}: a list of suspects is written as {', '.join(EXPORTS)}.")
    if not Path(target).resolve().parent.is_dir():
        raise ConfigError(f"--export {target}: there is no folder {Path(target).parent}; make it, or name another.")
    if levels > 1:
        raise ConfigError("--export is for one rate of noise; leave it out, and export from one of the folders later.")


def noise_rates(text: str) -> tuple[float, ...]:
    """Read one or several rates of label noise, separated by commas.

    Raises:
        ConfigError: if one is no number in [0, 1], or comes twice.
    """
    try:
        rates = tuple(float(part) for part in str(text).split(","))
    except ValueError:
        raise ConfigError(
            f'--noise is "{text}"; give a share of the labels, or several, such as 0.2,0.4,0.8.'
        ) from None
    for rate in rates:
        if not 0 <= rate <= 1:
            raise ConfigError(f"--noise is {rate:g}; it is a share of the labels and must be in [0, 1].")
    if len(set(rates)) < len(rates):
        raise ConfigError(f"--noise is {text}; each rate can come once.")
    return rates


def noise_kinds(text: str | None) -> tuple[str | None, ...]:
    """Read one or several kinds of label noise, separated by commas; None: the usual one.

    Raises:
        ConfigError: if one is empty, or comes twice.
    """
    if text is None:
        return (None,)
    kinds = tuple(part.strip() for part in text.split(","))
    if not all(kinds) or len(set(kinds)) < len(kinds):
        raise ConfigError(f'--noise-kind is "{text}"; give each kind once, such as pair-flip,symmetric.')
    return kinds


def names_of(text: str, known: Iterable[str], what: str) -> tuple[str, ...]:
    """Read names separated by commas; one that comes twice counts once.

    Raises:
        ConfigError: if there is none, or one is unknown.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise ConfigError(unknown(what, name, known))
    if not names:
        raise ConfigError(f"--{what}s is empty; name at least one, such as {next(iter(known))}.")
    return names


def on_this_machine(options: Any) -> dict[str, Any]:
    """Set the threads that options ask for; return their device and threads as they then are.

    Raises:
        ConfigError: if there is no such device.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return {"device": str(pick_device(options.device)), "threads": torch.get_num_threads()}


def pick_device(name: str) -> torch.device:
    """Return the device of a name, ``auto`` for CUDA if there is one.

    Raises:
        ConfigError: if there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f'unknown device "{name}"; known: auto, cpu, cuda, cuda:1, ...') from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f'--device "{name}" is not supported; known: auto, cpu, cuda, cuda:1, ...')
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: there are {torch.cuda.device_count()} CUDA devices here; use cpu.")
    return device


def parse_dropout(text: str) -> tuple[tuple[float, int], ...] | None:
    """Read example dropout: ``0.5x17,0.05x83``, the published form ``0.5,17,0.05,83``, or ``none``.

    Raises:
        ConfigError: if it reads otherwise.
    """
    return None if text == "none" else parse_schedule("dropout", text)


def parse_schedule(option: str, text: str) -> tuple[tuple[float, int], ...]:
    """Read values over training: ``0.5x17,0.05x83``, or ``0.5,17,0.05,83`` (value, percents of training).

    Raises:
        ConfigError: if it reads otherwise.
    """
    parts = text.replace("x", ",").split(",")
    try:
        if len(parts) % 2:
            raise ValueError("a value without percents")
        return tuple((float(rate), int(count)) for rate, count in zip(parts[::2], parts[1::2]))
    except ValueError as error:
        raise ConfigError(f'--{option} "{text}" is not of the form 0.5x17,0.05x83 ({error}).') from error
