"""Dataset distillation: runs from start to end, and that their numbers are what the files say."""

import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from tutelage.checkpoint import load_checkpoint
from tutelage.distilled import DistilledSet, accuracies_along
from tutelage.distilled.files import load
from tutelage.distilled.poison import Poison
from tutelage.distilled.pools import load_pool
from tutelage.errors import ConfigError
from tutelage.lesson import Batch
from tutelage.recipes import RECIPES
from tutelage.recipes.dataset_distillation import Config, run
from tutelage.recipes.dataset_distillation.comparing import taught_alike
from tutelage.recipes.dataset_distillation.judging import confusion
from tutelage.recipes.dataset_distillation.networks import size
from tutelage.recipes.dataset_distillation.plan import prepare

from .dataset_runs import COMPARED, SHORT, SMALL, adapt_run, plan, poison_run, train_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    return adapt_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    return poison_run(tmp_path_factory.getbasetemp())


def test_it_is_a_recipe():
    assert RECIPES["dataset-distillation"].HELP


def test_rows_are_those_of_the_documented_figures():
    domain, bunch = plan().domain, load_digits()
    order = np.random.RandomState(0).permutation(1797)
    x = bunch.images.astype(np.float64)[order] / 16
    x = (x - x[:1297].mean()) / x[:1297].std()
    np.testing.assert_allclose(domain.x[:, 0], x[:1297], atol=1e-5)
    np.testing.assert_allclose(domain.test_x[:, 0], x[1297:], atol=1e-5)
    assert domain.test_y.tolist() == bunch.target[order][1297:].tolist()


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("rotated", lambda x: np.rot90(x, axes=(1, 2))),
        ("inverted", lambda x: 16 - x),
        ("shifted", lambda x: np.pad(x, ((0, 0), (1, 0), (1, 0)))[:, :-1, :-1]),
    ],
)
def test_domains_made_of_the_data_itself(source, change):
    found = plan(objective="adapt", source=source, pool_nets=8).known
    order = np.random.RandomState(0).permutation(1797)[:1297]
    x = change(load_digits().images)[order] / 16
    np.testing.assert_allclose(found.x[:, 0], (x - x.mean()) / x.std(), atol=1e-5)


def test_the_result(trained):
    result, out = trained
    assert result["order"] == ["distilled", "random", "class-means", "k-center", "full-data"]
    made = result["arms"]["distilled"]
    free = ("free_accuracy", "augmented_accuracy")
    assert set(made) == {"accuracy", "before", "std_over_networks", "neighbour_accuracy", *free}
    assert set(result["arms"]["class-means"]) == {"accuracy", "neighbour_accuracy", "free_accuracy"}
    assert set(result["arms"]["random"]) == {"accuracy", "best_draw", "neighbour_accuracy", *free}
    assert all(len(metric["values"]) == 2 for arm in result["arms"].values() for metric in arm.values())
    assert {c["metric"] for c in result["comparisons"]} == {"accuracy", "neighbour_accuracy", "free_accuracy"}
    near = next(c for c in result["comparisons"] if c["b"] == "1-NN on class-means")
    means = result["arms"]["class-means"]["neighbour_accuracy"]["values"]
    assert near["differences"] == pytest.approx([a - b for a, b in zip(made["accuracy"]["values"], means)])
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    assert set(result["scores"]) == {"HLR", "IOR", "LRS", "ARS"}


def test_numbers_come_from_the_set_that_was_left(trained):
    """The accuracies after each application are those of fresh networks of the seed, from the file alone."""
    result, out = trained
    found = plan()
    for seed in (0, 1):
        tensors, _ = load_checkpoint(out / f"arms/distilled-{seed}.safetensors")
        distilled = DistilledSet(tensors["images"], tensors["labels"], tensors["step_sizes"], 3)
        nets = found.networks(seed, None)
        along = accuracies_along(distilled, nets.net, nets.judges, found.domain.test_x, found.domain.test_y)
        facts = result["sets"][str(seed)]
        assert facts["along"]["mean"] == pytest.approx(along.mean(1).tolist())
        assert facts["along"]["after"] == pytest.approx(along[-1].tolist())
        assert facts["step_sizes"] == pytest.approx(tensors["step_sizes"].tolist())
        assert result["arms"]["distilled"]["accuracy"]["values"][seed] == pytest.approx(float(along[-1].mean()))


def test_frames_of_the_first_seed_go_from_noise_to_the_set(trained):
    _, out = trained
    first, _ = load_checkpoint(out / "arms/distilled-0.safetensors")
    second, _ = load_checkpoint(out / "arms/distilled-1.safetensors")
    assert first["frames"].shape == (4, 1, 10, 1, 8, 8)
    assert "frames" not in second
    assert torch.equal(first["frames"][-1], first["images"])
    assert torch.equal(first["frame_step_sizes"][-1], first["step_sizes"])
    assert abs(float(first["frames"][0].std()) - 1) < 0.1


