"""Iterative teaching as a recipe: what is refused, in one line and before a folder is made."""

import pytest

from tutelage.errors import ConfigError, DataError, TutelageError
from tutelage.recipes.iterative import Config, run
from tutelage.recipes.iterative.plan import prepare

from .iterative_runs import SMALL

DIGITS = {"problem": "digits"}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"dim": 0}, "--dim is 0; it must be in 1..10000."),
        ({"rows": 1}, "--rows is 1; it must be in 2..1000000."),
        ({"steps": 0}, "--steps is 0; it must be in 1..1000000."),
        ({"eta": 0.0}, "--eta is 0.0; it must be above 0, at most 1000"),
        ({"eta": float("nan")}, "--eta is nan"),
        ({"near": -1.0}, "--near is -1.0; it must be above 0"),
        ({"decay": 0.0}, "--decay is 0.0; it must be above 0"),
        ({"bound": 0.0}, "--bound is 0.0; it must be above 0"),
        ({"queries": -1}, "--queries is -1; it must be in 0..10000."),
        ({"spread": -0.1}, "--spread is -0.1; it must be in 0..1000000.0."),
        ({"seeds": 0}, "--seeds is 0; it must be in 1..1000."),
        ({"teachers": "omnicient"}, 'unknown teacher "omnicient".*omniscient'),
        ({"teachers": ","}, "--teachers is empty; name at least one"),
        ({"scales": "1,x"}, '--scales is "1,x"; give sizes of a row, such as 0.5,1,2.'),
        ({"scales": "1,-2"}, "--scales is 1,-2; each size comes once, above 0"),
        ({"scales": "1,1"}, "--scales is 1,1; each size comes once"),
        ({**DIGITS, "noise": "0,0.1"}, "--noise is 0,0.1; a run of this recipe has one rate: give one."),
        ({**DIGITS, "noise": "2"}, r"--noise is 2; it is a share of the labels and must be in \[0, 1\]."),
        ({**DIGITS, "only": "3"}, "--only is 3; name two classes or more"),
        ({**DIGITS, "test": 1.0}, "--test is 1.0; it is a share of the rows"),
    ],
)
def test_values_that_cannot_be(given, line):
    with pytest.raises(ConfigError, match=line) as error:
        prepare(Config(**given), fresh=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"data": "mnist"}, "--data is for runs with --problem digits; nothing in this run looks at it"),
        ({"noise": "0.1"}, "--noise is for runs with --problem digits"),
        ({"loss": "mcboost"}, "--loss is for runs with --problem digits"),
        ({"filter": "none"}, "--filter is for runs with --problem digits"),
        ({**DIGITS, "dim": 3}, "--dim is for runs with --problem regression or logistic"),
        ({**DIGITS, "rows": 30}, "--rows is for runs with --problem regression or logistic"),
        ({"queries": 2, "teachers": "omniscient"}, "--queries is for imitation;"),
        ({"spread": 0.2, "teachers": "omniscient"}, "--spread is for imitation, imitation-blind;"),
        ({"scales": "1,2"}, "--scales is for rescalable;"),
        ({"bound": 2.0, "problem": "logistic"}, "--bound is for label-synthesis with --problem regression;"),
        ({"hard": True}, "--hard is for label-synthesis with --problem logistic or digits;"),
    ],
)
def test_options_that_nothing_looks_at(given, line):
    with pytest.raises(ConfigError, match=line):
        prepare(Config(**given), fresh=True)


def test_defaults_fit_the_problem():
    found = {p: prepare(Config(problem=p), fresh=True).options for p in ("regression", "logistic", "digits")}
    assert [(o.eta, o.steps, o.near) for o in found.values()] == [
        (0.05, 100, 0.01),
        (0.2, 150, 0.01),
        (0.05, 100, None),
    ]
    arms = prepare(Config(teachers="rescalable"), fresh=True).arms
    assert arms == ("random", "rescalable")


def test_nothing_is_written_when_options_are_refused(tmp_path):
    for given in ({"dim": 0}, {"problem": "digits", "data": str(tmp_path / "none.npz")}, {"device": "tpu"}):
        with pytest.raises(TutelageError):
            run(Config(**given), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_folder_that_is_taken(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="exists"):
        run(Config(**SMALL), tmp_path)


def test_a_filter_that_leaves_no_row_of_a_class(tmp_path):
    """Labels that are drawn anew all of them, few rows: a linear model predicts none of some class."""
    options = Config(problem="digits", noise="1", per_class=3, seeds=1, threads=1)
    with pytest.raises(DataError, match=r"leaves no row of class \d|leaves nothing for a model to see"):
        run(options, tmp_path / "run")
    assert not (tmp_path / "run").exists()
