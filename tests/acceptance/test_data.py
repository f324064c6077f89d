"""A training on digits, killed at random steps: weights, metrics and the stream of examples end with the same bytes."""

import os
import random
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

TRAINING = """
import hashlib, json, os, signal, sys
from pathlib import Path
import torch
from tutelage import Adam, Student, train
from tutelage.checkpoint import load_checkpoint, save_checkpoint, with_prefix, without_prefix
from tutelage.data import Augmentation, Crop, ExampleTable, Normalise, Pipeline, corrupt, load, split
from tutelage.nets import build
from tutelage.teachers import self_paced

torch.set_num_threads(1)
path, STOP, STEPS = Path(sys.argv[1]), int(sys.argv[2]), 300
digits = load("digits").train
roles = split(digits.y, {"test": 540, "train": "rest"}, seed=0)
labels = corrupt(digits.y, "uniform", 0.4, num_classes=10, seed=0, on=roles.train)
moves = Augmentation(Crop(1), Normalise.fit(digits, roles.train, "pixel"))
rows = Pipeline.from_source(digits, labels.noisy, roles.train, seed=0)
batches = rows.shuffle().batch(64, drop_remainder=True).augment(moves).repeat().prefetch(2).batches(STEPS)
student = Student(build("mlp-128", (1, 8, 8), 10, seed=0), Adam(1e-3), seed=0)
teacher, table = self_paced(), ExampleTable(len(digits), loss=0.0)
seen = ""
if path.exists():
    tensors, facts = load_checkpoint(path)
    student.load_state_dict(without_prefix("student", tensors))
    teacher.load_state_dict(without_prefix("teacher", tensors))
    table.load_state_dict(without_prefix("table", tensors))
    batches.load_state_dict(facts["data"])
    seen = facts["seen"]
for step in train(student, teacher, batches):
    table.put(step.batch.index, loss=step.lesson.losses(student.logits(step.batch.x)).detach())
    line = f"{seen} {step.batch.index.tolist()} {float(step.metrics['loss'])}"
    seen = hashlib.sha256(line.encode()).hexdigest()
    if batches.step % 7 == 0 or batches.step == STEPS:
        tensors = with_prefix("student", student.state_dict()) | with_prefix("teacher", teacher.state_dict())
        tensors |= with_prefix("table", table.state_dict())
        save_checkpoint(path, tensors, {"data": batches.state_dict(), "seen": seen})
    print(batches.step, flush=True)
    if batches.step == STOP:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def trained(script, path, stop=0):
    """Exit status and the steps that were printed; the process kills itself after ``stop`` steps."""
    command = [sys.executable, script, path, str(stop)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, done.stdout.split()


def test_killed_trainings_end_with_the_same_bytes(tmp_path):
    script = tmp_path / "training.py"
    script.write_text(TRAINING)
    whole = tmp_path / "whole.safetensors"
    assert trained(script, whole)[1][-1] == "300"
    draw = random.Random(0)
    for number in range(3):
        path, stop = tmp_path / f"killed{number}.safetensors", draw.randrange(10, 290)
        assert trained(script, path, stop) == (-signal.SIGKILL, [str(step + 1) for step in range(stop)])
        status, steps = trained(script, path)
        assert status == 0
        assert int(steps[0]) > 1  # it went on, not from the start
        assert path.read_bytes() == whole.read_bytes(), stop
