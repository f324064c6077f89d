"""In which runs an option counts, and what options may not be."""

from typing import get_args

from ...errors import ConfigError, unknown
from ...nets.initial import SCHEMES
from ...real_sets import CHOICES
from ..used import Table, use
from .options import FLIPPED, OWN, SIAMESE, TRAINED, TRAJECTORIES, Chosen, Config, Method, judges

_WITH_RATES = ("unrolled", TRAJECTORIES)
_FRESH = ("fixed", "random")

USED: Table = {
    "source": use(objective="adapt"),
    "poison": use(objective="poison"),
    **dict.fromkeys(("batches", "epochs", "engine", "clip"), use(method="unrolled")),
    **dict.fromkeys(("truncate", "memory"), (use(method="unrolled"), use(method=TRAJECTORIES, tesla=False))),
    **dict.fromkeys(("step_size", "lr_steps"), use(method=_WITH_RATES)),
    **dict.fromkeys(
        ("experts", "expert_epochs", "inner_steps", "inner_batch", "span", "max_start", "tesla"),
        use(method=TRAJECTORIES),
    ),
    "augmentation": use(method=SIAMESE),
    "real_batch": use(method=tuple(m for m in get_args(Method) if m != TRAJECTORIES)),
    "nets": use(method=_WITH_RATES),
    "pool": use(init=TRAINED),
    "pool_nets": use(init="pretrained", pool=None),
    **dict.fromkeys(("pool_epochs", "pool_lr", "pool_halve"), use(init=TRAINED, pool=None)),
    "held_out": use(init=("random", "pretrained")),
    "gain": (use(init=_FRESH), use(pool=None)),
    "initialisation": (use(init=_FRESH), use(pool=None)),
    "draws": use("random", FLIPPED),
    **dict.fromkeys(("baselines", "free_epochs", "full_epochs", "robustness"), use(objective=("train", "adapt"))),
    "free_nets": use(objective=("train", "adapt")),
}
"""Options that only count with some values of other options, or with some baselines."""

_COUNTS = (
    *("per_class", "batches", "epochs", "steps", "nets", "real_batch", "truncate", "pool_nets", "pool_epochs"),
    *(
        "held_out",
        "experts",
        "expert_epochs",
        "inner_steps",
        "inner_batch",
        "span",
        "max_start",
        "draws",
        "free_nets",
        "seeds",
        "evaluations",
        "threads",
        "classes",
    ),
    "resize",
)
_FROM_0 = ("free_epochs", "full_epochs", "pool_halve")
_ABOVE_0 = ("step_size", "lr_images", "gain", "pool_lr", "clip")
_SIZES = ("lr_steps", "checkpoint_seconds")
_MOST = {"seeds": 1000, "threads": 1024, "resize": 4096}


def check(options: Config) -> None:
    """Refuse values outside their ranges, and combinations that do not exist.

    Raises:
        ConfigError: naming the option.
    """
    if not options.data:
        raise ConfigError("--data is empty; give a name, a file or a folder.")
    for name in (*_COUNTS, *_FROM_0):
        value, least, most = getattr(options, name), int(name in _COUNTS), _MOST.get(name, 10**8)
        if value is not None and not least <= value <= most:
            raise ConfigError(f"{flag(name)} is {value}; it must be in {least}..{most}.")
    for name in (*_ABOVE_0, *_SIZES):
        value, above = getattr(options, name), name in _ABOVE_0
        if value is not None and not (0 <= value <= 1e6 and (value or not above)):
            needed = "above 0, at most 1000000" if above else "in 0..1000000"
            raise ConfigError(f"{flag(name)} is {value}; it must be {needed}.")
    for name in ("first_seed", "split_seed"):
        if not 0 <= getattr(options, name) < 2**62:
            raise ConfigError(f"{flag(name)} is {getattr(options, name)}; it must be in 0..2^62.")
    if options.test is not None and not 0 < options.test < 1:
        raise ConfigError(f"--test is {options.test}; it is a share of the rows and must lie between 0 and 1.")
    if options.initialisation is not None and options.initialisation not in (OWN, *SCHEMES):
        raise ConfigError(unknown("initialisation", options.initialisation, (*SCHEMES, OWN)))
    if options.initialisation == OWN and options.gain != 1:
        raise ConfigError("--gain does nothing with --initialisation own; leave it out, or choose a scheme.")
    if options.baselines is not None:
        baselines_of(options.baselines)


