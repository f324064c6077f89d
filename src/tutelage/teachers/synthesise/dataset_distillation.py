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
from ...errors import ConfigError, NotFiniteError, unknown
from ...hypergradient import Fitting, Hypergradient, Recompute, Unrolled, check_tape
from ...lesson import Batch, Lesson
from ...losses import cross_entropy
from ...nets.together import Each, How, Together, check_stateless, frozen, perceptron
from ...optimiser import Optimiser
from ...randomness import counter, hashed_tensor, integer_tensor, stream
from ...rules import SGD, Adam, Rate, RuleState
from ...starts import Starts
from ...student import Student, mean_over_ranks
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
        labels: class ids (n,) of each batch's rows, or probabilities (S, n, C) to start soft labels from.
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
        freeze_buffers: keep running statistics as they are; networks that have some are refused otherwise.
        seed: of the real batches.

    Raises:
        ConfigError: for a step size that is not above 0, an option outside its range, or a strategy that cannot be
            used here.
        ShapeError: for labels that do not fit the images.
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
        applications = len(images) * epochs
        sizes = torch.as_tensor(step_size, dtype=images.dtype).expand(applications)
        self.images = nn.Parameter(images.detach().clone())
        self.raw = nn.Parameter(raw_of(sizes).to(images.device))
        if labels.is_floating_point():
            self.labels = nn.Parameter(labels.detach().clamp_min(1e-6).log())
        else:
            self.register_buffer("labels", labels.detach().clone())
        _ = self.distilled  # refuses parts that do not fit
        self.for_images = Optimiser(self._pictures(), Adam(lr_images, betas=betas))
        self.for_steps = Optimiser({"raw": self.raw}, Adam(lr_steps, betas=betas))
        self._worker: Student | None = None
        self._outer: OuterStep | None = None
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
            ConfigError: without real examples.
            NotFiniteError: if the loss or its gradient is not finite; nothing has moved then.
        """
        loss, gradients = self.gradients(student, validation)
        *pictures, sizes = mean_over_ranks(gradients)
        self.for_images.step(self._pictures(), pictures)
        self.for_steps.step({"raw": self.raw}, [torch.sigmoid(self.raw.detach()) * sizes])
        return {"outer_loss": loss}

    def gradients(self, student: Student, validation: Batch | None) -> tuple[Tensor, list[Tensor]]:
        """Return J and its derivatives in the images, in soft labels if there are any, and in the step sizes ``eta``.

        Raises:
            ConfigError, NotFiniteError: as :meth:`learn`.
        """
        if validation is None or not len(validation):
            raise ConfigError("DatasetDistillation.learn needs real examples: pass them as validation.")
        real = self._real(validation)
        sizes = step_sizes(self.raw.detach()).requires_grad_()
        distilled = DistilledSet(self.images, self.labels, sizes, self.epochs)
        wrt = [*self._pictures().values(), sizes]
        try:
            return self._averaged(student, distilled, real, wrt)
        except NotFiniteError as error:
            rates = named_rates(sizes.tolist())
            raise NotFiniteError(f"{error} Step sizes are {rates}: start them lower, or lower lr_steps.") from error

    def _averaged(
        self, student: Student, distilled: DistilledSet, real: Batch, wrt: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        if self.engine == "compile":
            return self._compiled(student, distilled, real)
        how = self._how(student, real)
        lessons = distilled.lessons(cross_entropy if how is None else Each(cross_entropy))

        def loss(student: Student) -> Tensor:
            logits = student.logits(real.x)
            if how is None:
                return cross_entropy(logits, real.y).mean()
            return Each(cross_entropy)(logits, real.y).mean() / self.nets

        rule = SGD(lr=distilled.step_sizes)
        views = [view.with_rule(rule).at({}, RuleState(0, {})) for view in self._views(student, how)]
        if isinstance(self.hypergradient, Unrolled) and not self._fits:
            check_tape(views[0], lessons, self.hypergradient.truncate)
            self._fits = True
        found = [self.hypergradient(view, lessons, loss, wrt) for view in views]
        count = len(found)
        if count == 1:
            return found[0]
        total = torch.stack([value for value, _ in found]).mean()
        return total, [torch.stack(parts).sum(0) / count for parts in zip(*(gradients for _, gradients in found))]

    def _compiled(self, student: Student, distilled: DistilledSet, real: Batch) -> tuple[Tensor, list[Tensor]]:
        if self._outer is None:
            self._outer = OuterStep(student.architecture, freeze_buffers=self.freeze_buffers)
        return self._outer(distilled, self._weights(student), real.x, real.y)

    def _weights(self, student: Student) -> dict[str, Tensor]:
        """Where this outer step's networks start, by name, each (K, ...)."""
        if self.starts is None:
            return {name: value.detach().unsqueeze(0) for name, value in student.net.named_parameters()}
        drawn = self.starts.draw(self.steps, self.nets)
        return {name: value.to(self.images.device, self.images.dtype) for name, value in drawn.items()}

    def _views(self, student: Student, how: How | None) -> list[Student]:
        """The students to differentiate through: one that holds K networks, or K of one each."""
        if self.starts is None:
            return [student.at({})]
        weights = self._weights(student)
        key = counter(stream(self.seed, "dropout of the students"), self.steps)
        if how is not None:
            worker = self._together(student.architecture, weights, how)
            return [_standing(worker, {f"net.{name}": value for name, value in weights.items()}, key)]
        worker = self._frozen(student) if self.freeze_buffers else student
        check_stateless(worker.architecture, freeze_buffers=self.freeze_buffers)
        alone = ({name: value[k] for name, value in weights.items()} for k in range(self.nets))
        return [_standing(worker, own, counter(key, k)) for k, own in enumerate(alone)]

    def _together(self, net: nn.Module, weights: dict[str, Tensor], how: How) -> Student:
        """A student that holds K networks; made once."""
        if self._worker is None:
            together = Together(net, weights, how=how, freeze_buffers=self.freeze_buffers)
            self._worker = Student(together, SGD(lr=1.0))
        return self._worker

    def _frozen(self, student: Student) -> Student:
        """The same student with running statistics as they are; made once."""
        if self._worker is None:
            self._worker = Student(frozen(student.net), SGD(lr=1.0))
        return self._worker

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
            rows = integer_tensor(draws, len(validation)).to(validation.x.device)
            batch = Batch(validation.x[rows], validation.y[rows], validation.index[rows], validation.progress)
        return batch if self.objective is None else self.objective(batch)

    def _pictures(self) -> dict[str, Tensor]:
        soft = {"labels": self.labels} if self.labels.is_floating_point() else {}
        return {"images": self.images, **soft}


def _standing(student: Student, weights: dict[str, Tensor], seed: int) -> Student:
    """A view of a student with these weights, as far as it trains them."""
    own = {name: value.requires_grad_() for name, value in weights.items() if name in student.params}
    return student.at(own).seeded(seed)


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
