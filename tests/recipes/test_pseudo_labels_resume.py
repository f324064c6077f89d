"""Few labels: runs that are stopped, killed, finished or damaged, and resumed."""

import json
import shutil

import pytest
import torch

from tutelage.errors import CheckpointError
from tutelage.recipes import pseudo_labels
from tutelage.recipes.pseudo_labels.trial import Trial
from tutelage.runs import RunFolder

from .interrupted import assert_same, finish, kill_after
from .pseudo_runs import finished_run, plan, trial, weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("arm", ["uda", "offline", "mpl-scalar", "mpl-per-sample"])
@pytest.mark.parametrize("at", [5, 13])
def test_a_trial_goes_on_byte_for_byte(arm, at):
    """Also with a mask that adapts, and in the middle of a later phase; metrics since the last test are kept."""
    options = {"mask": "freematch", "rounds": 1, "wait": 2}
    whole, half = trial(arm, **options), trial(arm, min(at, 11 if arm == "uda" else at), **options)
    tensors, facts = half.state()
    found = plan(**options)
    again = Trial(arm, found.settings[0], found.options)
    again.restore({n: t.clone() for n, t in tensors.items()}, json.loads(json.dumps(facts)))
    while not again.finished:
        again.advance()
    assert again.records == whole.records
    assert torch.equal(weights(again), weights(whole))


KILLED = ["--seeds", "2", "--steps", "150", "--batch-size", "32", "--student", "mlp-16", "--evaluations", "30"]
KILLED += ["--teachers", "supervised,offline,distil,mpl-scalar", "--mask", "flexmatch", "--device", "cpu"]
KILLED += ["--threads", "1", "--checkpoint-seconds", "0.05"]


@pytest.mark.slow
def test_kill_and_resume(tmp_path):
    finish("run", "pseudo-labels", *KILLED, "--out", tmp_path / "whole")
    out = tmp_path / "killed"
    kill_after(95, out, "run", "pseudo-labels", *KILLED)  # in the second arm and seed
    assert (out / "checkpoint" / "state.safetensors").is_file()
    finish("resume", out)
    assert_same(out, tmp_path / "whole")


def test_resuming_a_finished_run_gives_its_result_again(finished):
    result, out = finished
    again = pseudo_labels.resume(RunFolder.open(out))
    assert json.dumps(again, sort_keys=True) == json.dumps(json.loads(json.dumps(result)), sort_keys=True)


def test_a_damaged_folder(tmp_path, finished):
    _, done = finished
    shutil.copytree(done, tmp_path / "run")
    facts = json.loads((done / "arms" / "uda.json").read_text())
    (tmp_path / "run" / "arms" / "uda.json").write_text(json.dumps({"records": facts["records"]}))
    with pytest.raises(CheckpointError, match=r"arms/uda.json is damaged \('ends'\); remove it and resume"):
        pseudo_labels.resume(RunFolder.open(tmp_path / "run"))
    config = json.loads((done / "config.json").read_text())
    del config["config"]["wait"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config.json is damaged: wait is missing"):
        pseudo_labels.resume(RunFolder.open(tmp_path / "run"))
