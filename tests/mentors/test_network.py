"""The network of a mentor: its two forms, its two times, and what it equals."""

import copy
import math

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from tutelage.errors import ConfigError, ShapeError
from tutelage.mentors import MentorNetwork

FORMS = [("gate", "progress"), ("gate", "code"), ("mlp", "progress")]


def features(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    loss = torch.rand(shape, generator=generator, dtype=dtype) * 8
    difference = loss - torch.rand(shape, generator=generator, dtype=dtype) * 4
    return loss, difference, torch.randint(0, 100, shape, generator=generator)


def as_lstm(network):
    """The two cells as a bidirectional LSTM; what plays no part is filled with random numbers."""
    lstm = torch.nn.LSTM(2, 1, bidirectional=True, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for cell, suffix in enumerate(("", "_reverse")):
            weight, bias = getattr(lstm, f"weight_ih_l0{suffix}"), getattr(lstm, f"bias_ih_l0{suffix}")
            for gate, row in (("i", 0), ("g", 2)):  # torch has the order i, f, g, o
                mine = cell + (0 if gate == "i" else 2)
                weight[row], bias[row] = network.gates.weight[mine], network.gates.bias[mine]
                getattr(lstm, f"bias_hh_l0{suffix}")[row] = 0.0
    return lstm


def awake(seed=0, **options):
    """A network in float64 whose biases are not 0."""
    network = MentorNetwork(seed=seed, **options).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1
    return network


def test_the_gate_form_is_the_cell_state_of_a_bidirectional_lstm():
    network = awake()
    loss, difference, percent = features(40)
    _, (_, cell) = as_lstm(network)(torch.stack((loss, difference), -1).unsqueeze(1))
    cells = cell.squeeze(-1).T
    assert torch.allclose(network.cells(loss, difference), cells, rtol=0, atol=1e-12)
    hidden = torch.cat((network.label.expand(40, 2), percent.double().unsqueeze(-1) / 99, cells), -1)
    logits = network.out(network.hidden(hidden).tanh()).squeeze(-1)
    assert torch.allclose(network(loss, difference, percent), logits, rtol=0, atol=1e-12)


def test_forget_and_output_gates_and_recurrent_weights_of_that_lstm_never_matter():
    lstm = as_lstm(awake())
    loss, difference, _ = features(40)
    _, (_, cell) = lstm(torch.stack((loss, difference), -1).unsqueeze(1))
    cell.sum().backward()
    for suffix in ("", "_reverse"):
        for name in ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0"):
            gradient = getattr(lstm, name + suffix).grad
            assert (gradient[[1, 3]] == 0).all()
            assert (gradient[[0, 2]] != 0).all()
        assert (getattr(lstm, f"weight_hh_l0{suffix}").grad == 0).all()


@pytest.mark.parametrize(
    ("form", "time", "count"), [("gate", "code", 235), ("gate", "progress", 155), ("mlp", "progress", 101)]
)
def test_trained_parameters(form, time, count):
    network = MentorNetwork(form, time, seed=0)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == count
    assert sum(b.numel() for b in network.buffers()) == (500 if time == "code" else 0)


@pytest.mark.parametrize("in_matrix", [False, True])
@pytest.mark.parametrize(("form", "time"), FORMS)
def test_logits_equal_a_loop_over_numbers(form, time, in_matrix):
    network = awake(form=form, time=time, bias_in_matrix=in_matrix)
    loss, difference, percent = features(12)
    w = {name: tensor.tolist() for name, tensor in network.state_dict().items()}
    for n, logit in enumerate(network(loss, difference, percent).tolist()):
        pair, e = [loss[n].item(), difference[n].item()], percent[n].item()
        x = w["times"][e] if time == "code" else [e / 99]
        if form == "gate":
            a = [row[0] * pair[0] + row[1] * pair[1] + b for row, b in zip(w["gates.weight"], w["gates.bias"])]
            x = w["label"] + x + [math.tanh(a[k + 2]) / (1 + math.exp(-a[k])) for k in (0, 1)]
        else:
            x = pair + x
        h = [math.tanh(sum(a * b for a, b in zip(row, x)) + b) for row, b in zip(w["hidden.weight"], w["hidden.bias"])]
        (row,), (b,) = w["out.weight"], w["out.bias"]
        expected = sum(a * (v + b if in_matrix else v) for a, v in zip(h, row)) + (0 if in_matrix else b)
        assert logit == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("form", "time"), FORMS)
def test_gradients_are_true(form, time):
    network = awake(form=form, time=time)
    loss, difference, percent = features(5)
    names = [name for name, _ in network.named_parameters()]

    def logits(loss, difference, *values):
        return functional_call(network, dict(zip(names, values)), (loss, difference, percent))

    inputs = [t.detach().requires_grad_() for t in (loss, difference, *network.parameters())]
    assert torch.autograd.gradcheck(logits, inputs)


@pytest.mark.parametrize(("form", "time"), FORMS)
@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (2, 3, 4)])
def test_any_leading_axes(form, time, shape):
    network = MentorNetwork(form, time, seed=1).double()
    loss, difference, percent = features(*shape)
    logits = network(loss, difference, percent)
    assert logits.shape == shape
    flat = network(loss.flatten(), difference.flatten(), percent.flatten())
    assert torch.allclose(logits.flatten(), flat, rtol=0, atol=1e-14)
    at_7 = network(loss, difference, 7)
    assert torch.allclose(at_7, network(loss, difference, torch.full_like(percent, 7)), rtol=0, atol=1e-14)


