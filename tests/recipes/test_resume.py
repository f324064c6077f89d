"""A run that is killed at any moment and resumed ends with the bytes of an uninterrupted one, times apart."""

import os
import random

import pytest

from .interrupted import assert_same, finish, kill_after, kill_at, lines

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


@pytest.mark.slow
@pytest.mark.parametrize("student", [STACKED, SEPARATE], ids=["stacked", "separate"])
def test_kill_and_resume(tmp_path, student):
    whole = tmp_path / "whole"
    start = ["run", "curricula", *OPTIONS, *student]
    finish(*start, "--out", whole)
    arms = {p.name: p.read_bytes() for p in (whole / "arms").glob("*.safetensors")}
    generator = random.Random(os.urandom(8))
    out, count = tmp_path / "killed", generator.randrange(4, 100)
    again = count + generator.randrange(20, 50)
    print(f"killed after {count} metric lines and after {again}")
    kill_after(count, out, *start)
    assert kill_at(lambda: lines(out) >= again, "resume", out)
    finish("resume", out)
    assert_same(out, whole)
    assert {p.name: p.read_bytes() for p in (out / "arms").glob("*.safetensors")} == arms
