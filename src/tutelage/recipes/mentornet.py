"""MentorNet: a student on badly labelled data, with a curriculum that was learned.

Arms: plain training, written curricula, a mentor that learned the published mixture of them (PD), a mentor that learned
from trusted labels (DD), and the honest rows beside them.

DD learns from the losses that a plain run has on the trusted rows (their given labels, compared with their true ones),
or with ``--update-at`` during the run itself, or comes from another run or a file with ``--mentor``.

Source: Jiang, Zhou, Leung, Li and Fei-Fei, "MentorNet: learning data-driven curriculum for very deep neural networks on
corrupted labels", ICML 2018.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch

from .. import __version__, curricula
from ..checkpoint import without_prefix
from ..errors import ConfigError, DataError
from ..lesson import percent
from ..mentors import SHIPPED, Mentor, MentorNetwork, Settings, fit_curriculum, fit_rows, save_mentor
from ..mentors.fitting import FEWEST
from ..mentors.network import Form, Time
from ..runs import RunFolder
from ..teacher import Teacher
from ..teachers import Curriculum, MentorNet
from . import noisy_labels
from .arms import Arm
from .dumping import dump_of
from .experiment import Setting
from .mentor_files import find_mentor, mentor_file
from .mentornet_published import SCHEDULES, Command, command, published, schedule
from .options import Options
from .outcome import Outcome
from .plan import Plan, Recipe, changed
from .schedule import Schedule
from .trajectory import Trajectory, Watcher
from .weighing import ARMS as WEIGHING
from .weighing import from_catalogue, pacing_options, percentile, trajectories

DD = "mentornet-dd"
PD = "mentornet-pd"
ARMS: Mapping[str, tuple[Arm, str]] = {
    **{name: arm for name, arm in WEIGHING.items() if name in ("uniform", "self-paced", "focal", PD)},
    DD: (Arm(DD), "MentorNet DD: a mentor that learned from trusted labels which examples to weigh down"),
    **{name: arm for name, arm in WEIGHING.items() if name not in ("uniform", "self-paced", "focal", PD)},
}
"""Arms by name, with a line about those that are no teacher of the catalogue."""

_DROPOUT = ((0.5, 17), (0.05, 83))
_POOLED = 0.9
"""The percentile that the published code takes over all losses of a dump."""


HELP = "A curriculum that a mentor has learned, beside written ones and the honest rows."


@dataclass(frozen=True)
class Config(Options):
    """Options of the recipe; None means: chosen to fit the data or the method."""

    teachers: str = "uniform,self-paced,focal,mentornet-pd,mentornet-dd,trusted-only,early-stopping,mixture-mask,oracle"
    """Arms to compare, separated by commas."""
    mentor: str = "fit"
    """Mentor of mentornet-dd: fit (from a plain run on the same data), a file, the folder of a mentornet run (the
    mentor of each seed), or self_paced, spcl_linear, hard, focal, predefined (the ones that come along)."""
    update_at: str | None = None
    """Percents of training at which mentornet-dd learns its mentor afresh, such as 21,75; then no plain run."""
    form: Form = "gate"
    """Network of a mentor that is fitted: gate (as published) or mlp."""
    time: Time = "progress"
    """What that network sees of time: progress, or one of 100 frozen random codes (as published)."""
    fixed_time: bool | None = None
    """Stop the clock of the mentor of mentornet-dd at the end of the burn-in; default: as it was made for, yes if it is
    fitted."""
    schedule: Literal["auto", "plain", "published"] = "auto"
    """Training of the student: published (for resnet101, inception and mentor-resnet-D-W: SGD, crop and flip, images
    standardised one by one), plain, or auto: published for the first two."""
    compat: Literal["none", "written", "effective"] = "none"
    """Repeat what differs in the published code: written (its commands as they read), or effective (percentile 0.7
    everywhere, if its misspelt option was dropped)."""


def _check(config: Config) -> None:
    updates = _update_at(config)
    if updates and config.mentor != "fit":
        raise ConfigError("--update-at learns a mentor during the run; leave out --mentor.")
    if config.form == "mlp" and config.time == "code":
        raise ConfigError("--form mlp has no time codes; use --time progress.")
    if config.form == "mlp" and config.compat != "none":
        raise ConfigError(f"--compat {config.compat} is about the published network; leave out --form.")
    if config.schedule == "published":
        _published_student(config)


def _update_at(config: Config) -> tuple[int, ...]:
    if config.update_at is None:
        return ()
    try:
        found = tuple(int(part) for part in config.update_at.split(","))
    except ValueError:
        found = (-1,)
    if any(not 0 <= e <= 99 for e in found) or list(found) != sorted(set(found)):
        raise ConfigError(f'--update-at is "{config.update_at}"; give ascending percents of training, such as 21,75.')
    return found


def _published_student(config: Config) -> str:
    """Return the student of the tables whose settings fit."""
    name = config.student
    if name in SCHEDULES:
        return name
    if name.startswith("mentor-resnet"):
        return "resnet101"
    raise ConfigError(f"--schedule published is for resnet101, inception and mentor-resnet-D-W, not {name}.")


def _schedule(config: Config) -> Schedule | None:
    if config.schedule == "plain" or (config.schedule == "auto" and config.student not in SCHEDULES):
        return None
    return SCHEDULES[_published_student(config)]


def _check_plan(plan: Plan) -> None:
    """Refuse trusted rows that no mentor can learn from."""
    config = plan.options
    assert isinstance(config, Config)
    if DD not in plan.names or config.mentor != "fit":
        return
    steps = plan.training.epochs * (len(plan.settings[0].roles["train"]) // plan.training.batch_size)
    if max(_update_at(config), default=0) > (last := percent((steps - 1) / steps)):
        raise ConfigError(
            f"--update-at {config.update_at}: the last of {steps} steps is at {last} %; give earlier percents, or "
            "more epochs."
        )
    for setting in plan.settings:
        right = ~setting.noise.mask[setting.roles["trusted"]]
        if len(right) < FEWEST or right.all() or not right.any():
            raise DataError(
                f"seed {setting.seed}: {len(right)} trusted rows, {int((~right).sum())} of them with a wrong label; a "
                f"mentor learns from at least {FEWEST}, right and wrong ones: raise --trusted, give --trusted-labels, "
                f"a --mentor, or leave out {DD}."
            )


def _trajectories(config: Config, noise: float) -> list[Trajectory]:
    found = {t.name: t for t in trajectories(config)}
    commands = _commands(config, noise)
    for name, given in commands.items():
        if name not in (PD, DD):
            found[name] = Trajectory(name, from_catalogue(name, config, **_pacing(given, config)))
    if DD in config.teachers and config.mentor == "fit" and config.update_at is None:
        found["uniform"] = replace(found["uniform"], teacher=partial(_plain, config), dumps=True)
        found[DD] = Trajectory(DD, _Fitted(config, commands.get(DD)), needs="uniform")
    else:
        validation = 8192 if config.update_at else 512
        found[DD] = Trajectory(DD, partial(_given, config, commands.get(DD)), validation=validation)
    if config.compat != "none":
        found[PD] = Trajectory(PD, partial(_published_pd, config, commands[PD]))
        if _schedule(config) is not None:
            baseline = schedule(_published_student(config), "uniform", config.compat)
            found["uniform"] = replace(found["uniform"], rule=changed(baseline, config).make)
    return list(found.values())


def _commands(config: Config, noise: float) -> dict[str, Command]:
    """Return what the published commands say to each arm; nothing unless ``compat`` asks for it."""
    if config.compat == "none":
        return {}
    student = config.student if config.student in SCHEDULES else "resnet101"
    found = {name: command(name, noise, student, config.compat) for name in ("self-paced", "focal", PD, DD)}
    return {name: given for name, given in found.items() if given is not None}


def _pacing(given: Command | None, config: Config) -> dict[str, Any]:
    """Return the options of a teacher as the published code understands a command; the user's own come first."""
    if given is None:
        return {}
    dropout = given.dropout
    if dropout is not None and given.fixed_time:  # freezes the schedule as well
        levels = [rate for rate, count in dropout for _ in range(count)]
        frozen = levels[: given.burn_in] + [levels[given.burn_in]] * (100 - given.burn_in)
        dropout = tuple((rate, 1) for rate in frozen)
    published = {
        "decay": given.decay,
        "burn_in": max(given.burn_in - 1, 0),  # ends one percent early
        "dropout": dropout,
    }
    return published | ({"percentile": given.percentile} if config.percentile is None else {}) | pacing_options(config)