def test_initialisation():
    networks = [MentorNetwork("gate", "code", seed=seed) for seed in range(200)]
    assert all((n.gates.bias == 0).all() for n in networks)
    for get, bound in (
        (lambda n: n.gates.weight, math.sqrt(6 / 7)),
        (lambda n: n.times, math.sqrt(6 / 105)),
        (lambda n: n.label, math.sqrt(6 / 3)),
    ):
        values = torch.cat([get(n).detach().flatten() for n in networks])
        assert values.abs().max() <= bound
        assert values.abs().max() > 0.98 * bound
        assert values.var().item() == pytest.approx(bound**2 / 3, rel=0.15)
    for get in (lambda n: n.hidden.weight, lambda n: n.hidden.bias, lambda n: n.out.weight, lambda n: n.out.bias):
        values = torch.cat([get(n).detach().flatten() for n in networks])
        assert values.mean().abs() < 4 / math.sqrt(len(values))
        assert values.var().item() == pytest.approx(1, abs=6 / math.sqrt(len(values)))


def test_a_seed_gives_the_same_network_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    a, b, c = (MentorNetwork("gate", "code", seed=seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["times"], c["times"])
    assert not torch.equal(a["out.weight"], c["out.weight"])


def test_time_codes_are_frozen_but_saved():
    network = MentorNetwork("gate", "code", seed=0)
    assert "times" in network.state_dict()
    F.softplus(network(*features(8, dtype=torch.float32))).sum().backward()
    assert network.times.grad is None
    assert torch.equal(copy.deepcopy(network).times, network.times)


def test_errors():
    network = MentorNetwork(seed=0)
    ones = torch.ones(3)
    with pytest.raises(ConfigError, match=r'unknown form of a mentor "gates"\. Did you mean "gate"'):
        MentorNetwork("gates", seed=0)
    with pytest.raises(ConfigError, match=r'unknown time of a mentor "codes"\. Did you mean "code"'):
        MentorNetwork("gate", "codes", seed=0)
    with pytest.raises(ConfigError, match='"mlp" has no time codes; use time="progress"'):
        MentorNetwork("mlp", "code", seed=0)
    with pytest.raises(ShapeError, match=r"of one shape; got \(3,\), \(3, 1\)"):
        network(ones, ones.unsqueeze(1), 0)
    with pytest.raises(ShapeError, match="of one shape"):
        network(ones, ones, torch.zeros(2, dtype=torch.int64))
    for percent in (-1, 100):
        with pytest.raises(ConfigError, match=rf"percent is {percent}; .* in 0\.\.99"):
            network(ones, ones, percent)
