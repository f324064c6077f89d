"""Options of the recipe distillation."""

from dataclasses import dataclass
from typing import Any, Literal

from ...errors import ConfigError
from ..distilling.options import DIGITS, PUBLISHED, Options, check
from ..ranges import within

KNOWN = (
    *("scratch", "label-smoothing", "hard-labels", "kd", "kd-t1", "logits", "noisy", "dkd", "dist", "lskd"),
    *("born-again", "born-again-ensemble", "cwtm", "dkpp", "mutual", "ensemble", "hints", "attention"),
)
BASELINES = ("scratch", "label-smoothing", "kd")
"""What every arm is compared with, if they are in the run."""


@dataclass(frozen=True)
class Config(Options):
    """Options of the recipe; None means: chosen by the profile, or for the data."""

    arms: str = "scratch,label-smoothing,kd,logits,noisy"
    """Ways to teach the student, separated by commas: scratch, label-smoothing, hard-labels, kd, kd-t1, logits, noisy,
    dkd, dist, lskd, born-again, born-again-ensemble, cwtm, dkpp, mutual, ensemble, hints, attention."""
    class_map: str | None = None
    """For teacher weights of another order of classes: the teacher's class of each of ours, as 2,0,1."""
    teacher_precision: Literal["float32", "bfloat16"] = "float32"
    """In which the teacher answers."""
    temperature: float = 4.0
    """Temperature of kd and ensemble."""
    ce_weight: float = 0.1
    """Weight of the labels in kd, kd-t1 and ensemble."""
    kd_weight: float = 0.9
    """Weight of the teacher in them."""
    smoothing: float = 0.1
    """Of label-smoothing: share of the target that is spread evenly."""
    hard_threshold: float = 0.0
    """Of hard-labels: leave out rows whose label the teacher is less sure of."""
    logits_scale: Literal["mean", "half_sum"] = "mean"
    """Of logits and noisy: squared differences averaged over the classes, or half their sum."""
    logits_center: bool = False
    """Take the mean of each row of logits off."""
    logits_normalise: Literal["none", "teacher_std", "zscore"] = "none"
    """Divide logits by the teacher's spread, or bring each row to mean 0 and variance 1."""
    logits_ce_weight: float = 0.0
    """Weight of the labels in logits and noisy."""
    noise_probability: float = 0.5
    """Of noisy: share of the examples whose answer is disturbed."""
    noise_sigma: float = 0.3
    """Standard deviation of the disturbance."""
    noise_mode: Literal["multiplicative", "additive"] = "multiplicative"
    """Logits times 1 + noise, or plus noise."""
    noise_stage: Literal["logits", "inputs", "dropout"] = "logits"
    """What is disturbed: the teacher's logits, its inputs, or its hidden units by its own dropout."""
    noise_loss: Literal["logits", "kd"] = "logits"
    """What noisy answers are for: logit matching, or the loss of kd."""
    dkd_target_weight: float = 1.0
    """Of dkd: weight of the target class against the others."""
    dkd_others_weight: float = 8.0
    """Weight of the other classes among themselves; published 2 to 8, by pair of networks."""
    dkd_temperature: float = 4.0
    """Temperature of dkd."""
    dkd_warm_up: float | None = None
    """Share of training in which the teacher's weight grows; default: 0, published 20 of 240 epochs."""
    dist_beta: float = 2.0
    """Of dist: weight of correlations within a row."""
    dist_gamma: float = 2.0
    """Weight of correlations within a class over the batch."""
    dist_temperature: float = 1.0
    """Temperature of dist."""
    lskd_temperature: float = 2.0
    """Base temperature of lskd."""
    lskd_ce_weight: float = 0.1
    """Weight of the labels in lskd."""
    lskd_weight: float = 9.0
    """Weight of the teacher in it."""
    generations: int = 3
    """Of born-again: networks of the student's own kind, each taught by the one before, after one by labels alone."""
    peers: int = 2
    """Of mutual: students that teach each other; the first one counts."""
    peer_net: str | None = None
    """Network of the other peers; default: the student's."""
    peer_order: Literal["simultaneous", "sequential"] = "simultaneous"
    """Peers step at once, or one after the other."""
    teachers_in_ensemble: int = 3
    """Of ensemble: so many teachers, each with a start and an order of its own."""
    ensemble_average: Literal["probs", "logits"] = "probs"
    """What is averaged: probabilities at the temperature, or logits."""
    hint_layers: str | None = None
    """Of hints and attention: pairs of layers teacher:student, as named_modules gives their names, as
    layer2:layer1,layer3:layer2."""
    hint_weight: float = 100.0
    """Of hints: weight of the regression."""
    attention_weight: float = 1000.0
    """Of attention: weight of the maps."""
    hint_loss: Literal["labels", "kd"] = "labels"
    """What stands beside them: the labels' cross-entropy, or the loss of kd."""
    cache: bool = False
    """Keep the teacher's answers on disk, and use them where they were kept."""
    cache_mode: Literal["auto", "off", "force"] = "auto"
    """With --cache: live where answers cannot be kept, and said so; never from disk; or an error."""
    cache_path: str | None = None
    """The file of the cache, of a run with one seed, in place of one in the cache folder with the name of its
    content."""
    cache_dtype: Literal["float16", "float32", "bfloat16"] = "float16"
    """How a logit is stored."""
    cache_views: int | None = None
    """With --cache and random crops: so many fixed views of each row, which the passes of all students go through in
    turn; default: one for each of up to 8 passes, the same rows as without; of more passes none can be kept."""
    cache_top_k: int | None = None
    """Store the largest so many logits of a row, for kd at temperatures 1, 2 and 4."""
    export: str | None = None
    """Write the student of the first seed to this .safetensors or .onnx file as well."""
    export_arm: str | None = None
    """Whose student; default: kd, or the last arm."""


