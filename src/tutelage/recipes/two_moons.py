"""Two moons with six labels: where each arm draws its boundary, over training.

Consistency alone solves it, and labels alone do not: the picture shows why unlabelled examples help, not that the
meta-gradient does. Pictures of the first seed: ``boundaries.png`` and ``boundaries.gif`` in the run folder.

Source: the toy of Pham et al., "Meta pseudo labels", CVPR 2021, section 3.1 and appendix C, there one draw.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import DataSet, Source, Split, from_arrays
from ..data.splits import Role
from ..errors import ConfigError
from ..runs import RunFolder
from .pseudo_labels import running
from .pseudo_labels.arms import ARMS as ARMS
from .pseudo_labels.checks import check, check_arms, check_used
from .pseudo_labels.options import MOONS, Options, filled, with_batches
from .pseudo_labels.running import Plan, Recipe
from .pseudo_labels.setting import Setting
from .pseudo_labels.views import Noise
from .ranges import within
from .trajectory import Watcher

GRID = 60
"""Points a side at which answers are kept."""
EDGE = 2.6
"""The grid reaches from minus this to this, in standard deviations."""


HELP = "Pseudo labels on two moons with six labels, with pictures of every arm's boundary over training."


@dataclass(frozen=True)
class Config(Options):
    """Options of the recipe; None means: chosen by the profile, or for the number of steps."""

    rows: int = 2000
    """Points in all; every one is unlabelled, and tested on."""
    labels_per_class: int = 3
    """Labelled points a moon."""
    spread: float = 0.1
    """Standard deviation of the points about their moon."""
    weak_noise: float = 0.0
    """Standard deviation of the noise on the weak view."""
    strong_noise: float = 0.2
    """Standard deviation of the noise on the strong view."""
    labelled_noise: float = 0.0
    """Standard deviation of the noise on labelled points as the teacher sees them."""


def tanh_16(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the network of the recipe: two hidden layers of 16 with tanh."""
    return _tanh(shape[0], 16, classes)


def tanh_8(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a narrower one: two hidden layers of 8."""
    return _tanh(shape[0], 8, classes)


def _tanh(inputs: int, width: int, classes: int) -> nn.Module:
    layers = [nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, classes)]
    return nn.Sequential(*layers)


def moons(seed: int, rows: int, spread: float) -> Source:
    """Return two half circles that embrace each other, (rows, 2), each axis of mean 0 and variance 1."""
    from sklearn.datasets import make_moons

    x, y = make_moons(rows, noise=spread, random_state=seed % 2**32)
    return from_arrays((x - x.mean(0)) / x.std(0), y, num_classes=2, name="two moons")


def grid() -> Tensor:
    """Return the points (GRID * GRID, 2) at which answers are kept, row by row from the lower left."""
    line = torch.linspace(-EDGE, EDGE, GRID)
    second, first = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([first.flatten(), second.flatten()], dim=1)


def _roles(source: Source, seed: int, each: int) -> Split:
    generator = np.random.RandomState((1000 + seed) % 2**32)  # one of its own: no global state
    labelled = [generator.choice(np.flatnonzero(source.y == c), each, replace=False) for c in (0, 1)]
    rows = np.arange(len(source))
    overlaps: tuple[tuple[Role, Role], ...] = (("unlabelled", "trusted"), ("test", "unlabelled"), ("test", "trusted"))
    return Split(trusted=np.sort(np.concatenate(labelled)), unlabelled=rows, test=rows, overlaps=overlaps)


def _prepare(given: Any, *, fresh: bool) -> Plan:
    check(given)
    if not 1 <= given.labels_per_class <= given.rows // 2 or given.rows > 10**6:
        raise ConfigError(
            f"--labels-per-class is {given.labels_per_class} of {given.rows} points; each moon has half of these "
            "(--rows, at most 1000000) and needs at least one label."
        )
    for name in ("spread", "weak_noise", "strong_noise", "labelled_noise"):
        within(given, name, 0, 100)
    options = filled(given, MOONS)
    names = check_arms(options)
    if fresh:
        check_used(given, options, names)
    options = with_batches(options, 2 * options.labels_per_class, options.rows)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    settings = [_setting(seed, options, probed=seed == seeds[0]) for seed in seeds]
    fingerprints = {"training": settings[0].source.fingerprint()}
    return Plan(RECIPE, options, names, settings, fingerprints)


def _setting(seed: int, options: Any, *, probed: bool) -> Setting:
    data = DataSet(moons(seed, options.rows, options.spread))
    device = torch.device(options.device)
    return Setting(
        seed=seed,
        source=data.train,
        test_source=data.train,
        roles=_roles(data.train, seed, options.labels_per_class),
        views=Noise(seed, 1.0, None, options.labelled_noise, options.weak_noise, options.strong_noise),
        device=device,
        batch_size=options.batch_size,
        labelled_batch=options.labelled_batch,
        replacement=options.replacement,
        he=options.init == "he",
        probe=grid().to(device) if probed else None,
    )


RECIPE = Recipe("two-moons", Config, _prepare)


def run(config: Config, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all arms into a new folder, see :func:`tutelage.recipes.pseudo_labels.running.run`."""
    return running.run(RECIPE, config, out, watcher)


def resume(folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped, see :func:`tutelage.recipes.pseudo_labels.running.resume`."""
    return running.resume(RECIPE, folder, watcher)
