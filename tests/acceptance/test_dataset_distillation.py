"""Digits from ten or a hundred learned images: known and fresh networks, another domain, an attack.

Settings and thresholds were set before the first run, from another implementation. By default few seeds and one
split of the data; with TUTELAGE_FULL=1 three others, two more splits, and the real sets that the figures of the
documentation stand beside. Nothing is chosen by test accuracy. Numbers are of seeds 10 to 12, then of the other
splits. Not claimed: transfer to other depths or to convolutions; more than nearest neighbours of as many centroids.
"""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.recipes.interrupted import COMMAND
from tutelage.distilled import Artefact, load
from tutelage.distilled.facts import FreeRecipe
from tutelage.distilled.perturbed import in_8_bit
from tutelage.recipes.dataset_distillation import Config, run
from tutelage.recipes.dataset_distillation.checking import Rows, domain_of, robustness

pytestmark = pytest.mark.slow

FULL = os.environ.get("TUTELAGE_FULL") == "1"
SPLITS = {0: (10, 11, 12), 1: (10,), 2: (10,)} if FULL else {0: (0,)}
"""Seeds of distillation by the seed of the split into training and test rows."""
SHORT = {"free_epochs": 0, "full_epochs": 0, "robustness": False, "evaluations": 1}
REFERENCES = {} if FULL else {"baselines": "none"}
at_length = pytest.mark.skipif(not FULL, reason="takes half a minute more: with TUTELAGE_FULL=1")


class Made(NamedTuple):
    """A finished run, with numbers in percent, one a seed."""

    out: Path

    @property
    def result(self):
        return json.loads((self.out / "result.json").read_text())

    def values(self, metric="accuracy", arm="distilled"):
        return 100 * np.array(self.result["arms"][arm][metric]["values"])

    @property
    def file(self) -> Path:
        """The set of the first seed."""
        return self.out / f"distilled-{self.result['seeds'][0]}.safetensors"

    @property
    def pool(self) -> str:
        """Networks that were trained before."""
        return str(self.out / "pool.safetensors")


Distil = Callable[..., Made]


@pytest.fixture(scope="module", params=SPLITS, ids="split {}".format)
def distil(request, tmp_path_factory) -> Distil:
    """Makes the runs on a split, each once."""
    split, seeds, folder = request.param, SPLITS[request.param], tmp_path_factory.mktemp(f"split-{request.param}")

    def make(name, *, seeds=seeds, **options):
        out = folder / name
        if not out.is_dir():
            common = {"split_seed": split, "first_seed": seeds[0], "seeds": len(seeds), "device": "cpu", "threads": 1}
            run(Config(**common, **options), out)
        return Made(out)

    return make


def drop_in_8_bit(made: Artefact):
    """Points that rounding the images costs."""
    domain = domain_of(made, Rows())
    rounded = replace(made, distilled=in_8_bit(made.distilled)).evaluate(domain.test_x, domain.test_y)
    return 100 * (made.evaluation.summary["mean"] - rounded["mean"])


FIXED = {"init": "fixed", "steps": 400, "step_size": 0.02, "lr_steps": 0.05, "batches": 1, "baselines": "class-means"}


@pytest.mark.parametrize(("epochs", "least", "ahead"), [(1, 90, 30), (3, 93, 15)], ids=["one step", "three"])
def test_a_known_network(distil, epochs, least, ahead):
    """A1 to A3. Measured: 95.4, 96.4, 95.8; 94.4, 94.8 on other splits; in three steps 94.0, 97.2, 96.6; 94.6, 94.6.
    Class means 34 to 55, and 71 to 76; on other initial weights 31 to 53."""
    made = distil(f"fixed-{epochs}", epochs=epochs, **FIXED, **SHORT | {"robustness": True})
    assert (made.values("before") <= 20).all()
    assert (made.values() >= least).all()
    assert (made.values() >= made.values(arm="class-means") + ahead).all()
    rows = {row["name"]: row for row in made.result["robustness"]}
    assert rows["8-bit"]["drop"] <= 0.015
    assert rows["initial weights: 200 fresh draws"]["mean"] <= 0.60  # what the stored weights are for


RANDOM = {
    "one-step": ({"steps": 500, "batches": 1, "epochs": 1}, 80, 7),
    "three-steps": ({"steps": 500, "batches": 1, "epochs": 3}, 88, 4),
    "hundred-images": ({"steps": 500, "batches": 10, "epochs": 1}, 94, 2),
}


def fresh(distil: Distil, name: str) -> Made:
    """A set for fresh networks."""
    return distil(name, **RANDOM[name][0], **SHORT, **REFERENCES)


@pytest.mark.parametrize("name", RANDOM)
def test_fresh_networks(distil, name):
    """B1, B2 and B4, over 200 networks that no outer step saw. Measured: 85.0, 85.2, 85.4; 84.3, 83.9 on other splits;
    in three steps 92.7, 94.2, 91.7; 92.1, 92.2; a hundred images 96.4, 96.0, 96.0; 95.2, 95.1."""
    made, (_, least, spread) = fresh(distil, name), RANDOM[name]
    assert (made.values() >= least).all()
    assert (made.values("std_over_networks") <= spread).all()
    assert drop_in_8_bit(load(made.file)) <= 1.5


