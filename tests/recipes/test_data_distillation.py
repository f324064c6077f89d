"""Data distillation in a five-second size: who labels what, shares of batches, kill and resume, and bad input."""

import json

import numpy as np
import pytest
import torch

from tutelage.cli import main
from tutelage.data import DIGITS_BANK
from tutelage.data.view_names import PICTURES_BANK
from tutelage.data.warping import RandomWarp
from tutelage.errors import ConfigError, DataError, TutelageError
from tutelage.recipes import data_distillation
from tutelage.recipes.data_distillation import ARMS, RECIPE, Config, run
from tutelage.recipes.data_distillation.labelling import SelfLabels, quality, silence, union
from tutelage.runs import RunFolder
from tutelage.student import Student

from .interrupted import Stops, assert_same, finish, kill_after

SMALL = {
    **{"student": "mlp-gelu-12-dropout-0.2", "steps": 8, "seeds": 2, "evaluations": 2},
    **{"device": "cpu", "threads": 1},
}


def prepared(**options):
    return RECIPE.prepare(Config(**SMALL | options), fresh=True)


def stage(plan, name):
    return next(stage for stage in plan.stages if stage.name == name)


def networks(plan, setting):
    """Networks that nobody trained, as the labellers leave them."""
    return {s.name: s.nets(setting) for s in plan.stages if s.name.startswith("labeller")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return run(Config(**SMALL, ensemble=2), out), out


# What a run writes.


def test_the_result(finished):
    result, out = finished
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    assert result["order"] == [
        *("supervised", "label-smoothing", "one-view-hard", "views-hard", "views-soft", "ensemble-hard", "true-labels")
    ]
    for arm in ("one-view-hard", "views-hard", "views-soft", "ensemble-hard"):
        assert 0 <= result["arms"][arm]["label_accuracy"]["mean"] <= 1
        assert result["arms"][arm]["kept_share"]["values"] == [1.0, 1.0]
    assert "label_accuracy" not in result["arms"]["true-labels"]
    assert result["arms"]["views-hard"]["label_accuracy"] == result["arms"]["views-soft"]["label_accuracy"]
    facts = result["data_distillation"]
    assert facts["labelled_rows"] == 100
    assert facts["other_rows"] == 1100
    assert facts["views"][1] == "Warp(degrees=0.0, dy=0.0, dx=0.6)"
    right = 100 * result["arms"]["views-hard"]["label_accuracy"]["mean"]
    told = f"views-hard: {right:.2f} % of its labels are right, with 100 % of 1,100 rows."
    assert told in result["conclusion"]["lines"]
    needs = {name: facts["needs"] for name, facts in result["stages"].items()}
    assert needs["views-hard"] == ["labeller-1"]
    assert needs["ensemble-hard"] == ["labeller-1", "labeller-2"]
    assert needs["supervised"] == needs["true-labels"] == []
    assert {(c["a"], c["b"]) for c in result["comparisons"]} >= {
        ("views-hard", "supervised"),
        ("views-hard", "one-view-hard"),
        ("true-labels", "supervised"),
    }


def test_the_student_begins_as_the_baseline(finished):
    result, _ = finished
    starts = [
        [prints["pairing"]["initialisation"] for prints in result["stages"][arm]["fingerprints"]]
        for arm in result["order"]
    ]
    assert all(start == starts[0] for start in starts)
    assert starts[0][0] != starts[0][1]
    plan = prepared()
    setting = plan.settings[0]
    (labeller,) = stage(plan, "labeller-1").nets(setting)
    (student,) = stage(plan, "views-hard").nets(setting)
    assert not torch.equal(labeller[1].weight, student[1].weight)


def test_the_acceptance_setting():
    plan = RECIPE.prepare(Config(device="cpu"), fresh=True)
    o, setting = plan.options, plan.settings[0]
    assert (o.student, o.labels, o.batch_size, o.labelled_share) == ("mlp-gelu-128-dropout-0.2", 100, 64, 0.5)
    assert (o.rule, o.lr, o.weight_decay, o.rates, o.replacement) == ("adamw", 5e-3, 1e-3, "one-cycle", True)
    assert (o.steps, o.labeller_steps, o.views, o.ensemble, o.threshold) == (1400, 700, "digits", 4, 0.0)
    assert setting.moving.transforms == (RandomWarp(),)
    assert (setting.test_rows, len(setting.order)) == (597, 1200)


# Labels and batches.


def labels_of(plan, name):
    return stage(plan, name).teacher.__self__


def test_labels_against_a_loop():
    plan = prepared(ensemble=2)
    setting = plan.settings[1]
    nets = networks(plan, setting)
    found = labels_of(plan, "views-hard")
    assert isinstance(found, SelfLabels)
    labelled = found.of(setting, nets)
    assert np.array_equal(labelled.rows, setting.order[100:])
    net = nets["labeller-1"][0].eval()
    for place in (0, 7, 1099):
        x = torch.from_numpy(setting.source.x[labelled.rows[place] : labelled.rows[place] + 1]).float()
        with torch.no_grad():
            each = [torch.softmax(net(view.apply(x) / 16), 1) for view in DIGITS_BANK]
        torch.testing.assert_close(labelled.p[place : place + 1], sum(each) / 7)
    single = labels_of(plan, "one-view-hard").of(setting, nets)
    with torch.no_grad():
        torch.testing.assert_close(single.p[-1:], torch.softmax(net(x / 16), 1))
    both = labels_of(plan, "ensemble-hard").of(setting, nets)
    with torch.no_grad():
        mean = sum(torch.softmax(nets[name][0].eval()(x / 16), 1) for name in ("labeller-1", "labeller-2")) / 2
    torch.testing.assert_close(both.p[-1:], mean)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.8])
