"""A distilled set that says of itself all that is needed to use it: one file, from which networks are trained."""

import copy
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from .. import __version__
from ..data.records.headed import read_headed, write_headed
from ..errors import ConfigError, DataError, ShapeError, TutelageError
from ..lesson import Lesson
from ..nets.initial import filled
from ..siamese import Op
from ..student import Student
from .facts import Architecture, Evaluation, FreeRecipe, Start
from .free_training import as_examples, train_freely
from .inputs import Inputs, Numbers
from .lessons import DistilledSet
from .poison import Poison
from .pools import count_of, part, weights_of
from .students import Net, Students
from .teaching import predictions, taught
from .whitening import Whitening

if TYPE_CHECKING:
    from ..evaluation import Summary

FORMAT = 1
"""Version of the layout of a file; one of another version is refused."""
Scaling: TypeAlias = tuple[Numbers, Numbers]
"""Mean and standard deviation that rows were normalised with."""

_WHAT = "distilled set"
_WEIGHTS = "weights."
"""Before the names of stored weights."""
_NETS = 200
_AT_ONCE = 64
"""Networks that are taught at a time."""


def versions() -> dict[str, str]:
    """Return the software that runs here."""
    numpy, python = np.__version__, platform.python_version()
    return {"tutelage": __version__, "torch": torch.__version__, "numpy": numpy, "python": python}


