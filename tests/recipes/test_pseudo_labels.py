"""Few labels in a five-second size: what a run writes, how arms are paired, and a mask that keeps nothing."""

import json

import numpy as np
import pytest
import torch
from pyarrow import parquet

from tutelage.cli import main
from tutelage.recipes.pseudo_labels import ARMS
from tutelage.recipes.pseudo_labels.trial import Trial

from .pseudo_runs import finished_run, plan, trial, weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_run(tmp_path_factory.getbasetemp())


def test_the_folder(finished):
    result, out = finished
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    assert json.loads((out / "config.json").read_text())["config"]["uda_weight"] == 4.0
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {line["arm"] for line in lines} == set(ARMS)
    assert [line["step"] for line in lines if (line["arm"], line["seed"]) == ("uda", 1)] == [4, 8, 12]
    assert [line["step"] for line in lines if (line["arm"], line["seed"]) == ("mpl-soft", 0)] == [4, 8, 12, 15]
    assert not (out / "checkpoint" / "state.safetensors").exists()


def test_the_result(finished):
    result, _ = finished
    assert list(result) == [
        "recipe", "version", "config", "seeds", "data", "training", "order", "about", "arms", "comparisons",
        "silent_masks", "environment", "seconds",
    ]  # fmt: skip
    assert list(result["arms"]) == list(ARMS)
    assert result["data"] == {
        "name": "digits", "classes": [str(i) for i in range(10)], "shape": [1, 8, 8], "labelled_rows": 20,
        "unlabelled_rows": 1300, "test_rows": 497, "include_labelled": True, "transductive": False,
    }  # fmt: skip
    assert result["training"] == {"steps": 12, "batch_size": 16, "labelled_batch": 20, "steps_a_pass": 82}
    for name, arm in result["arms"].items():
        assert len(arm["accuracy"]["values"]) == 2
        taught = ARMS[name].kind == "taught"
        assert {"teacher_accuracy", "student_accuracy", "average_accuracy"} & set(arm) == (
            {"teacher_accuracy", "student_accuracy", "average_accuracy"} if taught else set()
        )


def test_comparisons_are_paired_and_go_up_the_ladder(finished):
    result, _ = finished
    pairs = {(c["a"], c["b"]) for c in result["comparisons"]}
    assert {("uda", "supervised"), ("distil", "uda"), ("mpl-soft", "distil"), ("mpl-soft", "uda-2")} <= pairs
    assert ("supervised", "uda") not in pairs
    (found,) = [c for c in result["comparisons"] if (c["a"], c["b"]) == ("mpl-soft", "distil")]
    a, b = (np.array(result["arms"][n]["accuracy"]["values"]) for n in ("mpl-soft", "distil"))
    assert found["mean_difference"] == pytest.approx((a - b).mean())


def test_the_metrics_of_a_teacher(finished):
    _, out = finished
    records = json.loads((out / "arms" / "mpl-soft.json").read_text())["records"][0]
    waiting, taught, _, fine = records
    assert (waiting["phase"], fine["phase"]) == ("taught", "fine-tuning")
    assert {"h", "feedback_loss", "feedback_before"} <= set(taught)
    assert -1 <= taught["meta_cosine"] <= 1
    assert sum(taught["label_histogram"]) == sum(taught["confidence_histogram"]) == 4 * 16
    assert 0 <= taught["mask_rate"] <= 1
    assert taught["uda_weight"] == 4.0
    assert fine["teacher_accuracy"] == records[2]["teacher_accuracy"]
    scalar = json.loads((out / "arms" / "distil.json").read_text())["records"][0][1]
    assert "h" not in scalar
    assert "teacher_accuracy" in scalar


