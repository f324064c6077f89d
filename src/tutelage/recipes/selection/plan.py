"""What follows from the options of a pool, before anything is taught or written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .rows import Drawn, Material, draw


@dataclass(frozen=True, eq=False)
class PoolPlan:
    """The part of a plan that is about the rows.

    Attributes:
        options: with nothing left to choose.
        material: all rows.
        levels: rates of label noise.
    """

    options: Any
    material: Material
    levels: tuple[float, ...]

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Of the data by role."""
        return self.material.fingerprints

    @property
    def seeds(self) -> range:
        """Of the run."""
        return range(self.options.first_seed, self.options.first_seed + self.options.seeds)

    @property
    def classes(self) -> int:
        """K."""
        return len(self.material.chosen)

    def draw(self, seed: int, rate: float) -> Drawn:
        """Return pool and test of a seed."""
        return draw(self.material, self.options, seed, rate)
