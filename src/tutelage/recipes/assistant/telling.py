"""What a run with assistants comes to: every hop with its accuracy, what it cost, and whether it paid."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ...evaluation import summary
from ...gap import Gap, mean_gap
from ...statistics import PairedDifference, Verdict
from ..distilling import Outcome, Setting
from .chain import Network, Path
from .proposing import Planner, Proposals, validated
from .stages import DIRECT, PLANNED, Chains, alone_name

_WORTH: Mapping[Verdict, str] = {"better": "paid", "worse": "harmful", "numbers only": "numbers only"}


def worth(difference: PairedDifference) -> str:
    """Return whether assistants paid, from the student behind them less the direct one.

    ``paid``, ``harmful`` or ``not shown``; ``numbers only`` below three seeds.
    """
    return _WORTH.get(difference["verdict"], "not shown")


def parameters(setting: Setting, networks: Sequence[Network]) -> dict[str, int]:
    """Return the number of parameters of each network, by name."""
    return {network.name: _size(setting.net(network.net, "size")) for network in networks}


def _size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def planned(
    planner: Planner,
    paths: Sequence[Path],
    proposals: Proposals | None,
    outcomes: Mapping[str, Outcome],
    comparisons: Sequence[PairedDifference],
) -> dict[str, Any]:
    """Return what the planner saw, and every path with its hops, its cost and its verdict.

    ``wall_seconds`` are for all seeds together; those of a path include its teacher.

    Args:
        planner: of the run.
        paths: that were trained, the empty one, direct distillation, included.
        proposals: of the planner.
        outcomes: of the stages by name.
        comparisons: of the result, so that a pair has one verdict.
    """
    chains, options, sizes = planner.chains, planner.chains.options, planner.sizes
    differences = {difference["a"]: difference for difference in comparisons if difference["b"] == DIRECT}
    teacher = outcomes["teacher"]
    return {
        "plan": options.plan,
        "min_gap": options.min_gap,
        "max_hops": options.max_hops,
        "teacher": {
            "name": chains.teacher.name,
            "net": chains.teacher.net,
            "parameters": sizes[chains.teacher.name],
            **_validation(teacher),
            "accuracy": summary([end["accuracy"] for end in teacher.ends]),
            "fingerprints": [prints["network"] for prints in teacher.fingerprints],
            "wall_seconds": teacher.seconds,
        },
        "candidates": [
            {"name": n.name, "net": n.net, "parameters": sizes[n.name], **_alone(n, outcomes)}
            for n in (*planner.ladder, chains.student)
        ],
        **_proposed(planner, proposals or {}, differences),
        "paths": [
            {
                "arm": chains.arm(path),
                "path": [network.name for network in path],
                **_validation(outcomes[chains.arm(path)], "validation"),
                "hops": [_hop(chains, path, place, sizes, outcomes) for place in range(len(path) + 1)],
                "wall_seconds": teacher.seconds + sum(outcomes[stage.name].seconds for stage in chains.path(path)),
                **_against_direct(differences.get(chains.arm(path))),
            }
            for path in paths
        ],
        "wall_seconds": sum(outcome.seconds for outcome in outcomes.values()),
    }


def _alone(network: Network, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    return _validation(outcomes.get(alone_name(network)))


def _validation(outcome: Outcome | None, name: str = "alone") -> dict[str, Any]:
    """Accuracy on validation rows: the mean over seeds, and each seed's, by which its own path is proposed."""
    if outcome is None or "validation_accuracy" not in outcome.ends[0]:
        return {name: None, f"{name}_by_seed": None}
    return {name: validated(outcome), f"{name}_by_seed": [end["validation_accuracy"] for end in outcome.ends]}


def _against_direct(difference: PairedDifference | None) -> dict[str, Any]:
    return {"difference": difference, "verdict": None if difference is None else worth(difference)}


def _proposed(planner: Planner, proposals: Proposals, differences: Mapping[str, PairedDifference]) -> dict[str, Any]:
    """The paths that are proposed, that of most seeds first, and what following them comes to."""
    seeds = {path: [s for s, own in proposals.items() if own == path] for path in proposals.values()}
    arms = {path: planner.chains.arm(path) for path in seeds}
    groups = sorted(seeds, key=lambda path: -len(seeds[path]))
    found = [{"path": [n.name for n in path], "arm": arms[path], "seeds": seeds[path]} for path in groups]
    if not found:
        return {"proposed": [], "planned": None}
    arm = PLANNED if len(found) > 1 else arms[groups[0]]
    basis = "all seeds" if planner.by_all_seeds else "each seed"
    return {"proposed": found, "planned": {"arm": arm, "basis": basis, **_against_direct(differences.get(arm))}}


