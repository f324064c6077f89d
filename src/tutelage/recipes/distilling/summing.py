"""What a run comes to: metrics of each arm over seeds, and paired comparisons with their verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

from ... import __version__
from ...errors import CheckpointError
from ...evaluation import summary
from ...statistics import PairedDifference, Runs, Verdict, compare, power_warning, table, told
from .files import Outcome
from .setting import Setting
from .stage import Given, Stage

if TYPE_CHECKING:
    from .running import Plan

_LEFT_OUT = ("seed", "step")


def summed_up(plan: "Plan", outcomes: Mapping[str, Outcome], environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``result.json`` holds of every staged recipe."""
    first, stages = plan.settings[0], plan.order
    for stage in stages:
        _check_prints(stage, outcomes[stage.name])
    arms = {name: values(outcomes[name]) for name in plan.arms}
    found = comparisons(plan.arms, plan.baselines, outcomes)
    return {
        "recipe": plan.recipe.name,
        "version": __version__,
        "config": asdict(plan.options),
        "seeds": [setting.seed for setting in plan.settings],
        "data": {
            "name": first.source.name,
            "classes": list(first.source.classes),
            "shape": list(first.source.x.shape[1:]),
            "train_rows": len(first.order),
            "validation_rows": len(first.roles.validation),
            "test_rows": first.test_rows,
            "own_test": first.has_own_test,
        },
        "order": list(plan.arms),
        "about": {stage.name: stage.about for stage in stages},
        "stages": {
            stage.name: {
                "needs": list(stage.needs),
                "steps": stage.length,
                "parameters": sum(p.numel() for net in stage.nets(first) for p in net.parameters()),
                "accuracy": summary([end["accuracy"] for end in outcomes[stage.name].ends]),
                "fingerprints": outcomes[stage.name].fingerprints,
            }
            for stage in stages
        },
        "arms": {name: {metric: summary(v) for metric, v in metrics.items()} for name, metrics in arms.items()},
        "comparisons": found,
        "conclusion": {"lines": _lines(found)},
        "warnings": [
            *_seen_before(first, stages),
            *(line for difference in found if (line := power_warning(difference)) is not None),
        ],
        "environment": dict(environment),
        "seconds": {stage.name: outcomes[stage.name].seconds for stage in stages},
    }


def _check_prints(stage: Stage, outcome: Outcome) -> None:
    """Refuse an outcome without the fingerprints by which arms are known to be paired."""
    needed = {"split", *(stage.paired_by if stage.length else ())}
    for end, prints in zip(outcome.ends, outcome.fingerprints, strict=True):
        found = {*prints.get("pairing", ()), *prints.get("teachers", ())}
        if missing := {*needed, *stage.needs} - found:
            raise CheckpointError(
                f"arms/{stage.name}.json is damaged: seed {end['seed']} has no fingerprint of its {min(missing)}; "
                "remove it and resume to train the stage again."
            )


def _seen_before(setting: Setting, stages: Sequence[Stage]) -> list[str]:
    """Say that networks from files may know the test rows, where these are drawn from the rows that anyone has."""
    given = [stage.name for stage in stages if isinstance(stage, Given) and not stage.needs]
    if not given or setting.has_own_test:
        return []
    return [
        f"the {given[0]}'s weights are from a file, and {setting.source.name} has no test rows of its own: it may have "
        "learned from rows that are tested on, and its accuracy and that of its students may be too high."
    ]


def more_rows(plan: "Plan", outcomes: Mapping[str, Outcome]) -> list[str]:
    """Return a line on what answers carry that come from a teacher which has seen more rows than the students."""
    rows, all_rows = plan.options.train_rows, len(plan.settings[0].order)
    if rows >= all_rows or "teacher" not in outcomes:
        return []
    if plan.options.teacher_weights is not None:
        return [
            f"the students learn from {rows:,} of {all_rows:,} rows; what the teacher has seen, its file does not say."
        ]
    return [
        f"the teacher learned from {all_rows:,} labelled rows, the students from {rows:,} of them: a gain may be for "
        f"the most part what it knows from the other {all_rows - rows:,}, not the way of teaching; with --train-rows "
        f"{all_rows} both learn from the same."
    ]


def values(outcome: Outcome) -> dict[str, list[float]]:
    """Return all that the ends of an arm tell in numbers, one a seed."""
    names = [n for n, v in outcome.ends[0].items() if isinstance(v, float | int) and n not in _LEFT_OUT]
    return {n: [float(end[n]) for end in outcome.ends] for n in names if all(n in end for end in outcome.ends)}


def comparisons(
    arms: Sequence[str], baselines: Sequence[str], outcomes: Mapping[str, Outcome]
) -> list[PairedDifference]:
    """Return all arms less each baseline that is among them; those with one baseline are one table.

    Raises:
        ConfigError: if arms do not share, seed by seed, what paired runs share.
    """
    found: list[PairedDifference] = []
    for base in baselines:
        if base in arms:
            others = [arm for arm in arms if arm != base and not (arm in baselines and _above(base, arm, baselines))]
            found += table([_compared(arm, base, outcomes) for arm in others])
    return found


def _lines(found: Sequence[PairedDifference]) -> list[str]:
    """Say what the differences from the first baseline show: in short, then each."""
    if not found:
        return []
    against = [difference for difference in found if difference["b"] == found[0]["b"]]
    groups: dict[str, list[str]] = {verdict: [] for verdict in get_args(Verdict)}
    for difference in against:
        groups[difference["verdict"]].append(_named(difference))
    short = "; ".join(f"{verdict}: {', '.join(arms)}" for verdict, arms in groups.items() if arms)
    return [f"against {found[0]['b']}, {short}.", *(told(difference) for difference in against)]


def _named(d: PairedDifference) -> str:
    """An arm, and where something was shown, by how much it is better or worse."""
    if d["verdict"] not in ("better", "worse") or d["ci95"] is None:
        return d["a"]
    more, which = (d["wins"], "above") if d["verdict"] == "better" else (d["losses"], "below")
    points = f"{100 * d['mean_difference']:+.1f} ± {100 * d['ci95']:.1f} points".replace("-", "−")
    return f"{d['a']} ({points}, {which} it on {more} of {len(d['seeds'])} seeds)"


def _above(base: str, arm: str, baselines: Sequence[str]) -> bool:
    """Whether the pair was compared the other way round."""
    return list(baselines).index(arm) < list(baselines).index(base)


def _compared(arm: str, base: str, outcomes: Mapping[str, Outcome]) -> PairedDifference:
    facts = {name: [_shared(prints) for prints in outcomes[name].fingerprints] for name in (arm, base)}
    known = [mine.keys() & theirs.keys() for mine, theirs in zip(facts[arm], facts[base])]
    pair = []
    for name in (arm, base):
        ends = outcomes[name].ends
        shared = {end["seed"]: {k: own[k] for k in keys} for end, own, keys in zip(ends, facts[name], known)}
        pair.append(Runs(name, {end["seed"]: end["accuracy"] for end in ends}, shared))
    return compare(pair[0], pair[1], "accuracy")


def _shared(prints: Mapping[str, Any]) -> dict[str, str]:
    return {**prints["pairing"], **{f"teacher {name}": print for name, print in prints["teachers"].items()}}
