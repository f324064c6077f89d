"""The main job: a student on badly labelled data, with and without teachers that weigh.

Arms: plain training, the written curricula, and the honest rows beside them: training on the trusted subset alone,
early stopping on the trusted subset, a mask from the losses of plain training, and the oracle that knows which labels
are right.

Source: the comparison of Jiang et al., "MentorNet: learning data-driven curriculum for very deep neural networks on
corrupted labels", ICML 2018, section 5, without MentorNet itself, in a size for two cores.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runs import RunFolder
from . import noisy_labels
from .options import Options
from .plan import Recipe
from .trajectory import Trajectory, Watcher
from .weighing import ARMS as ARMS
from .weighing import trajectories

HELP = "A student on badly labelled data, with and without teachers that weigh its examples."


@dataclass(frozen=True)
class Config(Options):
    """Options of the recipe; None means: chosen to fit the data or the method."""

    teachers: str = "uniform,self-paced,spcl,hard,focal,predefined,trusted-only,early-stopping,mixture-mask,oracle"
    """Arms to compare, separated by commas."""


def _trajectories(config: Config, noise: float) -> list[Trajectory]:
    return trajectories(config)


RECIPE = Recipe("curricula", Config, ARMS, _trajectories)


def run(config: Config, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all arms into a new folder, see :func:`tutelage.recipes.noisy_labels.run`."""
    return noisy_labels.run(RECIPE, config, out, watcher)


def resume(folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped, see :func:`tutelage.recipes.noisy_labels.resume`."""
    return noisy_labels.resume(RECIPE, folder, watcher)
