"""The drawing as a page that plays: one file that asks nothing of the network."""

from collections.abc import Mapping, Sequence
from importlib.resources import files

import numpy as np

from ..document import head
from ..markup import Markup, data_uri, element, paragraph, text
from .files import FRAME
from .frames import signed
from .numbers import CLEAR, Drawn, Scale

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""Makes browsers refuse any request; the only script is ours, since every name is escaped."""


def page(curricula: Mapping[str, Drawn], scale: Scale, pngs: Sequence[bytes]) -> str:
    """Return the page: the frames with a button and a slider, what is seen, and the line that occurs in numbers.

    Args:
        curricula: by title.
        scale: of all.
        pngs: the frames.
    """
    name = ", ".join(curricula)
    report = files(__package__.rpartition(".")[0])
    styles = [report.joinpath("style.css"), report.joinpath("drawing", "player.css")]
    body = element(
        "main",
        element("p", text("tutelage curriculum"), class_="kicker"),
        element("h1", text(name)),
        _player(scale, pngs),
        paragraph(*_explained(curricula, scale)),
        element("h2", text("On the line that occurs")),
        paragraph(*_judged(scale)),
        *(paragraph(line, class_="doubt") for line in doubts(curricula, scale)),
        _table(curricula, scale),
        class_="broad",
    )
    script = element("script", Markup(report.joinpath("drawing", "player.js").read_text(encoding="utf-8")))
    whole = element("html", head(name, _POLICY, styles), element("body", body, script), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def doubts(curricula: Mapping[str, Drawn], scale: Scale) -> list[str]:
    """Return a line for each learned curriculum that is none in some frames, and names these."""
    lines = []
    for name, drawn in curricula.items():
        if drawn.clear.all():
            continue
        doubtful = [str(e) for e, clear in zip(scale.percents, drawn.clear) if not clear]
        place = f"at e = {', '.join(doubtful)}" if drawn.clear.any() else "at any e"
        most = float((drawn.near - drawn.far)[~drawn.clear].max())
        lines.append(f"{name}: no clear curriculum {place}: v(0) − v(10) is {signed(most)} at most; {CLEAR} is clear.")
    return lines


def _player(scale: Scale, pngs: Sequence[bytes]) -> Markup:
    """Without the script, or on paper, all frames are seen, one below the other."""
    images = [
        element("img", src=data_uri("image/png", png), alt=f"v over loss and d at e = {e}")
        for e, png in zip(scale.percents, pngs)
    ]
    names = " ".join(str(e) for e in scale.percents)
    facts = {"data_wait": str(FRAME), "data_names": names, "data_before": "e = ", "data_what": "percent of training"}
    return element("figure", *images, class_="player", **facts)


def _explained(curricula: Mapping[str, Drawn], scale: Scale) -> list[str]:
    """Say what the pictures show."""
    several = " The last column is the first curriculum minus the second." if len(curricula) == 2 else ""
    return [
        "Height and colour are the weight v, from 0 to 1, of an example with this loss and this difference d between "
        "its loss and the threshold, a moving percentile of the losses; e is the percent of training." + several,
        "A cliff means that an example counts or does not, a ramp that it counts by degrees.",
        "Losses are never negative, so neither is the threshold, and d > loss, shaded, cannot occur.",
        "A batch has one threshold and many losses, so its examples lie on one line:",
        f"the dashed one is that of the threshold {scale.threshold:g}.",
    ]


def _judged(scale: Scale) -> list[str]:
    """Say what the table shows."""
    return [
        f"With the threshold {scale.threshold:g}: v at the losses 0 and 10, and d*, where v first crosses .5.",
        "A mentor learned from trusted labels puts d* above 0 where the percentile is lower than it could be, and "
        f"below 0 where it is too high. A learned curriculum is clear where v(0) − v(10) is {CLEAR} or more.",
    ]


def _table(curricula: Mapping[str, Drawn], scale: Scale) -> Markup:
    groups = [element("th", text(name), colspan="3", scope="colgroup") for name in curricula]
    columns = [element("th", text(label), scope="col") for _ in curricula for label in ("v(0)", "v(10)", "d*")]
    head = element(
        "thead", element("tr", element("th", text("e"), rowspan="2", scope="col"), *groups), element("tr", *columns)
    )
    rows = []
    for i, e in enumerate(scale.percents):
        cells = [cell for drawn in curricula.values() for cell in _cells(drawn, i)]
        rows.append(element("tr", element("th", text(e), scope="row"), *(element("td", text(c)) for c in cells)))
    return element("div", element("table", head, element("tbody", *rows)), class_="scroll")


def _cells(drawn: Drawn, i: int) -> list[str]:
    cut = float(drawn.cuts[i])
    return [f"{drawn.near[i]:.2f}", f"{drawn.far[i]:.2f}", signed(cut) if np.isfinite(cut) else "–"]
