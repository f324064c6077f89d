"""The recipe in a small size: what it writes, the mentors it makes, and the plain run they learn from."""

import json
import math
from itertools import chain

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tutelage import train
from tutelage.mentors import fit_rows, load_mentor
from tutelage.recipes.dumping import Dumper, dump_of
from tutelage.recipes.mentor_files import mentor_file
from tutelage.recipes.mentornet import ARMS, DD, PD, Config, run
from tutelage.recipes.outcome import read_outcome
from tutelage.runs import RunFolder
from tutelage.teachers import Uniform

from .mentor_runs import SMALL, finished_run, planned, quick_fits

DEFAULT = Config().teachers.split(",")


@pytest.fixture(autouse=True, scope="module")
def _quick_fits():
    with quick_fits():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_run(tmp_path_factory.getbasetemp())


def test_the_result(finished):
    result, out = finished
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    assert result["recipe"] == "mentornet"
    assert list(result["arms"]) == result["order"] == DEFAULT
    assert set(result["about"]) == set(DEFAULT)
    assert result["about"][DD].startswith("MentorNet DD")
    assert result["about"][PD].startswith("MentorNet PD")
    assert (result["compat"], result["published"]) == ("none", {})
    assert set(result["training"]["stacked"].values()) == {True}
    for name, arm in result["arms"].items():
        assert len(arm["accuracy"]["values"]) == 2, name
    assert {c["b"] for c in result["comparisons"]} == {"uniform", "trusted-only", "early-stopping"}


def test_the_arms_are_those_of_both_recipes():
    from tutelage.recipes import curricula

    assert set(ARMS) == {*curricula.ARMS, DD}
    assert list(ARMS)[:5] == ["uniform", "self-paced", "focal", PD, DD]


def test_the_mentors(finished):
    result, out = finished
    plan = planned()
    assert len(result["mentors"]) == 2
    for seed, facts in enumerate(result["mentors"]):
        assert facts["seed"] == seed
        assert facts["file"] == mentor_file(seed) == f"mentors/mentornet-dd-seed{seed}.safetensors"
        assert facts["made_for"] == []
        made = load_mentor(out / facts["file"])
        settings = made.settings
        assert (settings.percentile, settings.decay, settings.burn_in, settings.fixed_time) == (0.5, 0.5, 18, True)
        assert (settings.loss, settings.classes, made.held) == ("cross_entropy", 10, None)
        assert settings.origin == facts["origin"]
        assert facts["origin"]["rows"] == 4 * 126
        assert facts["origin"]["noise"] == plan.settings[seed].noise.convention
        assert "seconds" not in facts["origin"]
        # the teacher of the run, as it ended, has this very mentor
        saved = read_outcome(RunFolder.open(out), DD).tensors
        for name, value in made.network.state_dict().items():
            assert torch.equal(saved[f"teacher.{seed}.mentor.network.{name}"], value)
    first, second = (load_mentor(out / mentor_file(s)).network.state_dict() for s in (0, 1))
    assert not torch.equal(first["out.weight"], second["out.weight"])


@pytest.mark.parametrize("update_at", [None, "21,75"])
def test_stacked_seeds_give_the_same_result(tmp_path, update_at):
    options = SMALL | {"teachers": f"uniform,{PD},{DD}", "update_at": update_at, "epochs": 6}
    together = run(Config(**options), tmp_path / "a")
    alone = run(Config(**options, stack=False), tmp_path / "b")
    assert set(together["training"]["stacked"].values()) == {True}
    assert set(alone["training"]["stacked"].values()) == {False}
    for arm in together["arms"]:
        a, b = (json.loads((tmp_path / x / "arms" / f"{arm}.json").read_text())["records"] for x in "ab")
        for x, y in zip(chain(*a), chain(*b)):
            assert x["loss"] == pytest.approx(y["loss"], abs=1e-4)
            assert x["weight_wrong"] == pytest.approx(y["weight_wrong"], abs=1e-3)
            assert x["accuracy"] == pytest.approx(y["accuracy"], abs=2 / 539)


# the plain run


