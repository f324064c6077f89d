"""Teacher assistants in a five-second size: every hop's provenance, the planner, kill and resume, and bad input."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from tutelage.assistants import Candidate, bisected, nearest
from tutelage.cli import main
from tutelage.errors import ConfigError, DataError, TutelageError
from tutelage.recipes import assistant
from tutelage.recipes.assistant import RECIPE, Config, run
from tutelage.recipes.assistant.chain import Network, hops, networks_of, short
from tutelage.recipes.assistant.telling import worth
from tutelage.runs import RunFolder
from tutelage.statistics import Runs, compare

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
    assert facts["seconds"] == pytest.approx(sum(result["seconds"].values()))


def test_every_hop_is_told(finished):
    result, _ = finished
    direct, chain = result["assistant"]["paths"][:2]
    assert direct["path"] == []
    assert chain["path"] == ["16", "8"]
    assert [hop["name"] for hop in chain["hops"]] == ["16", "8", "4"]
    assert [hop["taught_by"] for hop in chain["hops"]] == ["teacher", "assistant-16", "assistant-16+8"]
    assert direct["verdict"] is None
    assert chain["verdict"] == "numbers only"
    assert chain["seconds"] == pytest.approx(sum(hop["seconds"] for hop in chain["hops"]))
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


@pytest.mark.parametrize("plan", ["one", "bisect"])
def test_the_proposal_follows_from_what_was_measured(finished, tmp_path, plan):
    result, out = finished
    if plan == "one":
        result, out = run(Config(**SMALL, plan="one"), tmp_path / "run"), tmp_path / "run"
    facts = result["assistant"]
    (student,) = [Candidate(c["name"], c["parameters"], c["alone"]) for c in facts["candidates"][-1:]]
    ladder = [Candidate(c["name"], c["parameters"], c["alone"]) for c in facts["candidates"][:-1]]
    teacher = Candidate("32", facts["teacher"]["parameters"], facts["teacher"]["alone"])
    want = [nearest(teacher, student, ladder)] if plan == "one" else bisected(teacher, student, ladder)
    assert facts["proposed"] == [c.name for c in want]
    assert facts["proposed"] in [path["path"] for path in facts["paths"]]
    records = json.loads((out / "arms" / "alone-16.json").read_text())["ends"]
    assert ladder[0].accuracy == pytest.approx(sum(end["validation_accuracy"] for end in records) / 2)


def test_the_proposed_path_shares_what_it_can():
    """A path that is there already is not trained again; shared beginnings are trained once."""
    found = prepared(plan="one")
    again = found.then(
        {name: _outcome(a) for name, a in [("teacher", 0.9), ("alone-16", 0.8), ("alone-8", 0.4), ("alone-4", 0.2)]}
    )
    assert set(names(again.order)) - set(names(found.order)) == {"via-8", "assistant-8"}  # .55: .4 is nearer than .8
    chain = found.then(
        {name: _outcome(a) for name, a in [("teacher", 0.9), ("alone-16", 0.6), ("alone-8", 0.4), ("alone-4", 0.2)]}
    )
    assert set(names(chain.order)) - set(names(found.order)) == {"via-16"}  # behind assistant-16, which is there
    assert names(again.order)[: len(found.order)] == names(found.order)


def _outcome(accuracy):
    from tutelage.recipes.distilling import Outcome

    return Outcome([], [{"validation_accuracy": accuracy}, {"validation_accuracy": accuracy}], [], 0.0)


def test_all_chains_share_their_beginnings():
    found = prepared(plan="all", ladder="24,16,8")
    order = names(found.order)
    assert len([name for name in order if name.startswith("assistant-")]) == 7
    assert len([name for name in order if name.startswith(("via-", "direct"))]) == 8
    assert len(set(order)) == len(order)
    assert found.then is None
    assert names(prepared(plan="none").order) == [
        *("teacher", "scratch", "label-smoothing", "direct", "assistant-16", "assistant-16+8", "via-16+8")
    ]


def test_the_best_of_all_chains_is_chosen_on_validation_rows(tmp_path):
    options = SMALL | {"chain": "32-8-4", "plan": "all", "seeds": 1}
    result = run(Config(**options), tmp_path / "run")
    seen = {path["arm"]: path["path"] for path in result["assistant"]["paths"]}
    assert sorted(seen) == ["direct", "via-8"]
    best = max(seen, key=lambda arm: result["arms"][arm]["validation_accuracy"]["mean"])
    assert result["assistant"]["proposed"] == seen[best]


def test_hops_of_their_own(tmp_path):
    options = SMALL | {"chain": "32-8-4", "plan": "none", "validation": 0.0, "seeds": 1}
    result = run(Config(**options, temperature="2,5", kd_weight="0.5,1"), tmp_path / "run")
    direct, chain = result["assistant"]["paths"]
    told = [(hop["temperature"], hop["ce_weight"], hop["kd_weight"]) for hop in chain["hops"]]
    assert told == [(2.0, 0.5, 0.5), (5.0, 0.0, 1.0)]
    assert direct["hops"][0]["temperature"] == 5.0
    assert chain["hops"][0]["alone"] is None
    assert result["assistant"]["proposed"] is None
    assert result["data"]["train_rows"] == 1000


def test_teacher_and_student_with_a_ladder():
    found = prepared(chain=None, teacher="mlp-32", student="mlp-4", ladder="mlp-16,mlp-8", plan="one")
    assert "alone-mlp-16" in names(found.order)
    assert "via-mlp-8" in names(found.then({n: _outcome(0.5) for n in found.first}).order)
    assert not [name for name in names(found.order) if name.startswith("via-")]


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
        ({"kd_weight": "-1", "ce_weight": "1"}, r"^--kd-weight is -1; it must be at least 0"),
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


class Stop(TutelageError):
    """As if the run were killed."""


class Stopping:
    """Stops when a stage has taken so many steps."""

    def __init__(self, stage, steps):
        self.stage, self.steps, self.here, self.taken = stage, steps, False, 0

    def start(self, name, steps, done):
        self.here, self.taken = name == self.stage, 0

    def advance(self, accuracy):
        self.taken += 1
        if self.here and self.taken == self.steps:
            raise Stop


def without_times(out):
    result = json.loads((out / "result.json").read_text())

    def cleaned(value):
        if isinstance(value, dict):
            return {k: cleaned(v) for k, v in value.items() if k not in ("seconds", "environment")}
        return [cleaned(v) for v in value] if isinstance(value, list) else value

    return cleaned(result)


@pytest.mark.parametrize(
    "stage", ["via-16+8", *(pytest.param(name, marks=pytest.mark.slow) for name in ("alone-8", "assistant-16"))]
)
def test_a_stopped_run_goes_on(finished, tmp_path, stage):
    _, whole = finished
    out = tmp_path / "run"
    with pytest.raises(Stop):
        run(Config(**SMALL, checkpoint_seconds=0.0), out, Stopping(stage, 2))
    assistant.resume(RunFolder.open(out))
    again, want = without_times(out), without_times(whole)
    again["config"]["checkpoint_seconds"] = want["config"]["checkpoint_seconds"]
    assert again == want
    assert (out / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    for file in (whole / "arms").glob("*.safetensors"):
        mine, theirs = load_file(out / "arms" / file.name), load_file(file)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.slow
def test_kill_and_resume(tmp_path):
    command = [sys.executable, "-m", "tutelage"]
    options = ["--chain", "32-16-8-4", "--steps", "40", "--seeds", "2", "--threads", "1", "--device", "cpu"]
    options += ["--checkpoint-seconds", "0.02", "--evaluations", "10"]
    whole = tmp_path / "whole"
    subprocess.run([*command, "run", "assistant", *options, "--out", str(whole)], check=True, capture_output=True)
    for lines in (10, 90, 150):  # in the teacher, in a control, and in a chain
        out = tmp_path / str(lines)
        process = subprocess.Popen(
            [*command, "run", "assistant", *options, "--out", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seen = out / "metrics.jsonl"
        while process.poll() is None and not (seen.is_file() and seen.read_bytes().count(b"\n") >= lines):
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        subprocess.run([*command, "resume", str(out)], check=True, capture_output=True)
        assert without_times(out) == without_times(whole)
        assert seen.read_bytes() == (whole / "metrics.jsonl").read_bytes()
