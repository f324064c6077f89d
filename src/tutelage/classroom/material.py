"""Items and arms of an experiment, from the teaching sets that its configuration names."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from ..data.items import file_hash
from ..errors import ConfigError, DataError
from ..explain_teach import Experiment, Strategy
from ..explain_teach.formats import Flag
from ..teaching_set_formats import from_strategy
from ..teaching_sets import Picture, Shown, TeachingSet
from .config import ArmConfig, Config
from .images import inside

Split: TypeAlias = Literal["train", "test"]
Variant: TypeAlias = Literal["image", "explanation"]


@dataclass(frozen=True)
class Item:
    """An image that teaches or tests.

    Attributes:
        id: 32 hexadecimal digits of the hash of its content and its file name.
        label: position of its class.
        split: teaching items never test.
        file: with the image.
        explanation: file with its explanation; None: it has none.
        path: of the image as in the teaching set.
        explanation_path: likewise.
        explanation_id: of the content of the explanation.
        source_name: the file name.
    """

    id: str
    label: int
    split: Split
    file: Path
    explanation: Path | None
    path: str
    explanation_path: str | None
    explanation_id: str | None
    source_name: str

    def picture(self, variant: Variant) -> tuple[str, Path] | None:
        """Return (name that changes with the content, file) of the image or the explanation; None: there is none."""
        if variant == "image":
            return self.id, self.file
        if self.explanation is None or self.explanation_id is None:
            return None
        return self.explanation_id, self.explanation


@dataclass(frozen=True)
class Arm:
    """An arm.

    Attributes:
        config: what the configuration says of it.
        item_ids: what a fixed teacher shows, in order, or what the others choose from.
        explained: of each, whether its explanation is shown.
    """

    config: ArmConfig
    item_ids: tuple[str, ...]
    explained: tuple[bool, ...]


@dataclass(frozen=True)
class Material:
    """All items and arms.

    Attributes:
        classes: names, in label order.
        items: by id.
        arms: by name, in the order of the configuration.
        test_pool: ids of what a test is drawn from.
        test_fixed: ids of the test that everyone gets; None: it is drawn.
        catch: ids of the catch trials.
    """

    classes: tuple[str, ...]
    items: Mapping[str, Item]
    arms: Mapping[str, Arm]
    test_pool: tuple[str, ...]
    test_fixed: tuple[str, ...] | None
    catch: tuple[str, ...]


def load_material(config: Config, folder: Path) -> Material:
    """Read the teaching sets of all arms.

    Args:
        config: of the experiment.
        folder: of the experiment.

    Raises:
        ConfigError: if an arm has too few items, or the test too few, or a key names an image that is none.
        DataError: if a set or an image is missing or has changed, or sets do not fit: other classes, an image with two
            labels or two explanations, or one that teaches and tests.
    """
    root = folder / config.images
    sets = {arm.name: _teaching_set(folder, root, arm) for arm in config.arms}
    classes = _common_classes(sets)
    collected = _Collected(root, classes)
    arms = {arm.name: _arm(config, arm, sets[arm.name], collected) for arm in config.arms}
    tested = {shown.path: collected.add(shown, "test") for found in sets.values() for shown in found.test}
    catch = tuple(_named(config.catch_trials, tested, "catch_trials"))
    pool = tuple(dict.fromkeys(item for item in tested.values() if item not in catch))
    fixed = None if config.test_items == "random" else tuple(_named(config.test_items, tested, "test_items"))
    if fixed is None and len(pool) < config.num_test:
        raise ConfigError(
            f"num_test is {config.num_test}, but the teaching sets have {len(pool)} test items besides catch trials."
        )
    if fixed is not None and (both := set(fixed) & set(catch)):
        raise ConfigError(f"{collected.items[both.pop()].path} is in test_items and in catch_trials.")
    return Material(classes, collected.items, arms, pool, fixed, catch)


class _Collected:
    """Items that were met so far: an image is one item, whatever the sets call it."""

    def __init__(self, root: Path, classes: tuple[str, ...]) -> None:
        self.items: dict[str, Item] = {}
        self._root, self._classes = root, classes
        self._hashes: dict[str, str] = {}
        self._by_content: dict[str, str] = {}

    def add(self, shown: Shown, split: Split) -> str:
        content = self._content(Picture(shown.path, shown.sha256))
        item = self._item(shown, content, split)
        known = self._by_content.get(content)
        if known is None:
            self._by_content[content] = item.id
            self.items[item.id] = item
            return item.id
        old = self.items[known]
        if old.label != item.label:
            raise DataError(f"{item.path} is labelled {shown.label}, but the same image {self._classes[old.label]}.")
        if old.split != split:
            raise DataError(f"{item.path} is for teaching and, as {old.path}, for the test; remove it from one.")
        if item.explanation is not None:
            if old.explanation_id not in (None, item.explanation_id):
                raise DataError(f"{item.path} has two explanations: {old.explanation_path}, {item.explanation_path}.")
            self.items[known] = replace(
                old,
                explanation=item.explanation,
                explanation_path=item.explanation_path,
                explanation_id=item.explanation_id,
            )
        return known

    def _item(self, shown: Shown, content: str, split: Split) -> Item:
        name = PurePosixPath(shown.path).name
        digest = hashlib.sha256(f"{name}:{content}".encode()).hexdigest()[:32]
        # explanations belong to teaching: test items must not have any
        explained = shown.explanation if split == "train" else None
        return Item(
            id=digest,
            label=self._classes.index(shown.label),
            split=split,
            file=inside(self._root, shown.path),
            explanation=None if explained is None else inside(self._root, explained.path),
            path=shown.path,
            explanation_path=None if explained is None else explained.path,
            explanation_id=None if explained is None else self._content(explained)[:32],
            source_name=name,
        )

    def _content(self, picture: Picture) -> str:
        if picture.path not in self._hashes:
            self._hashes[picture.path] = file_hash(inside(self._root, picture.path))
        found = self._hashes[picture.path]
        if picture.sha256 not in (None, found):
            raise DataError(
                f"{picture.path} has changed since its teaching set was made; put the old file back, or choose anew."
            )
        return found


def _teaching_set(folder: Path, root: Path, arm: ArmConfig) -> TeachingSet:
    path = folder / arm.teaching_set
    if path.suffix != ".strat":
        return TeachingSet.load(path, root=root, check_files=False)  # files are read below, once for all arms
    experiment = Experiment.read(path.parent)
    strategy = experiment.strategies.get(path.stem)
    if strategy is None:
        raise DataError(f"{path}: there is no such file.")
    if strategy.im_ids is None:
        if arm.teacher != "random":
            raise ConfigError(f'arm "{arm.name}": {path.name} is a random sequence; set teacher = "random".')
        pool = experiment.settings.train_indices
        flag: Flag = 1 if strategy.explained(0) else 0
        whole = Strategy(num_train=len(pool), display_explain_image=(flag,) * len(pool), im_ids=pool)
        experiment = replace(experiment, strategies={path.stem: whole})
    return from_strategy(experiment, path.stem, folder=root)


def _common_classes(sets: Mapping[str, TeachingSet]) -> tuple[str, ...]:
    first, classes = next((name, found.classes) for name, found in sets.items())
    for name, found in sets.items():
        if found.classes != classes:
            raise DataError(
                f'arm "{name}" has the classes {", ".join(found.classes)}, but "{first}" {", ".join(classes)}; '
                "all arms need the same, in the same order."
            )
    if len(classes) < 2:
        raise DataError(f"there is one class, {classes[0]}; at least two are needed.")
    return classes


def _arm(config: Config, arm: ArmConfig, found: TeachingSet, collected: _Collected) -> Arm:
    ids = tuple(collected.add(shown, "train") for shown in found.items)
    explained = tuple(arm.show_explanation and shown.explanation is not None for shown in found.items)
    if arm.teacher != "fixed" and len(set(ids)) < len(ids):
        raise ConfigError(f'arm "{arm.name}": its teaching set holds an image twice; a pool must not.')
    if len(ids) < config.num_train:
        raise ConfigError(
            f'arm "{arm.name}": {arm.teaching_set} has {len(ids)} items, but num_train is {config.num_train}.'
        )
    return Arm(arm, ids, explained)


def _named(paths: Iterable[str], tested: Mapping[str, str], key: str) -> Iterable[str]:
    found: list[str] = []
    for path in paths:
        if path not in tested:
            raise ConfigError(f'{key}: "{path}" is no test item of any teaching set.')
        if tested[path] in found:
            raise ConfigError(f'{key}: "{path}" comes twice.')
        found.append(tested[path])
    return found
