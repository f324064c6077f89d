"""Small runs of dataset-distillation, made once, and what the tests of the recipe share."""

from functools import cache

from tutelage.recipes.dataset_distillation import Config, run
from tutelage.recipes.dataset_distillation.plan import prepare

SMALL = {
    **{"steps": 6, "net": "mlp-8", "held_out": 5, "draws": 2, "evaluations": 3, "seeds": 2},
    **{"device": "cpu", "threads": 1},
}
COMPARED = {"free_epochs": 3, "full_epochs": 1, "free_nets": 2}
SHORT = {"free_epochs": 0, "full_epochs": 0, "robustness": False}
POOL = {"pool_nets": 9, "pool_epochs": 1}
ADAPT = {"objective": "adapt", "source": "rotated", **POOL, **SHORT}
POISON = {"objective": "poison", **POOL}


def plan(**options):
    """The plan of a small run."""
    return prepare(Config(**SMALL | options), fresh=True)


@cache
def finished_run(base, name, **options):
    """The result and the folder of a small run, below the folder of the session."""
    out = base / "dataset-distillation" / name
    return run(Config(**SMALL | options), out), out


def train_run(base):
    return finished_run(base, "train", robustness=False, **COMPARED)


def poison_run(base):
    return finished_run(base, "poison", poison="3:8", **POISON)


def adapt_run(base):
    return finished_run(base, "adapt", **ADAPT)
