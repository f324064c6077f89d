"""What a seed of an experiment has, whatever is compared: rows in memory, rows to test on, fresh networks."""

from abc import ABC
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Source, Split
from ..randomness import counter, stream
from .fresh import fresh


@dataclass(frozen=True, eq=False, kw_only=True)
class OneSeed(ABC):
    """One seed.

    Attributes:
        seed: of everything.
        source: of the rows that networks learn from.
        test_source: of the test rows; the same one if the data has no test set of its own.
        roles: of the rows of ``source``.
        device: where batches live.
        he: initial weights N(0, 2 / fan-in) and no biases; else the networks' own.
    """

    seed: int
    source: Source
    test_source: Source
    roles: Split
    device: torch.device
    he: bool

    @cached_property
    def _x(self) -> Tensor:
        return torch.from_numpy(self.source.x).to(self.device)

    @cached_property
    def _y(self) -> Tensor:
        return torch.from_numpy(self.source.y).to(self.device)

    @cached_property
    def _tested(self) -> tuple[Tensor, Tensor]:
        """Test rows as they are in their source, and their labels."""
        index = np.arange(len(self.test_source)) if self.has_own_test else self.roles.test
        return torch.from_numpy(self.test_source.x[index]), torch.from_numpy(self.test_source.y[index])

    @property
    def has_own_test(self) -> bool:
        """Whether the test rows came with the data, apart from the training rows."""
        return self.test_source is not self.source

    @property
    def test_rows(self) -> int:
        """How many rows networks are tested on."""
        return len(self.test_source) if self.has_own_test else len(self.roles.test)

    def net(self, name: str, role: str) -> nn.Module:
        """Return a fresh network; the same role of a seed begins the same wherever it is, another one apart."""
        return fresh(name, self.source, counter(stream(self.seed, role)), he=self.he).to(self.device)
