"""The file of a distilled set: tensors, and what it says of itself, in a form that cannot run anything."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.records.headed import read_headed, write_headed
from ..errors import ConfigError, DataError, TutelageError
from .artefact import POISONING, Artefact
from .facts import Architecture, Evaluation, FreeRecipe, Start
from .header import Header, difference
from .inputs import Inputs
from .lessons import DistilledSet
from .whitening import Whitening

FORMAT = 1
"""Version of the layout of a file; one of another version is refused."""

_WHAT = "distilled set"
_SUM = "sha256"
_WEIGHTS = "weights."
"""Before the names of stored weights."""
_SET, _ZCA = ("images", "labels", "step_sizes"), ("zca.mean", "zca.matrix")
_FREE = ("format", _SUM, "log", "report")
"""What of a header follows from nothing else in the file."""


def save(artefact: Artefact, path: str | os.PathLike[str]) -> None:
    """Write a distilled set to one safetensors file, which appears whole or not at all; the same gives the same bytes.

    What it says of itself is JSON in the header, under ``tutelage distilled set``: any reader of safetensors shows it.

    Raises:
        ConfigError: if ``log``, ``report`` or the data of ``evaluation`` is nothing that JSON can hold.
        DataError: if the file cannot be written.
    """
    distilled, whitening = artefact.distilled, artefact.inputs.whitening
    tensors = dict(zip(_SET, (distilled.images, distilled.labels, distilled.step_sizes)))
    tensors |= {_WEIGHTS + name: value for name, value in artefact.start.weights.items()}
    if whitening is not None:
        tensors |= dict(zip(_ZCA, (whitening.mean, whitening.matrix)))
    facts = _plain(facts_of(artefact))
    write_headed(Path(path), _WHAT, FORMAT, {**facts, _SUM: checksum(facts, tensors)}, tensors)


def load(path: str | os.PathLike[str]) -> Artefact:
    """Read what :func:`save` wrote, onto the CPU. Nothing in the file is run.

    Raises:
        DataError: if there is no such file, it is no distilled set, a pickle, cut, changed, or of another version.
    """
    facts, tensors = read_headed(Path(path), _WHAT, FORMAT, maker="tutelage run dataset-distillation")
    try:
        if Header(facts).text(_SUM) != checksum(facts, tensors):
            raise DataError("it was changed after it was written, as its checksum tells.")
        made = _made(Header(facts), tensors)
        needed, said = ({k: v for k, v in told.items() if k not in _FREE} for told in (_plain(facts_of(made)), facts))
        if (place := difference(needed, said)) is not None:
            raise DataError(f"its header says something else of {place} than the rest of it.")
    except (TutelageError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}") from None
    return made


def checksum(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of what a file says, but for its format and checksum, and of names and values of tensors."""
    told = {name: value for name, value in facts.items() if name not in (_SUM, "format")}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def facts_of(artefact: Artefact) -> dict[str, Any]:
    """Return what the header of a file says, plain JSON."""
    distilled, free, stated = artefact.distilled, artefact.free_training, artefact.evaluation
    batches, rows = distilled.images.shape[:2]
    return {
        "objective": artefact.told_objective,
        "attack": None if artefact.attack is None else list(artefact.attack),
        "method": artefact.method,
        "classes": list(artefact.classes),
        "set": {
            "batches": batches,
            "images_a_batch": rows,
            "epochs": distilled.epochs,
            "applications": distilled.applications,
            "labels": "logits" if distilled.soft else "class ids",
            "step_sizes": distilled.step_sizes.tolist(),
        },
        **artefact.inputs.plain(),
        "augmentation": list(artefact.augmentation),
        "architecture": artefact.architecture.plain(),
        "init": artefact.start.plain(),
        "evaluation": None if stated is None else stated.plain(artefact.rule),
        "free_training": None if free is None else free.plain(),
        "hypergradient": {"truncate": artefact.truncate},
        "seed": artefact.seed,
        "versions": dict(artefact.versions),
        "log": [dict(record) for record in artefact.log],
        "report": dict(artefact.report),
    }


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as they come back from JSON: names are texts, tuples are lists."""
    try:
        return dict(json.loads(json.dumps(facts, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"what a {_WHAT} says of itself must be plain JSON: {error}.") from None


def _made(facts: Header, tensors: Mapping[str, Tensor]) -> Artefact:
    whitened, weights = _whitening(facts, tensors), {}
    for name, value in tensors.items():
        if name.startswith(_WEIGHTS):
            weights[name.removeprefix(_WEIGHTS)] = value
        elif name not in (*_SET, *(_ZCA if whitened else ())):
            raise DataError(f"it holds the tensor {name}, which belongs to no distilled set.")
    images, labels, sizes = (_tensor(tensors, name) for name in _SET)
    attack = facts.wholes("attack") if facts.given("attack") else None
    if attack is not None and len(attack) != 2:
        raise DataError(f"its header says that attack is {list(attack)}, but it must be two classes.")
    objective = facts.text("objective")
    ops: Any = facts.texts("augmentation")  # checked by the value
    cut = facts.part("hypergradient")
    return Artefact(
        distilled=DistilledSet(images, labels, sizes, facts.part("set").whole("epochs")),
        classes=facts.names("classes"),
        inputs=Inputs.of(facts, whitened),
        architecture=Architecture.made(facts.part("architecture")),
        start=Start.made(facts.part("init"), weights),
        objective=objective if attack is None else POISONING,
        attack=None if attack is None else (attack[0], attack[1]),
        method=facts.text("method"),
        augmentation=ops,
        free_training=FreeRecipe.made(facts.part("free_training")) if facts.given("free_training") else None,
        evaluation=Evaluation.made(facts.part("evaluation")) if facts.given("evaluation") else None,
        truncate=cut.whole("truncate") if cut.given("truncate") else None,
        seed=facts.whole("seed"),
        versions=facts.words("versions"),
        log=facts.mappings("log"),
        report=facts.mapping("report"),
    )


def _whitening(facts: Header, tensors: Mapping[str, Tensor]) -> Whitening | None:
    if not facts.part("normalisation").flag("zca"):
        return None
    return Whitening(*(_tensor(tensors, name) for name in _ZCA))


def _tensor(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise DataError(f"it lacks the tensor {name}.")
    return tensors[name]
