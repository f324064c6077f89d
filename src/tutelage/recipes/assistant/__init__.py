"""Teacher assistants: chains of networks between a large teacher and a student that is too small to follow it.

Every network of a chain is distilled from the one before. A planner measures the candidates alone, in short runs, and
proposes a chain; whether a chain pays is told by the paired difference to direct distillation with the same student,
seeds and batches. The controls are the student by labels, and by smoothed labels.

Source: Mirzadeh et al., "Improved knowledge distillation via teacher assistant", AAAI 2020; in a size for two cores,
or with ``--schedule published`` on plain networks for CIFAR as there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path as FilePath
from typing import Any, Literal

from ...assistants import Candidate, bisected, check_sizes, every_path, nearest
from ...errors import ConfigError
from ...runs import RunFolder
from ..distilling import Outcome, Plan, Recipe, Setting, running
from ..distilling.files import Left
from ..distilling.options import DIGITS, PUBLISHED, Chosen, Options, check, within
from ..distilling.preparing import chosen, loaded, settings
from ..distilling.students import teacher_stage
from ..trajectory import Watcher
from .chain import Network, Path, check_names, hops, networks_of, short
from .stages import CONTROLS, DIRECT, Chains, alone_name, taught_name
from .telling import lines, parameters, planned, validated

HELP = "Teacher assistants: chains of networks between a large teacher and a small student, and whether they pay."
BASELINES = (DIRECT, "scratch")


@dataclass(frozen=True)
class Config(Options):
    """Options of the recipe; None means: chosen by the profile, or for the data."""

    chain: str | None = None
    """Networks from the teacher to the student, separated by commas, or widths as 256-64-16-4: of one hidden layer,
    the teacher of two with dropout; default: 256-64-16-4, published plain10,plain4,plain2."""
    ladder: str | None = None
    """Candidates of the planner, in the same form, without teacher and student; default: those of --chain."""
    teacher: str | None = None
    """Network of the teacher, with --student and --ladder in place of --chain."""
    student: str | None = None
    """Network of the student: mlp[-gelu]-W1-W2[-dropout-P], cnn, lenet, plainD, vggD, resnetD, resnetDxK, wrn-D-W, or
    your own as package.module:function."""
    train_rows: int | None = None
    """Assistants and student study only so many of the training rows; default: all."""
    test: float | None = None
    """Share held out as test set, if the data has none of its own; default: 0.4435."""
    teacher_lr: float | None = None
    """The teacher's learning rate; default: 0.005, published 0.01."""
    teacher_batch: int | None = None
    """Examples a step of its training; default: 64, published 128."""
    epochs: int | None = None
    """Passes over the rows, of every network; default: published 160."""
    batch_size: int | None = None
    """Examples a step of assistants and student; default: 32, published 128."""
    lr: float | None = None
    """Their learning rate; default: 0.015, published 0.01, for residual networks 0.1 with --rates steps."""
    weight_decay: float | None = None
    """Weight decay, on all parameters; default: 0.0001."""
    rates: Literal["one-cycle", "steps", "cosine", "constant"] | None = None
    """Learning rates of all networks: up and down in one cycle, divided by 10 at 62.5, 75 and 87.5 % of training, half
    a cosine to 0, or constant; default: one-cycle, published constant."""
    plan: Literal["none", "one", "bisect", "all"] = "bisect"
    """What is proposed: nothing; the candidate nearest the middle of teacher and student in accuracy; a chain by
    halving intervals; or the best of all chains, which are all trained."""
    min_gap: float = 0.01
    """bisect: accuracy, in [0, 1], from which on an interval is halved."""
    max_hops: int = 3
    """bisect: most assistants."""
    force: bool = False
    """all: train the chains of more than four candidates as well."""
    plan_share: float = 0.25
    """Share of the steps in which candidates are measured, in (0, 1]."""
    validation: float = 0.2
    """Share of the training rows that is held out for the planner; 0: none, with --plan none."""
    temperature: str = "4"
    """Temperature of every hop, or one for each network that is taught, separated by commas, the student's last."""
    kd_weight: str = "0.9"
    """Weight of the teacher in every hop, or in each."""
    ce_weight: str | None = None
    """Weight of the labels; default: 1 less the teacher's."""
    label_smoothing: float = 0.1
    """Smoothing of the control label-smoothing, in (0, 1]."""


