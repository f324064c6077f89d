"""Teachers of the recipe that are kept, frozen, taken from another run, and carried on over episodes."""

import numpy as np
import pytest
import torch

from tutelage.cli import main
from tutelage.recipes import deep_interactions
from tutelage.recipes.deep_interactions import Config, run
from tutelage.recipes.learned import FRESH, TRANSFERRED, found_teacher
from tutelage.recipes.outcome import read_outcome
from tutelage.runs import RunFolder
from tutelage.teacher_files import load_teacher, teacher_facts

from .deep_runs import SMALL, finished_run, planned, run_of_every_arm
from .test_curricula import line_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def every_arm(tmp_path_factory):
    return run_of_every_arm(tmp_path_factory.getbasetemp())


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


# from another run


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
