"""Drawing without global state: figures, the colour of each arm, and figures as addresses in a page."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .markup import data_uri

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2933"
QUIET = "#66727f"
EMPTY = "#dfe3e8"
RIGHT, WRONG = "#1f2933", "#D55E00"
"""Right and wrong labels in every picture; no arm has these colours."""
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#6A51A3",
    "#882255",
    "#56B4E9",
    "#999933",
    "#8C564B",
    "#7B8794",
)
"""Mostly Okabe and Ito's and Tol's, made for colour-blind readers; dash and marker tell the halves apart."""
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
_MARKERS = ("o", "s", "D")
_GROUP = 5
"""So many arms in a row share a dash and a marker."""
_PNG_COLOURS = 160

_SETTINGS = {
    "svg.hashsalt": "tutelage",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9aa5b1",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.8,
}


@dataclass(frozen=True)
class Look:
    """How an arm is drawn, the same in every picture."""

    colour: str
    dash: Any
    marker: str


def looks(arms: Sequence[str]) -> dict[str, Look]:
    """Return the look of each arm."""
    return {
        name: Look(
            COLOURS[i % len(COLOURS)],
            _DASHES[i // _GROUP % len(_DASHES)],
            _MARKERS[i // _GROUP % len(_MARKERS)],
        )
        for i, name in enumerate(arms)
    }


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with the settings of the report, whatever the user's own are; these come back afterwards."""
    from matplotlib import style

    with style.context(["default", _SETTINGS]):
        yield


def figure(width: float, height: float, *, fit: bool = False) -> "Figure":
    """Return an empty figure of so many inches; 1 inch is 96 pixels of a page.

    Args:
        width: of the whole figure.
        height: of the whole figure.
        fit: find room for labels of unknown length, which takes time.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained" if fit else None)


def named_lines(axes: "Axes", names: Sequence[str], *, size: float = 9.5, margin: float = 0.06) -> None:
    """Make room for a line a name, from the top: names on the left, a grid behind, no axis.

    Args:
        axes: changed; marks of the k-th name are at height k.
        names: in order.
        size: of their letters.
        margin: left and right of the marks, as a share of their width.
    """
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=size)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=margin)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def svg(drawn: "Figure") -> str:
    """Return a figure as an SVG address; the same figure gives the same bytes."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    drawn.savefig(file, format="svg", metadata=nothing)
    body = re.sub(r"\A.*?(?=<svg)", "", file.getvalue(), flags=re.DOTALL)
    return data_uri("image/svg+xml", body.encode())


def png(drawn: "Figure") -> str:
    """Return a figure as a PNG address, with two dots a pixel and few colours, which makes it small."""
    from PIL import Image

    raw, small = io.BytesIO(), io.BytesIO()
    drawn.savefig(raw, format="png", dpi=192)
    pixels = Image.open(raw).convert("RGB").quantize(_PNG_COLOURS, dither=Image.Dither.NONE)
    pixels.save(small, format="png", optimize=True)
    return data_uri("image/png", small.getvalue())


def spread(positions: Sequence[float], gap: float, top: float) -> list[float]:
    """Move labels apart: same order, at least ``gap`` between neighbours, none above ``top``.

    Args:
        positions: where the labels would like to be.
        gap: least distance.
        top: largest position.
    """
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed = [0.0] * len(order)
    floor = float("-inf")
    for i in order:
        placed[i] = floor = max(positions[i], floor + gap)
    ceiling = top
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed
