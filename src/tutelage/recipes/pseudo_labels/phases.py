"""What an arm does, phase by phase: each trains a student under a teacher, and leaves a network to the next."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ...lesson import Batch
from ...masks import FlexMatch, FreeMatch, Mask, SoftMatch
from ...rules import SGD, Adam, AdamW, Decay, Rate, Rule
from ...schedules import Cosine, Wait, WarmCosine
from ...semi_supervised import UDA
from ...student import Student
from ...teacher import Teacher
from ...teachers import MetaPseudoLabels, OfflinePseudoLabels, UnsupervisedDataAugmentation
from .arms import Arm
from .options import Chosen
from .setting import Setting
from .views import Role


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    Attributes:
        name: for records.
        steps: how many.
        make: the student and the teacher that begin it, from the network that the phase before left.
        batch: of a step.
        average: decay of the student's moving average, and whether it grows; None: the student itself is left.
    """

    name: str
    steps: int
    make: Callable[[nn.Module | None], tuple[Student, Teacher]]
    batch: Callable[[int], Batch]
    average: tuple[float, bool] | None = None


def phases(arm: Arm, setting: Setting, options: Chosen) -> list[Phase]:
    """Return the phases of an arm for one seed."""
    match arm.kind:
        case "alone":
            return [_alone(arm, setting, options)]
        case "offline":
            first = _alone(arm, setting, options)
            return [first, *(_offline(number, setting, options) for number in range(options.rounds))]
        case "taught":
            fine = [_finetuning(setting, options)] if options.finetune_steps else []
            return [_taught(arm, setting, options), *fine]


def _alone(arm: Arm, setting: Setting, options: Chosen) -> Phase:
    uda = consistency(options) if arm.consistent else None

    def make(_: nn.Module | None) -> tuple[Student, Teacher]:
        student = Student(setting.net(options.teacher_net, "teacher"), rule("teacher", options), seed=setting.seed)
        teacher = UnsupervisedDataAugmentation(
            uda,
            mask=adaptive(setting, options) if uda else None,
            supervised_weight=arm.supervised,
            label_smoothing=options.label_smoothing,
            tsa=_tsa(options),
        )
        return student, teacher

    def batch(step: int) -> Batch:
        if uda is not None:
            return setting.batch(step, options.steps, clean=False)
        labelled = setting.labelled(step, options.steps)
        return Batch(labelled.x, labelled.y, labelled.index, labelled.progress, labelled=labelled)

    return Phase("consistent" if uda else "supervised", options.steps, make, batch)


def _offline(number: int, setting: Setting, options: Chosen) -> Phase:
    def make(before: nn.Module | None) -> tuple[Student, Teacher]:
        assert before is not None
        teacher = OfflinePseudoLabels(
            torch.cat(list(answers(before, setting.clean_pool()))),
            torch.from_numpy(setting.pool).to(setting.device),
            hard=options.offline_labels == "hard",
            threshold=options.offline_threshold,
            balance=options.balance,
        )
        net = setting.net(options.student, f"offline {number}" if number else "student")
        return Student(net, rule("teacher", options), seed=setting.seed), teacher

    def batch(step: int) -> Batch:
        return setting.batch(step, options.steps, ("strong",), clean=False)

    return Phase(f"round {number + 1}", options.steps, make, batch)


