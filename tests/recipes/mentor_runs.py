"""A small run of mentornet, made once, and what the tests of the recipe share."""

from contextlib import contextmanager
from functools import cache, partial

import pytest

from tutelage.mentors import fit_rows
from tutelage.recipes import mentornet
from tutelage.recipes.mentornet import RECIPE, Config, run
from tutelage.recipes.noisy_labels import prepare
from tutelage.teachers.weigh.mentornet import REFIT

SMALL = {"seeds": 2, "epochs": 4, "student": "mlp-16"}


@contextmanager
def quick_fits():
    """Mentors of a few steps: how well they fit does not matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mentornet, "fit_rows", partial(fit_rows, steps=60))
        patch.setitem(REFIT, "steps", 20)
        yield


def planned(**options):
    _, (plan,), _ = prepare(RECIPE, Config(**SMALL | options))
    return plan


@cache
def finished_run(base):
    """The result and the folder of a run of the default arms, below the folder of the session."""
    out = base / "mentornet" / "run"
    with quick_fits():
        return run(Config(**SMALL), out), out
