"""Several rates of label noise in one run: a folder each, and one table over them."""

import json
import random

import pytest

from tutelage.cli import main
from tutelage.errors import CheckpointError, DataError
from tutelage.recipes import curricula, mentornet
from tutelage.recipes.noisy_labels import prepare
from tutelage.recipes.options import noise_rates
from tutelage.runs import RunFolder

from .interrupted import Stops, finish, kill_at, lines, read, without_times

SMALL = {
    "seeds": 2,
    "epochs": 3,
    "student": "mlp-16",
    "teachers": "uniform,self-paced,trusted-only",
    "checkpoint_seconds": 0.0,
}
RATES = ("0.2", "0.5")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return curricula.run(curricula.Config(**SMALL, noise=",".join(RATES)), out), out


def test_the_folders(finished):
    result, out = finished
    assert read(out) == json.loads(json.dumps(result))
    assert read(out, "config.json")["config"]["noise"] == "0.2,0.5"
    names = sorted(p.name for p in out.iterdir() if p.name != ".lock")
    assert names == ["config.json", "environment.json", "noise-0.2", "noise-0.5", "result.json"]
    for rate in RATES:
        level = out / f"noise-{rate}"
        assert read(level, "config.json")["config"] == read(out, "config.json")["config"] | {"noise": rate}
        assert read(level)["noise"]["requested"] == float(rate)
        assert len((level / "metrics.jsonl").read_text().splitlines()) == 3 * 2 * 3
        assert not (level / "checkpoint" / "state.safetensors").exists()


def test_each_level_is_a_run_at_that_rate(finished, tmp_path):
    _, out = finished
    for rate in RATES:
        alone = curricula.run(curricula.Config(**SMALL, noise=rate), tmp_path / rate)
        level = read(out / f"noise-{rate}")
        assert without_times(level) == without_times(json.loads(json.dumps(alone)))
        assert (out / f"noise-{rate}" / "metrics.jsonl").read_bytes() == (
            tmp_path / rate / "metrics.jsonl"
        ).read_bytes()


def test_the_table(finished):
    result, out = finished
    levels = {rate: read(out / f"noise-{rate}") for rate in RATES}
    assert list(result["levels"]) == list(RATES)
    for rate, level in levels.items():
        assert result["levels"][rate]["folder"] == f"noise-{rate}"
        assert result["levels"][rate]["noise"] == level["noise"]
        for arm, metrics in level["arms"].items():
            assert result["arms"][f"{arm} @ {rate}"] == metrics
        for name, seconds in level["seconds"].items():
            assert result["seconds"][f"{name} @ {rate}"] == seconds
        for c in level["comparisons"]:
            assert c | {"a": f"{c['a']} @ {rate}", "b": f"{c['b']} @ {rate}"} in result["comparisons"]
    assert len(result["arms"]) == 6
    assert len(result["comparisons"]) == sum(len(level["comparisons"]) for level in levels.values())
    assert result["order"] == SMALL["teachers"].split(",")
    assert result["seeds"] == [0, 1]
    assert {"recipe", "version", "config", "data", "training", "about", "environment"} <= result.keys()


def test_levels_share_splits_and_rows_that_are_wrong_at_less_noise(finished):
    """A label that is wrong at 0.2 is wrong at 0.5 too, so that rates are compared on one draw."""
    _, plans, _ = prepare(curricula.RECIPE, curricula.Config(**SMALL, noise="0.2,0.5"))
    for low, high in zip(*(plan.settings for plan in plans)):
        assert (low.roles["train"] == high.roles["train"]).all()
        assert (low.roles["trusted"] == high.roles["trusted"]).all()
        assert high.noise.mask[low.noise.mask].all()
        assert high.noise.mask.sum() > 1.5 * low.noise.mask.sum()


def test_names_of_levels_tell_rates_apart(tmp_path):
    options = SMALL | {"epochs": 1, "seeds": 1, "teachers": "uniform"}
    result = curricula.run(curricula.Config(**options, noise="0,0.2000001,0.20"), tmp_path / "run")
    assert list(result["levels"]) == ["0", "0.2000001", "0.2"]
    assert [level["noise"]["requested"] for level in result["levels"].values()] == [0.0, 0.2000001, 0.2]


@pytest.mark.parametrize(
    ("text", "rates"), [("0.4", (0.4,)), (" 0.2, 0.4 ", (0.2, 0.4)), ("0", (0.0,)), (0.25, (0.25,)), ("1e-2", (0.01,))]
)
def test_rates_are_read(text, rates):
    assert noise_rates(text) == rates


