"""The rows that teachers showed, in order, and why: score, explanation, and what learners are left with after it."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..checkpoint import load_checkpoint
from ..explanations import explained
from .gallery import encode, is_image, to_bytes
from .markup import Markup, data_uri, element, paragraph, section, text
from .reading import Array, Run
from .tables import number

_SMALL = 32
"""Pixels a side up to which the sets of all arms are shown."""
_FEW = ("random", "strict", "explain-dense", "explain")
_OPEN = ("explain", "strict")
_DRAWN = ("random", "balanced")
"""Teachers whose scores are random numbers."""

Pictures = Mapping[int, Sequence[Array]]
"""By position in the data: the image, and its explanation if there is one."""


def chosen(run: Run) -> Markup:
    """The teaching sets of the first seed."""
    seed, config = run.seeds[0], run.part("config")
    note = [
        f"The teaching sets of seed {seed}, in the order in which they were shown. Under a row stand the label that",
        "learners were told, how undecided they were about it before, in bits (1: no idea), and the expected error",
        "after it. The score is what the teacher ranks by: of strict and explain minus the logarithm of what is left",
        "of the error, of prototypes minus a distance. Scores of different teachers cannot be compared.",
    ]
    if config["explain"] != "none":
        note.append(
            "Below an image is its explanation, bright where the network saw the label; its difficulty is 0 for the "
            "most compact explanation of the pool, 1 for the least."
        )
    parts: list[Markup] = []
    for rate, level in run.part("selection")["levels"].items():
        pictures = _pictures(run, rate, seed)
        sets: Mapping[str, Any] = {name: level["sets"][name] for name in run.result["order"]}
        side = max(next(iter(pictures.values()))[0].shape[:2]) if pictures else 0
        names = [name for name in sets if side <= _SMALL or name in _FEW] or list(sets)
        opened = next((name for name in _OPEN if name in names), names[-1])
        parts.append(element("h3", text(f"Label noise {rate}")))
        parts += [_set(run, name, sets[name], pictures, name == opened) for name in names]
    return section("What was shown, and why", paragraph(*note), *parts)


def _pictures(run: Run, rate: str, seed: int) -> Pictures:
    """Images and explanations by position in the data; none if rows are no images."""
    tensors, _ = load_checkpoint(run.path / f"arms/noise-{rate}-{seed}.safetensors")
    images = tensors["images"]
    if not is_image(images.numpy()):
        return {}
    columns = [to_bytes(images.numpy())]
    if "maps" in tensors:
        shares = images.double() / max(float(images.max()), 1.0)
        columns.append(to_bytes(explained(shares, tensors["maps"].double()).numpy()))
    return dict(zip(tensors["shown"].tolist(), zip(*columns)))


def _set(run: Run, name: str, own: Mapping[str, Any], pictures: Pictures, opened: bool) -> Markup:
    classes: Sequence[str] = run.part("data")["classes"]
    wrong = sum(given != true for given, true in zip(own["given"], own["true"]))
    told = f", {wrong} of {len(own['given'])} labels wrong" if wrong else ""
    counts = ", ".join(f"{c}: {own['given'].count(k)}" for k, c in enumerate(classes))
    places = range(len(own["index"]))
    captions = [_lines(place, own, classes, run.part("config")["rows"]) for place in places]
    for place in places if name not in _DRAWN else ():
        captions[place].append(f"score {number(own['score'][place], 2)}")
    cards = [_card(place, own, pictures, captions[place]) for place in places]
    summary = element("summary", element("b", text(name)), text(f" ({counts}{told})"))
    attributes = {"open": ""} if opened else {}
    return element("details", summary, element("div", *cards, class_="gallery roomy"), **attributes)


def _lines(place: int, own: Mapping[str, Any], classes: Sequence[str], rows: int) -> list[str]:
    """What is said of a row, but for its score."""
    given, true = (classes[own[key][place]] for key in ("given", "true"))
    found = [f"told {given}"] + ([f"truly {true}"] if given != true else [])
    found.append(f"undecided {number(own['undecided'][place], 2)} bits")
    found.append(f"error after {number(100 * own['error'][place // rows + 1], 1)} %")
    if own["plainness"] is not None:
        found.append(f"difficulty {number(own['plainness'][place], 2)}")
    return found


def _card(place: int, own: Mapping[str, Any], pictures: Pictures, lines: Sequence[str]) -> Markup:
    wrong = own["given"][place] != own["true"][place]
    told = (f"row {place + 1}, {', '.join(lines)}", f"explanation of row {place + 1}")
    images = [
        element("img", src=data_uri("image/png", encode(pixels)), alt=words, class_="pixels")
        for pixels, words in zip(pictures.get(own["index"][place], ()), told)
    ]
    mark = f"{place + 1}" + (" · wrong label" if wrong else "")
    caption = element("figcaption", element("strong", text(mark)), *(element("div", text(line)) for line in lines))
    return element("figure", *images, caption, class_=f"card {'wrong' if wrong else ''}".strip())
