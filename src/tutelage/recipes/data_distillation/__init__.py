"""Data distillation: a network labels rows by its mean answer to several views, and a fresh one learns from all rows.

One network learns from the labelled rows (the labeller); its mean answers to fixed views label the others; a fresh
student learns from the union, a fixed share of every batch labelled. The arms differ in whose answers count. They
share labelled rows and initial networks by seed (batches differ by nature), so that ``views-hard - supervised`` is what
the other rows are worth, and ``views-hard - one-view-hard`` what the views are.

Source: Radosavovic et al., "Data distillation: towards omni-supervised learning", CVPR 2018, in a size for two cores,
for classification.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ...data import Augmentation, DataSet
from ...data.view_names import BANKS, named_views
from ...data.views import Identity
from ...data.warping import RandomWarp
from ...errors import ConfigError
from ...losses import cross_entropy
from ...multi_view import union_sizes
from ...runs import RunFolder
from ...teachers import Uniform
from ..distilling import Plan, Recipe, Setting, Stage, Taught, running
from ..distilling.files import Left
from ..distilling.options import DIGITS, PUBLISHED, Chosen, Common, check
from ..distilling.preparing import chosen, loaded, rule, settings
from ..distilling.using import refuse_unused
from ..options import names_of
from ..ranges import within
from ..trajectory import Watcher
from .arms import ARMS as ARMS
from .arms import BASELINES, UNION, USED, USUAL, Arm
from .labelling import SelfLabels, quality, silence, union
from .showing import keep_views

HELP = "Data distillation: answers to several views label rows without labels, and a fresh student learns from all."


@dataclass(frozen=True)
class Config(Common):
    """Options of the recipe; None means: chosen by the profile, or for the data."""

    schedule: Literal["auto", "digits", "published"] = "auto"
    """What options become that are not given: as for our comparison on digits, for colour images (published: 4,000
    labels, a small residual network, 40,000 steps), or auto: the latter for such of at least 32 pixels a side."""
    seeds: int | None = None
    """Number of seeds; each draws its own split, labelled rows and initial networks, shared by all arms; default: 5,
    published 1."""
    arms: str | None = None
    """Arms to compare, separated by commas: supervised, label-smoothing, one-view-hard, one-view-soft, views-hard,
    views-soft, ensemble-hard, ensemble-soft, true-labels; default: without one-view-soft and ensemble-soft."""
    target: Literal["hard", "soft"] | None = None
    """Labels are classes or probabilities: only arms with such ones, in place of --arms; default: as the arms say."""
    labels: int | None = None
    """Labelled rows, the first of the training rows as they were drawn; default: 100, published 4,000."""
    labelled_share: float = 0.5
    """Share of each batch that is labelled, in (0, 1); as many rows as that is, rounded."""
    views: str | None = None
    """Views that answers are averaged over: a bank (one, digits, pictures), or names as identity, mirror, x0.6 and
    y-0.6 (pixels), turn12 (degrees), zoom1.1, scale0.75 and mirror+zoom1.1, separated by commas; default: pictures
    for colour images of at least 32 pixels a side, else digits."""
    threshold: float = 0.0
    """Least confidence of a label that is used, in [0, 1]; where none is, a student learns from labelled rows alone."""
    ensemble: int = 4
    """Labelling networks of ensemble-hard and ensemble-soft."""
    label_smoothing: float = 0.1
    """Smoothing of label-smoothing, in (0, 1]."""
    warp: bool | None = None
    """Random shifts by 0.7 pixels and turns by 12 degrees in training; default: for images that --augment auto neither
    crops nor flips."""
    student: str | None = None
    """Network of labellers and students: mlp[-gelu]-W1-W2[-dropout-P], cnn, lenet, plainD, vggD, resnetD, resnetDxK,
    wrn-D-W, or your own as package.module:function; default: mlp-gelu-128-dropout-0.2, published resnet20."""
    labeller_steps: int | None = None
    """Steps of a labeller's training; default: half of the students'."""
    steps: int | None = None
    """Steps of the students' training, supervised or not; default: 1,400, published 40,000."""
    batch_size: int | None = None
    """Examples a step; default: 64, published 128."""
    rule: str | None = None
    """Update rule: adam, adamw or sgd; default: adamw, published sgd."""
    lr: float | None = None
    """Its learning rate; default: 0.005, published 0.1."""
    weight_decay: float | None = None
    """Its weight decay, on all parameters; default: 0.001, published 0.0005."""
    momentum: float | None = None
    """Momentum of sgd, in [0, 1); default: 0.9."""
    rates: Literal["one-cycle", "steps", "cosine", "constant"] | None = None
    """Learning rates: up and down in one cycle, divided by 10 at 62.5, 75 and 87.5 % of training, half a cosine to 0,
    or constant; default: one-cycle, published cosine."""
    replacement: bool | None = None
    """Draw examples with replacement, not pass by pass; default: yes, published no."""


