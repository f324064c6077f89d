"""The main job: a student on badly labelled data, with and without teachers that weigh.

Arms: plain training, the written curricula, and the honest rows beside them: training on the trusted subset alone,
early stopping on the trusted subset, a mask from the losses of plain training, and the oracle that knows which labels
are right.

Source: the comparison of Jiang et al., "MentorNet: learning data-driven curriculum for very deep neural networks on
corrupted labels", ICML 2018, section 5, without MentorNet itself, in a size for two cores.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from .. import __version__
from ..data import load
from ..errors import CheckpointError, ConfigError, unknown
from ..evaluation import paired, summary
from ..lesson import Batch
from ..runs import RunFolder, environment
from ..student import Student
from ..teacher import Teacher
from ..teachers import CATALOGUE, FixedWeights, Uniform, small_loss_mask
from .arms import Arm, arm_values, per_class_summary, picked_records
from .experiment import Augment, Rates, Setting, make_setting
from .trajectory import Nobody, Outcome, Training, Trajectory, Watcher, restore_metrics, run_trajectory

_STEPS = 900
"""Length of training if no number of epochs is given: 100 epochs of the digits."""


_MOST = {"seeds": 1000, "threads": 1024, "resize": 4096}
"""The largest values of options that are counted; 1,000,000 for the others."""


@dataclass(frozen=True)
class Config:
    """Options of the recipe; None means: chosen to fit the data or the method."""

    data: str = "digits"
    """Data set: digits, mnist, cifar10, cifar100, a Parquet, npz, csv or TFRecord file, an image folder, a folder of
    CIFAR's own binary files, or a Hub name owner/name."""
    label: str | None = None
    """Label column of Parquet, csv, TFRecord or Hub data."""
    image: str | None = None
    """Image column of Parquet, TFRecord or Hub data."""
    classes: int | None = None
    """Number of classes, for files that do not name them."""
    resize: int | None = None
    """Bring images to this many pixels a side."""
    noise: float = 0.4
    """Share of the training labels to corrupt, in [0, 1)."""
    noise_kind: str | None = None
    """uniform (true class included; default), symmetric (excluded), either with -exact, pair-flip, class-flip(-2),
    none; of a preset one of its own."""
    preset: str | None = None
    """Split and noise as published: mentornet, meta-weight-net or l2t-di; in place of --trusted and --test."""
    student: str = "mlp"
    """Network: mlp, mlp-W1-W2, cnn, lenet, resnetD, wrn-D-W, or your own as package.module:function."""
    teachers: str = "uniform,self-paced,spcl,hard,focal,predefined,trusted-only,early-stopping,mixture-mask,oracle"
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
    test: float = 0.3
    """Share held out as test set, if the data has none of its own."""
    rule: str = "adam"
    """Update rule: adam, adamw or sgd (momentum 0.9)."""
    lr: float | None = None
    """Learning rate at the start; default: 0.001, for sgd 0.1; divided by 10 at 50, 64 and 77 % of training."""
    weight_decay: float = 2e-4
    """Weight decay, on weight matrices and kernels only."""
    scale_decay: bool = True
    """Multiply the decay by the mean weight of the batch."""
    normalise: Literal["batch", "weights"] = "batch"
    """Divide a curriculum's weighted loss by the batch size, or by the sum of the weights."""
    percentile: str = "0.5"
    """Percentile of the losses that is the threshold, in (0, 1), or trusted: the share of right labels there."""
    moving_average: float | None = None
    """Decay of the moving percentile, in [0, 1); default: 0.5, none for spcl and hard."""
    bias_correction: bool = True
    """Correct the moving percentile for its start at 0."""
    interpolation: Literal["linear", "nearest"] = "linear"
    """Of the percentile between two losses."""
    burn_in: int | None = None
    """Percent of training with all weights 1; default: 18, for predefined 0 (it brings its own)."""
    dropout: str | None = None
    """Example dropout: 0.5x17,0.05x83 (rate x percent of training), or none; default: that, for predefined only."""
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
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto: cuda if there is one."""
    threads: int | None = None
    """Threads of a CPU operation; default: PyTorch's choice."""
    stack: bool = True
    """Train all seeds in one pass where the network allows it."""
    checkpoint_seconds: float = 30.0
    """Least time between two checkpoints."""