def _plain(config: Config, setting: Setting, needed: Outcome | None) -> Teacher:
    """Plain training, with the threshold that a mentor will later see."""
    noted = {name: value for name, value in pacing_options(config).items() if name in _OF_THE_THRESHOLD}
    return Curriculum(curricula.uniform, percentile=percentile(config, setting), burn_in=0, **noted)


_OF_THE_THRESHOLD = ("decay", "bias_correction", "interpolation")


def _options(config: Config, given: Command | None, setting: Setting) -> dict[str, Any]:
    """Return the options of the pacing of a mentor."""
    if given is None:
        return {"percentile": percentile(config, setting), "dropout": _DROPOUT} | pacing_options(config)
    found = _pacing(given, config)
    return found if config.percentile is None else found | {"percentile": percentile(config, setting)}


class _Fitted:
    """Makes teachers with mentors that learned from what a plain run saw; unfitted ones for a rehearsal."""

    def __init__(self, config: Config, given: Command | None) -> None:
        self._config, self._given = config, given
        self._mentors: dict[int, Mentor] = {}

    def __call__(self, setting: Setting, needed: Outcome | None) -> Teacher:
        """Return the teacher of a seed."""
        config = self._config
        options = _options(config, self._given, setting)
        kind = {"form": config.form, "time": config.time, "bias_in_matrix": self._given is not None}
        if needed is None:
            return MentorNet(update_at=(0,), given=torch.zeros(1, dtype=torch.int64), network=kind, **options)
        if setting.seed not in self._mentors:
            self._mentors[setting.seed] = self._fit(setting, needed, options, kind)
        mentor = self._mentors[setting.seed]
        return MentorNet(mentor, fixed_time=mentor.settings.burn_in if mentor.settings.fixed_time else False, **options)

    def _fit(self, setting: Setting, needed: Outcome, options: Mapping[str, Any], kind: Mapping[str, Any]) -> Mentor:
        config = self._config
        dump = dump_of(needed.tensors, setting.seed - config.first_seed, f"trusted rows of {setting.source.name}")
        rows = dump.rows() if self._given is None else dump.rows(_POOLED, pooled=True)
        network, report = fit_rows(rows, seed=setting.seed, **kind)
        burn_in = 18 if config.burn_in is None else config.burn_in
        settings = Settings(
            percentile=_one(options["percentile"], burn_in),
            decay=options.get("decay", 0.5),
            burn_in=burn_in,
            fixed_time=config.fixed_time is not False,
            classes=setting.source.num_classes,
            origin=report.origin(
                source=f"{dump.source}, seed {setting.seed}",
                noise=setting.noise.convention,
                dump=dump.fingerprint(),
                **({} if self._given is None else {"pooled_percentile": _POOLED}),
            ),
        )
        return Mentor(network, settings)


