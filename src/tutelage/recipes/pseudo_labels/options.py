"""Options of the recipes on pseudo labels, and what each profile chooses for those that are not given."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from ...errors import ConfigError
from ..options import on_this_machine

Chosen: TypeAlias = Any
"""Options of which nothing is left to choose; the type checker cannot know which of them are no longer None."""


@dataclass(frozen=True)
class Options:
    """Options of both recipes; None means: chosen by the profile, for the data or the number of steps."""

    teachers: str | None = None
    """Arms to compare, separated by commas: supervised, offline, uda, uda-2, distil, mpl-soft, mpl-per-sample,
    mpl-scalar, mpl-wrong-sign."""
    seeds: int | None = None
    """Number of seeds; each draws its own labelled rows, batches and initial networks, shared by all arms; default: 5,
    published 1."""
    first_seed: int = 0
    """The first seed."""
    steps: int | None = None
    """Steps of training; default: 800, published 300,000, two-moons 2,000."""
    batch_size: int | None = None
    """Unlabelled examples a step; default: 128, published 7 for each labelled one, two-moons 256."""
    labelled_batch: int | None = None
    """Labelled examples a step; default: all, published a thirtieth of them, at least 16 and at most 128."""
    replacement: bool | None = None
    """Draw unlabelled examples with replacement, not pass by pass; default: yes, published no."""
    student: str | None = None
    """Network: mlp, mlp-W1-W2, cnn, lenet, resnetD, wrn-D-W, or your own as package.module:function; default:
    mlp-64-64, published wrn-28-2, two-moons two layers of 16 with tanh."""
    teacher_net: str | None = None
    """Network of the teacher, and of arms without a student; default: as the student's."""
    init: Literal["he", "default"] | None = None
    """Initial weights: N(0, 2 / fan-in) and no biases, or the network's own; default: he, else the network's own."""
    teacher_rule: str | None = None
    """Update rule of the teacher: adam, adamw or sgd (Nesterov); default: adamw, published sgd, two-moons adam."""
    teacher_lr: float | None = None
    """Its learning rate; default: 0.002, published 0.1 labelled batch / 256, two-moons 0.01."""
    teacher_weight_decay: float | None = None
    """Its weight decay, on weight matrices and kernels only; default: 0.001, published 0.0005, two-moons 0."""
    student_rule: str | None = None
    """Update rule of the student: adam, adamw or sgd; default: sgd."""
    student_lr: float | None = None
    """Its learning rate; default: 0.5, published 0.1 labelled batch / 256."""
    student_weight_decay: float | None = None
    """Its weight decay; default: 0, published 0.0005."""
    momentum: float | None = None
    """Nesterov momentum of sgd, in [0, 1); default: 0, published 0.9."""
    rates: Literal["cosine", "warm-cosine", "constant"] | None = None
    """Learning rates: half a cosine to 0, which a waiting student joins late; up in a line first, which it starts
    late; or constant. Default: cosine, published warm-cosine, two-moons constant."""
    warmup: int | None = None
    """Steps of the line of warm-cosine; default: a sixtieth of the steps."""
    wait: int | None = None
    """Steps before the student begins; default: a quarter of the steps, published a hundredth, two-moons 0."""
    meta_weight: float = 1.0
    """Weight of the meta-gradient in mpl-soft and mpl-per-sample; mpl-wrong-sign has minus it."""
    scalar_weight: float | None = None
    """Weight of the meta-gradient in mpl-scalar; default: 0.3, published and two-moons 1."""
    supervised_weight: float = 1.0
    """Weight of the teacher's own labelled loss in distil and mpl-*; 0 with --uda-weight 0: labels reach it through
    the student only."""
    temperature: float = 1.0
    """Of the labels that the student gets."""
    label_view: Literal["weak", "strong"] | None = None
    """The view that the teacher labels; default: weak, published strong."""
    student_view: Literal["weak", "strong"] | None = None
    """The view that the student studies; default: strong, two-moons weak."""
    uda_weight: float | None = None
    """Weight of the consistency term of all arms but supervised and offline; default: 4, published 8, two-moons 30."""
    uda_temperature: float | None = None
    """Temperature of its targets; default: 0.7, two-moons 0.5."""
    uda_threshold: float | None = None
    """Least confidence that counts; default: 0.95, published 0.6, two-moons 0."""
    uda_ramp: int | None = None
    """Steps over which its weight grows; default: 3/8 of the steps, published a sixtieth, two-moons a quarter."""
    mask_on: Literal["sharpened", "plain"] = "sharpened"
    """Which probabilities the threshold looks at: after or before the temperature."""
    mask: Literal["threshold", "flexmatch", "freematch", "softmatch"] = "threshold"
    """A fixed threshold, or one that adapts."""
    tsa: Literal["none", "linear", "exp", "log"] = "none"
    """Training signal annealing: release labelled examples slowly."""
    label_smoothing: float | None = None
    """Of the teacher's labelled loss, in [0, 1); default: 0, published 0.15."""
    student_smoothing: float = 0.0
    """Of the labels that the student gets, in [0, 1)."""
    label_threshold: float = 0.0
    """The student of distil and mpl-* studies only labels at least so sure."""
    soft: Literal["jvp", "unroll", "fd"] = "jvp"
    """How mpl-soft and mpl-wrong-sign find their gradient: forward mode, reverse mode, or two more passes."""
    baseline: float = 0.99
    """mpl-scalar: share of the moving average of the credit that is kept at a step."""
    credit: Literal["auto", "difference", "dot", "average"] = "auto"
    """mpl-scalar: how the credit is found."""
    scale: Literal["sum", "mean"] = "sum"
    """mpl-scalar: over the batch; sum is unbiased, mean the paper's."""
    sample: bool = True
    """mpl-per-sample, mpl-scalar: draw labels; no: take the most probable ones, which is biased."""
    offline_labels: Literal["hard", "soft"] = "hard"
    """offline: classes or probabilities."""
    offline_threshold: float = 0.0
    """offline: leave out rows whose label is less sure."""
    balance: bool = False
    """offline: weigh rows so that every predicted class counts the same."""
    rounds: int = 1
    """offline: how often a student labels for the next one."""
    ema: float | None = None
    """Decay of the student's moving average, which is evaluated; 0: none; default: 0.99, published 0.995, two-moons
    0."""
    ema_warm: bool | None = None
    """Let the decay grow from 0.1; default: no, published yes."""
    finetune_steps: int | None = None
    """Steps of the average on labelled examples alone, at the end; default: a quarter of the steps, published a
    three-hundredth, two-moons 0."""
    finetune_lr: float | None = None
    """Learning rate of these, by plain sgd; default: 0.02, published 0.00001."""
    finetune_batch: int | None = None
    """Labelled examples a step of these; default: all, 512 at most."""
    evaluations: int = 20
    """How often students are tested during training."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto: cuda if there is one."""
    threads: int | None = None
    """Threads of a CPU operation; default: PyTorch's choice."""
    checkpoint_seconds: float = 30.0
    """Least time between two checkpoints."""


@dataclass(frozen=True)
class Profile:
    """What options become that are not given.

    Attributes:
        values: by option.
        shares: of the steps, by option; rounded up.
    """

    values: Mapping[str, Any]
    shares: Mapping[str, float]


_LADDER = "supervised,offline,uda,uda-2,distil,mpl-soft,mpl-per-sample,mpl-scalar,mpl-wrong-sign"
_PLAIN = {
    "seeds": 5,
    "momentum": 0.0,
    "student_rule": "sgd",
    "student_lr": 0.5,
    "student_weight_decay": 0.0,
    "replacement": True,
    "label_view": "weak",
    "label_smoothing": 0.0,
    "ema_warm": False,
    "finetune_lr": 0.02,
}
DIGITS = Profile(
    _PLAIN
    | {
        "teachers": _LADDER,
        "steps": 800,
        "batch_size": 128,
        "student": "mlp-64-64",
        "init": "he",
        "teacher_rule": "adamw",
        "teacher_lr": 2e-3,
        "teacher_weight_decay": 1e-3,
        "rates": "cosine",
        "student_view": "strong",
        "scalar_weight": 0.3,
        "uda_weight": 4.0,
        "uda_temperature": 0.7,
        "uda_threshold": 0.95,
        "ema": 0.99,
    },
    {"warmup": 1 / 60, "wait": 1 / 4, "uda_ramp": 3 / 8, "finetune_steps": 1 / 4},
)
"""Twenty digits: the settings of our own comparison, for vectors and small images."""
PUBLISHED = Profile(
    {
        "seeds": 1,
        "teachers": "supervised,uda,distil,mpl-soft,mpl-scalar",
        "steps": 300_000,
        "replacement": False,
        "student": "wrn-28-2",
        "init": "default",
        "teacher_rule": "sgd",
        "teacher_weight_decay": 5e-4,
        "student_rule": "sgd",
        "student_weight_decay": 5e-4,
        "momentum": 0.9,
        "rates": "warm-cosine",
        "label_view": "strong",
        "student_view": "strong",
        "scalar_weight": 1.0,
        "uda_weight": 8.0,
        "uda_temperature": 0.7,
        "uda_threshold": 0.6,
        "label_smoothing": 0.15,
        "ema": 0.995,
        "ema_warm": True,
        "finetune_lr": 1e-5,
    },
    {"warmup": 1 / 60, "wait": 1 / 100, "uda_ramp": 1 / 60, "finetune_steps": 1 / 300},
)
"""CIFAR-10 with 4,000 labels: Pham et al., "Meta pseudo labels", CVPR 2021, and its published code."""
MOONS = Profile(
    _PLAIN
    | {
        "teachers": _LADDER,
        "steps": 2000,
        "batch_size": 256,
        "student": "tutelage.recipes.two_moons:tanh_16",
        "init": "default",
        "teacher_rule": "adam",
        "teacher_lr": 1e-2,
        "teacher_weight_decay": 0.0,
        "rates": "constant",
        "student_view": "weak",
        "scalar_weight": 1.0,
        "uda_weight": 30.0,
        "uda_temperature": 0.5,
        "uda_threshold": 0.0,
        "ema": 0.0,
    },
    {"warmup": 1 / 60, "wait": 0.0, "uda_ramp": 1 / 4, "finetune_steps": 0.0},
)


