"""Teacher assistants in a five-second size: every hop's provenance, the planner, kill and resume, and bad input."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tutelage.cli import main
from tutelage.errors import ConfigError, DataError
from tutelage.gap import Gap
from tutelage.recipes import assistant
from tutelage.recipes.assistant import RECIPE, Config, run
from tutelage.recipes.assistant.chain import Network, hops, networks_of, short
from tutelage.recipes.assistant.telling import warned, worth
from tutelage.recipes.distilling import summing
from tutelage.runs import RunFolder
from tutelage.statistics import Runs, compare

from .interrupted import Stops, assert_same, finish, kill_after

SMALL = {"chain": "32-16-8-4", "steps": 10, "seeds": 2, "evaluations": 2, "device": "cpu", "threads": 1}


def prepared(**options):
    return RECIPE.prepare(Config(**SMALL | options), fresh=True)


def names(stages):
    return [stage.name for stage in stages]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return run(Config(**SMALL), out), out


# What a run writes.


def test_the_result_and_the_plan(finished):
    result, out = finished
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    facts = json.loads((out / "plan.json").read_text())
    assert facts == json.loads(json.dumps(result["assistant"]))
    assert result["recipe"] == "assistant"
    assert result["order"][:4] == ["scratch", "label-smoothing", "direct", "via-16+8"]
    assert result["data"]["validation_rows"] == 200
    assert result["data"]["train_rows"] == 800
    assert result["data"]["test_rows"] == 797
    assert result["config"]["teacher"] == "mlp-gelu-32-32-dropout-0.2"
    assert result["config"]["student"] == "mlp-gelu-4"
    assert [c["name"] for c in facts["candidates"]] == ["16", "8", "4"]
    assert facts["teacher"]["parameters"] == 64 * 32 + 32 + 32 * 32 + 32 + 32 * 10 + 10
    assert facts["candidates"][2]["parameters"] == 64 * 4 + 4 + 4 * 10 + 10
    assert facts["wall_seconds"] == pytest.approx(sum(result["seconds"].values()))


def test_every_hop_is_told(finished):
    result, _ = finished
    direct, chain = result["assistant"]["paths"][:2]
    assert direct["path"] == []
    assert chain["path"] == ["16", "8"]
    assert [hop["name"] for hop in chain["hops"]] == ["16", "8", "4"]
    assert [hop["taught_by"] for hop in chain["hops"]] == ["teacher", "assistant-16", "assistant-16+8"]
    assert direct["verdict"] is None
    assert chain["verdict"] == "numbers only"
    taught = sum(hop["wall_seconds"] for hop in chain["hops"])
    assert chain["wall_seconds"] == pytest.approx(result["assistant"]["teacher"]["wall_seconds"] + taught)
    for hop in chain["hops"]:
        assert (hop["temperature"], hop["ce_weight"], hop["kd_weight"]) == (4.0, 0.1, 0.9)
        assert hop["seeds"] == [0, 1]
        assert len(hop["accuracy"]["values"]) == 2
        assert 0 <= hop["alone"] <= 1
        assert all(gap > 0 for gap in hop["gap"])
    assert chain["hops"][-1]["accuracy"] == result["arms"]["via-16+8"]["accuracy"]
    lines = result["conclusion"]["lines"]
    accuracies = [f"{100 * hop['accuracy']['mean']:.2f}" for hop in chain["hops"]]
    assert all(accuracy in lines[1] for accuracy in accuracies)
    assert any(line.startswith("planner (bisect)") for line in lines)


def test_each_network_is_taught_by_the_one_before(finished):
    """Hop k's teacher has the fingerprint of hop k - 1's student, for every seed; and these are of the files."""
    result, out = finished
    for path in result["assistant"]["paths"]:
        above = result["assistant"]["teacher"]["fingerprints"]
        for hop in path["hops"]:
            assert hop["teacher_fingerprints"] == above
            above = hop["fingerprints"]
            assert len(set(above)) == 2
    kept = load_file(out / "arms" / "assistant-16.safetensors")
    assert kept["network.1.0.1.weight"].shape == (16, 64)


def test_chains_and_direct_are_paired(finished):
    result, _ = finished
    pairs = [result["stages"][arm]["fingerprints"] for arm in ("direct", "via-16+8", "scratch")]
    for direct, chain, scratch in zip(*pairs):
        for fact in ("split", "initialisation", "batches"):
            assert direct["pairing"][fact] == chain["pairing"][fact] == scratch["pairing"][fact]
    assert len({result["stages"][arm]["steps"] for arm in ("direct", "via-16+8", "scratch", "assistant-16")}) == 1
    assert result["stages"]["alone-16"]["steps"] == 2  # a quarter of ten, rounded


def test_hops_of_their_own(tmp_path):
    options = SMALL | {"chain": "32-8-4", "plan": "none", "validation": 0.0, "seeds": 1}
    result = run(Config(**options, temperature="2,5", kd_weight="0.5,1"), tmp_path / "run")
    direct, chain = result["assistant"]["paths"]
    told = [(hop["temperature"], hop["ce_weight"], hop["kd_weight"]) for hop in chain["hops"]]
    assert told == [(2.0, 0.5, 0.5), (5.0, 0.0, 1.0)]
    assert direct["hops"][0]["temperature"] == 5.0
    assert chain["hops"][0]["alone"] is None
    assert (result["assistant"]["proposed"], result["assistant"]["planned"]) == ([], None)
    assert result["data"]["train_rows"] == 1000


def test_the_acceptance_setting():
    found = prepared(chain="256-16-6", plan="none", validation=0.0, steps=None)
    o = found.options
    assert (o.steps, o.batch_size, o.lr, o.rates, o.weight_decay) == (800, 32, 1.5e-2, "one-cycle", 1e-4)
    assert (o.teacher, o.teacher_lr, o.teacher_batch) == ("mlp-gelu-256-256-dropout-0.2", 5e-3, 64)
    assert len(found.settings[0].order) == 1000
    assert found.settings[0].test_rows == 797


@pytest.mark.parametrize(
    ("d", "told"),
    [
        ([0.02, 0.03, 0.02, 0.03], "paid"),
        ([-0.02, -0.03, -0.02, -0.03], "harmful"),
        ([-0.02, 0.03, -0.02, 0.03], "not shown"),
        ([0.0, 0.0, 0.0], "not shown"),
        ([1e-4, -1e-4, 1e-4, -1e-4], "not shown"),
        ([0.02, 0.03], "numbers only"),
    ],
)
def test_whether_it_paid(d, told):
    chain = Runs("via-16", {seed: 0.5 + difference for seed, difference in enumerate(d)})
    assert worth(compare(chain, Runs("direct", dict.fromkeys(range(len(d)), 0.5)), "accuracy")) == told


def test_a_pair_has_one_verdict(tmp_path, monkeypatch):
    """That of the result's table, over which p is adjusted, controls included; not of a table of the chains alone."""

    def of_three(found):
        return [{**d, "verdict": "worse" if len(found) == 3 else "better"} for d in found]

    monkeypatch.setattr(summing, "table", of_three)
    result = run(Config(**SMALL | {"chain": "32-8-4", "plan": "none", "steps": 2}), tmp_path / "run")
    told = [d for d in result["comparisons"] if d["b"] == "direct"]
    assert [d["a"] for d in told] == ["scratch", "label-smoothing", "via-8"]
    path = result["assistant"]["paths"][1]
    assert path["difference"] == told[2]
    assert path["verdict"] == "harmful"
    assert result["conclusion"]["lines"][0].startswith("assistants against direct distillation, harmful: via-8 (")


