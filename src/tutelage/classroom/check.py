"""What is wrong, or likely to be wrong, with an experiment before people see it."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ..errors import ConfigError, DataError, TutelageError
from .config import ADAPTIVE, Config, read_config
from .database import database_url
from .images import encode
from .material import Arm, Item, Material, load_material
from .tokens import Key

SMALLEST, LARGEST = 48, 2000
"""Sides of an image as it is shown, in pixels, beyond which it is too small to see or too large for a screen."""
FAINT = 4.0
"""Standard deviation of brightness, of 255, below which an image shows next to nothing."""


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        kind: ``error``: people must not come in before it is mended; ``warning``: it may be meant.
        line: what, where, and what to do.
    """

    kind: Literal["error", "warning"]
    line: str


@dataclass(frozen=True)
class _Seen:
    """An image as the browser gets it."""

    media_type: str
    size: tuple[int, int]
    spread: float
    digest: str


def check(folder: str | os.PathLike[str]) -> tuple[Problem, ...]:
    """Return what is wrong with an experiment, errors first; nothing if it is ready.

    The configuration, the key, the teaching sets and each image are read. What people could tell a class by beside the
    pixels is looked for: the size and the kind of its images.

    Args:
        folder: of the experiment.
    """
    folder = Path(folder)
    found: list[Problem] = []
    config = material = None
    try:
        config = read_config(folder)
    except TutelageError as error:
        found.append(_error(error))
    try:
        Key.read(folder)
    except TutelageError as error:
        found.append(_error(error))
    if config is not None:
        found += _unusable(config, folder)
        try:
            material = load_material(config, folder)
        except TutelageError as error:
            found.append(_error(error))
    if config is not None and material is not None:
        found += _config_problems(config, material)
        found += [problem for arm in material.arms.values() for problem in _arm_problems(config, material, arm)]
        found += _image_problems(config, material)
    return tuple(sorted(found, key=lambda problem: problem.kind))


def _error(error: TutelageError) -> Problem:
    return Problem("error", str(error))


def _warning(line: str) -> Problem:
    return Problem("warning", line)


def _unusable(config: Config, folder: Path) -> Iterator[Problem]:
    """What lets nobody serve it."""
    from .web.pages import Texts

    for use in (lambda: Texts(config.language), lambda: database_url(config.database, folder)):
        try:
            use()
        except ConfigError as error:
            yield _error(error)


def _config_problems(config: Config, material: Material) -> Iterator[Problem]:
    if not config.consent.contact:
        yield _warning('key "consent.contact" is empty: people do not learn whom to write to.')
    if config.recruitment.platform == "prolific" and "completed" not in config.recruitment.outcome_codes:
        yield Problem(
            "error", 'key "recruitment.outcome_codes.completed" is missing: Prolific needs a code to come back.'
        )
    labels = Counter(material.items[id].label for id in material.test_fixed or material.test_pool)
    for label, name in enumerate(material.classes):
        if not labels[label]:
            yield _warning(f'the test has no item of the class "{name}".')


def _arm_problems(config: Config, material: Material, arm: Arm) -> Iterator[Problem]:
    shown = arm.item_ids[: config.num_train] if arm.config.teacher == "fixed" else arm.item_ids
    labels = Counter(material.items[id].label for id in shown)
    for label, name in enumerate(material.classes):
        if not labels[label]:
            yield _warning(f'arm "{arm.config.name}": it teaches no item of the class "{name}".')
    if arm.config.show_explanation and not any(arm.explained):
        yield _warning(f'arm "{arm.config.name}": show_explanation is true, but no item has an explanation.')
    if arm.config.teacher in ADAPTIVE and len(shown) == config.num_train:
        yield _warning(f'arm "{arm.config.name}": its pool has num_train items, so that its teacher has no choice.')


def _image_problems(config: Config, material: Material) -> Iterator[Problem]:
    seen: dict[str, _Seen] = {}
    for item in material.items.values():
        for variant in ("image", "explanation"):
            picture = item.picture(variant)
            if picture is None:
                continue
            try:
                looked = _look(picture[1])
            except DataError as error:
                yield _error(error)
                continue
            path = item.path if variant == "image" else f"{item.explanation_path}"
            yield from _looks(path, looked, config.scale)
            if variant == "image":
                seen[item.id] = looked
            elif item.id in seen and seen[item.id].size != looked.size:
                yield _warning(f"{path}: of another size than {item.path}; the two will not lie on each other.")
    yield from _twins(material, seen)
    yield from _leaks(material, seen)


def _look(file: Path) -> _Seen:
    from PIL import Image

    content = encode(file)
    with Image.open(BytesIO(content.content)) as image:
        grey = np.asarray(image.convert("L"), dtype=np.float64)
        digest = hashlib.sha256(image.convert("RGBA").tobytes()).hexdigest()
        return _Seen(content.media_type, image.size, float(grey.std()), digest)


def _looks(path: str, looked: _Seen, scale: float) -> Iterator[Problem]:
    width, height = (round(scale * side) for side in looked.size)
    if min(width, height) < SMALLEST:
        yield _warning(f"{path}: shown {width} x {height} pixels; at least {SMALLEST} each are needed: raise scale.")
    if max(width, height) > LARGEST:
        yield _warning(f"{path}: shown {width} x {height} pixels; screens show {LARGEST} or less: lower scale.")
    if looked.spread < FAINT:
        yield _warning(f"{path}: nearly one colour (spread of brightness {looked.spread:.1f} of 255); is it right?")


def _twins(material: Material, seen: Mapping[str, _Seen]) -> Iterator[Problem]:
    """Images with the same pixels in different files: a test item that was shown teaches nothing new."""
    same: dict[tuple[str, tuple[int, int]], list[Item]] = defaultdict(list)
    for id, looked in seen.items():
        same[looked.digest, looked.size].append(material.items[id])
    for first, *others in same.values():
        for other in others:
            if other.label != first.label:
                line = f"{other.path} and {first.path} show the same, but have two labels; remove one."
            elif other.split != first.split:
                line = f"{other.path} and {first.path} show the same, but one teaches and one tests; remove one."
            else:
                yield _warning(f"{other.path} and {first.path} show the same.")
                continue
            yield Problem("error", line)


def _leaks(material: Material, seen: Mapping[str, _Seen]) -> Iterator[Problem]:
    """What tells the class without a look at the image."""
    kinds: dict[str, dict[int, set[object]]] = {
        "the size of its images": defaultdict(set),
        "the kind of its files, lossy or not": defaultdict(set),
    }
    for id, looked in seen.items():
        for by_class, fact in zip(kinds.values(), (looked.size, looked.media_type)):
            by_class[material.items[id].label].add(fact)
    for what, by_class in kinds.items():
        for c, facts in sorted(by_class.items()):
            others: set[object] = set().union(*(by_class[other] for other in by_class if other != c))
            if others and facts.isdisjoint(others):
                yield _warning(
                    f'the class "{material.classes[c]}" can be told by {what} alone; make them the same for all.'
                )