_PROFILES = {
    "digits": DIGITS.but(
        teacher=None, student=None, chain="256-64-16-4", train_rows=None, test=0.4435, teacher_lr=5e-3
    ),
    "published": PUBLISHED.but(
        teacher=None,
        student=None,
        chain="plain10,plain4,plain2",
        epochs=160,
        batch_size=128,
        teacher_batch=128,
        lr=0.01,
        teacher_lr=0.01,
        weight_decay=1e-4,
        rates="constant",
    ),
}


def _prepare(given: Any, *, fresh: bool) -> Plan:
    _check(given)
    data, fingerprints = loaded(given)
    own = given.chain is None and (given.teacher is not None or given.student is not None)
    profiles = {name: profile.but(chain=None) if own else profile for name, profile in _PROFILES.items()}
    options = _with_ends(chosen(given, data, profiles))
    seeds = settings(data, options)
    whole, ladder = _networks(options)
    sizes = parameters(seeds[0], (*whole, *ladder))
    first, last = whole[0], whole[-1]
    between = {n.name: sizes[n.name] for n in (*whole[1:-1], *ladder)}
    check_sizes((first.name, sizes[first.name]), (last.name, sizes[last.name]), between)
    rows = len(seeds[0].order)
    chains = Chains(options, min(options.train_rows or rows, rows), first, last, _hops(options, whole, ladder))
    paths: list[Path] = [(), whole[1:-1]] if options.chain else [()]
    if options.plan == "all":
        candidates = [Candidate(n.name, sizes[n.name], 0.0) for n in ladder]
        paths += [_path(ladder, found) for found in every_path(candidates, force=options.force)]
    run = _Run(chains, ladder, sizes, seeds, fingerprints)
    return run.plan(paths, later=options.plan in ("one", "bisect"))


