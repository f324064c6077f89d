"""Dataset distillation: a few synthetic examples, and the step sizes to learn them with.

With batches ``X[s]``, targets ``Y[s]`` and step sizes ``eta_t = softplus(rho_t)``, application t of T = S E uses batch
s = t mod S, from initial weights ``w_0^(k)`` of K networks::

    w_{t+1} = w_t - eta_t grad_w (1/n) sum_i CE(X[s]_i, Y[s]_i; w_t)
    minimise over X, rho (and Y)   J = (1/K) sum_k CE(real batch; w_T^(k))

Source: Wang, Zhu, Torralba and Efros, "Dataset distillation", 2018, algorithm 1.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from ...distilled import DistilledSet, named_rates, raw_of, step_sizes
from ...distilled.compiled import OuterStep
from ...distilled.lessons import check_finite, check_start
from ...distilled.step_sizes import expanded
from ...errors import ConfigError, DataError, NotFiniteError, ShapeError, unknown
from ...hypergradient import Decision, Fitting, Hypergradient, Recompute, Unrolled, check_tape
from ...lesson import Batch, Lesson
from ...losses import cross_entropy
from ...nets.together import Each, How, Together, check_stateless, frozen, perceptron
from ...optimiser import Optimiser
from ...randomness import counter, hashed_tensor, integer_tensor, stream
from ...ranks import mean_over_ranks
from ...real_sets import check_classes
from ...rules import SGD, Adam, Rate, RuleState
from ...starts import Starts, drawn_for
from ...student import Student
from ...teacher import Teacher

Engine: TypeAlias = Literal["auto", "loop", "vmap", "hand", "compile"]
"""How K networks are run: one after another, vectorised, a perceptron's layers as one product each, or compiled."""
Objective: TypeAlias = Callable[[Batch], Batch]
"""What the real batch becomes before it judges."""

_BETAS = (0.5, 0.999)
_NO = {
    "Reversible": "plain gradient descent has no momentum to go back by",
    "OneStep": "it takes one pass a scalar, and an image has hundreds",
}