def independent_dump(plan, seed, p):
    """Losses and thresholds of a plain run, from a loop of its own."""
    setting, epochs = plan.settings[seed], plan.training.epochs
    rows = setting.training("given", setting.roles["train"], plan.training.batch_size)
    steps = len(rows) * epochs
    pupil = setting.student(plan.training.student, plan.schedule.make(steps))
    trusted = setting.roles["trusted"]
    x = next(setting.evaluation("trusted").batches()).x
    given = torch.from_numpy(setting.noise.noisy[trusted])
    moving, found = 0.0, []
    for step in train(pupil, Uniform(), rows.repeat().batches(steps)):
        moving = 0.5 * moving + 0.5 * np.quantile(step.metrics["losses"].numpy(), p)
        t = step.number + 1
        if t % len(rows) == 0:
            with torch.no_grad():
                losses = F.cross_entropy(pupil.net.eval()(x), given, reduction="none")
            pupil.net.train()
            found.append((math.floor(100 * (t - 1) / steps), moving / (1 - 0.5**t), losses.numpy()))
    kept = [found[0]]
    for moment in found[1:]:
        if moment[0] // 3 > kept[-1][0] // 3:
            kept.append(moment)
    return trusted, kept


@pytest.mark.parametrize("p", [0.5, 0.8])
def test_the_dump_is_that_of_a_plain_run(tmp_path, p):
    options = {"seeds": 2, "epochs": 5, "percentile": str(p), "stack": False}
    run(Config(**SMALL | options, teachers="uniform,mentornet-dd"), tmp_path / "run")
    outcome = read_outcome(RunFolder.open(tmp_path / "run"), "uniform")
    plan = planned(**options)
    for seed, setting in enumerate(plan.settings):
        trusted, moments = independent_dump(plan, seed, p)
        dump = dump_of(outcome.tensors, seed, "dump")
        np.testing.assert_array_equal(dump.id, np.tile(trusted, 5))
        np.testing.assert_array_equal(dump.given, np.tile(setting.noise.noisy[trusted], 5))
        np.testing.assert_array_equal(dump.trusted, np.tile(setting.source.y[trusted], 5))
        np.testing.assert_array_equal(dump.percent, np.repeat([m[0] for m in moments], 126))
        np.testing.assert_allclose(dump.threshold, np.repeat([m[1] for m in moments], 126), rtol=1e-5)
        np.testing.assert_allclose(dump.loss, np.concatenate([m[2] for m in moments]), rtol=1e-4, atol=1e-5)
        network, report = fit_rows(dump.rows(), seed=seed, steps=60)
        made = load_mentor(tmp_path / "run" / mentor_file(seed))
        assert torch.equal(made.network.out.weight, network.out.weight)
        assert made.settings.origin["mean_absolute_error"] == report.mean_absolute_error
        assert made.settings.percentile == p


def test_watching_a_plain_run_does_not_change_it(finished, tmp_path):
    result, _ = finished
    alone = run(Config(**SMALL, teachers="uniform"), tmp_path / "run")
    assert alone["arms"]["uniform"] == result["arms"]["uniform"]
    assert "mentors" not in alone


@pytest.mark.parametrize("epochs", [100, 30, 3, 1])
def test_percents_of_the_dump(epochs):
    """Of nine steps an epoch; for 100 epochs those of the specification: 0, 3, ..., 99."""
    dumper, logits = Dumper(torch.zeros(5, dtype=torch.int64)), torch.randn(5, 3)
    needed = []
    for epoch in range(epochs):
        last = 9 * (epoch + 1) - 1
        dumper.add(last / (9 * epochs), logits, torch.tensor(float(epoch)))
        e = 100 * last // (9 * epochs)
        if not needed or e // 3 > needed[-1] // 3:
            needed.append(e)
    found = dumper.state_dict()
    assert found["percent"].tolist() == needed
    assert found["loss"].shape == (len(needed), 5)
    fixed = {100: list(range(0, 100, 3)), 3: [29, 62, 96], 1: [88]}
    assert needed == fixed.get(epochs, needed)
    assert len(needed) == {100: 34, 30: 30, 3: 3, 1: 1}[epochs]


def test_one_epoch(tmp_path):
    result = run(Config(**SMALL | {"epochs": 1}, teachers="mentornet-dd"), tmp_path / "run")
    assert list(result["arms"]) == [DD]
    assert "uniform" in result["training"]["stacked"]
    assert result["mentors"][0]["origin"]["rows"] == 126
