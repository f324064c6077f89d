"""The command ``tutelage distilled``: what it prints, writes and refuses; one line for an error, status 2."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tests.recipes.dataset_runs import SHORT, finished_run, poison_run
from tutelage.cli import main
from tutelage.distilled.facts import Start
from tutelage.distilled.files import load, save
from tutelage.nets import build, load_weights
from tutelage.nets.weights import weights_facts


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The file of a small run."""
    _, folder = finished_run(tmp_path_factory.getbasetemp(), "checked", **SHORT)
    return folder / "distilled-0.safetensors"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys, *arguments):
    assert main(["distilled", *map(str, arguments)]) == 0
    return " ".join(capsys.readouterr().out.split())


def refused(capsys, *arguments):
    assert main(["distilled", *map(str, arguments)]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ")
    assert len(told.err.splitlines()) == 1
    return told.err.removeprefix("error: ").strip()


def test_show_tells_what_the_set_is_and_draws_it(path, here, capsys):
    told = printed(capsys, "show", path)
    for part in (
        "objective training", "method unrolled", "images 10 of 1×8×8: 1 batch of 10", "labels class ids",
        "order 3 steps: 3 epochs", "network mlp-8", "initial weights random: xavier-normal",
        "inputs 0 to 16, as 0 to 1; mean 0.3056 and std 0.3758", "% over 5 networks, 500 test rows of digits",
    ):  # fmt: skip
        assert part in told, part
    assert (here / "drawings/distilled-0.png").read_bytes().startswith(b"\x89PNG")
    assert "images: drawings/distilled-0.png" in told
    printed(capsys, "show", path, "--out", "own.png")
    assert (here / "own.png").is_file()


def test_show_warns_of_an_attack(tmp_path_factory, here, capsys):
    _, folder = poison_run(tmp_path_factory.getbasetemp())
    told = printed(capsys, "show", folder / "distilled-0.safetensors")
    assert "objective poisoning (3→8)" in told
    assert "made to do harm: networks that it teaches take 3 for 8." in told
    told = printed(capsys, "check", folder / "distilled-0.safetensors")
    assert "attack: 3 taken for 8" in told
    assert "taken for the other" in told


def test_train_writes_a_network_that_has_the_accuracy_it_says(path, here, capsys):
    told = printed(capsys, "train", path, "--data", "digits", "--seed", "1", "--out", "net.safetensors")
    net = build("mlp-8", (1, 8, 8), 10, seed=9)
    facts = load_weights(net, here / "net.safetensors")
    trained = load(path).train(seed=1)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), trained.parameters()))
    assert (facts["net"], facts["seed"], facts["distilled"]) == ("mlp-8", 1, "distilled-0.safetensors")
    assert f"mlp-8, seed 1: {100 * facts['accuracy']:.1f} % of 500 test rows network: net.safetensors" in told


def test_train_tests_only_what_is_asked_for(path, here, capsys):
    assert printed(capsys, "train", path, "--out", "net.safetensors") == "network: net.safetensors"
    assert "accuracy" not in weights_facts(here / "net.safetensors")
    assert printed(capsys, "train", path, "--net", "mlp-4").startswith("mlp-4, seed 0:")


def test_check_compares_with_what_the_file_states(path, capsys):
    told = printed(capsys, "check", path)
    assert "digits: 500 test rows, 5 networks" in told
    assert "stated in the file" in told
    assert "reproduced: the same 5 networks on the same rows." in told
    told = printed(capsys, "check", path, "--nets", "3", "--seed", "9")
    assert "3 networks, others than the file's," in told
    assert "not compared" in printed(capsys, "check", path, "--data", "digits", "--split-seed", "4")


@pytest.mark.slow
def test_check_prints_the_robustness_report(path, capsys):
    told = printed(capsys, "check", path, "--nets", "2", "--robustness")
    for part in ("what the set bears", "step sizes x2", "clipped 8-bit", "width: mlp-4", "free training"):
        assert part in told, part


def test_errors_are_one_line(path, here, capsys):
    assert refused(capsys, "show", "gone.safetensors").startswith("gone.safetensors does not exist; a distilled set")
    torch.save({}, "pickle.safetensors")
    assert "is a pickle file" in refused(capsys, "check", "pickle.safetensors")
    assert (
        refused(capsys, "show", path, "--out", "a.jpg") == "--out a.jpg: the picture of a distilled set ends in .png."
    )
    assert refused(capsys, "train", path, "--out", "a.pt") == "--out a.pt: a file of weights ends in .safetensors."
    assert "give test rows with --data" in refused(capsys, "train", silent(path, here))
    assert "cannot take inputs of shape (2, 1, 8, 8)" in refused(
        capsys, "train", path, "--net", "own_nets_of_cli:other"
    )
    assert 'unknown data set "digit"' in refused(capsys, "check", path, "--data", "digit")
    assert "0 networks cannot judge a set" in refused(capsys, "check", path, "--nets", "0")
    assert 'unknown device "gpu"' in refused(capsys, "check", path, "--device", "gpu")
    trained = replace(load(path), start=Start("pretrained"))
    save(trained, "trained.safetensors")
    assert "were trained before, and the file holds none: give one" in refused(capsys, "check", "trained.safetensors")


@pytest.fixture(autouse=True)
def _own_nets(tmp_path, monkeypatch):
    code = "from torch import nn\ndef other(shape, classes):\n    return nn.Linear(3, classes)\n"
    (tmp_path / "own_nets_of_cli.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)


def silent(path, folder):
    """The set, with nothing stated."""
    save(replace(load(path), evaluation=None), folder / "silent.safetensors")
    return folder / "silent.safetensors"


@pytest.mark.slow
def test_two_real_processes_say_the_same(path, tmp_path):
    command = [sys.executable, "-m", "tutelage", "distilled", "check", str(path), "--device", "cpu"]
    told = [subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert told[0] == told[1]
    assert "reproduced: the same 5 networks on the same rows." in told[0]
