"""In which runs an option counts, and what options may not be."""

from ...errors import ConfigError
from ..options import noise_rates
from ..ranges import within
from ..selection.options import check_pool
from ..used import Table, use
from .options import MADE, READ, Config, sizes_of

_OF_DATA = (
    *("data", "label", "image", "classes", "resize", "lists", "only", "per_class", "test", "noise"),
    *("loss", "filter"),
)
USED: Table = {
    **dict.fromkeys(_OF_DATA, use(problem=READ)),
    **dict.fromkeys(("dim", "rows"), use(problem=MADE)),
    "queries": use("imitation"),
    "spread": use("imitation", "imitation-blind"),
    "bound": use("label-synthesis", problem="regression"),
    "hard": use("label-synthesis", problem=("logistic", READ)),
    "scales": use("rescalable"),
}
"""Options that only count with some problems, or with some teachers."""


def check(options: Config) -> None:
    """Refuse values outside their ranges.

    Raises:
        ConfigError: naming the option.
    """
    check_pool(options)
    for name, least, most in (
        *(("dim", 1, 10**4), ("rows", 2, 10**6), ("steps", 1, 10**6), ("queries", 0, 10**4)),
        *(("spread", 0, 1e6),),
    ):
        within(options, name, least, most)
    for name, most in (("eta", 1e3), ("near", 1e6), ("bound", 1e12), ("decay", 1e3)):
        within(options, name, 0, most, above=True)
    if len(noise_rates(options.noise)) > 1:
        raise ConfigError(f"--noise is {options.noise}; a run of this recipe has one rate: give one.")
    sizes_of(options.scales)
