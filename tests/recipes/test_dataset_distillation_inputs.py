"""Dataset distillation: rows that are whitened, networks with running statistics, and what their files say."""

import pytest
import torch
from torch import nn

from tutelage.distilled.files import load
from tutelage.distilled.whitening import fitted_whitening
from tutelage.errors import DataError
from tutelage.hypergradient import Recompute, Unrolled
from tutelage.recipes.dataset_distillation import Config, run
from tutelage.recipes.dataset_distillation.checking import Rows, check, domain_of
from tutelage.recipes.dataset_distillation.plan import prepare

from .dataset_runs import SHORT, SMALL, plan

TRAJECTORIES = {
    **{"method": "trajectory-matching", "nets": None, "experts": 4, "expert_epochs": 2, "span": 1, "max_start": 2},
    **{"inner_steps": 2, "robustness": False, "free_epochs": 2, "full_epochs": 0, "seeds": 1},
}


def normed(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))


NORMED = {"net": "tests.recipes.test_dataset_distillation_inputs:normed", "freeze_buffers": True, "seeds": 1}


def test_rows_are_whitened_by_the_training_rows():
    plain, here = plan().domain, plan(whitening="zca").domain
    whitening = fitted_whitening(plain.x)
    torch.testing.assert_close(here.x, whitening(plain.x))
    torch.testing.assert_close(here.test_x, whitening(plain.test_x))
    before, after = (torch.linalg.eigvalsh(torch.cov(x.flatten(1).double().T)) for x in (plain.x, here.x))
    torch.testing.assert_close(after, before / (before + 0.1), atol=1e-5, rtol=1e-4)
    assert here.fingerprint == plain.fingerprint


def test_too_many_correlations(monkeypatch):
    monkeypatch.setattr("tutelage.recipes.dataset_distillation.rows._MOST_WHITENED", 63)
    with pytest.raises(DataError, match=r"--whitening zca of digits: rows have 64 numbers, .* make images smaller"):
        plan(whitening="zca")


def test_files_of_whitened_sets_reproduce_their_accuracy(tmp_path):
    options = SMALL | {"whitening": "zca", "seeds": 1, "free_epochs": 1, "full_epochs": 0, "free_nets": 1}
    result = run(Config(**options), tmp_path / "run")
    assert result["data"]["whitening"] == "zca"
    artefact = load(tmp_path / "run/distilled-0.safetensors")
    domain = domain_of(artefact, Rows())
    torch.testing.assert_close(domain.test_x, plan(whitening="zca").domain.test_x)
    assert check(artefact, domain).verdict == "reproduced: the same 5 networks on the same rows"
    row = next(row for row in result["robustness"] if row["name"] == "clipped 8-bit")
    assert (row["mean"], row["note"]) == (None, "the images are whitened, and cannot be shown as they are")


@pytest.mark.parametrize("method", ["unrolled", "gradient-matching", "distribution-matching", "trajectory-matching"])
def test_running_statistics_stay_as_they_are(method, tmp_path):
    options = SMALL | NORMED | {"steps": 2, "method": method, "robustness": False}
    options |= {"free_epochs": 1, "full_epochs": 1, "free_nets": 2}
    if method == "trajectory-matching":
        options |= {n: v for n, v in TRAJECTORIES.items() if n in ("experts", "expert_epochs", "span", "max_start")}
        options |= {"inner_steps": 2, "nets": 2}
    if "matching" in method and method != "trajectory-matching":
        options |= {"nets": None}
    run(Config(**options), tmp_path / "run")
    artefact = load(tmp_path / "run/distilled-0.safetensors")
    assert artefact.architecture.freeze_buffers
    found = check(artefact, domain_of(artefact, Rows()), net=NORMED["net"])
    assert found.verdict.startswith("reproduced")


def test_pools_of_networks_with_running_statistics(tmp_path):
    options = SMALL | SHORT | NORMED | {"objective": "adapt", "source": "rotated", "pool_nets": 9, "pool_epochs": 1}
    result = run(Config(**options), tmp_path / "run")
    assert len(result["sets"]["0"]["along"]["after"]) == 5


@pytest.mark.slow
def test_robustness_of_networks_that_draw_their_own_weights(tmp_path):
    """Their neighbours are other networks, with an initialisation of their own."""
    options = SMALL | NORMED | {"initialisation": "own", "free_epochs": 1, "full_epochs": 0, "free_nets": 1}
    result = run(Config(**options), tmp_path / "run")
    rows = {row["name"]: row for row in result["robustness"]}
    assert rows["architecture: mlp-128"]["mean"] is not None
    assert rows["initialisation"]["note"] == "the network draws its weights by itself"


@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_cut_of_outer_gradients_reaches_the_teacher(clip):
    found = plan(clip=clip)
    assert found.distilling(0, found.networks(0, None), found._rehearsing()).teacher.clip == clip


def test_memory_and_truncation_reach_trajectories(monkeypatch):
    def strategy(**options):
        found = plan(**TRAJECTORIES, **options)
        nets = found.networks(0, None)
        return found.options, found.distilling(0, nets, found._rehearsing()).teacher.hypergradient

    options, chosen = strategy()
    assert options.memory == "tape"
    assert isinstance(chosen, Unrolled)
    assert isinstance(strategy(memory="recompute")[1], Recompute)
    assert strategy(memory="tape", truncate=1)[1].truncate == 1
    monkeypatch.setattr("tutelage.hypergradient.fitting.free_bytes", lambda device: 1000)
    options, chosen = strategy()
    assert options.memory == "recompute"
    assert isinstance(chosen, Recompute)
    monkeypatch.undo()
    assert prepare(options, fresh=False).options.memory == "recompute"


def test_rows_of_an_inner_step():
    found = plan(**TRAJECTORIES, inner_batch=3)
    teacher = found.distilling(0, found.networks(0, None), found._rehearsing()).teacher
    assert teacher.batch == 3


def test_all_sets_choose_from_the_same_rates(tmp_path):
    """Those of free training, and the one that was learned; with changed images as well."""
    result = run(Config(**SMALL | TRAJECTORIES), tmp_path / "run")
    tried = {name: set(found["tried"]) for name, found in result["sets"]["0"]["free"].items()}
    assert len(tried["distilled"]) == 3
    assert {frozenset(rates) for rates in tried.values()} == {frozenset(tried["distilled"])}
