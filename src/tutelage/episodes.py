"""Episodes: students from fresh initialisations, one after another, for a teacher that learns from whole runs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from .errors import ConfigError
from .evaluation import accuracy
from .lesson import Batch, Lesson
from .student import Student
from .teachers import KeepMask
from .training import FiniteGuard, train


class Episode(NamedTuple):
    """What happened in one episode.

    Attributes:
        number: counted from 0 over the teacher's life.
        reached: batches used until the student was good enough; None: it never was.
        batches: batches used in all.
        steps: lessons that the student studied; fewer than batches where kept examples are gathered.
        accuracy: best on the held-out examples.
        kept: share of the examples that the teacher kept.
        metrics: of the teacher's update: ``return``, ``baseline``, ``gradient_norm``.
    """

    number: int
    reached: int | None
    batches: int
    steps: int
    accuracy: float
    kept: float
    metrics: dict[str, float]


def episodes(
    teacher: KeepMask,
    student: Callable[[int], Student],
    batches: Callable[[int], Iterable[Batch]],
    held_out: Batch,
    *,
    t_max: int,
    tau: float = 0.8,
    every: int = 1,
    accumulate: int | None = None,
    patience: int | None = 10,
) -> Iterator[Episode]:
    """Train students until they are good enough, and let the teacher learn from how long each took.

    Logging, checkpoints and other reasons to stop are the caller's ``for`` body. Where the teacher stands is in its
    ``state_dict``: with a teacher that was saved in this body, the next call goes on with the same bytes.

    Args:
        teacher: changes at the end of each episode.
        student: number of the episode -> a student from a fresh initialisation.
        batches: number of the episode -> what to teach from; their progress is set to the share of ``t_max``.
        held_out: trusted examples, neither trained on nor used for the final figure.
        t_max: most batches of an episode, T.
        tau: accuracy on the held-out examples, in (0, 1], that is good enough.
        every: batches between two looks at the held-out examples.
        accumulate: gather kept examples over batches until there are this many, and study them in one lesson, as a
            published re-implementation does with 128; the time that an episode took is counted in batches all the same.
            None: every batch is a lesson.
        patience: stop after so many episodes in a row whose return was no better than the best; None: go on for ever.

    Raises:
        ConfigError: for options outside their ranges, or if there are no batches.
        NotFiniteError: if a loss is NaN or infinite.

    Source: Fan, Tian, Qin, Li and Liu, "Learning to teach", ICLR 2018.
    """
    counts = {"t_max": t_max, "every": every, "accumulate": accumulate, "patience": patience}
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ConfigError(f"{name} of the episodes is {count}; it must be at least 1.")
    if not 0 < tau <= 1:
        raise ConfigError(f"tau is {tau}; it is an accuracy, in (0, 1].")
    while patience is None or int(teacher.stale) < patience:
        number = int(teacher.episode)
        teacher.begin_episode()
        source = (replace(b, progress=t / t_max) for t, b in enumerate(islice(batches(number), t_max)))
        ran = _ran(teacher, student(number), source, held_out, tau, every, accumulate)
        yield Episode(number, *ran, teacher.end_episode(ran[0], t_max))


def _ran(
    teacher: KeepMask,
    student: Student,
    batches: Iterable[Batch],
    held_out: Batch,
    tau: float,
    every: int,
    accumulate: int | None,
) -> tuple[int | None, int, int, float, float]:
    """Run one episode up to the teacher's update; return all of its :class:`Episode` but number and metrics."""
    used = kept = shown = 0
    best, looked_at = 0.0, 0
    for used, lesson in enumerate(_lessons(teacher, student, batches, accumulate), 1):
        kept += int(lesson.notes["kept"].sum())
        shown += len(lesson)
        if used % every == 0 and student.step != looked_at:
            looked_at = student.step
            found = accuracy(student.predict(held_out.x), held_out.y)
            teacher.measured(found)
            best = max(best, found)
            if found >= tau:
                return used, used, student.step, best, kept / shown
    if not used:
        raise ConfigError("an episode had no batches; batches must return new ones for each episode.")
    return None, used, student.step, best, kept / shown


def _lessons(teacher: KeepMask, student: Student, batches: Iterable[Batch], accumulate: int | None) -> Iterator[Lesson]:
    """Teach batch by batch and yield what was taught; the student studies each lesson, or what was kept of several."""
    if accumulate is None:
        yield from (step.lesson for step in train(student, teacher, batches))
        return
    guard, rows = FiniteGuard(), list[tuple[Tensor, Tensor]]()
    for batch in batches:
        lesson = teacher.teach(batch, student)
        teacher.learn(lesson, student, None)
        kept = lesson.notes["kept"]
        rows.append((lesson.x[kept], lesson.target[kept]))
        if sum(len(x) for x, _ in rows) >= accumulate:
            x, target = (torch.cat(parts) for parts in zip(*rows))
            rows.clear()
            number, lr = student.step, student.lr
            studied = student.study(Lesson(x, target, lesson.weight.new_ones(len(x)), lesson.loss))
            guard.watch(number, teacher, lr, studied["loss"])
        yield lesson
