"""MentorNet: weights by a learned curriculum."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...errors import ConfigError, ShapeError
from ...lesson import Batch, Lesson
from ...mentors import Mentor, MentorNetwork, Rows, Settings, fit_rows, shipped
from ...pacing import Pacing
from ...randomness import counter, stream
from ...student import Student
from ...teacher import Teacher

REFIT = {"steps": 400, "lr": 0.05}
"""How a mentor is fitted to the trusted examples of one moment."""


class MentorNet(Teacher):
    """Weighs each example by a mentor: ``v = sigmoid(g(l, l - threshold, e))``.

    The mentor is given, learned before from a written curriculum or from trusted labels; or, with ``update_at``, it is
    learned afresh at these times from the trusted examples of the moment: all weights are 1 until the first time, and
    the mentor's clock stands at the last one.

    Args:
        mentor: what weighs, copied; it brings its percentile, decay, burn-in and whether its clock stops. None: one
            that is learned at ``update_at``.
        fixed_time: stop the mentor's clock at ``burn_in``, or at this percent; None: as the mentor was made for.
        update_at: percents of training in 0..99, ascending, such as (21, 75).
        given: labels as given of the whole data set, int64 (size,), indexed as ``batch.index``; needed with
            ``update_at``: the trusted examples that come as validation then show which of them are wrong.
        network: of the mentors that are learned at ``update_at``: arguments of
            :class:`~tutelage.mentors.MentorNetwork`.
        **options: of :class:`tutelage.pacing.Pacing`, instead of the mentor's own.

    Raises:
        ConfigError: for options outside their ranges, or if there is not just one of a mentor and times to learn one.
        DataError: at an update, if there are fewer than 20 trusted examples, or all of one kind.

    Source: Jiang et al., "MentorNet: learning data-driven curriculum for very deep neural networks on corrupted
    labels", ICML 2018, algorithm 1. The update is in the paper, not in its published code.
    """

    given: Tensor | None
    log: Tensor

    def __init__(
        self,
        mentor: Mentor | None = None,
        *,
        fixed_time: bool | int | None = None,
        update_at: Sequence[int] = (),
        given: Tensor | None = None,
        network: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if mentor is None and not update_at:
            raise ConfigError("MentorNet has no mentor; pass one, or the percents of training to learn one: update_at.")
        if mentor is not None and update_at:
            raise ConfigError("MentorNet has a mentor, and update_at, where it learns one; pass only one of them.")
        if any(not 0 <= e <= 99 for e in update_at) or list(update_at) != sorted(set(update_at)):
            raise ConfigError(f"update_at is {tuple(update_at)}; it needs ascending percents of training, in 0..99.")
        if update_at and given is None:
            raise ConfigError("update_at needs given, the labels as given: they show which trusted examples are wrong.")
        settings = Settings() if mentor is None else mentor.settings
        mine = {"percentile": settings.percentile, "decay": settings.decay, "burn_in": settings.burn_in} | options
        self.pacing = Pacing(**mine)
        made_for = settings.burn_in if settings.fixed_time else False
        stops = made_for if fixed_time is None else fixed_time
        at = self.pacing.burn_in if isinstance(stops, bool) else stops
        settings = replace(settings, fixed_time=stops is not False, burn_in=at)
        net = MentorNetwork(**({"seed": 0} | (network or {}))) if mentor is None else copy.deepcopy(mentor.network)
        self.mentor = Mentor(net, settings, held=None if mentor is None else mentor.held)
        self.mentor.requires_grad_(False)
        self.update_at = tuple(update_at)
        self.register_buffer("given", given, persistent=False)
        self.register_buffer("log", torch.full((len(self.update_at), 3), torch.nan, dtype=torch.float64))

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the batch with its given labels, weighted; the notes say how."""
        return self.pacing.lesson(batch, student, self._weights)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Commit the moving percentile, and learn the mentor afresh if it is time; return the threshold."""
        self.pacing.commit(lesson)
        due = [k for k, e in enumerate(self.update_at) if lesson.notes["percent"] >= e]
        held = self.mentor.held
        if due and (held is None or held < self.update_at[due[-1]]):
            if validation is None:
                raise ConfigError("MentorNet learns from trusted examples; pass them as validation.")
            self._refit(due[-1], lesson, student, validation)
        return {"threshold": lesson.notes["threshold"]}

    def _weights(self, loss: Tensor, threshold: Tensor, progress: float) -> Tensor:
        if self.update_at and self.mentor.held is None:
            return torch.ones_like(loss)
        weights: Tensor = self.mentor(loss, threshold, progress)
        return weights

    @torch.no_grad()
    def _refit(self, k: int, lesson: Lesson, student: Student, trusted: Batch) -> None:
        """Learn a new mentor from the trusted examples as the student sees them now."""
        assert self.given is not None
        last = int(trusted.index.max())
        if last >= len(self.given):
            raise ShapeError(f"given has {len(self.given)} labels, but a trusted example has index {last}.")
        given = self.given[trusted.index]
        loss = self.pacing.loss(student.predict(trusted.x), given)
        e = int(lesson.notes["percent"])
        rows = Rows(
            loss,
            loss - lesson.notes["threshold"],
            torch.full_like(given, e),
            (given == trusted.y).to(loss.dtype),
            trusted.index,
        )
        old = self.mentor.network
        network, report = fit_rows(
            rows,
            seed=counter(stream(student.seed, "mentor"), k),
            form=old.form,
            time=old.time,
            bias_in_matrix=old.bias_in_matrix,
            **REFIT,  # type: ignore[arg-type]
        )
        old.load_state_dict(network.state_dict())
        self.mentor.held = e
        self.log[k] = torch.tensor([e, report.mean_absolute_error, report.agreement], dtype=torch.float64)


def mentornet_pd(**options: Any) -> MentorNet:
    """MentorNet PD: a mentor that learned the published mixture of curricula, with example dropout.

    Source: Jiang et al., "MentorNet: learning data-driven curriculum for very deep neural networks on corrupted
    labels", ICML 2018.
    """
    defaults: dict[str, Any] = {"percentile": 0.7, "burn_in": 0, "dropout": ((0.5, 17), (0.05, 83))}
    return MentorNet(shipped("predefined"), fixed_time=False, **(defaults | options))
