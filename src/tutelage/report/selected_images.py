"""The rows that teachers showed, in order, and why: what the student had answered before, and the score."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..checkpoint import load_checkpoint
from .gallery import encode, is_image, to_bytes
from .markup import Markup, data_uri, element, paragraph, section, text
from .reading import Array, Run
from .tables import number

_SMALL = 32
"""Pixels a side up to which the sets of all arms are shown."""
_FEW = ("random", "maxgrad (cross-fitted)", "maxgrad (no filter)", "prototypes-then-maxgrad (cross-fitted)")
_OPEN = "prototypes-then-maxgrad (cross-fitted)"
_LOGARITHMIC = {"maxgrad": 0, "prototypes-then-maxgrad": 1}
"""Teachers whose scores are logarithms, and after how many rows a class."""


def chosen(run: Run) -> Markup:
    """The teaching sets of the first seed."""
    seed = run.seeds[0]
    notes = [
        f"The teaching sets of seed {seed}, in the order in which they were shown. Under a row stand the label that",
        "the student was told, the true one where that is wrong, and what the student had answered before it saw the",
        "row, with the margin of the told label over the largest other one (below 0: it answered another). The score",
        "is what the teacher ranks by: of MaxGrad the logarithm of the squared norm of the gradient, of prototypes",
        "minus a distance. Scores of different teachers cannot be compared.",
    ]
    if run.part("config")["pairs"]:
        notes += [
            "MaxGrad ranked pairs: the second image of a card is, of the class that the student takes the first one",
            "for, the nearest row that may be shown. The student did not see it.",
        ]
    parts: list[Markup] = []
    for rate, level in run.part("selection")["levels"].items():
        pixels = _pixels(run, rate, seed)
        sets: Mapping[str, Any] = {name: level["sets"][name] for name in run.result["order"]}
        side = max(next(iter(pixels.values())).shape[:2]) if pixels else 0
        names = [name for name in sets if side <= _SMALL or name in _FEW] or list(sets)
        parts.append(element("h3", text(f"Label noise {rate}")))
        opened = _OPEN if _OPEN in names else names[-1]
        parts += [_set(run, name, sets[name], pixels, name == opened) for name in names]
    return section("What was shown, and why", paragraph(*notes), *parts)


def _pixels(run: Run, rate: str, seed: int) -> dict[int, Array]:
    """Images (H, W) or (H, W, 3) by position in the data; none if rows are no images."""
    tensors, _ = load_checkpoint(run.path / f"arms/noise-{rate}-{seed}.safetensors")
    images = tensors["images"].numpy()
    if not is_image(images):
        return {}
    return dict(zip(tensors["shown"].tolist(), to_bytes(images)))


def _set(run: Run, name: str, own: Mapping[str, Any], pixels: Mapping[int, Array], opened: bool) -> Markup:
    classes: Sequence[str] = run.part("data")["classes"]
    wrong = sum(given != true for given, true in zip(own["given"], own["true"]))
    told = f", {wrong} of {len(own['given'])} labels wrong" if wrong else ""
    counts = ", ".join(f"{c}: {own['given'].count(k)}" for k, c in enumerate(classes))
    cards = [_card(place, own, pixels, classes, name) for place in range(len(own["index"]))]
    summary = element("summary", element("b", text(name)), text(f" ({counts}{told})"))
    attributes = {"open": ""} if opened else {}
    return element("details", summary, element("div", *cards, class_="gallery"), **attributes)


def _card(place: int, own: Mapping[str, Any], pixels: Mapping[int, Array], classes: Sequence[str], name: str) -> Markup:
    index, given, true, answer = (own[key][place] for key in ("index", "given", "true", "answer"))
    lines = [f"told {classes[given]}"] + ([f"truly {classes[true]}"] if given != true else [])
    lines.append(f"had answered {classes[answer]}, margin {number(own['margin'][place], 1)}")
    after = _LOGARITHMIC.get(name.split(" ")[0])
    is_log = after is not None and place >= after * len(classes)
    lines.append(f"{'log psi' if is_log else 'score'} {number(own['score'][place], 2)}")
    pictures = [_picture(pixels[index], f"row {place + 1}, {', '.join(lines)}")] if index in pixels else []
    beside = own["counterfactual"][place] if "counterfactual" in own else -1
    if beside >= 0:
        lines.append(f"beside it {classes[own['counter_class'][place]]}")
        pictures += [_picture(pixels[beside], f"{lines[-1]}, of row {place + 1}")] if beside in pixels else []
    mark = f"{place + 1}" + (" · wrong label" if given != true else "")
    caption = element("figcaption", element("strong", text(mark)), *(element("div", text(line)) for line in lines))
    return element("figure", *pictures, caption, class_=f"card {'wrong' if given != true else ''}".strip())


def _picture(pixels: Array, words: str) -> Markup:
    return element("img", src=data_uri("image/png", encode(pixels)), alt=words, class_="pixels")