_WITHOUT = ("scratch", "label-smoothing", "born-again", "born-again-ensemble", "mutual")
TAUGHT = tuple(name for name in KNOWN if name not in _WITHOUT)
"""Arms that need the teacher."""

PROFILES = {
    "digits": DIGITS.but(dkd_warm_up=0.0),
    "published": PUBLISHED.but(dkd_warm_up=20 / 240),
}
_WEIGHTS = (
    *("ce_weight", "kd_weight", "logits_ce_weight", "noise_sigma", "dkd_target_weight", "dkd_others_weight"),
    *("dist_beta", "dist_gamma", "lskd_ce_weight", "lskd_weight", "hint_weight", "attention_weight"),
)


def check_given(given: Config) -> None:
    """Refuse values outside their ranges.

    Raises:
        ConfigError: naming the option.
    """
    check(given)
    for name in ("temperature", "dkd_temperature", "dist_temperature", "lskd_temperature"):
        within(given, name, 0, 1000, above=True)
    for name in _WEIGHTS:
        within(given, name, 0, 10**6)
    for name in ("smoothing", "hard_threshold", "noise_probability", "dkd_warm_up"):
        within(given, name, 0, 1)
    within(given, "generations", 1, 100)
    within(given, "peers", 2, 100)
    within(given, "teachers_in_ensemble", 2, 100)
    within(given, "cache_views", 0, 10**4)
    within(given, "cache_top_k", 1, 10**6)


def pairs_of(text: str | None) -> tuple[tuple[str, str], ...]:
    """Read pairs of layers, teacher:student, separated by commas.

    Raises:
        ConfigError: if it reads otherwise.
    """
    parts = [part.strip().split(":") for part in (text or "").split(",") if part.strip()]
    if not parts or any(len(pair) != 2 or not all(pair) for pair in parts):
        raise ConfigError(
            f'--hint-layers is "{text or ""}"; hints and attention need pairs of layers teacher:student, such as '
            "layer2:layer1,layer3:layer2."
        )
    return tuple((teacher, student) for teacher, student in parts)


def class_map_of(text: str | None, classes: int) -> tuple[int, ...] | None:
    """Read an order of classes.

    Raises:
        ConfigError: if it does not name each class once.
    """
    if text is None:
        return None
    parts: list[Any] = [part.strip() for part in text.split(",")]
    if sorted(parts) != sorted(map(str, range(classes))):
        raise ConfigError(f"--class-map is {text}; it needs each of the {classes} classes 0..{classes - 1} once.")
    return tuple(map(int, parts))
