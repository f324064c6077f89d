"""What a run comes to: numbers of each arm over seeds, paired comparisons, and parts for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ... import __version__
from ...distilled.scores import (
    augmentation_robust_score,
    hard_label_recovery,
    improvement_over_random,
    label_robust_score,
)
from ...evaluation import summary
from ...statistics import PairedDifference, Runs, compare, power_warning, table
from ..pieces import Done, Record
from .comparing import ABOUT, mean
from .concluding import conclusion
from .plan import Plan
from .stages import AUGMENTED

Values = dict[str, list[float]]
"""One value a seed, by metric."""
MADE = "distilled"
FULL = "full-data"
_OF_ATTACKS = ("attack", "overall", "a_accuracy", "others")


def summed_up(plan: Plan, done: Done, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return what ``result.json`` holds.

    Args:
        plan: of the run.
        done: its finished stages.
        seconds: how long each took, by name.
    """
    names = set(seconds)
    arms: dict[str, Values] = {MADE: _made(plan, done, names)}
    arms |= {name: _real(plan, done, name, names) for name in plan.baselines}
    if FULL in names:
        arms[FULL] = {"free_accuracy": [mean(done.facts(FULL, s)["accuracies"]) for s in plan.seeds]}
    metric = main_metric(plan)
    sets = {str(seed): _set(plan, done, seed) for seed in plan.seeds}
    found = _comparisons(list(plan.seeds), arms, metric)
    result = {
        "recipe": "dataset-distillation",
        "version": __version__,
        "config": asdict(plan.options),
        "seeds": list(plan.seeds),
        "data": _data(plan),
        "distillation": _setting(plan),
        "order": list(arms),
        "about": {name: _about(plan, name) for name in arms},
        "metric": metric,
        "arms": {name: {m: summary(v) for m, v in values.items()} for name, values in arms.items()},
        "comparisons": found,
        "robustness": done.facts("robustness", plan.seeds[0])["rows"] if "robustness" in names else [],
        "scores": _over_seeds([each.get("scores", {}) for each in sets.values()]),
        "sets": sets,
        "warnings": [line for difference in found if (line := power_warning(difference)) is not None],
        "environment": dict(done.folder.read("environment.json")),
        "seconds": dict(seconds),
    }
    return result | {"conclusion": {"lines": conclusion(result)}}


def main_metric(plan: Plan) -> str:
    """Return what counts: the accuracy after the lessons, the share of rows an attack moves, or free training."""
    if plan.attack is not None:
        return "attack"
    return "accuracy" if plan.ordered else "free_accuracy"


def _data(plan: Plan) -> Record:
    domain = plan.domain
    return {
        "name": domain.source.name,
        "source": None if plan.known is None else plan.known.source.name,
        "classes": list(domain.source.classes),
        "shape": list(domain.shape),
        "train_rows": len(domain.y),
        "test_rows": len(domain.test_y),
        "normalisation": {"mean": domain.scaling.mean.flatten().tolist(), "std": domain.scaling.std.flatten().tolist()},
        "whitening": plan.options.whitening,
    }


def _setting(plan: Plan) -> Record:
    options = plan.options
    return {
        "objective": options.objective,
        "init": options.init,
        "method": options.method,
        "images": options.batches * options.per_class * plan.domain.classes,
        "applications": options.batches * options.epochs if plan.ordered else 0,
        "attack": None if plan.attack is None else [plan.attack.a, plan.attack.b],
        "initialisation": plan.initial.name,
        "parameters": sum(p.numel() for p in plan.net.parameters()),
    }


def _about(plan: Plan, name: str) -> str:
    count = plan.options.batches * plan.options.per_class * plan.domain.classes
    if name == MADE:
        return f"{count} images that were learned, {plan.options.method}."
    return ABOUT.get(name, "All training rows.")


def _made(plan: Plan, done: Done, stages: set[str]) -> Values:
    facts = [done.facts("judged", seed) for seed in plan.seeds]
    values: Values = {}
    if all("along" in each for each in facts) and plan.attack is None:
        values["accuracy"] = [each["along"]["mean"][-1] for each in facts]
        values["before"] = [each["along"]["mean"][0] for each in facts]
        values["std_over_networks"] = [each["along"]["std"][-1] for each in facts]
    if plan.attack is not None:
        return values | _attack_values([each["attack"] for each in facts])
    values["neighbour_accuracy"] = [each["neighbour_accuracy"] for each in facts]
    return values | _free(plan, done, MADE, stages)