@at_length
@pytest.mark.parametrize("distil", [0], indirect=True)
def test_ten_steps_on_one_batch(distil):
    """B3 with the outer gradient cut to norm 1: steps at rates of 1 to 2 make some a thousand times as long as others;
    these throw the images away, and Adam's memory of them keeps them there. Measured:
    95.0, 95.0, 93.3; without the cut 93.9, 94.4, 39.4, on other splits 71.2, 92.1."""
    made = distil("ten-steps", steps=400, batches=1, epochs=10, clip=1.0, **SHORT, **REFERENCES)
    assert (made.values() >= 91).all()
    assert (made.values("std_over_networks") <= 3).all()


def test_another_process_finds_what_the_file_states(distil):
    """Over other networks, whose mean lies within the interval that the file gives."""
    file = fresh(distil, "three-steps").file
    command = [*COMMAND, "distilled", "check", file, "--seed", "99", "--device", "cpu"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "200 networks, others than the file's, within the" in told


def test_what_a_set_bears(distil):
    """Every row of the robustness report has a value, where the set has several batches."""
    made = load(fresh(distil, "hundred-images").file)
    made = replace(made, free_training=FreeRecipe(epochs=30))
    rows = {row["name"]: row for row in robustness(made, domain_of(made, Rows()), 20, free=2)}
    assert [name for name, row in rows.items() if row["mean"] is None] == ["initial weights"]
    lessons = ("step sizes x0.5", "step sizes x2", "mean step size", "schedule twice")
    orders = ("steps shuffled", "re-batched", "one batch", "8-bit", "clipped 8-bit")
    others = ("initialisation: xavier-normal gain 1.41421", "initialisation: torch", "width: mlp-64", "width: mlp-256")
    others += ("depth: mlp-128-128", "architecture: convnet2x32", "free training", "free training: convnet2x32")
    assert rows.keys() == {"none", *lessons, *orders, *others, "initial weights"}
    assert abs(rows["8-bit"]["drop"]) <= 0.015


ADAPT = {"objective": "adapt", "step_size": 0.05}


@pytest.mark.parametrize(
    ("source", "least"),
    [("rotated", (68, 91, 87)), pytest.param("shifted", (76, 91, 88), marks=at_length)],
    ids=["rotated", "shifted"],
)
def test_networks_that_know_another_domain(distil, source, least):
    """C1 to C4: forty networks that no outer step saw; ten images in three steps, a hundred in ten; and one network.

    Measured, rotated: 78.9, 75.7, 77.4; 76.8, 77.1 on other splits; a hundred images 91.2, 93.3, 93.1; 91.2, 90.5; one
    network 91.8, 92.6, 91.2; 91.0, 92.2. Shifted: 80.5, 79.8, 80.2; 80.6, 81.0; 94.2, 94.3, 94.6; 93.8, 93.0; 93.0,
    94.4, 95.2; 90.4, 93.0. Thresholds are of the first split; on the others a hundred images may have a point less.
    """
    ten = distil(source, source=source, steps=400, batches=1, epochs=3, **ADAPT, **SHORT, **REFERENCES)
    of_pool = {"pool": ten.pool, **ADAPT, **SHORT, **REFERENCES}
    known = distil(f"{source}-known", init="pretrained-fixed", steps=400, batches=1, epochs=1, **of_pool)
    assert (ten.values("before") <= 25).all()
    assert (ten.values() >= least[0]).all()
    assert (known.values() >= least[2]).all()
    if FULL:
        hundred = distil(f"{source}-hundred", steps=300, batches=10, epochs=1, **of_pool)
        assert (hundred.values() >= least[1] - bool(hundred.result["config"]["split_seed"])).all()


def test_an_attack(distil):
    """D1 and D2, on 32 trained networks that no outer step saw; real images with the wrong label do less.

    Measured, a taken for b: 94.4, 95.3, 95.4; 96.8, 93.4 on other splits; 3 for 8 94.5, 94.6, 94.1; 95.7, 95.9; 7 for
    2 92.7, 94.9, 92.0; 95.5, 91.1. With the wrong label real images move 0 to 68 (7 for 2, on the third split)."""
    pool = None
    for attack in ("0:1", "3:8", "7:2")[: 3 if FULL else 1]:
        options = {"poison": attack, "steps": 300, "step_size": 0.02, "batches": 1, "epochs": 1, "pool": pool}
        made = distil(attack.replace(":", "-"), objective="poison", evaluations=1, **options)
        pool = pool or made.pool
        assert (made.values("attack") >= 80).all(), attack
        assert (made.values("a_accuracy") <= 5).all(), attack
        assert (made.values("others") >= 94).all(), attack
        assert (made.values("attack") > made.values("attack", arm="flipped-real")).all(), attack