@dataclass(frozen=True, eq=False)
class Artefact:
    """A distilled set, and all that is needed to train networks by it as its maker did.

    Attributes:
        distilled: images, labels, step sizes, their order.
        classes: the C class names in label order.
        inputs: what raw rows become before a network sees them; the images are in this form.
        architecture: of the networks.
        start: their initial weights.
        objective: what the real rows asked for, such as ``training``, ``adaptation``; see ``attack``.
        attack: classes (a, b), if the set was made to have networks take a for b.
        method: how the set was made, such as ``unrolled`` or ``trajectory-matching``.
        augmentation: siamese operations during distillation.
        free_training: how networks are trained on the set without its order; needed without step sizes.
        evaluation: what it reaches; None: nobody looked.
        truncate: only the last so many steps were differentiated; None: all.
        seed: of the distillation; of free training, where the set is judged by that.
        versions: of the software that made it.
        log: records of the distillation, plain JSON.
        report: anything else that was measured, plain JSON.

    Raises:
        ConfigError: for labels or an attack outside the classes, or neither step sizes nor a way of free training.
        ShapeError: for parts that do not fit each other.
        DataError: for images that are not finite, or step sizes that are not above 0.
    """

    distilled: DistilledSet
    classes: tuple[str, ...]
    inputs: Inputs
    architecture: Architecture
    start: Start
    objective: str = "training"
    attack: tuple[int, int] | None = None
    method: str = "unrolled"
    augmentation: tuple[Op, ...] = ()
    free_training: FreeRecipe | None = None
    evaluation: Evaluation | None = None
    truncate: int | None = None
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=versions)
    log: Sequence[Mapping[str, Any]] = ()
    report: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self)

    @property
    def told_objective(self) -> str:
        """The objective; of an attack with its classes: ``poisoning (0→1)``."""
        return self.objective if self.attack is None else "poisoning ({}→{})".format(*self.attack)

    @property
    def rule(self) -> str:
        """How networks are taught, in words."""
        if self.distilled.applications:
            return "plain gradient descent on the mean loss of a batch, at the stored step sizes"
        return "free training: SGD in shuffled batches"

    @property
    def students(self) -> Students:
        """The networks that the set is for."""
        return Students(self.architecture, self.start, len(self.classes), self.distilled.images.detach().flatten(0, 1))

    def lessons(self) -> Iterator[Lesson]:
        """Yield the T lessons in their order, with ``application`` and ``step_size`` as notes.

        Study them by plain gradient descent: ``Student(net, SGD(lr=artefact.distilled.step_sizes))``.

        Raises:
            ConfigError: for a set without step sizes.
        """
        sizes = self.distilled.step_sizes
        if not len(sizes):
            raise ConfigError(f"a set made by {self.method} has no step sizes, so it makes no lessons: use train.")
        for t, lesson in enumerate(self.distilled.lessons()):
            notes = {"application": t, "step_size": sizes[t]}
            yield Lesson(lesson.x, lesson.target, lesson.weight, lesson.loss, notes)

    def dataset(self) -> tuple[Tensor, Tensor]:
        """Return the set without its order: images (S n, ...), and class ids (S n,) or probabilities (S n, C)."""
        return as_examples(self.distilled)

    def train(
        self,
        net: Net | None = None,
        seed: int = 0,
        *,
        normalisation: Scaling | None = None,
        device: str | torch.device = "cpu",
    ) -> nn.Module:
        """Return a network that was trained by the set, in evaluation mode; a given one stays as it is.

        It starts from stored weights in a fixed regime; else from fresh ones, drawn as the file says. In the regimes of
        trained networks, and where networks initialise themselves (``own``), a given module starts where it is.

        Args:
            net: the network, or its name; None: that of the file. A function that only the file names is not run.
            seed: of initial weights and free training; of stored weights, which.
            normalisation: mean and std of the rows that the network is for, to be compared with those of the file.
            device: where it learns; a given module learns where it is.

        Raises:
            ConfigError: if the file does not know the network, or for another normalisation.
            ShapeError: for a network that cannot take the images, or that stored weights do not fit.
        """
        if normalisation is not None:
            self.inputs.check(*normalisation)
        module, weights = self.students.first(net, seed, device)
        student = self._taught(module, weights, seed)
        return filled(module, {name: value[0] for name, value in weights_of(student).items()}).eval()

    def evaluate(
        self,
        x: Tensor,
        y: Tensor,
        n_nets: int | None = None,
        *,
        net: Net | None = None,
        weights: Mapping[str, Tensor] | None = None,
        seed: int | None = None,
        normalisation: Scaling | None = None,
    ) -> "Summary":
        """Return the accuracy of networks that the set taught: mean, std, ci95 and values, in [0, 1].

        By default those that the file states an accuracy of: the same test rows give the same numbers.

        Args:
            x: test rows (N, ...) as networks see them, see ``inputs.seen``.
            y: class ids (N,).
            n_nets: K; None: as many as the file states an accuracy of, else 200; of stored ones all.
            net: see :meth:`train`.
            weights: where networks start, by name, each (K, ...), such as trained ones; in place of drawn ones.
            seed: of the draws; None: that of the file.
            normalisation: of x, see :meth:`train`.

        Raises:
            ConfigError, ShapeError: see :meth:`train`; for more networks than are stored, no rows, or other ones.
        """
        from ..evaluation import summary

        if normalisation is not None:
            self.inputs.check(*normalisation)
        if not len(x) or len(x) != len(y) or tuple(x.shape[1:]) != self.inputs.shape:
            raise ShapeError(
                f"test rows of shape {tuple(x.shape)} and {len(y)} labels, but the set is for rows of shape "
                f"{self.inputs.shape}, at least one, each with a label."
            )
        module, starts = self.starts(n_nets, net=net, seed=seed) if weights is None else (self.network(net), weights)
        answers = self.answers(x, module, starts)
        return summary((answers == y.unsqueeze(1)).double().mean(0).tolist())

    def network(self, net: Net | None = None) -> nn.Module:
        """Return the network that the set was made for, or a given one if it can be taught by it; see :meth:`train`."""
        return self.students.network(net)

    def starts(
        self, n_nets: int | None = None, *, net: Net | None = None, seed: int | None = None
    ) -> tuple[nn.Module, dict[str, Tensor]]:
        """Return the network, and initial weights by name, each (K, ...); arguments and errors of :meth:`evaluate`."""
        if n_nets is None and not self.start.stored:
            n_nets = _NETS if self.evaluation is None else len(self.evaluation.values)
        return self.students.several(net, n_nets, seed)

    def answers(self, x: Tensor, net: nn.Module, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the classes (N, K) that K networks answer with after the set taught them.

        Args:
            x: rows (N, ...) as networks see them; where they are, and of what type, networks are.
            net: the architecture.
            weights: where they start, by name, each (K, ...).
        """
        here, found = copy.deepcopy(net).to(x), []
        for first in range(0, count_of(weights), _AT_ONCE):
            some = {name: value.to(x) for name, value in part(weights, first, first + _AT_ONCE).items()}
            found.append(predictions(self._taught(here, some, self.seed), x))
        return torch.cat(found, dim=1)

    def _taught(self, net: nn.Module, weights: Mapping[str, Tensor], seed: int) -> Student:
        """K networks, as one student, after the lessons or free training."""
        like, frozen, made = next(iter(weights.values())), self.architecture.freeze_buffers, self.distilled
        labels = made.labels.to(like) if made.soft else made.labels.to(like.device)
        here = DistilledSet(made.images.to(like), labels, made.step_sizes.to(like), made.epochs)
        if here.applications:
            *_, student = taught(here, net, weights, freeze_buffers=frozen)
            return student
        assert self.free_training is not None  # checked
        options = self.free_training.options
        return train_freely(net, weights, *as_examples(here), freeze_buffers=frozen, seed=seed, **options)


def _check(artefact: Artefact) -> None:
    distilled, shape, count = artefact.distilled, artefact.inputs.shape, len(artefact.classes)
    if tuple(distilled.images.shape[2:]) != shape:
        raise ShapeError(f"distilled set: images of shape {tuple(distilled.images.shape[2:])}, but rows of {shape}.")
    labels, sizes = distilled.labels, distilled.step_sizes
    if distilled.soft and labels.shape[-1] != count:
        raise ShapeError(f"distilled set: soft labels of {labels.shape[-1]} classes, but {count} names of classes.")
    if not distilled.soft and not 0 <= int(labels.min()) <= int(labels.max()) < count:
        raise ConfigError(
            f"distilled set: labels are {int(labels.min())} to {int(labels.max())}, but there are {count} classes."
        )
    if artefact.attack is not None:
        Poison(*artefact.attack)  # refuses what is none
        if max(artefact.attack) >= count:
            raise ConfigError(f"distilled set: the attack {artefact.attack} names a class outside 0..{count - 1}.")
    if not distilled.applications and artefact.free_training is None:
        raise ConfigError("a set without step sizes needs free_training: how is a network to be trained on it?")
    if not bool(distilled.images.isfinite().all() and sizes.isfinite().all() and (sizes > 0).all()):
        raise DataError("distilled set: images must be finite, and step sizes finite and above 0.")
    stored = {name: tuple(value.shape[1:]) for name, value in artefact.start.weights.items()}
    if stored and stored != dict(artefact.architecture.parameters):
        raise ShapeError(f"distilled set: the stored weights are not those of {artefact.architecture.called}.")


def save(artefact: Artefact, path: str | os.PathLike[str]) -> None:
    """Write a distilled set to one safetensors file, which appears whole or not at all; the same gives the same bytes.

    What it says of itself is JSON in the header, under ``tutelage distilled set``: any reader of safetensors shows it.

    Raises:
        ConfigError: if ``log``, ``report`` or the data of ``evaluation`` is nothing that JSON can hold.
        DataError: if the file cannot be written.
    """
    distilled, whitening = artefact.distilled, artefact.inputs.whitening
    tensors = {"images": distilled.images, "labels": distilled.labels, "step_sizes": distilled.step_sizes}
    tensors |= {_WEIGHTS + name: value for name, value in artefact.start.weights.items()}
    if whitening is not None:
        tensors |= {"zca.mean": whitening.mean, "zca.matrix": whitening.matrix}
    write_headed(Path(path), _WHAT, FORMAT, facts_of(artefact), tensors)


def load(path: str | os.PathLike[str]) -> Artefact:
    """Read what :func:`save` wrote, onto the CPU. Nothing in the file is run.

    Raises:
        DataError: if there is no such file, it is no distilled set, a pickle, cut, damaged, or of another version.
    """
    facts, tensors = read_headed(Path(path), _WHAT, FORMAT, maker="tutelage run dataset-distillation")
    try:
        return _made(facts, tensors)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, TutelageError) as error:
        raise DataError(f"{path} is damaged: {error if isinstance(error, TutelageError) else repr(error)}") from None


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


def _made(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Artefact:
    whitening = Whitening(tensors["zca.mean"], tensors["zca.matrix"]) if facts["normalisation"]["zca"] else None
    weights = {name.removeprefix(_WEIGHTS): t for name, t in tensors.items() if name.startswith(_WEIGHTS)}
    attack, free, stated = facts["attack"], facts["free_training"], facts["evaluation"]
    images, labels, sizes = tensors["images"], tensors["labels"], tensors["step_sizes"]
    return Artefact(
        distilled=DistilledSet(images, labels, sizes, int(facts["set"]["epochs"])),
        classes=tuple(facts["classes"]),
        inputs=Inputs.of(facts, whitening),
        architecture=Architecture.made(facts["architecture"]),
        start=Start.made(facts["init"], weights),
        objective=facts["objective"] if attack is None else "poisoning",
        attack=None if attack is None else (int(attack[0]), int(attack[1])),
        method=facts["method"],
        augmentation=tuple(facts["augmentation"]),
        free_training=None if free is None else FreeRecipe.made(free),
        evaluation=None if stated is None else Evaluation.made(stated),
        truncate=facts["hypergradient"]["truncate"],
        seed=int(facts["seed"]),
        versions=facts["versions"],
        log=facts["log"],
        report=facts["report"],
    )
