"""The command ``tutelage distilled`` in the hands of somebody hostile: one line, status 2, and nothing is written."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.distilled.artefacts import SHAPE, full, made, numbers
from tests.recipes.dataset_runs import SHORT, finished_run
from tests.test_cli_distilled import printed, refused
from tutelage.cli_distilled import _drawable
from tutelage.distilled import DistilledSet
from tutelage.distilled.facts import OWN, FreeRecipe, Start
from tutelage.distilled.files import load, save
from tutelage.distilled.inputs import Inputs

USER = """
import torch
from torch import nn

def tiny(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))

def picky(shape, classes):
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, classes)

        def forward(self, x):
            if x.any():
                raise ValueError("rows\\nof another kind")
            return self.linear(x.flatten(1))

    return Picky()

def seven(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The file of a small run."""
    _, folder = finished_run(tmp_path_factory.getbasetemp(), "checked", **SHORT)
    return folder / "distilled-0.safetensors"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with a user's module and data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "nets_of_hostile_user.py").write_text(USER)
    draws = np.random.RandomState(0)
    for name, shape in (("colour", (3, 8, 8)), ("small", SHAPE), ("nan", (1, 8, 8))):
        x = draws.rand(40, *shape).astype(np.float32) * (np.nan if name == "nan" else 1)
        np.savez(f"{name}.npz", x=x, y=np.arange(40) % (3 if name == "small" else 10))
    return tmp_path


@pytest.fixture
def unchanged(here):
    """Fails if anything was written."""
    before = {file: file.stat().st_mtime_ns for file in here.rglob("*") if "__pycache__" not in file.parts}
    yield
    after = {file: file.stat().st_mtime_ns for file in here.rglob("*") if "__pycache__" not in file.parts}
    assert after == before


def foreign(path, here):
    save_file({"images": torch.zeros(1)}, here / "other.safetensors")
    torch.save({}, here / "pickled.safetensors")
    whole = path.read_bytes()
    (here / "cut.safetensors").write_bytes(whole[:-9])
    (here / "bit.safetensors").write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    (here / "text.safetensors").write_text("no set")
    (here / "folder.safetensors").mkdir()


@pytest.mark.parametrize("command", [("show",), ("train", "--out", "net.safetensors"), ("check", "--data", "digits")])
def test_files_that_are_no_sets(command, path, here, capsys):
    foreign(path, here)
    first, *options = command
    for name, words in (
        ("gone", "does not exist"), ("folder", "does not exist"), ("pickled", "is a pickle file, which may run code"),
        ("other", "was not written by"), ("cut", "or cut"), ("text", "or cut"), ("bit", "changed after it was written"),
    ):  # fmt: skip
        assert words in refused(capsys, first, f"{name}.safetensors", *options)
    assert not list(here.glob("net*.safetensors"))
    assert not (here / "drawings").exists()


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--net bogus", 'unknown student "bogus"'),
        ("--net=", 'unknown student ""'),
        ("--net mlp-0", 'unknown student "mlp-0"'),
        ("--net resnet20", "keeps running statistics"),
        ("--net nets_of_hostile_user:picky", "as the images of the file are: ValueError: rows of another kind (nets_"),
        ("--net nets_of_hostile_user:seven", "returned (2, 7) for 2 examples, but needs (2, 10)"),
        ("--net gone_module:x:net", 'student gone_module:x:net: cannot import "gone_module"'),
        ("--data colour.npz", "rows have shape (3, 8, 8), but the set was made for (1, 8, 8)"),
        ("--data small.npz", "rows have shape (1, 4, 4), but the set was made for (1, 8, 8)"),
        ("--data nan.npz", "nan.npz: x[0] is not finite"),
        ("--data gone.npz", "gone.npz: no such file"),
        ("--resize 0", "resize is 0; images have at least 1 pixel a side"),
        ("--channels 2", 'Invalid value "2" for --channels. Choose from: 1, 3'),
        ("--channels 3", "rows have shape (3, 8, 8)"),
        ("--test 0", "test is 0.0; it is a share between 0 and 1"),
        ("--test nan", "test is nan; it is a share"),
        ("--device cuda:99", "CUDA devices here; use cpu"),
        ("--bogus 1", "Unknown option"),
    ],
)
def test_options_that_cannot_be(options, words, path, capsys):
    assert words in refused(capsys, "check", path, "--nets", "2", *options.split(" "))
    assert words in refused(capsys, "train", path, *options.split(" "))


@pytest.mark.usefixtures("unchanged")
def test_numbers_of_networks_that_cannot_be(path, capsys):
    for count in ("0", "-1"):
        assert f"{count} networks cannot judge a set" in refused(capsys, "check", path, f"--nets={count}")


def test_a_file_that_exists_stays_as_it_is(path, here, capsys):
    for name in ("net.safetensors", "picture.png"):
        (here / name).write_text("mine")
    assert "it exists, and is not written over" in refused(capsys, "train", path, "--out", "net.safetensors")
    assert "it exists, and is not written over" in refused(capsys, "show", path, "--out", "picture.png")
    assert "it exists" in refused(capsys, "train", path, "--out", path)
    assert load(path)
    assert {(here / name).read_text() for name in ("net.safetensors", "picture.png")} == {"mine"}
    (here / "drawings").write_text("mine")
    assert "the folder drawings cannot be made (File exists): give --out" in refused(capsys, "show", path)


@pytest.mark.usefixtures("unchanged")
def test_a_folder_that_is_not_there_is_told_before_anything_is_trained(path, capsys):
    for command, name in (("train", "no/net.safetensors"), ("show", "no/picture.png")):
        assert "there is no folder no; make it, or give another" in refused(capsys, command, path, "--out", name)


def kept(artefact, name="own.safetensors"):
    save(artefact, name)
    return name


def test_networks_that_diverge_have_no_accuracy_and_no_file(path, here, capsys):
    wild = load(path)
    sizes = torch.full_like(wild.distilled.step_sizes, 1e30)
    name = kept(replace(wild, distilled=replace(wild.distilled, step_sizes=sizes)))
    for command in (("check",), ("train",), ("train", "--out", "net.safetensors")):
        told = refused(capsys, command[0], name, *command[1:])
        assert "lesson 2 of 3 diverges" in told
        assert "at step size 1e+30" in told
    assert not (here / "net.safetensors").exists()
    sizes = sizes / sizes * wild.distilled.step_sizes.max() * 1e3
    doubtful = kept(replace(wild, distilled=replace(wild.distilled, step_sizes=sizes)), "doubtful.safetensors")
    printed(capsys, "check", doubtful, "--nets", "2")  # absurd, but finite


def test_another_normalisation_makes_other_rows_and_is_told(path, capsys):
    wide = load(path)
    inputs = Inputs(wide.inputs.shape, wide.inputs.scale, wide.inputs.mean, 1.1 * wide.inputs.std)
    told = printed(capsys, "check", kept(replace(wide, inputs=inputs)))
    assert "not compared: these are other test rows than those of the accuracy that the file states" in told


def test_sets_of_other_classes_than_the_data(capsys):
    assert "rows have shape (1, 8, 8), but the set was made for (1, 4, 4)" in refused(
        capsys, "check", kept(made(classes=tuple("abcdefghij"))), "--data", "digits"
    )
    assert "digits has 10 classes, but the set is for 3" in refused(capsys, "check", kept(made()), "--data", "digits")
    assert "give test rows with --data" in refused(capsys, "check", kept(made()))
    assert "small.npz: 11 test rows, 200 networks" in printed(capsys, "check", kept(made()), "--data", "small.npz")


def test_a_set_for_trained_networks_tells_what_is_needed(path, here, capsys):
    name = kept(replace(load(path), start=Start("pretrained")))
    needed = "the file holds none: give one (to train: --net package.module:function, which returns it), or weights"
    for options in ([], ["--net", "mlp-8"]):
        assert needed in refused(capsys, "train", name, *options)
        assert needed in refused(capsys, "check", name, *options)
    assert "seed 0:" in printed(capsys, "train", name, "--net", "nets_of_hostile_user:tiny")


def test_a_file_that_names_code_does_not_run_it(path, here, capsys):
    (here / "code_of_hostile_user.py").write_text(
        "open('ran', 'w').close()\ndef net():\n    open('ran', 'w').close()\n"
    )
    known = load(path)
    for scheme in ("xavier-normal", OWN):
        architecture = replace(known.architecture, name="code_of_hostile_user:net")
        name = kept(replace(known, architecture=architecture, start=Start("random", scheme)))
        for command in (("check",), ("check", "--robustness"), ("train",), ("train", "--out", "net.safetensors")):
            assert "which is code: a file does not run it" in refused(capsys, command[0], name, *command[1:])
    printed(capsys, "show", name)
    assert not (here / "ran").exists()


def test_names_in_a_file_cannot_write_to_the_terminal(capsys):
    classes = ("a\x1b[2Jb", "[red]c", "d\ne")
    assert main_out(capsys, kept(full())).count("\x1b") == 0
    told = main_out(capsys, kept(replace(full(), classes=classes), "other.safetensors"))
    assert "\x1b" not in told
    assert "a\ufffd[2Jb, [red]c, d\ufffde" in told
    evaluation = replace(full().evaluation, data={"data": "a\x1b[2Jb.npz"})
    told = refused(capsys, "check", kept(replace(full(), evaluation=evaluation), "third.safetensors"))
    assert "\x1b" not in told
    assert "The file says that the set was judged on it; give other data with --data" in told


def main_out(capsys, *arguments):
    printed(capsys, "show", *arguments)
    from tutelage.cli import main

    assert main(["distilled", "show", *arguments]) == 0
    return capsys.readouterr().out


def test_of_many_images_the_first_are_drawn(here, capsys, monkeypatch):
    monkeypatch.setattr("tutelage.report.sheet.MOST_IMAGES", 20)
    images = numbers(5, 9, *SHAPE)
    many = DistilledSet(images, torch.arange(9) % 3, torch.linspace(0.1, 1.0, 10), 2)
    told = printed(capsys, "show", kept(made(distilled=many)))
    assert "45 of 1×4×4: 5 batches of 9" in told
    assert "images: drawings/own.png (the first 18 of 45)" in told
    wide = DistilledSet(images.flatten(0, 1).unsqueeze(0), numbers(1, 45, 3), torch.full((1,), 0.1))
    assert "(the first 20 of 45)" in printed(capsys, "show", kept(made(distilled=wide)))
    free = made(distilled=replace(many, step_sizes=torch.zeros(0)), free_training=FreeRecipe())
    assert "(the first 18 of 45)" in printed(capsys, "show", kept(free))
    assert (here / "drawings/own.png").stat().st_size > 0


def test_the_first_batches_keep_their_labels_and_step_sizes():
    images, labels = numbers(3, 4, *SHAPE), torch.arange(12).view(3, 4) % 3
    known = DistilledSet(images, labels, torch.arange(1.0, 7.0), 2)
    some = _drawable(known, 8)
    assert torch.equal(some.images, images[:2])
    assert torch.equal(some.labels, labels[:2])
    assert some.step_sizes.tolist() == [1.0, 2.0, 4.0, 5.0]
    few = _drawable(known, 3)
    assert torch.equal(few.images, images[:1, :3])
    assert torch.equal(few.labels, labels[:1, :3])
    assert few.step_sizes.tolist() == [1.0, 4.0]
    assert torch.equal(_drawable(known, 12).images, images)


def test_rows_that_are_asked_for_are_tested_beside_a_file(path, here, capsys):
    told = printed(capsys, "train", path, "--out", "net.safetensors", "--test", "0.5")
    assert "of 898 test rows" in told


def test_a_users_network_end_to_end(tmp_path_factory, here, capsys):
    """The run, and everybody after it, know the network from its name alone; the file runs nothing."""
    net = "nets_of_hostile_user:tiny"
    _, folder = finished_run(tmp_path_factory.getbasetemp(), "of-a-user", net=net, **SHORT)
    name = folder / "distilled-0.safetensors"
    assert f"network {net}" in printed(capsys, "show", name)
    assert f"give net ({net}) if you trust it" in refused(capsys, "check", name)
    told = printed(capsys, "check", name, "--net", net)
    assert "reproduced: the same 5 networks on the same rows." in told
    assert f"{net}, seed 3:" in printed(capsys, "train", name, "--net", net, "--seed", "3", "--data", "digits")
    other = printed(capsys, "check", name, "--net", "mlp-8", "--nets", "2")
    assert f"not compared: the file states the accuracy of {net}, not of mlp-8" in other


# real processes


def spoken(folder, *arguments):
    command = [sys.executable, "-m", "tutelage", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("init", ["random", "fixed"])
def test_what_one_process_makes_another_confirms(init, here):
    """Made by one process; a second one reaches the stated accuracies, other networks those within the interval."""
    small = "--steps 40 --net mlp-16 --step-size 0.1 --draws 1 --evaluations 2 --seeds 1 --device cpu --threads 1 "
    small += "--free-epochs 0 --full-epochs 0 --no-robustness " + ("--nets 2" if init == "fixed" else "--held-out 20")
    spoken(here, "run", "dataset-distillation", "--init", init, "--out", "made", *small.split(" "))
    file = here / "made" / "distilled-0.safetensors"
    stated = load(file).evaluation
    count = len(stated.values)
    plural = "s" * (count != 1)
    assert f"reproduced: the same {count} network{plural} on the same rows." in spoken(here, "distilled", "check", file)
    code = (
        "import json, sys; from tutelage.distilled import load\n"
        "from tutelage.recipes.dataset_distillation.checking import Rows, domain_of\n"
        "artefact = load(sys.argv[1]); rows = domain_of(artefact, Rows())\n"
        "print(json.dumps(artefact.evaluate(rows.test_x, rows.test_y)['values']))"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == pytest.approx(stated.values, abs=0.002)
    if init == "random":
        told = spoken(here, "distilled", "check", file, "--nets", "30", "--seed", "4")
        assert "30 networks, others than the file's, within the" in told
        assert stated.summary["mean"] > 0.13  # above chance: there is something to reproduce
    else:
        first, second = (spoken(here, "distilled", "train", file, "--seed", seed) for seed in (0, 2 * count))
        assert first.split(":")[1] == second.split(":")[1]  # the seed names a stored network, nothing is drawn