def test_students_that_cannot_follow(finished):
    """One warning, the worst first."""
    result, _ = finished
    hops = {hop["stage"]: hop for path in result["assistant"]["paths"] for hop in path["hops"]}
    r = {stage: sum(hop["gap"]) / 2 for stage, hop in hops.items()}
    worst, *others = sorted(r, key=lambda stage: -r[stage])
    agreement = sum(hops[worst]["agreement"]) / 2
    assert min(r.values()) > 0.05
    assert result["warnings"][-1] == (
        f"{worst}: {Gap(r[worst], agreement).advice} The same holds for "
        f"{', '.join(f'{stage} (r = {r[stage]:.2g})' for stage in others)}."
    )
    assert warned({"paths": []}) == []


def test_fewer_rows_than_the_teacher(finished, tmp_path):
    result = run(Config(**SMALL | {"chain": "32-8-4", "plan": "none", "steps": 2, "train_rows": 300}), tmp_path / "run")
    assert result["config"]["train_rows"] == 300
    said = "the teacher learned from 800 labelled rows, the students from 300 of them"
    assert [line.startswith(said) for line in result["conclusion"]["lines"]].count(True) == 1
    assert not [line for line in finished[0]["conclusion"]["lines"] if "the teacher learned from" in line]


# Names and numbers.


