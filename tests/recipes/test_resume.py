"""A run that is killed at any moment and resumed ends with the bytes of an uninterrupted one, times apart."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-m", "tutelage"]
OPTIONS = ["--seeds", "2", "--epochs", "20", "--threads", "1", "--checkpoint-seconds", "0.05"]
OPTIONS += ["--teachers", "uniform,predefined,trusted-only,mixture-mask,early-stopping"]
STACKED = ["--student", "mlp-64"]
SEPARATE = ["--student", "tests.recipes.test_resume:net"]


def net(shape, classes):
    """A network with batch norm and dropout, which does not stack."""
    from torch import nn

    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, classes)
    )


def without_times(path):
    result = json.loads((path / "result.json").read_text())
    result.pop("seconds")
    return json.dumps(result, sort_keys=True).encode()


def run(student, out):
    return [*COMMAND, "run", "curricula", *OPTIONS, *student, "--out", str(out)]


def kill_at(command, moment):
    """Start a command, and kill it hard when the moment has come."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not moment() and process.poll() is None:
        time.sleep(0.005)
    killed = process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return killed


@pytest.mark.slow
@pytest.mark.parametrize("student", [STACKED, SEPARATE], ids=["stacked", "separate"])
def test_kill_and_resume(tmp_path, student):
    whole = tmp_path / "whole"
    subprocess.run(run(student, whole), check=True, capture_output=True)
    needed, metrics = without_times(whole), (whole / "metrics.jsonl").read_bytes()
    arms = {p.name: p.read_bytes() for p in (whole / "arms").glob("*.safetensors")}
    generator = random.Random(os.urandom(8))
    kills = 0
    for attempt in range(3):
        out = tmp_path / str(attempt)
        lines = generator.randrange(4, 150)
        seen = out / "metrics.jsonl"
        kills += kill_at(run(student, out), lambda s=seen, n=lines: s.is_file() and s.read_bytes().count(b"\n") >= n)
        resume = [*COMMAND, "resume", str(out)]
        once_more = time.monotonic() + generator.uniform(2.5, 4.0)
        kill_at(resume, lambda until=once_more: time.monotonic() > until)
        subprocess.run(resume, check=True, capture_output=True)
        assert without_times(out) == needed, f"killed after {lines} metric lines"
        assert (out / "metrics.jsonl").read_bytes() == metrics
        assert {p.name: p.read_bytes() for p in (out / "arms").glob("*.safetensors")} == arms
    assert kills == 3
