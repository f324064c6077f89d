"""Networks that diverge have no accuracy: an error, or the note of a row, and never the accuracy of class 0."""

from dataclasses import replace

import pytest
import torch

from tests.distilled.artefacts import SHAPE, made, numbers, unordered
from tutelage.distilled import DistilledSet, accuracies_along, labels_in_turn, predictions, taught
from tutelage.distilled.facts import FreeRecipe
from tutelage.distilled.judging import ByLessons, Verdict
from tutelage.distilled.robustness import robustness
from tutelage.distilled.teaching import crowd
from tutelage.distilled.variants import Variant
from tutelage.errors import NotFiniteError
from tutelage.nets import build
from tutelage.nets.initial import Scaled
from tutelage.rules import SGD

X, Y = numbers(30, *SHAPE, seed=1), torch.zeros(30).long()


def steep(*sizes):
    """A set of which the lessons have these step sizes."""
    return DistilledSet(numbers(1, 3, *SHAPE), labels_in_turn(3, 1), torch.tensor(sizes), len(sizes))


def networks(count=3):
    net = build("mlp-8", SHAPE, 3)
    return net, Scaled().draw(net, range(count))


def test_the_lesson_that_diverges_is_named_with_its_step_size():
    match = (
        r"^lesson 3 of 4 diverges: a weight of a network is not finite after it, at step size 0.2, the largest so far "
        r"1e\+38: lower them"
    )
    distilled = steep(0.1, 1e38, 0.2, 3e38)
    for act in (
        lambda: list(taught(distilled, *networks())),
        lambda: ByLessons(X, Y)(distilled, *networks()),
        lambda: made(distilled=distilled).evaluate(X, Y, 3),
        lambda: made(distilled=distilled).train(),
    ):
        with pytest.raises(NotFiniteError, match=match):
            act()
    with pytest.raises(NotFiniteError, match="a network answers with NaN or infinity"):  # after lesson 2
        accuracies_along(distilled, *networks(), X, Y)
    students = taught(distilled, *networks())
    assert len([next(students) for _ in range(3)]) == 3  # nothing is wrong before


def test_one_weight_of_a_later_layer_is_enough():
    """Dead units keep the first layer as it is; a bias of -3e38 goes down by 1e38."""
    net, weights = networks(1)
    weights = {
        name: torch.full_like(value, {"1.bias": -1.0, "3.bias": -3e38}.get(name, 0.0))
        for name, value in weights.items()
    }
    distilled = replace(steep(3e38), labels=torch.zeros(3).long())
    with pytest.raises(NotFiniteError, match="lesson 1 of 1 diverges"):
        list(taught(distilled, net, weights))


def test_one_network_of_many_is_enough():
    net, weights = networks(70)
    weights["1.weight"][66] = 3e38
    with pytest.raises(NotFiniteError, match="lesson 1 of 1 diverges"):
        made(distilled=steep(10.0)).evaluate(X, Y, net=net, weights=weights)


def test_answers_that_are_not_finite_are_no_classes():
    net, weights = networks()
    for value in (3e38, float("nan")):  # finite weights whose answers are not
        weights["1.weight"][1] = value
        with pytest.raises(NotFiniteError, match="a network answers with NaN or infinity, so it has no accuracy"):
            predictions(crowd(net, weights, SGD(1.0)), X)
    net[-1].bias.data.fill_(-torch.inf)
    weights = {name: p.detach().unsqueeze(0) for name, p in net.named_parameters()}
    weights["3.bias"] = torch.tensor([[0.0, -torch.inf, 1.0]])  # a class that is ruled out is an answer
    assert predictions(crowd(net, weights, SGD(1.0)), X).shape == (30, 1)


def test_a_set_without_an_order_diverges_as_loudly():
    recipe = FreeRecipe(lr=1e38, epochs=3)
    with pytest.raises(NotFiniteError, match=r"free training diverges in epoch 1 at learning rate 1e\+38"):
        unordered(free_training=recipe).evaluate(X, Y, 2)


def test_a_row_of_the_robustness_report_says_that_networks_diverge():
    net, weights = networks()
    wild = Variant("width", "wild", net, {name: value * 1e38 for name, value in weights.items()})
    tame = Variant("depth", "tame", net, weights)

    def freely(distilled, net, weights):
        if weights is wild.weights:
            raise NotFiniteError("free training diverges at every rate.")
        return Verdict(torch.tensor([0.5]))

    def judge(distilled, net, weights):
        return ByLessons(X, Y)(distilled, net, weights)

    distilled = steep(1.0, 1.0)
    judged = robustness(distilled, net, weights, judge, variants=[wild, tame], freely=freely)
    rows = {row["name"]: row for row in judged}
    absent = {"mean": None, "std": None, "values": None, "drop": None}
    assert {name: rows["width: wild"][name] for name in absent} == absent
    assert rows["width: wild"]["note"].startswith("networks diverge: ")
    assert rows["depth: tame"]["mean"] == rows["none"]["mean"]
    assert rows["depth: tame"]["note"] == ""
    assert len(rows) == len(robustness(distilled, net, weights, judge, variants=[tame, wild], freely=freely))
    other = robustness(distilled, net, weights, judge, variants=[wild._replace(kind="architecture")], freely=freely)
    assert other[-1]["note"] == "networks diverge: free training diverges at every rate."
    assert other[-2]["mean"] == 0.5
    alone = {
        r["name"]: r for r in robustness(distilled, net, weights, judge, freely=lambda *_: freely(*_[:2], wild.weights))
    }
    assert alone["free training"]["note"].startswith("networks diverge: ")


def test_one_order_of_several_that_diverges_is_told():
    calls = []

    def judge(distilled, net, weights):
        calls.append(distilled)
        if len(calls) == 8:
            raise NotFiniteError("lesson 1 of 4 diverges.")
        return Verdict(torch.tensor([0.5]))

    distilled = made().distilled
    rows = {row["name"]: row for row in robustness(distilled, *networks(), judge, orders=3)}
    assert [name for name, row in rows.items() if row["note"].startswith("networks diverge")] == ["steps shuffled"]


def test_a_set_that_diverges_as_it_is_has_no_report():
    with pytest.raises(NotFiniteError, match="a network answers with NaN or infinity"):
        robustness(steep(1e38), *networks(), ByLessons(X, Y))


def test_float64_bears_more():
    net, weights = networks()
    distilled = steep(0.1, 1e38)
    parts = {part: getattr(distilled, part).double() for part in ("images", "step_sizes")}
    *_, last = taught(replace(distilled, **parts), net.double(), {n: w.double() for n, w in weights.items()})
    assert all(p.isfinite().all() for p in last.params.values())
