"""What the options of the recipes on pseudo labels may not be."""

from dataclasses import asdict, fields

from ...errors import ConfigError
from ..options import names_of
from ..ranges import check_rule, flag, within
from .arms import ARMS, ONLY
from .options import Chosen, Options

_COUNTS = ("seeds", "steps", "batch_size", "labelled_batch", "rounds", "evaluations", "finetune_batch", "threads")
_FROM_0 = ("warmup", "wait", "uda_ramp", "finetune_steps")
_SIZES = ("teacher_lr", "student_lr", "teacher_weight_decay", "student_weight_decay", "finetune_lr")
_SHARES = ("uda_threshold", "label_threshold", "offline_threshold", "ema")
_MOST = {"seeds": 1000, "threads": 1024, "rounds": 100, "steps": 10**8}


def check(options: Options) -> None:
    """Refuse values outside their ranges, and options that none of the arms uses.

    Raises:
        ConfigError: naming the option.
    """
    for name in (*_COUNTS, *_FROM_0):
        within(options, name, int(name in _COUNTS), _MOST.get(name, 10**8))
    for name in (*_SIZES, "checkpoint_seconds"):
        within(options, name, 0, 10**6)
    for name in _SHARES:
        within(options, name, 0, 1)
    for name in ("teacher_rule", "student_rule"):
        check_rule(options, name)
    if not 0 <= options.first_seed < 2**62:
        raise ConfigError(f"--first-seed is {options.first_seed}; it must be in 0..2^62.")


def check_arms(options: Chosen) -> tuple[str, ...]:
    """Return the arms.

    Raises:
        ConfigError: for an unknown one, or one of which the weights leave nothing.
    """
    names = names_of(options.teachers, ARMS, "teacher")
    if not options.uda_weight:
        for name in names:
            if name in ("uda", "uda-2"):
                raise ConfigError(f"--uda-weight 0 makes {name} the same as supervised; leave it out of --teachers.")
    for name in names:
        option = "scalar_weight" if name == "mpl-scalar" else "meta_weight"
        if ARMS[name].meta and getattr(options, option) == 0:
            raise ConfigError(f"{flag(option)} 0 makes {name} the same as distil; leave it out of --teachers.")
    if max(options.wait, 0) >= options.steps and any(ARMS[name].mode for name in names):
        raise ConfigError(f"--wait {options.wait} leaves the student none of the {options.steps} steps.")
    return names


def check_used(given: Options, options: Chosen, names: tuple[str, ...]) -> None:
    """Refuse an option that was given, but that none of the arms looks at, or that another option makes idle.

    Raises:
        ConfigError: naming both.
    """
    usual, idle = asdict(type(given)()), _idle(options, names)
    for field in fields(given):
        if getattr(given, field.name) == usual[field.name]:
            continue
        arms = ONLY.get(field.name)
        if arms is not None and not set(arms) & set(names):
            raise ConfigError(f"{flag(field.name)} is of {', '.join(arms)}; none of them is among --teachers.")
        if field.name in idle:
            raise ConfigError(f"{flag(field.name)} does nothing with {idle[field.name]}; leave it out.")


def _idle(options: Chosen, names: tuple[str, ...]) -> dict[str, str]:
    """Options that do nothing, and what makes them idle."""
    idle = {}
    if options.rates != "warm-cosine":
        idle["warmup"] = f"--rates {options.rates}"
    taught = any(ARMS[name].kind == "taught" for name in names)
    if "sgd" not in {options.teacher_rule, options.student_rule if taught else "none"}:
        idle["momentum"] = f"--teacher-rule {options.teacher_rule}" + " and --student-rule without sgd" * taught
    if options.mask != "threshold":
        idle |= dict.fromkeys(("mask_on", *["uda_threshold"] * (options.mask != "flexmatch")), f"--mask {options.mask}")
    if not options.uda_weight:
        of_uda = ("uda_temperature", "uda_threshold", "uda_ramp", "mask_on", "mask")
        idle |= dict.fromkeys(of_uda, "--uda-weight 0")
    if not options.ema:
        idle["ema_warm"] = "--ema 0"
    if not options.finetune_steps:
        idle |= dict.fromkeys(("finetune_lr", "finetune_batch"), "--finetune-steps 0")
    return idle
