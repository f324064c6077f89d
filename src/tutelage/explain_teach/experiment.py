"""A folder of an experiment: settings.json, teaching_images.json, *.strat and results.json."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError
from .formats import DRAWN, Session, Settings, Strategy, TeachingImage
from .wire import read_json, write_json

SETTINGS, IMAGES, RESULTS, SUFFIX = "settings.json", "teaching_images.json", "results.json", ".strat"


@dataclass(frozen=True)
class Experiment:
    """An experiment.

    Attributes:
        name: of its folder.
        settings: classes, and which images teach and test.
        images: the position of an image is its id.
        strategies: teaching sequences by name. What a name says counts: one with ``random`` in it is drawn anew for
            each person, with explanations (``random_feedback``) or without (``random``).
        sessions: the records of people in the order of the file; may be empty.

    Raises:
        DataError: if the parts do not fit: an id that is no image, a class that is none, a fixed sequence
            without images, a strategy whose name cannot be that of a file.
    """

    name: str
    settings: Settings
    images: tuple[TeachingImage, ...]
    strategies: Mapping[str, Strategy] = field(default_factory=dict)
    sessions: tuple[Session, ...] = ()

    def __post_init__(self) -> None:
        given, count, known = self.settings, len(self.images), len(self.settings.class_names)
        for key in ("train_indices", "test_indices", "test_sequence"):
            self._check(SETTINGS, key, (i for i in getattr(given, key) if i != DRAWN), count, "images")
        self._check(IMAGES, "class_label", (image.class_label for image in self.images), known, "classes")
        for name, strategy in self.strategies.items():
            if not name or Path(name).name != name:
                raise DataError(f'{self.name}: strategy "{name}" cannot be the name of a file; choose another.')
            if strategy.im_ids is None and "random" not in name:
                raise DataError(
                    f'{self.name}/{name}{SUFFIX}: key "im_ids" is missing; only random sequences have none.'
                )
            self._check(name + SUFFIX, "im_ids", strategy.im_ids or (), count, "images")
        for place, session in enumerate(self.sessions):
            for key in ("response", "gt_label"):
                self._check(RESULTS, f"[{place}].{key}", getattr(session, key), known, "classes")

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "Experiment":
        """Read an experiment; ``results.json`` need not be there.

        Raises:
            DataError: if a file is missing, damaged or does not fit the others: names the file and the key.
        """
        folder = Path(folder)
        if not (folder / SETTINGS).is_file():
            raise DataError(f"{folder}: not an experiment of explain_teach: it has no {SETTINGS}.")
        settings = read_json(folder / SETTINGS, Settings)
        images = read_json(folder / IMAGES, tuple[TeachingImage, ...])
        strategies = {path.stem: read_json(path, Strategy) for path in sorted(folder.glob(f"*{SUFFIX}"))}
        results = folder / RESULTS
        sessions = read_json(results, tuple[Session, ...]) if results.is_file() else ()
        return cls(folder.resolve().name, settings, images, strategies, sessions)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write the files of the experiment into a folder, which is made if it is not there.

        Raises:
            DataError: if a file cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"the folder {folder} cannot be made ({error.strerror}).") from None
        write_json(folder / SETTINGS, self.settings)
        write_json(folder / IMAGES, self.images)
        for name, strategy in self.strategies.items():
            write_json(folder / f"{name}{SUFFIX}", strategy)
        if self.sessions:
            write_json(folder / RESULTS, self.sessions)

    def _check(self, file: str, key: str, values: Iterable[int], count: int, of: str) -> None:
        wrong = next((value for value in values if not 0 <= value < count), None)
        if wrong is not None:
            raise DataError(f'{self.name}/{file}: key "{key}": {wrong} is outside the {count} {of}.')