def test_every_batch_has_its_labelled_share(share):
    plan = prepared(labelled_share=share, labels=40)
    setting = plan.settings[0]
    nets = networks(plan, setting)
    stream = stage(plan, "views-hard").batch(setting, nets)
    for step in (0, 3, 7):
        batch = stream(step)
        known = np.isin(batch.index.numpy(), setting.order[:40])
        assert known.sum() == round(share * 64)
        assert len(batch) == 64
        assert np.isin(batch.index.numpy(), setting.order).all()
        assert (batch.y.numpy() >= 0).tolist() == known.tolist()


@pytest.mark.parametrize(("name", "hard"), [("views-hard", True), ("views-soft", False)])
def test_what_the_student_is_told(name, hard):
    plan = prepared(labels=40)
    setting = plan.settings[0]
    nets = networks(plan, setting)
    one = stage(plan, name)
    batch, teacher = one.batch(setting, nets)(2), one.teacher(setting, nets)
    (net,) = one.nets(setting)
    lesson = teacher.teach(batch, Student(net, one.rule, seed=0))
    p = labels_of(plan, name).of(setting, nets)
    row = {int(r): i for i, r in enumerate(p.rows)}
    assert torch.equal(lesson.weight, torch.ones(64))
    for i, index in enumerate(batch.index.tolist()):
        if index in row:
            want = torch.eye(10)[p.p[row[index]].argmax()] if hard else p.p[row[index]]
        else:
            want = torch.eye(10)[int(setting.source.y[index])]
        torch.testing.assert_close(lesson.target[i], want, atol=1e-6, rtol=1e-5)


def test_of_equal_answers_the_lowest_class_is_the_label():
    plan = prepared(labels=40, arms="views-hard")
    setting = plan.settings[0]
    one = stage(plan, "views-hard")
    nets = networks(plan, setting)
    with torch.no_grad():
        nets["labeller-1"][0][-1].weight.zero_()
        nets["labeller-1"][0][-1].bias.copy_(torch.tensor([0.0] * 3 + [2.0] * 4 + [1.0] * 3))
    batch = one.batch(setting, nets)(0)
    lesson = one.teacher(setting, nets).teach(batch, Student(one.nets(setting)[0], one.rule, seed=0))
    assert lesson.target[32:].argmax(1).tolist() == [3] * 32
    assert torch.equal(lesson.target[32:].sum(1), torch.ones(32))


