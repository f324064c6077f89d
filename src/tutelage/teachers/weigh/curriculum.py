"""Curricula: weights from the student's own losses, by a written rule."""

from typing import Any

from torch import Tensor

from ... import curricula
from ...curricula import CurriculumFunction
from ...errors import ConfigError
from ...lesson import Batch, Lesson
from ...pacing import Pacing
from ...student import Student
from ...teacher import Teacher


class Curriculum(Teacher):
    """Weighs each example by a written function of its loss, a moving percentile of the losses, and progress.

    Args:
        v: a function of :mod:`tutelage.curricula`, one's own, or a learned :class:`tutelage.mentors.Mentor`:
            (loss (N,), threshold, progress) -> (N,) in [0, 1].
        **options: of :class:`tutelage.pacing.Pacing`: percentile (written curricula want 1 - noise rate), decay,
            burn_in, dropout, mode, bias_correction, interpolation, normalise, keep_positive, allow_empty, loss.

    Raises:
        ConfigError: for options outside their ranges, or dropout that leaves no row.

    Source: Jiang et al., "MentorNet", ICML 2018, sections 3 and 4.
    """

    def __init__(self, v: CurriculumFunction, **options: Any) -> None:
        super().__init__()
        self.v = v
        self.pacing = Pacing(**options)

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the batch with its given labels, weighted; the notes say how."""
        return self.pacing.lesson(batch, student, self.v)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Commit the moving percentile that the lesson was made with; return the threshold."""
        self.pacing.commit(lesson)
        return {"threshold": lesson.notes["threshold"]}


def self_paced(**options: Any) -> Curriculum:
    """Self-paced learning: only examples whose loss is at most the threshold count.

    Source: Kumar, Packer and Koller, "Self-paced learning for latent variable models", NeurIPS 2010.
    """
    return Curriculum(curricula.self_paced, **options)


class _WithGamma:
    """A curriculum function with its gamma, as a value that pickles."""

    def __init__(self, v: Any, gamma: float) -> None:
        if not gamma > 0:
            raise ConfigError(f"gamma is {gamma}; it must be above 0.")
        self.v, self.gamma = v, gamma

    def __call__(self, loss: Tensor, threshold: Tensor, progress: float) -> Tensor:
        result: Tensor = self.v(loss, threshold, progress, gamma=self.gamma)
        return result


def spcl(*, gamma: float = 1.0, **options: Any) -> Curriculum:
    """Self-paced curriculum learning, linear: the weight falls from 1 to 0 while the loss passes the threshold.

    Source: Jiang et al., "Self-paced curriculum learning", AAAI 2015.
    """
    return Curriculum(_WithGamma(curricula.spcl_linear, gamma), **({"decay": 0.0} | options))


def hard(**options: Any) -> Curriculum:
    """Hard example mining: only examples whose loss is at least the threshold count.

    Source: Shrivastava, Gupta and Girshick, "Training region-based object detectors with online hard example mining",
    CVPR 2016.
    """
    return Curriculum(curricula.hard, **({"decay": 0.0} | options))


def focal(*, gamma: float = 2.0, **options: Any) -> Curriculum:
    """Focal loss: examples that the student is sure of count little.

    Source: Lin et al., "Focal loss for dense object detection", ICCV 2017.
    """
    return Curriculum(_WithGamma(curricula.focal, gamma), **options)


def predefined(**options: Any) -> Curriculum:
    """The mixture that MentorNet PD imitates: all, then self-paced, then a linear ramp; with example dropout.

    Source: Jiang et al., "MentorNet: learning data-driven curriculum for very deep neural networks on corrupted
    labels", ICML 2018.
    """
    defaults: dict[str, Any] = {"burn_in": 0, "dropout": ((0.5, 17), (0.05, 83))}
    return Curriculum(curricula.predefined, **(defaults | options))
