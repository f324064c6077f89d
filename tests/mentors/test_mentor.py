"""A mentor: a learned curriculum function with its settings."""

import copy
import pickle

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.mentors import Mentor, MentorNetwork, Settings, describe, shipped


def mentor(held=None, *, time="progress", **settings):
    return Mentor(MentorNetwork("gate", time, seed=2), Settings(**settings), held=held)


def pickled(one):
    return pickle.loads(pickle.dumps(one))  # noqa: S301


LOSS = torch.linspace(0, 6, 24)
LAM = torch.tensor(1.5, dtype=torch.float64)


def at(one, e):
    return one.network(LOSS, LOSS - 1.5, e).sigmoid()


def test_weights_are_the_sigmoid_of_the_logits_without_gradient():
    one = mentor(fixed_time=False)
    weights = one(LOSS.requires_grad_(), LAM, 0.57)
    LOSS.requires_grad_(False)
    assert torch.equal(weights, at(one, 57))
    assert not weights.requires_grad
    assert weights.dtype == torch.float32
    assert ((weights >= 0) & (weights <= 1)).all()


def test_fixed_time_stops_the_time_at_the_burn_in():
    one = mentor(burn_in=18)
    for e, seen in ((0, 0), (17, 17), (18, 18), (19, 18), (99, 18)):
        assert torch.equal(one(LOSS, LAM, e / 100), at(one, seen))
    assert not torch.equal(at(one, 18), at(one, 99))
    free = mentor(burn_in=18, fixed_time=False)
    assert torch.equal(free(LOSS, LAM, 0.99), at(one, 99))


def test_a_held_time_goes_before_all_else():
    one = mentor(held=75)
    for progress in (0.0, 0.5, 0.99):
        assert torch.equal(one(LOSS, LAM, progress), at(one, 75))
    one.held = None
    assert torch.equal(one(LOSS, LAM, 0.99), at(one, 18))


def test_stacks_of_students_with_a_threshold_each():
    one = mentor()
    loss, thresholds = LOSS.view(4, 6), torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    weights = one(loss, thresholds, 0.3)
    assert weights.shape == (4, 6)
    for s in range(4):
        assert torch.allclose(weights[s], one(loss[s], thresholds[s, 0], 0.3), rtol=0, atol=1e-6)
    assert one(LOSS.double(), LAM, 0.3).dtype == torch.float64


@pytest.mark.parametrize("again", [copy.deepcopy, pickled])
def test_copies_are_equal_and_apart(again):
    one = mentor(held=40, time="code", origin={"curriculum": "own"})
    other = again(one)
    assert other.settings == one.settings
    assert other.held == 40
    assert torch.equal(other(LOSS, LAM, 0.1), one(LOSS, LAM, 0.1))
    with torch.no_grad():
        other.network.out.bias += 1
    other.held = None
    assert one.held == 40
    assert not torch.equal(other(LOSS, LAM, 0.4), one(LOSS, LAM, 0.4))


@pytest.mark.parametrize("held", [None, 0, 21])
def test_a_state_dict_restores_weights_codes_and_held_time(held):
    one = mentor(held, time="code")
    other = Mentor(MentorNetwork("gate", "code", seed=9), held=77)
    state = one.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    other.load_state_dict(state)
    assert other.held == held
    assert torch.equal(other(LOSS, LAM, 0.6), one(LOSS, LAM, 0.6))


def test_errors():
    network = MentorNetwork(seed=0)
    for percentile in (0.0, 1.0, 1.5, -0.1, float("nan")):
        with pytest.raises(ConfigError, match=f"percentile of a mentor is {percentile}; it must lie between 0 and 1"):
            Settings(percentile=percentile)
    with pytest.raises(ConfigError, match=r"decay of a mentor is 1\.0; it must be in \[0, 1\)"):
        Settings(decay=1.0)
    with pytest.raises(ConfigError, match=r"burn_in of a mentor is 101; .* in 0\.\.100"):
        Settings(burn_in=101)
    with pytest.raises(ConfigError, match=r"held is 100; .* in 0\.\.99"):
        Mentor(network, held=100)


def test_description():
    text = describe(
        mentor(held=21, percentile=0.6, classes=10, origin={"dump": "ab12", "mean_absolute_error": 0.123456})
    )
    assert text == {
        "form": "gate",
        "time": "progress",
        "parameters": "155",
        "percentile": "0.6",
        "decay": "0.5",
        "burn-in": "18 % of training",
        "fixed time": "yes",
        "held at": "21 % of training",
        "loss": "cross_entropy",
        "classes": "10",
        "origin: dump": "ab12",
        "origin: mean absolute error": "0.1235",
    }
    assert describe(shipped("focal"))["origin: curriculum"] == "focal"
    assert describe(mentor())["held at"] == "-"
