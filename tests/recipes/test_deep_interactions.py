"""The recipe in a small size: its arms, what is written, and the diagnostics of an epoch."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.evaluation import auc
from tutelage.lesson import Batch, Lesson
from tutelage.losses import cross_entropy
from tutelage.recipes.deep_interactions import ARMS, Config, run
from tutelage.recipes.diagnostics import NAMES, Diagnostics
from tutelage.recipes.learned import KINDS, SCHOOL
from tutelage.recipes.outcome import read_outcome
from tutelage.runs import RunFolder
from tutelage.training import Step

from .deep_runs import DEFAULT, SMALL, finished_run, run_of_every_arm
from .interrupted import read


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def every_arm(tmp_path_factory):
    return run_of_every_arm(tmp_path_factory.getbasetemp())


def test_the_result(finished):
    result, out = finished
    assert read(out) == json.loads(json.dumps(result))
    assert result["order"] == list(result["arms"]) == DEFAULT
    assert set(result["about"]) == set(DEFAULT)
    assert all(result["about"].values())
    assert set(result["training"]["stacked"].values()) == {True}
    assert {c["b"] for c in result["comparisons"]} == {"uniform", "trusted-only", "early-stopping"}
    for name, arm in result["arms"].items():
        assert len(arm["accuracy"]["values"]) == 2, name
        assert arm["validation_selected_accuracy"]["mean"] <= arm["best_epoch_accuracy"]["mean"]


def test_all_arms_take_as_many_steps(finished):
    _, out = finished
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {(r["epoch"], r["step"]) for r in records} == {(0, 17), (1, 34)}
    for name in DEFAULT:
        if name != "early-stopping":
            tensors = read_outcome(RunFolder.open(out), name).tensors
            assert tensors["seen"].sum(1).tolist() == [34 * 64] * 2


def test_validation_selected_accuracy_and_early_stopping(finished):
    result, out = finished
    for name in set(DEFAULT) - {"early-stopping"}:
        for seed, values in enumerate(read_outcome(RunFolder.open(out), name).records):
            best = max(values, key=lambda r: (r["trusted_accuracy"], -r["epoch"]))
            found = result["arms"][name]["validation_selected_accuracy"]["values"][seed]
            assert found == best["accuracy"]
    early, plain = result["arms"]["early-stopping"], result["arms"]["uniform"]
    assert early["accuracy"] == plain["validation_selected_accuracy"]


def test_every_arm(every_arm):
    result, out = every_arm
    assert set(result["arms"]) == set(ARMS)
    assert set(result["learned"]) == set(KINDS)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    norms = {r["arm"]: r["hypergradient_norm"] for r in records if r["arm"] != SCHOOL}
    learning = {*KINDS} - {"keep-mask"}  # which learned before
    for name, norm in norms.items():
        assert (norm is not None and norm > 0) == (name in learning), name


def test_clean_labels_have_no_auc(tmp_path):
    result = run(Config(**SMALL | {"epochs": 1, "noise": "0"}, teachers="uniform,deep"), tmp_path / "run")
    assert "auc" not in result["arms"]["deep"]
    assert result["warnings"] == []


# diagnostics


def test_diagnostics_are_recorded(finished):
    _, out = finished
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for r in records:
        assert set(NAMES) <= r.keys()
        assert 0 <= r["noisy_fit"] <= 1
        assert 0 < r["effective_share"] <= 1 + 1e-6
        if r["arm"] in KINDS:
            assert r["gap"] == pytest.approx(r["score_right"] - r["score_wrong"])
            assert 0 < r["score_wrong"] < 1
    plain = [r for r in records if r["arm"] == "uniform"]
    assert all((r["auc"], r["gap"]) == (0.5, 0.0) for r in plain)


def step_of(score, index, answers, **metrics):
    rows = len(score)
    batch = Batch(torch.zeros(rows, 1), torch.zeros(rows, dtype=torch.int64), torch.tensor(index))
    lesson = Lesson(batch.x, batch.y, torch.ones(rows), cross_entropy, {"score": torch.tensor(score)})
    logits = nn.functional.one_hot(torch.tensor(answers), 3).float()
    return Step(0, batch, lesson, {"logits": logits, **metrics})


def test_diagnostics_by_hand():
    noisy = torch.tensor([0, 1, 2, 0, 1, 2])
    right, wrong = (np.array([c in "".join(w) for c in "012345"]) for w in (["0", "1", "4"], ["2", "3"]))
    diagnostics = Diagnostics(noisy)
    diagnostics.add(step_of([0.9, 0.5, 0.5], [0, 1, 2], [0, 1, 0], hypergradient_norm=torch.tensor(2.0)))
    state = diagnostics.state_dict()
    again = Diagnostics(noisy)
    again.load_state_dict(state)
    found = []
    for each in (diagnostics, again):
        each.add(step_of([0.2, 0.4, 1.0], [3, 4, 5], [0, 2, 2]))
        found.append(each.end_epoch(right, wrong))
    assert found[0] == found[1]
    values = found[0]
    # right: .9, .5, .4; wrong: .5, .2; row 5 is not known
    assert values["auc"] == auc([0.9, 0.5, 0.4, 0.5, 0.2], [1, 1, 1, 0, 0]) == pytest.approx(4.5 / 6)
    assert values["score_right"] == pytest.approx(0.6)
    assert values["gap"] == pytest.approx(0.6 - 0.35)
    assert values["noisy_fit"] == pytest.approx(4 / 6)
    shares = [1.9**2 / (3 * (0.81 + 0.25 + 0.25)), 1.6**2 / (3 * (0.04 + 0.16 + 1.0))]
    assert values["effective_share"] == pytest.approx(np.mean(shares))
    assert values["hypergradient_norm"] == 2.0
    none = np.zeros(6, dtype=bool)
    diagnostics.add(step_of([0.9, 0.5], [0, 1], [0, 1]))
    values = diagnostics.end_epoch(np.ones(6, dtype=bool), none)
    assert (values["auc"], values["gap"], values["score_wrong"], values["hypergradient_norm"]) == (None,) * 4