ARMS: Mapping[str, tuple[Arm, str]] = {
    **{name: (Arm(name), "") for name in CATALOGUE},
    "trusted-only": (Arm("trusted-only"), "plain training on the trusted rows alone, with their true labels"),
    "early-stopping": (
        Arm("uniform", "trusted"),
        "plain training, at the epoch with the best accuracy on the trusted rows' true labels",
    ),
    "mixture-mask": (
        Arm("mixture-mask"),
        "plain training, then afresh on the examples with small early loss (two Gaussians; Arazo et al., 2019)",
    ),
    "oracle": (Arm("oracle"), "weight 1 for right, 0 for wrong labels: what a perfect teacher would reach"),
}
"""Arms by name, with a line about those that are no teacher of the catalogue."""

BASELINES = ("uniform", "trusted-only", "early-stopping")
"""What every arm is compared with, if they are in the run."""


def about(name: str) -> str:
    """Return a line about an arm."""
    return ARMS[name][1] or (inspect.getdoc(CATALOGUE[name]) or "").split("\n", 1)[0]


def check(config: Config) -> tuple[str, ...]:
    """Return the names of the arms, in order; refuse what no data is needed to refuse.

    Raises:
        ConfigError: naming the option.
    """
    names = tuple(dict.fromkeys(name.strip() for name in config.teachers.split(",") if name.strip()))
    for name in names:
        if name not in ARMS:
            raise ConfigError(unknown("teacher", name, ARMS))
    if not config.data:
        raise ConfigError("--data is empty; give a name, a file or a folder.")
    if not names:
        raise ConfigError("--teachers is empty; name at least one, such as uniform.")
    if not 0 <= config.noise < 1:
        raise ConfigError(f"--noise is {config.noise}; it is a share of the labels and must be in [0, 1).")
    for name in ("lr", "weight_decay", "moving_average", "gamma", "checkpoint_seconds"):
        value = getattr(config, name)
        if value is not None and not 0 <= value <= 1e6:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be in 0..1000000.")
    if not 0 <= config.first_seed < 2**62:
        raise ConfigError(f"--first-seed is {config.first_seed}; it must be in 0..2^62.")
    at_least_one = ("seeds", "epochs", "batch_size", "threads", "classes", "resize")
    for name in at_least_one:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be at least 1.")
        if value is not None and value > _MOST.get(name, 10**6):
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be at most {_MOST.get(name, 10**6)}.")
    return names


