"""Files of distilled sets: the same values and bytes come back, and whatever does not fit is refused in one line."""

import json
import struct
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from tests.distilled.artefacts import INPUTS, SHAPE, made, numbers, stored, unordered
from tutelage.distilled import DistilledSet, labels_in_turn
from tutelage.distilled.artefact import load, save, versions
from tutelage.distilled.facts import Architecture, Evaluation, FreeRecipe, Start
from tutelage.distilled.inputs import Inputs
from tutelage.distilled.whitening import Whitening
from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.real_sets import Real, class_means

STATED = Evaluation((0.5, 0.75, 1.0), 8, "abc", {"data": "digits"}, (0.25, 0.25, 0.5))


def full():
    """One with a value in every field."""
    whitening = Whitening(numbers(16), torch.eye(16))
    soft = DistilledSet(numbers(2, 3, *SHAPE), numbers(2, 3, 3), torch.tensor([0.1, 0.2]))
    return made(
        distilled=soft,
        inputs=Inputs(SHAPE, 255.0, torch.tensor([[[0.1307]]]), torch.tensor([[[0.3081]]]), whitening),
        start=stored("fixed"),
        attack=(0, 2),
        objective="poisoning",
        method="unrolled",
        augmentation=("crop", "scale"),
        free_training=FreeRecipe(0.05, 1000, augmentation=("crop",)),
        evaluation=STATED,
        truncate=3,
        seed=7,
        log=[{"step": 1, "loss": 0.5}],
        report={"scores": {"HLR": 0.1}},
    )


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
            r"soft labels of 4 classes, but 3 names",
        ),
        (
            {"distilled": DistilledSet(numbers(1, 3, *SHAPE), labels_in_turn(3, 1), torch.zeros(0))},
            ConfigError,
            "without step sizes needs free_training",
        ),
        (
            {"distilled": DistilledSet(numbers(1, 3, *SHAPE), labels_in_turn(3, 1), torch.zeros(1))},
            DataError,
            "step sizes finite and above 0",
        ),
        (
            {"distilled": DistilledSet(numbers(1, 3, *SHAPE) / 0, labels_in_turn(3, 1), torch.ones(1))},
            DataError,
            "images must be finite",
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


# files that are none


def test_a_report_that_is_no_json_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="must be plain JSON"):
        save(made(report={"images": torch.zeros(1)}), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_sets(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(DataError, match="does not exist; a distilled set file is made by tutelage run dataset-dist"):
        load(path)
    torch.save({"images": torch.zeros(1)}, path)
    with pytest.raises(DataError, match="is a pickle file, which may run code when it is read"):
        load(path)
    torch.save({"images": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match="is a pickle file"):
        load(path)
    save_file({"images": torch.zeros(1)}, path)
    with pytest.raises(DataError, match="is no distilled set file; it is safetensors, but was not written by"):
        load(path)


def test_a_file_that_begins_like_a_pickle_but_is_safetensors_is_read(tmp_path):
    """A header of 640 bytes begins with the bytes 80 02, like old pickles."""
    from tutelage.nets import load_weights

    path = tmp_path / "a.safetensors"
    for padding in range(1000):
        save_file({"weight": torch.zeros(1, 1), "bias": torch.zeros(1)}, path, {"filling": "x" * padding})
        if path.read_bytes()[:2] == b"\x80\x02":
            break
    else:
        pytest.fail("no header of 640 bytes")
    assert load_weights(nn.Linear(1, 1), path) == {}


def test_a_cut_file_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save(made(), path)
    whole = path.read_bytes()
    for length in (4, 100, len(whole) - 4):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="is no distilled set file, or cut"):
            load(path)


def rewritten(path, change):
    """The file with other facts."""
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["tutelage distilled set"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(facts, tensors)
    save_file(tensors, path, {"tutelage distilled set": json.dumps(facts)})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda facts, tensors: facts.update(format=2), "has distilled set format 2, but this version reads 1"),
        (lambda facts, tensors: facts.pop("init"), "is damaged: KeyError"),
        (lambda facts, tensors: facts.update(init=3), "is damaged: TypeError"),
        (lambda facts, tensors: tensors.pop("step_sizes"), "is damaged: KeyError"),
        (lambda facts, tensors: facts["set"].update(epochs=5), "is damaged: distilled set: .4,. step sizes, but 2 bat"),
        (lambda facts, tensors: tensors["images"].fill_(float("nan")), "is damaged: distilled set: images must be fin"),
        (lambda facts, tensors: facts.update(classes=["a"]), "is damaged: distilled set: labels are 0 to 2"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(change, match, tmp_path):
    path = tmp_path / "a.safetensors"
    save(made(), path)
    rewritten(path, change)
    with pytest.raises(DataError, match=match) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_header_longer_than_the_file_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save(made(), path)
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])
    with pytest.raises(DataError, match="or cut"):
        load(path)


# inputs


def test_rows_become_what_networks_see():
    raw = torch.tensor([[[[0, 16, 8, 4]] * 4]], dtype=torch.uint8)
    seen = INPUTS.seen(raw)
    assert torch.allclose(seen, (raw / 16.0 - 0.3) / 0.4)
    assert torch.equal(INPUTS.seen(raw.float() / 16, scale=1.0), seen)
    with pytest.raises(ShapeError, match=r"rows have shape \(4, 4\), but the set was made for \(1, 4, 4\)"):
        INPUTS.seen(raw[0])


def test_whitened_rows():
    inputs = Inputs(SHAPE, 1.0, torch.tensor(0.0), torch.tensor(1.0), Whitening(torch.ones(16), 2 * torch.eye(16)))
    assert torch.equal(inputs.seen(torch.full((1, *SHAPE), 3.0)), torch.full((1, *SHAPE), 4.0))


def test_another_normalisation_is_refused_and_a_rounded_one_is_not():
    colour = Inputs((3, 2, 2), 255.0, numbers(3, 1, 1), torch.tensor([0.247, 0.2435, 0.2616]).view(3, 1, 1))
    colour.check(numbers(3), [0.247, 0.243, 0.261])
    INPUTS.check(0.3, [0.4])
    with pytest.raises(ConfigError, match=r"with mean .* and std 0.2023, 0.1994, 0.201, but the set was made with"):
        colour.check(numbers(3), [0.2023, 0.1994, 0.2010])
    with pytest.raises(
        ConfigError, match=r"with mean 0 and std 1, but the set was made with mean 0.3 and std 0.4: use"
    ):
        INPUTS.check(0.0, 1.0)
    with pytest.raises(ConfigError, match="use these, as a set works with them alone"):
        colour.check([0.5, 0.5], 1.0)


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
    assert 0.5 < sum(values) / 20 < 0.9  # the specification's class means reach 74.0 at a tuned rate
    save(artefact, tmp_path / "set.safetensors")
    torch.save((test_x, test_y), tmp_path / "rows.pt")
    code = (
        "import sys, json, torch; from tutelage.distilled.artefact import load, save; torch.set_num_threads(1)\n"
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