def test_right_labels_of_the_others_are_not_looked_at():
    """Exchanging the labels of all rows but the labelled ones changes nothing of a lesson, but for true-labels."""
    plan = prepared(labels=40)
    setting = plan.settings[0]
    nets = networks(plan, setting)

    def lesson(name):
        one = stage(plan, name)
        batch = one.batch(setting, nets)(1)
        student = Student(one.nets(setting)[0], one.rule, seed=0)
        return one.teacher(setting, nets).teach(batch, student)

    before = {
        name: lesson(name).target.clone() for name in ("views-hard", "views-soft", "one-view-hard", "true-labels")
    }
    others = setting.order[40:]
    kept = setting.source.y[others].copy()
    try:
        setting.source.y[others] = (kept + 1) % 10
        setting.__dict__.pop("_y", None)
        for name in ("views-hard", "views-soft", "one-view-hard"):
            assert torch.equal(lesson(name).target, before[name])
        assert not torch.equal(lesson("true-labels").target, before["true-labels"])
    finally:
        setting.source.y[others] = kept


def test_labelled_rows_are_drawn_as_for_the_baseline():
    plan = prepared()
    setting = plan.settings[0]
    nets = networks(plan, setting)
    alone = stage(plan, "supervised").batch(setting, nets)(5)
    both = stage(plan, "views-hard").batch(setting, nets)(5)
    assert torch.equal(both.index[:32], alone.index[:32])
    assert torch.equal(both.x[:32], alone.x[:32])  # warped alike
    truth = union(setting, setting.order[:100], setting.order[100:], (32, 32), 8, replacement=True, true=True)(5)
    assert torch.equal(truth.index, both.index)
    assert torch.equal(truth.y, torch.from_numpy(setting.source.y)[truth.index])


def test_a_threshold_leaves_rows_out():
    plan = prepared()
    setting = plan.settings[0]
    nets = networks(plan, setting)
    everything = labels_of(plan, "views-hard").of(setting, nets)
    middle = float(everything.p.amax(1).median())
    few = labels_of(prepared(threshold=middle), "views-hard").of(setting, nets)
    assert few.total == 1100
    assert 500 < len(few.rows) < 600
    assert set(few.rows) == set(everything.rows[(everything.p.amax(1) >= middle).numpy()])


def test_where_a_threshold_keeps_nothing_labelled_rows_alone_are_studied(tmp_path):
    """A batch is then the one of the baseline, and so is what is learned from it; the run says so."""
    config = Config(**SMALL | {"arms": "supervised,views-hard,views-soft", "threshold": 1.0})
    result = run(config, tmp_path / "run")
    accuracies = [result["arms"][arm]["accuracy"]["values"] for arm in result["order"]]
    assert accuracies[1] == accuracies[2] == accuracies[0]
    prints = [result["stages"][arm]["fingerprints"] for arm in result["order"]]
    assert [seed["network"] for seed in prints[1]] == [seed["network"] for seed in prints[0]]
    assert result["arms"]["views-hard"]["kept_share"]["values"] == [0.0, 0.0]
    assert "label_accuracy" not in result["arms"]["views-hard"]
    surest = max(result["arms"]["views-hard"]["surest"]["values"])
    assert result["warnings"][0] == (
        f"views-hard: with seeds 0, 1 no label is as sure as --threshold 1 (the surest: {surest:.4f}); there the "
        "student learned from the labelled rows alone, as supervised does."
    )
    assert not any("of its labels are right" in line for line in result["conclusion"]["lines"])
    assert (tmp_path / "run" / "views.safetensors").is_file()
    from tutelage.report import write

    assert "no label is as sure as" in write(tmp_path / "run").read_text()


def test_quality_is_told_of_the_seeds_that_have_labels():
    ends = [
        {"seed": 4, "kept_share": 0.5, "label_accuracy": 0.9},
        {"seed": 5, "kept_share": 0.0, "surest": 0.4},
        {"seed": 6, "kept_share": 0.25, "label_accuracy": 0.8},
    ]
    assert quality("a", ends, 1100) == ["a: 85.00 % of its labels are right in 2 of 3 seeds, with 25 % of 1,100 rows."]
    assert quality("a", ends[:1], 1100) == ["a: 90.00 % of its labels are right, with 50 % of 1,100 rows."]
    assert quality("a", ends[1:2], 1100) == silence("a", ends[:1], 0.5) == []
    assert silence("a", ends, 0.5) == [
        "a: with seed 5 no label is as sure as --threshold 0.5 (the surest: 0.4000); there the student learned from "
        "the labelled rows alone, as supervised does."
    ]


