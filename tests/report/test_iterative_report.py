"""The page of a run of iterative teaching: its numbers are those of the result, its pictures are there."""

import html
import json
import re
import shutil

import pytest

from tutelage.display import result_table
from tutelage.recipes.iterative import Config, run
from tutelage.report import write
from tutelage.report.iterative import size
from tutelage.report.iterative_plots import ticks
from tutelage.report.reading import read

from ..recipes.iterative_runs import SMALL, digits_run, regression_run


@pytest.fixture
def base(tmp_path_factory):
    return tmp_path_factory.getbasetemp()


def words(page):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<style.*?</style>", "", page, flags=re.S))).split())


def page_of(out, tmp_path, change=None):
    """The page of a copy of a run, so that runs that tests share stay as they are."""
    copy = tmp_path / "run"
    shutil.copytree(out, copy)
    if change is not None:
        result = json.loads((copy / "result.json").read_text())
        change(result)
        (copy / "result.json").write_text(json.dumps(result))
    return write(copy).read_text()


def test_page_of_regression(base, tmp_path):
    result, out = regression_run(base)
    page = page_of(out, tmp_path)
    told = words(page)
    for line in result["conclusion"]["lines"]:
        assert " ".join(line.split()) in told
    for name in result["order"]:
        assert size(result["iterative"]["arms"][name]["distance"]["20"]["median"], 0.0) in told
        assert page.count(f"<b>{name}</b>") >= 2  # what it does, and what it showed first
    for title in ("What follows", "Results", "On the way to the target", "What was shown first", "The smallest sets"):
        assert title in told
    assert "Accuracy on test rows" not in told
    assert page.count("data:image/svg+xml") == 2
    assert "The band is the 95 % interval of the median over 6 seeds." in told
    assert "The first 6 steps" in told
    assert "http" not in re.sub(r"data:[^\"]+", "", page).replace("http-equiv", "")


def test_falls_are_those_of_the_first_seed(base, tmp_path):
    result, out = regression_run(base)
    told = words(page_of(out, tmp_path))
    first = result["iterative"]["shown"]["omniscient"][0]
    assert f"1 {first['index']} {first['size']:.2f}" in told
    assert f"{first['promised']:+.4f} {first['fall']:+.4f}" in told


def test_page_of_digits(base, tmp_path):
    result, out = digits_run(base)
    page = page_of(out, tmp_path)
    told = words(page)
    assert "Accuracy on test rows" in told
    assert page.count("data:image/svg+xml") == 3
    assert page.count('class="pixels"') == sum(map(len, result["iterative"]["shown"].values()))
    assert "of the pool's labels are wrong" in told
    assert "for each of the 5 classes against the rest" in told
    assert "half of the start" in told
    assert "cross-fitted: rows whose label a linear model of the other folds predicts" in told
    assert "The band is the range of the 2 seeds." in told


def test_the_same_folder_gives_the_same_page(base, tmp_path):
    _, out = digits_run(base)
    assert page_of(out, tmp_path / "a") == page_of(out, tmp_path / "b")


def test_one_seed_one_teacher(tmp_path):
    out = tmp_path / "run"
    result = run(Config(**SMALL | {"seeds": 1, "steps": 1, "teachers": "random"}), out)
    told = words(write(out).read_text())
    assert "There is one seed, so there is no band." in told
    assert result["conclusion"]["lines"][0].startswith("Nearest after 1 step: random, median")
    assert "Median over 1 seed of" in told


def test_names_are_escaped(base, tmp_path):
    def change(result):
        result["data"]["classes"] = [f"<b>{k}&" for k in range(5)]

    page = page_of(digits_run(base)[1], tmp_path, change)
    assert "<b>3&" not in page
    assert "&lt;b&gt;3&amp;" in page


def test_mixed_labels_are_told_with_their_shares(base, tmp_path):
    def change(result):
        result["iterative"]["shown"]["label-synthesis"][0]["told"] = [0.7, 0.0, 0.001, 0.299, 0.0]

    assert "told 3 70 %, 8 30 %" in words(page_of(digits_run(base)[1], tmp_path, change))


def test_distances_below_rounding(base, tmp_path):
    """They are told as such, all of them are best, and no picture fails."""
    change = lambda result: result["iterative"].update(floor=1e9)  # noqa: E731
    page = page_of(regression_run(base)[1], tmp_path, change)
    assert page.count("<b>&lt; 1.0e9</b>") == 6 * 3


@pytest.mark.parametrize(
    ("value", "floor", "shown"),
    [
        (0.123, 0.0, "0.12"),
        (54.1, 0.0, "54"),
        (1234.0, 0.0, "1234"),
        (99.9, 0.0, "100"),
        (23456.0, 0.0, "2.3e4"),
        (3.4e-7, 0.0, "3.4e−7"),
        (2e-33, 4.9e-32, "< 4.9e−32"),
        (0.0, 0.0, "0"),
        (1.0, 0.5, "1"),
    ],
)
def test_sizes_in_words(value, floor, shown):
    assert size(value, floor) == shown


def test_ticks():
    places, names = ticks(-32.4, 0.3)
    assert places[-1] == 0
    assert len(places) <= 9
    assert names[-1] == "10⁰"
    assert names[0] == "10⁻³²"
    assert ticks(-1.1, 0.2)[1] == ["0.1", "0.2", "0.5", "1"]
    assert ticks(1.5, 1.75)[1] == ["40", "50"]


def test_the_terminal(base):
    result, _ = regression_run(base)
    columns = dict(result_table(result).columns)
    ends = [own["distance"]["20"]["median"] for own in result["iterative"]["arms"].values()]
    assert columns["20 steps"] == [f"{value:.1e}" for value in ends]
    assert list(columns)[-1] == "arrives"


def test_read_finds_the_run(base):
    _, out = regression_run(base)
    assert read(out).result["recipe"] == "iterative"
