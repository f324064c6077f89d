"""Networks of a chain, as options name them, and how each of them is taught."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...errors import ConfigError
from ...soft_targets import KnowledgeDistillation

TEACHER_OF_WIDTH = "mlp-gelu-{0}-{0}-dropout-0.2"
STUDENT_OF_WIDTH = "mlp-gelu-{0}"


class Network(NamedTuple):
    """A network of a chain.

    Attributes:
        name: short, for files and tables: the width, or the name with nothing odd in it.
        net: as :func:`tutelage.nets.build` takes it.
    """

    name: str
    net: str


Path = tuple[Network, ...]
"""Assistants between the teacher and the student, the first one taught by the teacher."""


def networks_of(text: str, option: str, *, teacher: bool) -> tuple[Network, ...]:
    """Return the networks that an option names: widths as 256-64-16-4, or names separated by commas.

    A width is a network of one hidden layer with GELU; that of the teacher is one of two with dropout.

    Args:
        text: the option.
        option: its name, for messages.
        teacher: whether the first one is the teacher.

    Raises:
        ConfigError: if there is none, or one is named twice.
    """
    if re.fullmatch(r"\d+(\s*[-,]\s*\d+)*", text.strip()):
        widths = re.findall(r"\d+", text)
        forms = [TEACHER_OF_WIDTH if teacher and not place else STUDENT_OF_WIDTH for place in range(len(widths))]
        found = [Network(width, form.format(width)) for width, form in zip(widths, forms)]
    else:
        found = [short(name.strip()) for name in text.split(",") if name.strip()]
    if not found:
        raise ConfigError(f"{option} is empty; name networks, separated by commas.")
    check_names(found, option)
    return tuple(found)


def short(net: str) -> Network:
    """Return a network by its full name; widths stay short."""
    widths = re.findall(r"\d+", net)
    if widths and net in (TEACHER_OF_WIDTH.format(widths[0]), STUDENT_OF_WIDTH.format(widths[0])):
        return Network(widths[0], net)
    return Network(re.sub(r"[^\w.-]+", "_", net), net)


def check_names(found: Sequence[Network], where: str) -> None:
    """Refuse two networks of one name.

    Raises:
        ConfigError: naming it.
    """
    names = [network.name for network in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{where}: network {twice} is named twice; each may stand there once.")


def hops(
    temperature: str, kd_weight: str, ce_weight: str | None, taught: Sequence[str]
) -> Mapping[str, KnowledgeDistillation]:
    """Return how each network is taught, by its name: one value for all, or one for each in order.

    Args:
        temperature: T > 0, or several.
        kd_weight: weight of the teacher, l in ``(1 - l) CE + l T^2 KL``, or several.
        ce_weight: weight of the labels, or several; None: 1 less that of the teacher.
        taught: names of the networks, the student last.

    Raises:
        ConfigError: naming the option.
    """
    ts = _numbers("temperature", temperature, taught, most=1000, above=True)
    kds = _numbers("kd-weight", kd_weight, taught)
    if ce_weight is not None:
        ces = _numbers("ce-weight", ce_weight, taught)
    elif any(kd > 1 for kd in kds):
        raise ConfigError(f"--kd-weight is {max(kds):g}, above 1; give --ce-weight as well.")
    else:
        ces = [round(1 - kd, 12) for kd in kds]
    for name, ce, kd in zip(taught, ces, kds):
        if not ce and not kd:
            raise ConfigError(f"--ce-weight and --kd-weight are both 0, which leaves {name} nothing to learn from.")
    return {name: KnowledgeDistillation(*each) for name, each in zip(taught, zip(ts, ces, kds))}


def _numbers(option: str, text: str, taught: Sequence[str], *, most: float = 10**6, above: bool = False) -> list[float]:
    """One number for each network, from 0, or above it, to the largest."""
    try:
        found = [float(value) for value in text.split(",")]
    except ValueError:
        raise ConfigError(f'--{option} is "{text}"; it needs a number, or several separated by commas.') from None
    for value in found:
        if not (0 <= value <= most) or (above and not value):
            needed = f"above 0, at most {most}" if above else f"in 0..{most}"
            raise ConfigError(f"--{option} is {value:g}; it must be {needed}.")
    if len(found) == 1:
        return found * len(taught)
    if len(found) != len(taught):
        raise ConfigError(
            f"--{option} has {len(found)} values, but {len(taught)} networks are taught: {', '.join(taught)}; give "
            "one for all, or one each."
        )
    return found
