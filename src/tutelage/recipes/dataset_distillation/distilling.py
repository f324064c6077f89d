"""A distillation under way with one seed: outer steps, watched on training rows, kept so that it goes on at any."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...checkpoint import with_prefix, without_prefix
from ...distilled import DistilledSet, accuracies_along
from ...errors import CheckpointError, NotFiniteError, TutelageError
from ...lesson import Batch
from ...rules import SGD
from ...student import Student
from ...teacher import Teacher
from ...teachers import TrajectoryMatching
from ..pieces import Desk, Left, Record, Tensors
from .networks import WATCHED, Networks, some
from .rows import Domain

_WATCHED_ROWS = 1000


class Distilling:
    """Outer steps of one seed.

    Args:
        seed: for records.
        teacher: makes the images; has ``distilled``.
        domain: of the real rows.
        real: what ``learn`` is given.
        networks: their architecture, and those that the set is watched with.
        steps: in all.
        evaluations: how often it is watched.
        keeps: whether images are kept whenever it is watched.

    Attributes:
        done: outer steps taken.
        records: one an evaluation: outer step, mean outer loss since the last, accuracy on training rows (None
            where networks diverge).
    """

    def __init__(
        self,
        seed: int,
        teacher: Teacher,
        domain: Domain,
        real: Batch,
        networks: Networks,
        *,
        steps: int,
        evaluations: int,
        keeps: bool,
    ) -> None:
        self.seed, self.teacher, self.real, self.networks = seed, teacher, real, networks
        self.steps, self.every, self.keeps = steps, max(1, steps // evaluations), keeps
        self.student = Student(networks.net, SGD(lr=1.0))
        rows = slice(0, _WATCHED_ROWS)
        self.watched = domain.tuning[0][rows], domain.tuning[1][rows]
        self.done = 0
        self.records: list[Record] = []
        self._losses: list[Tensor] = []
        self._frames: list[tuple[Tensor, Tensor]] = []
        self._keep_frame()

    def step(self) -> Record | None:
        """Take an outer step; return a record if the set was watched after it.

        Raises:
            NotFiniteError: if the outer loss is not finite; nothing has moved then.
        """
        batch = Batch(self.real.x[:1], self.real.y[:1], self.real.index[:1], self.done / self.steps)
        try:
            lesson = self.teacher.teach(batch, self.student)
            metrics = self.teacher.learn(lesson, self.student, self.real)
        except NotFiniteError as error:
            raise NotFiniteError(f"outer step {self.done + 1}: {error}") from error
        self._losses.append(metrics["outer_loss"].detach().cpu())
        self.done += 1
        if self.done % self.every and self.done < self.steps:
            return None
        return self._watch()

    @property
    def distilled(self) -> DistilledSet:
        """What was learned so far, without graph."""
        found = self.teacher.distilled
        assert isinstance(found, DistilledSet)  # as of every teacher that synthesises
        return DistilledSet(found.images.detach(), found.labels.detach(), found.step_sizes.detach(), found.epochs)

    def _watch(self) -> Record:
        distilled, loss = self.distilled, float(torch.stack(self._losses).double().mean())
        if not math.isfinite(loss):
            raise NotFiniteError(f"the outer loss is {loss} after {self.done} outer steps.")
        record: Record = {"arm": "distilled", "seed": self.seed, "step": self.done, "outer_loss": loss}
        if distilled.applications:
            record |= {"train_accuracy": self._accuracy(distilled), "step_sizes": distilled.step_sizes.tolist()}
        self._losses = []
        self.records.append(record)
        self._keep_frame()
        return record

    def _accuracy(self, distilled: DistilledSet) -> float | None:
        """On training rows; None where a network diverges: a later set may do better."""
        nets = self.networks
        try:
            along = accuracies_along(
                distilled, nets.net, some(nets.tried, 0, WATCHED), *self.watched, freeze_buffers=nets.frozen
            )
        except NotFiniteError:
            return None
        return float(along[-1].mean())

    def _keep_frame(self) -> None:
        if self.keeps:
            distilled = self.distilled
            self._frames.append((distilled.images.cpu().clone(), distilled.step_sizes.cpu().clone()))

    def state(self) -> Left:
        """Return facts and tensors from which :meth:`restore` goes on."""
        tensors = with_prefix("teacher", self.teacher.state_dict()) | self.frames()
        if self._losses:
            tensors["losses"] = torch.stack(self._losses)
        return {"done": self.done, "records": self.records}, tensors

    def restore(self, tensors: Tensors, facts: Record) -> None:
        """Take over what :meth:`state` gave.

        Raises:
            KeyError, RuntimeError, TutelageError: if it does not fit.
        """
        self.teacher.load_state_dict(without_prefix("teacher", tensors))
        self.done, self.records = int(facts["done"]), list(facts["records"])
        self._losses = list(tensors["losses"]) if "losses" in tensors else []
        if self.keeps:
            self._frames = list(zip(tensors["frames"], tensors["frame_step_sizes"]))

    def frames(self) -> Tensors:
        """Return images (F, S, n, ...) and step sizes (F, T) over optimisation, the start first; {} if not kept."""
        if not self._frames:
            return {}
        images, sizes = zip(*self._frames)
        return {"frames": torch.stack(images), "frame_step_sizes": torch.stack(sizes)}

    def left(self) -> Left:
        """Return what a finished distillation leaves: records; the set, and frames."""
        distilled = self.distilled
        tensors = {"images": distilled.images, "labels": distilled.labels, "step_sizes": distilled.step_sizes}
        rate = self.teacher.rate.detach() if isinstance(self.teacher, TrajectoryMatching) else None
        facts = {"records": self.records, "epochs": distilled.epochs, "rate": None if rate is None else float(rate)}
        return facts, tensors | self.frames()


def distil(make: Callable[[], Distilling], desk: Desk) -> Left:
    """Take all outer steps of a seed, from its checkpoint if there is one.

    Raises:
        CheckpointError: if that does not fit.
        NotFiniteError: see :meth:`Distilling.step`.
    """
    running = make()
    if desk.saved is not None:
        try:
            running.restore(*desk.saved)
        except (KeyError, ValueError, RuntimeError, IndexError, TutelageError) as error:
            raise CheckpointError(f"{desk.unfit} ({str(error).splitlines()[0]}).") from error
    while running.done < running.steps:
        record = running.step()
        if record is not None:
            desk.record([record])
        desk.advance()
        desk.maybe_save(running.state)
    return running.left()


def set_of(tensors: Tensors, facts: Record, device: torch.device) -> DistilledSet:
    """Return the set that a finished distillation left."""
    images, labels, sizes = (tensors[name].to(device) for name in ("images", "labels", "step_sizes"))
    return DistilledSet(images, labels, sizes, int(facts["epochs"]))