def run(config: Config, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all arms into a new folder.

    Args:
        config: the options.
        out: the run folder; must not exist.
        watcher: who follows.

    Returns:
        what ``result.json`` holds.

    Raises:
        TutelageError: for unusable options or data, before anything is written; for a loss that is not finite, or a
            folder that cannot be written, later.
    """
    RunFolder.check_free(out)
    plan = _Plan(config)
    folder = RunFolder.create(out, "curricula", asdict(plan.config), plan.fingerprints, environment(plan.device))
    with folder.locked():
        return _finish(plan, folder, watcher or Nobody())


def resume(folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped; a finished one only gets its result again.

    Raises:
        CheckpointError: if the folder cannot be read.
    """
    stored = folder.read("config.json")["config"]
    try:
        missing = set(Config.__dataclass_fields__) - set(stored)
        if missing:
            raise CheckpointError(f"{folder.path}/config.json is damaged: {min(missing)} is missing.")
        config = TypeAdapter(Config).validate_python(stored)
    except (ValidationError, TypeError) as error:
        raise CheckpointError(f"{folder.path}/config.json is damaged: {' '.join(str(error).split()[:20])}.") from error
    plan = _Plan(config)
    folder.check_data(plan.fingerprints)
    with folder.locked():
        restore_metrics(folder, plan.order)
        return _finish(plan, folder, watcher or Nobody())


class _Plan:
    """Everything that follows from the options: data, settings, trajectories, arms."""

    def __init__(self, config: Config) -> None:
        self.names = check(config)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.device = pick_device(config.device)
        where = str(Path(config.data).resolve()) if Path(config.data).exists() else config.data
        self.config = config = replace(config, data=where, device=str(self.device), threads=torch.get_num_threads())
        resize = None if config.resize is None else (config.resize, config.resize)
        data = load(config.data, label=config.label, image=config.image, num_classes=config.classes, resize=resize)
        self.fingerprints = {"training": data.train.fingerprint()}
        if data.test is not None:
            self.fingerprints["test"] = data.test.fingerprint()
        self.settings = [
            make_setting(
                data,
                seed,
                noise=config.noise,
                noise_kind=config.noise_kind,
                published=config.preset,
                trusted=config.trusted,
                test=config.test,
                augment=config.augment,
                device=self.device,
            )
            for seed in range(config.first_seed, config.first_seed + config.seeds)
        ]
        rates = Rates(config.rule, config.lr, config.weight_decay, config.scale_decay)
        first = self.settings[0]
        batch_size = config.batch_size or min(128, len(first.roles["train"]))
        rows = first.training("given", first.roles["train"], batch_size)
        self.training = Training(
            student=config.student,
            rule=rates.make,
            epochs=config.epochs or max(1, round(_STEPS / len(rows))),
            batch_size=batch_size,
            stack=config.stack,
            checkpoint_seconds=config.checkpoint_seconds,
        )
        self.trajectories = {t.name: t for t in _trajectories(config)}
        self.order = self._order()
        self._rehearse(next(rows.batches(device=first.device)), first.student(config.student, rates.make(1)))

    def _rehearse(self, batch: Batch, student: Student) -> None:
        """Take one step with each teacher, so that what cannot work is refused before a folder is made."""
        for name in self.order:
            teacher = self.trajectories[name].teacher(self.settings[0], None).to(self.device)
            lesson = teacher.teach(batch, student)
        student.study(lesson)

    def _order(self) -> list[str]:
        """Names of the trajectories to run; needed ones first."""
        order: list[str] = []
        for name in self.names:
            trajectory = self.trajectories[ARMS[name][0].trajectory]
            order += [trajectory.needs] if trajectory.needs else []
            order.append(trajectory.name)
        return list(dict.fromkeys(order))


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
    if text == "none":
        return None
    parts = text.replace("x", ",").split(",")
    try:
        if len(parts) % 2:
            raise ValueError("a rate without percents")
        return tuple((float(rate), int(count)) for rate, count in zip(parts[::2], parts[1::2]))
    except ValueError as error:
        raise ConfigError(f'--dropout "{text}" is not of the form 0.5x17,0.05x83 ({error}).') from error


def _trajectories(config: Config) -> list[Trajectory]:
    def plain(setting: Setting, needed: Outcome | None) -> Teacher:
        return Uniform()

    def oracle(setting: Setting, needed: Outcome | None) -> Teacher:
        return FixedWeights(torch.from_numpy(~setting.noise.mask).float())

    def mask(setting: Setting, needed: Outcome | None) -> Teacher:
        weights = torch.zeros(len(setting.source))
        if needed is not None:
            position = setting.seed - config.first_seed
            losses = needed.tensors["early_loss"][position].numpy()
            drawn = np.isfinite(losses)
            rows = needed.tensors["rows"][position][torch.from_numpy(drawn)]
            weights[rows] = torch.from_numpy(small_loss_mask(losses[drawn]))
        return FixedWeights(weights)

    others = [
        Trajectory("uniform", plain),
        Trajectory("trusted-only", plain, rows="trusted", labels="true"),
        Trajectory("oracle", oracle),
        Trajectory("mixture-mask", mask, needs="uniform"),
    ]
    weighed = [name for name in CATALOGUE if name != "uniform"]
    return others + [Trajectory(name, _from_catalogue(name, config)) for name in weighed]


def _from_catalogue(name: str, config: Config) -> Callable[[Setting, Outcome | None], Teacher]:
    given: dict[str, Any] = {
        "decay": config.moving_average,
        "burn_in": config.burn_in,
        "gamma": config.gamma if name in ("spcl", "focal") else None,
    }
    options = {key: value for key, value in given.items() if value is not None}
    if config.dropout is not None:
        options["dropout"] = parse_dropout(config.dropout)
    options |= {
        "mode": config.dropout_mode,
        "allow_empty": config.allow_empty,
        "bias_correction": config.bias_correction,
        "interpolation": config.interpolation,
        "normalise": config.normalise,
        "keep_positive": config.keep_positive,
    }

    def make(setting: Setting, needed: Outcome | None) -> Teacher:
        return CATALOGUE[name](percentile=_percentile(config.percentile, setting), **options)

    return make


def _percentile(text: str, setting: Setting) -> float:
    if text == "trusted":
        right = ~setting.noise.mask[setting.roles["trusted"]]
        return float(np.clip(right.mean(), 0.01, 0.99))
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f'--percentile is "{text}"; give a number between 0 and 1, or trusted.') from error


