"""Codewords fitted side by side: against plain descent of one student, by autograd."""

import pytest
import torch
from torch import nn

from tests.selection.common import clusters, linear
from tutelage import SGD, Student
from tutelage.codewords import Fit, answers, centred, codewords_of, turned, wide
from tutelage.errors import ConfigError, ShapeError
from tutelage.mcboost import mcboost


def descended(features, labels, start, fit):
    """Heavy-ball descent of the mean risk, one student, its gradient from autograd."""
    words, moved = start.clone(), torch.zeros_like(start)
    for _ in range(fit.steps):
        words.requires_grad_()
        (gradient,) = torch.autograd.grad(mcboost(features @ words.T, labels, cap=fit.cap).mean(), [words])
        words = words.detach()
        moved = fit.momentum * moved + gradient + fit.decay * words
        words = words - fit.lr * moved
    return words


@pytest.mark.parametrize("fit", [Fit(steps=30), Fit(steps=5, lr=1.0, momentum=0.0, decay=0.1, cap=1.5)], ids=str)
def test_many_fits_are_the_fits_of_each(fit):
    pools = [clusters(n, seed=n) for n in (1, 5, 12)]
    start = torch.stack([linear(seed=k).head[1].detach() for k in range(3)])
    x, y, weight = torch.zeros(3, 12, 6).double(), torch.zeros(3, 12, dtype=torch.long), torch.zeros(3, 12)
    x += 1e6  # rows that are not there must not matter
    for k, pool in enumerate(pools):
        x[k, : len(pool)], y[k, : len(pool)], weight[k, : len(pool)] = pool.x, pool.y, 1
    given = start.clone()
    found = fit(x, y, start, weight)
    assert start.equal(given)
    for k, pool in enumerate(pools):
        torch.testing.assert_close(found[k], descended(pool.x, pool.y, start[k], fit), rtol=1e-10, atol=1e-12)


def test_weights_count_rows():
    pool, fit = clusters(6), Fit(steps=20)
    start = torch.zeros(1, 3, 6, dtype=torch.float64)
    twice = torch.tensor([2, 1, 1, 0, 3, 1])
    rows = torch.repeat_interleave(torch.arange(6), twice)
    found = fit(pool.x[None], pool.y[None], start, twice[None])
    needed = fit(pool.x[rows][None], pool.y[rows][None], start)
    torch.testing.assert_close(found, needed, rtol=1e-10, atol=1e-12)


def test_an_expanded_set_is_seen_by_all():
    pool, start = clusters(10), torch.zeros(4, 3, 6, dtype=torch.float64)
    seen = torch.rand(4, 10, generator=torch.Generator().manual_seed(0)) < 0.6
    found = Fit(steps=10)(pool.x.expand(4, -1, -1), pool.y.expand(4, -1), start, seen)
    for k in range(4):
        needed = Fit(steps=10)(pool.x[seen[k]][None], pool.y[seen[k]][None], start[:1])
        torch.testing.assert_close(found[k], needed[0], rtol=1e-10, atol=1e-12)


def test_embeddings_of_any_size_do_not_overflow():
    """The plain exponential risk is lost at the first step."""
    pool = clusters(30, dtype=torch.float32)
    x = 1e4 * pool.x
    words = Fit(steps=50)(x[None], pool.y[None], linear(dtype=torch.float32).head[1].detach()[None])
    assert words.isfinite().all()


