"""What stands side by side in every frame: the curricula, and the difference of two."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..reading import Floats
from .numbers import Drawn

_LONGEST = 44
"""Letters of a name that fit above a surface."""


@dataclass(frozen=True, eq=False)
class Panel:
    """A curriculum, or the difference of two.

    Attributes:
        title: above the surface.
        values: height and colour (F, G, G), indexed by frame, loss and difference.
        drawn: the curriculum; None for the difference of two.
    """

    title: str
    values: Floats
    drawn: Drawn | None

    @property
    def low(self) -> float:
        """Lower end of the axis of the values; the upper one is 1."""
        return -1.0 if self.drawn is None else 0.0

    @property
    def ticks(self) -> dict[float, str]:
        """Numbers at that axis, and how they are written."""
        values = [self.low + share * (1 - self.low) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
        return {value: f"{value:g}".replace("-", "−") for value in values}

    @property
    def label(self) -> str:
        """What the values are."""
        return "difference of v" if self.drawn is None else "weight v"

    @property
    def colour_map(self) -> str:
        """One colour after the other for weights; two colours with white between them for differences."""
        return "PuOr" if self.drawn is None else "viridis"


def panels(curricula: Mapping[str, Drawn]) -> list[Panel]:
    """Return a panel for each curriculum, and for exactly two also the first minus the second."""
    found = [Panel(_short(name), drawn.weights, drawn) for name, drawn in curricula.items()]
    if len(found) == 2:
        first, second = found
        title = _short(f"{first.title} − {second.title}")
        found.append(Panel(title, first.values - second.values, None))
    return found


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