# Options.


def test_arms_by_target():
    assert [a.name for a in prepared(target="soft").order if a.name in ARMS] == [
        *("supervised", "label-smoothing", "one-view-soft", "views-soft", "ensemble-soft", "true-labels")
    ]
    assert prepared(arms="views-hard, supervised").arms == ("views-hard", "supervised")


def test_colour_images(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8), rng.integers(0, 3, 60)
    np.savez(tmp_path / "some.npz", x=x, y=y)
    options = {"data": str(tmp_path / "some.npz"), "classes": 3, "labels": 10, "batch_size": 8, "student": "cnn"}
    plan = RECIPE.prepare(Config(**options, steps=2, device="cpu"), fresh=True)
    assert plan.options.schedule == "published"
    assert plan.options.views == "pictures"
    assert not plan.options.warp
    assert labels_of(plan, "views-hard").views == PICTURES_BANK
    result = run(Config(**options, steps=2, device="cpu", arms="views-hard,supervised", warp=True), tmp_path / "run")
    assert result["order"] == ["views-hard", "supervised"]


def test_the_bank_is_for_the_data_and_no_augmentation_is_none(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "some.npz", x=rng.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8), y=np.arange(60) % 3)
    options = {"data": str(tmp_path / "some.npz"), "classes": 3, "labels": 10, "batch_size": 8, "student": "cnn"}
    colour = RECIPE.prepare(Config(**options, steps=2, device="cpu", schedule="digits"), fresh=True)
    assert colour.options.views == "pictures"
    assert prepared(schedule="published", student="cnn", labels=100, steps=2).options.views == "digits"
    assert prepared().settings[0].moving.transforms == (RandomWarp(),)
    assert prepared(augment="none").settings[0].moving.transforms == ()
    assert prepared(augment="none", warp=True).settings[0].moving.transforms == (RandomWarp(),)
    plain = RECIPE.prepare(Config(**options, steps=2, device="cpu", augment="none"), fresh=True)
    assert plain.settings[0].moving.transforms == ()


