"""The command ``tutelage answers``: what it prints, writes and refuses; one line for an error, status 2."""

import json

import pytest

from tests.human_data import experiment, session, write_small
from tutelage.cli import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_small(tmp_path / "small")
    return tmp_path


def printed(capsys, *arguments):
    assert main(["answers", *map(str, arguments)]) == 0
    return " ".join(capsys.readouterr().out.split())


def refused(capsys, *arguments):
    assert main(["answers", *map(str, arguments)]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ")
    assert len(told.err.splitlines()) == 1
    return told.err.removeprefix("error: ").strip()


def test_a_row_an_arm(here, capsys):
    told = printed(capsys, "small")
    assert "small fixed 3 66.67 83.33 28.87 16.67 100" in told
    assert "small random 1 50.00 0.00 - - 0" in told
    assert "saved twice: 1 session (small fixed), counted; leave them out with --without-duplicates." in told
    assert "calibration" not in told


def test_several_experiments_and_what_was_saved_twice(here, capsys):
    write_small(here / "more" / "again")
    told = printed(capsys, "small", "more/again", "--without-duplicates")
    assert told.count("fixed 2 75.00 75.00 35.36 25.00 75") == 2
    assert "saved twice: 2 sessions (again fixed, small fixed), left out." in told


def test_calibration(here, capsys):
    people = [
        session(
            [0, 0, 1, 1, 1, 1],
            [0] * 6,
            [1, 1, 0, 0, 0, 0],
            (0, 0, *([0] * right + [1] * (4 - right))),
            mturk_code=str(i),
        )
        for i, right in enumerate((0, 1, 3, 4))
    ]
    experiment(people, [0, 0], test=(1,)).write(here / "people")
    told = printed(capsys, "people", "small", "--calibration")
    assert "people random 0.14 0.14 44.10 0.778 0.69 ± 0.00 0.69 ± 0.00" in told
    assert "small random - - - - - 0.69 ± 0.00" in told


def test_an_export_has_the_rows_of_the_table(here, capsys):
    assert "answers: all.json (16 rows)" in printed(capsys, "small", "--export", "all.json")
    assert "answers: few.json (12 rows)" in printed(capsys, "small", "--export", "few.json", "--without-duplicates")
    rows = json.loads((here / "few.json").read_text())
    assert len(rows) == 12
    assert not any(row["duplicate"] for row in rows)


def test_warnings_are_told_in_a_line(here, capsys):
    experiment([([1, 2, 5], [0, 1, 0], [1, 1, 1])], [0, 1, 0]).write(here / "lost")
    told = printed(capsys, "lost")
    assert "lost: image ids of random (teaching) do not belong to its list of images" in told


def test_names_from_files_cannot_draw_on_the_terminal(here, capsys):
    people = [session([0], [0], [0], strategy="random[red]\x1b[2J")]
    experiment(people, [0]).write(here / "odd")
    told = printed(capsys, "odd")
    assert "\x1b" not in told
    assert "random[red]\N{REPLACEMENT CHARACTER}[2J" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "give the folder of an experiment, or several"),
        (("gone",), "gone: not an experiment of explain_teach: it has no settings.json"),
        (("small", "small"), "a second experiment of the name small"),
        (("small", "--export", "answers.txt"), "answers are written as .csv, .parquet or .json"),
        (("small", "--export", "taken.csv"), "it exists, and is not written over"),
        (("small", "--export", "no/answers.csv"), "there is no folder no; make it, or give another"),
        (("small", "--bogus"), "bogus"),
    ],
)
def test_refusals(arguments, told, here, capsys):
    (here / "taken.csv").write_text("mine")
    assert told in refused(capsys, *arguments)
    assert (here / "taken.csv").read_text() == "mine"


def test_damaged_answers_are_told_in_one_line(here, capsys):
    records = json.loads((here / "small/results.json").read_text())
    records[1]["gt_label"][0] = 7
    (here / "small/results.json").write_text(json.dumps(records))
    assert 'small/results.json: key "[1].gt_label": 7 is outside the 2 classes' in refused(capsys, "small")