def test_arms_are_paired():
    """The same networks and batches: the teacher of distil is the network of uda, and mpl-soft starts as distil."""
    options = {"wait": 4}
    alone, distil, soft = (trial(arm, 4, **options) for arm in ("uda", "distil", "mpl-soft"))
    teacher = torch.cat([p.detach().flatten() for p in distil.teacher.network.net.parameters()])
    assert torch.allclose(weights(alone), teacher, atol=1e-6)
    assert torch.equal(weights(distil), weights(soft))
    assert torch.equal(teacher, torch.cat([p.detach().flatten() for p in soft.teacher.network.net.parameters()]))
    assert not torch.equal(weights(distil), weights(alone))  # a student and its teacher begin apart


@pytest.mark.parametrize("arm", list(ARMS))
def test_every_arm_learns(arm):
    running = trial(arm, steps=None, uda_threshold=0.0)
    assert running.finished
    assert np.isfinite(running.records[-1]["accuracy"])


def test_a_mask_that_keeps_nothing_is_told(tmp_path, capsys):
    options = ["--uda-threshold", "1", "--uda-temperature", "1", "--uda-ramp", "1", "--teachers", "uda,distil"]
    small = ["--seeds", "1", "--steps", "12", "--batch-size", "130", "--student", "mlp-8", "--device", "cpu"]
    assert main(["run", "pseudo-labels", *options, *small, "--out", str(tmp_path / "out")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "uda, seeds 0: the threshold masked every example for 11 steps; examples by confidence, in tenths:" in out
    (warning, _) = json.loads((tmp_path / "out" / "result.json").read_text())["silent_masks"]
    assert warning["arm"] == "uda"
    assert sum(warning["histogram"]) == 130
    page = (tmp_path / "out" / "report.html").read_text()
    assert "the threshold masked every example for 11 steps" in page
    assert "Where the gain comes from" in page


def test_a_mask_that_keeps_some_is_not(finished):
    assert trial("uda", uda_threshold=0.0).outcome()["silences"] == []
    assert finished[0]["silent_masks"] is not None


@pytest.mark.parametrize(
    ("arm", "options", "option", "steps"),
    [
        ("uda", {"uda_ramp": 12}, "--uda-threshold", 6),  # a ramp as long as training hides nothing
        ("distil", {"label_threshold": 0.9999}, "--label-threshold", 6),
        ("offline", {"offline_threshold": 1.0}, "--offline-threshold", 12),
    ],
)
def test_every_threshold_that_keeps_nothing_is_told(arm, options, option, steps):
    never = {"uda_threshold": 1.0, "uda_temperature": 1.0} if arm == "uda" else {"uda_threshold": 0.0}
    (found,) = trial(arm, batch_size=650, **{"uda_ramp": 6} | never | options).outcome()["silences"]
    assert (found["option"], found["steps"]) == (option, steps)
    assert sum(found["histogram"]) == (1300 if arm == "offline" else 650)


def test_a_run_of_one_step():
    """The student waits, if it is not told to, for less than all of training."""
    found = plan(steps=1, evaluations=5)
    assert (found.options.wait, found.options.finetune_steps) == (0, 1)
    running = Trial("mpl-soft", found.settings[0], found.options)
    assert [running.advance()["step"] for _ in range(running.total)] == [1, 2]


@pytest.mark.slow
def test_real_images_end_to_end(tmp_path, real_data, capsys):
    """The command of the documents with one of its arms: 400 labels of CIFAR-10, a part of its rows, few steps."""
    for name, rows in (("cifar10-train.parquet", 3000), ("cifar10-test.parquet", 1000)):
        parquet.write_table(parquet.read_table(real_data / name)[:rows], tmp_path / name)
    arguments = ["--data", str(tmp_path / "cifar10-train.parquet"), "--labels", "400", "--steps", "10"]
    arguments += ["--student", "resnet8", "--device", "cpu", "--teachers", "mpl-soft", "--evaluations", "1"]
    assert main(["run", "pseudo-labels", *arguments, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").is_file()
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["data"]["labelled_rows"] == 400
    assert result["data"]["unlabelled_rows"] == 2600
    assert result["data"]["test_rows"] == 1000
