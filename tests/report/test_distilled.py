"""The pages of runs in which networks teach networks: numbers as in the result, words for every picture, what is left
out where a run has nothing to show."""

import html
import json
import re

import pytest
import torch

from tutelage.checkpoint import save_checkpoint
from tutelage.display import result_table
from tutelage.evaluation import summary
from tutelage.report import write
from tutelage.report.page import read
from tutelage.report.tables import verdict
from tutelage.runs import RunFolder
from tutelage.statistics import Runs, compare, power_warning, table

CLASSES = ["cat", "dog & fox", "<owl>"]
ACCURACY = {
    "scratch": [0.80, 0.82, 0.81, 0.83, 0.80],
    "label-smoothing": [0.801, 0.817, 0.812, 0.826, 0.802],
    "kd": [0.90, 0.91, 0.92, 0.90, 0.91],
}
TEACHER = [0.97, 0.98, 0.97, 0.96, 0.98]
PRINTS = [{"network": f"{seed}{'ab' * 31}", "teachers": {}, "pairing": {}} for seed in range(5)]


def differences(bases):
    runs = {arm: Runs(arm, dict(enumerate(values))) for arm, values in ACCURACY.items()}
    others = {base: list(runs)[list(runs).index(base) + 1 :] for base in bases}
    return [d for base in bases for d in table([compare(runs[a], runs[base], "accuracy") for a in others[base]])]


def staged(recipe, **more):
    found = differences(["scratch", "label-smoothing"])
    arms = {arm: {"accuracy": summary(values), "loss": summary(values)} for arm, values in ACCURACY.items()}
    arms["kd"] |= {"agreement": summary([0.9] * 5), "gap": summary([0.07, 0.06, 0.08, 0.07, 0.07])}
    stages = {
        "teacher": {"needs": [], "steps": 7, "parameters": 12345, "accuracy": summary(TEACHER), "fingerprints": PRINTS},
        **{
            arm: {"needs": ["teacher"] * (arm == "kd"), "steps": 9, "parameters": 67, "accuracy": summary(values)}
            for arm, values in ACCURACY.items()
        },
    }
    return {
        "recipe": recipe,
        "config": {"student": "mlp-8", "teacher": "mlp-99", "batch_size": 16, "rule": "adamw", "lr": 0.1},
        "seeds": list(range(5)),
        "data": {"name": "pets", "classes": CLASSES, "shape": [1, 4, 4], "train_rows": 1200, "test_rows": 60},
        "order": list(ACCURACY),
        "about": {arm: f"about {arm}" for arm in ACCURACY},
        "stages": stages,
        "arms": arms,
        "comparisons": found,
        "conclusion": {"lines": ["against scratch, better: kd.", "the teacher learned from more."]},
        "warnings": [w for d in found if (w := power_warning(d))] + ["kd: the student cannot follow this teacher."],
        "environment": {},
        "seconds": {"teacher": 3.0},
        **more,
    }


def create(path, result):
    folder = RunFolder.create(path, result["recipe"], {}, {}, {})
    folder.write("result.json", result)
    for arm, values in ACCURACY.items():
        records = [
            [{"accuracy": a / 2, "step": 4, "seed": s}, {"accuracy": a, "step": 9, "seed": s}]
            for s, a in enumerate(values)
        ]
        ends = [{**own[-1], "per_class": [0.5, 1.0, None]} for own in records]
        folder.write(f"arms/{arm}.json", {"records": records, "ends": ends})
    return folder


def dark_knowledge(folder, shape=(1, 4, 4)):
    """Two rows of each kind; of the second the student says another class than the teacher."""
    teacher, student = (
        torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]),
        torch.tensor([[0.7, 0.2, 0.1], [0.8, 0.1, 0.1]]),
    )
    rows = {"index": torch.tensor([4, 17]), "label": torch.tensor([0, 1]), "teacher": teacher, "student": student}
    rows["image"] = torch.arange(2 * torch.Size(shape).numel(), dtype=torch.uint8).reshape(2, *shape)
    tensors = {f"{kind}.{name}": value for kind in ("soft", "apart", "confused") for name, value in rows.items()}
    facts = {"arm": "kd", "seed": 0, "temperature": 4.0}
    save_checkpoint(folder / "dark_knowledge.safetensors", {**tensors, "confusion": torch.eye(3)}, facts)
    pairs = [{"class": 0, "taken_for": 1, "probability": 0.0312}, {"class": 1, "taken_for": 2, "probability": 0.01}]
    return {**facts, "confused": pairs, "disagreements": 7, "rows": 60}


