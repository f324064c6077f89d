"""Small runs of deep-interactions, made once, and what the tests of the recipe share."""

from functools import cache

from tutelage.recipes.deep_interactions import ARMS, RECIPE, Config, run
from tutelage.recipes.noisy_labels import prepare

SMALL = {"seeds": 2, "epochs": 2, "student": "mlp-16", "noise_kind": "pair-flip-exact"}
DEFAULT = Config().teachers.split(",")
COMMAND = ["run", "deep-interactions", "--student", "mlp-16", "--seeds", "1"]


def planned(**options):
    _, (plan, *_), _ = prepare(RECIPE, Config(**SMALL | options))
    return plan


@cache
def finished_run(base):
    """The result and the folder of a run of the default arms, below the folder of the session."""
    out = base / "deep-interactions" / "run"
    return run(Config(**SMALL), out), out


@cache
def run_of_every_arm(base):
    """The result and the folder of a run of all arms there are, below the folder of the session."""
    out = base / "deep-interactions" / "all"
    options = SMALL | {"seeds": 1, "epochs": 1, "teachers": ",".join(ARMS), "keep_episodes": 2}
    return run(Config(**options), out), out
