"""Few labels: each option reaches what it names."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tutelage.recipes.pseudo_labels import ARMS, RECIPE, Config, run
from tutelage.recipes.pseudo_labels.options import DIGITS, MOONS, PUBLISHED
from tutelage.recipes.pseudo_labels.phases import phases, rates
from tutelage.schedules import Cosine, Wait, WarmCosine

from .pseudo_runs import SMALL, colours, made, plan, trial, weights


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

    options = with_batches(filled(Config(device="cpu"), PUBLISHED), 4000, 46000, published=True)
    assert (options.labelled_batch, options.batch_size, options.finetune_batch) == (128, 896, 512)
    assert options.student_lr == pytest.approx(0.05)


def test_batches_go_by_the_schedule_not_by_the_rates():
    digits = plan(rates="warm-cosine", batch_size=None).options
    assert (digits.labelled_batch, digits.batch_size) == (20, 128)
    options = {"schedule": "published", "labels": 600, "rates": "cosine", "batch_size": None}
    published = plan(**options).options
    assert (published.labelled_batch, published.batch_size) == (20, 140)


def test_rates():
    assert rates("cosine", 0.5, 800, 0, 0) == Cosine(0.5, 800)
    assert rates("cosine", 0.5, 800, 0, 200) == Wait(Cosine(0.5, 800), 200, shift=False)
    assert rates("warm-cosine", 0.5, 800, 10, 200) == Wait(WarmCosine(0.5, 600, 10), 200)
    assert rates("constant", 0.5, 800, 10, 0) == 0.5
    late = rates("constant", 0.5, 800, 10, 3)
    assert [late(step) for step in (2, 3)] == [0.0, 0.5]


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


def test_colour_images_get_pictures_and_the_published_settings(tmp_path):
    given = Config(**colours(tmp_path), student="cnn", device="cpu", threads=1)
    usual = RECIPE.prepare(given, fresh=True).options
    assert (usual.schedule, usual.views, usual.include_labelled) == ("published", "pictures", False)
    assert (usual.labelled_batch, usual.batch_size) == (16, 105)  # all there are
    small = replace(given, steps=2, seeds=1, teachers="mpl-soft", batch_size=12, evaluations=1)
    result = run(small, tmp_path / "out")
    assert result["training"]["batch_size"] == 12


def test_a_config_is_a_value():
    assert replace(Config(), steps=3).steps == 3