def test_networks_that_judge_are_none_that_were_distilled_for():
    nets = plan().networks(0, None)
    seen = torch.cat([nets.starts.draw(step, 8)["1.weight"].flatten(1) for step in range(6)])
    held = torch.cat([nets.judges["1.weight"], nets.tried["1.weight"]]).flatten(1)
    assert size(nets.judges) == 5
    assert len(torch.unique(torch.cat([seen, held]), dim=0)) == len(seen) + len(held)


def test_step_sizes_are_chosen_without_test_labels(trained):
    """With other test labels every choice stays as it was."""
    result, _ = trained
    found = plan()
    nets, domain = found.networks(0, None), found.domain
    object.__setattr__(domain, "test_y", domain.test_y.flip(0))
    left, _ = taught_alike("random", 0, domain, nets, None, found.options)
    before = result["sets"]["0"]["baselines"]["random"]
    assert [draw["rate"] for draw in left["draws"]] == [draw["rate"] for draw in before]
    assert [draw["accuracy"] for draw in left["draws"]] != [draw["accuracy"] for draw in before]


def test_adaptation_judges_by_networks_of_the_pool_that_were_held_out(adapted):
    result, out = adapted
    found = plan(objective="adapt", source="rotated", pool_nets=9)
    pool = load_pool(out / "pool.safetensors", found.net)
    assert len(pool) == 14
    nets = found.networks(0, pool.weights)
    assert torch.equal(nets.judges["1.weight"], pool.weights["1.weight"][9:])
    assert len(nets.starts) == 9
    assert result["data"]["source"] == "digits rotated"
    assert "trained networks that no step saw" in result["conclusion"]["lines"][0]


def test_a_pool_from_a_file_gives_the_same_set(adapted, tmp_path):
    result, out = adapted
    options = SMALL | SHORT | {"objective": "adapt", "pool": str(out / "pool.safetensors")}
    again = run(Config(**options), tmp_path / "again")
    assert again["arms"]["distilled"] == result["arms"]["distilled"]


def test_poisoning_before_and_after(poisoned):
    result, _ = poisoned
    assert result["metric"] == "attack"
    assert result["distillation"]["attack"] == [3, 8]
    assert result["order"] == ["distilled", "flipped-real"]
    made = result["arms"]["distilled"]
    rates = ("attack", "overall", "a_accuracy", "others")
    assert set(made) == {*rates, *(f"before_{rate}" for rate in rates)}
    facts = result["sets"]["0"]["attack"]["after"]
    rows = np.asarray(facts["confusion"])
    np.testing.assert_allclose(rows.sum(1), 1.0)
    assert rows[3, 8] == pytest.approx(np.mean(facts["attack"]))
    assert rows[3, 3] == pytest.approx(np.mean(facts["a_accuracy"]))
    assert result["conclusion"]["lines"][0].startswith("poisoning 3 → 8 over 5 trained networks that no step saw")


def test_poison_relabels_a_copy():
    y = torch.tensor([0, 1, 2, 0])
    batch = Batch(torch.zeros(4, 2), y, torch.arange(4))
    assert Poison(0, 2)(batch).y.tolist() == [2, 1, 2, 2]
    assert y.tolist() == batch.y.tolist() == [0, 1, 2, 0]


def test_rates_of_an_attack_by_hand():
    told = torch.tensor([[2, 0], [2, 2], [1, 1], [2, 0]])
    found = Poison(0, 2).rates(told, torch.tensor([0, 0, 1, 2]))
    assert found["attack"] == [1.0, 0.5]
    assert found["a_accuracy"] == [0.0, 0.5]
    assert found["others"] == [1.0, 0.5]
    assert found["overall"] == [0.5, 0.5]


def test_an_absent_class_has_no_rate():
    found = Poison(0, 1).rates(torch.tensor([[1], [2]]), torch.tensor([1, 2]))
    assert found["attack"] is None
    assert found["a_accuracy"] is None
    assert found["others"] == [1.0]
    assert Poison(0, 1).rates(torch.tensor([[1]]), torch.tensor([0]))["others"] is None


@pytest.mark.parametrize("classes", [(1, 1), (-1, 2)])
def test_poison_needs_two_classes(classes):
    with pytest.raises(ConfigError, match=r"needs two different classes, such as 0:1"):
        Poison(*classes)


def test_confusion_by_hand():
    found = confusion(torch.tensor([[0, 1], [1, 1], [2, 0]]), torch.tensor([0, 0, 2]), 3)
    assert found.tolist() == [[0.25, 0.75, 0.0], [0.0, 0.0, 0.0], [0.5, 0.0, 0.5]]


class Noisy(nn.Module):
    """A network of a user's, with an initialisation of its own."""

    def __init__(self, shape, classes):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(1))
        self.last = nn.Linear(64, classes)

    def forward(self, x):
        return self.last(x.flatten(1)) * self.scale


def users_own(shape, classes):
    return Noisy(shape, classes)


def test_networks_of_users_draw_their_own_weights():
    found = plan(net="tests.recipes.test_dataset_distillation:users_own", initialisation="own", robustness=False)
    drawn = found.networks(0, None).judges
    assert len(torch.unique(drawn["scale"])) == 5
    again = found.networks(0, None).judges
    assert all(torch.equal(drawn[name], again[name]) for name in drawn)
    assert not torch.equal(found.networks(1, None).judges["scale"], drawn["scale"])


