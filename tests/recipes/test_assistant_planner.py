"""What the planner of assistants proposes: for each seed by its own validation rows, or by all where none is tested on.

Its rules over given accuracies are tested in ``tests/core/test_assistants.py``.
"""

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from tutelage.assistants import Candidate, bisected, nearest
from tutelage.recipes.assistant import RECIPE, Config, resume, run
from tutelage.recipes.assistant.chain import networks_of
from tutelage.recipes.assistant.proposing import Planner, validated
from tutelage.recipes.assistant.stages import Chains
from tutelage.recipes.distilling import Outcome
from tutelage.runs import RunFolder

from .interrupted import Stops, assert_same

SMALL = {"chain": "32-16-8-4", "steps": 10, "seeds": 2, "evaluations": 2, "device": "cpu", "threads": 1}
STAGES = ("teacher", "alone-16", "alone-8", "alone-4")


def prepared(**options):
    return RECIPE.prepare(Config(**SMALL | options), fresh=True)


def names(stages):
    return [stage.name for stage in stages]


def outcome(*validation, test=0.5):
    """One that was validated so with each seed; by the test rows all are alike, or as is said."""
    tested = test if isinstance(test, tuple) else (test,) * len(validation)
    ends = [{"accuracy": t, "validation_accuracy": v} for t, v in zip(tested, validation, strict=True)]
    return Outcome([], ends, [], 0.0)


def measured(*by_stage):
    return dict(zip(STAGES, (outcome(*values) for values in by_stage), strict=True))


def added(found, outcomes):
    """Stages that the planner's plan has more; those before come first, in the same order."""
    again = found.then(outcomes)
    assert names(again.order)[: len(found.order)] == names(found.order)
    assert again.then is None
    return set(names(again.order)) - set(names(found.order)), again


