"""The arms: ways to teach one student, each as the stages that it takes."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch

from ...feature_losses import AttentionTransfer, HintRegression
from ...frozen import Frozen
from ...losses import cross_entropy
from ...peers import train_peers
from ...rules import SGD
from ...soft_targets import (
    DIST,
    DecoupledDistillation,
    HardLabels,
    KnowledgeDistillation,
    LogitMatching,
    Noise,
    StandardisedDistillation,
    TargetLoss,
)
from ...student import Student
from ...teacher import Teacher
from ...teachers import Distillation, Hints, Uniform
from ...teachers.label.hints import hint_sizes
from ..distilling import Given, Networks, Peers, Setting, Stage
from ..distilling.options import Chosen
from ..distilling.preparing import steps_of, student_rule
from ..distilling.students import student_stage, students_stream, teacher_stage
from .asking import Teachers
from .following import following, order_of, together
from .options import pairs_of

Make: TypeAlias = Callable[[Setting, Networks], Teacher]

ABOUT = {
    "scratch": "the student by its labels alone.",
    "label-smoothing": "labels smoothed: a teacher that is always uniform.",
    "hard-labels": "the teacher's most probable class as label.",
    "kd": "knowledge distillation: the teacher's probabilities at a temperature, and the labels (Hinton 2015).",
    "kd-t1": "the same at temperature 1.",
    "logits": "logit matching: squared differences of logits (Ba and Caruana 2014).",
    "noisy": "a teacher whose answers are disturbed (Sau and Balasubramanian 2016).",
    "dkd": "decoupled distillation: target class and the others weighed apart (Zhao et al. 2022).",
    "dist": "correlations of probabilities within rows and within classes (Huang et al. 2022).",
    "lskd": "distillation of standardised logits (Sun et al. 2024).",
    "born-again": "networks of its own kind, each taught by the one before (Furlanello et al. 2018).",
    "born-again-ensemble": "the mean answer of all generations.",
    "cwtm": "labels weighed by how sure the teacher is (Furlanello et al. 2018).",
    "dkpp": "the teacher's answers with all but the largest permuted (Furlanello et al. 2018).",
    "mutual": "peers that teach each other, without a teacher (Zhang et al. 2018).",
    "ensemble": "knowledge distillation from several teachers together.",
    "hints": "layers inside the teacher, regressed (FitNets; Romero et al. 2015).",
    "attention": "attention maps of layers inside the teacher (Zagoruyko and Komodakis 2017).",
}
"""What each arm is, by name."""


def stages(names: tuple[str, ...], options: Chosen, rows: int, all_rows: int, source: Teachers) -> list[Stage]:
    """Return the stages of arms, and those that they may need.

    Args:
        names: of the arms.
        options: with nothing left to choose.
        rows: how many the student studies.
        all_rows: how many the teacher is trained on.
        source: asks the teacher.
    """
    found = [teacher_stage(options, all_rows, class_map=order_of(options))]
    for number in range(2, options.teachers_in_ensemble + 1) if "ensemble" in names else ():
        found.append(teacher_stage(options, all_rows, f"teacher-{number}", number=number))
    if {"born-again", "born-again-ensemble"} & set(names):
        found += _generations(options, rows)
    for name in names:
        if name not in ("born-again", "born-again-ensemble"):
            found.append(_arm(name, options, rows, source))
    return found


def _arm(name: str, options: Chosen, rows: int, source: Teachers) -> Stage:
    about = ABOUT[name]
    match name:
        case "scratch":
            return student_stage(options, rows, name, about, lambda s, n: Uniform())
        case "label-smoothing":
            smooth = partial(cross_entropy, label_smoothing=options.smoothing)
            return student_stage(options, rows, name, about, lambda s, n: Uniform(loss=smooth))
        case "mutual":
            return _mutual(options, rows)
        case "hints" | "attention":
            return _inside(name, options, rows)
    teachers = ["teacher"]
    if name == "ensemble":
        teachers += [f"teacher-{number}" for number in range(2, options.teachers_in_ensemble + 1)]
    make = _distilled(name, options, rows, source, tuple(teachers))
    at = {"kd-t1": 1.0, "dkd": options.dkd_temperature, "dkpp": 1.0}.get(name, options.temperature)
    least = options.hard_threshold if name == "hard-labels" else 0.0
    facts = following(options, rows, tuple(teachers), at, least)
    return student_stage(options, rows, name, about, make, needs=tuple(teachers), facts=facts)


def _distilled(name: str, options: Chosen, rows: int, source: Teachers, teachers: tuple[str, ...]) -> Make:
    """Return what makes the teacher of an arm that asks for logits."""
    noise = _noise(options) if name == "noisy" else None

    def make(setting: Setting, networks: Networks) -> Teacher:
        frozen = together(networks, teachers, options)
        return Distillation(
            frozen if name in source.live else source.asked(setting, frozen, teachers),
            loss_of(name, options, partial(_spread, setting, frozen, rows)),
            noise=noise,
            confidence_weighting=name == "cwtm",
            permute=name == "dkpp",
            threshold=options.hard_threshold or None if name == "hard-labels" else None,
            warm_up=options.dkd_warm_up if name == "dkd" else 0.0,
        )

    return make


def loss_of(name: str, options: Chosen, spread: Callable[[], float]) -> TargetLoss:
    """Return the loss of an arm; ``spread``: finds the standard deviation of the teacher's logits."""
    kd = KnowledgeDistillation(options.temperature, options.ce_weight, options.kd_weight)
    match name:
        case "hard-labels":
            return HardLabels()
        case "kd-t1":
            return KnowledgeDistillation(1.0, options.ce_weight, options.kd_weight)
        case "dkd":
            return DecoupledDistillation(options.dkd_temperature, options.dkd_target_weight, options.dkd_others_weight)
        case "dist":
            return DIST(options.dist_beta, options.dist_gamma, options.dist_temperature)
        case "lskd":
            return StandardisedDistillation(options.lskd_temperature, options.lskd_ce_weight, options.lskd_weight)
        case "cwtm":
            return KnowledgeDistillation(ce_weight=1.0, kd_weight=0.0)
        case "dkpp":
            return KnowledgeDistillation(1.0, 1.0, 1.0)
    if name == "logits" or (name == "noisy" and options.noise_loss == "logits"):
        return LogitMatching(
            options.logits_scale,
            options.logits_center,
            options.logits_normalise,
            options.logits_ce_weight,
            std=spread() if options.logits_normalise == "teacher_std" else None,
        )
    return kd


