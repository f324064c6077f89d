"""Distribution matching: synthetic examples whose mean features, in any network, are those of the real ones.

With features f of a network that was just drawn and is not trained, and one random change A of both sides of a class::

    minimise over X   J = sum_c || mean_i f(A_c(real_ci)) - mean_i f(A_c(X_ci)) ||^2

Source: Zhao and Bilen, "Dataset condensation with distribution matching", WACV 2023, equation 4.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...distilled import DistilledSet
from ...distilled.synthetic import SyntheticSet, check_alike, drawn, real_rows, started
from ...errors import ConfigError
from ...lesson import Batch, Lesson
from ...randomness import counter, stream
from ...rules import SGD, Rule
from ...siamese import Siamese
from ...starts import Starts
from ...student import Student
from ...teacher import Teacher

_ROWS = 1024
"""Rows that go through a network at a time, where rows do not depend on each other."""


def distance_of_means(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return ``sum_c || mean_i a_c,i - mean_i b_c,i ||^2``, a scalar.

    Args:
        a: features of each class, (N_c, d).
        b: of the same classes, in any number.
    """
    return torch.stack([(u.mean(0) - v.mean(0)).square().sum() for u, v in zip(a, b, strict=True)]).sum()


class DistributionMatching(Teacher):
    """Learns images by matching mean features; needs no inner training, and no second derivative.

    Args:
        images: (S, n, ...), where the images start: real ones, as published.
        labels: class ids (n,) of each batch's rows.
        starts: where networks start; None: where the given student stands.
        rule: of the images; default: SGD of rate 1, or 10 from 100 images a class on, and momentum 0.5.
        real_batch: real rows of a class, drawn at each step.
        batch: rows of the synthetic set in a lesson.
        siamese: changes both sides of a class alike, and the rows of lessons each by itself; None: nothing does.
        seed: of real rows, orders and augmentation.

    Raises:
        ConfigError: for an option outside its range, soft labels, or a class without an image.
        DataError: for images that are not finite, or class ids below 0.
        ShapeError: for images of an integer type, or labels that do not fit them.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        starts: Starts | None = None,
        rule: Rule | None = None,
        real_batch: int = 256,
        batch: int = 256,
        siamese: Siamese | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("real_batch", real_batch), ("batch", batch)):
            if value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1.")
        many = len(images) * len(labels) >= 100 * len(set(labels.flatten().tolist()))
        self.synthetic = SyntheticSet(images, labels, rule or SGD(10.0 if many else 1.0, momentum=0.5))
        self.starts, self.siamese = starts, siamese
        self.real_batch, self.batch, self.seed = real_batch, batch, seed

    @property
    def distilled(self) -> DistilledSet:
        """What was learned so far, differentiable in it: a set without step sizes, to be trained on freely."""
        return self.synthetic.distilled

    @property
    def steps(self) -> int:
        """How many outer iterations were taken."""
        return self.synthetic.steps

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the minibatch of the synthetic set that the student's step stands at; the batch is not looked at."""
        return self.synthetic.lesson(stream(self.seed, "lessons"), student.step, self.batch, self.siamese)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Take a step of the images towards the real ones' mean features in one network.

        Args:
            lesson: not looked at.
            student: gives the architecture; without ``starts`` also where it stands.
            validation: all real examples.

        Returns:
            ``outer_loss``, J before the step, a scalar.

        Raises:
            ConfigError: without real examples.
            DataError: naming a class without a real example.
            ShapeError: for real rows or a network of another shape, type or device than the images.
            NotFiniteError: if the loss or its gradient is not finite; nothing has moved then.
        """
        real, classes = real_rows("DistributionMatching", validation, self.synthetic.classes)
        check_alike("DistributionMatching", self.synthetic.images, real, student)
        net = started(student, self.starts, self.steps).seeded(counter(stream(self.seed, "dropout"), self.steps))
        loss, gradient = self.gradients(net, real, classes)
        self.synthetic.descend(loss, gradient)
        return {"outer_loss": loss}

    def gradients(self, net: Student, real: Batch, classes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return J in a network, and its derivative in the images.

        Args:
            net: a student of plain values.
            real: real examples.
            classes: rows of each class among them.
        """
        x, y = self.synthetic.examples()
        key = counter(stream(self.seed, "real rows"), self.steps)
        needed = [real.x[drawn(counter(key, c), rows, self.real_batch)] for c, rows in enumerate(classes)]
        made = [x[y == c] for c in range(len(classes))]
        loss = distance_of_means(self._features(net, needed), self._features(net, made))
        (gradient,) = torch.autograd.grad(loss, [self.synthetic.images])
        return loss.detach(), gradient

    def _features(self, net: Student, by_class: Sequence[Tensor]) -> list[Tensor]:
        """The features (N_c, d) of each class."""
        if self.siamese is not None:
            key = counter(stream(self.seed, "siamese"), self.steps)
            by_class = [self.siamese(x, counter(key, c)) for c, x in enumerate(by_class)]
        x = torch.cat(list(by_class))
        alone = not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.architecture.modules())
        pieces = torch.split(x, _ROWS if alone else len(x))
        found = torch.cat([net.features(piece).flatten(1) for piece in pieces])
        return list(torch.split(found, [len(part) for part in by_class]))
