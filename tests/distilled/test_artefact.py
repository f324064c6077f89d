"""Distilled sets with all that a file says of them: the same values and bytes come back, in other processes too."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open

from tests.distilled.artefacts import SHAPE, STATED, full, made, numbers, unordered
from tutelage.distilled import DistilledSet, labels_in_turn
from tutelage.distilled.artefact import versions
from tutelage.distilled.facts import Architecture, Evaluation, Start
from tutelage.distilled.files import load, save
from tutelage.distilled.inputs import Inputs
from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.real_sets import Real, class_means


def same(a, b):
    assert torch.equal(a.distilled.images, b.distilled.images)
    assert torch.equal(a.distilled.labels, b.distilled.labels)
    assert torch.equal(a.distilled.step_sizes, b.distilled.step_sizes)
    assert a.distilled.epochs == b.distilled.epochs
    for field in ("classes", "architecture", "objective", "attack", "method", "augmentation", "free_training",
                  "evaluation", "truncate", "seed", "versions", "report"):  # fmt: skip
        assert getattr(a, field) == getattr(b, field), field
    assert list(a.log) == list(b.log)
    assert (a.start.regime, a.start.scheme, a.start.gain, a.start.seed) == (
        b.start.regime, b.start.scheme, b.start.gain, b.start.seed)  # fmt: skip
    assert a.start.weights.keys() == b.start.weights.keys()
    assert all(torch.equal(value, b.start.weights[name]) for name, value in a.start.weights.items())
    assert (a.inputs.shape, a.inputs.scale) == (b.inputs.shape, b.inputs.scale)
    assert torch.equal(a.inputs.mean, b.inputs.mean)
    assert torch.equal(a.inputs.std, b.inputs.std)
    assert (a.inputs.whitening is None) == (b.inputs.whitening is None)


@pytest.mark.parametrize("make", [made, full, unordered], ids=["plain", "full", "unordered"])
def test_a_set_comes_back_as_it_was_and_again_with_the_same_bytes(make, tmp_path):
    artefact = make()
    save(artefact, tmp_path / "a.safetensors")
    back = load(tmp_path / "a.safetensors")
    same(artefact, back)
    save(back, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_whitening_comes_back(tmp_path):
    save(full(), tmp_path / "a.safetensors")
    assert torch.equal(load(tmp_path / "a.safetensors").inputs.whitening.mean, numbers(16))


def test_float64_stays(tmp_path):
    distilled = DistilledSet(
        numbers(1, 3, *SHAPE, dtype=torch.float64), labels_in_turn(3, 1), torch.tensor([0.1], dtype=torch.float64)
    )
    artefact = made(distilled=distilled)
    save(artefact, tmp_path / "a.safetensors")
    net = load(tmp_path / "a.safetensors").train()
    assert next(net.parameters()).dtype is torch.float64


def test_any_reader_of_safetensors_shows_what_the_file_is(tmp_path):
    save(full(), tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["tutelage distilled set"])
        names = set(file.keys())
    assert {"images", "labels", "step_sizes", "weights.1.weight", "zca.matrix"} <= names
    assert facts["format"] == 1
    assert facts["objective"] == "poisoning (0→2)"
    assert facts["set"]["step_sizes"] == pytest.approx([0.1, 0.2])
    assert facts["set"] | {"step_sizes": 0} == {
        "batches": 2, "images_a_batch": 3, "epochs": 1, "applications": 2, "labels": "logits", "step_sizes": 0,
    }  # fmt: skip
    assert facts["input"] == {"shape": [1, 4, 4], "range": [0.0, 255.0]}
    assert facts["normalisation"]["mean"] == [[[pytest.approx(0.1307)]]]
    assert facts["normalisation"]["zca"] is True
    assert facts["init"]["regime"] == "fixed"
    assert facts["init"]["stored"] == 2
    assert facts["hypergradient"] == {"truncate": 3}
    assert facts["versions"] == versions()
    evaluation = facts["evaluation"]
    assert (evaluation["nets"], evaluation["mean"], evaluation["std"]) == (3, 0.75, 0.25)
    assert evaluation["modes"] == "training mode while taught, evaluation mode when tested"
    assert evaluation["rule"].startswith("plain gradient descent")


def test_one_class_one_image_one_step(tmp_path):
    save(made(batches=1, count=1, epochs=1), tmp_path / "a.safetensors")
    artefact = load(tmp_path / "a.safetensors")
    assert artefact.train()(numbers(2, *SHAPE)).shape == (2, 1)
    assert artefact.evaluate(numbers(4, *SHAPE), torch.zeros(4).long(), 2)["values"] == [1.0, 1.0]


def test_the_margin_of_other_networks_is_that_of_a_prediction():
    """t .975 with 2 degrees of freedom is 4.3027; the deviation is 1/4."""
    assert STATED.margin(5) == pytest.approx(4.302652729911275 * 0.25 * (1 / 3 + 1 / 5) ** 0.5)
    assert Evaluation((0.5,), 8, "abc").margin(5) is None


# what cannot be a set


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"classes": ("a", "b")}, ConfigError, r"labels are 0 to 2, but there are 2 classes"),
        ({"attack": (0, 3)}, ConfigError, r"attack \(0, 3\) names a class outside 0..2"),
        ({"attack": (1, 1)}, ConfigError, r"poison 1:1 needs two different classes"),
        (
            {"inputs": Inputs((1, 5, 5), 1.0, torch.tensor(0.0), torch.tensor(1.0))},
            ShapeError,
            r"images of shape \(1, 4, 4\), but rows of \(1, 5, 5\)",
        ),
        (
            {"distilled": DistilledSet(numbers(1, 3, *SHAPE), numbers(1, 3, 4), torch.ones(1))},
            ShapeError,
            r"labels of shape \(1, 3, 4\), but 3 names",
        ),
        (
            {"distilled": DistilledSet(numbers(1, 3, *SHAPE), labels_in_turn(3, 1), torch.zeros(0))},
            ConfigError,
            "without step sizes needs free_training",
        ),
        (
            {"distilled": DistilledSet(numbers(1, 3, *SHAPE), labels_in_turn(3, 1), torch.zeros(1))},
            DataError,
            "step sizes must be above 0",
        ),
        (
            {"distilled": DistilledSet(numbers(1, 3, *SHAPE) / 0, labels_in_turn(3, 1), torch.ones(1))},
            DataError,
            "values that are not finite in images",
        ),
        (
            {"start": Start("fixed", weights={"1.weight": torch.zeros(1, 8, 16)})},
            ShapeError,
            "stored weights are not those of mlp-8",
        ),
    ],
)
def test_what_does_not_fit_is_no_set(changes, error, match):
    with pytest.raises(error, match=match):
        made(**changes)


def test_starts_are_checked():
    with pytest.raises(ConfigError, match="regime fixed works with its own initial weights alone"):
        Start("fixed")
    with pytest.raises(ConfigError, match="random initial weights has none to be stored"):
        Start("random", weights={"w": torch.zeros(1)})
    with pytest.raises(ConfigError, match=r'unknown regime of initial weights "fix"\. Did you mean "fixed"'):
        Start("fix")
    with pytest.raises(ConfigError, match='unknown initialisation "xavier"'):
        Start("random", scheme="xavier")
    with pytest.raises(ConfigError, match="every std must be above 0"):
        Inputs(SHAPE, 1.0, torch.tensor(0.0), torch.tensor(0.0))


# another process


@pytest.mark.slow
def test_two_fresh_processes_reproduce_the_accuracies_and_write_the_same_bytes(digits, tmp_path):
    x, y, test_x, test_y = digits
    images = class_means(Real(x, y, 10), 1, 1, 0)
    parts = {
        "classes": tuple("0123456789"),
        "inputs": Inputs((1, 8, 8), 16.0, torch.tensor(0.0), torch.tensor(1.0)),
        "architecture": Architecture("mlp-128", made_shapes("mlp-128")),
        "distilled": DistilledSet(images, labels_in_turn(10, 1), torch.full((3,), 0.3), 3),
    }
    artefact = made(**parts)
    values = artefact.evaluate(test_x, test_y, 20)["values"]
    assert 0.5 < sum(values) / 20 < 0.9  # class means reach .74 at a tuned rate
    save(artefact, tmp_path / "set.safetensors")
    torch.save((test_x, test_y), tmp_path / "rows.pt")
    code = (
        "import sys, json, torch; from tutelage.distilled import load, save; torch.set_num_threads(1)\n"
        "artefact = load('set.safetensors'); x, y = torch.load('rows.pt', weights_only=True)\n"
        "save(artefact, sys.argv[1]); print(json.dumps(artefact.evaluate(x, y, 20)['values']))"
    )
    for name in ("first", "second"):
        done = subprocess.run(
            [sys.executable, "-c", code, name], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout) == pytest.approx(values, abs=0.002)
        assert (tmp_path / name).read_bytes() == (tmp_path / "set.safetensors").read_bytes()


def made_shapes(name):
    from tutelage.nets import build

    return {n: tuple(p.shape) for n, p in build(name, (1, 8, 8), 10).named_parameters()}
