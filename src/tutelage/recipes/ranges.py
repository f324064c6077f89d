"""Options by name: as the command line writes them, and within their ranges."""

from typing import Any

from ..errors import ConfigError

RULES = ("adam", "adamw", "sgd")
"""Update rules by name."""


def flag(name: str) -> str:
    """Return an option as it is written on the command line."""
    return "--" + name.replace("_", "-")


def within(options: Any, name: str, least: float, most: float, *, above: bool = False) -> None:
    """Refuse a number outside its range; None, and options that a recipe does not have, are passed over.

    Args:
        options: of a recipe.
        name: of the option.
        least: the smallest value.
        most: the largest value.
        above: the value must be larger than ``least``.

    Raises:
        ConfigError: naming the option.
    """
    value = getattr(options, name, None)
    if value is None or (least < value <= most) or (value == least and not above):
        return
    needed = f"above {least}, at most {most}" if above else f"in {least}..{most}"
    raise ConfigError(f"{flag(name)} is {value}; it must be {needed}.")


def check_rule(options: Any, name: str) -> None:
    """Refuse an unknown update rule; None, and options that a recipe does not have, are passed over.

    Raises:
        ConfigError: naming the option.
    """
    value = getattr(options, name, None)
    if value is not None and value not in RULES:
        raise ConfigError(f'unknown {name.replace("_", " ")} "{value}". Known: {", ".join(RULES)}.')
