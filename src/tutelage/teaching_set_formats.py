"""Teaching sets from and for others: published lists of images, and experiments of explain_teach."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from .data.image_lists import ImageList, ListedImage, image_paths
from .data.items import Item, file_hash, file_items
from .errors import ConfigError, DataError, unknown
from .explain_teach import Experiment, Settings, Strategy, TeachingImage
from .explain_teach.formats import DRAWN
from .teaching_sets import Picture, Provenance, Shown, TeachingSet


def from_image_list(
    listed: ImageList,
    *,
    teacher: str,
    test: ImageList | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> TeachingSet:
    """Make a teaching set of a published list.

    Args:
        listed: what is shown, in order.
        teacher: who chose it, such as ``"maxgrad"``.
        test: of the same classes.
        folder: where the images are, see :func:`tutelage.data.image_lists.image_paths`; paths of the set are relative
            to it. None: paths are those of the list, and hashes are not known.

    Raises:
        DataError: if an image is missing in the folder, or shown and in the test.
    """
    if test is not None and test.classes != listed.classes:
        raise DataError(f"{test.name} has other classes than {listed.name}: {', '.join(test.classes)}.")
    name = PurePosixPath(Path(listed.name).as_posix()).stem
    provenance = Provenance(teacher, pool=listed.name)
    tested = () if test is None else _listed_items(test, folder)
    return TeachingSet(name, listed.classes, _listed_items(listed, folder), provenance, tested)


def to_image_list(teaching_set: TeachingSet, prefix: str = ".", *, told: bool = False) -> ImageList:
    """Return what is shown as a published list: labels are ranks of the classes in alphabetical order.

    Args:
        teaching_set: its images must lie in folders of the names of their classes.
        prefix: what paths shall begin with, before ``/``.
        told: images may lie in folders of other classes than the one that is told, as after a run with label noise.

    Raises:
        DataError: if an image does not lie in the folder of its class and ``told`` is not given.
    """
    classes = sorted(teaching_set.classes)
    images = [
        ListedImage(f"{prefix}/{item.path}", classes.index(item.label), position)
        for position, item in enumerate(teaching_set.items)
    ]
    return ImageList.of(teaching_set.name, images, classes, told=told)


def from_strategy(
    experiment: Experiment, strategy: str, *, folder: str | os.PathLike[str] | None = None
) -> TeachingSet:
    """Make a teaching set of a fixed sequence of an experiment, with its test images.

    Args:
        experiment: the experiment.
        strategy: name of the sequence.
        folder: what URLs of images are relative to; None: the images are not at hand, and hashes are not known.

    Raises:
        ConfigError: for an unknown sequence, or one that is drawn at random.
        DataError: if an image is missing in the folder.
    """
    if strategy not in experiment.strategies:
        raise ConfigError(f"{experiment.name}: {unknown('strategy', strategy, sorted(experiment.strategies))}")
    sequence = experiment.strategies[strategy]
    if sequence.im_ids is None:
        raise ConfigError(f"{experiment.name}: {strategy} is drawn at random for each person; it is no fixed set.")
    shown = [
        _shown_image(experiment, i, folder, explained=sequence.explained(position))
        for position, i in enumerate(sequence.im_ids)
    ]
    test = [_shown_image(experiment, i, folder, explained=False) for i in experiment.settings.test_indices]
    repeats = len(set(sequence.im_ids)) < len(sequence.im_ids)
    provenance = Provenance(strategy, pool=experiment.name)
    classes = experiment.settings.class_names
    return TeachingSet(f"{experiment.name} {strategy}", classes, tuple(shown), provenance, tuple(test), repeats)


def to_experiment(
    sets: Mapping[str, TeachingSet], name: str, *, experiment_id: int = 0, scale: float = 2.0, test_items: int = 20
) -> Experiment:
    """Return an experiment that compares teaching sets, a strategy each.

    Args:
        sets: by name of the strategy, of the same classes; whatever one of them tests may be drawn in the test.
        name: of the experiment.
        experiment_id: a number for it.
        scale: by which images are enlarged.
        test_items: that a person gets, drawn anew; at most as many as there are.

    Raises:
        ConfigError: if there is no set, sets differ in classes, or a name has ``random`` in it, which would be drawn.
        DataError: if an image has two explanations, or is shown by one set and in the test of another.
    """
    classes = _common_classes(sets)
    teaching = _images((item for s in sets.values() for item in s.items), classes)
    test = _images((replace(item, explanation=None) for s in sets.values() for item in s.test), classes)
    if both := sorted(set(teaching) & set(test)):
        raise DataError(f"{name}: {both[0]} is shown by one set and in the test of another.")
    ids = {path: i for i, path in enumerate([*teaching, *test])}
    settings = Settings(
        class_names=classes,
        train_indices=tuple(range(len(teaching))),
        test_indices=tuple(range(len(teaching), len(ids))),
        test_sequence=(DRAWN,) * min(test_items, len(test)),
        experiment_id=experiment_id,
        scale=scale,
    )
    strategies = {key: _strategy(s, ids) for key, s in sets.items()}
    return Experiment(name, settings, (*teaching.values(), *test.values()), strategies)


def _listed_items(listed: ImageList, folder: str | os.PathLike[str] | None) -> tuple[Shown, ...]:
    labels = [listed.classes[image.label] for image in listed.images]
    if folder is None:
        paths = (PurePosixPath(image.path).as_posix() for image in listed.images)
        return tuple(Shown(path, label) for path, label in zip(paths, labels))
    items: tuple[Item, ...] = file_items(image_paths(listed, folder), folder)
    return tuple(Shown.of(item, label) for item, label in zip(items, labels))


def _shown_image(
    experiment: Experiment, position: int, folder: str | os.PathLike[str] | None, *, explained: bool
) -> Shown:
    image = experiment.images[position]
    label = experiment.settings.class_names[image.class_label]
    explanation = (
        Picture(image.explain_url, _hash(folder, image.explain_url)) if explained and image.explain_url else None
    )
    return Shown(image.image_url, label, _hash(folder, image.image_url), explanation=explanation)


def _hash(folder: str | os.PathLike[str] | None, path: str) -> str | None:
    return None if folder is None else file_hash(Path(folder) / path)


def _common_classes(sets: Mapping[str, TeachingSet]) -> tuple[str, ...]:
    if not sets:
        raise ConfigError("to_experiment: give at least one teaching set.")
    classes = next(iter(sets.values())).classes
    for key, other in sets.items():
        if other.classes != classes:
            raise ConfigError(f"{key} has the classes {', '.join(other.classes)}; another set {', '.join(classes)}.")
        if "random" in key:
            raise ConfigError(f'{key}: a strategy with "random" in its name is drawn anew; choose another name.')
    return classes


def _images(items: Iterable[Shown], classes: tuple[str, ...]) -> dict[str, TeachingImage]:
    """The entries of ``teaching_images.json`` by path, in the order in which they are met."""
    found: dict[str, TeachingImage] = {}
    for item in items:
        facts: dict[str, Any] = {"class_label": classes.index(item.label), "image_url": item.path}
        if item.explanation is not None:
            facts["explain_url"] = item.explanation.path
        new, old = TeachingImage(**facts), found.get(item.path)
        if old is not None and old.class_label != new.class_label:
            raise DataError(f"{item.path} has two labels: {classes[old.class_label]} and {item.label}.")
        if old is not None and old.explain_url and new.explain_url and old.explain_url != new.explain_url:
            raise DataError(f"{item.path} has two explanations: {old.explain_url} and {new.explain_url}.")
        if old is None or not old.explain_url:
            found[item.path] = new
    return found


def _strategy(teaching_set: TeachingSet, ids: Mapping[str, int]) -> Strategy:
    return Strategy(
        num_train=len(teaching_set.items),
        display_explain_image=tuple(0 if item.explanation is None else 1 for item in teaching_set.items),
        im_ids=tuple(ids[item.path] for item in teaching_set.items),
    )
