"""A run of the recipe that is finished, stopped, killed or damaged, and resumed."""

import json
import random

import pytest

from tutelage.errors import CheckpointError
from tutelage.recipes import deep_interactions
from tutelage.recipes.deep_interactions import Config, run
from tutelage.runs import RunFolder

from .deep_runs import SMALL, finished_run
from .interrupted import Stops, finish, kill_at, lines, read, without_times


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_run(tmp_path_factory.getbasetemp())


def test_a_finished_run_gets_its_result_again(finished):
    _, out = finished
    before = (out / "result.json").read_bytes()
    files = {p: p.read_bytes() for p in (out / "teachers").iterdir()}
    deep_interactions.resume(RunFolder.open(out))
    assert (out / "result.json").read_bytes() == before
    assert {p: p.read_bytes() for p in (out / "teachers").iterdir()} == files


@pytest.mark.parametrize(
    ("where", "window", "episodes"),
    [
        pytest.param("deep", "ahead", 1, marks=pytest.mark.slow),
        ("deep", "back", 1),
        pytest.param("deep-episode-1", "back", 2, marks=pytest.mark.slow),
        pytest.param("deep", "back", 2, marks=pytest.mark.slow),
        pytest.param("l2rw", "ahead", 1, marks=pytest.mark.slow),
    ],
)
def test_stopped_inside_a_window_and_resumed(where, window, episodes, tmp_path):
    """Step 37 is two steps after an update; K > B, so that several windows are open."""
    options = SMALL | {
        "epochs": 3,
        "seeds": 1,
        "teachers": "l2rw,deep",
        "window": window,
        "episodes": episodes,
        "look_ahead": 7,
    }
    config = Config(**options, checkpoint_seconds=0.0)
    whole = run(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", Stops(where, 38))
    found = deep_interactions.resume(RunFolder.open(tmp_path / "cut"))
    assert without_times(found) == without_times(whole)
    files = sorted(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*.safetensors"))
    assert len(files) > 4
    for file in files:
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_killed_hard_and_resumed(tmp_path):
    options = ["--seeds", "2", "--epochs", "4", "--threads", "1", "--checkpoint-seconds", "0.05", "--student", "mlp-32"]
    options += ["--teachers", "uniform,deep,bilinear-frozen", "--window", "back"]
    new = ["run", "deep-interactions", *options, "--out"]
    whole, out = tmp_path / "whole", tmp_path / "killed"
    finish(*new, whole)
    count = 0
    for attempt, at in enumerate((10, 40)):
        at += random.randrange(8)
        start = ["resume"] if attempt else new
        count += kill_at(lambda n=at: lines(out) >= n, *start, out)
    assert count == 2
    finish("resume", out)
    for file in (p.relative_to(whole) for p in whole.rglob("*") if p.is_file()):
        if file.name == "result.json":
            assert without_times(read(out / file.parent)) == without_times(read(whole / file.parent))
        elif file.suffix in (".jsonl", ".safetensors", ".parquet"):
            assert (out / file).read_bytes() == (whole / file).read_bytes(), file


def test_a_damaged_configuration(finished, tmp_path):
    _, out = finished
    (tmp_path / "config.json").write_text(json.dumps(read(out, "config.json") | {"config": {"episodes": 1}}))
    with pytest.raises(CheckpointError, match=r"config.json is damaged: \w+ is missing"):
        deep_interactions.resume(RunFolder.open(tmp_path))