_PROFILES = {
    "digits": DIGITS.but(
        student="mlp-gelu-128-dropout-0.2", labels=100, steps=1400, batch_size=64, lr=5e-3, weight_decay=1e-3
    ),
    "published": PUBLISHED.but(
        student="resnet20", labels=4000, steps=40_000, epochs=None, batch_size=128, lr=0.1, rates="cosine"
    ),
}


def _prepare(given: Any, *, fresh: bool) -> Plan:
    names = _checked(given)
    data, fingerprints = loaded(given)
    options = _chosen(given, data)
    if fresh:
        refuse_unused(given, options, data, USED, names)
    _check_rows(options, data, names)
    seeds = [_warped(setting, options) for setting in settings(data, options)]
    _check_labels(options, seeds[0], names)
    stages = _stages(options, names)
    return Plan(RECIPE, options, stages, names, seeds, fingerprints, baselines=BASELINES, extras=_extras)


def _checked(given: Any) -> tuple[str, ...]:
    """Refuse what is wrong whatever the data is; return the names of the arms."""
    check(given)
    for name, least, most in (("labels", 1, 10**8), ("labeller_steps", 1, 10**8), ("ensemble", 2, 100)):
        within(given, name, least, most)
    within(given, "threshold", 0, 1)
    within(given, "labelled_share", 0, 1)
    within(given, "label_smoothing", 0, 1, above=True)
    if given.views is not None:
        named_views(given.views)
    if given.arms is not None and given.target is not None:
        raise ConfigError("give one of --arms and --target.")
    if given.arms is None:
        return _usual(given.target)
    return names_of(given.arms, ARMS, "arm")


def _usual(target: str | None) -> tuple[str, ...]:
    if target is None:
        return USUAL
    return tuple(name for name, arm in ARMS.items() if arm.target in (None, target))


