"""A set of a file on data: the rows that its run saw, and an accuracy beside the stated one."""

from dataclasses import replace

import pytest
import torch

from tests.recipes.dataset_runs import SHORT, adapt_run, finished_run, plan, poison_run
from tutelage.data import Normalise
from tutelage.distilled.facts import FreeRecipe
from tutelage.distilled.files import load
from tutelage.distilled.whitening import Whitening
from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.recipes.dataset_distillation.checking import Rows, check, domain_of, robustness


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A set of a small run."""
    _, folder = finished_run(tmp_path_factory.getbasetemp(), "checked", **SHORT)
    return load(folder / "distilled-0.safetensors")


def test_rows_are_those_of_the_run(made):
    domain, here = plan(**SHORT).domain, domain_of(made, Rows())
    for name in ("x", "y", "test_x", "test_y"):
        assert torch.equal(getattr(here, name), getattr(domain, name)), name
    assert isinstance(here.scaling, Normalise)


def test_the_stated_accuracy_is_reproduced(made):
    found = check(made, domain_of(made, Rows()))
    assert found.verdict == "reproduced: the same 5 networks on the same rows"
    assert found.agrees is True
    assert found.after["values"] == pytest.approx(found.stated["values"])
    assert found.before["values"] == pytest.approx(made.evaluation.before)
    assert found.attack is None
    fewer = check(made, domain_of(made, Rows()), 1)
    assert fewer.verdict == "reproduced: the same 1 network on the same rows"


def test_a_stated_accuracy_that_is_not_so_is_noticed(made):
    values = tuple(value + 0.1 for value in made.evaluation.values)
    other = replace(made, evaluation=replace(made.evaluation, values=values))
    found = check(other, domain_of(other, Rows()))
    assert found.agrees is False
    assert found.verdict == "not reproduced: the same 5 networks on the same rows are 10.0 points off"


def test_other_networks_are_expected_within_a_margin(made):
    domain = domain_of(made, Rows())
    found = check(made, domain, 20, seed=99)
    margin = made.evaluation.margin(20)
    agrees = abs(found.after["mean"] - found.stated["mean"]) <= margin
    assert found.agrees is agrees
    where = "within" if agrees else "outside"
    assert (
        found.verdict == f"20 networks, others than the file's, {where} the {100 * margin:.1f} points that are expected"
    )
    values = tuple(value + 0.6 for value in made.evaluation.values)
    far = replace(made, evaluation=replace(made.evaluation, values=values))
    assert check(far, domain, 20, seed=99).agrees is False
    one = replace(made, evaluation=replace(made.evaluation, values=values[:1], before=made.evaluation.before[:1]))
    assert check(one, domain, 2, seed=99).verdict.startswith(
        "not compared: the file states the accuracy of one network"
    )


def test_what_cannot_be_compared_is_not(made):
    domain = domain_of(made, Rows())
    found = check(made, domain, 2, net="mlp-4")
    assert (found.agrees, found.verdict) == (
        None, "not compared: the file states the accuracy of mlp-8, not of mlp-4")  # fmt: skip
    other = check(made, domain_of(made, Rows(split_seed=1)))
    assert (other.agrees, other.verdict) == (
        None, "not compared: these are other test rows than those of the accuracy that the file states")  # fmt: skip
    silent = replace(made, evaluation=None)
    found = check(silent, domain, 3)
    assert (found.agrees, found.stated, found.verdict) == (None, None, "not compared: the file states no accuracy")


def test_an_attack_is_told_before_and_after(tmp_path_factory):
    result, folder = poison_run(tmp_path_factory.getbasetemp())
    artefact = load(folder / "distilled-0.safetensors")
    found = check(artefact, domain_of(artefact, Rows()))
    stated = result["sets"]["0"]["attack"]
    for when in ("before", "after"):
        for name in ("overall", "a_accuracy", "attack", "others"):
            values = stated[when][name]
            assert found.attack[when][name] == pytest.approx(sum(values) / len(values))
    assert found.agrees is True


def test_a_set_for_trained_networks_is_checked_with_those_that_it_stores(tmp_path_factory):
    _, folder = adapt_run(tmp_path_factory.getbasetemp())
    artefact = load(folder / "distilled-0.safetensors")
    assert check(artefact, domain_of(artefact, Rows())).agrees is True


@pytest.mark.slow
def test_the_robustness_report(made):
    made = replace(made, free_training=FreeRecipe(epochs=2))
    domain = domain_of(made, Rows())
    rows = {row["name"]: row for row in robustness(made, domain, 2, free=1)}
    assert rows["none"]["values"] == check(made, domain, 2).after["values"]
    assert {"step sizes x2", "clipped 8-bit", "width: mlp-4", "depth: mlp-8-8", "free training"} <= rows.keys()
    whitened = replace(made.inputs, whitening=Whitening(torch.zeros(64), torch.eye(64)))
    other = replace(made, inputs=whitened)
    rows = robustness(other, domain_of(other, Rows()), 1, free=1)
    clipped = next(row for row in rows if row["name"] == "clipped 8-bit")
    assert (clipped["mean"], clipped["note"]) == (None, "the images are whitened, and cannot be shown as they are")


def test_rows_that_cannot_be_had_are_told(made, tmp_path):
    silent = replace(made, evaluation=None)
    with pytest.raises(ConfigError, match="does not say what the set was judged on: give test rows with --data"):
        domain_of(silent, Rows())
    assert len(domain_of(silent, Rows(data="digits")).test_y) == 500
    gone = replace(made, evaluation=replace(made.evaluation, data={"data": str(tmp_path / "gone.npz")}))
    with pytest.raises(DataError, match=r"no such file.*The file says that the set was judged on it; give other data"):
        domain_of(gone, Rows())
    with pytest.raises(DataError, match='unknown data set "digit"'):
        domain_of(made, Rows(data="digit"))
    with pytest.raises(ShapeError, match=r"rows have shape \(3, 8, 8\), but the set was made for \(1, 8, 8\)"):
        domain_of(made, Rows(channels=3))
    images, labels = made.distilled.images[:, :9], made.distilled.labels[:9]
    nine = replace(made.distilled, images=images, labels=labels)
    nine = replace(made, distilled=nine, classes=made.classes[:9], evaluation=None)
    with pytest.raises(DataError, match="digits has 10 classes, but the set is for 9"):
        domain_of(nine, Rows(data="digits"))
