"""The recipe in a small size: its set-up, arms, diagnostics, transfer, episodes, kinds of noise, and bad input."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.cli import main
from tutelage.data import load
from tutelage.episodes import episodes
from tutelage.errors import CheckpointError
from tutelage.evaluation import accuracy, auc
from tutelage.lesson import Batch, Lesson
from tutelage.losses import cross_entropy
from tutelage.recipes import deep_interactions
from tutelage.recipes.deep_interactions import ARMS, RECIPE, Config, run
from tutelage.recipes.diagnostics import NAMES, Diagnostics
from tutelage.recipes.learned import FRESH, KINDS, SCHOOL, TRANSFERRED, Maker, found_teacher
from tutelage.recipes.noisy_labels import prepare
from tutelage.recipes.outcome import read_outcome
from tutelage.runs import RunFolder
from tutelage.schedules import Cosine, StepDecay
from tutelage.teacher_files import load_teacher, teacher_facts
from tutelage.teachers import KeepMask
from tutelage.training import Step, train

from .test_curricula import line_of
from .test_levels import lines, without_times
from .test_resume import kill_at

SMALL = {"seeds": 2, "epochs": 2, "student": "mlp-16", "noise_kind": "pair-flip-exact"}
DEFAULT = Config().teachers.split(",")


def planned(**options):
    _, (plan, *_), _ = prepare(RECIPE, Config(**SMALL | options))
    return plan


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return run(Config(**SMALL), out), out


@pytest.fixture(scope="module")
def every_arm(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "all"
    options = SMALL | {"seeds": 1, "epochs": 1, "teachers": ",".join(ARMS), "keep_episodes": 2}
    return run(Config(**options), out), out


def read(path, name="result.json"):
    return json.loads((path / name).read_text())


# the set-up


def test_the_default_is_that_of_the_specification():
    config = Config()
    assert (config.student, config.noise, config.trusted, config.test) == ("mlp-128-128", "0.4", 0.1, 0.3)
    assert (config.look_ahead, config.every, config.window, config.inputs) == (5, 5, "ahead", "attached")
    assert (config.teacher_normalise, config.validation_rows, config.episodes) == ("sum", 512, 1)
    _, plans, _ = prepare(RECIPE, Config(seeds=1, student="mlp-8", teachers="uniform"))
    assert [plan.options.noise_kind for plan in plans] == ["pair-flip-exact", "symmetric-exact"]
    training = plans[0].training
    assert (training.epochs, training.batch_size, training.per_epoch) == (60, 64, 17)
    rule = training.rule(1020)
    assert (rule.lr, rule.momentum, rule.nesterov) == (Cosine(0.1, 1020), 0.9, False)
    assert (rule.decay.amount, rule.decay.on, rule.decay.scaled) == (1e-4, "all", False)


def test_validation_rows_are_held_out_with_clean_labels():
    for setting in planned().settings:
        roles, y = setting.roles, setting.source.y
        assert [len(roles[name]) for name in ("train", "trusted", "test")] == [1131, 126, 540]
        np.testing.assert_array_equal(
            np.sort(np.concatenate([roles[name] for name in ("train", "trusted", "test")])), np.arange(1797)
        )
        noisy = setting.noise.noisy
        wrong = noisy[roles["train"]] != y[roles["train"]]
        assert wrong.sum() == round(0.4 * 1131)
        np.testing.assert_array_equal(noisy[roles["train"]][wrong], (y[roles["train"]][wrong] + 1) % 10)
        np.testing.assert_array_equal(noisy[roles["trusted"]], y[roles["trusted"]])
        counts = np.bincount(y[roles["trusted"]], minlength=10)
        assert counts.min() >= 12
        assert counts.max() <= 13


def test_inputs_are_centred_and_no_more():
    setting = planned().settings[0]
    source = load("digits").train
    mean = source.x[setting.roles["train"]].astype(np.float64).mean(0) / 16
    (batch,) = setting.evaluation("test").batches()
    needed = source.x[setting.roles["test"]] / 16 - mean
    np.testing.assert_allclose(batch.x.numpy(), needed, atol=1e-6)


def test_rows_of_the_honest_arms():
    plan = planned(teachers="uniform,mixed-in,trusted-only,perfect-filter,oracle")
    setting = plan.settings[0]
    rows = {name: setting.rows(plan.trajectories[name].rows) for name in plan.names}
    assert {name: len(index) for name, index in rows.items()} == {
        "uniform": 1131, "mixed-in": 1257, "trusted-only": 126, "perfect-filter": 679, "oracle": 1131,
    }  # fmt: skip
    assert not setting.noise.mask[rows["perfect-filter"]].any()
    labels = {name: plan.trajectories[name].labels for name in plan.names}
    assert labels == dict.fromkeys(plan.names, "given") | {"trusted-only": "true", "oracle": "true"}


def test_as_many_right_rows_in_all_seeds(tmp_path):
    options = SMALL | {"noise_kind": "pair-flip", "teachers": "perfect-filter", "epochs": 1}
    plan = planned(**options)
    counts = [len(setting.rows("right")) for setting in plan.settings]
    assert counts[0] != counts[1]
    run(Config(**options), tmp_path / "run")
    found = read_outcome(RunFolder.open(tmp_path / "run"), "perfect-filter").tensors["rows"].numpy()
    assert found.shape == (2, min(counts))
    for index, setting in zip(found, plan.settings):
        assert np.isin(index, setting.rows("right")).all()
        assert (np.diff(index) > 0).all()


@pytest.mark.parametrize(
    ("student", "schedule", "needed"),
    [
        ("resnet32", "auto", (100, 0.1, 5e-4, False, StepDecay(0.1, (80, 100)))),
        ("wrn-28-10", "published", (100, 0.1, 5e-4, True, StepDecay(0.1, (108, 114)))),
        ("resnet32", "plain", (64, 0.1, 1e-4, False, Cosine(0.1, 120))),
    ],
)
def test_published_schedules(student, schedule, needed):
    config = Config(student=student, schedule=schedule)
    found = RECIPE.schedule(config)
    batch_size, lr, decay, nesterov, rate = needed
    rule = found.make(120)
    assert (found.batch_size, rule.lr.lr, rule.decay.amount, rule.nesterov) == (batch_size, lr, decay, nesterov)
    assert rule.lr == rate
    assert (rule.momentum, rule.decay.on) == (0.9, "all")
    assert found.steps == {"resnet32": 58_800, "wrn-28-10": 20_000}[student] or schedule == "plain"


@pytest.mark.parametrize(("preset", "rows"), [("l2t-di", (1131, 126, 540))])
def test_presets_that_hold_rows_out(preset, rows):
    setting = planned(preset=preset, noise_kind="pair-flip", teachers="uniform").settings[0]
    assert tuple(len(setting.roles[name]) for name in ("train", "trusted", "test")) == rows
    assert not np.isin(setting.roles["trusted"], setting.roles["train"]).any()


# arms and what is written


def test_the_result(finished):
    result, out = finished
    assert read(out) == json.loads(json.dumps(result))
    assert result["order"] == list(result["arms"]) == DEFAULT
    assert set(result["about"]) == set(DEFAULT)
    assert all(result["about"].values())
    assert set(result["training"]["stacked"].values()) == {True}
    assert {c["b"] for c in result["comparisons"]} == {"uniform", "trusted-only", "early-stopping"}
    for name, arm in result["arms"].items():
        assert len(arm["accuracy"]["values"]) == 2, name
        assert arm["validation_selected_accuracy"]["mean"] <= arm["best_epoch_accuracy"]["mean"]


def test_all_arms_take_as_many_steps(finished):
    _, out = finished
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {(r["epoch"], r["step"]) for r in records} == {(0, 17), (1, 34)}
    for name in DEFAULT:
        if name != "early-stopping":
            tensors = read_outcome(RunFolder.open(out), name).tensors
            assert tensors["seen"].sum(1).tolist() == [34 * 64] * 2


def test_validation_selected_accuracy_and_early_stopping(finished):
    result, out = finished
    for name in set(DEFAULT) - {"early-stopping"}:
        for seed, values in enumerate(read_outcome(RunFolder.open(out), name).records):
            best = max(values, key=lambda r: (r["trusted_accuracy"], -r["epoch"]))
            found = result["arms"][name]["validation_selected_accuracy"]["values"][seed]
            assert found == best["accuracy"]
    early, plain = result["arms"]["early-stopping"], result["arms"]["uniform"]
    assert early["accuracy"] == plain["validation_selected_accuracy"]


def test_every_arm(every_arm):
    result, out = every_arm
    assert set(result["arms"]) == set(ARMS)
    assert set(result["learned"]) == set(KINDS)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    norms = {r["arm"]: r["hypergradient_norm"] for r in records if r["arm"] != SCHOOL}
    learning = {*KINDS} - {"keep-mask"}  # which learned before
    for name, norm in norms.items():
        assert (norm is not None and norm > 0) == (name in learning), name


def test_diagnostics_are_recorded(finished):
    _, out = finished
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for r in records:
        assert set(NAMES) <= r.keys()
        assert 0 <= r["noisy_fit"] <= 1
        assert 0 < r["effective_share"] <= 1 + 1e-6
        if r["arm"] in KINDS:
            assert r["gap"] == pytest.approx(r["score_right"] - r["score_wrong"])
            assert 0 < r["score_wrong"] < 1
    plain = [r for r in records if r["arm"] == "uniform"]
    assert all((r["auc"], r["gap"]) == (0.5, 0.0) for r in plain)


def step_of(score, index, answers, **metrics):
    rows = len(score)
    batch = Batch(torch.zeros(rows, 1), torch.zeros(rows, dtype=torch.int64), torch.tensor(index))
    lesson = Lesson(batch.x, batch.y, torch.ones(rows), cross_entropy, {"score": torch.tensor(score)})
    logits = nn.functional.one_hot(torch.tensor(answers), 3).float()
    return Step(0, batch, lesson, {"logits": logits, **metrics})


def test_diagnostics_by_hand():
    noisy = torch.tensor([0, 1, 2, 0, 1, 2])
    right, wrong = (np.array([c in "".join(w) for c in "012345"]) for w in (["0", "1", "4"], ["2", "3"]))
    diagnostics = Diagnostics(noisy)
    diagnostics.add(step_of([0.9, 0.5, 0.5], [0, 1, 2], [0, 1, 0], hypergradient_norm=torch.tensor(2.0)))
    state = diagnostics.state_dict()
    again = Diagnostics(noisy)
    again.load_state_dict(state)
    found = []
    for each in (diagnostics, again):
        each.add(step_of([0.2, 0.4, 1.0], [3, 4, 5], [0, 2, 2]))
        found.append(each.end_epoch(right, wrong))
    assert found[0] == found[1]
    values = found[0]
    # right: .9, .5, .4; wrong: .5, .2; row 5 is not known
    assert values["auc"] == auc([0.9, 0.5, 0.4, 0.5, 0.2], [1, 1, 1, 0, 0]) == pytest.approx(4.5 / 6)
    assert values["score_right"] == pytest.approx(0.6)
    assert values["gap"] == pytest.approx(0.6 - 0.35)
    assert values["noisy_fit"] == pytest.approx(4 / 6)
    shares = [1.9**2 / (3 * (0.81 + 0.25 + 0.25)), 1.6**2 / (3 * (0.04 + 0.16 + 1.0))]
    assert values["effective_share"] == pytest.approx(np.mean(shares))
    assert values["hypergradient_norm"] == 2.0
    none = np.zeros(6, dtype=bool)
    diagnostics.add(step_of([0.9, 0.5], [0, 1], [0, 1]))
    values = diagnostics.end_epoch(np.ones(6, dtype=bool), none)
    assert (values["auc"], values["gap"], values["score_wrong"], values["hypergradient_norm"]) == (None,) * 4


def test_clean_labels_have_no_auc(tmp_path):
    result = run(Config(**SMALL | {"epochs": 1, "noise": "0"}, teachers="uniform,deep"), tmp_path / "run")
    assert "auc" not in result["arms"]["deep"]
    assert result["warnings"] == []


# teachers that are kept, frozen, and carried on


def test_learned_teachers_are_kept(finished):
    result, out = finished
    for arm in ("meta-weight-net", "surface", "deep", "bilinear"):
        assert result["learned"][arm] == [f"teachers/{arm}-seed-{s}.safetensors" for s in (0, 1)]
        outcome = read_outcome(RunFolder.open(out), arm)
        for seed, file in enumerate(result["learned"][arm]):
            teacher = load_teacher(out / file)
            for name, value in teacher.named_parameters():
                assert torch.equal(value.detach(), outcome.tensors[f"teacher.{seed}.{name}"])
            origin = teacher_facts(out / file)["origin"]
            assert origin["seed"] == seed
            assert origin["noise"].startswith("pair_flip(p=0.4)")
            assert origin["accuracy"] == result["arms"][arm]["accuracy"]["values"][seed]
    first, second = (load_teacher(out / file) for file in result["learned"]["deep"])
    assert not torch.equal(first.scorer.out.weight, second.scorer.out.weight)


def test_frozen_arms_take_the_teacher_of_the_run(every_arm):
    _, out = every_arm
    folder = RunFolder.open(out)
    for arm in TRANSFERRED:
        learned = read_outcome(folder, arm).tensors
        for name in (f"{arm}-frozen", f"{arm}-frozen-same"):
            frozen = read_outcome(folder, name).tensors
            for key in learned:
                if key.startswith("teacher.0.") and (".weight" in key or ".bias" in key):
                    assert torch.equal(frozen[key], learned[key]), key
    plan = planned(seeds=1, teachers="deep-frozen,deep-frozen-same")
    assert plan.order == ["deep", "deep-frozen", "deep-frozen-same"]
    assert plan.trajectories["deep-frozen"].initialisation == FRESH
    assert plan.trajectories["deep-frozen-same"].initialisation == 0


def test_an_arm_that_another_one_needs_is_not_in_the_report(tmp_path, capsys):
    call = ["run", "deep-interactions", "--seeds", "1", "--epochs", "1", "--student", "mlp-8", "--episodes", "2"]
    call += ["--noise-kind", "symmetric-exact", "--teachers", "uniform,bilinear-frozen", "--out", str(tmp_path / "run")]
    assert main(call) == 0
    assert "bilinear-frozen" in capsys.readouterr().out
    lists = [p.stem for p in (tmp_path / "run" / "suspects").glob("*.parquet")]
    assert sorted(lists) == ["bilinear-frozen", "uniform"]


def test_initialisations():
    setting = planned().settings[0]
    rule = planned().schedule.make(1)
    weights = [setting.student("mlp-8", rule, initialisation=i).params["1.weight"].detach() for i in (0, 0, 1, FRESH)]
    assert torch.equal(weights[0], weights[1])
    assert len({float(w.sum()) for w in weights}) == 3


def test_a_teacher_of_another_run(finished, tmp_path):
    """Frozen, on students of another initialisation; uniform weights beside it."""
    _, out = finished
    result = run(Config(**SMALL, teachers="uniform,deep", teacher_from=str(out)), tmp_path / "run")
    assert list(result["arms"]) == ["uniform", "deep"]
    assert (result["learned"], (tmp_path / "run" / "teachers").exists()) == ({}, False)
    assert "hypergradient_norm" not in result["arms"]["deep"]
    outcome = read_outcome(RunFolder.open(tmp_path / "run"), "deep").tensors
    for seed in (0, 1):
        kept = load_teacher(out / "teachers" / f"deep-seed-{seed}.safetensors")
        assert torch.equal(outcome[f"teacher.{seed}.scorer.out.weight"], kept.scorer.out.weight.detach())
    file = str(out / "teachers" / "deep-seed-1.safetensors")
    run(Config(**SMALL | {"epochs": 1}, teachers="deep", teacher_from=file), tmp_path / "file")
    outcome = read_outcome(RunFolder.open(tmp_path / "file"), "deep").tensors
    for seed in (0, 1):
        assert torch.equal(outcome[f"teacher.{seed}.scorer.out.weight"], kept.scorer.out.weight.detach())
    third = found_teacher(out, "deep", seed=7)
    assert torch.equal(third.scorer.out.weight, kept.scorer.out.weight)


def test_the_frozen_arm_is_a_run_with_the_teacher_from_the_folder(finished, tmp_path):
    _, out = finished
    inside = run(Config(**SMALL, teachers="deep,deep-frozen"), tmp_path / "inside")
    outside = run(Config(**SMALL, teachers="deep", teacher_from=str(out)), tmp_path / "outside")
    assert inside["arms"]["deep-frozen"] == outside["arms"]["deep"]


def test_a_run_with_a_teacher_goes_on_from_another_folder(finished, tmp_path, monkeypatch):
    _, out = finished
    monkeypatch.chdir(out.parent)
    path = tmp_path / "run"
    before = run(Config(**SMALL | {"epochs": 1}, teachers="bilinear", teacher_from="run"), path)
    monkeypatch.chdir(tmp_path)
    assert deep_interactions.resume(RunFolder.open(path)) == before


def test_episodes(finished, tmp_path):
    """The last student starts as that of a run without episodes; its teacher has learned before."""
    result, _ = finished
    found = run(Config(**SMALL, teachers="uniform,deep", episodes=2), tmp_path / "run")
    assert list(found["arms"]) == ["uniform", "deep"]
    assert found["arms"]["uniform"] == result["arms"]["uniform"]
    assert found["arms"]["deep"] != result["arms"]["deep"]
    plan = planned(teachers="deep", episodes=3)
    assert plan.order == ["deep-episode-1", "deep-episode-2", "deep"]
    assert [plan.trajectories[name].initialisation for name in plan.order] == [2, 1, 0]
    folder = RunFolder.open(tmp_path / "run")
    before, after = (read_outcome(folder, name).tensors for name in ("deep-episode-1", "deep"))
    assert int(before["teacher.0.look_ahead.optimiser.steps"]) == 7
    assert int(after["teacher.0.look_ahead.optimiser.steps"]) == 14


# a teacher that learns over whole runs


SCHOOLING = SMALL | {
    "epochs": 3,
    "teachers": "uniform,keep-mask",
    "keep_episodes": 4,
    "tau": 0.4,
    "checkpoint_seconds": 0.0,
}


def school_lines(out):
    records = (json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines())
    return [r for r in records if r["arm"] == SCHOOL]


@pytest.fixture(scope="module")
def schooled(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "schooled"
    return run(Config(**SCHOOLING), out), out


def by_hand(setting, schedule, steps, count, tau):
    """The teacher after its episodes, their lines, and the accuracy of the student that it then teaches frozen."""
    state = ("loss", "margin", "label", "progress", "mean_loss", "probabilities", "rank")
    teacher = KeepMask(10, state=state, seed=setting.seed)
    rows = setting.training("given", setting.roles["train"], 64).repeat()
    found = episodes(
        teacher,
        lambda number: setting.student("mlp-16", schedule.make(steps), initialisation=number + 1),
        lambda number: rows.batches((number + 1) * steps, start=number * steps),
        setting.trusted_batch(126),
        t_max=steps,
        tau=tau,
        patience=None,
    )
    lines = [next(found) for _ in range(count)]
    learned = {name: value.detach().clone() for name, value in teacher.named_parameters()}
    teacher.freeze()
    student = setting.student("mlp-16", schedule.make(steps))
    for _ in train(student, teacher, rows.batches(steps)):
        pass
    (tested,) = setting.evaluation("test").batches()
    return learned, lines, accuracy(student.predict(tested.x), tested.y)


def test_keep_mask_learns_over_episodes_and_then_teaches_frozen(schooled):
    result, out = schooled
    plan, folder = planned(**SCHOOLING), RunFolder.open(out)
    assert plan.order == ["uniform", SCHOOL, "keep-mask"]
    assert list(result["arms"]) == ["uniform", "keep-mask"]
    assert (out / "suspects" / "keep-mask.parquet").exists()
    assert not (out / "suspects" / f"{SCHOOL}.parquet").exists()
    taught = read_outcome(folder, "keep-mask").tensors
    for s, setting in enumerate(plan.settings):
        learned, needed, reached = by_hand(setting, plan.schedule, 51, 4, 0.4)
        assert result["arms"]["keep-mask"]["accuracy"]["values"][s] == pytest.approx(reached, abs=0.01)  # stacked
        kept = load_teacher(out / "teachers" / f"keep-mask-seed-{s}.safetensors")
        for name, value in kept.named_parameters():
            assert torch.equal(value, learned[name]), name
            assert torch.equal(value, taught[f"teacher.{s}.{name}"]), name
        assert int(kept.episode) == 4
        lines = [line for line in school_lines(out) if line["seed"] == s]
        for line, episode in zip(lines, needed, strict=True):
            assert line["episode"] == episode.number
            assert (line["reached"], line["batches"], line["kept"]) == (episode.reached, episode.batches, episode.kept)
            assert line["return"] == episode.metrics["return"]
    assert any(line["reached"] for line in school_lines(out))
    assert any(line["gradient_norm"] > 0 for line in school_lines(out))


def test_one_seed_of_keep_mask_to_the_bit(tmp_path):
    options = SCHOOLING | {"seeds": 1}
    result, plan = run(Config(**options), tmp_path / "run"), planned(**options)
    _, _, reached = by_hand(plan.settings[0], plan.schedule, 51, 4, 0.4)
    assert result["arms"]["keep-mask"]["accuracy"]["values"] == [reached]


def test_a_keep_mask_of_another_run(schooled, tmp_path):
    _, out = schooled
    again = run(Config(**SCHOOLING, teacher_from=str(out)), tmp_path / "run")
    assert list(again["arms"]) == ["uniform", "keep-mask"]
    assert (again["learned"], again["warnings"]) == ({}, [])
    folder = RunFolder.open(tmp_path / "run")
    assert not folder.has(f"arms/{SCHOOL}.json")
    taught = read_outcome(folder, "keep-mask").tensors
    kept = load_teacher(out / "teachers" / "keep-mask-seed-1.safetensors")
    assert torch.equal(taught["teacher.1.net.0.weight"], kept.net[0].weight)
    assert planned(**SCHOOLING, teacher_from=str(out)).trajectories["keep-mask"].initialisation == FRESH


def test_a_teacher_without_a_good_student_learns_nothing(schooled, tmp_path):
    assert schooled[0]["warnings"] == []
    result = run(Config(**SCHOOLING | {"tau": 1.0, "keep_budget": 20, "keep_episodes": 2}), tmp_path / "run")
    (warning,) = result["warnings"]
    assert warning.startswith("keep-mask, 2 of 2 seeds: no student of 2 episodes reached --tau 1 on the validation")
    assert warning.endswith("so that the teacher learned nothing. Try a lower --tau.")
    for seed in (0, 1):
        kept = load_teacher(tmp_path / "run" / "teachers" / f"keep-mask-seed-{seed}.safetensors")
        new = Maker(Config(), "keep-mask").untaught(planned().settings[seed])
        assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), new.parameters(), strict=True))


def test_budget_and_accumulation_of_episodes(tmp_path):
    options = SCHOOLING | {"seeds": 1, "tau": 1.0, "keep_budget": 30, "keep_accumulate": 128, "keep_episodes": 2}
    run(Config(**options), tmp_path / "run")
    for line in school_lines(tmp_path / "run"):
        assert (line["batches"], line["reached"]) == (30, None)
        assert 5 < line["steps"] <= 10  # 57 of 64 kept: three batches make a lesson


class Starts:
    def __init__(self):
        self.seen = []

    def start(self, name, steps, done):
        self.seen.append((name, steps, done))

    def advance(self, accuracy):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(("episode", "done"), [(0, 0), (5, 2)])
def test_stopped_inside_an_episode_and_resumed(episode, done, schooled, tmp_path, monkeypatch):
    """Two seeds in turn: the round is begun again."""
    used = [line["batches"] for line in school_lines(schooled[1])]
    learn, calls = KeepMask.learn, 0

    def stopping(*arguments):
        nonlocal calls
        calls += 1
        if calls == 2 + sum(used[:episode]) + 4:  # the plan takes a step with the teacher of each trajectory
            raise KeyboardInterrupt
        return learn(*arguments)

    monkeypatch.setattr(KeepMask, "learn", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(Config(**SCHOOLING), tmp_path / "cut")
    monkeypatch.undo()
    assert resumed_as(schooled, tmp_path / "cut")[0] == (SCHOOL, 4, done)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "count", "needed"),
    [(SCHOOL, 4, (SCHOOL, 4, 3)), ("keep-mask", 20, ("keep-mask", 51, 19))],
)
def test_keep_mask_stopped_elsewhere_and_resumed(where, count, needed, schooled, tmp_path):
    """After an episode whose lines are written, but not its checkpoint; in the run that counts."""
    with pytest.raises(KeyboardInterrupt):
        run(Config(**SCHOOLING), tmp_path / "cut", Stops(where, count))
    assert resumed_as(schooled, tmp_path / "cut")[0] == needed


def resumed_as(finished, cut):
    """Resume; check that all bytes are those of the whole run; return what was started."""
    whole, out = finished
    found = deep_interactions.resume(RunFolder.open(cut), starts := Starts())
    assert without_times(found) == without_times(whole)
    files = sorted(p.relative_to(out) for p in out.rglob("*.safetensors"))
    assert len(files) > 5
    for file in [*files, "metrics.jsonl"]:
        assert (cut / file).read_bytes() == (out / file).read_bytes(), file
    return starts.seen


def test_a_checkpoint_of_other_episodes(tmp_path):
    config = Config(**SCHOOLING)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run", Stops(SCHOOL, 2))
    folder = RunFolder.open(tmp_path / "run")
    tensors, facts = folder.load()
    folder.save({name: t for name, t in tensors.items() if name != "teacher.1.episode"}, facts)
    with pytest.raises(CheckpointError, match=r"does not fit this run .*; remove it to let the teachers learn from"):
        deep_interactions.resume(folder)


# options of learning


LEARNING = SMALL | {"epochs": 1, "student": "mlp-16-16", "teachers": "meta-weight-net,deep"}


@pytest.fixture(scope="module")
def by_default(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "default"
    run(Config(**LEARNING), out)
    return out


@pytest.mark.parametrize(
    "options",
    [
        {"look_ahead": 2, "every": 3, "window": "back"},
        {"look_ahead": 3, "every": 2, "inputs": "detached"},
        {"strategy": "unrolled"},
        {"strategy": "recompute"},
        {"strategy": "reversible"},
        {"strategy": "one-step", "look_ahead": 1},
        {"strategy": "finite-difference", "look_ahead": 1, "every": 1},
        {"teacher_lr": 0.1, "teacher_decay": 0.0},
        {"teacher_normalise": "mean"},
        {"layers": "1,3"},
        {"validation_rows": 30},
        {"virtual_step": "plain"},
        {"rule": "adam", "lr": 0.01},
        {"stack": False},
    ],
    ids=str,
)
def test_options_of_learning(options, by_default, tmp_path):
    result = run(Config(**LEARNING | options), tmp_path / "run")
    assert set(result["training"]["stacked"].values()) == {"layers" not in options and "stack" not in options}
    curves = [read(folder, "arms/deep.json")["records"] for folder in (tmp_path / "run", by_default)]
    losses = [[r[0]["loss"] for r in each] for each in curves]
    if options.get("strategy") in ("unrolled", "recompute", "reversible") or "stack" in options:
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    else:
        assert losses[0] != pytest.approx(losses[1], rel=1e-7)


def test_layers_are_read():
    plan = planned(student="mlp-16-12", layers="1,3", teachers="deep")
    teacher = Maker(plan.options, "deep").untaught(plan.settings[0])
    assert (teacher.layers, teacher.features) == (("1", "3"), 28)
    plan = planned(student="mlp-16-12", teachers="deep")
    assert Maker(plan.options, "deep").untaught(plan.settings[0]).features == 12


def test_single_steps():
    plan = planned(teachers="deep-1,deep,meta-weight-net-1", look_ahead=4, every=3)
    found = {name: plan.trajectories[name].teacher(plan.settings[0], None).look_ahead for name in plan.names}
    assert {name: (each.steps, each.every) for name, each in found.items()} == {
        "deep-1": (1, 1), "deep": (4, 3), "meta-weight-net-1": (1, 1),
    }  # fmt: skip


# kinds of noise


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "kinds"
    options = SMALL | {"noise_kind": None, "teachers": "uniform,l2rw,surface,deep", "checkpoint_seconds": 0.0}
    return run(Config(**options), out), out


def test_a_folder_for_each_kind(kinds, tmp_path):
    result, out = kinds
    assert list(result["levels"]) == ["pair-flip-exact", "symmetric-exact"]
    assert result["config"]["noise_kind"] == "pair-flip-exact,symmetric-exact"
    for kind, level in result["levels"].items():
        assert level["folder"] == f"noise-{kind}"
        inner = read(out / level["folder"])
        assert inner["config"]["noise_kind"] == kind
        assert level["conclusion"] == inner["conclusion"]
        for arm, metrics in inner["arms"].items():
            assert result["arms"][f"{arm} @ {kind}"] == metrics
    alone = run(Config(**SMALL, teachers="uniform,l2rw,surface,deep"), tmp_path / "run")
    assert json.loads(json.dumps(alone))["arms"] == read(out / "noise-pair-flip-exact")["arms"]


def test_kinds_and_rates(tmp_path):
    options = SMALL | {"seeds": 1, "epochs": 1, "noise": "0.2,0.4", "noise_kind": "pair-flip,symmetric"}
    result = run(Config(**options, teachers="uniform"), tmp_path / "run")
    names = ["pair-flip 0.2", "pair-flip 0.4", "symmetric 0.2", "symmetric 0.4"]
    assert list(result["levels"]) == names
    assert [level["folder"] for level in result["levels"].values()] == [f"noise-{n.replace(' ', '-')}" for n in names]


def test_every_label_wrong(tmp_path):
    options = SMALL | {"epochs": 1, "noise": "1"}
    result = run(Config(**options, teachers="uniform,dynamic-loss,trusted-only"), tmp_path / "run")
    assert result["noise"]["realised"] == [1.0, 1.0]
    assert "auc" not in result["arms"]["dynamic-loss"]


def test_the_command_line_says_what_follows(kinds, capsys):
    result, out = kinds
    assert main(["resume", str(out)]) == 0
    printed = capsys.readouterr().out
    for kind, level in result["levels"].items():
        assert kind in printed
        for line in level["conclusion"]["lines"]:
            assert line in printed
    page = (out / "report.html").read_text()
    assert "What follows" in page
    assert "noise-symmetric-exact/report.html" in page
    inner = (out / "noise-symmetric-exact" / "report.html").read_text()
    for text in ("Inside the teachers", "Validation-selected", "Noisy fit", "What follows", "mean raw score"):
        assert text in inner, text


# going on


def test_a_finished_run_gets_its_result_again(finished):
    _, out = finished
    before = (out / "result.json").read_bytes()
    files = {p: p.read_bytes() for p in (out / "teachers").iterdir()}
    deep_interactions.resume(RunFolder.open(out))
    assert (out / "result.json").read_bytes() == before
    assert {p: p.read_bytes() for p in (out / "teachers").iterdir()} == files


class Stops:
    def __init__(self, name, steps):
        self.name, self.left, self.current = name, steps, ""

    def start(self, name, steps, done):
        self.current = name

    def advance(self, accuracy):
        if self.current == self.name:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "window", "episodes"),
    [
        pytest.param("deep", "ahead", 1, marks=pytest.mark.slow),
        ("deep", "back", 1),
        pytest.param("deep-episode-1", "back", 2, marks=pytest.mark.slow),
        pytest.param("deep", "back", 2, marks=pytest.mark.slow),
        pytest.param("l2rw", "ahead", 1, marks=pytest.mark.slow),
    ],
)
def test_stopped_inside_a_window_and_resumed(where, window, episodes, tmp_path):
    """Step 37 is two steps after an update; K > B, so that several windows are open."""
    options = SMALL | {
        "epochs": 3,
        "seeds": 1,
        "teachers": "l2rw,deep",
        "window": window,
        "episodes": episodes,
        "look_ahead": 7,
    }
    config = Config(**options, checkpoint_seconds=0.0)
    whole = run(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", Stops(where, 38))
    found = deep_interactions.resume(RunFolder.open(tmp_path / "cut"))
    assert without_times(found) == without_times(whole)
    files = sorted(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*.safetensors"))
    assert len(files) > 4
    for file in files:
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_killed_hard_and_resumed(tmp_path):
    options = ["--seeds", "2", "--epochs", "8", "--threads", "1", "--checkpoint-seconds", "0.05", "--student", "mlp-32"]
    options += ["--teachers", "uniform,deep,bilinear-frozen", "--window", "back"]
    start = [sys.executable, "-m", "tutelage", "run", "deep-interactions", *options, "--out"]
    whole, out = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*start, str(whole)], check=True, capture_output=True)
    count = 0
    for attempt, at in enumerate((20, 50, 90)):
        at += random.randrange(10)
        call = [*start, str(out)] if attempt == 0 else [sys.executable, "-m", "tutelage", "resume", str(out)]
        count += kill_at(call, lambda n=at: lines(out) >= n)
    assert count == 3
    subprocess.run([sys.executable, "-m", "tutelage", "resume", str(out)], check=True, capture_output=True)
    for file in (p.relative_to(whole) for p in whole.rglob("*") if p.is_file()):
        if file.name == "result.json":
            assert without_times(read(out / file.parent)) == without_times(read(whole / file.parent))
        elif file.suffix in (".jsonl", ".safetensors", ".parquet"):
            assert (out / file).read_bytes() == (whole / file).read_bytes(), file


# bad input


COMMAND = ["run", "deep-interactions", "--student", "mlp-16", "--seeds", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--teachers", "depe"], 'unknown teacher "depe". Did you mean "deep"? Known: uniform, mixed-in, trusted-only'),
        (["--strategy", "rolled"], 'unknown strategy "rolled". Did you mean "unrolled"? Known: auto, unrolled, recomp'),
        (["--layers", "7"], 'unknown layer of the network "7". Known: 0, 1, 2, 3.'),
        (["--window", "back", "--look-ahead", "0"], "--look-ahead is 0; it must be in 1..1000000."),
        (["--every", "0"], "--every is 0; it must be in 1..1000000."),
        (["--validation-rows", "0"], "--validation-rows is 0; it must be in 1..1000000."),
        (["--episodes", "0"], "--episodes is 0; it must be in 1..1000000."),
        (["--keep-episodes", "0"], "--keep-episodes is 0; it must be in 1..1000000."),
        (["--keep-budget", "0"], "--keep-budget is 0; it must be in 1..1000000."),
        (["--keep-accumulate", "-3"], "--keep-accumulate is -3; it must be in 1..1000000."),
        (["--tau", "80"], "--tau is 80.0; it is an accuracy on the validation rows and must be in (0, 1]."),
        (["--tau", "nan"], "--tau is nan; it is an accuracy"),
        (["--teacher-lr", "-1"], "--teacher-lr is -1.0; it must be in 0..1000000."),
        (["--teacher-decay", "inf"], "--teacher-decay is inf; it must be in 0..1000000."),
        (["--window", "forward"], "forward"),
        (["--inputs", "cut"], "cut"),
        (["--strategy", "one-step"], "--strategy one-step looks one step ahead, not 5; pass --look-ahead 1."),
        (["--strategy", "reversible", "--rule", "adam"], "Reversible"),
        (["--strategy", "reversible", "--rule", "adam", "--window", "back"], "nesterov, not Adam: use Recompute."),
        (["--strategy", "reversible", "--virtual-step", "plain"], "with momentum; leave out --virtual-step plain."),
        (["--strategy", "reversible", "--look-ahead", "115"], "over 115 steps; pass --look-ahead 114 or less, or"),
        (["--schedule", "published"], "--schedule published is for resnet32 and wrn-28-10, not mlp-16."),
        (["--noise", "1"], "perfect-filter: no training row of seed 0 has a right label; leave it out of --teachers."),
        (["--noise", "1.1"], "--noise is 1.1; it is a share of the labels and must be in [0, 1]."),
        (
            ["--noise-kind", "pair-flip,pair-flip"],
            '--noise-kind is "pair-flip,pair-flip"; give each kind once, such as',
        ),
        (["--noise-kind", "pair-flip,"], '--noise-kind is "pair-flip,"; give each kind once'),
        (["--noise-kind", "pairflip"], 'unknown label noise "pairflip". Did you mean "pair-flip"?'),
        (["--preset", "mentornet"], "--preset mentornet has no trusted rows outside its training rows, which this rec"),
        (["--teacher-from", "gone"], "gone does not exist; a teacher file is made by save_teacher."),
        (["--teacher-from", "."], " has no teacher of the arm meta-weight-net; it has none at all. Pass --teachers"),
        (["--teacher-from", "x", "--episodes", "2"], "--teacher-from uses a teacher as it is; leave out --episodes."),
        (["--teacher-from", "x", "--teachers", "deep-frozen"], "--teacher-from freezes its teachers anyway; name the"),
        (["--export", "list.csv"], "--export is for one rate of noise; leave it out"),
    ],
    ids=lambda a: " ".join(a) if isinstance(a, list) else "",
)
def test_bad_input_is_one_line_and_nothing_is_written(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in line_of(capsys, *COMMAND, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_that_does_not_fit(finished, capsys, tmp_path, monkeypatch):
    _, out = finished
    monkeypatch.chdir(tmp_path)
    deep = str(out / "teachers" / "deep-seed-0.safetensors")
    call = ["run", "deep-interactions", "--seeds", "1", "--teacher-from", deep]
    line = line_of(capsys, *call, "--teachers", "deep", "--student", "mlp-24")
    assert "this teacher was made for 16 features, but the student has 24" in line
    line = line_of(capsys, *call, "--teachers", "uniform,bilinear", "--student", "mlp-16")
    assert "deep-seed-0.safetensors holds a deep teacher, but the arm bilinear needs a bilinear one" in line
    np.savez(
        "three.npz",
        x=np.random.default_rng(0).random((300, 64)).astype(np.float32),
        y=np.arange(300) % 3,
    )
    line = line_of(capsys, *call, "--teachers", "deep", "--student", "mlp-16", "--data", "three.npz", "--classes", "3")
    assert "this teacher was made for 10 classes" in line
    assert [p.name for p in tmp_path.iterdir()] == ["three.npz"]


def test_the_folder_of_several_kinds_has_no_teachers_itself(kinds, capsys, tmp_path, monkeypatch):
    _, out = kinds
    monkeypatch.chdir(tmp_path)
    line = line_of(capsys, *COMMAND, "--teachers", "deep", "--teacher-from", str(out))
    assert "is a run over several kinds of noise; name one of its folders: noise-pair-flip-exact, noise-symm" in line
    line = line_of(capsys, *COMMAND, "--teachers", "bilinear", "--teacher-from", str(out / "noise-symmetric-exact"))
    assert "has no teacher of the arm bilinear; it has deep, surface." in line


def test_a_damaged_configuration(finished, tmp_path):
    _, out = finished
    (tmp_path / "config.json").write_text(json.dumps(read(out, "config.json") | {"config": {"episodes": 1}}))
    with pytest.raises(CheckpointError, match=r"config.json is damaged: \w+ is missing"):
        deep_interactions.resume(RunFolder.open(tmp_path))
