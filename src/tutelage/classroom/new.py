"""A new experiment on disk, from teaching sets, their images and a text to agree to."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..data.records.atomic import AtomicWriter
from ..errors import ConfigError, DataError
from ..explain_teach import Experiment
from ..explain_teach.wire import first_wrong
from ..teaching_set_formats import from_strategy
from ..teaching_sets import TeachingSet
from .config import CONFIG_FILE, Config, Teacher
from .images import inside
from .material import load_material
from .tokens import Key

ARMS, IMAGES = "arms", "images"
"""Folders of an experiment."""
NAME = "experiment"


@dataclass(frozen=True)
class NewArm:
    """An arm to be.

    Attributes:
        name: of the arm, and of its file.
        source: a teaching set (.json), or a sequence of explain_teach (.strat) beside its settings.json.
        teacher: ``fixed`` shows the set in order; the others take it as a pool; None: ``random`` for a sequence
            without items of its own, else ``fixed``.
    """

    name: str
    source: Path
    teacher: Teacher | None = None


def new_experiment(
    folder: str | os.PathLike[str],
    arms: Sequence[NewArm],
    images: str | os.PathLike[str],
    consent: str,
    *,
    title: str,
    planned_n: int,
    consent_version: str = "1",
    settings: Mapping[str, Any] | None = None,
) -> Config:
    """Make the folder of an experiment: configuration, sets, the images that they name, and a key.

    Args:
        folder: must not exist, or be empty.
        arms: at least one, of the same classes.
        images: what paths of the sets are relative to.
        consent: text to agree to; an empty line separates paragraphs.
        title: what participants read.
        planned_n: people wanted in each arm.
        consent_version: of the text.
        settings: further keys of the configuration; default: as many teaching items as the shortest fixed arm has, up
            to 20, and as many test items as there are, up to 20.

    Raises:
        ConfigError: if the folder is not empty, a name is none for a file, or a key has a wrong value. Nothing is left.
        DataError: if a set or an image is missing or damaged, or sets do not fit. Nothing is left.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists; give an empty folder, or a new one.")
    if not arms:
        raise ConfigError("an experiment needs at least one arm; give a teaching set.")
    for arm in arms:
        if not arm.name or Path(arm.name).name != arm.name:
            raise ConfigError(f'arm "{arm.name}": its name must be one for a file, without "/".')
    if (twice := next((n for n, count in Counter(arm.name for arm in arms).items() if count > 1), None)) is not None:
        raise ConfigError(f'two arms have the name "{twice}"; give each its own.')
    if not Path(images).is_dir():
        raise ConfigError(f"{images}: there is no such folder; give the one that paths in the sets are relative to.")
    sets = {arm.name: _read(arm) for arm in arms}
    facts = {
        "name": folder.resolve().name or NAME,
        "title": title,
        "planned_n": planned_n,
        "consent": {"version": consent_version, "text": consent},
        "arms": [_arm_facts(arm, sets[arm.name][1]) for arm in arms],
        **_lengths([found for found, _ in sets.values()]),
        **(settings or {}),
    }
    try:
        config = Config.model_validate(facts)
    except ValidationError as error:
        raise ConfigError(f"{folder / CONFIG_FILE}: {first_wrong(error)}.") from None
    made = not folder.exists()
    try:
        _write(folder, facts, {name: found for name, (found, _) in sets.items()}, Path(images))
        load_material(config, folder)
        Key.create(folder)
    except BaseException:
        _remove(folder, made)
        raise
    return config


def to_toml(facts: Mapping[str, Any]) -> str:
    """Return a table as TOML: plain keys first, then tables, and lists of tables.

    Args:
        facts: of text, numbers, booleans, lists of these, and tables.
    """
    plain = {key: value for key, value in facts.items() if not _is_table(value)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items()]
    for key, value in facts.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{key}]", *(f"{_key(name)} = {_value(each)}" for name, each in value.items())]
        elif _is_table(value):
            for table in value:
                lines += ["", f"[[{key}]]", *(f"{_key(name)} = {_value(each)}" for name, each in table.items())]
    return "\n".join(lines) + "\n"


def _read(arm: NewArm) -> tuple[TeachingSet, Teacher]:
    if arm.source.suffix != ".strat":
        return TeachingSet.load(arm.source, check_files=False), arm.teacher or "fixed"
    experiment = Experiment.read(arm.source.parent)
    strategy = experiment.strategies.get(arm.source.stem)
    if strategy is None:
        raise DataError(f"{arm.source}: there is no such file.")
    drawn = strategy.im_ids is None
    if drawn:
        if arm.teacher == "fixed":
            raise ConfigError(f'arm "{arm.name}": {arm.source.name} is drawn at random; no fixed teacher can show it.')
        pool = experiment.settings.train_indices
        flags = (1 if strategy.explained(0) else 0,) * len(pool)
        whole = strategy.model_copy(update={"num_train": len(pool), "im_ids": pool, "display_explain_image": flags})
        experiment = replace(experiment, strategies={arm.source.stem: whole})
    return from_strategy(experiment, arm.source.stem), arm.teacher or ("random" if drawn else "fixed")


def _arm_facts(arm: NewArm, teacher: Teacher) -> dict[str, Any]:
    return {"name": arm.name, "teaching_set": f"{ARMS}/{arm.name}.json", "teacher": teacher}


def _lengths(sets: Sequence[TeachingSet]) -> dict[str, int]:
    tested = {shown.path for found in sets for shown in found.test}
    return {"num_train": min(20, *(len(found.items) for found in sets)), "num_test": max(1, min(20, len(tested)))}


def _write(folder: Path, facts: Mapping[str, Any], sets: Mapping[str, TeachingSet], images: Path) -> None:
    try:
        (folder / ARMS).mkdir(parents=True)
        pictures = {p.path for found in sets.values() for item in (*found.items, *found.test) for p in item.pictures}
        for path in sorted(pictures):
            file = folder / IMAGES / path
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(inside(images, path), file)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be copied to {folder} ({error.strerror}).") from None
    for name, found in sets.items():
        found.save(folder / ARMS / f"{name}.json")
    AtomicWriter(folder / CONFIG_FILE, to_toml(facts).encode()).close()


def _remove(folder: Path, made: bool) -> None:
    """Remove what was written, and the folder if it was not there before."""
    for name in (ARMS, IMAGES, "private"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    if made and folder.is_dir():
        folder.rmdir()


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, (list, tuple)) and bool(value) and all(isinstance(each, Mapping) for each in value)
    )


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_value(each)}" for name, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    # JSON and TOML write text alike, but for this one character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
