"""Answers of people: the released results to the published digits, and small cases by hand."""

import csv
import json
import math
import warnings

import numpy as np
import pytest

from tests.human_data import EXPERIMENTS, experiment, released, session, write_small
from tutelage.errors import ConfigError, DataError
from tutelage.human_answers import Answer, answers_of, export_answers, read_answers
from tutelage.human_groups import calibration, fit_ability, groups

RAW = {
    ("butterflies_crop", "random"): (49, 58.67, 65.20, 18.11, 2.59, 70),
    ("butterflies_crop", "random_feedback"): (39, 57.56, 67.31, 21.49, 3.44, 70),
    ("butterflies_crop", "strict_1vall"): (39, 52.31, 65.00, 17.84, 2.86, 65),
    ("butterflies_crop", "explain_1vall"): (33, 55.45, 68.33, 22.97, 4.00, 70),
    ("chinese_chars", "random"): (39, 47.44, 47.05, 18.59, 2.98, 45),
    ("chinese_chars", "random_feedback"): (41, 47.44, 58.90, 25.73, 4.02, 55),
    ("chinese_chars", "strict_1vall"): (34, 54.41, 51.91, 24.06, 4.13, 50),
    ("chinese_chars", "explain_1vall"): (48, 46.35, 46.35, 21.70, 3.13, 45),
    ("chinese_chars_crowd", "strict_1vall"): (36, 58.47, 53.06, 23.03, 3.84, 55),
    ("chinese_chars_crowd", "explain_1vall"): (45, 57.00, 65.44, 22.88, 3.41, 70),
}
"""People; mean of teaching and of test items; standard deviation, standard error and median of the test."""
DISTINCT = {
    ("chinese_chars", "explain_1vall"): (47, 46.81, 21.71, 3.17),
    ("chinese_chars_crowd", "strict_1vall"): (35, 53.71, 23.02, 3.89),
}
CONFUSIONS = {
    ("butterflies_crop", "random"): [
        [186, 0, 4, 0, 1], [1, 91, 29, 6, 67], [0, 37, 102, 11, 40], [3, 14, 11, 165, 12], [3, 64, 28, 10, 95],
    ],
    ("chinese_chars", "strict_1vall"): [[103, 53, 41], [62, 137, 46], [73, 52, 113]],
}  # fmt: skip
"""Of the test, rows are true classes."""


