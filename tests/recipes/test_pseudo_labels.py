"""Few labels in a five-second size: what a run writes, every arm and option, kill and resume, and bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from tutelage.cli import main
from tutelage.data import DataSet, Normalise, from_arrays
from tutelage.errors import CheckpointError, ConfigError, DataError, NotFiniteError, ShapeError
from tutelage.recipes import pseudo_labels
from tutelage.recipes.draws import Draws
from tutelage.recipes.pseudo_labels import ARMS, RECIPE, Config, run
from tutelage.recipes.pseudo_labels.drawing import draw, roles
from tutelage.recipes.pseudo_labels.options import DIGITS, MOONS, PUBLISHED
from tutelage.recipes.pseudo_labels.phases import phases, rates
from tutelage.recipes.pseudo_labels.trial import Trial
from tutelage.recipes.pseudo_labels.views import Noise, Pictures
from tutelage.runs import RunFolder
from tutelage.schedules import Cosine, Wait, WarmCosine

SMALL = {"seeds": 2, "steps": 12, "batch_size": 16, "student": "mlp-8", "evaluations": 3, "device": "cpu", "threads": 1}


def plan(**options):
    return RECIPE.prepare(Config(**SMALL | options), fresh=True)


def trial(arm, steps=None, **options):
    """Return a trial of the first seed, so many steps on; default: to its end."""
    found = plan(**options)
    running = Trial(arm, found.settings[0], found.options)
    for _ in range(running.total if steps is None else steps):
        running.advance()
    return running


def weights(trial):
    return torch.cat([p.detach().flatten() for p in trial.student.params.values()])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return run(Config(**SMALL), out), out


# What a run writes.


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
        "unlabelled_rows": 1300, "test_rows": 497, "include_labelled": True,
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
    assert "h" in taught
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


# Data.


def test_the_draw_of_the_specification():
    """RandomState(s): a permutation whose first 497 rows are tested on, then a choice in each class."""
    setting = plan(first_seed=5).settings[0]
    generator = np.random.RandomState(5)
    order = generator.permutation(1797)
    test, pool = order[:497], order[497:]
    chosen = [generator.choice(pool[setting.source.y[pool] == c], 2, replace=False) for c in range(10)]
    assert (setting.roles.test == np.sort(test)).all()
    assert (setting.pool == np.sort(pool)).all()
    assert (setting.roles.trusted == np.sort(np.concatenate(chosen))).all()


@pytest.mark.parametrize("how", ["stratified", "random-state"])
@pytest.mark.parametrize("include", [False, True])
def test_labelled_rows_are_drawn_by_class(how, include):
    data = plan().settings[0].source
    split = draw(DataSet(data), 3, 33, test=0.2, how=how, include_labelled=include)
    assert np.bincount(data.y[split.trusted]).tolist() == [4, 4, 4, 3, 3, 3, 3, 3, 3, 3]
    assert len(np.intersect1d(split.trusted, split.unlabelled)) == (33 if include else 0)
    assert len(split.test) == 359
    assert len(split.unlabelled) + len(split.test) + (0 if include else 33) == 1797
    other = draw(DataSet(data), 4, 33, test=0.2, how=how, include_labelled=include)
    assert (split.trusted != other.trusted).any()


def test_a_stream_is_a_function_of_the_step():
    rows = np.arange(100, 110)
    passes = Draws(7, rows, 4, False)
    two = np.concatenate([passes.at(step) for step in range(5)])
    assert sorted(two[:10]) == sorted(two[10:]) == rows.tolist()  # batches straddle passes
    assert (two[:10] != two[10:]).any()
    assert (passes.at(3) == two[12:16]).all()
    assert (Draws(7, rows, 10, False).at(9) == rows).all()  # all of them: always in order
    drawn = np.concatenate([Draws(7, rows, 50, True).at(step) for step in range(100)])
    counts = np.bincount(drawn - 100)
    assert (abs(counts - 500) < 100).all()
    assert len(set(counts)) > 1


def test_a_batch():
    setting = plan(include_labelled=False).settings[0]
    batch = setting.batch(5, 10)
    assert (batch.y == -1).all()
    assert batch.progress == 0.5
    assert set(batch.views) == {"weak", "strong"}
    assert len(batch) == 16
    assert np.isin(batch.index.numpy(), setting.pool).all()
    labelled = batch.labelled
    assert (labelled.index.numpy() == setting.roles.trusted).all()
    assert (labelled.y.numpy() == setting.source.y[setting.roles.trusted]).all()
    clean = torch.from_numpy(setting.source.x[batch.index.numpy()] / 16.0).float()
    assert (batch.views["weak"] - clean).std() == pytest.approx(0.05, rel=0.1)
    assert (batch.views["strong"] - clean).std() == pytest.approx(0.25, rel=0.1)
    own = torch.from_numpy(setting.source.x[labelled.index.numpy()] / 16.0).float()
    assert torch.equal(labelled.views["clean"], own)
    assert (labelled.x - own).std() == pytest.approx(0.1, rel=0.1)
    again, other = setting.batch(5, 10), setting.batch(6, 10)
    assert torch.equal(again.views["strong"], batch.views["strong"])
    assert not torch.equal(other.labelled.x, labelled.x)


def test_noise_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    x = torch.zeros(4, 3)
    seen = Noise(0, 1.0, None, 0.0, 1.0, 2.0)
    weak, strong = (seen.look(role, x, torch.arange(4), 3) for role in ("weak", "strong"))
    assert not torch.equal(2 * weak, strong)
    assert torch.equal(seen.look("labelled", x, torch.arange(4), 3), x)
    assert torch.equal(torch.get_rng_state(), before)


def test_pictures():
    x = torch.arange(2 * 3 * 32 * 32, dtype=torch.int64).remainder(251).to(torch.uint8).view(2, 3, 32, 32)
    scaling = Normalise.channels((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    seen = Pictures(0, 255.0, scaling, pad=4, operations=2, magnitude=16, cutout=16)
    index = torch.tensor([3, 9])
    clean, weak, strong = (seen.look(role, x, index, 1) for role in ("clean", "weak", "strong"))
    assert torch.allclose(clean, (x / 255 - 0.5) / 0.25)
    assert weak.shape == strong.shape == x.shape
    assert not torch.equal(weak, clean)
    assert not torch.equal(weak, strong)
    assert (strong == 0).sum() >= 3 * 8 * 8  # the square, clipped at most to a quarter
    assert torch.equal(strong, seen.look("strong", x, index, 1))
    assert not torch.equal(strong, seen.look("strong", x, index, 2))


def test_files_of_labelled_and_unlabelled_rows(tmp_path):
    (tmp_path / "labelled.csv").write_text("index\n" + "\n".join(map(str, range(0, 60))))
    (tmp_path / "unlabelled.csv").write_text("index\n" + "\n".join(map(str, range(100, 400))))
    files = {"labelled_rows": str(tmp_path / "labelled.csv"), "unlabelled_rows": str(tmp_path / "unlabelled.csv")}
    setting = plan(**files, include_labelled=False).settings[0]
    assert setting.roles.trusted.tolist() == list(range(60))
    assert setting.pool.tolist() == list(range(100, 400))
    assert not np.isin(setting.roles.test, np.r_[0:60, 100:400]).any()
    assert len(setting.roles.test) > 300
    with_them = plan(**files, include_labelled=True).settings[0]
    assert with_them.pool.tolist() == [*range(60), *range(100, 400)]
    rest = plan(labelled_rows=files["labelled_rows"], include_labelled=False).settings[0]
    assert len(rest.pool) + len(rest.roles.test) + 60 == 1797


# Options: each reaches what it names.


def test_profiles():
    digits = plan().options
    assert (digits.wait, digits.uda_ramp, digits.finetune_steps, digits.labels) == (3, 5, 3, 20)
    for name, value in DIGITS.values.items():
        if name not in SMALL:
            assert getattr(digits, name) == value
    published = RECIPE.prepare(Config(schedule="published", labels=40, teachers="uda,mpl-soft"), fresh=True).options
    assert published.steps == 300_000
    assert (published.wait, published.warmup, published.uda_ramp, published.finetune_steps) == (3000, 5000, 5000, 1000)
    assert (published.labelled_batch, published.batch_size) == (16, 112)
    assert published.teacher_lr == published.student_lr == pytest.approx(0.1 * 16 / 256)
    assert not published.include_labelled
    assert not published.replacement
    for name, value in PUBLISHED.values.items():
        if name != "teachers":
            assert getattr(published, name) == value
    assert set(DIGITS.shares) == set(PUBLISHED.shares) == set(MOONS.shares)


def test_the_published_batches_at_4000_labels():
    from tutelage.recipes.pseudo_labels.options import filled, with_batches

    options = with_batches(filled(Config(device="cpu"), PUBLISHED), 4000, 46000)
    assert (options.labelled_batch, options.batch_size, options.finetune_batch) == (128, 896, 512)
    assert options.student_lr == pytest.approx(0.05)


def test_rates():
    assert rates("cosine", 0.5, 800, 0, 0) == Cosine(0.5, 800)
    assert rates("cosine", 0.5, 800, 0, 200) == Wait(Cosine(0.5, 800), 200, shift=False)
    assert rates("warm-cosine", 0.5, 800, 10, 200) == Wait(WarmCosine(0.5, 600, 10), 200)
    assert rates("constant", 0.5, 800, 10, 0) == 0.5
    late = rates("constant", 0.5, 800, 10, 3)
    assert [late(step) for step in (2, 3)] == [0.0, 0.5]


def made(arm, number=0, **options):
    """The student and the teacher with which an arm begins."""
    found = plan(**options)
    before = found.settings[0].net("mlp-8", "before")
    return phases(ARMS[arm], found.settings[0], found.options)[number].make(before)


@pytest.mark.parametrize(
    ("arm", "options", "where", "value"),
    [
        ("mpl-soft", {"meta_weight": 0.7}, "meta_weight", 0.7),
        ("mpl-wrong-sign", {"meta_weight": 0.7}, "meta_weight", -0.7),
        ("mpl-per-sample", {"meta_weight": -1.0}, "meta_weight", -1.0),
        ("mpl-scalar", {}, "meta_weight", 0.3),
        ("mpl-scalar", {"scalar_weight": 2.0}, "meta_weight", 2.0),
        ("distil", {}, "meta_weight", 0.0),
        ("mpl-soft", {}, "mode", "soft-jvp"),
        ("mpl-soft", {"soft": "unroll"}, "mode", "soft-unroll"),
        ("mpl-wrong-sign", {"soft": "fd"}, "mode", "soft-fd"),
        ("mpl-per-sample", {}, "mode", "hard-per-sample"),
        ("mpl-scalar", {}, "mode", "hard-scalar"),
        ("distil", {"supervised_weight": 0.0}, "supervised_weight", 0.0),
        ("uda-2", {}, "supervised_weight", 2.0),
        ("uda", {"label_smoothing": 0.1}, "label_smoothing", 0.1),
        ("mpl-soft", {"label_smoothing": 0.1}, "label_smoothing", 0.1),
        ("mpl-soft", {"temperature": 2.0}, "temperature", 2.0),
        ("mpl-soft", {"label_view": "strong"}, "label_view", "strong"),
        ("mpl-soft", {"student_view": "weak"}, "student_view", "weak"),
        ("mpl-soft", {"student_smoothing": 0.1}, "student_smoothing", 0.1),
        ("mpl-soft", {"label_threshold": 0.5}, "label_threshold", 0.5),
        ("mpl-soft", {"tsa": "exp"}, "tsa", "exp"),
        ("uda", {"tsa": "log"}, "tsa", "log"),
        ("mpl-scalar", {"baseline": 0.5}, "baseline", 0.5),
        ("mpl-scalar", {"credit": "dot"}, "credit", "dot"),
        ("mpl-scalar", {"scale": "mean"}, "scale", "mean"),
        ("mpl-per-sample", {"sample": False}, "sample", False),
        ("mpl-soft", {"uda_weight": 0.0, "teachers": "mpl-soft"}, "uda", None),
        ("supervised", {}, "uda", None),
        ("uda", {"uda_weight": 2.0}, "uda.weight", 2.0),
        ("mpl-soft", {"uda_temperature": 0.4}, "uda.temperature", 0.4),
        ("uda", {"uda_threshold": 0.8}, "uda.threshold", 0.8),
        ("uda", {"uda_ramp": 7}, "uda.ramp", 7),
        ("uda", {"mask_on": "plain"}, "uda.mask_on", "plain"),
        ("uda", {"mask": "flexmatch"}, "mask.unlabelled", 1300),
        ("mpl-soft", {"mask": "freematch"}, "mask.momentum", 0.999),
        ("uda", {"mask": "softmatch"}, "mask.momentum", 0.999),
    ],
)
def test_options_of_teachers(arm, options, where, value):
    _, found = made(arm, **options)
    for name in where.split("."):
        found = getattr(found, name)
    assert found == value


def test_options_of_rules():
    student, teacher = made("mpl-soft", student_lr=0.3, teacher_lr=0.004, rates="constant", wait=0, momentum=0.8)
    assert student.lr == 0.3
    assert student.rule.momentum == 0.8
    assert student.rule.nesterov
    assert teacher.network.optimiser.rule.lr == 0.004
    assert type(teacher.network.optimiser.rule).__name__ == "AdamW"
    student, teacher = made("mpl-soft", student_rule="adam", student_weight_decay=0.1, teacher_rule="sgd", wait=5)
    assert type(student.rule).__name__ == "Adam"
    assert student.rule.decay.amount == 0.1
    assert student.lr == 0.0
    assert student.rule.rate(5) > 0
    assert type(teacher.network.optimiser.rule).__name__ == "SGD"
    student, _ = made("uda", teacher_weight_decay=0.3, rates="warm-cosine", warmup=4, teacher_lr=1.0)
    assert student.rule.decay.amount == 0.3
    assert [student.rule.rate(step) for step in (0, 3)] == [0.25, 1.0]


def test_options_of_networks():
    student, teacher = made("mpl-soft", student="mlp-6", teacher_net="mlp-12-4", init="he")
    assert student.params["1.weight"].shape == (6, 64)
    first, second, _last = (m for m in teacher.network.net.modules() if isinstance(m, torch.nn.Linear))
    assert (first.out_features, second.out_features) == (12, 4)
    assert first.weight.detach().std() == pytest.approx((2 / 64) ** 0.5, rel=0.1)
    assert not first.bias.detach().any()
    assert made("uda", init="default", teacher_net="mlp-12-4")[0].params["1.bias"].any()


@pytest.mark.parametrize(
    ("options", "steps"),
    [({}, [12, 3]), ({"finetune_steps": 0}, [12]), ({"finetune_steps": 5}, [12, 5])],
)
def test_phases_of_a_student(options, steps):
    found = plan(**options)
    assert [p.steps for p in phases(ARMS["mpl-soft"], found.settings[0], found.options)] == steps


def test_finetuning_starts_from_the_average_and_sees_labelled_rows_only():
    running = trial("mpl-soft", 12, ema=0.5, ema_warm=True, finetune_lr=0.3, finetune_batch=7)
    assert running.phases[0].average == (0.5, True)
    assert running.student.lr == 0.3
    batch = running.phases[1].batch(1)
    assert len(batch.labelled) == 7
    assert np.isin(batch.labelled.index.numpy(), running.setting.roles.trusted).all()
    start = weights(running)
    before = trial("mpl-soft", 11, ema=0.5, ema_warm=True)
    before.advance()  # enters fine-tuning
    assert torch.equal(start, weights(before))
    running.advance()
    assert not torch.equal(start, weights(running))


def test_without_an_average_the_student_itself_counts():
    running = trial("distil", ema=0.0, finetune_steps=0)
    assert running.average is None
    assert "average_accuracy" not in running.records[-1]
    assert running.records[-1]["accuracy"] == running.records[-1]["student_accuracy"]


def test_offline_rounds():
    running = trial("offline", rounds=2)
    assert [p.name for p in running.phases] == ["supervised", "round 1", "round 2"]
    assert running.total == 36
    _, teacher = made("offline", 1, offline_labels="soft", offline_threshold=0.2, balance=True)
    labels = teacher.labels
    assert labels.shape == (1300, 10)
    assert ((labels > 0) & (labels < 1)).any()
    assert 0 < (teacher.weights > 0).sum() < 1300
    assert len(set(teacher.weights[teacher.weights > 0].tolist())) > 1
    _, teacher = made("offline", 1)
    assert set(teacher.labels.unique().tolist()) == {0.0, 1.0}
    assert (teacher.weights == 1).all()


def test_offline_labels_are_those_of_the_network_before():
    found = plan()
    setting = found.settings[0]
    net = setting.net("mlp-8", "before")
    _, teacher = phases(ARMS["offline"], setting, found.options)[1].make(net)
    with torch.no_grad():
        guess = net.eval()(torch.from_numpy(setting.source.x[setting.pool] / 16.0).float()).argmax(1)
    assert torch.equal(teacher.labels.argmax(1), guess)


@pytest.mark.parametrize("arm", list(ARMS))
def test_every_arm_learns(arm):
    running = trial(arm, steps=None, uda_threshold=0.0)
    assert running.finished
    assert np.isfinite(running.records[-1]["accuracy"])


def test_batches_and_evaluations():
    running = trial("uda", 0, batch_size=9, labelled_batch=5, replacement=False, evaluations=6)
    batch = running.phases[0].batch(0)
    assert len(batch) == 9
    assert len(batch.labelled) == 5
    assert running.every == 2
    assert not plan(replacement=False).settings[0].replacement


def test_options_of_views():
    noise = plan(weak_noise=0.3, strong_noise=0.4, labelled_noise=0.5, normalise=True).settings[0].views
    assert (noise.weak, noise.strong, noise.labelled) == (0.3, 0.4, 0.5)
    assert noise.scaling is not None
    assert plan().settings[0].views.scaling is None


def test_pictures_from_the_options(tmp_path):
    options = colours(tmp_path) | {"pad": 2, "operations": 1, "magnitude": 5, "cutout": 8, "student": "cnn"}
    views = plan(**options, schedule="digits").settings[0].views
    crop, _flip, distort, _, cut = views._by_role["strong"].transforms
    assert (crop.padding, distort.n, distort.m, cut.size) == (2, 1, 5, 8)
    assert (
        len(plan(**colours(tmp_path) | {"cutout": 0, "student": "cnn"}).settings[0].views._by_role["strong"].transforms)
        == 4
    )


def colours(tmp_path, rows=200):
    generator = np.random.default_rng(0)
    y = np.arange(rows) % 4
    x = (40 * y[:, None, None, None] + generator.integers(0, 90, (rows, 3, 32, 32))).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    return {"data": str(tmp_path / "mine.npz"), "classes": 4, "labels": 40}


def test_colour_images_get_pictures_and_the_published_settings(tmp_path):
    given = Config(**colours(tmp_path), student="cnn", device="cpu", threads=1)
    usual = RECIPE.prepare(given, fresh=True).options
    assert (usual.schedule, usual.views, usual.include_labelled) == ("published", "pictures", False)
    assert (usual.labelled_batch, usual.batch_size) == (16, 105)  # all there are
    small = replace(given, steps=2, seeds=1, teachers="mpl-soft", batch_size=12, evaluations=1)
    result = run(small, tmp_path / "out")
    assert result["training"]["batch_size"] == 12


def test_tables_of_numbers(tmp_path):
    generator = np.random.default_rng(0)
    y = np.arange(90) % 3
    np.savez(tmp_path / "table.npz", x=(y[:, None] + generator.normal(0, 1, (90, 5))).astype(np.float32), y=y)
    result = run(
        Config(**SMALL | {"data": str(tmp_path / "table.npz"), "classes": 3, "teachers": "uda,distil"}),
        tmp_path / "out",
    )
    assert result["config"]["normalise"] is True
    assert result["data"]["labelled_rows"] == 6


# A mask that keeps nothing.


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
    assert trial("uda", uda_threshold=0.0).outcome()["silent_histogram"] is None


# Going on.


@pytest.mark.parametrize("arm", ["uda", "offline", "mpl-scalar", "mpl-per-sample"])
@pytest.mark.parametrize("at", [5, 13])
def test_a_trial_goes_on_byte_for_byte(arm, at):
    """Also with a mask that adapts, and in the middle of a later phase; metrics since the last test are kept."""
    options = {"mask": "freematch", "rounds": 1, "wait": 2}
    whole, half = trial(arm, **options), trial(arm, min(at, 11 if arm == "uda" else at), **options)
    tensors, facts = half.state()
    found = plan(**options)
    again = Trial(arm, found.settings[0], found.options)
    again.restore({n: t.clone() for n, t in tensors.items()}, json.loads(json.dumps(facts)))
    while not again.finished:
        again.advance()
    assert again.records == whole.records
    assert torch.equal(weights(again), weights(whole))


COMMAND = [sys.executable, "-m", "tutelage"]
KILLED = ["--seeds", "2", "--steps", "150", "--batch-size", "32", "--student", "mlp-16", "--evaluations", "30"]
KILLED += ["--teachers", "supervised,offline,distil,mpl-scalar", "--mask", "flexmatch", "--device", "cpu"]
KILLED += ["--threads", "1", "--checkpoint-seconds", "0.05"]


def without_times(path):
    result = json.loads((path / "result.json").read_text())
    result.pop("seconds")
    return json.dumps(result, sort_keys=True)


@pytest.mark.slow
def test_kill_and_resume(tmp_path):
    whole = tmp_path / "whole"
    subprocess.run([*COMMAND, "run", "pseudo-labels", *KILLED, "--out", str(whole)], check=True, capture_output=True)
    for lines in (20, 95, 190):  # in different arms and seeds
        out = tmp_path / str(lines)
        process = subprocess.Popen(
            [*COMMAND, "run", "pseudo-labels", *KILLED, "--out", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seen = out / "metrics.jsonl"
        while process.poll() is None and not (seen.is_file() and seen.read_bytes().count(b"\n") >= lines):
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert (out / "checkpoint" / "state.safetensors").is_file()
        subprocess.run([*COMMAND, "resume", str(out)], check=True, capture_output=True)
        assert without_times(out) == without_times(whole)
        assert seen.read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_resuming_a_finished_run_gives_its_result_again(finished):
    result, out = finished
    again = pseudo_labels.resume(RunFolder.open(out))
    assert json.dumps(again, sort_keys=True) == json.dumps(json.loads(json.dumps(result)), sort_keys=True)


def test_a_damaged_folder(tmp_path, finished):
    import shutil

    _, done = finished
    shutil.copytree(done, tmp_path / "run")
    facts = json.loads((done / "arms" / "uda.json").read_text())
    (tmp_path / "run" / "arms" / "uda.json").write_text(json.dumps({"records": facts["records"]}))
    with pytest.raises(CheckpointError, match=r"arms/uda.json is damaged \('ends'\); remove it and resume"):
        pseudo_labels.resume(RunFolder.open(tmp_path / "run"))
    config = json.loads((done / "config.json").read_text())
    del config["config"]["wait"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config.json is damaged: wait is missing"):
        pseudo_labels.resume(RunFolder.open(tmp_path / "run"))


# Bad input.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": 7}, DataError, "7 labels are fewer than the 10 classes of digits; use --labels 10 or more"),
        ({"labels": 1500}, DataError, r"class \d has \d+ rows, too few for 150 labels; use fewer labels"),
        ({"labels": 20, "labels_per_class": 2}, ConfigError, "give one of --labels, --labels-per-class"),
        ({"labels": 0}, ConfigError, "--labels is 0; it must be at least 1"),
        (
            {"labelled_batch": 21},
            ConfigError,
            "--labelled-batch 21 is larger than the 20 labelled rows; use 20 or less",
        ),
        ({"finetune_batch": 21}, ConfigError, "--finetune-batch 21 is larger than the 20 labelled rows"),
        (
            {"batch_size": 1301, "replacement": False},
            ConfigError,
            "--batch-size 1301 is larger than the 1300 unlabelled rows; use 1300 or less, or --replacement",
        ),
        ({"teachers": "mpl"}, ConfigError, 'unknown teacher "mpl"'),
        ({"teachers": "uda", "uda_weight": 0.0}, ConfigError, "--uda-weight 0 makes uda the same as supervised"),
        (
            {"teachers": "mpl-soft", "meta_weight": 0.0},
            ConfigError,
            "--meta-weight 0 makes mpl-soft the same as distil",
        ),
        ({"teachers": "mpl-scalar", "scalar_weight": 0.0}, ConfigError, "--scalar-weight 0 makes mpl-scalar the same"),
        ({"teachers": "uda", "rounds": 2}, ConfigError, "--rounds is of offline; none of them is among --teachers"),
        ({"teachers": "uda", "meta_weight": 2.0}, ConfigError, "--meta-weight is of mpl-soft, mpl-per-sample"),
        ({"teachers": "supervised", "uda_weight": 2.0}, ConfigError, "--uda-weight is of uda, uda-2, distil"),
        ({"cutout": 4}, ConfigError, "--cutout does nothing with --views noise; leave it out"),
        ({"wait": 12}, ConfigError, "--wait 12 leaves the student none of the 12 steps"),
        ({"steps": 0}, ConfigError, "--steps is 0; it must be in 1.."),
        ({"student_lr": -1.0}, ConfigError, "--student-lr is -1.0; it must be in 0.."),
        ({"uda_threshold": 1.5}, ConfigError, "--uda-threshold is 1.5; it must be in 0..1"),
        ({"uda_temperature": 0.0}, ConfigError, "UDA: temperature is 0.0; it must be above 0"),
        ({"teacher_rule": "lion"}, ConfigError, 'unknown teacher rule "lion". Known: adam, adamw, sgd'),
        ({"momentum": 1.0}, ConfigError, r"momentum is 1.0; it must be in \[0, 1\)"),
        ({"strong_noise": -1.0}, ConfigError, "--strong-noise is -1.0; it must be in 0"),
        ({"test": 1.0}, ConfigError, "--test is 1.0; it is a share of the rows"),
        ({"first_seed": -1}, ConfigError, "--first-seed is -1"),
        ({"data": ""}, ConfigError, "--data is empty"),
        ({"unlabelled_rows": "x.csv"}, ConfigError, "--unlabelled-rows needs --labelled-rows"),
        ({"labelled_rows": "none.csv"}, DataError, "none.csv: not a readable CSV or Parquet file"),
        ({"student": "resnet9"}, ConfigError, "depth"),
        ({"teachers": "mpl-soft", "supervised_weight": -1.0}, ConfigError, "supervised_weight is -1.0"),
    ],
)
def test_bad_input(tmp_path, options, error, message):
    out = tmp_path / "out"
    with pytest.raises(error, match=message):
        run(Config(**SMALL | options), out)
    assert not out.exists()


def test_bad_input_in_files(tmp_path):
    def given(first, second=None):
        (tmp_path / "a.csv").write_text(first)
        files = {"labelled_rows": str(tmp_path / "a.csv")}
        if second is not None:
            (tmp_path / "b.csv").write_text(second)
            files["unlabelled_rows"] = str(tmp_path / "b.csv")
        return {**files, "include_labelled": False}

    rows = "index\n" + "\n".join(map(str, range(40)))
    cases = {
        (rows, "index\n39\n40"): "labelled and unlabelled rows share 1 ids, e.g. 39; remove them from one, or pass",
        ("index\n1\n1", None): "index 1 comes twice",
        ("index\n1\n9999", None): r"index 9999 is outside 0..1796",
        ("row\n1", None): 'needs one column "index", but has row',
        ("index\n0.5", None): 'column "index" must hold whole numbers',
        ("index\n0\n1\n2", None): "3 labelled rows hold 3 of the 10 classes of digits; each needs at least one",
    }
    for files, message in cases.items():
        with pytest.raises(DataError, match=message):
            run(Config(**SMALL | given(*files)), tmp_path / "out")


def test_no_unlabelled_row_is_left():
    with pytest.raises(DataError, match="no unlabelled row is left"):
        roles(np.arange(3), np.arange(0), np.arange(3, 5), include_labelled=False)


def three_classes(shape, classes):
    """A network with too few classes after the first look."""
    from torch import nn

    class Shrinking(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, classes)

        def forward(self, x):
            z = self.layer(x.flatten(1))
            return z if len(x) == 2 else z[:, :3]  # two rows: the look of build

    return Shrinking()


def test_teacher_and_student_of_different_classes(tmp_path):
    options = {"teacher_net": "tests.recipes.test_pseudo_labels:three_classes", "teachers": "mpl-soft"}
    with pytest.raises((ShapeError, ConfigError, DataError, RuntimeError)) as caught:
        run(Config(**SMALL | options | {"supervised_weight": 0.0}), tmp_path / "out")
    assert "3 classes" in str(caught.value)


def test_a_loss_that_explodes(tmp_path):
    options = {"teachers": "supervised", "teacher_rule": "sgd", "teacher_lr": 1e6, "rates": "constant", "steps": 60}
    with pytest.raises(NotFiniteError, match=r"supervised: .*no checkpoint was made yet"):
        run(Config(**SMALL | options), tmp_path / "out")


def test_the_command_line_says_it_in_one_line(tmp_path, capsys):
    assert main(["run", "pseudo-labels", "--labels", "7", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "fewer than the 10 classes" in error
    assert len(error.splitlines()) == 1


@pytest.mark.slow
def test_real_images_end_to_end(tmp_path, real_data, capsys):
    """The command of the documents with one of its arms: 400 labels of CIFAR-10, 50 steps, on the CPU."""
    arguments = ["--data", str(real_data / "cifar10-train.parquet"), "--labels", "400", "--steps", "50"]
    arguments += ["--student", "resnet8", "--device", "cpu", "--teachers", "mpl-soft", "--evaluations", "1"]
    assert main(["run", "pseudo-labels", *arguments, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").is_file()
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["data"]["labelled_rows"] == 400
    assert result["data"]["unlabelled_rows"] == 49_600
    assert result["data"]["test_rows"] == 10_000


def test_kornia_is_missing(tmp_path, monkeypatch):
    from tutelage.data import randaugment

    monkeypatch.setattr(randaugment, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="RandAugment needs kornia"):
        plan(**colours(tmp_path), student_view="weak")


def test_a_source_of_a_class_without_rows():
    source = from_arrays(np.zeros((20, 3), np.float32), np.zeros(20, np.int64), num_classes=2)
    with pytest.raises(DataError, match="class 1 has 0 rows, too few for 1 labels"):
        draw(DataSet(source), 0, 2, test=0.2, how="stratified", include_labelled=False)


def test_a_config_is_a_value():
    assert replace(Config(), steps=3).steps == 3
