"""Small runs of pseudo-labels, made once, and what the tests of the recipe share."""

from functools import cache

import numpy as np
import torch

from tutelage.recipes.pseudo_labels import ARMS, RECIPE, Config, run
from tutelage.recipes.pseudo_labels.phases import phases
from tutelage.recipes.pseudo_labels.trial import Trial

SMALL = {"seeds": 2, "steps": 12, "batch_size": 16, "student": "mlp-8", "evaluations": 3, "device": "cpu", "threads": 1}


def plan(**options):
    return RECIPE.prepare(Config(**SMALL | options), fresh=True)


def trial(arm, steps=None, **options):
    """Return a trial of the first seed, so many steps on; default: to its end."""
    found = plan(**options)
    running = Trial(arm, found.settings[0], found.options)
    for _ in range(running.total if steps is None else steps):
        running.advance()
    return running


def weights(trial):
    return torch.cat([p.detach().flatten() for p in trial.student.params.values()])


@cache
def finished_run(base):
    """The result and the folder of a run of all arms, below the folder of the session."""
    out = base / "pseudo-labels" / "run"
    return run(Config(**SMALL), out), out


def made(arm, number=0, **options):
    """The student and the teacher with which an arm begins."""
    found = plan(**options)
    before = found.settings[0].net("mlp-8", "before")
    return phases(ARMS[arm], found.settings[0], found.options)[number].make(before)


def colours(tmp_path, rows=200):
    generator = np.random.default_rng(0)
    y = np.arange(rows) % 4
    x = (40 * y[:, None, None, None] + generator.integers(0, 90, (rows, 3, 32, 32))).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    return {"data": str(tmp_path / "mine.npz"), "classes": 4, "labels": 40}
