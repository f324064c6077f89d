"""The frames of a drawing: of each curriculum the surface v over d and l, and the same as a heat map."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..canvas import EMPTY, INK, QUIET, WRONG, drawing, figure
from ..reading import Array, Floats
from .numbers import Drawn, Scale
from .panels import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Show: TypeAlias = Callable[[int], list[Any]]
"""Changes artists to frame i and returns them in the order of drawing; axes and labels stay, most of the work."""

_DOTS = 144
"""Dots an inch of the pictures; an inch is 96 pixels of a page."""
_WIDE, _HIGH = 4.7, 3.75
"""Inches of a surface, or of a heat map with its axes and legend."""
_TOP = 0.8
"""Inches of the title, and of the names and warnings below it."""
_EDGE, _PALE = 0.88, 0.7
"""Share of a tile's colour in its edges, and of grey in what cannot occur."""
_DIFFERENCE = "d = loss − threshold"


def frames(shown: list[Panel], scale: Scale) -> list[Array]:
    """Draw all frames: each surface above its heat map, or beside it if there is one panel; pixels (H, W, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    alone = len(shown) == 1
    width, height = (2 * _WIDE, _HIGH) if alone else (len(shown) * _WIDE, 2 * _HIGH)
    pixels = []
    with drawing():
        drawn = figure(width, height + _TOP)
        drawn.set_dpi(_DOTS)
        shows = [_title(drawn, scale)]
        for column, panel in enumerate(shown):
            x = column * _WIDE
            shows += [
                _heading(drawn, panel, width / 2 if alone else x + _WIDE / 2),
                _surface(drawn, panel, scale, x, height - _HIGH),
                _heat_map(drawn, panel, scale, _WIDE if alone else x, 0.0),
            ]
        canvas: Any = FigureCanvasAgg(drawn)
        for artist in _artists(shows, 0):
            artist.set_animated(True)
        canvas.draw()
        empty = canvas.copy_from_bbox(drawn.bbox)
        for i in range(len(scale.percents)):
            canvas.restore_region(empty)
            for artist in _artists(shows, i):
                drawn.draw_artist(artist)
            pixels.append(np.asarray(canvas.buffer_rgba())[:, :, :3].copy())
    return pixels


def palette(shown: list[Panel]) -> Array:
    """Return the colours that the frames are made of (M, 3) uint8, M <= 256, white among them.

    Greys near white are few: Pillow looks for the nearest colour in coarse steps, and white is to stay white.
    """
    white, pale = np.ones(3), _rgb(EMPTY)
    maps = sorted({panel.colour_map for panel in shown})
    parts = [_rgb(WRONG)[None], np.linspace(_rgb(INK), white, 24), np.linspace(pale, white, 5)]
    for name in maps:
        full = _mapped(name, np.linspace(0, 1, 112 // len(maps)))
        parts += [full, _EDGE * full[::2], _paler(full[::2], _PALE)]
    return np.rint(255 * np.concatenate(parts)).astype(np.uint8)


def _artists(shows: list[Show], i: int) -> list[Any]:
    return [artist for show in shows for artist in show(i)]


def _title(drawn: "Figure", scale: Scale) -> Show:
    title = _write(drawn, drawn.get_figwidth() / 2, 0.32, fontsize=14, weight="bold")

    def show(i: int) -> list[Any]:
        title.set_text(f"e = {scale.percents[i]}")
        return [title]

    return show


def _heading(drawn: "Figure", panel: Panel, x: float) -> Show:
    _write(drawn, x, 0.62, fontsize=11).set_text(panel.title)
    warning = _write(drawn, x, 0.83, fontsize=9.5, color=WRONG)

    def show(i: int) -> list[Any]:
        doubtful = panel.drawn is not None and not panel.drawn.clear[i]
        warning.set_text("no clear curriculum" if doubtful else "")
        return [warning]

    return show


def _write(drawn: "Figure", x: float, below: float, **style: Any) -> Any:
    """Return an empty text, so many inches from the left and below the top."""
    width, height = drawn.get_size_inches()
    return drawn.text(x / width, 1 - below / height, "", ha="center", **style)


def _place(drawn: "Figure", x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    """Return a rectangle in inches as shares of the figure."""
    w, h = drawn.get_size_inches()
    return x / w, y / h, width / w, height / h


def _surface(drawn: "Figure", panel: Panel, scale: Scale, x: float, y: float) -> Show:
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection
    from mpl_toolkits.mplot3d.axes3d import Axes3D

    place = _place(drawn, x - 0.2, y - 0.02, _WIDE, _HIGH + 0.2)
    axes: Any = drawn.add_axes(place, axes_class=Axes3D, computed_zorder=False)
    tiles = Poly3DCollection(_tiles(panel, scale, 0), linewidths=0.25)
    axes.add_collection3d(tiles)
    _box(axes, panel, scale.bound)

    def show(i: int) -> list[Any]:
        corners = _tiles(panel, scale, i)
        faces = _colours(panel, corners)
        tiles.set_verts(corners)
        tiles.set_facecolor(faces)
        tiles.set_edgecolor(_EDGE * faces)
        if axes.M is not None:
            tiles.do_3d_projection()
        return [tiles]

    return show


def _tiles(panel: Panel, scale: Scale, i: int) -> Floats:
    """Return the tiles (M, 4, 3) between neighbouring points of the grid; none at a point without a value."""
    grid = scale.differences, scale.losses[:, None], panel.values[i]
    points = np.stack(np.broadcast_arrays(*grid), axis=-1)
    corners = np.stack([points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]], axis=-2)
    tiles: Floats = corners.reshape(-1, 4, 3)
    return tiles[np.isfinite(tiles).all(axis=(1, 2))]


def _colours(panel: Panel, tiles: Floats) -> Floats:
    """Return the colours (M, 3) of the tiles by height, pale where d > l; tiles across that border lie between."""
    d, loss, height = tiles.mean(axis=1).T
    across = tiles[:, 1, 0] - tiles[:, 0, 0]
    full = _mapped(panel.colour_map, (height - panel.low) / (1 - panel.low))
    return _paler(full, _PALE * np.clip(0.5 + (d - loss) / across, 0, 1)[:, None])


def _mapped(name: str, values: Floats) -> Floats:
    """Return the colours (..., 3) of values in [0, 1]."""
    from matplotlib import colormaps

    return np.asarray(colormaps[name](values))[..., :3]


def _paler(colours: Floats, share: Floats | float) -> Floats:
    return (1 - share) * colours + share * _rgb(EMPTY)


def _rgb(colour: str) -> Floats:
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(colour))


def _box(axes: Any, panel: Panel, bound: float) -> None:
    axes.set_xlim(-bound, bound)
    axes.set_ylim(0, bound)
    axes.set_zlim(panel.low, 1)
    axes.set_zticks(list(panel.ticks), list(panel.ticks.values()))
    axes.set_xlabel(_DIFFERENCE)
    axes.set_ylabel("loss")
    axes.set_zlabel(panel.label)
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=5)
    axes.tick_params(pad=0)
    axes.tick_params(axis="z", pad=5)
    axes.zaxis.labelpad = 8
    axes.view_init(elev=30, azim=-62)
    axes.set_box_aspect((1.25, 1.25, 0.8), zoom=0.96)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((0.97, 0.975, 0.98, 1.0))


def _heat_map(drawn: "Figure", panel: Panel, scale: Scale, x: float, y: float) -> Show:
    bound = scale.bound
    axes = drawn.add_axes(_place(drawn, x + 0.6, y + 0.98, 3.05, 2.5))
    mesh = axes.pcolormesh(
        scale.differences,
        scale.losses,
        panel.values[0],
        vmin=panel.low,
        vmax=1,
        cmap=panel.colour_map,
        shading="nearest",
    )
    triangle = (0, bound, bound), (0, bound, 0)
    over: list[Any] = axes.fill(*triangle, facecolor=EMPTY, alpha=_PALE, linewidth=0)
    over += axes.fill(*triangle, fill=False, edgecolor=QUIET, hatch="///", linewidth=0)
    box = {"color": "white", "alpha": 0.8, "pad": 2}
    over.append(axes.text(0.96 * bound, 0.1 * bound, "cannot occur", ha="right", bbox=box))
    axes.set_xlim(-bound, bound)
    axes.set_ylim(0, bound)
    axes.set_xlabel(_DIFFERENCE)
    axes.set_ylabel("loss")
    axes.locator_params(nbins=5)
    bar = drawn.colorbar(mesh, cax=drawn.add_axes(_place(drawn, x + 3.77, y + 0.98, 0.13, 2.5)), label=panel.label)
    bar.set_ticks(list(panel.ticks), labels=list(panel.ticks.values()))
    line = _line(axes, panel.drawn, scale) if panel.drawn is not None else lambda i: []

    def show(i: int) -> list[Any]:
        mesh.set_array(panel.values[i])
        return [mesh, *over, *line(i)]

    return show


def _line(axes: "Axes", curriculum: Drawn, scale: Scale) -> Show:
    """Draw the line that occurs, and where v crosses .5 on it."""
    place = scale.line - scale.threshold, scale.line
    (under,) = axes.plot(*place, color="white", linewidth=3)
    (dashes,) = axes.plot(*place, color=INK, linewidth=1.3, linestyle=(0, (4, 2)))
    circle: dict[str, Any] = {"color": "white", "markersize": 7, "markeredgecolor": INK, "markeredgewidth": 1.4}
    (point,) = axes.plot([], [], "o", **circle)
    axes.legend(
        [dashes, point],
        [f"line that occurs at threshold {scale.threshold:g}", "its cut d*, where v crosses .5"],
        loc="upper left",
        bbox_to_anchor=(-0.04, -0.16),
        frameon=False,
        labelspacing=0.2,
    )
    note = axes.text(1.0, 1.03, "", ha="right", transform=axes.transAxes)

    def show(i: int) -> list[Any]:
        cut = float(curriculum.cuts[i])
        point.set_data([cut], [cut + scale.threshold])
        note.set_text(f"d* = {signed(cut)}" if np.isfinite(cut) else "no d*")
        return [under, dashes, point, note]

    return show


def signed(value: float) -> str:
    """Return a number with its sign and two digits, a true minus, and 0.00 without any."""
    rounded = round(value, 2)
    return f"{rounded:+.2f}".replace("-", "−") if rounded else "0.00"