def filled(options: Any, profile: Profile) -> Any:
    """Return options with the profile's values where none were given, on this machine's device."""
    known = {name: value for name, value in profile.values.items() if getattr(options, name) is None}
    options = replace(options, **known)
    free = {n: share for n, share in profile.shares.items() if getattr(options, n) is None}
    shares = {n: math.ceil(round(share * options.steps, 6)) for n, share in free.items()}
    if "wait" in shares:  # at least one step is the student's
        shares["wait"] = min(shares["wait"], options.steps - 1)
    return replace(options, **shares, **on_this_machine(options), teacher_net=options.teacher_net or options.student)


def with_batches(options: Any, labelled: int, pool: int, *, published: bool = False) -> Any:
    """Return options with batch sizes for so many labelled and unlabelled rows, and the rates that follow from them.

    Args:
        options: filled in by a profile.
        labelled: rows.
        pool: unlabelled rows.
        published: whether sizes that are not given are shares of these, as in the published code.

    Raises:
        ConfigError: for a batch of more labelled rows than there are, or a rate or warm-up that does not fit.
    """
    own = options.labelled_batch or (min(max(16, labelled // 30), 128, labelled) if published else labelled)
    fine = options.finetune_batch or min(512, labelled)
    for name, size in (("labelled-batch", own), ("finetune-batch", fine)):
        if size > labelled:
            raise ConfigError(
                f"--{name} {size} is larger than the {labelled} labelled rows; use {labelled} or less, or more labels."
            )
    sizes = {"labelled_batch": own, "finetune_batch": fine, "batch_size": options.batch_size or min(7 * own, pool)}
    rates = {n: 0.1 * own / 256 for n in ("teacher_lr", "student_lr") if getattr(options, n) is None}
    if not options.replacement and sizes["batch_size"] > pool:
        raise ConfigError(
            f"--batch-size {sizes['batch_size']} is larger than the {pool} unlabelled rows; use {pool} or less, or "
            "--replacement."
        )
    return replace(options, **sizes, **rates)