@pytest.fixture
def distillation(tmp_path):
    facts = {
        "student_rows": 100,
        "caches": {
            "seed 0, teacher": {
                "source": "cache", "file": "/somewhere/x.logits", "reused": True, "bytes": 5600, "rows": 100,
                "views": 1, "classes": 3, "storage": "float16", "fingerprint": "feedbeef" * 8,
            },
            "seed 1, teacher": {"source": "live", "reason": "flips are drawn anew"},
        },
    }  # fmt: skip
    folder = create(tmp_path / "run", staged("distillation", distillation=facts))
    facts["dark_knowledge"] = dark_knowledge(folder.path)
    folder.write("result.json", staged("distillation", distillation=facts))
    return folder


def raw(run):
    return write(run.path).read_text()


def page(run):
    return html.unescape(raw(run)).replace("\N{NO-BREAK SPACE}", " ")


def alts(run):
    return [
        html.unescape(alt).replace("\N{NO-BREAK SPACE}", " ")
        for alt in re.findall(r'<img[^>]* alt="([^"]*)"', raw(run))
    ]


def headings(run):
    return [html.unescape(h) for h in re.findall("<h2>(.*?)</h2>", raw(run))]


def test_the_sections(distillation):
    assert headings(distillation) == [
        "What follows", "Results", "Paired differences", "Learning curves", "Can the student follow?", "Soft targets",
        "What the teacher confuses", "Where they disagree", "The teachers' answers", "Accuracy by class", "Networks",
        "Options",
    ]  # fmt: skip


def test_the_head_says_who_taught_whom_from_how_much(distillation):
    text = page(distillation)
    assert "A student (mlp-8) learns pets from 100 of 1,200 examples from the answers of a teacher (mlp-99)." in text
    assert "3 ways to teach it are compared over 5 seeds" in text
    assert "mlp-99, 12,345 parameters; 7 steps" in text
    assert "mlp-8, 67 parameters" in text
    assert "of 2 teachers: 1 from files, 1 of these from before, 1 live" in text


def test_accuracies_are_those_of_the_result(distillation):
    text, result = page(distillation), distillation.read("result.json")
    for metrics in (*result["arms"].values(), result["stages"]["teacher"]):
        accuracy = metrics["accuracy"]
        assert f"<td>{100 * accuracy['mean']:.2f} ± {100 * accuracy['ci95']:.2f}</td>" in text
    assert "Test accuracy: teacher 97.20 %, kd 90.80 %, scratch 81.20 %, label-smoothing 81.16 %." in alts(distillation)


def test_differences_have_their_own_verdicts(distillation):
    text = page(distillation)
    found = {(d["a"], d["b"]): d for d in distillation.read("result.json")["comparisons"]}
    assert [d["verdict"] for d in found.values()] == ["equivalent", "better", "better"]
    assert verdict(found["label-smoothing", "scratch"]) == "equivalent"
    kd = found["kd", "scratch"]
    assert f"<td>+{100 * kd['mean_difference']:.2f} ± {100 * kd['ci95']:.2f}</td>" in text
    assert '<td class="verdict-better"><b>better</b></td>' in text
    assert '<td class="verdict-equivalent"><b>equivalent</b></td>' in text
    assert "Paired differences from scratch in points: kd +9.60 (better), label-smoothing −0.04 (equivalent)." in alts(
        distillation
    )
    assert "Holm" in text


