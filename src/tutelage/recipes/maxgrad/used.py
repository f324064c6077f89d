"""In which runs an option counts, and what options may not be."""

from collections.abc import Sequence

from ...errors import ConfigError
from ..ranges import flag, within
from ..selection.options import check_export, check_pool
from ..used import Table, use
from .arms import ITERATIVE
from .options import LINEAR, Chosen, Config

_MAXGRAD = ("maxgrad", "prototypes-then-maxgrad")
USED: Table = {
    "folds": use("cross-fitted"),
    "quota": use("cross-fitted", "in-sample"),
    **dict.fromkeys(("space", "pairs", "stale"), use(*_MAXGRAD)),
    "embedding": use(student=LINEAR),
    "components": use(embedding="pca"),
    **dict.fromkeys(("steps", "lr"), use(schedule="converged")),
    "loss": use(backbone="fine-tuned", schedule="converged"),
}
"""Options that only count with some values of other options, with some teachers or with some filters."""
REMEDY = "--quota 1, or --filters none"
"""Against a filter that leaves no row of a class."""
_FROM_COMPAT = ("schedule", "filters", "folds", "quota", "steps", "lr", "loss")


def check(options: Config) -> None:
    """Refuse values outside their ranges, and what goes not together.

    Raises:
        ConfigError: naming the option.
    """
    check_pool(options)
    for name, least, most in (
        *(("size", 1, 10**6), ("rows", 1, 10**6), ("folds", 2, 1000), ("quota", 0, 10**6)),
        *(("components", 1, 10**6), ("before", 0, 10**4), ("steps", 1, 10**6), ("stale", 1, 10**6)),
    ):
        within(options, name, least, most)
    within(options, "lr", 0, 1e3, above=True)
    if options.size % options.rows:
        raise ConfigError(f"--size {options.size} is no multiple of --rows {options.rows}; take one.")
    if options.pairs and options.stale is not None:
        raise ConfigError("--pairs looks for counterfactual rows in the whole pool; leave out --stale.")
    for name in ("backbone", "before", "stale"):
        if options.student == LINEAR and getattr(options, name) is not None:
            raise ConfigError(f"{flag(name)} is for networks, and --student linear is none; leave it out, or name one.")
    usual = Config()
    for name in _FROM_COMPAT if options.compat else ():
        if getattr(options, name) != getattr(usual, name):
            raise ConfigError(f"{flag(name)} is set by --compat; leave one of them out.")
    check_export(options.export)


def check_teachers(options: Chosen, teachers: Sequence[str]) -> None:
    """Refuse teachers that cannot teach the student.

    Raises:
        ConfigError: naming them.
    """
    iterative = [name for name in teachers if name in ITERATIVE]
    if iterative and options.backbone == "fine-tuned":
        raise ConfigError(
            f"teacher {iterative[0]} knows a target for codewords on rows that stay as they are: leave it out, or give "
            "--backbone frozen."
        )
    if iterative and options.rows > 1:
        raise ConfigError(f"teacher {iterative[0]} shows one row at a time: leave it out, or --rows {options.rows}.")


def unused_names(teachers: Sequence[str], filters: Sequence[str]) -> tuple[str, ...]:
    """Return teachers and filters together, as :data:`USED` names them."""
    return (*teachers, *(filters if set(teachers) - {"random"} else ()))
