"""The images that a teacher trusts least."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .markup import Markup, data_uri, element, text
from .reading import Array, Trajectory

_NEEDED = frozenset({"suspects", "images", "index", "given", "true", "rows", "mean_weight"})
_SIDE = 96
"""Pixels of the longest side: larger pictures are thinned out, smaller ones repeat their pixels, which keeps them
crisp where a style sheet has no say, as in print."""


@dataclass(frozen=True)
class Suspect:
    """An image with its labels.

    Attributes:
        pixels: (H, W) or (H, W, 3), uint8.
        given: the class that the student was told.
        true: the class that it is; None: not known.
        weight: mean weight after burn-in.
    """

    pixels: Array
    given: str
    true: str | None
    weight: float

    @property
    def kind(self) -> str:
        """Whether the given label is ``right`` or ``wrong``; empty if that is not known."""
        if self.true is None:
            return ""
        return "right" if self.given == self.true else "wrong"


def suspects(trajectory: Trajectory, classes: Sequence[str], *, truth: bool = True) -> list[Suspect]:
    """Return the least trusted images of the first seed, the least trusted first; none if data are no images.

    Args:
        trajectory: what they are of.
        classes: names of the labels.
        truth: whether the true labels of all rows are known.
    """
    arrays = trajectory.arrays
    if not arrays.keys() >= _NEEDED or not is_image(arrays["images"]):
        return []
    place = {int(row): i for i, row in enumerate(arrays["index"])}
    weight = dict(zip(arrays["rows"][0].tolist(), arrays["mean_weight"][0].tolist()))
    names = dict(enumerate(classes))
    found = []
    for row, pixels in zip(arrays["suspects"].tolist(), to_bytes(arrays["images"])):
        given, true = (names.get(y := int(arrays[key][place[row]]), str(y)) for key in ("given", "true"))
        found.append(Suspect(pixels, given, true if truth else None, weight[row]))
    return found


def to_bytes(images: Array) -> Array:
    """Scale images (M, C, H, W) of any range to (M, H, W) or (M, H, W, 3) uint8.

    White is their own maximum; black is 0, or their own minimum if that is negative.
    """
    step = max(1, -(-max(images.shape[2:]) // _SIDE))
    values = images[:, :, ::step, ::step].astype(np.float64)
    low = min(0.0, float(values.min(initial=0.0)))
    high = float(values.max(initial=0.0))
    scaled = np.rint((values - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    return scaled[:, 0] if images.shape[1] == 1 else scaled.transpose(0, 2, 3, 1)


def gallery(found: Sequence[Suspect]) -> Markup:
    """Return the images with captions; a wrong label is marked by a word, a frame and a colour."""
    return element("div", *(_card(suspect) for suspect in found), class_="gallery")


def _card(suspect: Suspect) -> Markup:
    kind, weight = suspect.kind, f"weight {suspect.weight:.2f}"
    labels = [f"given {suspect.given}"] + ([f"truly {suspect.true}"] if kind else [])
    words = f"{kind} label: " if kind else ""
    picture = element(
        "img",
        src=data_uri("image/png", encode(suspect.pixels)),
        alt=f"{words}{', '.join([*labels, weight])}",
        class_="pixels",
    )
    lines = [element("div", text(line)) for line in (*labels, weight)]
    mark = [element("strong", text(kind))] if kind else []
    return element("figure", picture, element("figcaption", *mark, *lines), class_=f"card {kind}".strip())


def is_image(images: Array) -> bool:
    """Return whether rows are grey or colour images, and at least one."""
    return images.ndim == 4 and images.shape[1] in (1, 3) and len(images) > 0


def encode(pixels: Array) -> bytes:
    """Return an image (H, W) or (H, W, 3) as PNG."""
    from PIL import Image

    file = io.BytesIO()
    times = max(1, _SIDE // max(pixels.shape[:2]))
    large = pixels.repeat(times, axis=0).repeat(times, axis=1)
    Image.fromarray(large).save(file, format="png", optimize=True)
    return file.getvalue()
