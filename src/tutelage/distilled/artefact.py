"""A distilled set that says of itself all that is needed to use it: one file, from which networks are trained."""

import copy
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import __version__
from ..errors import ConfigError, DataError, ShapeError
from ..lesson import Lesson
from ..nets.initial import filled
from ..siamese import Op
from ..student import Student
from .facts import Architecture, Evaluation, FreeRecipe, Start, check_ops
from .free_training import as_examples, train_freely
from .inputs import Inputs, Scaling
from .lessons import DistilledSet
from .poison import Poison
from .pools import count_of, part, weights_of
from .students import Net, Students
from .teaching import predictions, taught

if TYPE_CHECKING:
    from ..evaluation import Summary

POISONING = "poisoning"
"""The objective of an attack."""
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
        DataError: for numbers that are not finite or of another type, or step sizes that are not above 0.
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
        return self.objective if self.attack is None else f"{POISONING} ({self.attack[0]}→{self.attack[1]})"

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
            normalisation: mean and std of the rows that the network is for, and their whitening if there is any, to
                be compared with those of the file.
            device: where it learns; a given module learns where it is.

        Raises:
            ConfigError: if the file does not know the network, or for another normalisation.
            ShapeError: for a network that cannot take the images, or that stored weights do not fit.
            NotFiniteError: if it diverges.
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
            NotFiniteError: if one of them diverges: it has no accuracy.
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
    images, labels, sizes = distilled.images, distilled.labels, distilled.step_sizes
    if tuple(images.shape[2:]) != shape or not images.numel():
        raise ShapeError(f"distilled set: images of shape {tuple(images.shape[2:])}, but rows of {shape}.")
    told = {str(part.dtype).removeprefix("torch.") for part in (images, sizes, *artefact.start.weights.values())}
    if not told <= {"float32", "float64"} or labels.dtype not in (torch.int64, torch.float32, torch.float64):
        raise DataError(
            f"distilled set: images, step sizes and weights are {', '.join(sorted(told))}, labels {labels.dtype}; they "
            "must be float32 or float64, class ids int64."
        )
    if not count or (distilled.soft and labels.shape[-1] != count):
        raise ShapeError(f"distilled set: labels of shape {tuple(labels.shape)}, but {count} names of classes.")
    if not distilled.soft and not 0 <= int(labels.min()) <= int(labels.max()) < count:
        raise ConfigError(
            f"distilled set: labels are {int(labels.min())} to {int(labels.max())}, but there are {count} classes."
        )
    finite = {"images": images, "labels": labels, "step sizes": sizes, **artefact.start.weights}
    if spoilt := [name for name, part in finite.items() if not bool(part.isfinite().all())]:
        raise DataError(f"distilled set: values that are not finite in {', '.join(spoilt[:3])}; did a run diverge?")
    if not bool((sizes > 0).all()):
        raise DataError("distilled set: step sizes must be above 0.")
    stored = {name: tuple(value.shape[1:]) for name, value in artefact.start.weights.items()}
    if stored and stored != dict(artefact.architecture.parameters):
        raise ShapeError(f"distilled set: the stored weights are not those of {artefact.architecture.called}.")
    _check_told(artefact)


def _check_told(artefact: Artefact) -> None:
    """What is said of a set."""
    count, truncate = len(artefact.classes), artefact.truncate
    if artefact.attack is not None:
        Poison(*artefact.attack)  # refuses what is none
        if max(artefact.attack) >= count:
            raise ConfigError(f"distilled set: the attack {artefact.attack} names a class outside 0..{count - 1}.")
    elif artefact.objective.startswith(POISONING):
        raise ConfigError(
            f"distilled set: the objective is {artefact.objective}, but no attack is given: name its classes."
        )
    if not artefact.distilled.applications and artefact.free_training is None:
        raise ConfigError("a set without step sizes needs free_training: how is a network to be trained on it?")
    if truncate is not None and truncate < 1:
        raise ConfigError(f"distilled set: truncate is {truncate}; it must be at least 1 step, or None.")
    check_ops(artefact.augmentation)
    data, shape = {} if artefact.evaluation is None else artefact.evaluation.data, artefact.inputs.shape
    for name, needed in (("resize", shape[1:]), ("classes", (count,))):
        if data.get(name) is not None and set(needed) != {data[name]}:
            raise ConfigError(f"distilled set: it was judged on data with {name} {data[name]}, but is for {needed}.")
