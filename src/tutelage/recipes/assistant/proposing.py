"""What the planner proposes, from validation rows alone: for each seed by its own, unless no seed tests on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...assistants import Candidate, bisected, nearest
from ..distilling import Outcome, Setting
from .chain import Network, Path
from .stages import Chains, alone_name

Proposals = Mapping[int, Path]
"""The path that is proposed for each seed."""


@dataclass(frozen=True)
class Planner:
    """Proposes a path for each seed.

    Every seed draws its own split, so that one seed's validation rows are test rows of others: what a seed is
    measured by must not choose for it. Data with a test set of its own is free of that; there the means over all
    seeds choose, one path for all.

    Attributes:
        chains: of the run.
        ladder: candidates.
        sizes: numbers of parameters by name.
        settings: one a seed.
    """

    chains: Chains
    ladder: Path
    sizes: Mapping[str, int]
    settings: Sequence[Setting]

    @property
    def by_all_seeds(self) -> bool:
        """Whether the validation rows of all seeds choose together."""
        return self.settings[0].has_own_test

    def proposals(self, paths: Sequence[Path], outcomes: Mapping[str, Outcome]) -> Proposals:
        """Return a path for each seed.

        Args:
            paths: that were trained, of which the plan "all" takes the best; of equals that of fewest networks.
            outcomes: of the stages by name.
        """
        every = range(len(self.settings))
        seen = [every for _ in every] if self.by_all_seeds else [range(s, s + 1) for s in every]
        return {setting.seed: self._proposed(paths, outcomes, seeds) for setting, seeds in zip(self.settings, seen)}

    def _proposed(self, paths: Sequence[Path], outcomes: Mapping[str, Outcome], seeds: range) -> Path:
        chains, options = self.chains, self.chains.options
        if options.plan == "all":
            reached = {path: validated(outcomes[chains.arm(path)], seeds) for path in paths}
            return min(paths, key=lambda path: (-reached[path], len(path)))

        def measured(network: Network, stage: str) -> Candidate:
            return Candidate(network.name, self.sizes[network.name], validated(outcomes[stage], seeds))

        ends = measured(chains.teacher, "teacher"), measured(chains.student, alone_name(chains.student))
        candidates = [measured(network, alone_name(network)) for network in self.ladder]
        if options.plan == "one":
            return path_of(self.ladder, [nearest(*ends, candidates)])
        return path_of(self.ladder, bisected(*ends, candidates, min_gap=options.min_gap, max_hops=options.max_hops))


def path_of(ladder: Path, found: Sequence[Candidate]) -> Path:
    """Return candidates as networks."""
    by_name = {network.name: network for network in ladder}
    return tuple(by_name[candidate.name] for candidate in found)


def validated(outcome: Outcome, seeds: range | None = None) -> float:
    """Return the mean accuracy on validation rows over some of the seeds, by their places; None: over all."""
    ends = outcome.ends if seeds is None else outcome.ends[seeds.start : seeds.stop]
    return float(np.mean([end["validation_accuracy"] for end in ends]))
