"""Drawings as files: pictures, an animation, tables."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...data.columns import write_columns
from ..reading import Array
from .numbers import Drawn, Scale

FRAME = 500
"""Milliseconds that a frame is seen."""


def pictures(pixels: Sequence[Array], colours: Array) -> list[bytes]:
    """Return the frames as PNG, and last all of them as an endless GIF; few colours make them small.

    Args:
        pixels: (H, W, 3) uint8 each.
        colours: (M, 3) uint8, M <= 256; each dot takes the nearest.
    """
    from PIL import Image

    palette = Image.new("P", (1, 1))
    palette.putpalette(colours.ravel().tolist())
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in pixels]
    written = [io.BytesIO() for _ in range(len(images) + 1)]
    for image, file in zip(images, written):
        image.save(file, format="png", optimize=True)
    images[0].save(written[-1], format="gif", save_all=True, append_images=images[1:], duration=FRAME, loop=0)
    return [file.getvalue() for file in written]


def grid(curricula: Mapping[str, Drawn], scale: Scale) -> dict[str, Array]:
    """Return the columns of all surfaces, a row for each point of each frame; v is NaN where there is none."""
    shape = (len(scale.percents), len(scale.losses), len(scale.differences))
    columns = {
        "percent": np.array(scale.percents)[:, None, None],
        "loss": scale.losses[None, :, None],
        "d": scale.differences[None, None, :],
        "occurs": ~scale.impossible[None],
        **{f"v({name})": drawn.weights.astype(np.float32) for name, drawn in curricula.items()},
    }
    if len(curricula) == 2:
        first, second = curricula.values()
        columns["difference"] = (first.weights - second.weights).astype(np.float32)
    return {name: np.broadcast_to(values, shape).ravel() for name, values in columns.items()}


def cuts(curricula: Mapping[str, Drawn], scale: Scale) -> dict[str, Array]:
    """Return the columns of what the line that occurs says, a row for each frame of each curriculum."""
    drawn = list(curricula.values())
    frames = len(scale.percents)
    return {
        "curriculum": np.repeat(np.array(list(curricula), dtype=object), frames),
        "percent": np.tile(np.array(scale.percents), len(drawn)),
        "threshold": np.full(frames * len(drawn), scale.threshold),
        "v(0)": np.concatenate([d.near for d in drawn]),
        "v(10)": np.concatenate([d.far for d in drawn]),
        "d*": np.concatenate([d.cuts for d in drawn]),
        "clear": np.concatenate([d.clear for d in drawn]),
    }


def write_table(columns: Mapping[str, Array], folder: Path, name: str) -> list[Path]:
    """Write columns as CSV and Parquet and return the paths; NaN becomes an empty cell.

    Raises:
        DataError: if a file cannot be written.
    """
    written = [folder / f"{name}.{kind}" for kind in ("csv", "parquet")]
    for path in written:
        write_columns(columns, path)
    return written