@pytest.fixture(scope="module", params=["one", "bisect", "all"])
def finished(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return run(Config(**SMALL | {"plan": request.param}), out), out


def test_each_seed_goes_by_its_own_validation_rows(finished):
    """The oracle reads the run folder and chooses seed by seed."""
    result, out = finished
    facts = result["assistant"]
    sizes = {n["name"]: n["parameters"] for n in (facts["teacher"], *facts["candidates"])}
    want = {}
    for s, seed in enumerate(result["seeds"]):

        def accuracy(stage, s=s):
            return json.loads((out / "arms" / f"{stage}.json").read_text())["ends"][s]["validation_accuracy"]

        teacher, student = Candidate("32", sizes["32"], accuracy("teacher")), Candidate("4", 310, accuracy("alone-4"))
        ladder = [Candidate(name, sizes[name], accuracy(f"alone-{name}")) for name in ("16", "8")]
        if facts["plan"] == "one":
            want[seed] = [nearest(teacher, student, ladder).name]
        elif facts["plan"] == "bisect":
            want[seed] = [c.name for c in bisected(teacher, student, ladder)]
        else:
            arms = {"direct": [], "via-16": ["16"], "via-8": ["8"], "via-16+8": ["16", "8"]}
            want[seed] = max(arms.items(), key=lambda arm: (accuracy(arm[0]), -len(arm[1])))[1]
    assert {seed: group["path"] for group in facts["proposed"] for seed in group["seeds"]} == want
    assert all(group["path"] in [path["path"] for path in facts["paths"]] for group in facts["proposed"])
    assert facts["planned"]["basis"] == "each seed"


def test_what_was_measured_is_told_for_each_seed(finished):
    result, out = finished
    for candidate in result["assistant"]["candidates"]:
        ends = json.loads((out / "arms" / f"alone-{candidate['name']}.json").read_text())["ends"]
        assert candidate["alone_by_seed"] == [end["validation_accuracy"] for end in ends]
        assert candidate["alone"] == pytest.approx(sum(candidate["alone_by_seed"]) / 2)
    told = next(line for line in result["conclusion"]["lines"] if line.startswith("planner ("))
    seen = {n["name"]: n["alone"] for n in (result["assistant"]["teacher"], *result["assistant"]["candidates"])}
    if result["assistant"]["plan"] == "all":
        arms = [path["arm"] for path in result["assistant"]["paths"]]
        seen = {arm: result["arms"][arm]["validation_accuracy"]["mean"] for arm in arms}
    listed = ", ".join(f"{name} {100 * value:.1f}" for name, value in seen.items())
    assert told.endswith(f"; means on validation rows: {listed} %.")


def test_the_proposed_paths_share_what_they_can():
    """A path that is there already is not trained again; shared beginnings are trained once."""
    found = prepared(plan="one")
    assert added(found, measured([0.9, 0.9], [0.8, 0.8], [0.4, 0.4], [0.2, 0.2]))[0] == {"via-8", "assistant-8"}
    assert added(found, measured([0.9, 0.9], [0.6, 0.6], [0.4, 0.4], [0.2, 0.2]))[0] == {"via-16"}  # assistant-16 is
    both, plan = added(found, measured([0.9, 0.9], [0.8, 0.6], [0.4, 0.4], [0.2, 0.2]))
    assert both == {"via-8", "assistant-8", "via-16", "planned"}
    assert plan.arms[-1] == "planned"
    assert plan.order[-1].needs == ("via-8", "via-16")


def test_other_seeds_have_no_say():
    """Over both seeds the middle is nearest to 16; seed 0 alone would take 8, whatever seed 1 measured."""
    found = prepared(plan="one")
    alike = [0.2, 0.2]
    for other in (0.55, 0.3, 0.9):
        _, plan = added(found, measured([0.9, 0.9], [0.8, other], [0.5, 0.2], alike))
        assert plan.extras.args[1][0] == networks_of("8", "--ladder", teacher=False)


def test_all_chains_and_the_best_of_each_seed():
    """Chosen by validation rows, where test rows say the opposite; of equals the shortest."""
    found = prepared(plan="all", chain="32-8-4")
    assert [name for name in names(found.order) if name.startswith("assistant-")] == ["assistant-8"]
    assert names(found.stages)[-2:] == ["assistant-8", "via-8"]
    assert added(found, {"direct": outcome(0.5, 0.5, test=0.9), "via-8": outcome(0.6, 0.7, test=0.1)})[0] == set()
    opposite = {"direct": outcome(0.6, 0.5, test=(0.1, 0.9)), "via-8": outcome(0.5, 0.7, test=(0.9, 0.1))}
    more, plan = added(found, opposite)
    assert more == {"planned"}
    assert {seed: [n.name for n in path] for seed, path in plan.extras.args[1].items()} == {0: [], 1: ["8"]}
    same = {"direct": outcome(0.6, 0.6), "via-8": outcome(0.6, 0.6)}
    assert set(added(found, same)[1].extras.args[1].values()) == {()}


def test_all_chains_share_their_beginnings():
    found = prepared(plan="all", ladder="24,16,8")
    order = names(found.order)
    assert len([name for name in order if name.startswith("assistant-")]) == 7
    assert len([name for name in order if name.startswith(("via-", "direct"))]) == 8
    assert len(set(order)) == len(order)
    without = prepared(plan="none")
    assert without.then is None
    assert names(without.order) == [
        *("teacher", "scratch", "label-smoothing", "direct", "assistant-16", "assistant-16+8", "via-16+8")
    ]


def test_data_with_a_test_set_of_its_own():
    """No seed's validation rows are tested on: the means over all choose, one path for all."""
    found = prepared(plan="one")
    whole = networks_of("32-16-8-4", "--chain", teacher=True)
    chains = Chains(found.options, 800, whole[0], whole[-1], {})
    sizes = {"32": 400, "16": 300, "8": 200, "4": 100}
    outcomes = measured([0.9, 0.9], [0.8, 0.6], [0.4, 0.4], [0.2, 0.2])  # middle .55: 16, mean .7, and 8 are as near
    apart = Planner(chains, whole[1:-1], sizes, found.settings)
    assert not apart.by_all_seeds
    assert [[n.name for n in path] for path in apart.proposals([], outcomes).values()] == [["8"], ["16"]]
    settings = [replace(s, test_source=replace(s.test_source)) for s in found.settings]
    together = Planner(chains, whole[1:-1], sizes, settings)
    assert together.by_all_seeds
    assert [[n.name for n in path] for path in together.proposals([], outcomes).values()] == [["8"], ["8"]]
    assert validated(outcomes["alone-16"]) == pytest.approx(0.7)
    assert validated(outcomes["alone-16"], range(1, 2)) == 0.6


def test_students_of_different_paths_are_one_arm(tmp_path, monkeypatch):
    """Each seed's student is that of its own path, and the arm is compared as others are."""
    own = {0: (), 1: networks_of("8", "--ladder", teacher=False)}
    monkeypatch.setattr(Planner, "proposals", lambda *_: own)
    result = run(Config(**SMALL | {"chain": "32-8-4"}), tmp_path / "run")
    arms = {name: arm["accuracy"]["values"] for name, arm in result["arms"].items()}
    assert arms["planned"] == [arms["direct"][0], arms["via-8"][1]]
    kept = {name: load_file(tmp_path / f"run/arms/{name}.safetensors") for name in ("planned", "direct", "via-8")}
    for name, value in kept["planned"].items():
        assert (value == kept["direct" if name.startswith("network.0") else "via-8"][name]).all()
    facts = result["assistant"]
    assert facts["proposed"] == [
        {"path": [], "arm": "direct", "seeds": [0]},
        {"path": ["8"], "arm": "via-8", "seeds": [1]},
    ]
    (told,) = [d for d in result["comparisons"] if (d["a"], d["b"]) == ("planned", "direct")]
    assert facts["planned"] == json.loads(
        json.dumps({"arm": "planned", "basis": "each seed", "difference": told, "verdict": "numbers only"})
    )
    points = f"{100 * told['mean_difference']:+.2f}".replace("-", "−")
    assert any(
        line.startswith(
            "planner (bisect), for each seed by its own validation rows, proposes 32 → 4, without assistants (1 of 2 "
            f"seeds), 32 → 8 → 4 (1 of 2 seeds): {points} points against direct: numbers only; means on validation"
        )
        for line in result["conclusion"]["lines"]
    )


@pytest.mark.parametrize("stage", ["via-8", "planned"])
def test_a_run_that_stops_after_its_proposals_goes_on(tmp_path, monkeypatch, stage):
    own = {0: (), 1: networks_of("8", "--ladder", teacher=False)}
    monkeypatch.setattr(Planner, "proposals", lambda *_: own)
    options = SMALL | {"chain": None, "teacher": "mlp-32", "student": "mlp-4", "ladder": "8", "steps": 3}
    run(Config(**options), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(Config(**options, checkpoint_seconds=0.0), tmp_path / "run", Stops(stage, 1))
    resume(RunFolder.open(tmp_path / "run"))
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_teacher_and_student_with_a_ladder():
    found = prepared(chain=None, teacher="mlp-32", student="mlp-4", ladder="mlp-16,mlp-8", plan="one")
    assert "alone-mlp-16" in names(found.order)
    assert "via-mlp-8" in names(found.then({n: outcome(0.5, 0.5) for n in found.first}).order)
    assert not [name for name in names(found.order) if name.startswith("via-")]
