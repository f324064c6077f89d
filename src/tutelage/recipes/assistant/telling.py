"""What a run with assistants comes to: every hop with its accuracy, what it cost, and whether it paid."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from ...evaluation import summary
from ...statistics import PairedDifference, Verdict
from ..distilling import Outcome, Setting
from ..distilling.summing import comparisons
from .chain import Network, Path
from .stages import DIRECT, Chains, alone_name, taught_name

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


def validated(outcome: Outcome) -> float:
    """Return the mean accuracy on the validation rows over the seeds."""
    return float(np.mean([end["validation_accuracy"] for end in outcome.ends]))


def planned(
    chains: Chains,
    ladder: Path,
    paths: Sequence[Path],
    proposed: Path | None,
    sizes: Mapping[str, int],
    outcomes: Mapping[str, Outcome],
) -> dict[str, Any]:
    """Return what the planner saw, and every path with its hops, its cost and its verdict.

    Args:
        chains: of the run.
        ladder: candidates.
        paths: that were trained, the empty one, direct distillation, included.
        proposed: by the planner.
        sizes: numbers of parameters by name.
        outcomes: of the stages by name.
    """
    options = chains.options
    names = [_arm(chains, path) for path in paths]
    found = comparisons([DIRECT, *(name for name in names if name != DIRECT)], [DIRECT], outcomes)
    differences = {difference["a"]: difference for difference in found}

    def alone(network: Network) -> float | None:
        outcome = outcomes.get(alone_name(network))
        return None if outcome is None else validated(outcome)

    teacher = outcomes["teacher"]
    return {
        "plan": options.plan,
        "min_gap": options.min_gap,
        "max_hops": options.max_hops,
        "teacher": {
            "name": chains.teacher.name,
            "net": chains.teacher.net,
            "parameters": sizes[chains.teacher.name],
            "alone": validated(teacher) if "validation_accuracy" in teacher.ends[0] else None,
            "accuracy": summary([end["accuracy"] for end in teacher.ends]),
            "fingerprints": [prints["network"] for prints in teacher.fingerprints],
            "seconds": teacher.seconds,
        },
        "candidates": [
            {"name": n.name, "net": n.net, "parameters": sizes[n.name], "alone": alone(n)}
            for n in (*ladder, chains.student)
        ],
        "proposed": None if proposed is None else [network.name for network in proposed],
        "paths": [
            {
                "arm": name,
                "path": [network.name for network in path],
                "hops": [_hop(chains, path, place, sizes, outcomes, alone) for place in range(len(path) + 1)],
                "seconds": sum(outcomes[stage.name].seconds for stage in chains.path(path)),
                "difference": differences.get(name),
                "verdict": worth(differences[name]) if name in differences else None,
            }
            for name, path in zip(names, paths)
        ],
        "seconds": sum(outcome.seconds for outcome in outcomes.values()),
    }


def _arm(chains: Chains, path: Path) -> str:
    return taught_name(path, chains.student, chains.student)


def _hop(
    chains: Chains, path: Path, place: int, sizes: Mapping[str, int], outcomes: Mapping[str, Outcome], alone: Any
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
        "alone": alone(network),
        "accuracy": summary([end["accuracy"] for end in outcome.ends]),
        "gap": [end.get("gap") for end in outcome.ends],
        "taught_by": needed,
        "teacher_fingerprints": [prints["teachers"][needed] for prints in outcome.fingerprints],
        "fingerprints": [prints["network"] for prints in outcome.fingerprints],
        "temperature": loss.temperature,
        "ce_weight": loss.ce_weight,
        "kd_weight": loss.kd_weight,
        "seeds": [end["seed"] for end in outcome.ends],
        "seconds": outcome.seconds,
    }


def lines(facts: Mapping[str, Any], student: Network) -> list[str]:
    """Return the run in sentences: what chains are worth, each with its accuracies, and what the planner proposes."""
    teacher, paths = facts["teacher"], sorted(facts["paths"], key=lambda path: path["difference"] is None)
    found = _in_short(paths)
    for path in paths:
        hops = [f"{hop['name']} {100 * hop['accuracy']['mean']:.2f}" for hop in path["hops"]]
        line = f"{teacher['name']} {100 * teacher['accuracy']['mean']:.2f} → {' → '.join(hops)} % ({path['arm']})"
        if path["difference"] is not None:
            points = f"{100 * path['difference']['mean_difference']:+.2f}".replace("-", "−")
            line += f": {points} points against direct: {path['verdict']}"
        found.append(line + ".")
    if facts["proposed"] is not None:
        found.append(_proposal(facts, student))
    return found


def _in_short(paths: Sequence[Mapping[str, Any]]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for path in paths:
        if (difference := path["difference"]) is not None:
            half = "" if difference["ci95"] is None else f" ± {100 * difference['ci95']:.2f}"
            points = f"{100 * difference['mean_difference']:+.2f}{half} points".replace("-", "−")
            groups.setdefault(path["verdict"], []).append(f"{path['arm']} ({points})")
    short = "; ".join(f"{verdict}: {', '.join(arms)}" for verdict, arms in groups.items())
    return [f"assistants against direct distillation, {short}."] if short else []


def _proposal(facts: Mapping[str, Any], student: Network) -> str:
    seen = {network["name"]: network["alone"] for network in (facts["teacher"], *facts["candidates"])}
    told_of = ", ".join(f"{name} {100 * alone:.1f}" for name, alone in seen.items() if alone is not None)
    names = facts["proposed"]
    if not names:
        return f"planner ({facts['plan']}): no assistant, distil directly; on validation rows: {told_of} %."
    whole = " → ".join([facts["teacher"]["name"], *names, student.name])
    path = next(path for path in facts["paths"] if path["path"] == names)
    return f"planner ({facts['plan']}) proposes {whole}: {path['verdict']}; on validation rows: {told_of} %."
