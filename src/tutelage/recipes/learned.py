"""Teachers that learn from validation rows, for a recipe: made by options, carried on, frozen, kept and found again."""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..checkpoint import without_prefix
from ..errors import ConfigError, DataError, unknown
from ..hypergradient import Hypergradient, OneStep, Recompute, Reversible, Unrolled
from ..hypergradient.reversible import undoable_steps
from ..rules import SGD, Adam
from ..runs import RunFolder
from ..teacher import Teacher
from ..teacher_files import load_teacher, save_teacher
from ..teachers import DeepInteractions, DynamicLoss, KeepMask, LearningToReweight, MetaWeightNet
from ..teachers.select.keep_mask import STATE
from .experiment import Setting
from .outcome import Outcome
from .plan import Plan
from .schedule import Schedule
from .schooling import Schooling
from .trajectory import Trajectory

STRATEGIES: Mapping[str, Callable[[], Hypergradient] | None] = {
    "auto": None,
    "unrolled": Unrolled,
    "recompute": Recompute,
    "reversible": Reversible,
    "one-step": OneStep,
    "finite-difference": partial(OneStep, "fd"),
}
"""Ways to the hypergradient by name; the last two are for one step."""
KINDS: Mapping[str, tuple[str, bool]] = {
    "meta-weight-net": ("meta-weight-net", False),
    "meta-weight-net-1": ("meta-weight-net", True),
    "surface": ("surface", False),
    "deep": ("deep", False),
    "deep-1": ("deep", True),
    "bilinear": ("bilinear", False),
    "dynamic-loss": ("dynamic-loss", False),
    "keep-mask": ("keep-mask", False),
}
"""Arms that learn a teacher: what it is, and whether it looks a single step ahead."""
TRANSFERRED = ("deep", "bilinear", "surface", "meta-weight-net")
"""Arms whose teachers are also tried frozen."""
FRESH = 1_000_000
"""The initialisation of students that no teacher has seen."""
ALL_ROWS = 8192
"""Most validation rows that a trajectory hands to its teacher, which draws from them."""
SCHOOL = "keep-mask-episodes"
"""The trajectory in which the teacher of keep-mask learns."""
_SEEN = tuple(name for name in STATE if name != "best_accuracy")
"""What keep-mask sees: nobody looks at the validation rows while the student that counts is trained."""
_FILE = re.compile(r"(.+)-seed-(\d+)\.safetensors")


@dataclass(frozen=True)
class Maker:
    """Makes the teacher of an arm.

    Attributes:
        config: the options; those of learning are in the recipe.
        arm: one of :data:`KINDS`.
        frozen: take what was learned before, and learn no more.
    """

    config: Any
    arm: str
    frozen: bool = False

    def __call__(self, setting: Setting, needed: Outcome | None) -> Teacher:
        """Return the teacher of a seed, as the trajectory before left it if there was one."""
        if self.config.teacher_from is not None:
            teacher = found_teacher(Path(self.config.teacher_from), self.arm, setting.seed)
        else:
            teacher = self.untaught(setting)
            if needed is not None:
                state = without_prefix(f"teacher.{setting.seed - self.config.first_seed}", needed.tensors)
                teacher.load_state_dict(state)
        return _frozen(teacher) if self.frozen else teacher

    def untaught(self, setting: Setting) -> Any:
        """Return a teacher that has learned nothing yet."""
        config = self.config
        kind, single = KINDS[self.arm]
        options = _looking(config, single)
        if kind == "dynamic-loss":
            rule = Adam(_or(config.teacher_lr, 5e-2), weight_decay=_or(config.teacher_decay, 0.0))
            return DynamicLoss(setting.source.num_classes, seed=setting.seed, **options | {"rule": rule})
        if kind == "keep-mask":
            lr = _or(config.teacher_lr, 1e-2)
            return KeepMask(setting.source.num_classes, state=_SEEN, lr=lr, seed=setting.seed)
        options |= {"normalise": config.teacher_normalise, "seed": setting.seed}
        if kind == "meta-weight-net":
            return MetaWeightNet(**options)
        student = setting.student(config.student, SGD(0.1))
        batch = setting.trusted_batch(4)
        return DeepInteractions.for_student(student, batch, kind, layers=layers_of(config), **options)  # type: ignore[arg-type]


