"""Deep interactions: does a teacher weigh better that looks inside the student?

Arms: plain training; teachers that learn from clean validation rows how much each example counts, by the loss alone
(Meta-Weight-Net), by what can be seen from outside (surface), or by the student's features as well (deep, bilinear);
gradient agreement without a learned teacher (L2RW); and the honest rows beside them: the validation rows alone, early
stopping on them, the rows with right labels alone, all rows with right labels.

Validation rows are held out of training, and all arms take as many steps. Learned teachers are kept; ``-frozen`` arms
and ``--teacher-from`` use them on a student of another initialisation, without their learning.

Source: Fan et al., "Learning to teach with deep interactions", 2020; Shu et al., "Meta-Weight-Net", NeurIPS 2019; Ren
et al., "Learning to reweight examples for robust deep learning", ICML 2018.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError, DataError
from ..runs import RunFolder
from ..teacher import Teacher
from ..teachers import Uniform
from . import learned, noisy_labels, schooling
from .arms import Arm
from .conclusion import conclude, too_slow
from .experiment import Setting
from .learned import KINDS, TRANSFERRED
from .naming import full
from .options import Options
from .outcome import Outcome
from .plan import Plan, Recipe
from .schedule import Schedule
from .trajectory import Trajectory, Watcher
from .weighing import ARMS as WEIGHING
from .weighing import CURRICULA
from .weighing import trajectories as weighing

_KEPT = "learned here, used frozen on a student of"
ARMS: Mapping[str, tuple[Arm, str]] = {
    name: (Arm(name), about)
    for name, about in {
        "uniform": "plain training",
        "mixed-in": "plain training on training and validation rows together",
        "trusted-only": "plain training on the validation rows alone, for as many steps",
        "early-stopping": "",
        "perfect-filter": "plain training on the rows with right labels alone, for as many steps",
        "l2rw": "weights by how the gradient of each example agrees with that of the validation loss; nothing learned",
        "meta-weight-net": "weights as a learned function of the loss",
        "meta-weight-net-1": "the same, one step ahead at every step",
        "surface": "weights as a learned function of loss, progress, margin and label",
        "deep": "the same, and of the student's features",
        "deep-1": "deep, one step ahead at every step",
        "bilinear": "weights by how like the student's features are to what its label looks like, learned",
        "dynamic-loss": "a learned distribution over the classes in place of each label",
        "keep-mask": "each example kept or dropped by a teacher that learned over whole runs of other students; frozen",
        **{f"{name}-frozen": f"{name}, {_KEPT} another initialisation" for name in TRANSFERRED},
        **{f"{name}-frozen-same": f"{name}, {_KEPT} the same initialisation" for name in TRANSFERRED},
        "oracle": "plain training on all rows with their right labels",
    }.items()
} | {
    "early-stopping": (
        Arm("uniform", "trusted"),
        "plain training, at the epoch with the best accuracy on the validation rows",
    ),
    **{name: WEIGHING[name] for name in (*CURRICULA, "mixture-mask")},
}
"""Arms by name, with a line about each."""

UNWATCHED = ("dynamic-loss", "keep-mask")
"""Teachers that do not weigh, or do not learn while the student does: none can be too slow for it."""
PLAIN = Schedule(
    rule="sgd", cosine=True, weight_decay=1e-4, decay_on="all", steps=1020, batch_size=64, scaling="centre"
)
"""Of the experiments on digits: 60 epochs of 17 steps."""
SCHEDULES: Mapping[str, Schedule] = {
    "resnet32": Schedule(
        rule="sgd",
        drops=(80 / 120, 100 / 120),
        weight_decay=5e-4,
        decay_on="all",
        steps=58_800,  # 120 epochs of 49,000 / 100 steps
        batch_size=100,
    ),
    "wrn-28-10": Schedule(
        rule="sgd",
        drops=(18_000 / 20_000, 19_000 / 20_000),
        nesterov=True,
        weight_decay=5e-4,
        decay_on="all",
        steps=20_000,
        batch_size=100,
    ),
}
"""How the students of Meta-Weight-Net's tables were trained, on 49,000 images of 32x32, with crop and flip."""


HELP = "Teachers that learn from validation rows, with and without a look inside the student."


