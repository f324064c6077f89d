"""Options of the recipe, from the command line, a file and Python; bad input."""

import json

import pytest

from tutelage.cli import main
from tutelage.mentors import Mentor, MentorNetwork, load_mentor, save_mentor
from tutelage.recipes import mentornet
from tutelage.recipes.mentor_files import mentor_file
from tutelage.recipes.mentornet import Config, run
from tutelage.runs import RunFolder

from .mentor_runs import SMALL, quick_fits
from .test_curricula import line_of

DIGITS = ["run", "mentornet"]


@pytest.fixture(autouse=True, scope="module")
def _quick_fits():
    with quick_fits():
        yield


def test_options_from_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "options.toml").write_text(
        'seeds = 1\nepochs = 2\nstudent = "mlp-8"\nteachers = "mentornet-dd"\nnoise = 0.3\npercentile = 0.6\n'
        'form = "mlp"\nfixed_time = false\n'
    )
    assert main([*DIGITS, "--config", "options.toml", "--out", "run"]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    given = {n: config[n] for n in ("noise", "percentile", "form", "fixed_time", "update_at", "mentor")}
    assert given == {
        "noise": "0.3", "percentile": "0.6", "form": "mlp", "fixed_time": False, "update_at": None, "mentor": "fit",
    }  # fmt: skip
    assert not load_mentor(tmp_path / "run" / mentor_file(0)).settings.fixed_time
    mentornet.resume(RunFolder.open(tmp_path / "run"))


def test_numbers_from_python_can_be_resumed(tmp_path):
    before = run(Config(**SMALL | {"epochs": 1}, teachers="uniform", noise=0.25, percentile=0.6), tmp_path / "run")
    assert before["config"]["noise"] == "0.25"
    assert mentornet.resume(RunFolder.open(tmp_path / "run")) == before


# bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--update-at", "75,21"], '--update-at is "75,21"; give ascending percents of training, such as 21,75.'),
        (["--update-at", "21,100"], '--update-at is "21,100"'),
        (["--update-at", "early"], '--update-at is "early"'),
        (["--update-at", ""], '--update-at is ""'),
        (["--update-at", "21,21"], '--update-at is "21,21"'),
        (
            ["--update-at", "21", "--mentor", "focal"],
            "--update-at learns a mentor during the run; leave out --mentor.",
        ),
        (["--update-at", "99", "--epochs", "2"], "--update-at 99: the last of 18 steps is at 94 %; give earlier"),
        (["--form", "mlp", "--time", "code"], "--form mlp has no time codes; use --time progress."),
        (
            ["--form", "mlp", "--compat", "written"],
            "--compat written is about the published network; leave out --form.",
        ),
        (["--form", "lstm"], "lstm"),
        (["--compat", "paper"], "paper"),
        (["--mentor", "nosuch"], 'no mentor "nosuch": neither a file, nor a run, nor one of self_paced, spcl_linear'),
        (["--mentor", "/"], "has no mentors; it is no finished run of mentornet with the arm mentornet-dd."),
        (["--noise", "0"], "seed 0: 126 trusted rows, 0 of them with a wrong label; a mentor learns from at least 20"),
        (["--noise", "0,0.4"], "seed 0: 126 trusted rows, 0 of them with a wrong label"),
        (["--trusted", "0.01"], "seed 0: 13 trusted rows, "),
        (["--trusted", "0.01", "--update-at", "21"], "seed 0: 13 trusted rows, "),
        (
            ["--schedule", "published", "--student", "mlp"],
            "--schedule published is for resnet101, inception and mentor-resnet-D-W, not mlp.",
        ),
        (["--dropout", "0.5x17,0.05x80"], "the schedule covers 97 percent, but needs 100 in all."),
        (["--dropout", "1.0x100"], "leaves none of 128 rows"),
        (["--percentile", "1.5"], "percentile is 1.5; it must lie between 0 and 1"),
        (["--percentile", "clean"], '--percentile is "clean"; give a number between 0 and 1, or trusted.'),
        (["--noise", "0.2,0.2"], "--noise is 0.2,0.2; each rate can come once."),
        (["--noise", "0.2,,0.4"], '--noise is "0.2,,0.4"; give a share of the labels, or several'),
        (["--noise", "0.2,1.5"], "--noise is 1.5; it is a share of the labels and must be in [0, 1]."),
        (
            ["--trusted-labels", "gone.csv", "--noise", "0.4"],
            "--trusted-labels is for labels as they are; pass --noise 0",
        ),
        (["--trusted-labels", "gone.csv", "--noise", "0"], "gone.csv: not a readable CSV or Parquet file"),
        (
            ["--trusted-labels", "gone.csv", "--noise", "0", "--preset", "mentornet"],
            "--trusted-labels is for labels as they are; pass --noise 0 and no --preset.",
        ),
        (["--updates-at", "21"], "Unknown option: --updates-at. Did you mean --update-at?"),
        (["--loss-p-precentile", "0.7"], "Unknown option: --loss-p-precentile"),
        (["--burn-in", "101"], "burn_in is 101; it is a percent of training"),
        (["--teachers", "mentornet"], 'unknown teacher "mentornet". Did you mean "mentornet-'),
    ],
    ids=lambda a: " ".join(a) if isinstance(a, list) else "",
)
def test_bad_input_is_one_line_and_nothing_is_written(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in line_of(capsys, *DIGITS, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,labels\n1,2\n", 'no column "label" among index, labels'),
        ("index,label\n1797,2\n", "index 1797 is outside 0..1796, the rows of digits."),
        ("index,label\n5,2\n5,2\n", "index 5 comes twice."),
        ("index,label\n5,2\n6,two\n", 'label "two" is not among the classes 0, 1, 2'),
        ("index,label\n5,5\n6,6\n", "seed 0: 2 trusted rows, 0 of them with a wrong label"),
    ],
    ids=repr,
)
def test_bad_tables_of_right_labels(text, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "right.csv").write_text(text)
    assert message in line_of(capsys, *DIGITS, "--trusted-labels", "right.csv", "--noise", "0")
    assert [p.name for p in tmp_path.iterdir()] == ["right.csv"]


@pytest.mark.parametrize("keep", [0, 7, 300, 900])
def test_a_truncated_mentor_file(keep, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_mentor(Mentor(MentorNetwork(seed=0)), tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    assert keep < len(content)
    (tmp_path / "cut").write_bytes(content[:keep])
    assert "cut is no mentor file, or cut: " in line_of(capsys, *DIGITS, "--mentor", "cut")
    assert not (tmp_path / "runs").exists()


def test_a_run_without_the_arm_has_no_mentors(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(Config(**SMALL | {"epochs": 1}, teachers="uniform"), tmp_path / "plain")
    assert "plain has no mentors; it is no finished run" in line_of(capsys, *DIGITS, "--mentor", "plain")
