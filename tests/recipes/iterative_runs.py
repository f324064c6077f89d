"""Small runs of the recipe of iterative teaching, made once."""

from functools import cache

from tutelage.recipes.iterative import Config, run

SMALL = {"rows": 60, "dim": 4, "steps": 20, "seeds": 6, "device": "cpu", "threads": 1}
DIGITS = {"problem": "digits", "steps": 10, "seeds": 2, "noise": "0.2", "device": "cpu", "threads": 1}


@cache
def finished_run(base, name, **options):
    """The result and the folder of a run, below the folder of the session."""
    out = base / "iterative" / name
    return run(Config(**options), out), out


def regression_run(base):
    return finished_run(base, "regression", **SMALL)


def digits_run(base):
    return finished_run(base, "digits", **DIGITS, teachers="omniscient,label-synthesis,rescalable")