def _hop(
    chains: Chains, path: Path, place: int, sizes: Mapping[str, int], outcomes: Mapping[str, Outcome]
) -> dict[str, Any]:
    """The network at a place of a path: what it was taught by, and how good it became."""
    network = (*path, chains.student)[place]
    stage = chains.hop(path[:place], network)
    outcome, loss = outcomes[stage.name], chains.hops[network.name]
    (needed,) = stage.needs
    return {
        "stage": stage.name,
        "name": network.name,
        "net": network.net,
        "parameters": sizes[network.name],
        **_alone(network, outcomes),
        "accuracy": summary([end["accuracy"] for end in outcome.ends]),
        "gap": [end.get("gap") for end in outcome.ends],
        "agreement": [end["agreement"] for end in outcome.ends],
        "taught_by": needed,
        "teacher_fingerprints": [prints["teachers"][needed] for prints in outcome.fingerprints],
        "fingerprints": [prints["network"] for prints in outcome.fingerprints],
        "temperature": loss.temperature,
        "ce_weight": loss.ce_weight,
        "kd_weight": loss.kd_weight,
        "seeds": [end["seed"] for end in outcome.ends],
        "wall_seconds": outcome.seconds,
    }


def lines(facts: Mapping[str, Any]) -> list[str]:
    """Return the run in sentences: what chains are worth, each with its accuracies, and what the planner proposes."""
    teacher, paths = facts["teacher"], sorted(facts["paths"], key=lambda path: path["difference"] is None)
    apart = [facts["planned"]] if facts["planned"] is not None and facts["planned"]["arm"] == PLANNED else []
    found = _in_short([*paths, *apart])
    for path in paths:
        hops = [f"{hop['name']} {100 * hop['accuracy']['mean']:.2f}" for hop in path["hops"]]
        line = f"{teacher['name']} {100 * teacher['accuracy']['mean']:.2f} → {' → '.join(hops)} % ({path['arm']})"
        found.append(f"{line}{_worth(path)}.")
    return found + _proposal(facts)


def _worth(path: Mapping[str, Any]) -> str:
    """What a path is worth, after its name; nothing for direct distillation."""
    if path["difference"] is None:
        return ""
    points = f"{100 * path['difference']['mean_difference']:+.2f}".replace("-", "−")
    return f": {points} points against direct: {path['verdict']}"


def _in_short(paths: Sequence[Mapping[str, Any]]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for path in paths:
        if (difference := path["difference"]) is not None:
            half = "" if difference["ci95"] is None else f" ± {100 * difference['ci95']:.2f}"
            points = f"{100 * difference['mean_difference']:+.2f}{half} points".replace("-", "−")
            groups.setdefault(path["verdict"], []).append(f"{path['arm']} ({points})")
    short = "; ".join(f"{verdict}: {', '.join(arms)}" for verdict, arms in groups.items())
    return [f"assistants against direct distillation, {short}."] if short else []


def _proposal(facts: Mapping[str, Any]) -> list[str]:
    """What the planner proposes, and what it has seen."""
    if facts["planned"] is None:
        return []
    networks = (facts["teacher"], *facts["candidates"])
    seen = {network["name"]: network["alone"] for network in networks}
    if facts["plan"] == "all":
        seen = {path["arm"]: path["validation"] for path in facts["paths"]}
    listed = ", ".join(f"{name} {100 * accuracy:.1f}" for name, accuracy in seen.items() if accuracy is not None)
    ends = networks[0]["name"], networks[-1]["name"]
    seeds = sum(len(group["seeds"]) for group in facts["proposed"])
    told = [_path(group["path"], ends) for group in facts["proposed"]]
    if len(told) > 1:
        told = [f"{path} ({len(group['seeds'])} of {seeds} seeds)" for path, group in zip(told, facts["proposed"])]
    by = "" if seeds == 1 or facts["planned"]["basis"] == "all seeds" else ", for each seed by its own validation rows,"
    mean = "on validation rows" if seeds == 1 else "means on validation rows"
    return [f"planner ({facts['plan']}){by} proposes {', '.join(told)}{_worth(facts['planned'])}; {mean}: {listed} %."]


def _path(names: Sequence[str], ends: tuple[str, str]) -> str:
    return " → ".join((ends[0], *names, ends[1])) + ("" if names else ", without assistants")


def warned(facts: Mapping[str, Any]) -> list[str]:
    """Return a line on networks that cannot follow the one that taught them, the worst first, if there are any."""
    hops = {hop["stage"]: hop for path in facts["paths"] for hop in path["hops"]}
    gaps = {stage: mean_gap([Gap(*each) for each in zip(hop["gap"], hop["agreement"])]) for stage, hop in hops.items()}
    lost = sorted((stage for stage, own in gaps.items() if own.advice), key=lambda stage: -(gaps[stage].r or 0.0))
    if not lost:
        return []
    others = ", ".join(f"{stage} (r = {gaps[stage].r:.2g})" for stage in lost[1:])
    return [f"{lost[0]}: {gaps[lost[0]].advice}" + (f" The same holds for {others}." if others else "")]
