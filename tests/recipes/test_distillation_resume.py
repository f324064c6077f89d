"""Distillation in a five-second size: kill and resume, damaged folders, two processes."""

import json
import os
import shutil

import pytest
import torch

from tutelage.errors import CheckpointError, DataError
from tutelage.nets.weights import save_weights
from tutelage.recipes import distillation
from tutelage.recipes.distillation import Config
from tutelage.runs import RunFolder

from .distillation_runs import FROM_FILE, finished_run, saved_teacher
from .interrupted import Stops, finish, kill_after, read, without_times

KILLED = ["--seeds", "2", "--steps", "120", "--teacher-steps", "120", "--student", "mlp-gelu-8", "--evaluations", "30"]
KILLED += ["--teacher", "mlp-gelu-24-dropout-0.3", "--arms", "scratch,kd,noisy,mutual,hints,born-again-ensemble"]
KILLED += ["--generations", "1", "--hint-layers", "2:2", "--validation", "0.1", "--pick", "validation", "--cache"]
KILLED += ["--device", "cpu", "--threads", "1", "--checkpoint-seconds", "0.05"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.mark.slow
def test_kill_and_resume(tmp_path, monkeypatch):
    def place(name):
        monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / f"cache of {name}"))

    def written(name):
        """What a run wrote, with the cache folder of another one in place of its own."""
        return without_times(read(tmp_path / name)).replace(f"cache of {name}", "cache of whole")

    whole = tmp_path / "whole"
    place("whole")
    finish("run", "distillation", *KILLED, "--out", whole)
    for name in ("190", "300"):  # in different stages
        out = tmp_path / name
        place(name)
        kill_after(int(name), out, "run", "distillation", *KILLED)
        assert (out / "checkpoint" / "state.safetensors").is_file()
        finish("resume", out)
        assert written(name) == written("whole")
        assert (out / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_resuming_a_finished_run_gives_its_result_again(finished):
    result, out = finished
    again = distillation.resume(RunFolder.open(out))
    assert json.dumps(again, sort_keys=True) == json.dumps(json.loads(json.dumps(result)), sort_keys=True)


def test_a_damaged_folder(tmp_path, finished):
    _, done = finished
    shutil.copytree(done, tmp_path / "run")
    kept = json.loads((done / "arms" / "kd.json").read_text())
    (tmp_path / "run" / "arms" / "kd.json").write_text(json.dumps({"records": kept["records"]}))
    with pytest.raises(CheckpointError, match=r"arms/kd.json is damaged \('ends'\)"):
        distillation.resume(RunFolder.open(tmp_path / "run"))
    (tmp_path / "run" / "arms" / "kd.json").unlink()
    tensors = (tmp_path / "run" / "arms" / "teacher.safetensors").read_bytes()
    (tmp_path / "run" / "arms" / "teacher.safetensors").write_bytes(tensors[:-9])
    with pytest.raises(CheckpointError, match=r"teacher.safetensors is damaged"):
        distillation.resume(RunFolder.open(tmp_path / "run"))


def test_two_processes_do_not_write_one_run(finished):
    _, out = finished
    with RunFolder.open(out).locked(), pytest.raises(CheckpointError, match="is being written by another process"):
        distillation.resume(RunFolder.open(out))


def test_a_missing_fingerprint_is_refused(tmp_path, finished):
    """Arms of which is not known what they share are not compared."""
    _, done = finished
    for part, name in (("pairing", "batches"), ("pairing", "split"), ("teachers", "teacher")):
        out = tmp_path / name
        shutil.copytree(done, out)
        facts = read(out, "arms/kd.json")
        del facts["fingerprints"][1][part][name]
        (out / "arms" / "kd.json").write_text(json.dumps(facts))
        with pytest.raises(
            CheckpointError, match=f"arms/kd.json is damaged: seed 1 has no fingerprint of its {name}; re"
        ):
            distillation.resume(RunFolder.open(out))


def stopped(tmp_path, stage):
    """A run with a teacher from a file, stopped in a stage, and the network of the file and where it is."""
    net, path = saved_teacher(tmp_path)
    out, options = tmp_path / stage, FROM_FILE | {"arms": "scratch,kd", "teacher_weights": path}
    with pytest.raises(KeyboardInterrupt):
        distillation.run(Config(**options, checkpoint_seconds=0.0), out, Stops(stage, 5))
    return net, path, out


def test_other_weights_than_at_the_start_are_refused(tmp_path):
    net, path, out = stopped(tmp_path, "scratch")
    with torch.no_grad():
        net[1].weight[3, 4] += 1e-3
    save_weights(net, path, {})
    with pytest.raises(CheckpointError) as caught:
        distillation.resume(RunFolder.open(out))
    assert str(caught.value) == (
        f"{out}: what teacher is read from has changed since the run started (tensor 1.weight); put the old file back, "
        "or start a new run."
    )
    os.remove(path)
    with pytest.raises(DataError, match=r"teacher\.safetensors does not exist"):
        distillation.resume(RunFolder.open(out))
    saved_teacher(tmp_path)
    assert distillation.resume(RunFolder.open(out))["order"] == ["scratch", "kd"]


def test_weights_that_were_read_are_not_needed_again(tmp_path):
    _, path, out = stopped(tmp_path, "kd")
    os.remove(path)
    result = distillation.resume(RunFolder.open(out))
    saved_teacher(tmp_path)
    config = Config(**FROM_FILE | {"arms": "scratch,kd", "teacher_weights": path}, checkpoint_seconds=0.0)
    distillation.run(config, tmp_path / "whole")
    assert without_times(read(out)) == without_times(read(tmp_path / "whole"))
    os.remove(path)
    assert distillation.resume(RunFolder.open(out)) == result
