"""The recipe in a small size: what it writes, where mentors come from, published settings, own data, and bad input."""

import json
import math
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tutelage import train
from tutelage.cli import main
from tutelage.curricula import predefined
from tutelage.data import Crop, Flip, Standardise
from tutelage.errors import CheckpointError
from tutelage.mentors import (
    Mentor,
    MentorNetwork,
    Settings,
    fit_curriculum,
    fit_rows,
    load_mentor,
    save_mentor,
    shipped,
)
from tutelage.recipes import mentornet
from tutelage.recipes.dumping import Dumper, dump_of
from tutelage.recipes.mentor_files import find_mentor, mentor_file
from tutelage.recipes.mentornet import ARMS, DD, PD, RECIPE, Config, run
from tutelage.recipes.noisy_labels import prepare
from tutelage.recipes.outcome import read_outcome
from tutelage.runs import RunFolder
from tutelage.teachers import Curriculum, MentorNet, Uniform
from tutelage.teachers.weigh.mentornet import REFIT

from .test_curricula import line_of

SMALL = {"seeds": 2, "epochs": 4, "student": "mlp-16"}
DEFAULT = Config().teachers.split(",")


@pytest.fixture(autouse=True, scope="module")
def _quick_fits():
    """Mentors of a few steps: how well they fit does not matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mentornet, "fit_rows", partial(fit_rows, steps=60))
        patch.setitem(REFIT, "steps", 20)
        yield


def planned(**options):
    _, (plan,), _ = prepare(RECIPE, Config(**SMALL | options))
    return plan


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return run(Config(**SMALL), out), out


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


# where mentors come from


def test_updates_during_the_run(tmp_path):
    options = {"teachers": "uniform,mentornet-dd", "update_at": "21,75"}
    result = run(Config(**SMALL | {"epochs": 12}, **options), tmp_path / "run")
    assert "dump_loss" not in read_outcome(RunFolder.open(tmp_path / "run"), "uniform").tensors
    for seed, facts in enumerate(result["mentors"]):
        updates = facts["origin"]["updates"]
        assert [u["percent"] for u in updates] == [21, 75]
        assert all(0 <= u["agreement"] <= 1 for u in updates)
        made = load_mentor(tmp_path / "run" / mentor_file(seed))
        assert made.held == 75
        assert (made.settings.percentile, made.settings.classes) == (0.5, 10)
        assert facts["made_for"] == []
    records = json.loads((tmp_path / "run" / "arms" / f"{DD}.json").read_text())["records"]
    weights = [r["weight_right"] for r in records[0]]
    dropped = [r["weight_wrong"] for r in records[0]]
    assert weights[:2] == dropped[:2] == [1.0, 1.0]
    assert all(w < 1 for w in weights[3:])


def test_updates_keep_the_settings_that_were_used(tmp_path):
    options = {"update_at": "25,30", "moving_average": 0.9, "burn_in": 4, "percentile": "0.6", "seeds": 1, "epochs": 1}
    result = run(Config(**SMALL | options, teachers="mentornet-dd"), tmp_path / "run")
    settings = load_mentor(tmp_path / "run" / mentor_file(0)).settings
    assert (settings.decay, settings.burn_in, settings.percentile) == (0.9, 4, 0.6)
    # both times lie between two steps of nine (22 and 33 %): one update, logged once
    assert [u["percent"] for u in result["mentors"][0]["origin"]["updates"]] == [33]


def test_all_trusted_rows_come_to_an_update():
    plan = planned(update_at="50", trusted=0.9, teachers="mentornet-dd")
    assert plan.trajectories[DD].validation >= 1132


def test_form_and_time_of_the_network(tmp_path):
    run(Config(**SMALL | {"form": "mlp", "seeds": 1}, teachers=DD), tmp_path / "mlp")
    assert load_mentor(tmp_path / "mlp" / mentor_file(0)).network.form == "mlp"
    run(Config(**SMALL | {"time": "code", "seeds": 1}, teachers=DD), tmp_path / "code")
    assert load_mentor(tmp_path / "code" / mentor_file(0)).network.time == "code"
    run(Config(**SMALL | {"time": "code", "seeds": 1}, teachers=DD, update_at="20"), tmp_path / "updates")
    made = load_mentor(tmp_path / "updates" / mentor_file(0))
    assert (made.network.form, made.network.time, made.network.bias_in_matrix) == ("gate", "code", False)


def test_percentile_of_the_trusted_labels(tmp_path):
    plan = planned(percentile="trusted")
    run(Config(**SMALL, percentile="trusted", teachers=DD), tmp_path / "run")
    for seed, setting in enumerate(plan.settings):
        right = 1 - setting.noise.mask[setting.roles["trusted"]].mean()
        assert load_mentor(tmp_path / "run" / mentor_file(seed)).settings.percentile == pytest.approx(right)


def test_a_shipped_mentor(tmp_path):
    result = run(Config(**SMALL | {"epochs": 8}, teachers=DD, mentor="self_paced"), tmp_path / "run")
    assert list(result["training"]["stacked"]) == [DD]
    made, needed = load_mentor(tmp_path / "run" / mentor_file(1)), shipped("self_paced")
    assert torch.equal(made.network.out.weight, needed.network.out.weight)
    assert result["mentors"][0]["origin"] == needed.settings.origin
    assert result["mentors"][0]["made_for"] == []


def test_a_file_that_was_made_for_something_else(tmp_path):
    settings = Settings(percentile=0.8, classes=100, loss="squared_error", burn_in=9, origin={"source": "elsewhere"})
    save_mentor(Mentor(MentorNetwork(seed=5), settings), tmp_path / "mine")
    result = run(Config(**SMALL, teachers=DD, mentor=str(tmp_path / "mine")), tmp_path / "run")
    for facts in result["mentors"]:
        assert facts["made_for"] == [
            "percentile 0.8, used with 0.5",
            "100 classes, used with 10",
            "loss squared_error, used with cross_entropy",
        ]
        assert facts["origin"] == {"source": "elsewhere"}
    same = run(Config(**SMALL, teachers=DD, mentor=str(tmp_path / "mine"), percentile="0.8"), tmp_path / "again")
    assert not any("percentile" in line for line in same["mentors"][0]["made_for"])


def test_the_mentors_of_a_run(finished, tmp_path):
    """Each seed gets its own; one without gets those that are there in turn."""
    _, out = finished
    options = SMALL | {"seeds": 3, "first_seed": 1}
    result = run(Config(**options, teachers=DD, mentor=str(out)), tmp_path / "run")
    assert [facts["seed"] for facts in result["mentors"]] == [1, 2, 3]
    for seed, origin in ((1, 1), (2, 0), (3, 1)):
        used, made = (load_mentor(tmp_path / "run" / mentor_file(seed)), load_mentor(out / mentor_file(origin)))
        assert torch.equal(used.network.out.weight, made.network.out.weight)
    assert torch.equal(find_mentor(str(out)).network.out.weight, find_mentor(str(out), seed=0).network.out.weight)


def test_a_mentor_from_a_run_at_the_same_noise_gives_the_same_students(finished, tmp_path):
    """Nothing but the mentor comes from the plain run."""
    result, out = finished
    again = run(Config(**SMALL, teachers="uniform,mentornet-dd", mentor=str(out)), tmp_path / "run")
    assert again["arms"][DD] == result["arms"][DD]


def test_a_run_with_a_mentor_goes_on_from_another_folder(finished, tmp_path, monkeypatch):
    _, out = finished
    monkeypatch.chdir(out.parent)
    path = tmp_path / "run"
    before = run(Config(**SMALL, teachers=DD, mentor="run"), path)
    monkeypatch.chdir(tmp_path)
    after = mentornet.resume(RunFolder.open(path))
    assert before == after


@pytest.mark.parametrize("fixed_time", [None, True, False])
def test_the_clock(fixed_time):
    plan = planned(mentor="focal", fixed_time=fixed_time, teachers=DD)
    teacher = plan.trajectories[DD].teacher(plan.settings[0], None)
    made = shipped("focal").settings.fixed_time if fixed_time is None else fixed_time
    assert teacher.mentor.settings.fixed_time is made


# published settings


def fake_outcome(plan):
    """What a plain run would have kept of its trusted rows at two moments."""
    generator = torch.Generator().manual_seed(0)
    index = np.stack([s.roles["trusted"] for s in plan.settings])
    given = np.stack([s.noise.noisy[i] for s, i in zip(plan.settings, index)])
    true = np.stack([s.noise.clean[i] for s, i in zip(plan.settings, index)])
    tensors = {
        "dump_percent": torch.tensor([3, 60]),
        "dump_threshold": torch.rand(len(index), 2, generator=generator).double(),
        "dump_loss": torch.rand(len(index), 2, index.shape[1], generator=generator) * 5,
        "dump_index": torch.from_numpy(index),
        "dump_given": torch.from_numpy(given),
        "dump_trusted": torch.from_numpy(true),
    }
    from tutelage.recipes.outcome import Outcome

    return Outcome([], tensors, False, 0.0)


@pytest.fixture
def mixture(monkeypatch):
    """The published mixture, learned for a moment only."""
    asked = {}

    def fit(v, **options):
        asked.update(options, v=v)
        return fit_curriculum(v, **options | {"steps": 5})

    monkeypatch.setattr(mentornet, "fit_curriculum", fit)
    mentornet._published_mixture.cache_clear()
    yield asked
    mentornet._published_mixture.cache_clear()


def facts_of(teacher):
    pacing = teacher.pacing
    found = {
        "percentile": set(pacing.percentiles),
        "decay": pacing.decay,
        "burn_in": pacing.burn_in,
        "dropout": pacing.dropout,
        "mode": pacing.mode,
        "bias_correction": pacing.bias_correction,
        "interpolation": pacing.interpolation,
        "normalise": pacing.normalise,
    }
    if isinstance(teacher, MentorNet):
        settings, network = teacher.mentor.settings, teacher.mentor.network
        found |= {"clock": settings.burn_in if settings.fixed_time else None, "matrix": network.bias_in_matrix}
    return found


@pytest.mark.parametrize("compat", ["none", "written", "effective"])
@pytest.mark.parametrize(("noise", "p"), [("0.2", (0.7, 0.7, 0.75, 0.8)), ("0.8", (0.7, 0.7, 0.5, 0.5))])
def test_what_compat_changes(compat, noise, p, mixture):
    plan = planned(compat=compat, noise=noise, teachers="uniform,self-paced,focal,spcl,mentornet-pd,mentornet-dd")
    outcome = fake_outcome(plan)
    made = {n: plan.trajectories[n].teacher(plan.settings[0], outcome) for n in plan.order}
    if compat == "effective":
        p = (0.7,) * 4
    usual = (0.5,) * 17 + (0.05,) * 83
    common = {
        "decay": 0.5,
        "mode": "random",
        "bias_correction": True,
        "interpolation": "linear",
        "normalise": "batch",
    }
    none = {"percentile": {0.5}, "burn_in": 18, "dropout": None}
    old = compat != "none"
    needed = {
        "self-paced": none | ({"percentile": {p[0]}, "burn_in": 0} if old else {}),
        "focal": none | ({"percentile": {p[1]}, "burn_in": 0} if old else {}),
        "spcl": none | {"decay": 0.0},
        PD: none
        | {"burn_in": 0, "dropout": usual, "clock": None, "matrix": old}
        | ({"percentile": {p[2]}} if old else {}),
        DD: none
        | {"burn_in": 18, "dropout": usual, "clock": 18, "matrix": False}
        # one percent early; the schedule frozen at its entry 18, so that "0.9 for 5" never comes
        | ({"percentile": {p[3]}, "burn_in": 17, "dropout": usual, "matrix": True} if old else {}),
    }
    assert {n: facts_of(made[n]) for n in needed} == {n: common | facts for n, facts in needed.items()}
    assert isinstance(made["uniform"], Curriculum)
    assert plan.trajectories["uniform"].dumps
    if old:
        assert (mixture["time"], mixture["bias_in_matrix"], mixture["v"]) == ("progress", True, predefined)
    else:
        assert mixture == {}


@pytest.mark.parametrize("compat", ["none", "written"])
def test_what_a_mentor_learns_from_under_compat(compat, monkeypatch):
    plan = planned(compat=compat, teachers=DD)
    outcome, asked = fake_outcome(plan), []

    def fit(rows, **options):
        asked.append((rows, options))
        return fit_rows(rows, **options | {"steps": 5})

    monkeypatch.setattr(mentornet, "fit_rows", fit)
    plan.trajectories[DD].teacher(plan.settings[1], outcome)
    ((rows, options),) = asked
    loss = outcome.tensors["dump_loss"][1]
    if compat == "none":
        threshold = outcome.tensors["dump_threshold"][1].repeat_interleave(126)
    else:  # a percentile of the whole dump, whatever the percentile of the run
        threshold = torch.full((252,), float(np.quantile(loss.numpy(), 0.9)))
    assert torch.allclose(rows.difference, loss.flatten() - threshold.float(), atol=1e-6)
    assert rows.percent.tolist() == [3] * 126 + [60] * 126
    assert options["seed"] == 1
    assert options["bias_in_matrix"] is (compat != "none")


def test_ones_own_options_come_before_the_published_ones():
    plan = planned(compat="written", burn_in=40, dropout="0.25x100", moving_average=0.9, teachers="self-paced")
    pacing = plan.trajectories["self-paced"].teacher(plan.settings[0], None).pacing
    assert (pacing.burn_in, pacing.decay, set(pacing.dropout)) == (40, 0.9, {0.25})


def test_a_mentor_from_elsewhere_under_compat():
    """Burn-in ends early, the clock does not."""
    plan = planned(compat="written", mentor="self_paced", fixed_time=None, teachers=DD)
    settings = shipped("self_paced").settings
    teacher = plan.trajectories[DD].teacher(plan.settings[0], None)
    assert teacher.pacing.burn_in == 17
    assert teacher.mentor.settings.fixed_time is settings.fixed_time
    assert not settings.fixed_time or teacher.mentor.settings.burn_in == settings.burn_in


def test_a_run_under_compat_says_so(tmp_path, mixture):
    result = run(Config(**SMALL | {"seeds": 1}, compat="effective", teachers=f"uniform,{PD},{DD}"), tmp_path / "run")
    assert result["compat"] == "effective"
    made = load_mentor(tmp_path / "run" / mentor_file(0))
    assert made.network.bias_in_matrix
    assert made.settings.percentile == 0.7


def test_published_numbers_stand_beside_their_arms():
    plan = planned(teachers="uniform,self-paced,mentornet-dd,oracle", seeds=1)
    source = replace(plan.settings[0].source, name="cifar10-train")
    plan.settings = [replace(plan.settings[0], source=source)]
    plan.options = replace(plan.options, student="resnet101")
    assert {n: mentornet._table_rows(plan, n) for n in plan.names} == {
        "uniform": {"icml": None, "readme": 0.568},
        "self-paced": {"icml": 0.85, "readme": 0.802},
        DD: {"icml": 0.89, "readme": 0.887},
        "oracle": None,
    }


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """Ninety tiny pictures in the layout of CIFAR, dark, middling and bright."""
    generator = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = (70 * y[:, None, None, None] + generator.integers(0, 100, (90, 3, 32, 32))).astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, x=x, y=y, classes=np.array(["dark", "middling", "bright"]))
    return path


PUBLISHED = {"student": "mentor-resnet-8-1", "schedule": "published", "seeds": 1, "epochs": 1, "batch_size": 16}


def rate(plan, name, steps=39_000):
    rule = (plan.trajectories[name].rule or plan.training.rule)(steps)
    return [float(rule.rate(step)) for step in (0, 19_530, 19_531, 24_999, 25_000, 29_999, 30_000)]


@pytest.mark.parametrize("compat", ["none", "written"])
def test_the_published_schedule(cifar, compat):
    options = {"data": str(cifar), "trusted": 0.6, "compat": compat, "teachers": "uniform,self-paced"}
    plan = planned(**PUBLISHED | options)
    (setting,) = plan.settings
    assert isinstance(setting.scaling, Standardise)
    assert [type(t) for t in setting.moving] == [Crop, Flip]
    assert setting.moving[0] == Crop(2)
    rule = plan.training.rule(100)
    assert (type(rule).__name__, rule.momentum, rule.decay.amount) == ("SGD", 0.9, 2e-4)
    three = [0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001]
    assert rate(plan, "self-paced") == pytest.approx(three)
    one = [0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.01]
    assert rate(plan, "uniform") == pytest.approx(three if compat == "none" else one)


def test_the_published_schedule_with_changes(cifar):
    options = {"data": str(cifar), "compat": "written", "weight_decay": 0.0, "lr": 0.05, "scale_decay": False}
    plan = planned(**PUBLISHED | options, teachers="uniform,self-paced")
    for name in plan.names:
        rule = (plan.trajectories[name].rule or plan.training.rule)(100)
        assert (float(rule.rate(0)), rule.decay.amount, rule.decay.scaled) == (0.05, 0.0, False)


@pytest.mark.slow
def test_a_run_on_the_published_schedule(cifar, tmp_path):
    options = PUBLISHED | {"data": str(cifar), "trusted": 0.6, "teachers": "uniform,mentornet-dd", "noise": "0.6"}
    result = run(Config(**options, compat="written"), tmp_path / "run")
    assert result["training"] == {"epochs": 1, "batch_size": 16, "stacked": {"uniform": False, DD: False}}
    assert result["published"] == {}
    assert len(result["mentors"]) == 1


# own data


@pytest.fixture
def own(tmp_path):
    """Three blobs; a third of the labels is wrong, and an expert looked at sixty."""
    generator = np.random.default_rng(1)
    true = generator.integers(0, 3, 300)
    x = (np.eye(3)[true] * 4 + generator.normal(size=(300, 3))).astype(np.float32)
    given = np.where(generator.random(300) < 0.33, (true + 1) % 3, true)
    np.savez(tmp_path / "own.npz", x=x, y=given, classes=np.array(["ant", "bee", "cow"]))
    index = np.sort(generator.permutation(300)[:60])
    lines = [f"{i},{('ant', 'bee', 'cow')[true[i]]}" for i in index]
    (tmp_path / "right.csv").write_text("\n".join(["index,label", *lines]) + "\n")
    return true, given, index


def own_options(tmp_path):
    return SMALL | {
        "data": str(tmp_path / "own.npz"),
        "trusted_labels": str(tmp_path / "right.csv"),
        "noise": "0",
        "batch_size": 32,
    }


@pytest.mark.parametrize("update_at", [None, "20,60"])
def test_own_data_with_right_labels_of_some_rows(own, tmp_path, update_at):
    true, given, index = own
    options = own_options(tmp_path) | {"teachers": "uniform,mentornet-dd,trusted-only,early-stopping"}
    result = run(Config(**options, update_at=update_at), tmp_path / "run")
    assert (result["data"]["trusted_rows"], result["data"]["test_rows"]) == (60, 90)
    assert result["data"]["train_rows"] == 210
    plan = planned(**options, update_at=update_at)
    tests = []
    for setting in plan.settings:
        roles = setting.roles
        np.testing.assert_array_equal(roles["trusted"], index)
        assert np.isin(index, roles["train"]).all()
        assert not np.isin(roles["test"], roles["train"]).any()
        np.testing.assert_array_equal(np.union1d(roles["test"], roles["train"]), np.arange(300))
        np.testing.assert_array_equal(setting.noise.noisy, given)
        np.testing.assert_array_equal(setting.noise.clean[index], true[index])
        np.testing.assert_array_equal(np.delete(setting.noise.clean, index), np.delete(given, index))
        batch, (checked,) = setting.trusted_batch(), setting.evaluation("trusted").batches()
        for trusted in (batch, checked):
            np.testing.assert_array_equal(trusted.index, index)
            np.testing.assert_array_equal(trusted.y, true[index])
        (tested,) = setting.evaluation("test").batches()
        np.testing.assert_array_equal(tested.y, given[roles["test"]])
        tests.append(tuple(roles["test"]))
    assert tests[0] != tests[1]
    outcome = read_outcome(RunFolder.open(tmp_path / "run"), "uniform")
    if update_at is None:
        for seed in (0, 1):
            dump = dump_of(outcome.tensors, seed, "dump")
            np.testing.assert_array_equal(dump.id.unique(), index)
            np.testing.assert_array_equal(dump.trusted[:60], true[index])
            np.testing.assert_array_equal(dump.given[:60], given[index])
    assert (tmp_path / "run" / "suspects" / f"{DD}.parquet").is_file()


def test_own_data_with_a_test_set_of_its_own(own, tmp_path):
    arrays = dict(np.load(tmp_path / "own.npz"))
    np.savez(tmp_path / "own.npz", **arrays, x_test=arrays["x"][:40], y_test=arrays["y"][:40])
    plan = planned(**own_options(tmp_path), teachers="uniform")
    assert len(plan.settings[0].roles["train"]) == 300
    assert plan.settings[0].test_rows == 40


def test_right_labels_that_change_stop_a_resume(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = own_options(tmp_path) | {"data": "own.npz", "trusted_labels": "right.csv", "teachers": "uniform"}
    before = run(Config(**options), tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert mentornet.resume(RunFolder.open(tmp_path / "run")) == before
    with (tmp_path / "right.csv").open("a") as file:
        file.write(f"{next(i for i in range(300) if i not in own[2])},ant\n")
    with pytest.raises(CheckpointError, match="the trusted label data has changed since the run started"):
        mentornet.resume(RunFolder.open(tmp_path / "run"))


# bad input


DIGITS = ["run", "mentornet"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--update-at", "75,21"], '--update-at is "75,21"; give ascending percents of training, such as 21,75.'),
        (["--update-at", "21,100"], '--update-at is "21,100"'),
        (["--update-at", "early"], '--update-at is "early"'),
        (["--update-at", ""], '--update-at is ""'),
        (["--update-at", "21,21"], '--update-at is "21,21"'),
        (
            ["--update-at", "21", "--mentor", "focal"],
            "--update-at learns a mentor during the run; leave out --mentor.",
        ),
        (["--update-at", "99", "--epochs", "2"], "--update-at 99: the last of 18 steps is at 94 %; give earlier"),
        (["--form", "mlp", "--time", "code"], "--form mlp has no time codes; use --time progress."),
        (
            ["--form", "mlp", "--compat", "written"],
            "--compat written is about the published network; leave out --form.",
        ),
        (["--form", "lstm"], "lstm"),
        (["--compat", "paper"], "paper"),
        (["--mentor", "nosuch"], 'no mentor "nosuch": neither a file, nor a run, nor one of self_paced, spcl_linear'),
        (["--mentor", "/"], "has no mentors; it is no finished run of mentornet with the arm mentornet-dd."),
        (["--noise", "0"], "seed 0: 126 trusted rows, 0 of them with a wrong label; a mentor learns from at least 20"),
        (["--noise", "0,0.4"], "seed 0: 126 trusted rows, 0 of them with a wrong label"),
        (["--trusted", "0.01"], "seed 0: 13 trusted rows, "),
        (["--trusted", "0.01", "--update-at", "21"], "seed 0: 13 trusted rows, "),
        (
            ["--schedule", "published", "--student", "mlp"],
            "--schedule published is for resnet101, inception and mentor-resnet-D-W, not mlp.",
        ),
        (["--dropout", "0.5x17,0.05x80"], "the schedule covers 97 percent, but needs 100 in all."),
        (["--dropout", "1.0x100"], "leaves none of 128 rows"),
        (["--percentile", "1.5"], "percentile is 1.5; it must lie between 0 and 1"),
        (["--percentile", "clean"], '--percentile is "clean"; give a number between 0 and 1, or trusted.'),
        (["--noise", "0.2,0.2"], "--noise is 0.2,0.2; each rate can come once."),
        (["--noise", "0.2,,0.4"], '--noise is "0.2,,0.4"; give a share of the labels, or several'),
        (["--noise", "0.2,1.5"], "--noise is 1.5; it is a share of the labels and must be in [0, 1]."),
        (
            ["--trusted-labels", "gone.csv", "--noise", "0.4"],
            "--trusted-labels is for labels as they are; pass --noise 0",
        ),
        (["--trusted-labels", "gone.csv", "--noise", "0"], "gone.csv: not a readable CSV or Parquet file"),
        (
            ["--trusted-labels", "gone.csv", "--noise", "0", "--preset", "mentornet"],
            "--trusted-labels is for labels as they are; pass --noise 0 and no --preset.",
        ),
        (["--updates-at", "21"], "Unknown option: --updates-at. Did you mean --update-at?"),
        (["--loss-p-precentile", "0.7"], "Unknown option: --loss-p-precentile"),
        (["--burn-in", "101"], "burn_in is 101; it is a percent of training"),
        (["--teachers", "mentornet"], 'unknown teacher "mentornet". Did you mean "mentornet-'),
    ],
    ids=lambda a: " ".join(a) if isinstance(a, list) else "",
)
def test_bad_input_is_one_line_and_nothing_is_written(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in line_of(capsys, *DIGITS, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,labels\n1,2\n", 'no column "label" among index, labels'),
        ("index,label\n1797,2\n", "index 1797 is outside 0..1796, the rows of digits."),
        ("index,label\n5,2\n5,2\n", "index 5 comes twice."),
        ("index,label\n5,2\n6,two\n", 'label "two" is not among the classes 0, 1, 2'),
        ("index,label\n5,5\n6,6\n", "seed 0: 2 trusted rows, 0 of them with a wrong label"),
    ],
    ids=repr,
)
def test_bad_tables_of_right_labels(text, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "right.csv").write_text(text)
    assert message in line_of(capsys, *DIGITS, "--trusted-labels", "right.csv", "--noise", "0")
    assert [p.name for p in tmp_path.iterdir()] == ["right.csv"]


@pytest.mark.parametrize("keep", [0, 7, 300, 900])
def test_a_truncated_mentor_file(keep, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_mentor(Mentor(MentorNetwork(seed=0)), tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    assert keep < len(content)
    (tmp_path / "cut").write_bytes(content[:keep])
    assert "cut is no mentor file, or cut: " in line_of(capsys, *DIGITS, "--mentor", "cut")
    assert not (tmp_path / "runs").exists()


def test_a_run_without_the_arm_has_no_mentors(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(Config(**SMALL | {"epochs": 1}, teachers="uniform"), tmp_path / "plain")
    assert "plain has no mentors; it is no finished run" in line_of(capsys, *DIGITS, "--mentor", "plain")


def test_options_from_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "options.toml").write_text(
        'seeds = 1\nepochs = 2\nstudent = "mlp-8"\nteachers = "mentornet-dd"\nnoise = 0.3\npercentile = 0.6\n'
        'form = "mlp"\nfixed_time = false\n'
    )
    assert main([*DIGITS, "--config", "options.toml", "--out", "run"]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    given = {n: config[n] for n in ("noise", "percentile", "form", "fixed_time", "update_at", "mentor")}
    assert given == {
        "noise": "0.3", "percentile": "0.6", "form": "mlp", "fixed_time": False, "update_at": None, "mentor": "fit",
    }  # fmt: skip
    assert not load_mentor(tmp_path / "run" / mentor_file(0)).settings.fixed_time
    mentornet.resume(RunFolder.open(tmp_path / "run"))


def test_numbers_from_python_can_be_resumed(tmp_path):
    before = run(Config(**SMALL | {"epochs": 1}, teachers="uniform", noise=0.25, percentile=0.6), tmp_path / "run")
    assert before["config"]["noise"] == "0.25"
    assert mentornet.resume(RunFolder.open(tmp_path / "run")) == before