@pytest.fixture(scope="module")
def answers(real_data):
    """All answers that are at hand."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of ids that belong to another list, see test_explain_teach
        return [answer for name in EXPERIMENTS for answer in answers_of(released(real_data, name))]


def test_the_published_table(answers):
    found = {(g.experiment, g.arm): g for g in groups(answers)}
    assert found.keys() == RAW.keys()
    for key, (n, *numbers) in RAW.items():
        group = found[key]
        assert group.n == n
        assert group[3:] == pytest.approx(numbers, abs=0.00501), key


def test_without_what_was_saved_twice(answers):
    raw, distinct = groups(answers), groups(answers, duplicates=False)
    for a, b in zip(raw, distinct):
        assert (a.experiment, a.arm) == (b.experiment, b.arm)
        if (expected := DISTINCT.get((a.experiment, a.arm))) is None:
            assert a == b
        else:
            n, *numbers = expected
            assert b.n == n
            assert (b.test, b.std, b.sem) == pytest.approx(numbers, abs=0.00501)
    assert sum(g.n for g in raw) == 403
    assert sum(g.n for g in distinct) == 401
    assert len(answers) == 403 * 40


def test_abilities_as_published(answers):
    found = {(c.experiment, c.arm): c for c in calibration(answers)}
    assert found["butterflies_crop", "random"].ability[:2] == pytest.approx((5.90, 3.15), abs=0.00501)
    assert found["chinese_chars", "random"].ability[:2] == pytest.approx((4.57, 5.14), abs=0.00501)
    for of in found.values():
        assert 0.09 < of.ability.correlation < 0.26
        assert 14 < of.ability.std < 24
        assert of.train_time.mean == pytest.approx(2.2, abs=0.2)
        assert of.test_time.mean == pytest.approx(1.6, abs=0.3)
        assert of.train_time.std == pytest.approx(0.44, abs=0.15)
        assert of.test_time.std == pytest.approx(0.56, abs=0.25)


def test_confusions_as_published(answers):
    for (name, arm), expected in CONFUSIONS.items():
        mine = [a for a in answers if (a.experiment, a.arm, a.phase) == (name, arm, "test")]
        classes = sorted({a.true_class for a in mine})
        found = np.zeros((len(classes), len(classes)), dtype=int)
        for a in mine:
            found[classes.index(a.true_class), classes.index(a.given_class)] += 1
        assert found.tolist() == expected


def test_a_table_by_hand(tmp_path):
    found = read_answers([write_small(tmp_path / "small")])
    assert len(found) == 16
    assert found[3] == Answer("small", 0, "=one", "fixed", "test", 3, "images/a/2.png", "a", "b", False, 2.0, False)
    assert [a.seconds for a in found[:4]] == [None, 2.0, 2.0, 2.0]
    assert [a.duplicate for a in found[::4]] == [False, False, True, False]
    fixed, drawn = groups(found)
    assert fixed == ("small", "fixed", 3, *map(pytest.approx, (200 / 3, 250 / 3, 50 / math.sqrt(3), 50 / 3, 100.0)))
    assert drawn == ("small", "random", 1, 50.0, 0.0, None, None, 0.0)
    assert groups(found, duplicates=False)[0][2:5] == (2, 75.0, 75.0)
    only = groups([a for a in found if a.phase == "train"])
    assert only[0][3:] == (pytest.approx(200 / 3), None, None, None, None)


def test_only_the_same_answers_of_one_person_are_duplicates():
    same = {"mturk_code": "x"}
    sessions = [
        session([0, 1], [0, 1], [1, 1], **same), session([0, 1], [0, 1], [1, 1], [1, 1], **same),
        session([0, 1], [0, 1], [1, 1], mturk_code="y"), session([0, 1], [0, 1], [1, 1], **same),
    ]  # fmt: skip
    found = answers_of(experiment(sessions, (0, 1)))
    assert [a.duplicate for a in found[::2]] == [False, False, False, True]


def test_ability_is_the_beta_that_answers_were_drawn_from():
    draws = np.random.RandomState(0)
    p = draws.beta(3.0, 2.0, 40_000)
    found = fit_ability(draws.binomial(20, p).tolist(), 20)
    assert (found.a, found.b) == pytest.approx((3.0, 2.0), rel=0.05)
    assert found.std == pytest.approx(100 * p.std(), rel=0.02)
    assert found.correlation == pytest.approx(1 / 6, rel=0.05)


def test_ability_by_hand():
    """m = 1/2, v = 1/12 (n - 1), k = 4: rho = (1/3 - 1/4) / (3/4) = 1/9, a + b = 8."""
    right = [1, 1, 2, 2, 3, 3, 0, 4, 2, 2]
    v = sum((r / 4 - 0.5) ** 2 for r in right) / 9
    rho = (v / 0.25 - 0.25) / 0.75
    assert fit_ability(right, 4) == pytest.approx(((1 / rho - 1) / 2,) * 2 + (100 * math.sqrt(rho / 4), rho))


@pytest.mark.parametrize(
    ("right", "items"),
    [([2], 4), ([1, 0], 1), ([4, 4, 4], 4), ([0, 0], 4), ([2, 2, 2, 2], 4), ([0, 4], 4)],
    ids=["one person", "one item", "all right", "all wrong", "less than chance", "all or nothing"],
)
def test_people_who_show_no_ability(right, items):
    assert fit_ability(right, items) is None


def test_times_of_less_than_the_clock_shows_are_left_out():
    times = ("10:00:00", "10:00:00", "10:00:04", "10:00:06", "10:00:07")
    (found,) = calibration(
        answers_of(experiment([([0, 0, 0, 1, 1], [0] * 5, [1, 1, 1, 0, 0])], [0, 0], times=times, test=(1,)))
    )
    assert found.train_time is None  # one gap of 0 s, one of 4 s
    logs = [math.log(2), 0.0]
    assert found.test_time == pytest.approx((sum(logs) / 2, math.log(2) / math.sqrt(2)))


def test_tests_of_different_lengths_have_no_one_ability():
    sessions = [session([0, 1], [0, 0], [1, 0]), session([1, 1], [0, 0], [0, 0])]
    with pytest.raises(DataError, match="small, random: tests of 1 and of 2 items; they must be as long"):
        calibration(answers_of(experiment(sessions, [0, 0], test=(1,))))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
def test_exports_hold_every_field(suffix, tmp_path):
    import pyarrow.parquet

    found = read_answers([write_small(tmp_path / "small")])
    path = tmp_path / f"answers.{suffix}"
    export_answers(found, path)
    if suffix == "json":
        rows = json.loads(path.read_text())
    elif suffix == "parquet":
        rows = pyarrow.parquet.read_table(path).to_pylist()
    else:
        with path.open(newline="") as file:
            texts = list(csv.DictReader(file))
        assert {row["participant"] for row in texts} == {"'=one", "two", "three"}  # no formula
        to = {"session": int, "position": int, "correct": "true".__eq__, "duplicate": "true".__eq__}
        to["seconds"] = lambda s: float(s) if s else None
        to["participant"] = lambda s: s.removeprefix("'")
        rows = [{name: to.get(name, str)(text) for name, text in row.items()} for row in texts]
    assert rows == [answer._asdict() for answer in found]


def test_refusals(tmp_path):
    folder = write_small(tmp_path / "small")
    with pytest.raises(ConfigError, match=r"answers.txt: answers are written as .csv, .parquet or .json"):
        export_answers(read_answers([folder]), tmp_path / "answers.txt")
    with pytest.raises(ConfigError, match="a second experiment of the name small; rename its folder"):
        read_answers([folder, write_small(tmp_path / "other" / "small")])
    (folder / "results.json").write_text("[]")
    with pytest.raises(DataError, match=r"small: nobody's answers; results.json is missing or empty"):
        read_answers([folder])