@pytest.mark.parametrize("where", ["0.2 self-paced", "0.5 uniform", "0.5 trusted-only"])
def test_stopped_and_resumed(where, finished, tmp_path):
    needed, whole = finished
    out, watcher = tmp_path / "run", Stops(where, 2)
    with pytest.raises(KeyboardInterrupt):
        curricula.run(curricula.Config(**SMALL, noise="0.2,0.5"), out, watcher)
    assert watcher.names[-1] == where
    assert not (out / "result.json").exists()
    again = Stops()
    found = curricula.resume(RunFolder.open(out), again)
    assert again.names[0] == where
    assert without_times(found) == without_times(needed)
    for rate in RATES:
        metrics = [(folder / f"noise-{rate}" / "metrics.jsonl").read_bytes() for folder in (out, whole)]
        assert metrics[0] == metrics[1]


@pytest.mark.parametrize("left", [["environment.json"], ["environment.json", "config.json.part"]])
def test_killed_while_the_folder_of_a_level_was_made(left, finished, tmp_path):
    needed, _ = finished
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        curricula.run(curricula.Config(**SMALL, noise="0.2,0.5"), out, Stops("0.2 trusted-only", 1))
    (out / "noise-0.5").mkdir()
    for name in left:
        (out / "noise-0.5" / name).write_text("{")
    assert without_times(curricula.resume(RunFolder.open(out))) == without_times(needed)


def test_a_finished_run_gets_its_result_again(finished):
    _, out = finished
    before = (out / "result.json").read_bytes()
    again = Stops()
    curricula.resume(RunFolder.open(out), again)
    assert again.names == []
    assert (out / "result.json").read_bytes() == before


def test_the_command_line_prints_a_table_over_the_levels(finished, capsys):
    _, out = finished
    assert main(["resume", str(out)]) == 0
    printed = capsys.readouterr().out
    for text in ("1,258 training rows", "noise 0.2", "noise 0.5", *SMALL["teachers"].split(",")):
        assert text in printed
    assert "report.html" in printed
    (out / "report.html").unlink()


def test_a_level_is_a_run_of_its_own(finished):
    _, out = finished
    level = RunFolder.open(out / "noise-0.5")
    assert curricula.resume(level) == read(out / "noise-0.5")


def test_one_process_at_a_time(finished):
    _, out = finished
    with RunFolder.open(out).locked(), pytest.raises(CheckpointError, match="is being written by another process"):
        curricula.resume(RunFolder.open(out))


def test_what_one_level_cannot_do_stops_all_before_the_start(tmp_path):
    config = mentornet.Config(**SMALL | {"teachers": "mentornet-dd"}, noise="0.4,0")
    with pytest.raises(DataError, match="126 trusted rows, 0 of them with a wrong label"):
        mentornet.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


OPTIONS = ["--seeds", "2", "--epochs", "12", "--threads", "1", "--checkpoint-seconds", "0.05", "--student", "mlp-32"]
OPTIONS += ["--teachers", "uniform,mentornet-dd"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "kills"),
    [
        ([], (30,)),
        (["--noise", "0.2,0.5", "--update-at", "21,75"], (30, 78)),
    ],
    ids=["fit", "updates and levels"],
)
def test_killed_hard_and_resumed(more, kills, tmp_path):
    """The result is that of an uninterrupted run, times apart; and so are the mentors, byte for byte."""
    whole, out = tmp_path / "whole", tmp_path / "killed"
    new = ["run", "mentornet", *OPTIONS, *more, "--out"]
    finish(*new, whole)
    count = 0
    for attempt, at in enumerate(kills):
        at += random.randrange(8)
        start = ["resume"] if attempt else new
        count += kill_at(lambda n=at: lines(out) >= n, *start, out)
    assert count == len(kills)
    assert not (out / "result.json").exists()
    finish("resume", out)
    files = sorted(p.relative_to(whole) for p in whole.glob("**/*") if p.is_file())
    assert files == sorted(p.relative_to(out) for p in out.glob("**/*") if p.is_file())
    for file in files:
        if file.name == "result.json":
            assert without_times(read(out / file.parent)) == without_times(read(whole / file.parent))
        elif file.suffix in (".jsonl", ".safetensors", ".parquet"):
            assert (out / file).read_bytes() == (whole / file).read_bytes(), file
