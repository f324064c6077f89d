"""Charts of the researcher's pages, and the colours of their tables."""

import re

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

import itertools

from tutelage.classroom.dashboard import CurvePoint, Outcome
from tutelage.classroom.figures import Interval, mean_of
from tutelage.classroom.web.charts import curve_chart, dropout_chart, means_chart
from tutelage.classroom.web.pages import STATIC

from .test_web_accessibility import contrast


def test_the_contrast_of_confusion():
    shades = re.findall(r"\.shade-\d+ \{ background: (#[0-9a-f]{6});", (STATIC / "admin.css").read_text())
    assert len(shades) == 10
    assert all(contrast("#1c2733", shade) >= 4.5 for shade in shades)


def test_charts_have_a_mark_for_each_value():
    points = tuple(CurvePoint(i, "train" if i < 2 else "test", 1, 2, Interval(0.1, 0.9)) for i in range(5))
    curve = curve_chart("arm", points, 5, 0.5)
    assert curve.count("<circle") == curve.count("whisker") == 5
    assert curve.count("<polyline") == 2
    assert "Item 5: 1 of 2 right" in curve
    means = means_chart((Outcome("a", mean_of([]), mean_of([50.0, 70.0])), Outcome("b", mean_of([]), mean_of([]))), 0.5)
    assert means.count("<circle") == 1
    assert "60.0 %, from" in means
    assert "nobody yet" in means
    assert dropout_chart("arm", {0: 3, 4: 1}, 5).count("<rect") == 2


def test_who_left_at_the_end_stands_beside_who_left_at_the_last_item():
    chart = dropout_chart("arm", {4: 1, 5: 2}, 5)
    assert "Item 5: 1 left" in chart
    assert "After the last item: 2 left" in chart
    assert len(set(re.findall(r'<rect class="gone" x="([^"]*)"', chart))) == 2
    for length in (1, 7, 40, 300):
        ticks = re.findall(r'<text class="tick middle" x="([^"]*)"[^>]*>(.*?)<', dropout_chart("arm", {0: 1}, length))
        places = [float(x) for x, _ in ticks]
        assert ticks[-1][1] == "end"
        assert all(b - a >= 30 for a, b in itertools.pairwise(places)), ticks