def check_together(options: Chosen) -> None:
    """Refuse objectives, inits and methods that do not go together.

    Raises:
        ConfigError: naming them.
    """
    objective, init, method = options.objective, options.init, options.method
    if method != "unrolled" and (objective, init) != ("train", "random"):
        raise ConfigError(
            f"--method {method} makes images for fresh networks: it needs --objective train and --init random, not "
            f"{objective} and {init}."
        )
    if (objective == "train") == (init in TRAINED):
        fits = "fixed or random" if objective == "train" else "pretrained or pretrained-fixed"
        raise ConfigError(f"--init {init} does not fit --objective {objective}: use {fits}.")
    if method == TRAJECTORIES and options.nets > options.experts:
        raise ConfigError(
            f"--nets {options.nets} is more than --experts {options.experts}; train more, or match fewer."
        )
    if method == TRAJECTORIES and options.max_start - 1 + options.span > options.expert_epochs:
        raise ConfigError(
            f"--max-start {options.max_start} and --span {options.span} need experts of "
            f"{options.max_start - 1 + options.span} passes, but --expert-epochs is {options.expert_epochs}; raise it."
        )
    if method == "siamese" and options.augmentation == "none":
        raise ConfigError("--method siamese without --augmentation is gradient-matching; name that, or some changes.")
    if method != "unrolled" and not options.free_epochs:
        raise ConfigError(f"--free-epochs 0 leaves nothing to judge --method {method} by: its images have no order.")
    if options.free_nets > (count := judges(options, {}, init)):
        raise ConfigError(f"--free-nets {options.free_nets} is more than the {count} networks that judge: use fewer.")
    if options.learn_labels and method != "unrolled":
        raise ConfigError(f"--learn-labels is for --method unrolled: {method} matches class by class.")
    if objective == "adapt" and options.source is None and options.pool is None:
        raise ConfigError(
            "--objective adapt needs the domain that the networks know: give --source rotated, shifted, inverted or "
            "another data set, or networks with --pool."
        )
    if init == "pretrained-fixed" and options.nets > 1:
        raise ConfigError(f"--nets is {options.nets}, but --init pretrained-fixed teaches one known network: use 1.")
    if init == "pretrained" and options.pool is None and options.nets > options.pool_nets:
        raise ConfigError(
            f"--nets {options.nets} an outer step is more than --pool-nets {options.pool_nets}: train more of them, or "
            "ask for fewer a step."
        )
    if options.images == "mean" and options.per_class > 1:
        raise ConfigError(
            f"--images mean with --per-class {options.per_class}: images of a class and batch that start alike stay "
            "alike; use noise or real, or --per-class 1."
        )
    steps = options.inner_steps if method == TRAJECTORIES else options.batches * options.epochs
    if options.truncate is not None and options.truncate > steps:
        what = "inner-steps" if method == TRAJECTORIES else "batches x epochs"
        raise ConfigError(
            f"--truncate {options.truncate} is more than the {steps} steps that there are ({what}); leave it out."
        )


def baselines_of(text: str) -> tuple[str, ...]:
    """Return the names of real sets to compare with.

    Raises:
        ConfigError: for an unknown one.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if names == ("none",):
        return ()
    for name in names:
        if name not in CHOICES:
            raise ConfigError(unknown("baseline", name, [*CHOICES, "none"]))
    if not names:
        raise ConfigError("--baselines is empty; name some, such as random,class-means, or none.")
    return names


def flag(name: str) -> str:
    """Return an option as it is written on the command line."""
    return "--" + name.replace("_", "-")
