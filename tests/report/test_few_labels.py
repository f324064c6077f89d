"""The report of a run with few labels: which part is whose, health, and what is left out of other runs."""

import html
import json

import pytest

from tutelage.display import result_table, silent_masks
from tutelage.evaluation import paired, summary
from tutelage.recipes.pseudo_labels import ARMS
from tutelage.report import write
from tutelage.report.few_labels import PNG
from tutelage.runs import RunFolder

ACCURACY = {
    "supervised": [0.60, 0.70, 0.65],
    "uda": [0.70, 0.80, 0.75],
    "distil": [0.70, 0.81, 0.74],
    "mpl-soft": [0.75, 0.86, 0.79],
}


def record(arm, seed, step, accuracy):
    found = {"arm": arm, "seed": seed, "step": step, "accuracy": accuracy, "phase": "taught"}
    if arm != "supervised":
        found |= {
            "mask_rate": 0.25,
            "label_entropy": 1.0,
            "label_histogram": [3, 1],
            "confidence_histogram": [0] * 5 + [4] * 5,
        }
    return found


@pytest.fixture
def run(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "pseudo-labels", {}, {}, {})
    result = {
        "recipe": "pseudo-labels",
        "seeds": [0, 1, 2],
        "data": {
            "name": "digits", "classes": ["0", "1"], "labelled_rows": 20, "unlabelled_rows": 1300, "test_rows": 497,
            "include_labelled": True,
        },
        "training": {"steps": 10, "batch_size": 8},
        "order": list(ACCURACY),
        "about": {arm: f"about {arm}" for arm in ACCURACY},
        "arms": {arm: {"accuracy": summary(values)} for arm, values in ACCURACY.items()},
        "comparisons": [
            paired(a, b, "accuracy", ACCURACY[a], ACCURACY[b])
            for b in ("supervised", "uda", "distil")
            for a in ACCURACY
            if list(ACCURACY).index(a) > list(ACCURACY).index(b)
        ],
        "silent_masks": [
            {"arm": arm, "seed": 1, "steps": 40, "histogram": [0, 5, 3, 0, 0, 0, 0, 0, 0, 0], "option": option}
            for arm, option in (("uda", "--uda-threshold"), ("distil", "--label-threshold"))
        ],
        "environment": {},
        "seconds": {},
        "config": {},
    }  # fmt: skip
    folder.write("result.json", result)
    for arm, values in ACCURACY.items():
        records = [[record(arm, seed, step, a) for step in (5, 10)] for seed, a in enumerate(values)]
        folder.write(f"arms/{arm}.json", {"records": records})
    return folder


def page(run):
    return html.unescape(write(run.path).read_text()).replace("\N{NO-BREAK SPACE}", " ")


def test_which_part_is_whose(run):
    text = page(run)
    assert (
        "From labels alone to soft meta pseudo labels accuracy changes by 15.0 points (a gain): 10.0 points (a gain) "
        "are UDA's, 0.0 points (a tie) the student's beside it, 5.0 points (a gain) the meta-gradient's."
    ) in text
    assert "uda − supervised" in text
    assert "mpl-soft − distil" in text
    assert "mpl-scalar − distil" not in text


def test_health(run):
    text = page(run)
    assert "Warning: in uda, seed 1, the threshold masked every example for 40 steps" in text
    assert "in tenths: 0, 5, 3, 0, 0, 0, 0, 0, 0, 0. Lower --label-threshold." in text
    assert "in tenths: 0, 5, 3, 0, 0" in text
    assert "Labels by class" in text
    assert ">75.0<" in text
    assert "20 examples have a label, 1,300 are there without, the labelled ones among them." in text
    assert "share of unlabelled examples that pass the mask" in text
    assert not (run.path / PNG).exists()
    assert "Boundaries" not in text


def test_the_same_bytes(run):
    assert page(run) == page(run)


def test_without_the_arms_of_the_sentence(run):
    result = run.read("result.json")
    result["comparisons"] = [c for c in result["comparisons"] if "distil" not in (c["a"], c["b"])]
    run.write("result.json", result)
    text = page(run)
    assert "From labels alone" not in text
    assert "uda − supervised" in text


def test_the_terminal(run):
    result = json.loads((run.path / "result.json").read_text())
    table = result_table(result)
    assert [name for name, _ in table.columns] == ["arm", "accuracy", "− supervised", "− uda", "− distil"]
    assert table.title == "digits: 20 labelled rows, 1,300 without, 497 test rows, 3 seeds"
    line, other = silent_masks(result)
    assert line.startswith("uda, seeds 1: the threshold masked every example for 40 steps; examples by confidence, in")
    assert line.endswith("Lower --uda-threshold or --uda-temperature.")
    assert other.startswith("distil, seeds 1: the threshold masked every example for 40 steps")
    assert other.endswith("Lower --label-threshold.")


def test_what_a_student_has_besides(run):
    """Its part is also that of its average and its fine-tuning."""
    assert "without feedback, with its" not in page(run)
    run.write("result.json", run.read("result.json") | {"config": {"ema": 0.99, "finetune_steps": 200}})
    text = page(run)
    assert "a student beside the network, without feedback, with its moving average and fine-tuning" in text
    assert "0.0 points (a tie) the student's beside it, with its moving average and fine-tuning, 5.0 points" in text


def test_who_sees_the_test_rows(run):
    """On two moons everything is seen, so the page must not say that nobody does."""
    assert "497 test examples, which no teacher sees" in page(run)
    result = run.read("result.json")
    run.write("result.json", result | {"data": result["data"] | {"transductive": True}})
    assert "no teacher sees" not in page(run)
    assert "Accuracy is measured on these very examples: what is tested was there, unlabelled, in training." in page(
        run
    )


def test_no_arm_is_described_by_its_neighbour():
    """Arms are listed by their accuracy."""
    assert not [arm.about for arm in ARMS.values() if "The same" in arm.about or "that network" in arm.about]
