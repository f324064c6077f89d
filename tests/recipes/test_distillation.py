"""Distillation in a five-second size: what a run writes, how arms are paired, and the setting of the specification."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.checkpoint import load_checkpoint
from tutelage.data import load
from tutelage.errors import ConfigError
from tutelage.frozen import Frozen
from tutelage.gap import gap
from tutelage.recipes.distillation import RECIPE, Config, run
from tutelage.recipes.distillation.options import KNOWN
from tutelage.recipes.distilling.files import Left
from tutelage.rules import AdamW
from tutelage.runs import RunFolder
from tutelage.schedules import OneCycle

from .distillation_runs import SMALL, finished_run, images, plan


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_run(tmp_path_factory.getbasetemp())


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
        "validation_rows": 0, "test_rows": 597, "own_test": False,
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


def test_unpaired_arms_are_refused(finished):
    from tutelage.recipes.distilling.files import read_outcome
    from tutelage.recipes.distilling.summing import comparisons

    _, out = finished
    outcomes = {name: read_outcome(RunFolder.open(out), name) for name in ("scratch", "kd")}
    outcomes["kd"].fingerprints[1]["pairing"]["batches"] = "other ones"
    with pytest.raises(ConfigError, match="kd and scratch are not paired: with seed 1 their batches differs"):
        comparisons(["scratch", "kd"], ["scratch"], outcomes)


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
