"""The recipe with published settings: what --compat changes, and the published schedule."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tutelage.curricula import predefined
from tutelage.data import Crop, Flip, Standardise
from tutelage.mentors import fit_curriculum, fit_rows, load_mentor, shipped
from tutelage.recipes import mentornet
from tutelage.recipes.mentor_files import mentor_file
from tutelage.recipes.mentornet import DD, PD, Config, run
from tutelage.recipes.outcome import Outcome
from tutelage.teachers import Curriculum, MentorNet

from .mentor_runs import SMALL, planned, quick_fits


@pytest.fixture(autouse=True, scope="module")
def _quick_fits():
    with quick_fits():
        yield


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


# the published schedule


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
