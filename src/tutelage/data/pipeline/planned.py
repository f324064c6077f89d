"""Teacher-driven sampling: which elements come is decided at boundaries, by a plan."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from ...errors import ConfigError
from ..elements import IntArray
from ..plans import Plans
from .nodes import ENDLESS, Length
from .rearrange import Rearranging


@dataclass(frozen=True, eq=False)
class Planned(Rearranging):
    """An endless stream of the elements that plans name; the epoch counts draws of as many as there are elements.

    Raises:
        ConfigError: if the elements below cannot be had by position, or are not as many as the plans are for.
    """

    draws: ClassVar[bool] = True
    plans: Plans
    name: str

    def __post_init__(self) -> None:
        if not self.child.indexed or self.child.length != self.plans.n:
            raise ConfigError(
                f"planned: the plans are for {self.plans.n} elements, the source has "
                f"{'an unknown number' if self.child.length is None else self.child.length}."
            )

    @property
    def length(self) -> Length:
        return ENDLESS

    @property
    def unique(self) -> bool:
        return False

    @property
    def fixed(self) -> bool:
        return False

    @property
    def steady(self) -> bool:
        return False

    @cached_property
    def key(self) -> int:
        """Of the random stream."""
        return self.site.key(self.name)

    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        return self.plans.index(positions, self.key), positions // self.plans.n