@pytest.mark.parametrize("which", [train_run, adapt_run, poison_run])
def test_files_of_sets_reproduce_the_numbers(which, tmp_path_factory):
    """Fresh networks are drawn as the file says, trained ones are stored in it."""
    result, out = which(tmp_path_factory.getbasetemp())
    kind = {train_run: {}, adapt_run: {"objective": "adapt", "source": "rotated"}, poison_run: {"objective": "poison"}}
    domain = plan(**kind[which] | ({"pool_nets": 9} if kind[which] else {})).domain
    for seed in (0, 1):
        artefact = load(out / f"distilled-{seed}.safetensors")
        facts = result["sets"][str(seed)]
        values = facts["attack"]["after"]["overall"] if which is poison_run else facts["along"]["after"]
        assert artefact.evaluate(domain.test_x, domain.test_y)["values"] == pytest.approx(values)
        assert artefact.evaluation.values == pytest.approx(values)
    assert artefact.attack == ((3, 8) if which is poison_run else None)
    assert len(artefact.log) == 3


def test_stored_weights_are_in_the_file(tmp_path):
    options = SMALL | SHORT | {"init": "fixed", "held_out": None, "seeds": 1, "nets": 2}
    result = run(Config(**options), tmp_path / "run")
    artefact = load(tmp_path / "run/distilled-0.safetensors")
    found = plan(**SHORT, init="fixed", held_out=None, nets=2)
    assert artefact.start.stored == 2
    assert torch.equal(artefact.start.weights["1.weight"], found.networks(0, None).judges["1.weight"])
    values = artefact.evaluate(found.domain.test_x, found.domain.test_y)["values"]
    assert values == pytest.approx(result["sets"]["0"]["along"]["after"])


@pytest.mark.parametrize("method", ["gradient-matching", "siamese", "distribution-matching", "trajectory-matching"])
def test_later_methods_are_judged_by_free_training(method, tmp_path):
    options = SMALL | {"nets": None, "seeds": 1, "method": method, "robustness": False, "steps": 2} | COMPARED
    if method == "trajectory-matching":
        options |= {"experts": 4, "expert_epochs": 2, "span": 1, "max_start": 2, "inner_steps": 2}
    result = run(Config(**options), tmp_path / "run")
    assert result["metric"] == "free_accuracy"
    assert result["distillation"]["applications"] == 0
    assert "accuracy" not in result["arms"]["distilled"]
    assert "accuracy" not in result["arms"]["random"]
    domain = plan().domain
    stated = result["sets"]["0"]["free"]["distilled"]["accuracies"]
    artefact = load(tmp_path / "run/distilled-0.safetensors")
    assert artefact.method == method
    assert artefact.evaluate(domain.test_x, domain.test_y)["values"] == pytest.approx(stated)


@pytest.mark.slow
def test_the_robustness_report_has_every_row(tmp_path):
    options = SMALL | COMPARED | {"seeds": 1, "held_out": 2, "baselines": "none", "free_epochs": 1}
    options.pop("draws")
    result = run(Config(**options), tmp_path / "run")
    rows = {row["name"]: row for row in result["robustness"]}
    names = ("none", "step sizes x0.5", "step sizes x2", "mean step size", "schedule twice", "steps shuffled")
    names += ("re-batched", "one batch", "8-bit", "clipped 8-bit", "initialisation: torch", "width: mlp-4")
    names += ("width: mlp-16", "depth: mlp-8-8", "free training")
    assert set(names) <= set(rows)
    assert rows["none"]["mean"] == pytest.approx(result["arms"]["distilled"]["accuracy"]["mean"])
    assert rows["steps shuffled"]["note"] == "the set is one batch"
    assert result["order"] == ["distilled", "full-data"]


def test_a_graph_that_does_not_fit_is_recomputed_or_refused(monkeypatch):
    """Decided once, so that a run that goes on does the same."""
    assert plan().options.memory == "tape"
    monkeypatch.setattr("tutelage.hypergradient.fitting.free_bytes", lambda device: 1000)
    found = plan()
    assert found.options.memory == "recompute"
    assert prepare(found.options, fresh=False).options.memory == "recompute"
    with pytest.raises(ConfigError, match=r"the graph of 3 steps needs .* GB, but .* are free: use .*memory recompute"):
        plan(memory="tape").rehearse()


@pytest.mark.slow
def test_mnist(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_DATA", str(real_data))
    options = {"data": "mnist", "init": "fixed", "steps": 2, "evaluations": 1, "baselines": "class-means"}
    result = run(Config(**options, **SHORT, device="cpu", threads=1), tmp_path / "run")
    config = result["config"]
    assert (config["net"], config["batches"], config["epochs"], config["real_batch"]) == ("lenet", 1, 3, 1024)
    assert (result["data"]["train_rows"], result["data"]["test_rows"]) == (60000, 10000)
    assert result["data"]["normalisation"]["mean"] == pytest.approx([0.1307], abs=1e-4)
    assert result["data"]["normalisation"]["std"] == pytest.approx([0.3081], abs=1e-4)