def _finish(plan: _Plan, folder: RunFolder, watcher: Watcher) -> dict[str, Any]:
    outcomes: dict[str, Outcome] = {}
    for name in plan.order:
        trajectory = plan.trajectories[name]
        needed = outcomes[trajectory.needs] if trajectory.needs else None
        outcomes[name] = run_trajectory(trajectory, plan.settings, plan.training, folder, needed, watcher)
    result = _result(plan, outcomes, folder.read("environment.json"))
    folder.write("result.json", result)
    return result


def _result(plan: _Plan, outcomes: Mapping[str, Outcome], environment: Mapping[str, Any]) -> dict[str, Any]:
    picked = {name: picked_records(ARMS[name][0], outcomes) for name in plan.names}
    values = {name: arm_values(ARMS[name][0], records, outcomes, plan.settings) for name, records in picked.items()}
    first = plan.settings[0]
    return {
        "recipe": "curricula",
        "version": __version__,
        "config": asdict(plan.config),
        "seeds": [setting.seed for setting in plan.settings],
        "data": {
            "name": first.source.name,
            "classes": list(first.source.classes),
            "train_rows": len(first.roles["train"]),
            "trusted_rows": len(first.roles["trusted"]),
            "test_rows": first.test_rows,
            "shape": list(first.source.x.shape[1:]),
        },
        "noise": {
            "convention": first.noise.convention,
            "requested": plan.config.noise,
            "expected": first.noise.expected,
            "realised": [setting.noise.realised for setting in plan.settings],
        },
        "training": {
            "epochs": plan.training.epochs,
            "batch_size": plan.training.batch_size,
            "stacked": {name: outcome.stacked for name, outcome in outcomes.items()},
        },
        "order": list(plan.names),
        "about": {name: about(name) for name in plan.names},
        "arms": {arm: {metric: summary(v) for metric, v in metrics.items()} for arm, metrics in values.items()},
        "per_class": {name: per_class_summary(records, first.source.classes) for name, records in picked.items()},
        "comparisons": [
            paired(arm, base, "accuracy", values[arm]["accuracy"], values[base]["accuracy"])
            for base in BASELINES
            if base in values
            for arm in values
            if arm != base
        ],
        "environment": dict(environment),
        "seconds": {name: outcome.seconds for name, outcome in outcomes.items()},
    }
