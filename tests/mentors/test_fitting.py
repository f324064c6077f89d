"""Fitting: what must be reached, what must stay the same, what is refused."""

import functools

import numpy as np
import pytest
import torch

from tutelage import __version__, curricula
from tutelage.errors import ConfigError, DataError, NotFiniteError
from tutelage.mentors import Dump, MentorNetwork, Rows, fit_curriculum, fit_rows
from tutelage.mentors.fitting import _split
from tutelage.randomness import counter, permutation, stream


def trusted(n=120, percents=(0, 30, 60), wrong=0.3, seed=0):
    """Rows of n examples at each percent; wrong labels have the larger losses, more or less."""
    random = np.random.default_rng(seed)
    right = random.random(n) >= wrong
    parts = []
    for e in percents:
        loss = np.where(right, random.gamma(1.0, 0.5, n), random.gamma(6.0, 0.5, n)).astype(np.float32)
        columns = (loss, loss - np.quantile(loss, 0.5), np.full(n, e), right, np.arange(n))
        parts.append(Rows(*(torch.from_numpy(np.asarray(c)) for c in columns)))
    return Rows.joined(parts)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "error", "worst"),
    [
        ("self_paced", 0.001, 0.25),
        ("spcl_linear", 0.010, 0.25),
        ("hard", 0.001, 0.25),
        ("focal", 0.006, 0.25),
        ("predefined", 0.015, 0.25),
    ],
)
def test_written_curricula_are_learned(name, error, worst):
    _, report = fit_curriculum(getattr(curricula, name))
    assert report.mean_absolute_error <= error
    assert report.worst_percent_error <= worst
    assert report.agreement >= 0.985
    assert (report.rows, report.held_out) == (100_000, 20_000)


@pytest.mark.slow
def test_the_published_network_learns_the_mixture_by_the_published_recipe():
    _, report = fit_curriculum(curricula.predefined, time="code", recipe="published")
    assert report.mean_absolute_error <= 0.020
    assert report.agreement >= 0.985


def test_a_short_fit_and_its_report():
    network, report = fit_curriculum(curricula.self_paced, steps=300)
    assert report.mean_absolute_error <= 0.02
    assert report.agreement >= 0.985
    origin = report.origin(curriculum="self_paced")
    assert origin == {
        "curriculum": "self_paced",
        "mean_absolute_error": report.mean_absolute_error,
        "agreement": report.agreement,
        "worst_percent_error": report.worst_percent_error,
        "rows": 100_000,
        "held_out": 20_000,
        "tutelage": __version__,
    }
    assert all(p.grad is None and p.requires_grad and p.is_leaf for p in network.parameters())


def test_the_published_recipe_and_the_published_bias():
    _, report = fit_curriculum(
        curricula.hard, form="gate", time="code", recipe="published", steps=600, bias_in_matrix=True
    )
    assert report.mean_absolute_error <= 0.05


def test_a_curriculum_of_ones_own():
    def own(loss, threshold, progress):
        return (0.5 + 0.5 * progress) * (loss <= threshold)

    network, report = fit_curriculum(own, steps=800)
    assert report.mean_absolute_error <= 0.03
    early, late = (network(torch.tensor([1.0]), torch.tensor([-1.0]), e).sigmoid().item() for e in (5, 95))
    assert early == pytest.approx(0.525, abs=0.1)
    assert late == pytest.approx(0.975, abs=0.1)
    # a binary one of one's own is declared, not guessed
    steep = functools.partial(fit_curriculum, lambda loss, lam, progress: (loss <= lam).double(), steps=50)
    assert not same(steep()[0], steep(binary=True)[0])
    assert same(steep(binary=True)[0], fit_curriculum(curricula.self_paced, steps=50)[0])


def test_rows_of_a_training_are_learned():
    rows = trusted()
    network, report = fit_rows(rows, steps=400, lr=0.05)
    assert report.agreement >= 0.85
    assert (report.rows, report.held_out) == (360, 72)
    at_30 = network(torch.tensor([0.0, 8.0]), torch.tensor([-0.5, 7.5]), 30).sigmoid()
    assert at_30[0] > 0.8 > 0.2 > at_30[1]


def test_rows_of_one_moment_are_enough():
    _, report = fit_rows(trusted(percents=(21,)), steps=400, lr=0.05)
    assert report.agreement >= 0.85
    assert report.mean_absolute_error == pytest.approx(report.worst_percent_error)  # there is one percent only


def test_a_fifth_of_the_examples_is_held_out_with_all_their_rows():
    rows = trusted()
    train, held = _split(rows, 3)
    assert (len(train), len(held)) == (288, 72)
    assert not set(train.group.tolist()) & set(held.group.tolist())
    assert sorted(torch.cat((train.loss, held.loss)).tolist()) == sorted(rows.loss.tolist())
    assert _split(rows, 3)[1].group.tolist() == held.group.tolist() != _split(rows, 4)[1].group.tolist()
    lone = Rows(rows.loss, rows.difference, rows.percent, rows.target)  # each row an example of its own
    assert len(_split(lone, 3)[1]) == 72
    assert len(set(_split(Rows(*vars(lone).values()), 3)[1].loss.tolist()) & set(held.loss.tolist())) < 40
    assert same(fit_rows(lone, ids=rows.group, steps=20)[0], fit_rows(rows, steps=20)[0])