def _chosen(given: Any, data: DataSet) -> Chosen:
    options = chosen(given, data, _PROFILES)
    still = data.train.x.ndim == 4 and given.augment == "auto" and options.augment == "none"
    warp = still if options.warp is None else options.warp
    steps = options.labeller_steps or max(1, options.steps // 2)
    views = options.views or ("pictures" if data.train.colour else "digits")
    return replace(options, labeller_steps=steps, views=views, warp=warp)


def _check_rows(options: Chosen, data: DataSet, names: tuple[str, ...]) -> None:
    if data.train.x.ndim == 4:
        return
    shape = data.train.x.shape[1:]
    if options.warp:
        raise ConfigError(f"--warp needs images (C, H, W), but rows of {data.train.name} have shape {shape}.")
    if any(ARMS[name].source == "views" for name in names) and named_views(options.views) != BANKS["one"]:
        raise ConfigError(
            f"views are of images (C, H, W), but rows of {data.train.name} have shape {shape}; use --arms "
            "supervised,one-view-hard,ensemble-hard."
        )


def _check_labels(options: Chosen, first: Setting, names: tuple[str, ...]) -> None:
    rows, classes = len(first.order), first.classes
    if options.labels < classes:
        raise ConfigError(
            f"--labels is {options.labels}, fewer than the {classes} classes of {first.source.name}; give at least one "
            "a class."
        )
    others = _joined(names)
    if options.labels > rows - others:
        leaves = ", which leaves none to be labelled" if options.labels == rows else ""
        raise ConfigError(f"--labels is {options.labels} of {rows} training rows{leaves}; use fewer.")
    if others:
        _sizes(options)


def _joined(names: Sequence[str]) -> bool:
    """Whether an arm studies other rows than the labelled ones."""
    return any(name in UNION for name in names)


def _sizes(options: Chosen) -> tuple[int, int]:
    return union_sizes(options.batch_size, options.labelled_share)


def _warped(setting: Setting, options: Chosen) -> Setting:
    return replace(setting, moving=Augmentation(*setting.moving.transforms, RandomWarp())) if options.warp else setting


def _stages(options: Chosen, names: tuple[str, ...]) -> list[Stage]:
    labellers = tuple(f"labeller-{number}" for number in range(1, options.ensemble + 1))
    stages: list[Stage] = [_labeller(options, name) for name in labellers]
    return stages + [_student(options, name, ARMS[name], labellers) for name in names]


def _labeller(options: Chosen, name: str) -> Stage:
    steps = options.labeller_steps

    def batches(setting: Setting, _: Any) -> Any:
        rows = setting.order[: options.labels]
        return setting.stream(f"{name} batches", rows, options.batch_size, steps, replacement=options.replacement)

    return Taught(
        name=name,
        about=f"{options.student}, taught by {options.labels} labels.",
        steps=steps,
        net=lambda setting: setting.net(options.student, name),
        rule=_rule(options, steps),
        teacher=lambda setting, networks: Uniform(),
        batch=batches,
        stack=options.stack,
    )


def _student(options: Chosen, name: str, arm: Arm, labellers: tuple[str, ...]) -> Stage:
    common = partial(
        Taught,
        name=name,
        about=arm.about,
        steps=options.steps,
        net=lambda setting: setting.net(options.student, "student"),
        rule=_rule(options, options.steps),
        paired_by=("initialisation",),  # batches differ by nature
        stack=options.stack,
    )
    draw = {"steps": options.steps, "replacement": options.replacement}

    def own(setting: Setting) -> Any:
        return setting.order[: options.labels]

    match arm.source:
        case "labels":
            loss = partial(cross_entropy, label_smoothing=options.label_smoothing) if arm.smoothed else cross_entropy
            return common(
                teacher=lambda setting, networks: Uniform(loss=loss),
                batch=lambda setting, networks: setting.stream("labelled", own(setting), options.batch_size, **draw),
            )
        case "truth":
            return common(
                teacher=lambda setting, networks: Uniform(),
                batch=lambda setting, networks: union(
                    setting, own(setting), setting.order[options.labels :], _sizes(options), true=True, **draw
                ),
            )
    views = named_views(options.views) if arm.source == "views" else (Identity(),)
    needs = labellers if arm.source == "ensemble" else labellers[:1]
    labels = SelfLabels(needs, views, options.labels, arm.hard, options.threshold)
    return common(
        needs=needs,
        teacher=labels.teacher,
        batch=lambda setting, networks: union(
            setting, own(setting), labels.of(setting, networks).rows, _sizes(options), **draw
        ),
        facts=labels.facts,
    )


def _rule(options: Chosen, steps: int) -> Any:
    return rule(options.rule, options.lr, options.weight_decay, steps, rates=options.rates, momentum=options.momentum)


def _extras(plan: Plan, left: Left, outcomes: Any, folder: RunFolder, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was labelled, and in sentences how well, as parts of the result."""
    options, rows = plan.options, len(plan.settings[0].order)
    told = {name: outcomes[name].ends for name in plan.arms if "kept_share" in outcomes[name].ends[0]}
    lines = [line for name, ends in told.items() for line in quality(name, ends, rows - options.labels)]
    silent = [line for name, ends in told.items() for line in silence(name, ends, options.threshold)]
    facts = {
        "labelled_rows": options.labels,
        "other_rows": rows - options.labels,
        "labelled_a_batch": _sizes(options)[0] if _joined(plan.arms) else options.batch_size,
        "views": [repr(view) for view in named_views(options.views)],
    }
    keep_views(plan, left, folder)
    conclusion = {**result["conclusion"], "lines": [*result["conclusion"]["lines"], *lines]}
    return {"data_distillation": facts, "conclusion": conclusion, "warnings": [*silent, *result["warnings"]]}


RECIPE = Recipe("data-distillation", Config, _prepare)


def run(config: Config, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all arms into a new folder, see :func:`tutelage.recipes.distilling.running.run`."""
    return running.run(RECIPE, config, out, watcher)


def resume(folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped, see :func:`tutelage.recipes.distilling.running.resume`."""
    return running.resume(RECIPE, folder, watcher)