def test_rows_that_are_no_images(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "some.npz", x=rng.normal(size=(80, 5)).astype(np.float32), y=rng.integers(0, 2, 80))
    options = {"data": str(tmp_path / "some.npz"), "classes": 2, "labels": 10, "batch_size": 8, "steps": 2}
    with pytest.raises(ConfigError, match=r"^views are of images \(C, H, W\), but .*some.npz have shape \(5,\); use"):
        RECIPE.prepare(Config(**options, device="cpu"), fresh=True)
    with pytest.raises(ConfigError, match=r"^--warp needs images \(C, H, W\), but .*some.npz have shape \(5,\)"):
        RECIPE.prepare(Config(**options, device="cpu", warp=True), fresh=True)
    arms = "supervised,one-view-hard,ensemble-soft"
    assert run(Config(**options, device="cpu", arms=arms, seeds=1), tmp_path / "run")["order"] == arms.split(",")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": 9}, r"^--labels is 9, fewer than the 10 classes of digits; give at least one a class"),
        ({"labels": 1200}, r"^--labels is 1200 of 1200 training rows, which leaves none to be labelled; use fewer"),
        ({"labels": 0}, r"^--labels is 0"),
        ({"labelled_share": 0.001}, r"^a labelled share of 0.001 leaves no labelled row in a batch of 64"),
        ({"labelled_share": 1.0}, r"^a labelled share of 1 leaves no pseudo-labelled row in a batch of 64"),
        ({"labelled_share": -1.0}, r"^--labelled-share is -1.0; it must be in 0..1"),
        ({"views": "spin"}, r'^unknown view "spin"'),
        ({"views": "identity,scale2"}, r"^the network cannot take the view Rescale\(factor=2.0\)"),
        ({"threshold": 1.5}, r"^--threshold is 1.5; it must be in 0..1"),
        ({"ensemble": 1}, r"^--ensemble is 1; it must be in 2..100"),
        ({"label_smoothing": 0.0}, r"^--label-smoothing is 0.0; it must be above 0, at most 1"),
        ({"arms": "views"}, r'^unknown arm "views". Did you mean "views-'),
        ({"arms": ","}, r"^--arms is empty; name at least one"),
        ({"arms": "views-hard", "target": "hard"}, r"^give one of --arms and --target"),
        ({"student": "mlp-"}, r'^unknown student "mlp-"'),
        ({"batch_size": 0}, r"^--batch-size is 0"),
        ({"labelled_share": float("nan")}, r"^--labelled-share is nan; it must be in 0..1"),
        ({"labels": 1201, "arms": "supervised"}, r"^--labels is 1201 of 1200 training rows; use fewer"),
        ({"batch_size": 1}, r"^a labelled share of 0.5 leaves no labelled row in a batch of 1; bring"),
        ({"arms": "one-view-hard", "views": "one"}, r"^--views is for views-hard, views-soft; nothing in this run"),
        ({"arms": "views-soft", "ensemble": 3}, r"^--ensemble is for ensemble-hard, ensemble-soft; nothing"),
        ({"arms": "supervised,true-labels", "threshold": 0.5}, r"^--threshold is for one-view-hard, .*ensemble-soft;"),
        ({"arms": "supervised", "labeller_steps": 9}, r"^--labeller-steps is for one-view-hard, .*, ensemble-soft;"),
        ({"arms": "supervised", "labelled_share": 0.4}, r"^--labelled-share is for one-view-hard, .*true-labels;"),
        ({"arms": "supervised", "label_smoothing": 0.2}, r"^--label-smoothing is for label-smoothing; nothing"),
        ({"momentum": 0.8}, r"^--momentum is for runs with --rule sgd and --rates steps, cosine or constant; nothing"),
        ({"pad": 2}, r"^--pad is for runs with --augment crop-flip; nothing"),
        ({"label": "x"}, r"^--label is for Parquet, csv, TFRecord or Hub data, which digits is not"),
    ],
)  # fmt: skip
def test_options_that_cannot_work(tmp_path, options, message):
    with pytest.raises((ConfigError, DataError, TutelageError), match=message):
        run(Config(**SMALL | options), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_options_that_an_arm_uses_and_labels_without_other_rows():
    used = {"views": "one", "threshold": 0.5, "labeller_steps": 5, "labelled_share": 0.4}
    assert prepared(arms="views-hard", **used).options.views == "one"
    assert prepared(arms="ensemble-soft", ensemble=3).options.ensemble == 3
    assert prepared(arms="label-smoothing", label_smoothing=0.2).options.label_smoothing == 0.2
    assert prepared(arms="true-labels", labelled_share=0.4).options.labelled_share == 0.4
    assert prepared(arms="supervised", batch_size=1, labels=1200).options.labels == 1200


def test_the_command_line(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", "data-distillation", "--labels", "3", "--out", str(out)]) == 2
    assert "error: --labels is 3, fewer than the 10 classes" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
    options = ["--arms", "supervised,views-hard", "--steps", "4", "--seeds", "1", "--threads", "1"]
    assert main(["run", "data-distillation", *options, "--out", str(out)]) == 0
    assert "views-hard" in capsys.readouterr().out
    assert (out / "report.html").is_file()


# Stop and go on.


def test_a_stopped_run_goes_on(finished, tmp_path):
    _, whole = finished
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(Config(**SMALL, ensemble=2, checkpoint_seconds=0.0), out, Stops("views-soft", 3))
    data_distillation.resume(RunFolder.open(out))
    assert_same(out, whole)


KILLED = ["--steps", "40", "--seeds", "2", "--evaluations", "10", "--student", "mlp-gelu-12-dropout-0.2"]
KILLED += ["--arms", "supervised,views-hard,true-labels", "--device", "cpu", "--threads", "1"]
KILLED += ["--checkpoint-seconds", "0.1"]


@pytest.mark.slow
def test_kill_and_resume(tmp_path):
    finish("run", "data-distillation", *KILLED, "--out", tmp_path / "whole")
    out = tmp_path / "killed"
    kill_after(30, out, "run", "data-distillation", *KILLED)  # in the labeller
    finish("resume", out)
    assert_same(out, tmp_path / "whole")
