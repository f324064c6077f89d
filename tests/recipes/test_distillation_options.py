"""Every arm and option of distillation in a five-second size, and a stage against the plain loop."""

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.recipes.distillation import ABOUT, RECIPE, Config, run
from tutelage.recipes.distillation.options import KNOWN, ONLY
from tutelage.recipes.distilling.files import Left
from tutelage.recipes.distilling.prints import fingerprint
from tutelage.runs import RunFolder

from .distillation_runs import SMALL, plan, saved_teacher


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def weights(tmp_path):
    return saved_teacher(tmp_path)


def trained(**options):
    """Return the lesson's loss and weights of the first step of an arm, of a run with one arm."""
    found = plan(**options)
    (arm,) = found.arms
    by_name = {stage.name: stage for stage in found.order}
    setting = found.settings[0]
    networks = {name: by_name[name].nets(setting) for name in by_name[arm].needs}
    return by_name[arm].teacher(setting, networks)


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        ({"arms": "kd", "temperature": 3.0, "ce_weight": 0.5, "kd_weight": 0.25},
         {"temperature": 3.0, "ce_weight": 0.5, "kd_weight": 0.25}),
        ({"arms": "kd-t1", "kd_weight": 0.5}, {"temperature": 1.0, "ce_weight": 0.1, "kd_weight": 0.5}),
        ({"arms": "logits"}, {"scale": "mean", "ce_weight": 0.0, "kd_weight": 1.0, "normalize": "none"}),
        ({"arms": "logits", "logits_scale": "half_sum", "logits_center": True, "logits_ce_weight": 0.2},
         {"scale": "half_sum", "center": True, "ce_weight": 0.2}),
        ({"arms": "noisy", "noise_loss": "kd"}, {"temperature": 4.0, "ce_weight": 0.1, "kd_weight": 0.9}),
        ({"arms": "dkd", "dkd_others_weight": 2.0}, {"temperature": 4.0, "target_weight": 1.0, "others_weight": 2.0}),
        ({"arms": "dist", "dist_gamma": 1.0}, {"beta": 2.0, "gamma": 1.0, "temperature": 1.0}),
        ({"arms": "lskd", "lskd_weight": 6.0}, {"temperature": 2.0, "ce_weight": 0.1, "kd_weight": 6.0}),
        ({"arms": "cwtm"}, {"ce_weight": 1.0, "kd_weight": 0.0}),
        ({"arms": "dkpp"}, {"temperature": 1.0, "ce_weight": 1.0, "kd_weight": 1.0}),
    ],
)  # fmt: skip
def test_options_reach_the_loss(options, loss):
    teacher = trained(**options)
    assert {name: getattr(teacher.loss, name) for name in loss} == loss


def test_options_reach_the_teacher(weights):
    noise = trained(
        arms="noisy", noise_probability=0.2, noise_sigma=0.7, noise_mode="additive", noise_stage="inputs"
    ).noise
    assert (noise.probability, noise.sigma, noise.mode, noise.stage) == (0.2, 0.7, "additive", "inputs")
    assert trained(arms="cwtm").confidence_weighting
    assert trained(arms="dkpp").permute
    assert trained(arms="hard-labels", hard_threshold=0.6).threshold == 0.6
    assert trained(arms="dkd", dkd_warm_up=0.25).warm_up == 0.25
    ensemble = trained(arms="ensemble", teachers_in_ensemble=4, ensemble_average="logits").source
    assert (len(ensemble.nets), ensemble.average) == (4, "logits")
    assert len({fingerprint([net]) for net in ensemble.nets}) == 4
    from_file = {"teacher": "mlp-gelu-24", "teacher_weights": weights[1], "class_map": "1,0,2,3,4,5,6,7,8,9"}
    for arm in ({"arms": "kd"}, {"arms": "hints", "hint_layers": "2:2", "hint_loss": "kd"}):
        mapped = trained(**arm, **from_file, teacher_precision="bfloat16").source
        assert (mapped.class_map, mapped.precision) == ((1, 0, 2, 3, 4, 5, 6, 7, 8, 9), torch.bfloat16)