def test_conclusion_and_warnings(distillation):
    text = page(distillation)
    assert "<strong>Against scratch, better: kd.</strong>" in text
    assert "<li>the teacher learned from more.</li>" in text
    assert "<b>Warning</b><ul><li>kd: the student cannot follow this teacher.</li></ul>" in text
    assert '<td class="verdict-worse"><b>r above 0.05</b></td>' in text


def test_a_small_difference_of_few_seeds_is_warned_of_beside_the_table(tmp_path):
    result = staged("distillation")
    weak = compare(Runs("kd", {0: 0.8, 1: 0.82, 2: 0.81}), Runs("scratch", {0: 0.8, 1: 0.81, 2: 0.815}), "accuracy")
    line = power_warning(weak)
    run = create(tmp_path / "run", result | {"comparisons": [weak], "warnings": [line]})
    text = page(run)
    assert text.count(line) == 1
    assert text.index("Paired differences") < text.index("Few seeds") < text.index(line)


def test_dark_knowledge_beside_the_images(distillation):
    text, words = page(distillation), alts(distillation)
    assert (
        "Teacher and student of cat (row 4): cat 0.60 and 0.70, dog & fox 0.30 and 0.20, <owl> 0.10 and 0.10." in words
    )
    assert words.count("test example of class cat") == 1
    pairs = "cat, taken for dog & fox 3.12 %; dog & fox, taken for <owl> 1.00 %"
    assert f"Most confused pairs of classes: {pairs}." in words
    assert "cat like dog & fox; teacher dog & fox 0.30, and cat 0.60" in words
    assert "another class than its teacher to 7 of 60 test examples (11.7 %), seed 0; here the first 2" in text
    assert "label dog & fox; teacher dog & fox 0.50, student cat 0.80" in words
    assert text.count('class="card wrong"') == 2  # right teacher; the first row's student is right as well


def test_vectors_have_bars_alone(distillation):
    dark_knowledge(distillation.path, shape=(5,))
    words = alts(distillation)
    assert any(alt.startswith("Teacher and student of cat (row 4)") for alt in words)
    assert not any("test example of class" in alt or alt.startswith("cat like") for alt in words)
    assert "cat like dog & fox" in page(distillation)


def test_where_answers_came_from(distillation):
    text = page(distillation)
    for told in ("a file that was there before", "5.6 kB", "100 × 1 × 3", "float16", "feedbeeffeedbeef<",
                 "/somewhere/x.logits", "live: flips are drawn anew"):  # fmt: skip
        assert told in text


def test_arms_that_no_file_answers_say_why(distillation):
    result = distillation.read("result.json")
    result["distillation"]["live"] = {"hints": "it learns from layers inside"}
    distillation.write("result.json", result)
    text = page(distillation)
    told = "1 live; live, because flips are drawn anew; hints live, because it learns from layers inside"
    assert f"of 2 teachers: 1 from files, 1 of these from before, {told}" in text
    assert ">of hints<" in text
    assert "live: it learns from layers inside" in text
    del result["distillation"]["caches"]
    distillation.write("result.json", result)
    assert ">hints live, because it learns from layers inside<" in page(distillation)
    assert "The teachers' answers" in headings(distillation)


def test_a_teacher_from_a_file_may_know_the_test_examples(distillation):
    result = distillation.read("result.json")
    told = "pets has no test examples of its own: the teacher may have learned from some of these."
    for weights, own_test in (("large.safetensors", False), ("large.safetensors", True), (None, False)):
        result["config"]["teacher_weights"], result["data"]["own_test"] = weights, own_test
        distillation.write("result.json", result)
        assert (told in page(distillation)) == (weights is not None and not own_test)


def test_classes_without_test_rows_are_left_out(distillation):
    text = page(distillation)
    assert ">50.0<" in text
    assert ">100.0<" in text


def test_nothing_is_asked_of_the_network_and_every_picture_has_words(distillation):
    text = raw(distillation)
    assert all(alts(distillation))
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "<owl>" not in text


def test_the_same_bytes(distillation):
    assert raw(distillation) == raw(distillation)


