"""The images of a distilled set: over optimisation, in the end with labels and step sizes, beside real ones."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..checkpoint import write_atomically
from . import sheet
from .drawing.files import FRAME, pictures
from .markup import Markup, data_uri, element, paragraph, picture, section, text
from .reading import Array, Run
from .synthesised_reading import MADE, Kept, classes, kept, of_seed, rivals

GIF = "images.gif"
_FRAMES, _TILES = 40, 1600
"""Pictures over optimisation at most, and images in all of them together, about, which bounds the size of a page."""
_SHOWN, _IN_FILES = 200, 2000
"""Images of a set on the page, and on the sheet beside it, at most."""
_BESIDE = 10
_COLOURS, _NEARLY_WHITE = 250, 244


def made(run: Run) -> Markup | None:
    """The images with labels and step sizes: of the first seed over optimisation, of all seeds in the end."""
    sets = {seed: found for seed in run.seeds if (found := kept(run, MADE, seed)) is not None}
    if not sets:
        return None
    seed, first = next(iter(sets.items()))
    soft = ", the likeliest class and its probability" if first.labels.is_floating_point() else ""
    note = paragraph(
        f"The set of seed {seed}. A line is a batch, beside it the step size of each of its applications; above an",
        f"image stands its label{soft}. Shown are the {_scale(run)} values that networks get, least to largest as",
        f"named below. What teaches a network need not look like anything.{_left_out(first)}",
    )
    blocks = [_player(run, first) if first.frames is not None else _sheet(run, seed, first)]
    rest = [part for s in list(sets)[1:] for part in (element("h3", text(f"Seed {s}")), _sheet(run, s, sets[s]))]
    if rest:
        blocks.append(element("details", element("summary", text("The sets of the other seeds")), *rest))
    return section("The images", note, *blocks, _files(run, first))


def _scale(run: Run) -> str:
    return "normalised" if run.part("data").get("whitening", "none") == "none" else "normalised and whitened"


def beside(run: Run) -> Markup | None:
    """The real sets of as many images, the first of each."""
    seed = run.seeds[0]
    found = [(arm, real) for arm in rivals(run) if (real := kept(run, arm, seed)) is not None]
    if not found:
        return None
    low = min(sheet.limits_of(real.images)[0] for _, real in found)
    high = max(sheet.limits_of(real.images)[1] for _, real in found)
    lines = []
    for arm, real in found:
        rows = _spread(real.images.shape[1], _BESIDE)
        words = sheet.label_words(real.labels, len(real.images), classes(run))[0]
        shown = sheet.scaled(real.images[:1], low, high)[0]
        rate = of_seed(run, seed)["baselines"][arm][0].get("rate")
        told = arm if rate is None else f"{arm}\nstep size {rate:g}"
        lines.append(sheet.Line(told, shown[rows], [words[i] for i in rows]))
    caption = f"values from {low:.3g} (black) to {high:.3g} (white), the same for all of these"
    note = paragraph(
        f"What the images are compared with: real sets of as many images, of seed {seed}, the first batch of the first",
        "draw. Each has one constant step size, the one that does best on training rows.",
    )
    alt = f"Real images: {', '.join(arm for arm, _ in found)}."
    return section("The real sets", note, _shown(sheet.drawn(lines, caption), alt))


def write_files(run: Run, folder: Path) -> None:
    """Write the sheet of each seed, ``images-SEED.png``, and the first seed's images over optimisation."""
    for seed in run.seeds:
        if (found := kept(run, MADE, seed)) is not None:
            write_atomically(folder / _png(seed), sheet.encoded(_pixels(run, _some(found, _IN_FILES))))
    first = kept(run, MADE, run.seeds[0])
    if first is not None and first.frames is not None:
        write_atomically(folder / GIF, _pictures(run, first)[-1])


def _png(seed: int) -> str:
    return f"images-{seed}.png"


def _files(run: Run, first: Kept) -> Markup:
    names = [_png(seed) for seed in run.seeds] + ([GIF] if first.frames is not None else [])
    links = [part for name in names for part in (text(", "), element("a", text(name), href=name))]
    return element("p", text("Files: "), *links[1:], class_="quiet")


def _player(run: Run, first: Kept) -> Markup:
    """Without the script, or on paper, the last frame is seen."""
    steps = [outer_steps(run)[i] for i in _chosen(first)]
    *pngs, _ = _pictures(run, first)
    images = [
        element(
            "img", src=data_uri("image/png", png), alt=f"images after {step} outer steps",
            **({} if png is pngs[-1] else {"hidden": ""}),
        )
        for step, png in zip(steps, pngs)
    ]  # fmt: skip
    facts = {"data_wait": str(FRAME), "data_names": " ".join(map(str, steps))}
    facts |= {"data_before": "outer step ", "data_what": "outer step"}
    return element("figure", *images, class_="player last", **facts)


def outer_steps(run: Run) -> list[int]:
    """Return the outer steps at which the first seed's images were kept, 0 first."""
    return [0, *(int(record["step"]) for record in of_seed(run, run.seeds[0])["records"])]


def _chosen(found: Kept) -> list[int]:
    """Which of the kept images are shown: evenly, the first and the last among them."""
    assert found.frames is not None
    count, images = len(found.frames), _some(found).images
    most = max(8, min(_FRAMES, _TILES // (images.shape[0] * images.shape[1])))
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def _pictures(run: Run, found: Kept) -> list[bytes]:
    """Frames as PNG, and all as a GIF."""
    assert found.frames is not None
    assert found.frame_step_sizes is not None
    limits = sheet.limits_of(found.frames)
    stages = [replace(found, images=found.frames[i], step_sizes=found.frame_step_sizes[i]) for i in _chosen(found)]
    pixels = [_pixels(run, _some(stage), limits) for stage in stages]
    return pictures(pixels, _palette(pixels))


def _palette(pixels: Sequence[Array]) -> Array:
    """The colours of the first and the last picture, and white; none near it, which Pillow would take for it."""
    from PIL import Image

    few = Image.fromarray(np.concatenate([pixels[0], pixels[-1]])).quantize(_COLOURS, dither=Image.Dither.NONE)
    colours = np.array(few.getpalette(), dtype=np.uint8).reshape(-1, 3)[:_COLOURS]
    return np.concatenate([colours[colours.min(axis=1) < _NEARLY_WHITE], np.full((1, 3), 255, dtype=np.uint8)])


def _some(found: Kept, most: int = _SHOWN) -> Kept:
    """Return the first batches of a set, or of a large batch images that are spread over it."""
    steps, rows = found.images.shape[:2]
    few, chosen = max(1, min(steps, most // rows)), _spread(rows, most)
    labels = found.labels[chosen] if found.labels.ndim == 1 else found.labels[:few, chosen]
    sizes = found.step_sizes.view(-1, steps)[:, :few].flatten()
    return Kept(found.images[:few, chosen], labels, sizes)


def _spread(count: int, most: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def _left_out(found: Kept) -> str:
    there, shown = (kept.images.shape[0] * kept.images.shape[1] for kept in (found, _some(found)))
    return "" if shown == there else f" Shown are {shown:,} of {there:,} images."


def _sheet(run: Run, seed: int, found: Kept) -> Markup:
    return _shown(_pixels(run, _some(found)), f"images of seed {seed}")


def _shown(pixels: Array, alt: str) -> Markup:
    return picture(data_uri("image/png", sheet.encoded(pixels)), alt)


def _pixels(run: Run, found: Kept, limits: tuple[float, float] | None = None) -> Array:
    return sheet.sheet_pixels(found.images, found.labels, found.step_sizes, classes(run), limits)
