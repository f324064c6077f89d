"""The set-up of the recipe: its defaults, its rows and labels, and published schedules."""

import numpy as np
import pytest
import torch

from tutelage.data import load
from tutelage.recipes.deep_interactions import RECIPE, Config, run
from tutelage.recipes.learned import FRESH
from tutelage.recipes.noisy_labels import prepare
from tutelage.recipes.outcome import read_outcome
from tutelage.runs import RunFolder
from tutelage.schedules import Cosine, StepDecay

from .deep_runs import SMALL, planned


def test_the_default_is_that_of_the_specification():
    config = Config()
    assert (config.student, config.noise, config.trusted, config.test) == ("mlp-128-128", "0.4", 0.1, 0.3)
    assert (config.look_ahead, config.every, config.window, config.inputs) == (5, 5, "ahead", "attached")
    assert (config.teacher_normalise, config.validation_rows, config.episodes) == ("sum", 512, 1)
    _, plans, _ = prepare(RECIPE, Config(seeds=1, student="mlp-8", teachers="uniform"))
    assert [plan.options.noise_kind for plan in plans] == ["pair-flip-exact", "symmetric-exact"]
    training = plans[0].training
    assert (training.epochs, training.batch_size, training.per_epoch) == (60, 64, 17)
    rule = training.rule(1020)
    assert (rule.lr, rule.momentum, rule.nesterov) == (Cosine(0.1, 1020), 0.9, False)
    assert (rule.decay.amount, rule.decay.on, rule.decay.scaled) == (1e-4, "all", False)


def test_validation_rows_are_held_out_with_clean_labels():
    for setting in planned().settings:
        roles, y = setting.roles, setting.source.y
        assert [len(roles[name]) for name in ("train", "trusted", "test")] == [1131, 126, 540]
        np.testing.assert_array_equal(
            np.sort(np.concatenate([roles[name] for name in ("train", "trusted", "test")])), np.arange(1797)
        )
        noisy = setting.noise.noisy
        wrong = noisy[roles["train"]] != y[roles["train"]]
        assert wrong.sum() == round(0.4 * 1131)
        np.testing.assert_array_equal(noisy[roles["train"]][wrong], (y[roles["train"]][wrong] + 1) % 10)
        np.testing.assert_array_equal(noisy[roles["trusted"]], y[roles["trusted"]])
        counts = np.bincount(y[roles["trusted"]], minlength=10)
        assert counts.min() >= 12
        assert counts.max() <= 13


def test_inputs_are_centred_and_no_more():
    setting = planned().settings[0]
    source = load("digits").train
    mean = source.x[setting.roles["train"]].astype(np.float64).mean(0) / 16
    (batch,) = setting.evaluation("test").batches()
    needed = source.x[setting.roles["test"]] / 16 - mean
    np.testing.assert_allclose(batch.x.numpy(), needed, atol=1e-6)


def test_rows_of_the_honest_arms():
    plan = planned(teachers="uniform,mixed-in,trusted-only,perfect-filter,oracle")
    setting = plan.settings[0]
    rows = {name: setting.rows(plan.trajectories[name].rows) for name in plan.names}
    assert {name: len(index) for name, index in rows.items()} == {
        "uniform": 1131, "mixed-in": 1257, "trusted-only": 126, "perfect-filter": 679, "oracle": 1131,
    }  # fmt: skip
    assert not setting.noise.mask[rows["perfect-filter"]].any()
    labels = {name: plan.trajectories[name].labels for name in plan.names}
    assert labels == dict.fromkeys(plan.names, "given") | {"trusted-only": "true", "oracle": "true"}


def test_as_many_right_rows_in_all_seeds(tmp_path):
    options = SMALL | {"noise_kind": "pair-flip", "teachers": "perfect-filter", "epochs": 1}
    plan = planned(**options)
    counts = [len(setting.rows("right")) for setting in plan.settings]
    assert counts[0] != counts[1]
    run(Config(**options), tmp_path / "run")
    found = read_outcome(RunFolder.open(tmp_path / "run"), "perfect-filter").tensors["rows"].numpy()
    assert found.shape == (2, min(counts))
    for index, setting in zip(found, plan.settings):
        assert np.isin(index, setting.rows("right")).all()
        assert (np.diff(index) > 0).all()


@pytest.mark.parametrize(
    ("student", "schedule", "needed"),
    [
        ("resnet32", "auto", (100, 0.1, 5e-4, False, StepDecay(0.1, (80, 100)))),
        ("wrn-28-10", "published", (100, 0.1, 5e-4, True, StepDecay(0.1, (108, 114)))),
        ("resnet32", "plain", (64, 0.1, 1e-4, False, Cosine(0.1, 120))),
    ],
)
def test_published_schedules(student, schedule, needed):
    config = Config(student=student, schedule=schedule)
    found = RECIPE.schedule(config)
    batch_size, lr, decay, nesterov, rate = needed
    rule = found.make(120)
    assert (found.batch_size, rule.lr.lr, rule.decay.amount, rule.nesterov) == (batch_size, lr, decay, nesterov)
    assert rule.lr == rate
    assert (rule.momentum, rule.decay.on) == (0.9, "all")
    assert found.steps == {"resnet32": 58_800, "wrn-28-10": 20_000}[student] or schedule == "plain"


@pytest.mark.parametrize(("preset", "rows"), [("l2t-di", (1131, 126, 540))])
def test_presets_that_hold_rows_out(preset, rows):
    setting = planned(preset=preset, noise_kind="pair-flip", teachers="uniform").settings[0]
    assert tuple(len(setting.roles[name]) for name in ("train", "trusted", "test")) == rows
    assert not np.isin(setting.roles["trusted"], setting.roles["train"]).any()


def test_initialisations():
    setting = planned().settings[0]
    rule = planned().schedule.make(1)
    weights = [setting.student("mlp-8", rule, initialisation=i).params["1.weight"].detach() for i in (0, 0, 1, FRESH)]
    assert torch.equal(weights[0], weights[1])
    assert len({float(w.sum()) for w in weights}) == 3