def test_a_course_of_the_default_fit_learns_what_it_sees():
    pool = clusters(60, spread=0.3)
    x = centred(pool.x)
    words = Fit()(x[None], pool.y[None], torch.zeros(1, 3, 6, dtype=torch.float64))[0]
    assert ((x @ words.T).argmax(1) == pool.y).all()


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"lr": 0.0}, {"momentum": 1.0}, {"decay": -1.0}, {"cap": 0.0}], ids=str
)
def test_settings_outside_their_ranges(wrong):
    with pytest.raises(ConfigError, match=r"needs steps >= 1, lr > 0, momentum in \[0, 1\), decay >= 0 and cap > 0"):
        Fit(**wrong)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_centred_rows(dtype):
    x = clusters(20, dtype=dtype).x.reshape(20, 2, 3)
    found = centred(x, norm=3.0)
    assert found.dtype == dtype
    torch.testing.assert_close(found.norm(dim=1), torch.full((20,), 3.0, dtype=dtype))
    rows = x.flatten(1) - x.flatten(1).mean(0)
    for k in range(20):
        torch.testing.assert_close(found[k], 3 * rows[k] / rows[k].norm())
    torch.testing.assert_close(centred(x, torch.zeros(6, dtype=dtype)) / 4, nn.functional.normalize(x.flatten(1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_a_row_that_is_the_mean_stays_where_it_is(dtype):
    assert (centred(torch.ones(3, 5).to(dtype)) == 0).all()
    assert (centred(torch.ones(1, 5).to(dtype)) == 0).all()


def test_less_than_single_precision_is_widened():
    types = {torch.uint8: torch.float32, torch.float16: torch.float32, torch.float64: torch.float64}
    assert {given: wide(torch.ones(2, dtype=given)).dtype for given in types} == types
    assert centred(torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8)).dtype == torch.float32


def test_codewords_are_the_weights_of_the_last_layer():
    for bias in (False, True):
        student, pool = linear(bias=bias), clusters()
        features, logits = student.embed(pool.x)
        assert codewords_of(student, features, logits).equal(student.params["1.weight"])


class Scaled(nn.Module):
    """A linear layer whose answers are changed after it."""

    def __init__(self, how):
        super().__init__()
        self.last, self.how = nn.Linear(6, 3, bias=False).double(), how

    def forward(self, x):
        return self.how(self.last(x))


@pytest.mark.parametrize(
    "how",
    [
        lambda z: 2 * z,
        torch.relu,
        lambda z: z.log_softmax(1),
        lambda z: 1e-4 * z,
        lambda z: 0.99 * z,
        lambda z: torch.cat([z, z], 1),
    ],
    ids=["twice", "relu", "log softmax", "small", "a little less", "more"],
)
def test_a_last_layer_that_does_not_give_the_logits(how):
    student, pool = Student(Scaled(how), SGD(0.1)), clusters()
    features, logits = student.embed(pool.x)
    with pytest.raises(ShapeError, match="not what its last linear layer answers"):
        codewords_of(student, features, logits)


def test_no_linear_layer():
    student = Student(nn.Sequential(nn.Conv1d(1, 3, 6), nn.Flatten()), SGD(0.1))
    with pytest.raises(ShapeError, match=r"head: the network has no nn\.Linear layer: end it with one"):
        _ = student.head
    with pytest.raises(ShapeError, match=r"embed: the network has no nn\.Linear layer"):
        student.embed(torch.zeros(2, 1, 6))


def test_shared_features_are_fitted_as_copies_of_them():
    g = torch.Generator().manual_seed(0)
    features, labels = torch.randn(12, 5, dtype=torch.float64, generator=g), torch.arange(12) % 3
    start = torch.randn(2, 3, 5, dtype=torch.float64, generator=g)
    seen = torch.rand(2, 12, generator=g) < 0.7
    fit = Fit(steps=20)
    shared = fit(features, labels.expand(2, -1), start, seen)
    copies = fit(features.expand(2, -1, -1), labels.expand(2, -1), start, seen)
    assert torch.allclose(shared, copies, rtol=1e-12)
    alone = fit(features[seen[1]][None], labels[seen[1]][None], start[1:])
    assert torch.allclose(shared[1:], alone, rtol=1e-12)


def test_turned_rows_give_the_same_logits():
    features, labels = torch.randn(9, 40, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3
    narrow = turned(features)
    assert narrow.shape == (9, 9)
    fit = Fit(steps=50)
    wide_words = fit(features, labels[None], torch.zeros(1, 3, 40))
    words = fit(narrow, labels[None], torch.zeros(1, 3, 9))
    assert torch.allclose(answers(narrow, words), answers(features, wide_words), atol=1e-4)
    assert torch.allclose(turned(features[:1].repeat(3, 1)).square().sum(1), features[0].square().sum().expand(3))
