"""Distillation in a five-second size: what a run writes, every arm and option, caches, kill and resume, bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.checkpoint import load_checkpoint
from tutelage.cli import main
from tutelage.data import load
from tutelage.errors import CheckpointError, ConfigError
from tutelage.frozen import Frozen
from tutelage.gap import gap
from tutelage.nets import build, load_weights
from tutelage.nets.weights import save_weights
from tutelage.recipes import distillation
from tutelage.recipes.distillation import ABOUT, RECIPE, Config, run
from tutelage.recipes.distillation.options import KNOWN, ONLY
from tutelage.recipes.distilling.files import Left
from tutelage.recipes.distilling.prints import fingerprint
from tutelage.rules import AdamW
from tutelage.runs import RunFolder
from tutelage.schedules import OneCycle

SMALL = {
    "seeds": 2, "steps": 12, "batch_size": 16, "teacher_batch": 16, "teacher": "mlp-gelu-24-dropout-0.3",
    "student": "mlp-gelu-8", "evaluations": 3, "device": "cpu", "threads": 1,
}  # fmt: skip


def plan(**options):
    return RECIPE.prepare(Config(**SMALL | options), fresh=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """All arms that digits without positions allow."""
    out = tmp_path_factory.mktemp("runs") / "run"
    arms = ",".join(name for name in KNOWN if name != "attention")
    return run(Config(**SMALL, arms=arms, hint_layers="2:2", generations=2), out), out


def images(folder, rows=60, side=32, classes=2, seed=0):
    """Write small colour images with labels that can be seen in them."""
    generator = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    x = generator.integers(0, 100, (rows, 3, side, side), dtype=np.uint8)
    x += (100 * y[:, None, None, None] / classes).astype(np.uint8)
    path = folder / "images.npz"
    np.savez(path, x=x, y=y)
    return str(path)


# What a run writes.


def test_the_folder(finished):
    result, out = finished
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {line["arm"] for line in lines} == {*result["order"], *result["stages"]}
    assert [line["step"] for line in lines if (line["arm"], line["seed"]) == ("kd", 1)] == [4, 8, 12]
    assert [line["step"] for line in lines if (line["arm"], line["seed"]) == ("born-again-ensemble", 1)] == [0]
    assert not (out / "checkpoint" / "state.safetensors").exists()


def test_the_result(finished):
    result, _ = finished
    assert list(result) == [
        "recipe", "version", "config", "seeds", "data", "order", "about", "stages", "arms", "comparisons", "conclusion",
        "warnings", "environment", "seconds", "distillation",
    ]  # fmt: skip
    assert list(result["arms"]) == [name for name in KNOWN if name != "attention"] == result["order"]
    assert result["data"] == {
        "name": "digits", "classes": [str(i) for i in range(10)], "shape": [1, 8, 8], "train_rows": 1200,
        "validation_rows": 0, "test_rows": 597,
    }  # fmt: skip
    assert result["distillation"]["student_rows"] == 100
    assert result["stages"]["ensemble"]["needs"] == ["teacher", "teacher-2", "teacher-3"]
    assert result["stages"]["born-again"]["needs"] == ["generation-1"]
    assert len(result["arms"]["mutual"]["mean_member_accuracy"]["values"]) == 2


def test_a_stage_that_several_need_is_run_once(finished):
    result, out = finished
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["arm"] == "teacher" for line in lines) == 2 * 3
    assert list(result["stages"]).count("teacher") == 1


def test_where_teachers_come_from_is_on_record(finished):
    """The fingerprint of what a stage was given is that of what the other one left."""
    result, _ = finished
    stages = result["stages"]
    for name, stage in stages.items():
        for own in range(2):
            given = stage["fingerprints"][own]["teachers"]
            assert list(given) == stage["needs"], name
            for needed, digest in given.items():
                assert digest == stages[needed]["fingerprints"][own]["network"]
    kd, seeds = stages["kd"]["fingerprints"], {p["network"] for p in stages["teacher"]["fingerprints"]}
    assert len(seeds) == 2
    assert kd[0]["teachers"] != kd[1]["teachers"]


def test_arms_share_the_initial_student_and_the_batches(finished):
    result, _ = finished
    for seed in range(2):
        pairing = {n: result["stages"][n]["fingerprints"][seed]["pairing"] for n in result["order"]}
        pairing.pop("born-again-ensemble")
        assert len({tuple(sorted(p.items())) for p in pairing.values()}) == 1
        assert set(pairing["kd"]) == {"split", "initialisation", "batches"}
    generations = [result["stages"][f"generation-{k}"]["fingerprints"][0]["pairing"] for k in range(2)]
    assert generations[0]["initialisation"] != generations[1]["initialisation"] != pairing["kd"]["initialisation"]


def test_comparisons_are_paired_and_have_verdicts(finished):
    result, _ = finished
    pairs = {(c["a"], c["b"]) for c in result["comparisons"]}
    assert {("kd", "scratch"), ("kd", "label-smoothing"), ("logits", "kd"), ("label-smoothing", "scratch")} <= pairs
    assert not {("scratch", "kd"), ("label-smoothing", "kd")} & pairs
    (found,) = [c for c in result["comparisons"] if (c["a"], c["b"]) == ("kd", "scratch")]
    a, b = (np.array(result["arms"][n]["accuracy"]["values"]) for n in ("kd", "scratch"))
    assert found["differences"] == pytest.approx((a - b).tolist())
    assert found["verdict"] == "numbers only"  # of two seeds
    assert result["conclusion"]["lines"][0].startswith("against scratch, numbers only: label-smoothing, hard-labels")


def test_the_gap_is_that_of_the_networks_that_were_left(finished):
    result, out = finished
    found = plan(arms="kd,kd-t1")
    left = Left(RunFolder.open(out), {stage.name: stage for stage in found.stages}, found.settings)
    setting = found.settings[1]
    x, _ = setting.clean(setting.order[:100])
    teacher = Frozen(left.of("teacher")[1]).answers(x)
    for arm, temperature in (("kd", 4.0), ("kd-t1", 1.0)):
        expected = gap(Frozen(left.of(arm)[1]).answers(x), teacher, temperature)
        assert result["arms"][arm]["gap"]["values"][1] == pytest.approx(expected.r)
        assert result["arms"][arm]["agreement"]["values"][1] == expected.agreement
        assert any(line.startswith(f"{arm}: the student cannot follow this teacher") for line in result["warnings"])
    assert not any(line.startswith("cwtm:") for line in result["warnings"])
    assert "gap" not in result["arms"]["scratch"]


def test_dark_knowledge(finished):
    result, out = finished
    tensors, facts = load_checkpoint(out / "dark_knowledge.safetensors")
    assert facts == {"arm": "kd", "seed": 0, "temperature": 4.0}
    told = result["distillation"]["dark_knowledge"]
    source = load("digits").train
    assert (source.y[tensors["soft.index"]] == tensors["soft.label"].numpy()).all()
    assert (source.x[tensors["apart.index"]] == tensors["apart.image"].numpy()).all()
    assert torch.equal(tensors["soft.teacher"].argmax(1), tensors["soft.label"])
    assert not (tensors["apart.teacher"].argmax(1) == tensors["apart.student"].argmax(1)).any()
    assert torch.allclose(tensors["soft.student"].sum(1), torch.ones(12))
    first = told["confused"][0]
    off = tensors["confusion"].clone().fill_diagonal_(0)
    assert off.max() == pytest.approx(first["probability"]) == off[first["class"], first["taken_for"]]
    assert torch.allclose(tensors["confusion"].sum(1), torch.ones(10))


# The setting of the specification.


def test_the_defaults_on_digits():
    found = RECIPE.prepare(Config(seeds=1, first_seed=7, device="cpu"), fresh=True)
    options, setting = found.options, found.settings[0]
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(1007)).numpy()
    assert (setting.roles.test == order[:597]).all()
    assert (setting.order == order[597:]).all()
    by_name = {stage.name: stage for stage in found.stages}
    teacher, student = by_name["teacher"], by_name["kd"]
    assert (teacher.steps, student.steps) == (800, 800)
    for stage, lr in ((teacher, 2e-3), (student, 1.5e-2)):
        cycle = OneCycle(lr, 800)
        assert isinstance(stage.rule, AdamW)
        assert stage.rule.lr == cycle
        assert [stage.rule.betas[0](step) for step in (0, 239, 799)] == [cycle.momentum(s) for s in (0, 239, 799)]
        assert (stage.rule.decay.amount, stage.rule.decay.on) == (1e-4, "all")
    (net,) = teacher.nets(setting)
    assert [type(m) for m in net] == [
        nn.Flatten, nn.Linear, nn.GELU, nn.Dropout, nn.Linear, nn.GELU, nn.Dropout, nn.Linear
    ]  # fmt: skip
    assert [m.weight.shape for m in net if isinstance(m, nn.Linear)] == [(256, 64), (256, 256), (10, 256)]
    assert all(not m.bias.any() for m in net if isinstance(m, nn.Linear))
    assert float(net[4].weight.detach().std()) == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert {m.p for m in net if isinstance(m, nn.Dropout)} == {0.3}
    (net,) = student.nets(setting)
    assert [m.weight.shape for m in net if isinstance(m, nn.Linear)] == [(16, 64), (10, 16)]
    batch = student.batch(setting, {})(5)
    assert len(batch) == 32
    assert set(batch.index.tolist()) <= set(order[597:697].tolist())
    assert torch.equal(batch.x, torch.from_numpy(setting.source.x[batch.index]).float() / 16)
    assert options.arms == "scratch,label-smoothing,kd,logits,noisy"
    assert options.train_rows == 100


def test_the_published_profile(tmp_path):
    found = plan(data=images(tmp_path), classes=2, schedule="auto", batch_size=8, teacher_batch=8, steps=None)
    options, by_name = found.options, {stage.name: stage for stage in found.stages}
    assert (options.schedule, options.rule, options.momentum, options.weight_decay) == ("published", "sgd", 0.9, 5e-4)
    assert (options.augment, options.normalise, options.init, options.epochs) == ("crop-flip", True, "default", 240)
    rule, steps = by_name["kd"].rule, by_name["kd"].steps
    assert steps == 240 * 40 // 8
    assert not rule.nesterov
    rates = [rule.rate(round(share * steps)) for share in (0.0, 0.624, 0.626, 0.751, 0.876)]
    assert rates == pytest.approx([0.05, 0.05, 5e-3, 5e-4, 5e-5])
    stream = by_name["kd"].batch(found.settings[0], {})
    seen = np.concatenate([stream(step).index.numpy() for step in range(5)])
    assert len(np.unique(seen)) == 40  # pass by pass
    assert not torch.equal(stream(0).x, by_name["kd"].batch(replace(found.settings[0], seed=9), {})(0).x)


def test_each_pass_looks_another_way_and_views_come_round(tmp_path):
    data = {"data": images(tmp_path), "classes": 2, "batch_size": 40, "teacher_batch": 40}
    fresh, banked = plan(**data).settings[0], plan(**data, cache=True, cache_views=2).settings[0]
    rows = np.sort(fresh.order)

    def looks(setting):
        stream = setting.stream("same rows", rows, 40, 6, replacement=True)
        epochs = [stream(step) for step in range(6)]
        row = int(rows[0])
        return [b.x[b.index == row][0] if (b.index == row).any() else None for b in epochs], epochs

    _, epochs = looks(banked)
    assert [set(b.view.tolist()) for b in epochs] == [{k % 2} for k in range(6)]
    assert all(b.view is None for b in looks(fresh)[1])
    kept = {}
    for batch in epochs:
        for x, index, view in zip(batch.x, batch.index.tolist(), batch.view.tolist()):
            assert torch.equal(kept.setdefault((index, view), x), x)


def test_a_validation_split_and_the_best_by_it(tmp_path):
    out = tmp_path / "run"
    options = SMALL | {"steps": 30, "evaluations": 15, "lr": 0.3, "rates": "constant"}
    result = run(Config(**options, arms="scratch,kd", validation=0.1, pick="validation"), out)
    setting = plan(validation=0.1).settings[0]
    assert result["data"]["validation_rows"] == 120 == len(setting.roles.validation)
    assert (setting.order == plan().settings[0].order[:1080]).all()
    for arm in ("scratch", "kd"):
        facts = json.loads((out / "arms" / f"{arm}.json").read_text())
        for own, end in zip(facts["records"], facts["ends"]):
            best = max(own, key=lambda record: record["validation_accuracy"])  # the first of equals
            assert end["step"] == best["step"]
            assert end["accuracy"] == best["accuracy"]
        assert any(end["step"] < 30 for end in facts["ends"])
        found = plan(arms="scratch,kd", validation=0.1, steps=30)
        left = Left(RunFolder.open(out), {stage.name: stage for stage in found.stages}, found.settings)
        pieces, y = found.settings[0].held_out("validation")
        answers = Frozen(left.of(arm)[0]).answers(torch.cat(pieces))
        assert (answers.argmax(1) == y).double().mean() == facts["ends"][0]["validation_accuracy"]


# Options.


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


# Teachers from files.


@pytest.fixture
def weights(tmp_path):
    net = build("mlp-gelu-24", (1, 8, 8), 10, seed=5)
    save_weights(net, tmp_path / "teacher.safetensors", {})
    return net, str(tmp_path / "teacher.safetensors")


def test_a_teacher_from_a_file(tmp_path, weights):
    net, path = weights
    options = SMALL | {"teacher": "mlp-gelu-24", "arms": "scratch,kd"}
    result = run(Config(**options, teacher_weights=path), tmp_path / "run")
    assert result["stages"]["teacher"]["steps"] == 0
    assert [p["network"] for p in result["stages"]["teacher"]["fingerprints"]] == [fingerprint([net])] * 2
    assert result["stages"]["kd"]["fingerprints"][1]["teachers"] == {"teacher": fingerprint([net])}


REVERSED = ",".join(map(str, reversed(range(10))))


def test_a_class_map_is_of_all_that_the_teacher_from_a_file_answers(tmp_path, weights):
    """The last layer turned round with the map, or neither: the same run."""
    net, path = weights
    options = SMALL | {"teacher": "mlp-gelu-24", "arms": "kd,hints,ensemble", "seeds": 1, "steps": 4}
    options |= {"hint_layers": "2:2", "hint_loss": "kd", "teachers_in_ensemble": 2, "teacher_steps": 30}
    plain = run(Config(**options, teacher_weights=path), tmp_path / "plain")
    turned = str(tmp_path / "turned.safetensors")
    with torch.no_grad():
        for tensor in (net[-1].weight, net[-1].bias):
            tensor.copy_(tensor.flip(0))
    save_weights(net, turned, {})
    mapped = run(Config(**options, teacher_weights=turned, class_map=REVERSED), tmp_path / "mapped")
    assert mapped["arms"] == plain["arms"]
    assert mapped["stages"]["teacher"]["accuracy"] == plain["stages"]["teacher"]["accuracy"]
    scrambled = run(Config(**options, teacher_weights=turned), tmp_path / "scrambled")
    assert scrambled["arms"]["ensemble"] != plain["arms"]["ensemble"]
    assert scrambled["arms"]["hints"] != plain["arms"]["hints"]
    assert scrambled["stages"]["teacher"]["accuracy"] != plain["stages"]["teacher"]["accuracy"]


def test_export(tmp_path):
    path = tmp_path / "student.safetensors"
    config = Config(**SMALL, arms="scratch,logits,kd", export=str(path), export_arm="logits")
    result = run(config, tmp_path / "run")
    assert f"the student of logits with seed 0 is in {path}." in result["conclusion"]["lines"]
    net = build("mlp-gelu-8", (1, 8, 8), 10)
    facts = load_weights(net, path)
    assert (facts["arm"], facts["seed"]) == ("logits", 0)
    found = plan(arms="logits")
    left = Left(RunFolder.open(tmp_path / "run"), {stage.name: stage for stage in found.stages}, found.settings)
    assert fingerprint([net]) == fingerprint(left.of("logits")[0])


def test_an_export_that_fails_leaves_the_result_and_can_be_made_later(tmp_path, monkeypatch):
    path = tmp_path / "student.safetensors"
    config = Config(**SMALL | {"seeds": 1}, arms="kd", export=str(path))
    rehearse = distillation.rehearse_export

    def meanwhile(*given):
        rehearse(*given)
        path.write_text("of somebody else")

    monkeypatch.setattr(distillation, "rehearse_export", meanwhile)
    with pytest.raises(ConfigError, match=r"--export .* holds something else; move it away and resume the run"):
        run(config, tmp_path / "run")
    assert path.read_text() == "of somebody else"
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    path.unlink()
    result = distillation.resume(RunFolder.open(tmp_path / "run"))
    assert result["arms"] == kept["arms"]
    line = f"the student of kd with seed 0 is in {path}."
    assert result["conclusion"]["lines"] == [*kept["conclusion"]["lines"], line]
    load_weights(build("mlp-gelu-8", (1, 8, 8), 10), path)
    assert distillation.resume(RunFolder.open(tmp_path / "run")) == result  # the file is there, and its own
    assert {each.name for each in tmp_path.iterdir()} == {"run", "student.safetensors"}


def test_an_export_that_cannot_be_is_refused_before_training(tmp_path, weights, monkeypatch):
    options = SMALL | {"teacher": "mlp-gelu-24", "arms": "kd", "seeds": 1}

    def refused(**more):
        with pytest.raises(ConfigError) as caught:
            run(Config(**options | more), tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    before = (tmp_path / "teacher.safetensors").read_bytes()
    assert "exists; name another file" in refused(teacher_weights=weights[1], export=weights[1])
    assert (tmp_path / "teacher.safetensors").read_bytes() == before
    both = str(tmp_path / "both.safetensors")
    assert "is the file of --cache-path" in refused(cache=True, cache_path=both, export=both)
    (tmp_path / "folder.onnx").mkdir()
    assert "folder.onnx is a folder; name a file" in refused(export=str(tmp_path / "folder.onnx"))
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "export to ONNX needs onnx and onnxscript" in refused(export=str(tmp_path / "student.onnx"))

    def denied(**given):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tutelage.recipes.distillation.exporting.TemporaryDirectory", denied)
    assert "cannot be written to (Permission denied)" in refused(export=both)


@pytest.mark.slow
def test_export_to_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "student.onnx"
    run(Config(**SMALL | {"seeds": 1}, arms="kd", export=str(path)), tmp_path / "run")
    found = plan(arms="kd", seeds=1)
    left = Left(RunFolder.open(tmp_path / "run"), {stage.name: stage for stage in found.stages}, found.settings)
    (x, *_), _ = found.settings[0].held_out("test")
    (answers,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": x.numpy()})
    assert np.allclose(answers, Frozen(left.of("kd")[0]).answers(x).numpy(), atol=1e-5)


# Caches.


CACHED = SMALL | {"arms": "scratch,kd,logits", "cache": True, "steps": 40}


def test_a_second_run_starts_from_the_cache(tmp_path):
    first, second = (run(Config(**CACHED), tmp_path / name) for name in ("one", "two"))
    caches = [result["distillation"]["caches"] for result in (first, second)]
    assert [facts["reused"] for facts in caches[0].values()] == [False, False]
    assert [facts["reused"] for facts in caches[1].values()] == [True, True]
    assert caches[0]["seed 1, teacher"]["file"] == caches[1]["seed 1, teacher"]["file"]
    assert first["arms"] == second["arms"]
    assert second["conclusion"]["lines"][-1] == "the teachers' answers: 2 from files; 2 of which were there before."
    live = run(Config(**CACHED | {"cache": False}), tmp_path / "live")
    assert live["arms"]["scratch"] == first["arms"]["scratch"]
    assert live["arms"]["kd"]["accuracy"]["mean"] == pytest.approx(first["arms"]["kd"]["accuracy"]["mean"], abs=0.01)


def test_two_passes_that_do_not_come_out_even_are_two(tmp_path):
    """105 rows in batches of 16: two passes are 13 steps, which see 1.98 times as many rows."""
    passes = {"steps": None, "epochs": 2, "train_rows": 105, "batch_size": 16, "seeds": 1, "arms": "kd"}
    (facts,) = run(Config(**CACHED | passes), tmp_path / "run")["distillation"]["caches"].values()
    assert facts["source"] == "cache"


def test_a_changed_teacher_has_another_cache_and_a_named_file_is_refused(tmp_path, weights):
    net, path = weights
    options = CACHED | {"teacher": "mlp-gelu-24", "teacher_weights": path, "seeds": 1}
    named = options | {"cache_path": str(tmp_path / "kept.logits")}
    run(Config(**named), tmp_path / "one")
    assert run(Config(**named), tmp_path / "two")["distillation"]["caches"]["seed 0, teacher"]["reused"]
    with torch.no_grad():
        net[1].weight[3, 4] += 1e-3
    save_weights(net, path, {})
    with pytest.raises(CheckpointError, match=r"(?s)kept\.logits.*1\.weight"):
        run(Config(**named), tmp_path / "three")
    assert not (tmp_path / "three").exists()
    fresh = run(Config(**options), tmp_path / "four")["distillation"]["caches"]
    assert not fresh["seed 0, teacher"]["reused"]


def test_random_crops_are_answered_live_and_views_from_a_file(tmp_path):
    data = {"data": images(tmp_path), "classes": 2, "arms": "kd", "seeds": 1, "batch_size": 8, "teacher_batch": 8}
    result = run(Config(**CACHED | data, cache_views=0), tmp_path / "live")
    (facts,) = result["distillation"]["caches"].values()
    assert facts["source"] == "live"
    assert result["conclusion"]["lines"][-1].startswith("the teachers' answers: live, because ")
    teacher = result["stages"]["teacher"]["fingerprints"]
    result = run(Config(**CACHED | data, cache_views=2, cache_mode="force"), tmp_path / "views")
    (facts,) = result["distillation"]["caches"].values()
    assert facts["source"] == "cache"
    assert result["stages"]["teacher"]["fingerprints"] == teacher  # it does not know of the cache
    assert "to 2 fixed views of each row" in result["conclusion"]["lines"][-1]


def test_a_cache_changes_no_training_row_unless_views_are_asked_for(tmp_path):
    data = {"data": images(tmp_path), "classes": 2, "arms": "scratch,kd", "batch_size": 8, "teacher_batch": 8}
    kept, live = (plan(**CACHED | data | {"cache": cache}) for cache in (True, False))
    assert kept.options.cache_views == 8  # 40 steps of 8 are 8 passes over 40 rows
    assert live.settings[0].views is None
    by_name = [{stage.name: stage for stage in found.order} for found in (kept, live)]
    streams = [stages["scratch"].batch(found.settings[0], {}) for stages, found in zip(by_name, (kept, live))]
    for step in (0, 7, 39):
        mine, theirs = (stream(step) for stream in streams)
        assert torch.equal(mine.x, theirs.x)
        assert mine.view is not None
    assert plan(**CACHED | data | {"steps": 45}).settings[0].views is None  # more passes, each with new crops
    assert plan(**CACHED | data | {"replacement": True}).settings[0].views is None


def test_the_largest_logits_only(tmp_path):
    options = CACHED | {"arms": "kd,kd-t1,hard-labels", "cache_top_k": 3, "temperature": 3.0, "seeds": 1}
    result = run(Config(**options), tmp_path / "run")
    assert result["distillation"]["caches"]["seed 0, teacher"]["source"] == "cache"


# Stopping and going on.

COMMAND = [sys.executable, "-m", "tutelage"]
KILLED = ["--seeds", "2", "--steps", "120", "--teacher-steps", "120", "--student", "mlp-gelu-8", "--evaluations", "30"]
KILLED += ["--teacher", "mlp-gelu-24-dropout-0.3", "--arms", "scratch,kd,noisy,mutual,hints,born-again-ensemble"]
KILLED += ["--generations", "1", "--hint-layers", "2:2", "--validation", "0.1", "--pick", "validation", "--cache"]
KILLED += ["--device", "cpu", "--threads", "1", "--checkpoint-seconds", "0.05"]


def without_times(path):
    result = json.loads((path / "result.json").read_text())
    result.pop("seconds")
    return json.dumps(result, sort_keys=True)


@pytest.mark.slow
def test_kill_and_resume(tmp_path):
    def place(name):
        return {**os.environ, "TUTELAGE_CACHE": str(tmp_path / f"cache of {name}")}

    def written(path, name):
        """What a run wrote, with the cache folder of another one in place of its own."""
        return without_times(path).replace(f"cache of {name}", "cache of whole")

    whole = tmp_path / "whole"
    subprocess.run([*COMMAND, "run", "distillation", *KILLED, "--out", str(whole)], check=True, env=place("whole"))
    for lines in (20, 110, 190, 300):  # in different stages
        out = tmp_path / str(lines)
        process = subprocess.Popen(
            [*COMMAND, "run", "distillation", *KILLED, "--out", str(out)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=place(lines),
        )  # fmt: skip
        seen = out / "metrics.jsonl"
        while process.poll() is None and not (seen.is_file() and seen.read_bytes().count(b"\n") >= lines):
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert (out / "checkpoint" / "state.safetensors").is_file()
        subprocess.run([*COMMAND, "resume", str(out)], check=True, capture_output=True, env=place(lines))
        assert written(out, lines) == written(whole, "whole")
        assert seen.read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_resuming_a_finished_run_gives_its_result_again(finished):
    result, out = finished
    again = distillation.resume(RunFolder.open(out))
    assert json.dumps(again, sort_keys=True) == json.dumps(json.loads(json.dumps(result)), sort_keys=True)


def test_a_damaged_folder(tmp_path, finished):
    _, done = finished
    shutil.copytree(done, tmp_path / "run")
    kept = json.loads((done / "arms" / "kd.json").read_text())
    (tmp_path / "run" / "arms" / "kd.json").write_text(json.dumps({"records": kept["records"]}))
    with pytest.raises(CheckpointError, match=r"arms/kd.json is damaged \('ends'\)"):
        distillation.resume(RunFolder.open(tmp_path / "run"))
    (tmp_path / "run" / "arms" / "kd.json").unlink()
    tensors = (tmp_path / "run" / "arms" / "teacher.safetensors").read_bytes()
    (tmp_path / "run" / "arms" / "teacher.safetensors").write_bytes(tensors[:-9])
    with pytest.raises(CheckpointError, match=r"teacher.safetensors is damaged"):
        distillation.resume(RunFolder.open(tmp_path / "run"))


# Bad input.


def seven_classes(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))


BAD = [
    (["--temperature", "0"], "--temperature is 0.0; it must be above 0, at most 1000."),
    (["--temperature=-4"], "--temperature is -4.0; it must be above 0"),
    (["--arms", "kd-t2"], 'unknown arm "kd-t2"'),
    (["--arms", ""], "--arms is empty"),
    (["--teacher", "mpl"], 'unknown teacher "mpl"'),
    (["--student", "mpl"], 'unknown student "mpl"'),
    (["--teacher", "tests.recipes.test_distillation:seven_classes"],
     "returned (2, 7) for 2 examples, but needs (2, 10), one logit per class. Teacher and student both answer with the "
     "10 classes of digits."),
    (["--teacher-weights", "there-is-none.safetensors"], "there-is-none.safetensors does not exist"),
    (["--ce-weight", "0", "--kd-weight", "0"], "--ce-weight and --kd-weight are both 0"),
    (["--steps", "5", "--epochs", "2"], "give one of --steps and --epochs"),
    (["--steps", "0"], "--steps is 0; it must be in 1..100000000."),
    (["--train-rows", "1201"], "--train-rows 1201 is larger than the 1200 training rows"),
    (["--batch-size", "101", "--no-replacement"], "--batch-size 101 is larger than the 100 training rows"),
    (["--test", "1"], "--test is 1.0; it is a share of the rows"),
    (["--test", "0.9999"], "1797 rows are too few"),
    (["--pick", "validation"], "--pick validation needs validation rows"),
    (["--augment", "crop-flip", "--data", "TABLE", "--label", "y", "--classes", "2"], "crop-flip needs images"),
    (["--rule", "lion"], 'unknown rule "lion". Known: adam, adamw, sgd.'),
    (["--smoothing", "1.5", "--arms", "label-smoothing"], "--smoothing is 1.5; it must be in 0..1."),
    (["--smoothing", "0.2", "--arms", "kd"], "--smoothing is for label-smoothing, of which none is in this run"),
    (["--teacher", "mlp-9", "--arms", "scratch"], "--teacher is for hard-labels, kd"),
    (["--arms", "hints"], '--hint-layers is ""; hints and attention need pairs of layers teacher:student'),
    (["--arms", "hints", "--hint-layers", "2"], '--hint-layers is "2"'),
    (["--arms", "hints", "--hint-layers", "22:2"], 'unknown layer of the teacher\'s network "22"'),
    (["--arms", "hints", "--hint-layers", "2:body"], 'unknown layer of the network "body"'),
    (["--arms", "attention", "--hint-layers", "2:2"], "attention needs features with positions"),
    (["--arms", "noisy", "--noise-sigma", "0"], "makes noisy the same as logits"),
    (["--arms", "noisy", "--noise-stage", "dropout", "--teacher", "mlp-9"], "the networks have no dropout layer"),
    (["--peers", "1", "--arms", "mutual"], "--peers is 1; it must be in 2..100."),
    (["--class-map", "0,1,2"], "--class-map is 0,1,2; it needs each of the 10 classes 0..9 once."),
    (["--cache-mode", "force"], "--cache-mode is of the cache; give --cache, too."),
    (["--cache", "--cache-path", "x"], "--cache-path is for one teacher, but each seed has its own"),
    (["--class-map", REVERSED], "--class-map is for weights of another order of classes"),
    (["--cache", "--cache-mode", "force", "--cache-views", "0", "--data", "IMAGES", "--classes", "2"],
     "crops and flips are drawn anew in each pass, so that answers cannot be kept: give --cache-views 8"),
    (["--cache", "--arms", "kd", "--cache-top-k", "11"], "--cache-top-k is 11, but digits has 10 classes"),
    (["--cache", "--arms", "hard-labels", "--hard-threshold", "0.5", "--cache-top-k", "3"],
     "--hard-threshold needs the teacher's probabilities, all its logits; leave --cache-top-k out."),
    (["--cache", "--seeds", "1", "--cache-path", "."], " is a folder; name a file."),
    (["--cache", "--cache-top-k", "3"], "logits needs all of the teacher's logits"),
    (["--export", "student.pt"], "--export student.pt: a student is written as .safetensors or .onnx."),
    (["--export", "nowhere/student.onnx"], "there is no folder nowhere"),
    (["--export", "s.onnx", "--export-arm", "dkd"], "--export-arm dkd is none of the arms scratch"),
    (["--alpha", "0.5"], "--alpha"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "line"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    if "TABLE" in arguments:
        (tmp_path / "table.csv").write_text("a,b,y\n" + "1.0,2.0,0\n2.0,1.0,1\n" * 200)
    given = [{"IMAGES": images(tmp_path) if a == "IMAGES" else "", "TABLE": "table.csv"}.get(a, a) for a in arguments]
    assert main(["run", "distillation", "--out", "run", "--device", "cpu", "--threads", "1", *given]) == 2
    told = capsys.readouterr()
    assert line in told.err.replace("\n", "")
    assert told.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit(tmp_path, weights):
    _, path = weights
    with pytest.raises(Exception, match=r"does not fit.*1\.weight") as caught:
        run(Config(**SMALL | {"teacher": "mlp-gelu-25"}, teacher_weights=path), tmp_path / "run")
    assert type(caught.value).__name__ == "DataError"
    assert not (tmp_path / "run").exists()


def test_two_processes_do_not_write_one_run(finished):
    _, out = finished
    with RunFolder.open(out).locked(), pytest.raises(CheckpointError, match="is being written by another process"):
        distillation.resume(RunFolder.open(out))


def test_unpaired_arms_are_refused(finished):
    from tutelage.recipes.distilling.files import read_outcome
    from tutelage.recipes.distilling.summing import comparisons

    _, out = finished
    outcomes = {name: read_outcome(RunFolder.open(out), name) for name in ("scratch", "kd")}
    outcomes["kd"].fingerprints[1]["pairing"]["batches"] = "other ones"
    with pytest.raises(ConfigError, match="kd and scratch are not paired: with seed 1 their batches differs"):
        comparisons(["scratch", "kd"], ["scratch"], outcomes)
