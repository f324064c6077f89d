"""Charts of the researcher's page as SVG within it: shapes and classes, without styles of their own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from ..dashboard import CurvePoint, Outcome
from ..figures import Interval, Mean

WIDTH = 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 26, 12, 34
_PANEL, _BARS, _ROW = 220, 150, 50
_TICKS = (0, 25, 50, 75, 100)
_MOST_LABELS = 10
_APART = 30
_LETTERS = 32


@dataclass(frozen=True)
class _Scale:
    """A straight line from values to pixels."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        return self.first + (value - self.low) / (self.high - self.low) * (self.last - self.first)


def means_chart(outcomes: Sequence[Outcome], chance: float) -> Markup:
    """Return the means of the arms in the test with their 95 % intervals, in per cent.

    Args:
        outcomes: by arm.
        chance: share of right answers by guessing, in [0, 1].
    """
    height = _TOP + _ROW * len(outcomes) + _BOTTOM
    x, floor = _Scale(0, 100, _RIGHT, WIDTH - _RIGHT), height - _BOTTOM
    parts = [_line("grid", x(tick), _TOP, x(tick), floor) for tick in _TICKS]
    parts += [_text("tick middle", x(tick), floor + 18, f"{tick} %") for tick in _TICKS]
    parts.append(_line("chance", x(100 * chance), _TOP, x(100 * chance), floor))
    for place, outcome in enumerate(outcomes):
        y, mean = _TOP + _ROW * (place + 0.75), outcome.test.mean
        told = "nobody yet" if mean is None else f"{mean:.1f}"
        parts.append(_text("name", _RIGHT, y - 16, f"{_short(outcome.arm)}: {told}"))
        parts += _mean(outcome.test, x, y)
    said = "; ".join(f"{outcome.arm}: {_said(outcome.test)}" for outcome in outcomes)
    return _svg(height, f"Right answers in the test by arm, mean and 95 % interval. {said}.", parts)


def curve_chart(arm: str, points: Sequence[CurvePoint], length: int, chance: float) -> Markup:
    """Return the share of right answers at each position of an arm, with its Wilson interval.

    Args:
        arm: name.
        points: in the order of positions.
        length: positions.
        chance: share of right answers by guessing, in [0, 1].
    """
    x, y = _across(length), _Scale(0, 100, _PANEL - _BOTTOM, _TOP)
    parts = [*_levels(y), *_positions(x, length, _PANEL)]
    parts.append(_line("chance", _LEFT, y(100 * chance), WIDTH - _RIGHT, y(100 * chance)))
    for phase in ("train", "test"):
        mine = [point for point in points if point.phase == phase]
        path = " ".join(f"{x(p.position + 1):.1f},{y(100 * p.right / p.of):.1f}" for p in mine)
        parts.append(Markup('<polyline class="{} path" points="{}"/>').format(phase, path))
        for point in mine:
            at, middle = x(point.position + 1), y(100 * point.right / point.of)
            said = f"Item {point.position + 1}: {point.right} of {point.of} right"
            parts.append(_bar(phase, point.interval, at, y))
            parts.append(_dot(phase, at, middle, said))
    return _svg(_PANEL, f"Learning curve of {arm}: share of right answers by item.", parts)


def dropout_chart(arm: str, gone: Mapping[int, int], length: int) -> Markup:
    """Return how many people left an arm at each position, and after the last one.

    Args:
        arm: name.
        gone: people by the position that they had reached, from 0.
        length: positions.
    """
    most = max(gone.values(), default=1)
    x, y = _across(length + 1), _Scale(0, most, _BARS - _BOTTOM, _TOP)
    shown = next((place for place in range(length, 0, -1) if x(length + 1) - x(place) >= _APART), 0)
    parts = [_line("grid", _LEFT, y(0), WIDTH - _RIGHT, y(0)), *_positions(x, length, _BARS, shown)]
    parts.append(_text("tick middle", x(length + 1), _BARS - _BOTTOM + 18, "end"))
    parts += [_text("tick end", _LEFT - 8, y(value) + 4, str(value)) for value in {0, most}]
    wide = max(2.0, 0.6 * (x(2) - x(1)))
    for position, people in gone.items():
        at, top = x(position + 1), y(people)
        where = f"Item {position + 1}" if position < length else "After the last item"
        parts.append(
            Markup('<rect class="gone" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>')
            .format(at - wide / 2, top, wide, y(0) - top, f"{where}: {people} left")
        )  # fmt: skip
    return _svg(_BARS, f"People who left {arm}, by the item that they had reached.", parts)


def _mean(mean: Mean, x: _Scale, y: float) -> Iterator[Markup]:
    if mean.mean is None:
        return
    if mean.interval is not None:
        low, high = (x(min(100.0, max(0.0, end))) for end in mean.interval)
        yield _line("test span", low, y, high, y)
        for end in (low, high):
            yield _line("test span", end, y - 7, end, y + 7)
    yield _dot("test", x(mean.mean), y, _said(mean))


def _said(mean: Mean) -> str:
    if mean.mean is None:
        return "nobody yet"
    spread = "" if mean.interval is None else f", from {mean.interval.low:.1f} to {mean.interval.high:.1f}"
    return f"{mean.mean:.1f} %{spread}, {mean.n} people"


def _across(length: int) -> _Scale:
    return _Scale(0.5, length + 0.5, _LEFT, WIDTH - _RIGHT)


def _levels(y: _Scale) -> Iterator[Markup]:
    for tick in _TICKS:
        yield _line("grid", _LEFT, y(tick), WIDTH - _RIGHT, y(tick))
        yield _text("tick end", _LEFT - 8, y(tick) + 4, str(tick))


def _positions(x: _Scale, length: int, height: int, last: int | None = None) -> Iterator[Markup]:
    every = max(1, -(-length // _MOST_LABELS))
    for position in range(every, (length if last is None else last) + 1, every):
        yield _text("tick middle", x(position), height - _BOTTOM + 18, str(position))


def _bar(kind: str, interval: Interval, x: float, y: _Scale) -> Markup:
    return _line(f"{kind} whisker", x, y(100 * interval.low), x, y(100 * interval.high))


def _dot(kind: str, x: float, y: float, said: str) -> Markup:
    dot = '<circle class="{} dot" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}</title></circle>'
    return Markup(dot).format(kind, x, y, said)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    line = '<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
    return Markup(line).format(kind, x1, y1, x2, y2)


def _text(kind: str, x: float, y: float, said: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, said)


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"


def _svg(height: int, told: str, parts: Sequence[Markup]) -> Markup:
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        WIDTH, height, escape(told)
    )
    return head + Markup("").join(parts) + Markup("</svg>")
