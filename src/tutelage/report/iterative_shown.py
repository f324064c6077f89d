"""What teachers showed first, and why: by how much they meant the distance to fall, and by how much it did."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..checkpoint import load_checkpoint
from .gallery import encode, is_image, to_bytes
from .markup import Markup, data_uri, element, paragraph, section, text
from .reading import Array, Run
from .tables import cell, heading, number, signed, table

_OPEN = ("random", "omniscient")
_FEW = 0.005
"""Shares of a made label below this are not told."""


def first(run: Run) -> Markup:
    """The first lessons of the first seed."""
    seed = run.seeds[0]
    note = paragraph(
        f"The first lessons of seed {seed}, each with the squared distance that its step took off. Teachers rank rows",
        "by what they expect of them: the omniscient teacher knows it exactly, the surrogate teacher has a lower",
        "bound, and an imitating teacher reckons with a copy of the learner, which is wrong at first.",
    )
    pixels = _pixels(run, seed)
    parts = [_lessons(run, name, pixels) for name in run.result["order"]]
    return section("What was shown first, and why", note, *parts)


def _pixels(run: Run, seed: int) -> dict[int, Array]:
    """Images (H, W) or (H, W, 3) by position in the data; none if rows are no images."""
    path = run.path / f"arms/taught-{seed}.safetensors"
    if not run.part("data")["classes"] or not path.is_file():
        return {}
    tensors, _ = load_checkpoint(path)
    images = tensors["images"].numpy()
    return dict(zip(tensors["shown"].tolist(), to_bytes(images))) if is_image(images) else {}


def _lessons(run: Run, name: str, pixels: Mapping[int, Array]) -> Markup:
    lessons: Sequence[Mapping[str, Any]] = run.part("iterative")["shown"][name]
    classes: Sequence[str] = run.part("data")["classes"]
    whole = sum(lesson["fall"] for lesson in lessons)
    summary = element("summary", element("b", text(name)), text(f" ({signed(-whole, 3)} in {len(lessons)} steps)"))
    shown = _gallery(lessons, classes, pixels) if pixels else _rows(lessons, classes)
    return element("details", summary, shown, **({"open": ""} if name in _OPEN else {}))


def _rows(lessons: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Markup:
    head = [
        heading("Step"),
        heading("Row"),
        heading("Size", "norm of its input"),
        heading("Label"),
        heading("Told"),
        heading("Expected", "fall of the squared distance"),
        heading("Fell by"),
    ]
    lines = []
    for step, lesson in enumerate(lessons, 1):
        values = [
            str(lesson["index"]),
            number(lesson["size"], 2),
            _label(lesson["given"], classes),
            _told(lesson, classes),
            _expected(lesson),
            signed(lesson["fall"], 4),
        ]
        lines.append(element("tr", element("th", text(step), scope="row"), *map(cell, values)))
    return table(head, lines)


def _gallery(lessons: Sequence[Mapping[str, Any]], classes: Sequence[str], pixels: Mapping[int, Array]) -> Markup:
    return element("div", *(_card(s, own, classes, pixels) for s, own in enumerate(lessons, 1)), class_="gallery roomy")


def _card(step: int, own: Mapping[str, Any], classes: Sequence[str], pixels: Mapping[int, Array]) -> Markup:
    wrong = own["given"] != own["true"]
    lines = [f"told {_told(own, classes)}"] + ([f"truly {classes[own['true']]}"] if wrong else [])
    lines += [f"size {number(own['size'], 1)}", f"expected {_expected(own)}", f"fell by {signed(own['fall'], 3)}"]
    address = data_uri("image/png", encode(pixels[own["index"]]))
    image = element("img", src=address, alt=f"step {step}, {', '.join(lines)}", class_="pixels")
    mark = f"{step}" + (" · wrong label" if wrong else "")
    caption = element("figcaption", element("strong", text(mark)), *(element("div", text(line)) for line in lines))
    return element("figure", image, caption, class_=f"card {'wrong' if wrong else ''}".strip())


def _expected(lesson: Mapping[str, Any]) -> str:
    return "–" if lesson["promised"] is None else signed(lesson["promised"], 4)


def _told(lesson: Mapping[str, Any], classes: Sequence[str]) -> str:
    """The label that the learner was told: one of the real ones, or a mixture of them, the largest shares first."""
    told = lesson["told"]
    if not isinstance(told, list):
        return _label(told, classes)
    shares = sorted(((share, name) for share, name in zip(told, classes) if share >= _FEW), key=lambda pair: -pair[0])
    if len(shares) == 1:
        return shares[0][1]
    return ", ".join(f"{name} {100 * share:.0f} %" for share, name in shares)


def _label(value: float, classes: Sequence[str]) -> str:
    return classes[int(value)] if classes else number(value, 3)