def test_a_bare_result_still_has_a_page(tmp_path):
    result = staged("distillation")
    bare = {name: result[name] for name in ("recipe", "arms", "stages", "order")}
    for stage in bare["stages"].values():
        stage.pop("parameters"), stage.pop("fingerprints", None)
    folder = RunFolder.create(tmp_path / "run", "distillation", {}, {}, {})
    folder.write("result.json", bare)
    assert headings(folder) == ["Results", "Can the student follow?", "Networks", "Options"]


def test_networks_are_not_read(distillation):
    (distillation.path / "arms" / "kd.safetensors").write_bytes(b"not to be read")
    assert read(distillation.path).trajectories["kd"].arrays == {}


def hop(name, accuracy, parameters, above, own):
    return {
        "stage": name, "name": name, "net": name, "parameters": parameters, "alone": accuracy - 0.1,
        "accuracy": summary([accuracy] * 5), "gap": [0.01, None, 0.03], "taught_by": "t", "teacher_fingerprints": above,
        "fingerprints": own, "temperature": 4.0, "ce_weight": 0.1, "kd_weight": 0.9, "seeds": list(range(5)),
        "wall_seconds": 2.0,
    }  # fmt: skip


@pytest.fixture
def assistant(tmp_path):
    above, between, below = (["a1" * 32] * 5, ["b2" * 32] * 5, ["c3" * 32] * 5)
    (difference,) = table([compare(*(Runs(n, dict(enumerate(ACCURACY[n]))) for n in ("kd", "scratch")), "accuracy")])
    facts = {
        "plan": "bisect", "min_gap": 0.01, "max_hops": 3,
        "teacher": {
            "name": "256", "net": "mlp-256", "parameters": 85002, "alone": 0.975, "accuracy": summary(TEACHER),
            "fingerprints": above, "wall_seconds": 1.0,
        },
        "candidates": [
            {"name": "64", "net": "mlp-64", "parameters": 4810, "alone": 0.85},
            {"name": "32", "net": "mlp-32", "parameters": 2000, "alone": 0.80},
            {"name": "4", "net": "mlp-4", "parameters": 310, "alone": 0.675},
        ],
        "proposed": [{"path": ["64"], "arm": "via-64", "seeds": list(range(5))}],
        "planned": {"arm": "via-64", "basis": "each seed", "difference": difference, "verdict": "paid"},
        "paths": [
            {"arm": "direct", "path": [], "hops": [hop("4", 0.81, 310, above, below)], "wall_seconds": 3.0,
             "difference": None, "verdict": None},
            {"arm": "via-64", "path": ["64"], "wall_seconds": 5.0, "difference": difference, "verdict": "paid",
             "hops": [hop("64", 0.95, 4810, above, between), hop("4", 0.91, 310, between, below)]},
        ],
        "wall_seconds": 9.0,
    }  # fmt: skip
    return create(tmp_path / "run", staged("assistant", assistant=facts))


def test_chains_and_the_planner(assistant):
    text, words = page(assistant), alts(assistant)
    assert headings(assistant)[2:4] == ["Chains", "The planner"]
    whole = "256 97.20 % → 64 95.00 % → 4 91.00 %: +9.60 ± 2.08 points: paid"
    assert f"Chains: 256 97.20 % → 4 81.00 %: direct; {whole}." in words
    assert "<h3>256 → 64 → 4</h3>" in text
    assert "<td>b2b2b2b2</td><td>c3c3c3c3</td>" in text
    assert "<td>0.020</td>" in text
    assert "The planner proposes 256 → 64 → 4." in text
    assert "Trained, its student is +9.60 ± 2.08 points from the direct one: the chain paid." in text
    assert "wider than 1 point " in text
    assert "Each seed goes by its own validation examples" in text
    assert re.search(r"In all</th>(<td></td>){5}<td>5</td>", text)
    alone = "256 97.50 % with 85,002 parameters, 64 85.00 % with 4,810 parameters, 32 80.00 % with 2,000 parameters"
    assert any(alt.startswith(f"Candidates alone: {alone}") for alt in words)