def test_networks_by_widths_and_by_names():
    widths = networks_of("256-64 , 16", "--chain", teacher=True)
    assert widths[0] == Network("256", "mlp-gelu-256-256-dropout-0.2")
    assert widths[1:] == (Network("64", "mlp-gelu-64"), Network("16", "mlp-gelu-16"))
    assert networks_of("64", "--ladder", teacher=False) == (Network("64", "mlp-gelu-64"),)
    assert networks_of("plain10, my.nets:small", "--chain", teacher=True) == (
        Network("plain10", "plain10"),
        Network("my.nets_small", "my.nets:small"),
    )
    assert [short(n.net) for n in widths] == list(widths)
    assert short("mlp-gelu-64-32").name == "mlp-gelu-64-32"


def test_one_number_for_all_or_one_each():
    every = hops("4", "0.9", None, ["a", "s"])
    assert every["a"] == every["s"]
    assert (every["a"].temperature, every["a"].ce_weight, every["a"].kd_weight) == (4.0, 0.1, 0.9)
    each = hops("1,20", "0.9,2", "0.1,0.5", ["a", "s"])
    assert (each["s"].temperature, each["s"].ce_weight, each["s"].kd_weight) == (20.0, 0.5, 2.0)


# Bad input.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chain": "256"}, r"^--chain names one network, 256; it needs a teacher, assistants and a student"),
        ({"chain": " , "}, r"^--chain is empty; name networks"),
        ({"chain": "32-8-8-4"}, r"^--chain: network 8 is named twice"),
        ({"chain": "mlp-32,mpl-8,mlp-4"}, r'^unknown student "mpl-8".*Did you mean "mlp'),
        ({"chain": "32-64-4", "teacher": "mlp-9"}, r"^--teacher mlp-9 is not that of --chain, mlp-gelu-32-32-dropout"),
        ({"chain": "32-999-4"}, r"^candidate 999 has [\d,]+ parameters, more than the teacher 32 \("),
        ({"ladder": "2"}, r"^candidate 2 has 160 parameters, fewer than the student 4 \(310\)"),
        ({"chain": "4-8-64"}, r"^the student 64 has 4,810 parameters, its teacher 4 330: exchange them"),
        ({"ladder": "16,4"}, r"^--ladder: network 4 is named twice"),
        ({"ladder": ","}, r"^--ladder is empty"),
        ({"chain": "32-4"}, r"^--plan bisect has no candidate; name some in --ladder, or use --plan none"),
        ({"chain": None, "teacher": "mlp-8"}, r"^give both --teacher and --student, or --chain"),
        ({"chain": None, "teacher": "mlp-8", "student": "mlp-4"}, r"^--teacher and --student have nothing between"),
        ({"validation": 0.0}, r"^--plan bisect measures on validation rows; give --validation, such as 0.2"),
        ({"plan": "all", "ladder": "24,20,16,12,8"}, r"^all paths over 5 candidates are 31 assistants and 32 students"),
        ({"temperature": "4,4"}, r"^--temperature has 2 values, but 3 networks are taught: 16, 8, 4; give one for all"),
        ({"temperature": "0"}, r"^--temperature is 0; it must be above 0"),
        ({"temperature": "warm"}, r'^--temperature is "warm"; it needs a number, or several separated by commas'),
        ({"kd_weight": "2"}, r"^--kd-weight is 2, above 1; give --ce-weight as well"),
        ({"temperature": "1e30"}, r"^--temperature is 1e\+30; it must be above 0, at most 1000\.$"),
        ({"temperature": "nan"}, r"^--temperature is nan; it must be above 0, at most 1000\.$"),
        ({"kd_weight": "-1", "ce_weight": "1"}, r"^--kd-weight is -1; it must be in 0\.\.1000000\.$"),
        ({"kd_weight": "nan"}, r"^--kd-weight is nan; it must be in 0\.\.1000000\.$"),
        ({"ce_weight": "1,inf,1"}, r"^--ce-weight is inf; it must be in 0\.\.1000000\.$"),
        ({"kd_weight": "0", "ce_weight": "0"}, r"^--ce-weight and --kd-weight are both 0, which leaves 16 nothing to"),
        ({"kd_weight": "1,0,1", "ce_weight": "0"}, r"^--ce-weight and --kd-weight are both 0, which leaves 8 nothing"),
        ({"train_rows": 801}, r"^--train-rows 801 is larger than the 800 training rows; use 800 or less"),
        ({"plan": "none", "ladder": "24"}, r"^--ladder is for runs with --plan one, bisect or all; nothing in this"),
        ({"plan": "none", "plan_share": 0.5}, r"^--plan-share is for runs with --plan one, bisect or all;"),
        ({"plan": "none", "min_gap": 0.1}, r"^--min-gap is for runs with --plan bisect; nothing in this run looks at"),
        ({"plan": "one", "max_hops": 2}, r"^--max-hops is for runs with --plan bisect;"),
        ({"force": True}, r"^--force is for runs with --plan all;"),
        ({"momentum": 0.5}, r"^--momentum is for runs with --rule sgd and --rates steps, cosine or constant, or runs"),
        ({"pad": 2}, r"^--pad is for runs with --augment crop-flip;"),
        ({"teacher_weights": "none.safetensors", "teacher_lr": 0.1}, r"^--teacher-lr is for runs without --teacher-w"),
        ({"label": "y"}, r"^--label is for Parquet, csv, TFRecord or Hub data, which digits is not; leave it out"),
        ({"chain": None, "teacher": "mlp-8", "student": "mlp-4", "plan": "none"}, r"between them; give --chain\.$"),
        ({"kd_weight": "1,1,0.5", "ladder": "24"}, r"^--kd-weight has a value for each network of --chain, but"),
        ({"min_gap": 2.0}, r"^--min-gap is 2.0; it must be in 0..1"),
        ({"max_hops": -1}, r"^--max-hops is -1"),
        ({"plan_share": 0.0}, r"^--plan-share is 0.0; it must be above 0, at most 1"),
        ({"label_smoothing": 1.5}, r"^--label-smoothing is 1.5"),
        ({"steps": 0}, r"^--steps is 0"),
    ],
)  # fmt: skip
def test_options_that_cannot_work(tmp_path, options, message):
    with pytest.raises((ConfigError, DataError), match=message):
        run(Config(**SMALL | options), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_line(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", "assistant", "--chain", "256", "--out", str(out)]) == 2
    assert "error: --chain names one network, 256" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
    options = ["--chain", "16-8-4", "--steps", "4", "--seeds", "1", "--threads", "1", "--plan", "one"]
    assert main(["run", "assistant", *options, "--out", str(out)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "planner (one) proposes 16 → 8 → 4" in shown
    assert (out / "report.html").is_file()


# Stop and go on.


@pytest.mark.parametrize(
    "stage", ["via-16+8", *(pytest.param(name, marks=pytest.mark.slow) for name in ("alone-8", "assistant-16"))]
)
def test_a_stopped_run_goes_on(finished, tmp_path, stage):
    _, whole = finished
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(Config(**SMALL, checkpoint_seconds=0.0), out, Stops(stage, 2))
    assistant.resume(RunFolder.open(out))
    assert_same(out, whole)
    for file in (whole / "arms").glob("*.safetensors"):
        mine, theirs = load_file(out / "arms" / file.name), load_file(file)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


KILLED = ["--chain", "32-16-8-4", "--steps", "40", "--seeds", "2", "--threads", "1", "--device", "cpu"]
KILLED += ["--checkpoint-seconds", "0.1", "--evaluations", "10"]


@pytest.mark.slow
def test_kill_and_resume(tmp_path):
    finish("run", "assistant", *KILLED, "--out", tmp_path / "whole")
    out = tmp_path / "killed"
    kill_after(90, out, "run", "assistant", *KILLED)
    finish("resume", out)
    assert_same(out, tmp_path / "whole")