def _taught(arm: Arm, setting: Setting, options: Chosen) -> Phase:
    uda = consistency(options)
    scalar, hard = arm.mode == "hard-scalar", arm.mode in ("hard-scalar", "hard-per-sample")

    def make(_: nn.Module | None) -> tuple[Student, Teacher]:
        student = Student(setting.net(options.student, "student"), rule("student", options), seed=setting.seed)
        teacher = MetaPseudoLabels(
            setting.net(options.teacher_net, "teacher"),
            rule("teacher", options),
            f"soft-{options.soft}" if arm.mode == "soft" else arm.mode,  # type: ignore[arg-type]
            meta_weight=arm.sign * (options.scalar_weight if scalar else options.meta_weight),
            supervised_weight=options.supervised_weight,
            temperature=options.temperature,
            label_view=options.label_view,
            student_view=options.student_view,
            uda=uda,
            mask=adaptive(setting, options) if uda else None,
            label_smoothing=options.label_smoothing,
            student_smoothing=options.student_smoothing,
            label_threshold=options.label_threshold,
            tsa=_tsa(options),
            **({"baseline": options.baseline, "credit": options.credit, "scale": options.scale} if scalar else {}),
            **({"sample": options.sample} if hard else {}),
            report_every=max(1, options.steps // 40),
        )
        return student, teacher

    used = {options.label_view, options.student_view} | ({"weak", "strong"} if uda else set())
    needed: tuple[Role, ...] = tuple(role for role in _VIEWS if role in used)

    def batch(step: int) -> Batch:
        return setting.batch(step, options.steps, needed, clean=arm.meta)

    average = (options.ema, options.ema_warm) if options.ema else None
    return Phase("taught", options.steps, make, batch, average)


_VIEWS: tuple[Literal["weak", "strong"], ...] = ("weak", "strong")


def _finetuning(setting: Setting, options: Chosen) -> Phase:
    steps = options.finetune_steps

    def make(before: nn.Module | None) -> tuple[Student, Teacher]:
        assert before is not None
        return Student(before, SGD(options.finetune_lr), seed=setting.seed), UnsupervisedDataAugmentation(None)

    def batch(step: int) -> Batch:
        rows = setting.labelled(options.steps + step, options.steps + steps, options.finetune_batch)
        return Batch(rows.x, rows.y, rows.index, rows.progress, labelled=rows)

    return Phase("fine-tuning", steps, make, batch)


def consistency(options: Chosen) -> UDA | None:
    """Return the consistency term that the options describe; None if its weight is 0."""
    if not options.uda_weight:
        return None
    ramp, on = options.uda_ramp, options.mask_on
    return UDA(options.uda_weight, options.uda_temperature, options.uda_threshold, ramp, on)


def adaptive(setting: Setting, options: Chosen) -> Mask | None:
    """Return a fresh mask that adapts; None for the fixed threshold."""
    classes = setting.source.num_classes
    match options.mask:
        case "flexmatch":
            return FlexMatch(classes, len(setting.source), options.uda_threshold, unlabelled=len(setting.pool))
        case "freematch":
            return FreeMatch(classes)
        case "softmatch":
            return SoftMatch(classes)
    return None


def rule(role: Literal["teacher", "student"], options: Chosen) -> Rule:
    """Return the update rule of the teacher or the student, with its rates over the steps."""
    kind, lr = getattr(options, f"{role}_rule"), getattr(options, f"{role}_lr")
    wait = options.wait if role == "student" else 0
    decay = Decay(getattr(options, f"{role}_weight_decay"), on="weights")
    rate = rates(options.rates, lr, options.steps, options.warmup, wait)
    if kind == "sgd":
        return SGD(rate, momentum=options.momentum, weight_decay=decay, nesterov=options.momentum > 0)
    return (AdamW if kind == "adamw" else Adam)(rate, weight_decay=decay)


def rates(kind: str, lr: float, steps: int, warmup: int, wait: int) -> Rate:
    """Return a learning rate over training; a waiting network joins a cosine late, and starts a warm one late."""
    match kind:
        case "cosine":
            return Wait(Cosine(lr, steps), wait, shift=False) if wait else Cosine(lr, steps)
        case "warm-cosine":
            return Wait(WarmCosine(lr, steps - wait, min(warmup, steps - wait - 1)), wait)
    return Wait(lambda step: lr, wait) if wait else lr


def answers(net: nn.Module, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yield the logits of a network in evaluation mode."""
    student = Student(net, SGD(0.0))
    for x in pieces:
        yield student.predict(x)


def _tsa(options: Chosen) -> Literal["linear", "exp", "log"] | None:
    found: Literal["linear", "exp", "log"] | None = None if options.tsa == "none" else options.tsa
    return found
