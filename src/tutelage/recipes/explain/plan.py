"""What follows from the options, before anything is taught or written."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from ...data import DataSet
from ...errors import ConfigError
from ...nets import build
from ..distilling.using import refuse_unread
from ..options import names_of, noise_rates
from ..selection.plan import PoolPlan
from ..selection.rows import read
from ..used import check_used
from .arms import TEACHERS, arms_of
from .course import opened
from .explaining import Network, explainable
from .options import filled
from .used import USED, check, check_images, check_number, check_teachers


@dataclass(frozen=True, eq=False)
class Plan(PoolPlan):
    """A run before it starts.

    Attributes:
        arms: teachers by name.
    """

    arms: tuple[str, ...]

    @property
    def one_network(self) -> bool:
        """Whether all seeds have the same pool, but for noise: a network is trained once then."""
        return self.material.test is not None

    def network(self, seed: int) -> nn.Module:
        """Return the network before it is trained."""
        net = build(self.options.net, self.material.shape, self.classes, seed=seed)
        return net.to(self.options.device)

    def network_seed(self, seed: int, rate: float) -> int:
        """Return the seed whose network serves a seed."""
        return self.seeds[0] if self.one_network and not rate else seed

    def rehearse(self) -> None:
        """Have each teacher of the first seed choose once, so that what cannot work is refused before a folder is made.

        Features of a network that is not trained yet cannot be rehearsed, but that it fits and can be explained.

        Raises:
            TutelageError: for what cannot work.
        """
        drawn = self.draw(self.seeds[0], max(self.levels))
        if self.options.size > len(drawn.pool):
            raise ConfigError(
                f"--size {self.options.size} is more than the {len(drawn.pool)} rows of the pool; ask for fewer."
            )
        if self.options.net is not None:
            explainable(Network(self.network(self.seeds[0])), drawn.pool, self.options)
        if self.options.features == "pixels":
            opened(drawn, None, self.options, self.classes).check_size(self.options.size)


def prepare(given: Any, *, fresh: bool) -> Plan:
    """Return the plan of some options; ``fresh``: as a user gave them, not as a run folder keeps them.

    Raises:
        TutelageError: for options or data that cannot be used.
    """
    if fresh:
        check(given)
    levels = noise_rates(given.noise)
    if given.teachers is not None:
        names_of(given.teachers, TEACHERS, "teacher")
    material = read(given)
    options = filled(given, material.shape) if fresh else given
    arms = arms_of(names_of(options.teachers, TEACHERS, "teacher"))
    check_teachers(options, arms)
    check_images(options, material.shape)
    check_number(options, len(material.chosen))
    if fresh:
        check_used(given, options, USED, arms)
        refuse_unread(given, DataSet(material.source))
    return Plan(options, material, levels, arms)
