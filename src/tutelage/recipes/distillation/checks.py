"""What is refused before anything is trained: arms without a lesson, teachers and caches that cannot be."""

from collections.abc import Mapping
from pathlib import Path

from ...errors import ConfigError, ShapeError
from ..distilling import Setting
from ..distilling.options import Chosen
from ..distilling.students import from_file
from ..ranges import flag
from .options import TAUGHT, pairs_of

_ALL_LOGITS = ("logits", "noisy", "dkd", "dist", "lskd", "dkpp", "cwtm")


def check_arms(names: tuple[str, ...], options: Chosen, classes: int) -> None:
    """Refuse arms that the options leave nothing to do, or that lack what they need.

    Args:
        names: of the arms.
        options: with nothing left to choose.
        classes: how many the data has.

    Raises:
        ConfigError: naming the option.
    """
    if {"hints", "attention"} & set(names):
        pairs_of(options.hint_layers)
    if "noisy" in names and options.noise_stage != "dropout" and not options.noise_sigma * options.noise_probability:
        raise ConfigError("--noise-sigma or --noise-probability 0 makes noisy the same as logits; leave it out.")
    for name in names:
        _check_lesson(name, options)
        if classes == 2 and (what := _lost_of_two(name, options)) is not None:
            raise ConfigError(f"with two classes {what}; leave {name} out, or use kd.")
        if options.cache_top_k is not None and name in _ALL_LOGITS:
            raise ConfigError(f"{name} needs all of the teacher's logits; leave --cache-top-k out, or the arm.")
    if options.cache_top_k is not None and "hard-labels" in names and options.hard_threshold:
        raise ConfigError(
            "--hard-threshold needs the teacher's probabilities, all its logits; leave --cache-top-k out."
        )


def _check_lesson(name: str, options: Chosen) -> None:
    """Refuse weights that leave an arm nothing to learn from, or from the labels alone."""
    for option, arm in (("hard_threshold", "hard-labels"), ("smoothing", "label-smoothing")):
        if name == arm and getattr(options, option) == 1:
            raise ConfigError(f"{flag(option)} 1 leaves {arm} nothing to learn from; give less.")
    of_teacher, of_labels = _weights(name, options)
    if not of_teacher or any(getattr(options, option) for option in of_teacher):
        return
    zero = " and ".join(map(flag, of_teacher))
    if of_labels is not None and not getattr(options, of_labels):
        raise ConfigError(f"{flag(of_labels)} and {zero} are both 0, which leaves {name} nothing to learn from.")
    raise ConfigError(f"{zero} 0 makes {name} the same as scratch; leave it out.")


def _weights(name: str, options: Chosen) -> tuple[tuple[str, ...], str | None]:
    """The options that weigh the teacher in an arm, and the one that weighs the labels, if there are any."""
    match name:
        case "label-smoothing":
            return ("smoothing",), None
        case "kd" | "kd-t1" | "ensemble":
            return ("kd_weight",), "ce_weight"
        case "noisy" if options.noise_loss == "kd":
            return ("kd_weight",), "ce_weight"
        case "dkd":
            return ("dkd_target_weight", "dkd_others_weight"), None
        case "dist":
            return ("dist_beta", "dist_gamma"), None
        case "lskd":
            return ("lskd_weight",), "lskd_ce_weight"
        case "hints" | "attention":
            own = "hint_weight" if name == "hints" else "attention_weight"
            return ((own,), None) if options.hint_loss == "labels" else ((own, "kd_weight"), "ce_weight")
    return (), None


def _lost_of_two(name: str, options: Chosen) -> str | None:
    """What of an arm is lost if there are two classes."""
    matched = name == "logits" or (name == "noisy" and options.noise_loss == "logits")
    if name == "dkd":
        return "there are no others to weigh beside the label's"
    if name == "lskd" or (matched and options.logits_normalise == "zscore"):
        return "standardised logits are always 1 and -1, from which nothing can be learned"
    if name == "dist" and not options.dist_gamma:
        return "correlations within a row are always 1 or -1, from which nothing can be learned"
    return None


def check_networks(options: Chosen, setting: Setting, names: tuple[str, ...]) -> None:
    """Refuse a teacher that cannot be, or answers with other classes than the student.

    Raises:
        ConfigError, ShapeError, DataError: naming it, or the layers of the file.
    """
    if not set(names) & set(TAUGHT):
        return
    try:
        if options.teacher_weights is None:
            setting.net(options.teacher, "teacher")
        else:
            from_file(setting, options)
    except (ConfigError, ShapeError) as error:
        more = f" Teacher and student both answer with the {setting.classes} classes of {setting.source.name}."
        line = str(error).replace("student", "teacher", 1)
        raise type(error)(line + (more if "returned" in line else "")) from error


def check_cache(options: Chosen, setting: Setting, live: Mapping[str, str]) -> None:
    """Refuse a cache that cannot be.

    Args:
        options: with nothing left to choose.
        setting: of a seed.
        live: arms that no file can answer, and why.

    Raises:
        ConfigError: naming the option.
    """
    if options.cache and options.cache_mode == "force":
        _check_force(setting, live)
    if options.cache_top_k is not None and options.cache_top_k > setting.classes:
        raise ConfigError(
            f"--cache-top-k is {options.cache_top_k}, but {setting.source.name} has {setting.classes} classes; give "
            "fewer, or leave it out to keep all."
        )
    if options.cache_path is not None and Path(options.cache_path).is_dir():
        raise ConfigError(f"--cache-path {options.cache_path} is a folder; name a file.")
    if options.cache_path is not None and options.seeds > 1 and options.teacher_weights is None:
        raise ConfigError(
            "--cache-path is for one teacher, but each seed has its own; give --seeds 1, or leave it out."
        )
    if options.cache_path is not None and options.seeds > 1:
        raise ConfigError("--cache-path is for the rows of one seed; give --seeds 1, or leave it out.")


def _check_force(setting: Setting, live: Mapping[str, str]) -> None:
    if live:
        told = "; ".join(f"{name} ({reason})" for name, reason in live.items())
        raise ConfigError(
            f"--cache-mode force, but no file can answer for {told}; leave {'them' if len(live) > 1 else 'it'} out of "
            "--arms, or use --cache-mode auto."
        )
    if setting.moves and setting.views is None:
        raise ConfigError(
            "--cache-mode force, but crops and flips are drawn anew in each pass, so that answers cannot be kept: give "
            "--cache-views 8 for eight fixed views of each row, or --augment none, or leave it out."
        )
