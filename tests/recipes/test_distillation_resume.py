"""Distillation in a five-second size: kill and resume, damaged folders, two processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tutelage.errors import CheckpointError
from tutelage.recipes import distillation
from tutelage.runs import RunFolder

from .distillation_runs import finished_run

COMMAND = [sys.executable, "-m", "tutelage"]
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


def without_times(path):
    result = json.loads((path / "result.json").read_text())
    result.pop("seconds")
    return json.dumps(result, sort_keys=True)


@pytest.mark.slow
def test_kill_and_resume(tmp_path):
    def place(name):
        return {**os.environ, "TUTELAGE_CACHE": str(tmp_path / f"cache of {name}")}

    def written(path, name):
        """What a run wrote, with the cache folder of another one in place of its own."""
        return without_times(path).replace(f"cache of {name}", "cache of whole")

    whole = tmp_path / "whole"
    subprocess.run([*COMMAND, "run", "distillation", *KILLED, "--out", str(whole)], check=True, env=place("whole"))
    for lines in (20, 110, 190, 300):  # in different stages
        out = tmp_path / str(lines)
        process = subprocess.Popen(
            [*COMMAND, "run", "distillation", *KILLED, "--out", str(out)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=place(lines),
        )  # fmt: skip
        seen = out / "metrics.jsonl"
        while process.poll() is None and not (seen.is_file() and seen.read_bytes().count(b"\n") >= lines):
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert (out / "checkpoint" / "state.safetensors").is_file()
        subprocess.run([*COMMAND, "resume", str(out)], check=True, capture_output=True, env=place(lines))
        assert written(out, lines) == written(whole, "whole")
        assert seen.read_bytes() == (whole / "metrics.jsonl").read_bytes()


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
