"""A teacher of the recipe that learns over whole runs; such a run stopped and resumed."""

import json

import pytest
import torch

from tutelage.episodes import episodes
from tutelage.errors import CheckpointError
from tutelage.evaluation import accuracy
from tutelage.recipes import deep_interactions
from tutelage.recipes.deep_interactions import Config, run
from tutelage.recipes.learned import FRESH, SCHOOL, Maker
from tutelage.recipes.outcome import read_outcome
from tutelage.runs import RunFolder
from tutelage.teacher_files import load_teacher
from tutelage.teachers import KeepMask
from tutelage.training import train

from .deep_runs import SMALL, planned
from .interrupted import Stops, without_times

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


# going on


class Starts:
    def __init__(self):
        self.seen = []

    def start(self, name, steps, done):
        self.seen.append((name, steps, done))

    def advance(self, accuracy):
        pass


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


def test_a_checkpoint_of_other_episodes(tmp_path):
    config = Config(**SCHOOLING)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run", Stops(SCHOOL, 2))
    folder = RunFolder.open(tmp_path / "run")
    tensors, facts = folder.load()
    folder.save({name: t for name, t in tensors.items() if name != "teacher.1.episode"}, facts)
    with pytest.raises(CheckpointError, match=r"does not fit this run .*; remove it to let the teachers learn from"):
        deep_interactions.resume(folder)
