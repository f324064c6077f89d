"""Trajectory matching: a synthetic set that leads networks where training on the real data led experts.

From the weights ``w*_t`` of an expert after t epochs, N steps on the synthetic set at one learned rate
``eta = softplus(rho)`` should lead to where the expert was M epochs later::

    w_0 = w*_t,   w_{i+1} = w_i - eta grad_w CE(minibatch i of X; w_i)
    minimise over X, rho   J = || w_N - w*_{t+M} ||^2 / || w*_t - w*_{t+M} ||^2

Source: Cazenavette, Wang, Torralba, Efros and Zhu, "Dataset distillation by matching training trajectories", CVPR 2022,
equation 2. Their rate may become negative; ours cannot.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...distilled import DistilledSet, crowd, raw_of, step_sizes
from ...distilled.synthetic import SyntheticSet, entropy_of
from ...errors import ConfigError, DataError, NotFiniteError, ShapeError
from ...experts import Experts
from ...hypergradient import Decision, Fitting, Hypergradient, Problem, Recompute, Unrolled, check_tape
from ...hypergradient.problem import leafed, tensors
from ...lesson import Batch, Lesson
from ...nets.together import Each
from ...optimiser import Optimiser
from ...randomness import counter, permutation, stream
from ...ranks import mean_over_ranks
from ...rules import SGD, Adam, Rule
from ...siamese import Siamese
from ...student import Student
from ...teacher import Teacher

_BETAS = (0.5, 0.999)


def distance_to_target(
    weights: Mapping[str, Tensor], start: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> Tensor:
    """Return ``|| weights - target ||^2 / || start - target ||^2`` of K networks, (K,).

    Args:
        weights: by name, each (K, ...).
        start: where the expert was.
        target: where it came to.
    """
    return _squares(weights, target) / _squares(start, target)


def _squares(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([(a[name] - b[name]).square().flatten(1).sum(1) for name in a]).sum(0)


@dataclass
class Tesla(Hypergradient):
    """The derivative with the weights before every step held constant: memory of one step, approximate.

    For plain gradient descent, with ``G = sum_i g_i``::

        dJ/dx_i ~ [2 eta (target - start) + 2 eta^2 G]^T dg_i/dx_i / || start - target ||^2

    which leaves out what x_i does to later gradients. Both passes go forward. The published code repeats a tuple where
    it means to double it, and lacks the factor 2.

    Source: Cui, Wang, Si and Hsieh, "Scaling up dataset distillation to ImageNet-1K with constant memory", ICML 2023,
    section 4.2.
    """

    def differentiate(self, problem: Problem) -> Tensor:
        """Return the validation loss after the steps, having gone through each of them alone."""
        student = problem.student
        for t in range(problem.steps):
            student = problem.advance(t, student)
        loss, adjoint = problem.end(student)
        student = problem.student
        for t in range(problem.steps):
            here = leafed(student)
            there = here.after(problem.lesson(t, here))
            problem.pull(tensors(there), adjoint, steps=[t])
            student = there.at({name: p.detach() for name, p in there.params.items()})
        self.stats.states = 1
        self.stats.reruns = problem.steps
        return loss


class TrajectoryMatching(Teacher):
    """Learns images, and the rate to train on them with, by matching the trajectories of experts.

    K experts are matched at once, as one network; they see the same minibatches.

    Args:
        images: (S, n, ...), where the images start: real ones, as published.
        labels: class ids (n,) of each batch's rows.
        experts: to match.
        step_size: where the rate starts, > 0.
        inner_steps: N.
        epochs: M, of the expert.
        max_start: t is drawn from 0 to ``max_start - 1``.
        nets: K; the published code has 1.
        rule: of the images; default: Adam of rate 0.02. Published: ``SGD(1000.0, momentum=0.5)``.
        rate_rule: of rho; default: Adam of rate 0.02, whatever the images have. Published: ``SGD(1e-5, momentum=0.5)``
            of eta itself; of rho a rate of ``1e-5 / (1 - exp(-eta))^2`` moves eta as much: 0.1 at eta = 0.01.
        batch: rows of the synthetic set a step; None: all.
        siamese: changes each row of a step, and of a lesson, by itself; None: nothing does.
        hypergradient: ``Unrolled``, ``Recompute``, ``Fitting``, truncated or not, or, approximately, :class:`Tesla`;
            None: ``Fitting``, the graph of all steps while memory lasts.
        freeze_buffers: keep running statistics as those of ``experts.net``; networks that have some are refused
            otherwise.
        seed: of experts, epochs, orders and augmentation.

    Raises:
        ConfigError: for a step size that is not above 0, an option outside its range, more epochs or networks than the
            experts have, or a strategy that cannot be used here.
        DataError: for images that are not finite, or class ids below 0.
        ShapeError: for images of an integer type, labels that do not fit them, or several step sizes.
    """

    raw: Tensor

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        experts: Experts,
        *,
        step_size: float = 0.01,
        inner_steps: int = 20,
        epochs: int = 3,
        max_start: int = 25,
        nets: int = 4,
        rule: Rule | None = None,
        rate_rule: Rule | None = None,
        batch: int | None = None,
        siamese: Siamese | None = None,
        hypergradient: Hypergradient | None = None,
        freeze_buffers: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.hypergradient, self.decision = hypergradient or Fitting(), Decision()
        _check(self.hypergradient, inner_steps, epochs, max_start, nets, batch, experts)
        self.synthetic = SyntheticSet(images, labels, rule or Adam(0.02, betas=_BETAS))
        size = torch.as_tensor(step_size, dtype=images.dtype, device=images.device)
        if size.ndim:
            raise ShapeError(f"step_size has shape {tuple(size.shape)}; all steps have one rate, so give one number.")
        self.raw = nn.Parameter(raw_of(size))
        self.for_rate = Optimiser({"raw": self.raw}, rate_rule or Adam(0.02, betas=_BETAS))
        self.experts, self.inner_steps, self.epochs, self.max_start = experts, inner_steps, epochs, max_start
        self.nets, self.batch, self.siamese, self.seed = nets, batch, siamese, seed
        self.freeze_buffers, self._fits = freeze_buffers, False

    @property
    def distilled(self) -> DistilledSet:
        """What was learned so far, differentiable in it: a set to be trained on freely, best at :attr:`rate`."""
        return self.synthetic.distilled

    @property
    def rate(self) -> Tensor:
        """``eta``, the learned rate, a scalar."""
        return step_sizes(self.raw)

    @property
    def steps(self) -> int:
        """How many outer iterations were taken."""
        return self.synthetic.steps

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the minibatch of the synthetic set that the student's step stands at; the batch is not looked at.

        Notes: ``step_size``, the learned rate, for a student whose rule takes one.
        """
        made = self.synthetic.lesson(stream(self.seed, "lessons"), student.step, self.batch, self.siamese)
        return Lesson(made.x, made.target, made.weight, made.loss, {"step_size": self.rate.detach()})

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Take an outer iteration: draw experts and epochs, and descend the distance that the set leaves.

        Args:
            lesson: not looked at.
            student: not looked at: the architecture is that of the experts.
            validation: not looked at: all that is known of the real examples is in the experts.

        Returns:
            ``outer_loss``, J before the step, and ``step_size``, eta before it, scalars.

        Raises:
            ConfigError: for ``Unrolled`` if the graph of all steps does not fit the memory that is free.
            DataError: for an expert that does not move, or whose weights are not finite, or labels that experts lack.
            NotFiniteError: if the loss or its gradient is not finite; nothing has moved then.
        """
        size = self.rate.detach()
        loss, (images, rate) = self.gradients()
        self.synthetic.descend(loss, images)
        (rate,) = mean_over_ranks([rate])
        self.for_rate.step({"raw": self.raw}, [torch.sigmoid(self.raw.detach()) * rate])
        return {"outer_loss": loss, "step_size": size}

    def gradients(self) -> tuple[Tensor, list[Tensor]]:
        """Return J, a mean over networks, and its derivatives in the images and in the rate ``eta``.

        Raises:
            ConfigError, DataError, NotFiniteError: as :meth:`learn`.
        """
        start, target = self._segment()
        size = self.rate.detach().requires_grad_()
        key = counter(stream(self.seed, "dropout of networks"), self.steps)
        student = crowd(self.experts.net, start, SGD(lr=size), freeze_buffers=self.freeze_buffers).seeded(key)
        lessons = self._lessons()

        def loss(student: Student) -> Tensor:
            weights = {name: student.params.get(f"net.{name}", value) for name, value in start.items()}
            return distance_to_target(weights, start, target).mean()

        if isinstance(self.hypergradient, Unrolled) and not self._fits:
            check_tape(student, lessons, self.hypergradient.truncate)
            self._fits = True
        try:
            with self.decision.kept(self.hypergradient):
                return self.hypergradient(student, lessons, loss, [self.synthetic.images, size])
        except NotFiniteError as error:
            raise NotFiniteError(
                f"{error} The step size is {float(size.detach()):.3g}: start it lower, or lower the rate of its rule."
            ) from error

    def _segment(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Where K experts were, and where they came to."""
        key = counter(stream(self.seed, "experts"), self.steps)
        chosen = torch.from_numpy(permutation(counter(key, 0), len(self.experts))[: self.nets])
        begin = torch.tensor([(counter(key, 1, k) >> 32) * self.max_start >> 32 for k in range(self.nets)])
        like = self.synthetic.images
        start, target = (
            {name: value.to(like.device, like.dtype) for name, value in self.experts.at(chosen, epoch).items()}
            for epoch in (begin, begin + self.epochs)
        )
        self._check_segment(start, target, chosen.tolist(), begin.tolist())
        return start, target

    def _check_segment(
        self, start: Mapping[str, Tensor], target: Mapping[str, Tensor], chosen: list[int], begin: list[int]
    ) -> None:
        still = _squares(start, target) == 0
        finite = [value.isfinite().flatten(1).all(1) for side in (start, target) for value in side.values()]
        lost = ~torch.stack(finite).all(0)
        for k in torch.nonzero(still | lost).flatten().tolist():
            span = f"from epoch {begin[k]} to {begin[k] + self.epochs}"
            if lost[k]:
                raise DataError(f"expert {chosen[k]} has weights that are not finite {span}: train it at a lower rate.")
            raise DataError(
                f"expert {chosen[k]} does not move {span}: train experts at a higher rate, or start earlier "
                "(max_start)."
            )

    def _lessons(self) -> list[Lesson]:
        """N minibatches for all networks together; one value where they are all the same."""
        key, loss = counter(stream(self.seed, "inner training"), self.steps), Each(entropy_of(self.synthetic.classes))
        whole = self.siamese is None and (self.batch is None or self.batch >= len(self.synthetic.examples()[0]))
        count = 1 if whole else self.inner_steps
        made = [self.synthetic.lesson(key, t, self.batch, self.siamese) for t in range(count)]
        lessons = [Lesson(each.x, each.target, each.weight, loss) for each in made]
        return lessons * self.inner_steps if whole else lessons


def _check(
    hypergradient: Hypergradient,
    inner_steps: int,
    epochs: int,
    max_start: int,
    nets: int,
    batch: int | None,
    experts: Experts,
) -> None:
    if not isinstance(hypergradient, (Unrolled, Recompute, Fitting, Tesla)):
        raise ConfigError(
            f"{type(hypergradient).__name__} cannot match trajectories: the weights after a few steps are no "
            "stationary point, and there are many images; use Unrolled, Recompute or Tesla."
        )
    sizes = {"inner_steps": inner_steps, "epochs": epochs, "max_start": max_start, "nets": nets, "batch": batch}
    for name, value in sizes.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1.")
    if max_start - 1 + epochs > experts.epochs:
        raise ConfigError(
            f"epochs {epochs} from a start of up to {max_start - 1} need experts of {max_start - 1 + epochs} epochs, "
            f"but these have {experts.epochs}: train them longer, or lower max_start."
        )
    if nets > len(experts):
        raise ConfigError(f"{nets} experts an outer iteration, but there are {len(experts)}: add some, or lower nets.")
