"""Options that staged recipes share, what each profile chooses for those that are not given, and how they are read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from ...errors import ConfigError
from ..naming import DataOptions, full
from ..options import on_this_machine
from ..ranges import check_rule, within

Chosen: TypeAlias = Any
"""Options of which nothing is left to choose; the type checker cannot know which of them are no longer None."""


@dataclass(frozen=True)
class Common(DataOptions):
    """Options of every staged recipe; None means: chosen by the profile, or for the data."""

    schedule: Literal["auto", "digits", "published"] = "auto"
    """What options become that are not given: as for our comparison on digits, as in the published code for CIFAR, or
    auto: published for colour images of at least 32 pixels a side."""
    seeds: int | None = None
    """Number of seeds; each draws its own split, batches and initial networks, shared by all arms; default: 5,
    published 1."""
    first_seed: int = 0
    """The first seed."""
    test: float | None = None
    """Share held out as test set, if the data has none of its own; default: 0.3322."""
    validation: float = 0.0
    """Share of the other rows that is held out to choose by; 0: none."""
    pick: Literal["last", "validation"] = "last"
    """Which networks count: those after the last step, or those that were best on the validation rows."""
    init: Literal["he", "default"] | None = None
    """Initial weights: N(0, 2 / fan-in) and no biases, or the network's own; default: he, published default."""
    normalise: bool | None = None
    """Bring values to mean 0 and variance 1; default: no for grey images, yes for tables and colour."""
    augment: Literal["auto", "none", "crop-flip"] = "auto"
    """Random crops and flips in training; auto: for colour images of at least 32 pixels a side."""
    pad: int = 4
    """Pixels at each side before a random crop."""
    evaluations: int = 20
    """How often networks are tested during a stage."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto: cuda if there is one."""
    threads: int | None = None
    """Threads of a CPU operation; default: PyTorch's choice."""
    stack: bool = True
    """Train all seeds in one pass where the network allows it."""
    checkpoint_seconds: float = 30.0
    """Least time between two checkpoints."""


@dataclass(frozen=True)
class Options(Common):
    """Options of recipes with a teacher and students; None means: chosen by the profile, or for the data."""

    teacher: str | None = None
    """Network of the teacher: as --student; default: mlp-gelu-256-256-dropout-0.3, published resnet56."""
    teacher_weights: str | None = None
    """Safetensors file with the teacher's weights, which is then not trained."""
    teacher_steps: int | None = None
    """Steps of the teacher's training; default: as many as the student's, or its epochs."""
    teacher_batch: int | None = None
    """Examples a step of it; default: 64."""
    teacher_rule: str | None = None
    """Its update rule: adam, adamw or sgd; default: as the student's."""
    teacher_lr: float | None = None
    """Its learning rate; default: 0.002, published 0.05."""
    teacher_weight_decay: float | None = None
    """Its weight decay; default: as the student's."""
    student: str | None = None
    """Network of the student: mlp[-gelu]-W1-W2[-dropout-P], cnn, lenet, plainD, vggD, resnetD, resnetDxK, wrn-D-W, or
    your own as package.module:function; default: mlp-gelu-16, published resnet20."""
    train_rows: int | None = None
    """The student studies only so many of the training rows; default: 100 of digits, else all."""
    steps: int | None = None
    """Steps of the student's training, in place of --epochs; default: 800."""
    epochs: int | None = None
    """Passes over the rows, of teacher and student; default: published 240."""
    batch_size: int | None = None
    """Examples a step of the student's; default: 32, published 64."""
    rule: str | None = None
    """Update rule of the student: adam, adamw or sgd; default: adamw, published sgd."""
    lr: float | None = None
    """Its learning rate; default: 0.015, published 0.05."""
    weight_decay: float | None = None
    """Its weight decay, on all parameters; default: 0.0001, published 0.0005."""
    momentum: float | None = None
    """Momentum of sgd, in [0, 1); default: 0.9."""
    rates: Literal["one-cycle", "steps", "cosine", "constant"] | None = None
    """Learning rates of teacher and student: up and down in one cycle, divided by 10 at 62.5, 75 and 87.5 % of
    training, half a cosine to 0, or constant; default: one-cycle, published steps."""
    replacement: bool | None = None
    """Draw examples with replacement, not pass by pass; default: yes, published no."""


