"""Few labels: runs that are stopped, killed, finished or damaged, and resumed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tutelage.errors import CheckpointError
from tutelage.recipes import pseudo_labels
from tutelage.recipes.pseudo_labels.trial import Trial
from tutelage.runs import RunFolder

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


COMMAND = [sys.executable, "-m", "tutelage"]
KILLED = ["--seeds", "2", "--steps", "150", "--batch-size", "32", "--student", "mlp-16", "--evaluations", "30"]
KILLED += ["--teachers", "supervised,offline,distil,mpl-scalar", "--mask", "flexmatch", "--device", "cpu"]
KILLED += ["--threads", "1", "--checkpoint-seconds", "0.05"]


def without_times(path):
    result = json.loads((path / "result.json").read_text())
    result.pop("seconds")
    return json.dumps(result, sort_keys=True)


@pytest.mark.slow
def test_kill_and_resume(tmp_path):
    whole = tmp_path / "whole"
    subprocess.run([*COMMAND, "run", "pseudo-labels", *KILLED, "--out", str(whole)], check=True, capture_output=True)
    for lines in (20, 95, 190):  # in different arms and seeds
        out = tmp_path / str(lines)
        process = subprocess.Popen(
            [*COMMAND, "run", "pseudo-labels", *KILLED, "--out", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seen = out / "metrics.jsonl"
        while process.poll() is None and not (seen.is_file() and seen.read_bytes().count(b"\n") >= lines):
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert (out / "checkpoint" / "state.safetensors").is_file()
        subprocess.run([*COMMAND, "resume", str(out)], check=True, capture_output=True)
        assert without_times(out) == without_times(whole)
        assert seen.read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_resuming_a_finished_run_gives_its_result_again(finished):
    result, out = finished
    again = pseudo_labels.resume(RunFolder.open(out))
    assert json.dumps(again, sort_keys=True) == json.dumps(json.loads(json.dumps(result)), sort_keys=True)


def test_a_damaged_folder(tmp_path, finished):
    import shutil

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
