"""Dataset distillation: runs that are stopped, killed, finished or damaged, and resumed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tutelage.errors import CheckpointError, NotFiniteError
from tutelage.recipes import dataset_distillation
from tutelage.recipes.dataset_distillation import Config, run
from tutelage.runs import RunFolder

from .dataset_runs import ADAPT, POISON, SHORT, SMALL, adapt_run, plan, train_run


def without_times(path):
    result = json.loads((path / "result.json").read_text())
    result.pop("seconds")
    return json.dumps(result, sort_keys=True)


class Stopped(Exception):
    """Somebody pulled the plug."""


class Stopper:
    """Follows a run, and stops it after so many steps of all bars."""

    def __init__(self, after):
        self.left = after

    def start(self, name, steps, done):
        pass

    def advance(self, accuracy):
        self.left -= 1
        if self.left < 0:
            raise Stopped


@pytest.mark.parametrize("after", [0, 1, 4, 8, 13])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(after, tmp_path, tmp_path_factory):
    """In the pool, in the middle of the first and the second distillation, between stages."""
    _, whole = adapt_run(tmp_path_factory.getbasetemp())
    out = tmp_path / "run"
    options = Config(**SMALL | ADAPT, checkpoint_seconds=0.0)
    with pytest.raises(Stopped):
        run(options, out, Stopper(after))
    dataset_distillation.resume(RunFolder.open(out))
    config = json.loads((out / "result.json").read_text())["config"]
    assert config.pop("checkpoint_seconds") == 0
    same = json.loads(without_times(whole))
    assert same["config"].pop("checkpoint_seconds") == 30
    mine = json.loads(without_times(out))
    assert {**mine, "config": config} == same
    assert (out / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    for name in ("arms/distilled-0.safetensors", "arms/distilled-1.safetensors", "pool.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("method", ["unrolled", "gradient-matching", "distribution-matching", "trajectory-matching"])
def test_every_method_goes_on_byte_for_byte(method):
    """Half of the outer steps, its state written and read, the other half."""
    options = {"method": method, "evaluations": 2, "real_batch": 8, "net": "mlp-8", "robustness": False}
    if method == "trajectory-matching":
        options |= {"experts": 4, "expert_epochs": 3, "span": 1, "max_start": 2, "inner_steps": 2}
        options.pop("real_batch")
    found = plan(**{"nets": None} | options)
    nets, experts = found.networks(0, None), found._rehearsing()
    whole, half, again = (found.distilling(0, nets, experts) for _ in range(3))
    for _ in range(6):
        whole.step()
    for _ in range(3):
        half.step()
    facts, tensors = half.state()
    again.restore({n: t.clone() for n, t in tensors.items()}, json.loads(json.dumps(facts)))
    for _ in range(3):
        again.step()
    assert again.records == whole.records
    assert torch.equal(again.distilled.images, whole.distilled.images)
    assert all(torch.equal(a, b) for a, b in zip(again.frames().values(), whole.frames().values()))


KILLED = SMALL | SHORT | {"steps": 30, "evaluations": 30, "full_epochs": 1, "checkpoint_seconds": 0.05}
PROCESS = """
import json, sys
from pathlib import Path
from tutelage.recipes.dataset_distillation import Config, run
run(Config(**json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_kill_and_resume(tmp_path):
    whole = tmp_path / "whole"
    run(Config(**KILLED), whole)
    out = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", PROCESS, json.dumps(KILLED), str(out)])
    seen = out / "metrics.jsonl"
    while process.poll() is None and not (seen.is_file() and seen.read_bytes().count(b"\n") >= 10):
        time.sleep(0.005)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    dataset_distillation.resume(RunFolder.open(out))
    assert without_times(out) == without_times(whole)
    assert seen.read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_resuming_a_finished_run_gives_its_result_again(tmp_path_factory):
    result, out = train_run(tmp_path_factory.getbasetemp())
    again = dataset_distillation.resume(RunFolder.open(out))
    assert json.dumps(again, sort_keys=True) == json.dumps(json.loads(json.dumps(result)), sort_keys=True)


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(tmp_path):
    """Images that send the networks to infinity stop the run, with their step sizes named; nothing is lost."""
    options = SMALL | SHORT | {"epochs": 12, "lr_images": 1e6, "checkpoint_seconds": 0.0, "seeds": 1}
    with pytest.raises(NotFiniteError, match=r"distilled, seed 0: outer step \d+: .*Step sizes are .* is kept\.") as e:
        run(Config(**options), tmp_path / "run")
    assert "\n" not in str(e.value)
    assert (tmp_path / "run/checkpoint/state.safetensors").is_file()


def test_a_checkpoint_that_does_not_fit(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Stopped):
        run(Config(**SMALL | SHORT, checkpoint_seconds=0.0), out, Stopper(3))
    folder = RunFolder.open(out)
    tensors, facts = folder.load()
    tensors["teacher.images"] = torch.zeros(3)
    folder.save(tensors, facts)
    with pytest.raises(CheckpointError, match=r"does not fit this run; remove it to do distilled from its start"):
        dataset_distillation.resume(RunFolder.open(out))


def test_a_damaged_part(tmp_path):
    out = tmp_path / "run"
    run(Config(**SMALL | SHORT), out)
    (out / "arms/judged-0.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"arms/judged-0.json is damaged; remove it and resume to do this part"):
        dataset_distillation.resume(RunFolder.open(out))


def test_poison_goes_on_too(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "run"
    options = Config(**SMALL | POISON, checkpoint_seconds=0.0)
    run(options, whole)
    with pytest.raises(Stopped):
        run(options, out, Stopper(9))
    dataset_distillation.resume(RunFolder.open(out))
    assert without_times(out) == without_times(whole)