@dataclass(frozen=True)
class Profile:
    """What options become that are not given.

    Attributes:
        values: by option; those that a recipe does not have are left out.
    """

    values: Mapping[str, Any]

    def but(self, **values: Any) -> "Profile":
        """Return the profile with other values."""
        return Profile({**self.values, **values})


DIGITS = Profile(
    {
        "seeds": 5,
        "test": 0.3322,
        "init": "he",
        "teacher": "mlp-gelu-256-256-dropout-0.3",
        "teacher_batch": 64,
        "teacher_lr": 2e-3,
        "student": "mlp-gelu-16",
        "steps": 800,
        "batch_size": 32,
        "rule": "adamw",
        "lr": 1.5e-2,
        "weight_decay": 1e-4,
        "momentum": 0.9,
        "rates": "one-cycle",
        "replacement": True,
    }
)
"""The settings of our own comparison, for vectors and small images."""
PUBLISHED = Profile(
    {
        "seeds": 1,
        "test": 0.3322,
        "init": "default",
        "teacher": "resnet56",
        "teacher_batch": 64,
        "teacher_lr": 0.05,
        "student": "resnet20",
        "epochs": 240,
        "batch_size": 64,
        "rule": "sgd",
        "lr": 0.05,
        "weight_decay": 5e-4,
        "momentum": 0.9,
        "rates": "steps",
        "replacement": False,
    }
)
"""CIFAR-100 in RepDistiller and mdistiller: Tian et al., "Contrastive representation distillation", ICLR 2020."""

_COUNTS = (
    *("seeds", "steps", "epochs", "batch_size", "teacher_steps", "teacher_batch", "train_rows", "classes", "resize"),
    *("evaluations", "threads", "pad"),
)
_SIZES = ("lr", "teacher_lr", "weight_decay", "teacher_weight_decay", "checkpoint_seconds")
_MOST = {"seeds": 1000, "threads": 1024, "resize": 4096, "pad": 1000}


def filled(options: Any, profile: Profile) -> Any:
    """Return options with the profile's values where none were given, on this machine's device."""
    values = dict(profile.values)
    if getattr(options, "steps", None) is not None or getattr(options, "epochs", None) is not None:
        values.pop("steps", None)
        values.pop("epochs", None)
    known = {n: v for n, v in values.items() if n in options.__dataclass_fields__ and getattr(options, n) is None}
    return replace(options, **known, **on_this_machine(options), data=full(options.data))


def check(options: Any) -> None:
    """Refuse values outside their ranges; options that a recipe does not have are passed over.

    Raises:
        ConfigError: naming the option.
    """
    if not options.data:
        raise ConfigError("--data is empty; give a name, a file or a folder.")
    for name in _COUNTS:
        within(options, name, 1, _MOST.get(name, 10**8))
    for name in _SIZES:
        within(options, name, 0, 10**6)
    within(options, "first_seed", 0, 2**62 - 1)
    for name in ("rule", "teacher_rule"):
        check_rule(options, name)
    if options.test is not None and not 0 < options.test < 1:
        raise ConfigError(f"--test is {options.test}; it is a share of the rows and must lie between 0 and 1.")
    if not 0 <= options.validation < 1:
        raise ConfigError(f"--validation is {options.validation}; it is a share of the rows and must be in [0, 1).")
    if options.pick == "validation" and not options.validation:
        raise ConfigError("--pick validation needs validation rows; give --validation, such as 0.1.")
    momentum = getattr(options, "momentum", None)
    if momentum is not None and not 0 <= momentum < 1:
        raise ConfigError(f"--momentum is {momentum}; it must be in [0, 1).")
    if getattr(options, "steps", None) is not None and getattr(options, "epochs", None) is not None:
        raise ConfigError("give one of --steps and --epochs.")