class DatasetDistillation(Teacher):
    """Learns images, step sizes and, if asked, soft labels, by descending the loss that they lead to.

    Args:
        images: (S, n, ...), where the images start, normalised as the networks expect.
        labels: class ids (n,) of each batch's rows, or (S, n), or probabilities (S, n, C) to start soft labels from.
        epochs: E, how often the S batches are gone through.
        step_size: where the T = S E step sizes start, > 0; one number or T of them.
        starts: where students start; None: where the given student stands.
        nets: K, networks an outer step; 1 without ``starts``.
        lr_images: Adam's rate for images and soft labels, a number or a schedule.
        lr_steps: its rate for the raw step sizes ``rho``.
        betas: its moments' decays.
        real_batch: B, rows drawn with replacement from the real ones; None: all of them.
        objective: what the real batch becomes, such as :class:`Poison`.
        hypergradient: ``Unrolled``, ``Recompute`` or ``Fitting``, truncated or not; None: ``Fitting``, the graph of
            all steps while memory lasts.
        engine: see :data:`Engine`; ``auto``: ``hand`` for perceptrons, ``vmap`` on CUDA and where many small passes
            dominate, else ``loop``; ``compile``: pays after thousands of steps, see :class:`OuterStep`.
        clip: cut the norm of the outer gradient, of images, soft labels and raw step sizes together, to this; None:
            leave it. Of many steps at rates above 1 some gradients are a thousand times too long, and Adam does not
            forget them.
        freeze_buffers: keep running statistics as they are; networks that have some are refused otherwise.
        seed: of the real batches.

    Raises:
        ConfigError: for a step size that is not above 0, an option outside its range, or a strategy that cannot be
            used here.
        DataError: for images that are not finite, class ids below 0, or soft labels that are no probabilities.
        ShapeError: for images of an integer type, labels that do not fit them, or step sizes in another number.
    """

    raw: Tensor

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        epochs: int = 1,
        step_size: float | Tensor = 0.1,
        starts: Starts | None = None,
        nets: int = 8,
        lr_images: Rate = 0.05,
        lr_steps: Rate = 0.05,
        betas: tuple[float, float] = _BETAS,
        real_batch: int | None = 256,
        objective: Objective | None = None,
        hypergradient: Hypergradient | None = None,
        engine: Engine = "auto",
        clip: float | None = None,
        freeze_buffers: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.hypergradient = hypergradient or Fitting()
        _check(self.hypergradient, engine, nets, real_batch, epochs)
        self.epochs, self.starts, self.engine = epochs, starts, engine
        self.nets = nets if starts is not None else 1
        self.real_batch, self.objective = real_batch, objective
        self.freeze_buffers, self.seed = freeze_buffers, seed
        if clip is not None and not clip > 0:
            raise ConfigError(f"clip is {clip}; it needs to be above 0, or None.")
        self.clip = clip
        check_start(images, labels)
        self.images = nn.Parameter(images.detach().clone())
        self.raw = nn.Parameter(raw_of(expanded(step_size, len(images) * epochs, images.dtype)).to(images.device))
        if labels.is_floating_point():
            self.labels = nn.Parameter(labels.detach().to(images).clamp_min(1e-6).log())
        else:
            self.register_buffer("labels", labels.detach().to(images.device, torch.int64, copy=True))
        _ = self.distilled  # refuses parts that do not fit
        self.decision = Decision()
        self.for_images = Optimiser(self._pictures(), Adam(lr_images, betas=betas))
        self.for_steps = Optimiser({"raw": self.raw}, Adam(lr_steps, betas=betas))
        self._worker: tuple[nn.Module, How, Student] | None = None
        self._outer: tuple[nn.Module, OuterStep] | None = None
        self._known: tuple[nn.Module, int] | None = None
        self._fits = False

    @property
    def distilled(self) -> DistilledSet:
        """What was learned so far, differentiable in it."""
        return DistilledSet(self.images, self.labels, step_sizes(self.raw), self.epochs)

    @property
    def steps(self) -> int:
        """How many outer steps were taken."""
        return int(self.for_images.steps)

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the lesson of the application that the batch's progress stands at; its rows are not looked at.

        Notes: ``application`` t, and ``step_size``, for a student whose rule takes one.
        """
        distilled = self.distilled
        t = distilled.at(batch.progress)
        lesson = distilled.lesson(t % len(self.images))
        notes = {"application": t, "step_size": distilled.step_sizes[t].detach()}
        return Lesson(lesson.x, lesson.target, lesson.weight, lesson.loss, notes)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Take an outer step: draw networks and real rows, and descend the loss that the T lessons lead to.

        Args:
            lesson: not looked at: all T lessons are.
            student: gives the architecture; without ``starts`` also where the lessons start.
            validation: the real examples.

        Returns:
            ``outer_loss``, J before the step, a scalar.

        Raises:
            ConfigError: without real examples, or for a network with running statistics that are not frozen.
            DataError: naming a class that only real or only synthetic examples have, or the network lacks; for images,
                initial weights or real examples that are not finite.
            NotFiniteError: if the loss or its gradient is not finite; nothing has moved then.
            ShapeError: for initial weights that are not those of the student's network, or images that it cannot take.
        """
        loss, gradients = self.gradients(student, validation)
        *pictures, sizes = mean_over_ranks(gradients)
        *pictures, raw = self._cut([*pictures, torch.sigmoid(self.raw.detach()) * sizes])
        self.for_images.step(self._pictures(), pictures)
        self.for_steps.step({"raw": self.raw}, [raw])
        return {"outer_loss": loss}

    def gradients(self, student: Student, validation: Batch | None) -> tuple[Tensor, list[Tensor]]:
        """Return J and its derivatives in the images, in soft labels if there are any, and in the step sizes ``eta``.

        Raises:
            ConfigError, DataError, NotFiniteError, ShapeError: as :meth:`learn`.
        """
        if validation is None or not len(validation):
            raise ConfigError("DatasetDistillation.learn needs real examples: pass them as validation.")
        check_classes(validation.y, self._classes())
        real, weights = self._real(validation), self._weights(student)
        self._check_answers(student, weights, real)
        sizes = step_sizes(self.raw.detach()).requires_grad_()
        distilled = DistilledSet(self.images, self.labels, sizes, self.epochs)
        wrt = [*self._pictures().values(), sizes]
        try:
            if self.engine == "compile":
                return self._compiled(student, weights, distilled, real)
            return self._averaged(student, weights, distilled, real, wrt)
        except NotFiniteError as error:
            starts = {f"{name} of the initial networks": value for name, value in weights.items()}
            check_finite({"the images": self.images, "the real examples": real.x, **starts})
            rates = named_rates(sizes.tolist())
            raise NotFiniteError(f"{error} Step sizes are {rates}: start them lower, or lower lr_steps.") from error

    def _averaged(
        self, student: Student, weights: dict[str, Tensor], distilled: DistilledSet, real: Batch, wrt: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        how = self._how(student, real)
        lessons = distilled.lessons(cross_entropy if how is None else Each(cross_entropy))

        def loss(student: Student) -> Tensor:
            logits = student.logits(real.x)
            if how is None:
                return cross_entropy(logits, real.y).mean()
            return Each(cross_entropy)(logits, real.y).mean() / self.nets

        rule = SGD(lr=distilled.step_sizes)
        views = [view.with_rule(rule).at({}, RuleState(0, {})) for view in self._views(student, weights, how)]
        if isinstance(self.hypergradient, Unrolled) and not self._fits:
            check_tape(views[0], lessons, self.hypergradient.truncate)
            self._fits = True
        with self.decision.kept(self.hypergradient):
            found = [self.hypergradient(view, lessons, loss, wrt) for view in views]
        count = len(found)
        if count == 1:
            return found[0]
        total = torch.stack([value for value, _ in found]).mean()
        return total, [torch.stack(parts).sum(0) / count for parts in zip(*(gradients for _, gradients in found))]

    def _compiled(
        self, student: Student, weights: dict[str, Tensor], distilled: DistilledSet, real: Batch
    ) -> tuple[Tensor, list[Tensor]]:
        net = student.architecture
        if self._outer is None or self._outer[0] is not net:
            self._outer = net, OuterStep(net, freeze_buffers=self.freeze_buffers)
        if not weights:
            weights = {name: value.detach().unsqueeze(0) for name, value in student.at({}).net.named_parameters()}
        buffers = {name: value.expand(self.nets, *value.shape) for name, value in student.buffers.items()}
        return self._outer[1](distilled, {**weights, **buffers}, real.x, real.y)

    def _weights(self, student: Student) -> dict[str, Tensor]:
        """Where this outer step's networks start, by name, each (K, ...); nothing if that is where the student is."""
        if self.starts is None:
            return {}
        drawn = drawn_for(student.architecture, self.starts, self.steps, self.nets)
        return {name: value.to(self.images.device, self.images.dtype) for name, value in drawn.items()}

    def _views(self, student: Student, weights: dict[str, Tensor], how: How | None) -> list[Student]:
        """The students to differentiate through: one that holds K networks, or K of one each."""
        key = counter(stream(self.seed, "dropout of the students"), self.steps)
        if how is not None:
            worker = self._together(student.architecture, weights, how)
            buffers = {f"net.{name}": value for name, value in student.buffers.items()}
            return [_standing(worker, {f"net.{name}": value for name, value in weights.items()}, buffers).seeded(key)]
        check_stateless(student.architecture, freeze_buffers=self.freeze_buffers)
        if self.freeze_buffers:
            student = Student(frozen(student.at({}).net), SGD(lr=1.0), seed=student.seed)
        if not weights:
            return [student.at({})]
        alone = ({name: value[k] for name, value in weights.items()} for k in range(self.nets))
        return [_standing(student, own).seeded(counter(key, k)) for k, own in enumerate(alone)]

    def _together(self, net: nn.Module, weights: dict[str, Tensor], how: How) -> Student:
        """A student that holds K networks; made once for an architecture."""
        if self._worker is None or self._worker[:2] != (net, how):
            together = Together(net, weights, how=how, freeze_buffers=self.freeze_buffers)
            self._worker = net, how, Student(together, SGD(lr=1.0))
        return self._worker[2]

    def _classes(self) -> Tensor:
        """Class ids that there are synthetic examples of."""
        return torch.arange(self.labels.shape[-1]) if self.labels.is_floating_point() else self.labels

    def _check_answers(self, student: Student, weights: dict[str, Tensor], real: Batch) -> None:
        """Make sure that the networks take the images, and know the classes."""
        if self._known is None or self._known[0] is not student.architecture:
            one = student.at({name: value[0] for name, value in weights.items()})
            self._known = student.architecture, _answered(one, self.images.detach()[0])
        most = max(int(self._classes().max()), int(real.y.max()))
        if most >= self._known[1]:
            raise DataError(f"there are labels up to {most}, but the network answers {self._known[1]} classes.")

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what was made for a network, and is made again."""
        return self.__dict__ | {"_worker": None, "_outer": None, "_known": None}

    def _how(self, student: Student, real: Batch) -> How | None:
        """How the networks are run together; None: one after another."""
        if self.starts is None or self.nets == 1 or self.engine == "loop":
            return None
        if self.engine in ("vmap", "hand"):
            return self.engine
        if perceptron(student.architecture) is not None:
            return "hand"
        vectorised = real.x.device.type == "cuda" or _overhead_rules(student.architecture, real.x, len(self.raw))
        return "vmap" if vectorised else None

    def _real(self, validation: Batch) -> Batch:
        """The real rows of this outer step."""
        batch = validation
        if self.real_batch is not None:
            key = counter(stream(self.seed, "real rows"), self.steps)
            draws = hashed_tensor(key, torch.arange(self.real_batch))
            rows = integer_tensor(draws, len(validation))
            x, y, index = (_taken(of, rows) for of in (validation.x, validation.y, validation.index))
            batch = Batch(x, y, index, validation.progress)
        return batch if self.objective is None else self.objective(batch)

    def _cut(self, gradients: list[Tensor]) -> list[Tensor]:
        """The gradients, no longer together than ``clip``."""
        if self.clip is None:
            return gradients
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        scale = (self.clip / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp_max(1.0)
        return [gradient * scale for gradient in gradients]

    def _pictures(self) -> dict[str, Tensor]:
        soft = {"labels": self.labels} if self.labels.is_floating_point() else {}
        return {"images": self.images, **soft}


def _answered(student: Student, images: Tensor) -> int:
    """How many classes a network answers with."""
    try:
        return student.predict(images[:1]).shape[-1]
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ShapeError(f"the network cannot take images of shape {tuple(images.shape[1:])}: {first}") from error


def _taken(of: Tensor | None, rows: Tensor) -> Tensor:
    """These rows, wherever they are kept; their places where nothing is."""
    return rows if of is None else of[rows.to(of.device)]


def _standing(student: Student, weights: dict[str, Tensor], buffers: dict[str, Tensor] | None = None) -> Student:
    """A view of a student with these weights."""
    own = {name: value.requires_grad_(name in student.params) for name, value in weights.items()}
    return student.at(own, buffers=buffers)


def _overhead_rules(net: nn.Module, x: Tensor, steps: int) -> bool:
    """Whether calls take longer than what they compute: a convolution of many networks is a slow, grouped one."""
    convolutions = [module for module in net.modules() if isinstance(module, nn.modules.conv._ConvNd)]
    small = max(x.shape[2:], default=1) <= 16 and all(layer.out_channels <= 32 for layer in convolutions)
    return not convolutions or (small and (steps >= 10 or len(x) <= 256))


def _check(hypergradient: Hypergradient, engine: str, nets: int, real_batch: int | None, epochs: int) -> None:
    kind = type(hypergradient).__name__
    if not isinstance(hypergradient, (Unrolled, Recompute, Fitting)):
        why = _NO.get(kind, "the weights after a few steps are no stationary point")
        raise ConfigError(f"{kind} cannot distil a dataset: {why}; use Unrolled or Recompute.")
    if engine not in get_args(Engine):
        raise ConfigError(unknown("engine", engine, get_args(Engine)))
    if engine == "compile" and (isinstance(hypergradient, Recompute) or hypergradient.truncate is not None):
        raise ConfigError('engine "compile" keeps the graph of all steps: use "auto" to recompute or to truncate.')
    for name, value in (("nets", nets), ("real_batch", 1 if real_batch is None else real_batch), ("epochs", epochs)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1.")