@dataclass(frozen=True)
class _Run:
    """Makes plans: one for what is known beforehand, one with what the planner proposes."""

    chains: Chains
    ladder: Path
    sizes: Mapping[str, int]
    seeds: list[Setting]
    fingerprints: Mapping[str, str]

    def plan(self, paths: list[Path], proposed: Path | None = None, *, later: bool = False) -> Plan:
        """Return the plan of some paths; ``later``: the planner's is added when all has been measured."""
        chains, options = self.chains, self.chains.options
        paths = list(dict.fromkeys(paths))
        alone = [chains.alone(n) for n in (*self.ladder, chains.student)] if options.plan != "none" else []
        behind = {stage.name: stage for path in paths for stage in chains.path(path)}
        arms = dict.fromkeys((*CONTROLS, *(taught_name(path, chains.student, chains.student) for path in paths)))
        return Plan(
            recipe=RECIPE,
            options=options,
            stages=[teacher_stage(options, len(self.seeds[0].order)), *alone, *chains.controls(), *behind.values()],
            arms=tuple(arms),
            settings=self.seeds,
            fingerprints=self.fingerprints,
            baselines=BASELINES,
            extras=partial(self.extras, paths, proposed),
            first=["teacher", *(stage.name for stage in alone)],
            then=(lambda outcomes: self.with_proposal(paths, outcomes)) if later else None,
        )

    def with_proposal(self, paths: list[Path], outcomes: Mapping[str, Outcome]) -> Plan:
        """Return the plan that has the planner's path as well."""
        proposed = _proposed(self.chains, self.ladder, self.sizes, outcomes)
        return self.plan([*paths, proposed], proposed)

    def extras(
        self,
        paths: list[Path],
        proposed: Path | None,
        plan: Plan,
        left: Left,
        outcomes: Mapping[str, Outcome],
        folder: RunFolder,
        result: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write ``plan.json``; return it, and the run in sentences, as parts of the result."""
        student = self.chains.student
        if self.chains.options.plan == "all":
            proposed = max(paths, key=lambda path: validated(outcomes[taught_name(path, student, student)]))
        facts = planned(self.chains, self.ladder, paths, proposed, self.sizes, outcomes)
        folder.write("plan.json", facts)
        told = lines(facts, student) + result["conclusion"]["lines"]
        return {"assistant": facts, "conclusion": {**result["conclusion"], "lines": told}}


def _check(given: Any) -> None:
    """Refuse what is wrong whatever the data is."""
    check(given)
    within(given, "min_gap", 0, 1)
    within(given, "max_hops", 0, 100)
    within(given, "plan_share", 0, 1, above=True)
    within(given, "label_smoothing", 0, 1, above=True)
    if given.plan != "none" and not given.validation:
        raise ConfigError(f"--plan {given.plan} measures on validation rows; give --validation, such as 0.2.")
    if given.chain is None and (given.teacher is None) != (given.student is None):
        raise ConfigError("give both --teacher and --student, or --chain.")
    if given.chain is None and given.teacher is not None and given.ladder is None:
        raise ConfigError("--teacher and --student have nothing between them; give --ladder, or --chain.")


def _with_ends(options: Chosen) -> Chosen:
    """Return options whose teacher and student are those of the chain."""
    if options.chain is None:
        return options
    whole = networks_of(options.chain, "--chain", teacher=True)
    if len(whole) < 2:
        raise ConfigError(f"--chain names one network, {whole[0].name}; it needs a teacher, assistants and a student.")
    for option, network in (("teacher", whole[0]), ("student", whole[-1])):
        value = getattr(options, option)
        if value not in (None, network.net):
            raise ConfigError(f"--{option} {value} is not that of --chain, {network.net}; leave one of them out.")
    return replace(options, teacher=whole[0].net, student=whole[-1].net)


def _networks(options: Chosen) -> tuple[Path, Path]:
    """Return the chain, or teacher and student alone, and the candidates."""
    if options.chain is None:
        whole: Path = (short(options.teacher), short(options.student))
    else:
        whole = networks_of(options.chain, "--chain", teacher=True)
    if options.ladder is None:
        ladder = whole[1:-1]
    else:
        ladder = networks_of(options.ladder, "--ladder", teacher=False)
        check_names([whole[0], *ladder, whole[-1]], "--ladder")
    if options.plan != "none" and not ladder:
        raise ConfigError(f"--plan {options.plan} has no candidate; name some in --ladder, or use --plan none.")
    return whole, ladder


def _hops(options: Chosen, whole: Path, ladder: Path) -> Any:
    inner = whole[1:-1] if options.chain is not None else ladder
    taught = [n.name for n in (*inner, whole[-1])]
    for option in ("temperature", "kd_weight", "ce_weight"):
        value = getattr(options, option)
        if value is not None and "," in value and (other := [n.name for n in ladder if n.name not in taught]):
            raise ConfigError(
                f"--{option.replace('_', '-')} has a value for each network of --chain, but --ladder has {other[0]} as "
                "well; give one value for all."
            )
    found = hops(options.temperature, options.kd_weight, options.ce_weight, taught)
    return {**dict.fromkeys((n.name for n in ladder), found[taught[-1]]), **found}


def _path(ladder: Path, found: Any) -> Path:
    by_name: dict[str, Network] = {n.name: n for n in ladder}
    return tuple(by_name[candidate.name] for candidate in found)


def _proposed(chains: Chains, ladder: Path, sizes: Mapping[str, int], outcomes: Mapping[str, Outcome]) -> Path:
    """Return the assistants that the planner proposes, by what was measured on validation rows."""
    options = chains.options

    def measured(network: Network, stage: str) -> Candidate:
        return Candidate(network.name, sizes[network.name], validated(outcomes[stage]))

    ends = measured(chains.teacher, "teacher"), measured(chains.student, alone_name(chains.student))
    candidates = [measured(network, alone_name(network)) for network in ladder]
    if options.plan == "one":
        return _path(ladder, [nearest(*ends, candidates)])
    return _path(ladder, bisected(*ends, candidates, min_gap=options.min_gap, max_hops=options.max_hops))


RECIPE = Recipe("assistant", Config, _prepare)


def run(config: Config, out: FilePath, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all chains into a new folder, see :func:`tutelage.recipes.distilling.running.run`."""
    return running.run(RECIPE, config, out, watcher)


def resume(folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped, see :func:`tutelage.recipes.distilling.running.resume`."""
    return running.resume(RECIPE, folder, watcher)
