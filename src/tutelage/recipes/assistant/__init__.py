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
from typing import Any

from ...assistants import Candidate, check_sizes, every_path
from ...errors import ConfigError
from ...runs import RunFolder
from ..distilling import Outcome, Plan, Recipe, running
from ..distilling.files import Left
from ..distilling.options import Chosen
from ..distilling.preparing import chosen, loaded, settings, with_rows
from ..distilling.students import teacher_stage
from ..distilling.summing import more_rows
from ..distilling.using import refuse_unused
from ..trajectory import Watcher
from .chain import Path, check_names, hops, networks_of, short
from .options import PROFILES, USED, check_given
from .options import Config as Config
from .proposing import Planner, Proposals, path_of
from .stages import CONTROLS, DIRECT, Chains
from .telling import lines, parameters, planned, warned

HELP = "Teacher assistants: chains of networks between a large teacher and a small student, and whether they pay."
BASELINES = (DIRECT, "scratch")


def _prepare(given: Any, *, fresh: bool) -> Plan:
    """Return what follows from the options; ``fresh``: as a user gave them, not as a run folder keeps them."""
    check_given(given)
    data, fingerprints = loaded(given)
    own = given.chain is None and (given.teacher is not None or given.student is not None)
    profiles = {name: profile.but(chain=None) if own else profile for name, profile in PROFILES.items()}
    options = _with_ends(chosen(given, data, profiles))
    if fresh:
        refuse_unused(given, options, data, USED)
    seeds = settings(data, options)
    whole, ladder = _networks(options)
    sizes = parameters(seeds[0], (*whole, *ladder))
    first, last = whole[0], whole[-1]
    between = {n.name: sizes[n.name] for n in (*whole[1:-1], *ladder)}
    check_sizes((first.name, sizes[first.name]), (last.name, sizes[last.name]), between)
    options = with_rows(options, len(seeds[0].order))
    chains = Chains(options, options.train_rows, first, last, _hops(options, whole, ladder))
    paths: list[Path] = [(), whole[1:-1]] if options.chain else [()]
    if options.plan == "all":
        candidates = [Candidate(n.name, sizes[n.name], 0.0) for n in ladder]
        paths += [path_of(ladder, found) for found in every_path(candidates, force=options.force)]
    return _Run(Planner(chains, ladder, sizes, seeds), fingerprints).plan(paths)


@dataclass(frozen=True)
class _Run:
    """Makes plans: one for what is known beforehand, one with what the planner proposes."""

    planner: Planner
    fingerprints: Mapping[str, str]

    def plan(self, paths: list[Path], proposals: Proposals | None = None) -> Plan:
        """Return the plan of some paths, to which that of the planner's is added when all has been measured."""
        chains, seeds = self.planner.chains, self.planner.settings
        options = chains.options
        paths = list(dict.fromkeys([*paths, *(proposals or {}).values()]))
        alone = [chains.alone(n) for n in (*self.planner.ladder, chains.student)] if options.plan != "none" else []
        behind = {stage.name: stage for path in paths for stage in chains.path(path)}
        chosen = {seed: chains.arm(path) for seed, path in (proposals or {}).items()}
        apart = [chains.planned(chosen)] if len(set(chosen.values())) > 1 else []
        arms = dict.fromkeys((*CONTROLS, *map(chains.arm, paths), *(stage.name for stage in apart)))
        teacher = teacher_stage(options, len(seeds[0].order))
        return Plan(
            recipe=RECIPE,
            options=options,
            stages=[teacher, *alone, *chains.controls(), *behind.values(), *apart],
            arms=tuple(arms),
            settings=seeds,
            fingerprints=self.fingerprints,
            baselines=BASELINES,
            extras=partial(self.extras, paths, proposals),
            first=[teacher.name, *(stage.name for stage in alone)],
            then=partial(self.with_proposals, paths) if alone and proposals is None else None,
        )

    def with_proposals(self, paths: list[Path], outcomes: Mapping[str, Outcome]) -> Plan:
        """Return the plan that has what the planner proposes for each seed as well."""
        return self.plan(paths, self.planner.proposals(paths, outcomes))

    def extras(
        self,
        paths: list[Path],
        proposals: Proposals | None,
        plan: Plan,
        left: Left,
        outcomes: Mapping[str, Outcome],
        folder: RunFolder,
        result: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write ``plan.json``; return it, and the run in sentences, as parts of the result."""
        facts = planned(self.planner, paths, proposals, outcomes, result["comparisons"])
        folder.write("plan.json", facts)
        told = [*lines(facts), *more_rows(plan, outcomes), *result["conclusion"]["lines"]]
        return {
            "assistant": facts,
            "conclusion": {**result["conclusion"], "lines": told},
            "warnings": [*result["warnings"], *warned(facts)],
        }


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


RECIPE = Recipe("assistant", Config, _prepare)


def run(config: Config, out: FilePath, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all chains into a new folder, see :func:`tutelage.recipes.distilling.running.run`."""
    return running.run(RECIPE, config, out, watcher)


def resume(folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped, see :func:`tutelage.recipes.distilling.running.resume`."""
    return running.resume(RECIPE, folder, watcher)
