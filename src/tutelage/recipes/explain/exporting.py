"""Teaching sets as files that a classroom can play: images, explanations, what is shown and why, and test items.

In the folder, or for several rates of noise in a folder of each::

    images/CLASS/NAME          what is shown, in folders of the labels that are told, and the items of the test
    explanations/CLASS/NAME    what is shown, bright where the network saw the class
    ARM.json, ARM.txt          the teaching set, and the published list
    ARM.strat, ...             an experiment of explain_teach with all sets but that of random, which it draws itself
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.image_lists import ImagePool, write_image_list
from ...data.items import file_hash
from ...data.sources import Source
from ...errors import DataError
from ...explanations import explained, explanation_path, save_png
from ...randomness import hashed, stream
from ...teaching_set_formats import to_experiment, to_image_list
from ...teaching_sets import Picture, Provenance, Shown, TeachingSet
from ..pieces import Done
from ..selection.options import BASELINE, make_room
from ..selection.stages import noise_stage
from .judging import Record
from .plan import Plan

_TESTED = 20
"""Test items of a class, at most."""


def export(plan: Plan, done: Done, folder: Path) -> None:
    """Write the teaching sets of the first seed.

    Raises:
        DataError: if something cannot be written.
    """
    for rate in plan.levels:
        room = folder if len(plan.levels) == 1 else folder / noise_stage(rate)
        _Room(plan, done, rate, room).fill()


class _Room:
    """The folder of one rate of noise.

    Args:
        plan: of the run.
        done: its finished stages.
        rate: of the noise.
        path: of the folder.
    """

    def __init__(self, plan: Plan, done: Done, rate: float, path: Path) -> None:
        self.plan, self.path, self.rate, self.seed = plan, path, rate, plan.seeds[0]
        stage = noise_stage(rate)
        self.arms: Mapping[str, Record] = done.facts(stage, self.seed)["arms"]
        tensors = done.tensors(stage, self.seed)
        self.places = {row: k for k, row in enumerate(tensors["shown"].tolist())}
        self.maps: Tensor | None = tensors.get("maps")

    def fill(self) -> None:
        """Write all files."""
        make_room(self.path)
        told = {row: label for own in self.arms.values() for row, label in zip(own["index"], own["given"])}
        pictures = {row: self._written(row, self.plan.material.classes[told[row]]) for row in self.places}
        test = self._test()
        sets = {}
        for name, own in self.arms.items():
            found = self._set(name, own, pictures, test)
            found.save(self.path / f"{name}.json")
            write_image_list(to_image_list(found).images, self.path / f"{name}.txt")
            if name != BASELINE:
                sets[name] = found
        if sets:
            to_experiment(sets, self.path.name).write(self.path)

    def _written(self, row: int, label: str) -> tuple[Picture, Picture | None]:
        """The files of a row of the source that is shown under a label: its image, and its explanation."""
        material = self.plan.material
        true = material.source.classes[material.source.y[row]]
        name = _name(material.images, row)
        path = self.path / "images" / label / (name if label == true else f"{true}-{name}")
        _write_image(material.source, material.images, row, path)
        if self.maps is None:
            return self._picture(path), None
        image = _image(material.source, row)[None]
        explanation = explanation_path(path)
        save_png(explained(image, self.maps[self.places[row]][None].to(image))[0], explanation)
        return self._picture(path), self._picture(explanation)

    def _picture(self, path: Path) -> Picture:
        return Picture(path.relative_to(self.path).as_posix(), file_hash(path))

    def _test(self) -> tuple[Shown, ...]:
        """Rows of the test, a few of each class, none of which is the same image as one that is shown."""
        drawn, material = self.plan.draw(self.seed, self.rate), self.plan.material
        classes, (source, files) = material.classes, material.tested
        taken = {_image(material.source, row).numpy().tobytes() for row in self.places}
        order = np.argsort(hashed(stream(self.seed, "items of the test"), np.arange(len(drawn.test_y))), kind="stable")
        left, found = [_TESTED] * len(classes), []
        for place in order.tolist():
            row, label = int(drawn.test_index[place]), int(drawn.test_y[place])
            pixels = _image(source, row).numpy().tobytes()
            if left[label] and pixels not in taken:
                path = self.path / "images" / classes[label] / f"test-{_name(files, row)}"
                _write_image(source, files, row, path)
                taken.add(pixels)
                picture = self._picture(path)
                found.append(Shown(picture.path, classes[label], picture.sha256))
                left[label] -= 1
        return tuple(found)

    def _set(
        self, name: str, own: Record, pictures: Mapping[int, tuple[Picture, Picture | None]], test: Sequence[Shown]
    ) -> TeachingSet:
        plan, options = self.plan, self.plan.options
        hashes = [pictures[row][0].sha256 for row in own["index"]]
        provenance = Provenance(
            teacher=name,
            options={
                key: getattr(options, key)
                for key in (
                    *("rows", "hypotheses", "number", "alpha", "sigma_e", "sigma_d", "dist_scale"),
                    *("features", "net", "epochs", "explain"),
                )
            },
            pool=plan.material.source.name,
            pool_fingerprint=plan.fingerprints["training"],
            seed=self.seed,
            filter=None if options.filter == "none" else options.filter,
            student=f"{options.learners} learners with hypotheses",
        )
        items = tuple(self._shown(own, place, *pictures[row]) for place, row in enumerate(own["index"]))
        return TeachingSet(name, plan.material.classes, items, provenance, tuple(test), len(set(hashes)) < len(hashes))

    def _shown(self, own: Record, place: int, image: Picture, explanation: Picture | None) -> Shown:
        classes, rows = self.plan.material.classes, self.plan.options.rows
        before, after = (own["error"][place // rows + k] for k in (0, 1))
        plain = None if own["plainness"] is None else own["plainness"][place]
        reason = f"expected error {100 * before:.1f} % before, {100 * after:.1f} % after"
        notes: dict[str, Any] = {"index": own["index"][place], "true": classes[own["true"][place]]}
        notes |= {"expected_error": after, "undecided": own["undecided"][place]}
        if plain is not None:
            reason += f"; explanation difficulty {plain:.2f} of 1"
            notes["explanation_difficulty"] = plain
        return Shown(
            image.path,
            classes[own["given"][place]],
            image.sha256,
            score=own["score"][place],
            reason=reason,
            notes=notes,
            explanation=explanation,
        )


def _name(files: ImagePool | None, row: int) -> str:
    """Of the file of a row."""
    return f"{row:06d}.png" if files is None else files.paths[row].name


def _write_image(source: Source, files: ImagePool | None, row: int, path: Path) -> None:
    """The file of a row as it is, or its pixels as PNG if it is no file."""
    if files is None:
        save_png(_image(source, row), path)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files.paths[row], path)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); give another --export.") from error


def _image(source: Source, row: int) -> Tensor:
    """Pixels (C, H, W) in [0, 1]."""
    return torch.from_numpy(source.x[row]).float() / source.scale
