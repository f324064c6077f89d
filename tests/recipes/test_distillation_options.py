"""Every arm and option of distillation in a five-second size, and a stage against the plain loop."""

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.errors import ConfigError
from tutelage.recipes.distillation import ABOUT, RECIPE, Config, run
from tutelage.recipes.distillation.options import KNOWN
from tutelage.recipes.distillation.used import ASKED, USED
from tutelage.recipes.distilling.files import Left
from tutelage.recipes.distilling.prints import fingerprint
from tutelage.runs import RunFolder

from .distillation_runs import FROM_FILE, SMALL, plan, saved_teacher


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
    from_file = FROM_FILE | {"teacher_weights": weights[1], "class_map": "1,0,2,3,4,5,6,7,8,9"}
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


def test_the_table_of_options_is_of_options_and_arms():
    assert set(USED) <= set(Config.__dataclass_fields__)
    cases = [case for cases in USED.values() for case in (cases if isinstance(cases, tuple) else (cases,))]
    assert {arm for case in cases for arm in case.arms} <= set(KNOWN) == set(ABOUT)
    assert {name for case in cases for name in case.values} <= set(Config.__dataclass_fields__)
    assert set(ASKED) < set(KNOWN)


HINTS = {"hint_layers": "2:2"}


@pytest.mark.parametrize(
    ("idle", "counts", "line"),
    [
        ({"arms": "kd-t1", "temperature": 3.0}, {"arms": "kd"},
         "--temperature is for kd, ensemble, or noisy with --noise-loss kd, or hints, attention with --hint-loss kd;"),
        ({"arms": "noisy", "temperature": 3.0}, {"noise_loss": "kd"}, "--temperature is for kd"),
        ({"arms": "noisy", "ce_weight": 0.2}, {"noise_loss": "kd"}, "--ce-weight is for kd, kd-t1, ensemble"),
        ({"arms": "noisy", "noise_loss": "kd", "logits_scale": "half_sum"}, {"noise_loss": "logits"},
         "--logits-scale is for logits, or noisy with --noise-loss logits;"),
        ({"arms": "noisy", "noise_stage": "dropout", "noise_sigma": 0.2}, {"noise_stage": "inputs"},
         "--noise-sigma is for noisy with --noise-stage logits or inputs;"),
        ({"arms": "noisy", "noise_stage": "dropout", "noise_mode": "additive"}, {"noise_stage": "logits"},
         "--noise-mode is for noisy"),
        ({"arms": "hints", "kd_weight": 0.5} | HINTS, {"hint_loss": "kd"}, "--kd-weight is for kd"),
        ({"arms": "logits", "logits_center": True, "logits_normalise": "zscore"}, {"logits_normalise": "none"},
         "--logits-center is for logits with --logits-normalise none or teacher_std"),
        ({"arms": "scratch,mutual", "teacher_batch": None, "teacher": None, "teacher_precision": "bfloat16"},
         {"arms": "dkpp"}, "--teacher-precision is for hard-labels"),
        ({"momentum": 0.5, "rule": "sgd"}, {"rates": "cosine"}, "--momentum is for runs with --rule sgd and --rates"),
        ({"momentum": 0.5, "rates": "steps"}, {"teacher_rule": "sgd"}, "--momentum is for runs with --rule sgd"),
        ({"arms": "kd", "cache": True, "cache_mode": "off", "cache_dtype": "float32"}, {"cache_mode": "auto"},
         "--cache-dtype is for runs with --cache and --cache-mode auto or force;"),
        ({"arms": "noisy", "noise_stage": "inputs", "cache": True}, {"noise_stage": "logits"}, "--cache is for"),
        ({"arms": "kd", "export_arm": "kd"}, {"export": "EXPORT"}, "--export-arm is for runs with --export;"),
    ],
)  # fmt: skip
def test_an_option_that_nothing_looks_at_is_refused(tmp_path, idle, counts, line):
    with pytest.raises(ConfigError) as caught:
        plan(**idle)
    assert str(caught.value).startswith(line)
    assert str(caught.value).endswith("; nothing in this run looks at it, so leave it out.")
    paths = {name: str(tmp_path / "e.safetensors") for name, value in counts.items() if value == "EXPORT"}
    plan(**idle | counts | paths)
    RECIPE.prepare(Config(**SMALL | idle), fresh=False)  # as a run folder keeps them


@pytest.mark.parametrize(
    "given", [{"teacher_lr": 0.1}, {"teacher_batch": 8}, {"teacher_steps": 3}, {"teacher_rule": "sgd"}]
)
def test_how_a_teacher_learns_is_idle_where_it_is_read(weights, given):
    options = FROM_FILE | {"arms": "kd", "teacher_weights": weights[1]} | given
    with pytest.raises(ConfigError, match=r"^--teacher-\w+ is for .*attention without --teacher-weights, or ensemble;"):
        plan(**options)
    plan(**options | {"arms": "ensemble"})  # the other teachers are trained


def test_a_threshold_that_leaves_out_all_rows_is_told(tmp_path):
    options = SMALL | {"arms": "hard-labels", "hard_threshold": 0.9999, "steps": 3}
    result = run(Config(**options), tmp_path / "none")
    assert result["warnings"][0] == (
        "hard-labels: --hard-threshold 0.9999 leaves out all 100 rows with seed 0, 1, so that nothing was learned; "
        "give less."
    )
    result = run(Config(**options | {"hard_threshold": 0.11}), tmp_path / "some")
    assert all(0 < share <= 1 for share in result["arms"]["hard-labels"]["kept_share"]["values"])
    assert not any("leaves out" in line for line in result["warnings"])


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