def trajectories(config: Any) -> list[Trajectory]:
    """Return the ways of training with teachers that learn from validation rows, by the options."""

    def reweight(setting: Setting, needed: Outcome | None) -> Teacher:
        return LearningToReweight(setting.trusted_batch(ALL_ROWS), validation_rows=config.validation_rows)

    found = [Trajectory("l2rw", reweight, validation=ALL_ROWS)]
    for arm in KINDS:
        if config.teacher_from is not None:
            found.append(Trajectory(arm, Maker(config, arm, True), validation=ALL_ROWS, initialisation=FRESH))
        elif arm == "keep-mask":
            found += _schooled(config, arm)
        else:
            found += _episodes(config, arm)
    for arm in TRANSFERRED:
        frozen = Maker(config, arm, True)
        found.append(Trajectory(f"{arm}-frozen", frozen, needs=arm, validation=ALL_ROWS, initialisation=FRESH))
        found.append(Trajectory(f"{arm}-frozen-same", frozen, needs=arm, validation=ALL_ROWS))
    return found


def layers_of(config: Any) -> tuple[str, ...]:
    """Return the names of layers that teachers read, none for the input of the last linear layer."""
    return tuple(name.strip() for name in (config.layers or "").split(",") if name.strip())


def keep(plan: Plan, outcomes: Mapping[str, Outcome], folder: RunFolder) -> dict[str, list[str]]:
    """Save the teachers that were learned, as they ended; return the files by arm, a seed each."""
    files: dict[str, list[str]] = {}
    config: Any = plan.options
    if config.teacher_from is not None:
        return files
    for arm in plan.names:
        if arm not in KINDS:
            continue
        files[arm] = [f"teachers/{arm}-seed-{setting.seed}.safetensors" for setting in plan.settings]
        (folder.path / "teachers").mkdir(exist_ok=True)
        for s, (setting, file) in enumerate(zip(plan.settings, files[arm])):
            teacher = Maker(config, arm).untaught(setting)
            teacher.load_state_dict(without_prefix(f"teacher.{s}", outcomes[arm].tensors))
            save_teacher(teacher, folder.path / file, _origin(plan, outcomes[arm], s))
    return files


def found_teacher(path: Path, arm: str, seed: int) -> Any:
    """Return a saved teacher for an arm: of a file, or of a run folder that of the seed, or those there in turn.

    Raises:
        DataError: if there is none, or the file is damaged.
        ConfigError: if it is of another kind than the arm.
    """
    teacher = load_teacher(_in_folder(path, arm, seed) if path.is_dir() else path)
    kind, needed = kind_of(teacher), KINDS[arm][0]
    if kind != needed:
        raise ConfigError(f"{path} holds a {kind} teacher, but the arm {arm} needs a {needed} one; see --teachers.")
    return teacher


def kind_of(teacher: Teacher) -> str:
    """Return what a learned teacher is, in the names of arms."""
    if isinstance(teacher, DeepInteractions):
        return teacher.form
    names = {
        MetaWeightNet: "meta-weight-net",
        DynamicLoss: "dynamic-loss",
        KeepMask: "keep-mask",
        LearningToReweight: "l2rw",
    }
    return names.get(type(teacher), type(teacher).__name__)