def _noise(options: Chosen) -> Noise:
    return Noise(options.noise_probability, options.noise_sigma, options.noise_mode, options.noise_stage)


def _spread(setting: Setting, live: Frozen, rows: int) -> float:
    """The standard deviation of the teacher's logits over the rows that the student studies."""
    x, _ = setting.clean(setting.order[:rows])
    return float(torch.cat([live.answers(piece) for piece in torch.split(x, 1024)]).std())


def _generations(options: Chosen, rows: int) -> list[Stage]:
    """One by labels, then each taught by the one before; the last one begins as the student of every arm."""
    born: list[Stage] = [
        student_stage(
            options, rows, "generation-0", "the student by its labels, from a start of its own.",
            lambda s, n: Uniform(), role="generation 0",
        )
    ]  # fmt: skip
    last = options.generations
    for number in range(1, last + 1):
        before = f"generation-{number - 1}"

        def make(setting: Setting, networks: Networks, before: str = before) -> Teacher:
            return Distillation(Frozen(networks[before]), KnowledgeDistillation(1.0, 1.0, 1.0))

        name = "born-again" if number == last else f"generation-{number}"
        about = ABOUT["born-again"] if number == last else f"the student, taught by {before}."
        role = "student" if number == last else f"generation {number}"
        facts = following(options, rows, (before,), 1.0)
        born.append(student_stage(options, rows, name, about, make, needs=(before,), role=role, facts=facts))
    names = [stage.name for stage in born]
    together = Given(
        name="born-again-ensemble",
        about=ABOUT["born-again-ensemble"],
        needs=tuple(names),
        take=lambda setting, networks: [net for name in names for net in networks[name]],
        like=lambda setting: [setting.net(options.student, "student") for _ in names],
    )
    return [*born, together]


def _mutual(options: Chosen, rows: int) -> Stage:
    steps = steps_of(options, rows, options.batch_size)
    others = options.peer_net or options.student
    return Peers(
        name="mutual",
        about=ABOUT["mutual"],
        steps=steps,
        begins=lambda setting: [
            setting.net(others if k else options.student, f"peer {k}" if k else "student") for k in range(options.peers)
        ],
        rule=student_rule(options, steps),
        train=partial(train_peers, order=options.peer_order),
        batch=lambda setting, _: students_stream(setting, options, rows),
    )


def _inside(name: str, options: Chosen, rows: int) -> Stage:
    pairs = pairs_of(options.hint_layers)
    steps = steps_of(options, rows, options.batch_size)
    term = HintRegression(options.hint_weight) if name == "hints" else AttentionTransfer(options.attention_weight)
    kd = KnowledgeDistillation(options.temperature, options.ce_weight, options.kd_weight)

    def make(setting: Setting, networks: Networks) -> Teacher:
        source = together(networks, ("teacher",), options)
        x, _ = setting.clean(setting.order[:4])
        student = Student(setting.net(options.student, "student"), SGD(0.0))
        sizes = hint_sizes(source, student, pairs, x)
        loss = kd if options.hint_loss == "kd" else None
        return Hints(
            source, pairs, (term,), sizes=sizes, loss=loss, rule=student_rule(options, steps), seed=setting.seed
        )

    facts = following(options, rows, ("teacher",), options.temperature)
    return student_stage(options, rows, name, ABOUT[name], make, needs=("teacher",), facts=facts, stack=False)
