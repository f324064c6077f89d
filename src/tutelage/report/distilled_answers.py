"""Dark knowledge: what a teacher answers besides the class, what it confuses, and where its student disagrees."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..checkpoint import load_checkpoint
from . import distilled_plots
from .gallery import encode, is_image, to_bytes
from .markup import Markup, data_uri, element, paragraph, picture, section, text
from .reading import Array, Run

FILE = "dark_knowledge.safetensors"
_BARS = 5


def parts(run: Run) -> list[Markup | None]:
    """Return the sections, none if the run has nothing to look at."""
    facts = run.part("distillation").get("dark_knowledge")
    if not facts or not (run.path / FILE).is_file():
        return []
    tensors, _ = load_checkpoint(run.path / FILE)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    names = list(run.part("data").get("classes", [])) or [str(c) for c in range(len(arrays["confusion"]))]
    return [soft(facts, arrays, names), confused(facts, arrays, names), apart(facts, arrays, names)]


def soft(facts: Mapping[str, Any], arrays: Mapping[str, Array], names: Sequence[str]) -> Markup | None:
    """Soft targets beside their images: what teacher and student say of each."""
    found = _examples(arrays, "soft")
    if not found:
        return None
    note = paragraph(
        f"What the teacher and its student ({facts['arm']}) say of single test examples, seed {facts['seed']}, at",
        f"temperature {facts['temperature']:g}: the right answers that the teacher is least sure of. A label holds one",
        "of these numbers; the others say what an example is like, and teach it. "
        f"Of each example the {min(_BARS, len(names))} most probable classes.",
    )
    largest = max(float(example[who].max()) for example in found for who in ("teacher", "student"))
    blocks = [_block(example, names, min(1.0, math.ceil(10 * largest) / 10)) for example in found]
    return section("Soft targets", note, _legend(), element("div", *blocks, class_="multiples"))


def confused(facts: Mapping[str, Any], arrays: Mapping[str, Array], names: Sequence[str]) -> Markup | None:
    """The classes that the teacher confuses most, with the example of each that it confuses most."""
    pairs = facts.get("confused", [])
    if not pairs:
        return None
    told = [f"{names[pair['class']]}, taken for {names[pair['taken_for']]}" for pair in pairs]
    percent = [100 * pair["probability"] for pair in pairs]
    shown = "; ".join(f"{name} {value:.2f} %" for name, value in zip(told, percent))
    note = paragraph(
        "The mean probability that the teacher gives to another class over the test examples of a class, at",
        f"temperature 1, seed {facts['seed']}; below, for each pair the example that it comes nearest to mistake.",
    )
    image = picture(distilled_plots.confused(told, percent), f"Most confused pairs of classes: {shown}.", "wide")
    cards = []
    for pair, example in zip(pairs, _examples(arrays, "confused")):
        kind, other = names[pair["class"]], names[pair["taken_for"]]
        of, own = (example["teacher"][pair[which]] for which in ("taken_for", "class"))
        cards.append(_card(example, f"{kind} like {other}", [f"teacher {other} {of:.2f}", f"and {kind} {own:.2f}"]))
    temperature = paragraph(
        f"Probabilities of single examples are at temperature {facts['temperature']:g}.", class_="quiet"
    )
    more = [element("div", *cards, class_="gallery roomy"), temperature] if cards else []
    return section("What the teacher confuses", note, image, *more)


def apart(facts: Mapping[str, Any], arrays: Mapping[str, Array], names: Sequence[str]) -> Markup | None:
    """Examples on which teacher and student disagree."""
    if "disagreements" not in facts:
        return None
    count, rows = facts["disagreements"], facts["rows"]
    found = _examples(arrays, "apart")
    first = f"; here the first {len(found)}" if len(found) < count else ""
    note = paragraph(
        f"The student of {facts['arm']} gives another class than its teacher to {count:,} of {rows:,} test examples",
        f"({100 * count / max(rows, 1):.1f} %), seed {facts['seed']}{first}. Probabilities are at temperature",
        f"{facts['temperature']:g}; a frame in orange: the student is wrong where the teacher is right.",
    )
    cards = []
    for example in found:
        label, teacher, student = (int(example[who]) for who in ("label", "says", "pupil"))
        lines = [
            f"teacher {names[teacher]} {example['teacher'][teacher]:.2f}",
            f"student {names[student]} {example['student'][student]:.2f}",
        ]
        cards.append(_card(example, f"label {names[label]}", lines, wrong=teacher == label))
    return section("Where they disagree", note, *([element("div", *cards, class_="gallery roomy")] if cards else []))


def _examples(arrays: Mapping[str, Array], kind: str) -> list[dict[str, Any]]:
    """Return rows of a kind: index, label, probabilities, and the image as PNG where rows are images."""
    if f"{kind}.index" not in arrays:
        return []
    columns = {name: arrays[f"{kind}.{name}"] for name in ("index", "label", "teacher", "student")}
    columns |= {"says": columns["teacher"].argmax(-1), "pupil": columns["student"].argmax(-1)}
    images = arrays[f"{kind}.image"]
    pictures = [encode(pixels) for pixels in to_bytes(images)] if is_image(images) else [None] * len(images)
    return [{name: column[i] for name, column in columns.items()} | {"png": png} for i, png in enumerate(pictures)]


def _block(example: Mapping[str, Any], names: Sequence[str], most: float) -> Markup:
    """An example beside the bars of what is said of it; their axis ends at ``most``."""
    label, teacher, student = names[int(example["label"])], example["teacher"], example["student"]
    order = np.argsort(-np.maximum(teacher, student), kind="stable")[:_BARS]
    shown = [names[c] for c in order]
    bars = distilled_plots.answers(shown, teacher[order], student[order], most)
    told = ", ".join(f"{n} {teacher[c]:.2f} and {student[c]:.2f}" for n, c in zip(shown, order))
    title = f"{label} (row {example['index']})"
    alt = f"Teacher and student of {title}: {told}."
    image = [] if example["png"] is None else [_image(example["png"], f"test example of class {label}")]
    beside = element("div", *image, picture(bars, alt), class_="beside")
    return element("div", element("h3", text(title)), beside, class_="block")


def _card(example: Mapping[str, Any], title: str, lines: Sequence[str], *, wrong: bool = False) -> Markup:
    image = [] if example["png"] is None else [_image(example["png"], f"{title}; {', '.join(lines)}")]
    caption = [element("strong", text(title)), *(element("div", text(line)) for line in lines)]
    caption.append(element("div", text(f"row {example['index']}")))
    return element("figure", *image, element("figcaption", *caption), class_="card wrong" if wrong else "card")


def _image(png: bytes, alt: str) -> Markup:
    return element("img", src=data_uri("image/png", png), alt=alt, class_="pixels")


def _legend() -> Markup:
    return element(
        "p",
        element("span", class_="swatch", style=f"background: {distilled_plots.TEACHER}"),
        text("teacher (upper bar) "),
        element("span", class_="swatch", style=f"background: {distilled_plots.STUDENT}; margin-left: 1.5em"),
        text("student (lower bar)"),
        class_="legend",
    )