def _real(plan: Plan, done: Done, name: str, stages: set[str]) -> Values:
    draws = [done.facts(name, seed)["draws"] for seed in plan.seeds]
    if plan.attack is not None:
        return _attack_values([_mean_attack(each) for each in draws])
    metrics = ("accuracy", "neighbour_accuracy") if plan.ordered else ("neighbour_accuracy",)
    values = {m: [mean([draw[m] for draw in each]) for each in draws] for m in metrics}
    if plan.ordered and len(draws[0]) > 1:
        values["best_draw"] = [max(each, key=lambda draw: draw["train_accuracy"])["accuracy"] for each in draws]
    return values | _free(plan, done, name, stages)


def _free(plan: Plan, done: Done, name: str, stages: set[str]) -> Values:
    if "free" not in stages:
        return {}
    found = [done.facts("free", seed) for seed in plan.seeds]
    arms = {"free_accuracy": name, "augmented_accuracy": AUGMENTED + name}
    return {m: [mean(each[arm]["accuracies"]) for each in found] for m, arm in arms.items() if arm in found[0]}


def _attack_values(found: Sequence[Mapping[str, Any]]) -> Values:
    """Means over networks before and after; a rate of a class without rows is left out."""
    values: Values = {}
    for when, prefix in (("after", ""), ("before", "before_")):
        for name in _OF_ATTACKS:
            rates = [each[when][name] for each in found]
            if all(rate is not None for rate in rates):
                values[prefix + name] = [mean(rate) for rate in rates]
    return values


def _mean_attack(draws: Sequence[Mapping[str, Any]]) -> Record:
    """The rates of several draws as those of more networks."""
    return {
        when: {
            name: None if draws[0][when][name] is None else [v for draw in draws for v in draw[when][name]]
            for name in _OF_ATTACKS
        }
        for when in ("before", "after")
    }


def _set(plan: Plan, done: Done, seed: int) -> Record:
    """What the report shows of the set of a seed."""
    judged = done.facts("judged", seed)
    found: Record = {
        "records": done.facts("distilled", seed)["records"],
        "step_sizes": done.tensors("distilled", seed)["step_sizes"].tolist(),
        "along": judged.get("along"),
        "attack": judged.get("attack"),
        "baselines": {name: done.facts(name, seed)["draws"] for name in plan.baselines},
    }
    if done.has("free", seed):
        found["free"] = done.facts("free", seed)
    if done.has(FULL, seed):
        found["full"] = done.facts(FULL, seed)["accuracies"]
    return found | _scores(found)


def _scores(found: Record) -> Record:
    """HLR, IOR and LRS by free training without augmentation, ARS with it; those that can be told."""
    free = {name: mean(each["accuracies"]) for name, each in found.get("free", {}).items()}
    if not {MADE, "random"} <= free.keys():
        return {}
    ior = improvement_over_random(free[MADE], free["random"])
    scores = {"IOR": ior}
    if "full" in found:
        hlr = hard_label_recovery(mean(found["full"]), free[MADE])
        scores |= {"HLR": hlr, "LRS": label_robust_score(hlr, ior)}
    if AUGMENTED + MADE in free:
        with_it = improvement_over_random(free[AUGMENTED + MADE], free[AUGMENTED + "random"])
        scores["ARS"] = augmentation_robust_score(with_it, ior)
    return {"scores": scores}


def _over_seeds(scores: Sequence[Mapping[str, float]]) -> Record:
    return {name: summary([each[name] for each in scores]) for name in scores[0]}


def _comparisons(seeds: Sequence[int], arms: Mapping[str, Values], metric: str) -> list[PairedDifference]:
    """The distilled set less each real set: taught alike, as nearest neighbours, trained on freely; a table each."""

    def runs(name: str, arm: str, of: str) -> Runs:
        return Runs(name, dict(zip(seeds, arms[arm][of])))

    found: list[PairedDifference] = []
    rivals = [name for name in arms if name != MADE]
    if metric != "free_accuracy":
        taught = [name for name in rivals if metric in arms[name]]
        found += table([compare(runs(MADE, MADE, metric), runs(n, n, metric), metric) for n in taught])
    if metric != "attack":
        near = [name for name in rivals if "neighbour_accuracy" in arms[name]]
        pairs = [(runs(MADE, MADE, metric), runs(f"1-NN on {n}", n, "neighbour_accuracy")) for n in near]
        found += table([compare(a, b, "neighbour_accuracy") for a, b in pairs])
    free = [name for name in rivals if "free_accuracy" in arms[name] and "free_accuracy" in arms[MADE]]
    of = "free_accuracy"
    return found + table([compare(runs(MADE, MADE, of), runs(n, n, of), of) for n in free])
