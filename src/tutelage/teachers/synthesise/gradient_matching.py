"""Gradient matching: synthetic examples whose gradient is that of the real ones, all along a short training.

With the gradients ``g = grad_w (1/n) sum_i CE_i`` of a class's synthetic and real rows::

    minimise over X   J = sum_c D(g_synthetic(c), g_real(c))
    D = sum over weight tensors, sum over output units of 1 - <u, v> / (||u|| ||v|| + eps)

u, v being the gradients of one unit's weights, rows of (outputs, inputs k k); biases and norms count zero.

Source: Zhao, Mopuri and Bilen, "Dataset condensation with gradient matching", ICLR 2021, algorithm 1 and equation 10;
with :class:`tutelage.siamese.Siamese` it is Zhao and Bilen, "Dataset condensation with differentiable siamese
augmentation", ICML 2021. Their code stops at numbers of images that it does not know, and draws from the clock.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ...distilled import DistilledSet
from ...distilled.synthetic import SyntheticSet, check_alike, drawn, entropy_of, real_rows, started
from ...errors import ConfigError, NotFiniteError
from ...lesson import Batch, Lesson
from ...randomness import counter, seeded, stream
from ...rules import SGD, Gradients, Rule
from ...siamese import Siamese
from ...starts import Starts
from ...student import Student
from ...teacher import Teacher


def gradient_distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor], *, eps: float = 1e-6) -> Tensor:
    """Return D, a scalar: the sum over output units of 1 minus the cosine of their gradients.

    Args:
        a: gradients by name; those of one axis or none, biases and norms, are not looked at.
        b: of the same names and shapes.
        eps: added to products of norms, >= 0; units whose product is far below it count 1.
    """
    total = torch.stack([tensor.new_zeros(()) for tensor in a.values()]).sum()
    for name, tensor in a.items():
        if tensor.ndim > 1:
            u, v = tensor.flatten(1), b[name].flatten(1)
            total = total + (1.0 - (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1) + eps)).sum()
    return total


def schedule(each: int) -> tuple[int, int]:
    """Return (O, I) for so many images a class: matchings of a network, and epochs that it trains between two.

    ``O = each``, ``I = max(1, 500 // each)``, but (1, 1) for one image; as published for 1, 10, 20 and 50, which for 30
    and 40 has (30, 20) and (40, 15).
    """
    return (1, 1) if each == 1 else (each, max(1, 500 // each))


def with_statistics(net: nn.Module, x: Tensor) -> nn.Module:
    """Return a copy of a network whose norms' running statistics are exactly those of x, and stay so.

    The published code takes one step of momentum 0.1 towards them instead.
    """
    made = copy.deepcopy(net).train()
    norms = _running(made)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all passes, of which there is one
    with torch.no_grad(), seeded(0, x.device):
        made(x)
    for norm in norms:
        norm.eval()
    return made


def _running(net: nn.Module) -> list[_NormBase]:
    return [m for m in net.modules() if isinstance(m, _NormBase) and m.track_running_stats]


class GradientMatching(Teacher):
    """Learns images by matching gradients; one call of ``learn`` is one network's short life.

    A network starts; O times the images take a step towards its gradients, class by class, and between two of them it
    trains on the synthetic set for I epochs. In networks with running statistics these are set to those of real rows
    before each matching.

    Args:
        images: (S, n, ...), where the images start.
        labels: class ids (n,) of each batch's rows.
        starts: where networks start; None: where the given student stands.
        outer: O; None: by :func:`schedule`.
        inner: I; None: by :func:`schedule`.
        rule: of the images.
        net_rule: of the network.
        real_batch: real rows of a class, drawn at each matching.
        batch: rows of the synthetic set in a lesson, and in a step of the network.
        siamese: changes both sides of a class alike, and the rows of lessons each by itself; None: nothing does.
        statistics: real rows of a class that running statistics come from.
        eps: see :func:`gradient_distance`.
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
        outer: int | None = None,
        inner: int | None = None,
        rule: Rule | None = None,
        net_rule: Rule | None = None,
        real_batch: int = 256,
        batch: int = 256,
        siamese: Siamese | None = None,
        statistics: int = 16,
        eps: float = 1e-6,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.synthetic = SyntheticSet(images, labels, rule or SGD(0.1, momentum=0.5))
        known = schedule(self.synthetic.each)
        self.outer, self.inner = outer or known[0], known[1] if inner is None else inner
        self.net_rule, self.starts, self.siamese = net_rule or SGD(0.01), starts, siamese
        self.real_batch, self.batch, self.statistics = real_batch, batch, statistics
        self.eps, self.seed = eps, seed
        for name, value, least in (
            ("outer", outer, 1), ("inner", inner, 0), ("real_batch", real_batch, 1), ("batch", batch, 1),
            ("statistics", statistics, 1), ("eps", eps, 0),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ConfigError(f"{name} is {value}; it must be at least {least}.")

    @property
    def distilled(self) -> DistilledSet:
        """What was learned so far, differentiable in it: a set without step sizes, to be trained on freely."""
        return self.synthetic.distilled

    @property
    def steps(self) -> int:
        """How many outer iterations were taken."""
        return self.synthetic.steps // self.outer

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the minibatch of the synthetic set that the student's step stands at; the batch is not looked at."""
        return self.synthetic.lesson(stream(self.seed, "lessons"), student.step, self.batch, self.siamese)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Take an outer iteration.

        Args:
            lesson: not looked at.
            student: gives the architecture; without ``starts`` also where the network starts.
            validation: all real examples.

        Returns:
            ``outer_loss``, the mean of J over the O matchings, a scalar.

        Raises:
            ConfigError: without real examples.
            DataError: naming a class without a real example, or one that the network lacks.
            ShapeError: for real rows or a network of another shape, type or device than the images.
            NotFiniteError: if a loss or gradient is not finite; nothing has moved then.
        """
        real, classes = real_rows("GradientMatching", validation, self.synthetic.classes)
        check_alike("GradientMatching", self.synthetic.images, real, student)
        before = {name: value.clone() for name, value in self.synthetic.state_dict().items()}
        try:
            return {"outer_loss": self._iterated(student, real, classes)}
        except NotFiniteError:
            self.synthetic.load_state_dict(before)
            raise

    def _iterated(self, student: Student, real: Batch, classes: Sequence[Tensor]) -> Tensor:
        iteration = self.steps
        pupil = self._pupil(started(student, self.starts, iteration).net, iteration)
        losses = []
        for o in range(self.outer):
            if _running(pupil.architecture):
                net = with_statistics(pupil.net, self._sample(real, classes))
                pupil = self._pupil(net, iteration).at({}, pupil.rule_state)
            loss, gradient = self.gradients(pupil, real, classes)
            self.synthetic.descend(loss, gradient)
            losses.append(loss)
            if o + 1 < self.outer:
                self._train(pupil, o)
        return torch.stack(losses).mean()

    def gradients(self, pupil: Student, real: Batch, classes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return J where a network stands, and its derivative in the images (S n, ...).

        Args:
            pupil: the network.
            real: real examples.
            classes: rows of each class among them.
        """
        x, y = self.synthetic.examples()
        total, gradient = x.new_zeros(()), torch.zeros_like(x, requires_grad=False)
        for c, rows in enumerate(classes):
            key = counter(stream(self.seed, "real rows"), self.synthetic.steps, c)
            mine = torch.nonzero(y == c).flatten()
            made = x.detach()[mine].requires_grad_()
            needed = self._slope(pupil, real.x[drawn(key, rows, self.real_batch)], c, graph=False)
            loss = gradient_distance(self._slope(pupil, made, c, graph=True), needed, eps=self.eps)
            (gradient[mine],) = torch.autograd.grad(loss, [made])
            total = total + loss.detach()
        return total, gradient

    def _slope(self, pupil: Student, x: Tensor, c: int, *, graph: bool) -> dict[str, Tensor]:
        """The gradient of a class's rows in the network's weights."""
        if self.siamese is not None:
            x = self.siamese(x, counter(stream(self.seed, "siamese"), self.synthetic.steps, c))
        target = torch.full((len(x),), c, device=x.device)
        loss = entropy_of(self.synthetic.classes)
        lesson = Lesson(x, target, torch.ones(len(x), dtype=x.dtype, device=x.device), loss)
        found: Gradients = pupil.descent(lesson, create_graph=graph).gradients
        return {name: value for name, value in found.items() if value is not None}

    def _train(self, pupil: Student, o: int) -> None:
        """I epochs of the network on the synthetic set as it is now."""
        key = counter(stream(self.seed, "inner training"), self.steps, o)
        pieces = -(-len(self.synthetic.examples()[0]) // self.batch)
        with torch.no_grad():
            lessons = (self.synthetic.lesson(key, t, self.batch, self.siamese) for t in range(self.inner * pieces))
            for lesson in lessons:
                pupil.study(lesson)

    def _sample(self, real: Batch, classes: Sequence[Tensor]) -> Tensor:
        key = counter(stream(self.seed, "rows of statistics"), self.synthetic.steps)
        return real.x[torch.cat([drawn(counter(key, c), rows, self.statistics) for c, rows in enumerate(classes)])]

    def _pupil(self, net: nn.Module, iteration: int) -> Student:
        return Student(net, self.net_rule, seed=counter(stream(self.seed, "dropout of networks"), iteration) >> 1)