def test_the_spread_of_the_teacher_is_found_on_the_rows_of_the_student():
    found = plan(arms="logits", logits_normalise="teacher_std")
    setting, by_name = found.settings[0], {stage.name: stage for stage in found.order}
    (net,) = by_name["teacher"].nets(setting)
    teacher = by_name["logits"].teacher(setting, {"teacher": [net]})
    x, _ = setting.clean(setting.order[:100])
    assert teacher.loss.std == pytest.approx(float(net.eval()(x).detach().std()))


def test_peers_may_differ_and_take_turns():
    found = plan(arms="mutual", peers=3, peer_net="mlp-6", peer_order="sequential", teacher=None, teacher_batch=None)
    (stage,) = found.order
    nets = stage.nets(found.settings[0])
    assert [net[-1].in_features for net in nets] == [8, 6, 6]
    assert stage.train.keywords == {"order": "sequential"}
    assert fingerprint(nets[:1]) == fingerprint(plan(arms="kd").stages[-1].nets(found.settings[0]))


@pytest.mark.parametrize("arm", ["hints", "attention"])
def test_layers_inside(tmp_path, arm):
    options = {"teacher": "cnn", "student": "cnn", "steps": 2, "seeds": 1, "arms": arm, "hint_layers": "2:0"}
    result = run(Config(**SMALL | options, hint_loss="kd"), tmp_path / "run")
    assert ("hint_loss" in result["arms"][arm]) == (arm == "hints")


def test_the_options_that_only_some_arms_look_at_are_options():
    assert set(ONLY) <= set(Config.__dataclass_fields__)
    assert {arm for users in ONLY.values() for arm in users} <= set(KNOWN) == set(ABOUT)


def test_the_default_arms_with_one_seed(tmp_path):
    result = run(Config(**SMALL | {"seeds": 1, "steps": 2}), tmp_path / "run")
    assert result["arms"]["kd"]["accuracy"]["ci95"] is None


def test_a_table(tmp_path):
    generator = np.random.default_rng(0)
    y = np.arange(90) % 3
    lines = [
        ",".join(f"{v:.3f}" for v in row) + f",{label}"
        for row, label in zip(generator.normal(size=(90, 4)) + y[:, None], y)
    ]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["a,b,c,d,label", *lines]))
    result = run(Config(**SMALL | {"data": str(path), "label": "label", "classes": 3, "seeds": 1}), tmp_path / "run")
    assert result["config"]["normalise"]
    assert result["config"]["train_rows"] == result["data"]["train_rows"] == 60


@pytest.mark.parametrize("seeds", [1, 2])  # alone, and two in one pass
@pytest.mark.parametrize("arm", ["kd", "logits", "label-smoothing"])
def test_a_stage_is_the_plain_loop_of_the_specification(tmp_path, arm, seeds):
    """torch.optim.AdamW under OneCycleLR, with the losses as the specification writes them."""
    teacher = {} if arm == "label-smoothing" else {"teacher": "mlp-gelu-24", "teacher_steps": 5, "teacher_batch": 16}
    options = {"steps": 25, "batch_size": 16, "student": "mlp-gelu-8", "device": "cpu", "threads": 1, "seeds": seeds}
    given = Config(arms=arm, **options, **teacher)
    run(given, tmp_path / "run")
    found = RECIPE.prepare(given, fresh=True)
    by_name = {stage.name: stage for stage in found.order}
    left = Left(RunFolder.open(tmp_path / "run"), by_name, found.settings)
    for s, setting in enumerate(found.settings):
        (net,) = by_name[arm].nets(setting)
        optimiser = torch.optim.AdamW(net.parameters(), lr=1.5e-2, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-2, total_steps=25)
        stream = by_name[arm].batch(setting, {})
        for step in range(25):
            batch = stream(step)
            z = net(batch.x)
            if arm == "label-smoothing":
                loss = nn.functional.cross_entropy(z, batch.y, label_smoothing=0.1)
            else:
                with torch.no_grad():
                    answers = left.of("teacher")[s][0].eval()(batch.x)
                p, q = torch.softmax(answers / 4, 1), torch.log_softmax(z / 4, 1)
                kd = 16 * (p * (p.log() - q)).sum(1).mean()
                loss = 0.1 * nn.functional.cross_entropy(z, batch.y) + 0.9 * kd
                loss = (z - answers).square().mean() if arm == "logits" else loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        for mine, theirs in zip(left.of(arm)[s][0].parameters(), net.parameters()):
            assert torch.allclose(mine, theirs, atol=2e-5)
