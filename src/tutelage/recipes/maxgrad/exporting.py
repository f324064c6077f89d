"""Teaching sets as files: of every arm, seed and rate of noise one, and for image folders the published lists."""

from pathlib import Path
from typing import Any

from ...data.image_lists import ListedImage, write_image_list
from ...teaching_sets import Picture, Provenance, Shown, TeachingSet
from ..pieces import Done
from ..selection.options import file_name, make_room
from ..selection.stages import noise_stage
from .arms import Arm
from .plan import Plan

_LOGARITHMIC = {"maxgrad": 0, "prototypes-then-maxgrad": 1}
"""Teachers whose scores are logarithms, and after how many rows a class."""


def export(plan: Plan, done: Done, folder: Path) -> None:
    """Write ``FOLDER/noise-RATE/seed-S/ARM.json``, and ``.txt`` where rows are files.

    Lists have the labels that were told: :func:`tutelage.data.image_lists.read_image_list` reads those of runs with
    label noise with ``told=True``, and the classes.

    Raises:
        DataError: if something cannot be written.
    """
    for rate in plan.levels:
        for seed in plan.seeds:
            room = folder / noise_stage(rate) / f"seed-{seed}"
            make_room(room)
            found = done.facts(noise_stage(rate), seed)["arms"]
            for arm in plan.arms:
                _write(plan, arm, seed, found[arm.name], room / file_name(arm.name))


def _write(plan: Plan, arm: Arm, seed: int, own: dict[str, Any], path: Path) -> None:
    source, classes = plan.material.source, plan.material.classes
    logarithmic = _LOGARITHMIC.get(arm.teacher)
    items = []
    for place, item in enumerate(plan.material.items(own["index"])):
        index, given, true, answer, margin, score = (
            own[name][place] for name in ("index", "given", "true", "answer", "margin", "score")
        )
        is_log = logarithmic is not None and place >= logarithmic * len(classes)
        scores = {"log_score" if is_log else "score": score}
        notes = {"index": index, "true": classes[true], "answer": classes[answer], "margin": margin}
        beside = own["counterfactual"][place] if "counterfactual" in own else -1
        counterfactual = None
        if beside >= 0:
            notes["counter_class"] = classes[own["counter_class"][place]]
            (other,) = plan.material.items([beside])
            counterfactual = Picture(other.path, other.sha256)
        items.append(Shown.of(item, classes[given], **scores, notes=notes, counterfactual=counterfactual))
    maxgrad = {"space": plan.options.space, "pairs": plan.options.pairs, "stale": plan.options.stale}
    provenance = Provenance(
        teacher=arm.teacher,
        options={"rows": plan.options.rows} | (maxgrad if logarithmic is not None else {}),
        pool=source.name,
        pool_fingerprint=plan.fingerprints["training"],
        seed=seed,
        filter=None if arm.keep in (None, "none") else arm.keep,
        student=plan.options.student,
    )
    repeats = len({item.sha256 for item in items}) < len(items)  # rows of the same values
    TeachingSet(arm.name, classes, tuple(items), provenance, repeats=repeats).save(path.with_suffix(".json"))
    if plan.material.images is not None:
        ranks = sorted(classes)
        listed = [ListedImage(item.path, ranks.index(item.label), own["index"][k]) for k, item in enumerate(items)]
        write_image_list(listed, path.with_suffix(".txt"))