def _given(config: Config, given: Command | None, setting: Setting, needed: Outcome | None) -> Teacher:
    """Return a teacher with a mentor from elsewhere, or one that is learned during the run."""
    options = _options(config, given, setting)
    if config.update_at is not None:
        labels = torch.from_numpy(setting.noise.noisy)
        kind = {"form": config.form, "time": config.time}
        return MentorNet(update_at=_update_at(config), given=labels, network=kind, **options)
    mentor = find_mentor(config.mentor, seed=setting.seed)
    return MentorNet(mentor, fixed_time=config.fixed_time, **options)


def _published_pd(config: Config, given: Command, setting: Setting, needed: Outcome | None) -> Teacher:
    """Return the mixture as the published network imitates it."""
    return MentorNet(Mentor(_published_mixture(config.time)), fixed_time=False, **_options(config, given, setting))


@cache
def _published_mixture(time: Time) -> MentorNetwork:
    network, _ = fit_curriculum(curricula.predefined, time=time, bias_in_matrix=True)
    return network


def _extras(
    plan: Plan, outcomes: Mapping[str, Outcome], folder: RunFolder, result: Mapping[str, Any]
) -> dict[str, Any]:
    """Save the mentors, and return what is known of them, with the published numbers if there are any."""
    config = plan.options
    assert isinstance(config, Config)
    found: dict[str, Any] = {"compat": config.compat}
    tables = {name: _table_rows(plan, name) for name in plan.names}
    found["published"] = {name: row for name, row in tables.items() if row is not None}
    if DD in outcomes:
        found["mentors"] = [_kept(plan, outcomes, folder, s) for s in range(len(plan.settings))]
    return found