def check(config: Any) -> None:
    """Refuse options of learning that cannot work.

    Raises:
        ConfigError: naming the option.
    """
    for name in ("look_ahead", "every", "validation_rows", "episodes"):
        if not 1 <= getattr(config, name) <= 10**6:
            shown = name.replace("_", "-")
            raise ConfigError(f"--{shown} is {getattr(config, name)}; it must be in 1..1000000.")
    for name in ("teacher_lr", "teacher_decay"):
        value = getattr(config, name)
        if value is not None and not 0 <= value <= 1e6:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be in 0..1000000.")
    if config.strategy not in STRATEGIES:
        raise ConfigError(unknown("strategy", config.strategy, STRATEGIES))
    if config.strategy in ("one-step", "finite-difference") and config.look_ahead > 1:
        raise ConfigError(
            f"--strategy {config.strategy} looks one step ahead, not {config.look_ahead}; pass --look-ahead 1."
        )
    if config.strategy == "reversible":
        _check_reversible(config)
    if config.teacher_from is None:
        return
    if config.episodes > 1:
        raise ConfigError("--teacher-from uses a teacher as it is; leave out --episodes.")
    if "-frozen" in config.teachers:
        raise ConfigError("--teacher-from freezes its teachers anyway; name the arms without -frozen.")


def _check_reversible(config: Any) -> None:
    if config.virtual_step == "plain":
        raise ConfigError("--strategy reversible undoes steps with momentum; leave out --virtual-step plain.")
    longest = undoable_steps(torch.float32, Schedule.momentum)
    if config.look_ahead > longest:
        raise ConfigError(
            f"--strategy reversible drifts too far over {config.look_ahead} steps; pass --look-ahead {longest} or "
            "less, or --strategy recompute."
        )


def _episodes(config: Any, arm: str) -> list[Trajectory]:
    """Return the students that a teacher is carried over; the last one, which counts, starts as those of all arms."""
    found: list[Trajectory] = []
    for episode in range(1, config.episodes + 1):
        name = arm if episode == config.episodes else f"{arm}-episode-{episode}"
        needs = found[-1].name if found else None
        first = config.episodes - episode
        found.append(Trajectory(name, Maker(config, arm), needs=needs, validation=ALL_ROWS, initialisation=first))
    return found


def _schooled(config: Any, arm: str) -> list[Trajectory]:
    """Return the episodes that a teacher learns over, and the student that counts, which it teaches frozen."""
    school = Schooling(config.keep_episodes, config.tau, config.keep_budget, config.keep_accumulate, ALL_ROWS)
    return [
        Trajectory(SCHOOL, Maker(config, arm), school=school),
        Trajectory(arm, Maker(config, arm, True), needs=SCHOOL),
    ]


def _looking(config: Any, single: bool) -> dict[str, Any]:
    make = STRATEGIES[config.strategy]
    return {
        "steps": 1 if single else config.look_ahead,
        "every": 1 if single else config.every,
        "window": config.window,
        "inputs": config.inputs,
        "look_ahead": config.virtual_step,
        "strategy": None if make is None else make(),
        "rule": Adam(_or(config.teacher_lr, 1e-2), weight_decay=_or(config.teacher_decay, 1e-4)),
        "validation_rows": config.validation_rows,
    }


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _frozen(teacher: Any) -> Teacher:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the run compares it with uniform weights, as the warning asks
        teacher.freeze()
    assert isinstance(teacher, Teacher)
    return teacher


def _in_folder(path: Path, arm: str, seed: int) -> Path:
    levels = sorted(folder.name for folder in path.glob("noise-*") if (folder / "teachers").is_dir())
    if levels:
        raise DataError(f"{path} is a run over several kinds of noise; name one of its folders: {', '.join(levels)}.")
    names = [m for p in sorted((path / "teachers").glob("*")) if (m := _FILE.fullmatch(p.name))]
    found = {int(m[2]): path / "teachers" / m[0] for m in names if m[1] == arm}
    if not found:
        known = ", ".join(sorted({m[1] for m in names})) or "none at all"
        raise DataError(f"{path} has no teacher of the arm {arm}; it has {known}. Pass --teachers with what it has.")
    seeds = sorted(found)
    return found[seed if seed in found else seeds[seed % len(seeds)]]


def _origin(plan: Plan, outcome: Outcome, position: int) -> dict[str, Any]:
    setting, last = plan.settings[position], outcome.records[position][-1]
    return {
        "data": setting.source.name,
        "student": plan.options.student,
        "noise": setting.noise.convention,
        "seed": setting.seed,
        "accuracy": last["accuracy"],
        "auc": last["auc"],
        "tutelage": __version__,
    }
