"""Small runs of distillation, made once, and what the tests of the recipe share."""

from functools import cache

import numpy as np

from tutelage.nets import build
from tutelage.nets.weights import save_weights
from tutelage.recipes.distillation import RECIPE, Config, run
from tutelage.recipes.distillation.options import KNOWN

SMALL = {
    "seeds": 2, "steps": 12, "batch_size": 16, "teacher_batch": 16, "teacher": "mlp-gelu-24-dropout-0.3",
    "student": "mlp-gelu-8", "evaluations": 3, "device": "cpu", "threads": 1,
}  # fmt: skip
FROM_FILE = SMALL | {"teacher": "mlp-gelu-24", "teacher_batch": None}
"""With the network of :func:`saved_teacher`."""
REVERSED = ",".join(map(str, reversed(range(10))))


def plan(**options):
    return RECIPE.prepare(Config(**SMALL | options), fresh=True)


@cache
def finished_run(base):
    """The result and the folder of a run of all arms that digits without positions allow, below that of the session."""
    out = base / "distillation" / "run"
    arms = ",".join(name for name in KNOWN if name != "attention")
    return run(Config(**SMALL, arms=arms, hint_layers="2:2", generations=2), out), out


def images(folder, rows=60, side=32, classes=2, seed=0):
    """Write small colour images with labels that can be seen in them."""
    generator = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    x = generator.integers(0, 100, (rows, 3, side, side), dtype=np.uint8)
    x += (100 * y[:, None, None, None] / classes).astype(np.uint8)
    path = folder / "images.npz"
    np.savez(path, x=x, y=y)
    return str(path)


def saved_teacher(tmp_path):
    """A network, and the file that its weights are in."""
    net = build("mlp-gelu-24", (1, 8, 8), 10, seed=5)
    save_weights(net, tmp_path / "teacher.safetensors", {})
    return net, str(tmp_path / "teacher.safetensors")