def _table_rows(plan: Plan, arm: str) -> dict[str, float | None] | None:
    name, student = plan.settings[0].source.name, plan.options.student
    comparable = student in SCHEDULES and plan.options.noise_kind in (None, "uniform")
    return published(name.partition("-")[0], student, arm, plan.noise) if comparable else None


def _kept(plan: Plan, outcomes: Mapping[str, Outcome], folder: RunFolder, position: int) -> dict[str, Any]:
    """Save the mentor of a seed as it ended; return where, how well it fitted, and what it was not made for."""
    setting, trajectory = plan.settings[position], plan.trajectories[DD]
    teacher = trajectory.teacher(setting, outcomes[trajectory.needs] if trajectory.needs else None)
    assert isinstance(teacher, MentorNet)
    teacher.load_state_dict(without_prefix(f"teacher.{position}", outcomes[DD].tensors))
    mentor = teacher.mentor
    updates = [
        {"percent": int(e), "mean_absolute_error": error, "agreement": agreement}
        for e, error, agreement in teacher.log.tolist()
        if not math.isnan(e)  # passed in the same step as the next one
    ]
    if updates:
        origin = {
            "source": f"trusted rows of {setting.source.name}, seed {setting.seed}, during the run",
            "noise": setting.noise.convention,
            "updates": updates,
            "tutelage": __version__,
        }
        classes = setting.source.num_classes
        pacing = teacher.pacing
        mentor.settings = replace(
            mentor.settings,
            percentile=_used(teacher),
            decay=pacing.decay,
            burn_in=pacing.burn_in,
            classes=classes,
            origin=origin,
        )
    path = folder.path / mentor_file(setting.seed)
    path.parent.mkdir(exist_ok=True)
    save_mentor(mentor, path)
    return {
        "seed": setting.seed,
        "file": mentor_file(setting.seed),
        "origin": dict(mentor.settings.origin),
        "made_for": _differences(mentor.settings, teacher, setting.source.num_classes),
    }


def _used(teacher: MentorNet) -> float:
    return _one(teacher.pacing.percentiles, teacher.pacing.burn_in)


def _one(percentile: float | Sequence[float], burn_in: int) -> float:
    """Return the percentile itself, or of a schedule the one that the burn-in ends with."""
    return percentile if isinstance(percentile, float) else percentile[min(burn_in, 99)]


def _differences(settings: Settings, teacher: MentorNet, classes: int) -> list[str]:
    """Return in words what a mentor was made for and is not used with here."""
    found = []
    if settings.percentile != _used(teacher):
        found.append(f"percentile {settings.percentile:g}, used with {_used(teacher):g}")
    if settings.classes not in (None, classes):
        found.append(f"{settings.classes} classes, used with {classes}")
    loss = getattr(teacher.pacing.loss, "__name__", "")
    if settings.loss != loss:
        found.append(f"loss {settings.loss}, used with {loss}")
    return found


RECIPE = Recipe("mentornet", Config, ARMS, _trajectories, _check, _check_plan, _schedule, _extras)


def run(config: Config, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all arms into a new folder, see :func:`tutelage.recipes.noisy_labels.run`."""
    known = config.mentor in ("fit", *SHIPPED) or not Path(config.mentor).exists()
    mentor = config.mentor if known else str(Path(config.mentor).resolve())  # for a run that goes on elsewhere
    return noisy_labels.run(RECIPE, replace(config, mentor=mentor), out, watcher)


def resume(folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped, see :func:`tutelage.recipes.noisy_labels.resume`."""
    return noisy_labels.resume(RECIPE, folder, watcher)