def test_what_is_held_out_is_measured_and_not_learned_from():
    rows = trusted()
    held = torch.isin(rows.group, _split(rows, 3)[1].group)
    altered = Rows(torch.where(held, rows.loss + 1, rows.loss), rows.difference, rows.percent, rows.target, rows.group)
    (network, report), (other, other_report) = (fit_rows(r, steps=60, seed=3) for r in (rows, altered))
    assert same(network, other)
    assert other_report.mean_absolute_error != report.mean_absolute_error
    weights = network(rows.loss, rows.difference, rows.percent).sigmoid().detach().double()
    error = (weights - rows.target).abs()
    assert report.mean_absolute_error == pytest.approx(error[held].mean().item(), abs=1e-6)
    by_percent = [error[held & (rows.percent == e)].mean().item() for e in (0, 30, 60)]
    assert report.worst_percent_error == pytest.approx(max(by_percent), abs=1e-6)
    agree = (weights > 0.5) == (rows.target > 0.5)
    assert report.agreement == pytest.approx(agree[held].double().mean().item(), abs=1e-12)


def test_a_dump_becomes_a_mentor():
    rows = trusted(percents=(0, 3, 6))
    trusted_label = torch.ones(360, dtype=torch.int64)
    given = torch.where(rows.target == 1, trusted_label, 2)
    dump = Dump(rows.group, rows.percent, given, trusted_label, rows.loss)
    assert same(fit_rows(dump.rows(0.5), steps=30)[0], fit_rows(rows, steps=30)[0])


def naive_fit(network, rows, seed, steps, lr, batch, clip):
    """Plain torch, an epoch after the other."""
    order = [
        row
        for i in range(-(-steps * batch // len(rows)))
        for row in permutation(counter(stream(seed, "mentor order"), i), len(rows)).tolist()
    ]
    adam = torch.optim.Adam(network.parameters(), lr)
    for step in range(steps):
        at = order[step * batch : (step + 1) * batch]
        v = network(rows.loss[at], rows.difference[at], rows.percent[at]).sigmoid()
        loss = torch.nn.functional.binary_cross_entropy(v, rows.target[at])
        adam.zero_grad()
        loss.backward()
        norm = sum(p.grad.pow(2).sum() for p in network.parameters()).sqrt()
        for p in network.parameters():
            p.grad *= min(1.0, clip / norm.item())
        adam.param_groups[0]["lr"] = lr * 0.9 ** (step // 1000)
        adam.step()
    return network


@pytest.mark.parametrize(
    ("form", "steps", "clip"),
    [("gate", 40, 5.0), ("gate", 40, 0.3), pytest.param("mlp", 1100, 5.0, marks=pytest.mark.slow)],
)
def test_the_fit_equals_a_plain_loop(form, steps, clip):
    rows = trusted()
    network, _ = fit_rows(rows, seed=5, form=form, steps=steps, clip=clip)
    naive = naive_fit(MentorNetwork(form, seed=5), _split(rows, 5)[0], 5, steps, 0.02, 32, clip)
    for fitted, expected in zip(network.parameters(), naive.parameters()):
        assert torch.allclose(fitted, expected, rtol=0, atol=1e-4 if steps < 100 else 0.02)


def test_fits_repeat_bit_for_bit_and_leave_the_global_generators_alone():
    np_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first, report = fit_rows(trusted(), seed=7, steps=30)
    curriculum, _ = fit_curriculum(curricula.focal, seed=7, steps=30, time="code")
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], np_before)  # noqa: NPY002
    torch.manual_seed(99)
    with torch.no_grad():  # as inside of a teacher
        second, again = fit_rows(trusted(), seed=7, steps=30)
    torch.set_rng_state(torch_before)
    assert same(first, second)
    assert again.mean_absolute_error == report.mean_absolute_error
    assert same(curriculum, fit_curriculum(curricula.focal, seed=7, steps=30, time="code")[0])
    assert not same(first, fit_rows(trusted(), seed=8, steps=30)[0])


def test_rows_that_cannot_occur_can_be_left_out():
    _, report = fit_curriculum(curricula.hard, steps=20, drop_impossible=True)
    assert report.rows == 100_000
    assert not same(
        fit_curriculum(curricula.hard, steps=20)[0], fit_curriculum(curricula.hard, steps=20, drop_impossible=True)[0]
    )


def test_too_little_to_learn_from():
    rows = trusted(percents=(0,))
    with pytest.raises(DataError, match="19 rows with trusted labels; a mentor needs at least 20: trust more labels"):
        fit_rows(rows.take(torch.arange(19)))
    for value, word in ((1.0, "right"), (0.0, "wrong")):
        one = Rows(rows.loss, rows.difference, rows.percent, torch.full((120,), value))
        with pytest.raises(DataError, match=f"all given labels of the 96 rows to learn from are {word}; .* trust more"):
            fit_rows(one)
    lone = Rows(rows.loss, rows.difference, rows.percent, rows.target, torch.zeros(120))
    with pytest.raises(DataError, match="all rows belong to one example; a mentor is held against others: trust more"):
        fit_rows(lone)


def test_options_out_of_range():
    rows = trusted(percents=(0,))
    with pytest.raises(ConfigError, match=r'unknown recipe "publised"\. Did you mean "published"'):
        fit_curriculum(curricula.focal, recipe="publised")
    for options in ({"steps": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"batch": 0}, {"clip": -1.0}):
        with pytest.raises(ConfigError, match="a fit needs steps, batch, lr and clip above 0; got "):
            fit_rows(rows, **options)
    with pytest.raises(ConfigError, match="a fit needs steps"):
        fit_curriculum(curricula.focal, steps=0)
    with pytest.raises(ConfigError, match="declared binary, but some lie between 0 and 1; pass binary=False"):
        fit_curriculum(curricula.focal, binary=True)
    with pytest.raises(ConfigError, match='unknown form of a mentor "gat"'):
        fit_rows(rows, form="gat")
    with pytest.raises(NotFiniteError, match=r"the fit of the mentor diverged; lower its learning rate, 1e\+38"):
        fit_rows(rows, lr=1e38, steps=20)
