"""What teachers of sets without an order have in common: the images that they learn, and what they match them with."""

import torch
from torch import Tensor, nn

from ..errors import ConfigError, DataError, NotFiniteError, ShapeError
from ..lesson import Batch, Lesson, Loss
from ..losses import cross_entropy
from ..optimiser import Optimiser
from ..randomness import counter, permutation, stream
from ..ranks import mean_over_ranks
from ..real_sets import Real, of_classes
from ..rules import Rule
from ..siamese import Siamese
from ..starts import Starts, drawn_for
from ..student import Student
from .lessons import DistilledSet, check_start


class SyntheticSet(nn.Module):
    """Images that a teacher learns, with the rule that changes them; both are in ``state_dict``.

    Args:
        images: (S, n, ...), where they start; all S n are one set.
        labels: class ids (n,) of each batch's rows; of every class 0..C-1 at least one.
        rule: how gradients change the images.

    Raises:
        ConfigError: for soft labels, labels of their own for each batch, or a class without an image.
        DataError: for images that are not finite, or class ids below 0.
        ShapeError: for images of an integer type, or labels that do not fit them.
    """

    labels: Tensor

    def __init__(self, images: Tensor, labels: Tensor, rule: Rule) -> None:
        super().__init__()
        if labels.is_floating_point():
            raise ConfigError("labels of images that are matched class by class must be class ids, not soft labels.")
        if labels.ndim != 1:
            raise ConfigError(
                f"labels have shape {tuple(labels.shape)}, but all batches of images that are matched class by class "
                "share theirs: give (n,)."
            )
        check_start(images, labels)
        self.images = nn.Parameter(images.detach().clone())
        self.register_buffer("labels", labels.detach().clone())
        _ = self.distilled  # refuses parts that do not fit
        self.counts: list[int] = torch.bincount(labels).tolist()
        if 0 in self.counts:
            raise ConfigError(f"class {self.counts.index(0)} has no synthetic image; give at least one of each class.")
        self.optimiser = Optimiser({"images": self.images}, rule)

    @property
    def distilled(self) -> DistilledSet:
        """The set, without step sizes, differentiable in its images."""
        return DistilledSet(self.images, self.labels, self.images.new_zeros(0))

    @property
    def classes(self) -> int:
        """C."""
        return len(self.counts)

    @property
    def each(self) -> int:
        """How many images a class has, the largest of them."""
        return max(self.counts) * len(self.images)

    @property
    def steps(self) -> int:
        """How often the images were changed."""
        return int(self.optimiser.steps)

    def examples(self) -> tuple[Tensor, Tensor]:
        """Return images (S n, ...), differentiable, and class ids (S n,)."""
        return self.images.flatten(0, 1), self.labels.repeat(len(self.images))

    def lesson(self, key: int, step: int, size: int | None, siamese: Siamese | None = None) -> Lesson:
        """Return a minibatch; each epoch goes through the whole set, in an order of its own.

        Args:
            key: of the orders and the augmentation.
            step: minibatches that came before.
            size: most rows; None: all.
            siamese: changes each row by itself.
        """
        x, y = self.examples()
        if size is not None and size < len(x):
            rows = minibatch(key, step, len(x), size).to(x.device)
            x, y = x[rows], y[rows]
        if siamese is not None:
            x = siamese.each(x, counter(stream(key, "augmentation"), step))
        return Lesson(x, y, torch.ones(len(x), dtype=x.dtype, device=x.device), cross_entropy)

    def descend(self, loss: Tensor, gradient: Tensor) -> None:
        """Change the images by the gradient of a loss, in any shape.

        Raises:
            NotFiniteError: if either is not finite; nothing has moved then.
        """
        if not bool(loss.isfinite() and gradient.isfinite().all()):
            what = "loss" if not bool(loss.isfinite()) else "gradient of the loss in the images"
            raise NotFiniteError(
                f"the {what} is not finite at step {self.steps + 1} of the images: lower their learning rate, or check "
                "how networks start, and the real examples."
            )
        gradients = mean_over_ranks([gradient.view_as(self.images).clone()])
        self.optimiser.step({"images": self.images}, gradients)


def entropy_of(classes: int) -> Loss:
    """Return the cross-entropy, for networks that know so many classes.

    Raises:
        DataError: the loss, of answers of fewer classes.
    """

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        if logits.shape[-1] < classes:
            raise DataError(
                f"there are labels up to {classes - 1}, but the network answers {logits.shape[-1]} classes."
            )
        return cross_entropy(logits, target)

    return loss


def check_alike(teacher: str, images: Tensor, real: Batch, student: Student) -> None:
    """Make sure that images (S, n, ...), real rows and network can be computed with together.

    Raises:
        ShapeError: for another shape, type or device.
    """
    if images.shape[2:] != real.x.shape[1:]:
        raise ShapeError(
            f"{teacher}: synthetic images have shape {tuple(images.shape[2:])}, but real rows "
            f"{tuple(real.x.shape[1:])}; they must be the same."
        )
    sides = {
        "synthetic images": images,
        "real rows": real.x,
        "the network": next(iter(student.params.values()), images),
    }
    if len({(tensor.dtype, tensor.device) for tensor in sides.values()}) > 1:
        told = ", ".join(f"{name} {tensor.dtype} on {tensor.device}" for name, tensor in sides.items())
        raise ShapeError(f"{teacher}: {told}; they must be of one type on one device: use .to().")


def minibatch(key: int, step: int, count: int, size: int) -> Tensor:
    """Return the rows int64 of a step: ``count`` rows in pieces of ``size``, shuffled anew each time that all were had.

    Args:
        key: of the orders.
        step: from 0.
        count: rows there are.
        size: of a piece; the last one of an epoch may be smaller.
    """
    epoch, place = divmod(step, -(-count // size))
    return torch.from_numpy(permutation(counter(key, epoch), count)[place * size : (place + 1) * size])


def real_rows(teacher: str, validation: Batch | None, classes: int) -> tuple[Batch, list[Tensor]]:
    """Return the real examples, and the rows int64 of each class.

    Raises:
        ConfigError: without real examples.
        DataError: naming a class that only real or only synthetic examples have.
    """
    if validation is None or not len(validation):
        raise ConfigError(f"{teacher}.learn needs real examples: pass them as validation.")
    return validation, of_classes(Real(validation.x, validation.y, classes))


def drawn(key: int, rows: Tensor, count: int) -> Tensor:
    """Return so many of these rows, without replacement; all of fewer."""
    return rows[torch.from_numpy(permutation(key, len(rows))[:count]).to(rows.device)]


def started(student: Student, starts: Starts | None, step: int) -> Student:
    """Return a view of a student, of plain values, at the start of an outer step: a new network, or the student.

    Raises:
        ConfigError, ShapeError: as :func:`tutelage.starts.drawn_for`.
    """
    if starts is None:
        return student.at({name: p.detach() for name, p in student.params.items()})
    weights = drawn_for(student.architecture, starts, step, 1)
    like = {**dict(student.architecture.named_parameters()), **student.params}
    return student.at({name: value[0].to(like[name].detach()) for name, value in weights.items()})