def test_paths_that_differ_by_seed(assistant):
    result = assistant.read("result.json")
    planned = {**result["assistant"]["planned"], "arm": "planned"}
    groups = [{"path": ["64"], "arm": "via-64", "seeds": [0, 1, 3, 4]}, {"path": [], "arm": "direct", "seeds": [2]}]
    result["assistant"] |= {"proposed": groups, "planned": planned}
    assistant.write("result.json", result)
    text = page(assistant)
    assert "The planner proposes 256 → 64 → 4 for 4 seeds and 256 → 4 for 1 seed." in text
    assert "Trained, the student of each seed's own path is +9.60 ± 2.08 points from the direct one" in text
    assert any("Proposed: 256 → 64 → 4 for 4 seeds and 256 → 4 for 1 seed." in alt for alt in alts(assistant))


def test_a_planner_of_all_seeds_or_of_one(assistant):
    result = assistant.read("result.json")
    result["assistant"]["planned"]["basis"] = "all seeds"
    assistant.write("result.json", result)
    assert "The means over all seeds decide, as none of their validation examples is a test example." in page(assistant)
    result["assistant"]["proposed"][0]["seeds"] = [0]
    assistant.write("result.json", result)
    text = page(assistant)
    assert "The means over all seeds" not in text
    assert "Each seed goes by" not in text


def test_a_run_without_a_planner(assistant):
    result = assistant.read("result.json")
    result["assistant"] |= {"plan": "none", "proposed": [], "planned": None}
    assistant.write("result.json", result)
    assert "The planner" not in headings(assistant)


@pytest.fixture
def data_distillation(tmp_path):
    facts = {"labelled_rows": 100, "other_rows": 1100, "labelled_a_batch": 8, "views": ["Identity()"]}
    result = staged("data-distillation", data_distillation=facts)
    labels = {"label_accuracy": 0.925, "kept_share": 0.5, "label_confidence": 0.75}
    result["arms"]["kd"] |= {name: summary([value] * 5) for name, value in labels.items()}
    folder = create(tmp_path / "run", result)
    arm = folder.read("arms/kd.json")
    counts = {"right_by_confidence": [0] * 8 + [100, 400], "wrong_by_confidence": [0] * 5 + [30] + [0] * 3 + [20]}
    folder.write("arms/kd.json", arm | {"ends": [end | counts for end in arm["ends"]]})
    p = torch.tensor([[[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]]])
    tensors = {"index": torch.tensor([31]), "label": torch.tensor([0]), "p": p, "mean": p.mean(1)}
    tensors |= {"view.0": torch.rand(1, 1, 4, 4), "view.1": torch.rand(1, 1, 3, 3)}
    save_checkpoint(folder.path / "views.safetensors", tensors, {"seed": 0, "views": ["identity", "x0.6"], "among": 9})
    return folder


def test_labels_and_views(data_distillation):
    text, words = page(data_distillation), alts(data_distillation)
    assert headings(data_distillation)[2:4] == ["The labels", "Views"]
    assert "A network (mlp-8) learns pets from 100 labelled examples and labels 1,100 others" in text
    assert "<td>92.50 ± 0.00</td><td>50.0 ± 0.0</td><td>75.0 ± 0.0</td>" in text
    assert "In each batch of 16 are 8 labelled examples (50 %)." in text
    sure = "420 labels with confidence above .9, 20 of them wrong"
    assert f"kd: labels by confidence; of 550, 50 are wrong; {sure}." in words
    assert "view identity: cat 0.60" in words
    assert "view x0.6: dog & fox 0.70" in words
    assert '<td class="verdict-worse"><b>dog & fox 0.50</b></td>' in text  # the mean is not the right class


def test_the_terminal_marks_what_was_shown(distillation):
    result = json.loads((distillation.path / "result.json").read_text())
    columns = dict(result_table(result).columns)
    assert columns["− scratch"] == ["", "[dim]-0.0 ±0.4=[/dim]", "[green]+9.6 ±2.1[/green] "]
    result["comparisons"][1]["verdict"] = "not shown"
    assert dict(result_table(result).columns)["− scratch"][2] == "[dim]+9.6 ±2.1?[/dim]"
    assert "= equivalent, ? not shown" in result_table(result).caption