@dataclass(frozen=True)
class Config(Options):
    """Options of the recipe; None means: chosen to fit the data or the method."""

    noise_kind: str | None = None
    """uniform (true class included), symmetric (excluded), pair-flip, class-flip(-2), all also with -exact, none; of a
    preset one of its own; several, separated by commas: a run for each, and one table. Default:
    pair-flip-exact,symmetric-exact."""
    student: str = "mlp-128-128"
    """Network: mlp, mlp-W1-W2, cnn, lenet, resnetD, wrn-D-W, mentor-resnet-D-W, or your own as
    package.module:function."""
    teachers: str = (
        "uniform,trusted-only,early-stopping,perfect-filter,l2rw,meta-weight-net,surface,deep,bilinear,oracle"
    )
    """Arms to compare, separated by commas."""
    epochs: int | None = None
    """Passes over the training rows; default: as many as make about 1,020 steps, on digits 60, or as published."""
    batch_size: int | None = None
    """Examples a step; default: 64, or as published, or all training rows if there are fewer."""
    trusted: float = 0.1
    """Share of the training rows that are held out for validation, with clean labels."""
    rule: str | None = None
    """Update rule: sgd (default; momentum 0.9), adam or adamw."""
    lr: float | None = None
    """Learning rate at the start; default: 0.1, for adam 0.001; falls to 0 as a cosine, or as published."""
    weight_decay: float | None = None
    """Weight decay, on all parameters; default: 0.0001, or as published."""
    scale_decay: bool = False
    """Multiply the decay by the mean weight of the batch."""
    schedule: Literal["auto", "plain", "published"] = "auto"
    """Training of the student: published (for resnet32 and wrn-28-10: as in Meta-Weight-Net's tables), plain, or auto:
    published for these two."""
    look_ahead: int = 5
    """Steps that a teacher's gradient goes through, K."""
    every: int = 5
    """Steps of the student between two of the teacher, B."""
    window: Literal["ahead", "back"] = "ahead"
    """The steps to come, or those just taken (as published)."""
    inputs: Literal["attached", "detached"] = "attached"
    """Whether the gradient of a teacher flows through what it reads from the student; detached: as published."""
    virtual_step: Literal["rule", "plain"] = "rule"
    """The steps looked at: by the student's own rule, or plain SGD (as published for Meta-Weight-Net)."""
    strategy: str = "auto"
    """How the gradient of a teacher is computed: auto, unrolled, recompute, reversible, or for one step one-step or
    finite-difference."""
    teacher_lr: float | None = None
    """Learning rate of teachers, by Adam; default: 0.01, for dynamic-loss 0.05."""
    teacher_decay: float | None = None
    """Weight decay of teachers; default: 0.0001, for dynamic-loss none."""
    teacher_normalise: Literal["sum", "mean"] = "sum"
    """Divide the weights of a batch by their mean, or leave them in [0, 1]."""
    layers: str | None = None
    """Layers of the student that deep and bilinear read, by name, separated by commas; default: the input of the last
    linear layer. Seeds are then trained one by one."""
    validation_rows: int = 512
    """Most validation rows that an update of a teacher takes, drawn anew each time."""
    episodes: int = 1
    """Students of new initialisation that a learned teacher is carried over; the last one counts."""
    keep_episodes: int = 20
    """Students of new initialisation that keep-mask learns over, before the student that counts is trained."""
    tau: float = 0.8
    """Accuracy on the validation rows at which an episode of keep-mask ends; the sooner, the better for it."""
    keep_budget: int | None = None
    """Most batches of an episode of keep-mask, T_max; default: the steps of a student that counts."""
    keep_accumulate: int | None = None
    """In episodes of keep-mask, gather kept examples over batches until there are so many, and study these as one
    lesson; default: every batch is a lesson."""
    teacher_from: str | None = None
    """File of a learned teacher, or folder of a run (the teacher of each seed): the learned arms use it frozen, on
    students of another initialisation."""


def _check(config: Config) -> None:
    learned.check(config)
    schooling.check(config)
    if config.schedule == "published" and config.student not in SCHEDULES:
        raise ConfigError(f"--schedule published is for {' and '.join(SCHEDULES)}, not {config.student}.")


def _schedule(config: Config) -> Schedule:
    return PLAIN if config.schedule == "plain" else SCHEDULES.get(config.student, PLAIN)


def _check_plan(plan: Plan) -> None:
    """Refuse a filter that leaves nothing."""
    for setting in plan.settings if "perfect-filter" in plan.names else ():
        if not len(setting.rows("right")):
            raise DataError(
                f"perfect-filter: no training row of seed {setting.seed} has a right label; leave it out of --teachers."
            )


def _trajectories(config: Config, noise: float) -> list[Trajectory]:
    def plain(setting: Setting, needed: Outcome | None) -> Teacher:
        return Uniform()

    return [
        Trajectory("uniform", plain),
        Trajectory("mixed-in", plain, rows="all"),
        Trajectory("trusted-only", plain, rows="trusted", labels="true"),
        Trajectory("perfect-filter", plain, rows="right"),
        Trajectory("oracle", plain, labels="true"),
        *learned.trajectories(config),
        *(t for t in weighing(config) if t.name in (*CURRICULA, "mixture-mask")),
    ]


def _extras(
    plan: Plan, outcomes: Mapping[str, Outcome], folder: RunFolder, result: Mapping[str, Any]
) -> dict[str, Any]:
    """Save the teachers; return where, what follows from the run, and what went wrong in it."""
    config = plan.options
    assert isinstance(config, Config)
    learning = () if config.teacher_from else tuple(KINDS)
    watched = [name for name in plan.names if name in ("l2rw", *learning) and name not in UNWATCHED]
    kind = plan.options.noise_kind or plan.settings[0].noise.convention
    warnings = too_slow(watched, outcomes, plan.settings, plan.noise)
    if learned.SCHOOL in outcomes:
        warnings += schooling.learned_nothing("keep-mask", outcomes[learned.SCHOOL], config.tau)
    return {
        "learned": learned.keep(plan, outcomes, folder),
        "conclusion": conclude(f"{kind} {plan.options.noise}", result["arms"]),
        "warnings": warnings,
    }


RECIPE = Recipe(
    "deep-interactions",
    Config,
    ARMS,
    _trajectories,
    _check,
    _check_plan,
    _schedule,
    _extras,
    held_out=True,
    kinds="pair-flip-exact,symmetric-exact",
)


def run(config: Config, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all arms into a new folder, see :func:`tutelage.recipes.noisy_labels.run`."""
    stack = config.stack and not learned.layers_of(config)
    return noisy_labels.run(RECIPE, replace(config, stack=stack, teacher_from=full(config.teacher_from)), out, watcher)


def resume(folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped, see :func:`tutelage.recipes.noisy_labels.resume`."""
    return noisy_labels.resume(RECIPE, folder, watcher)
