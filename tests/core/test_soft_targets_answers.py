"""A teacher's answers: averaged, cut to the largest, disturbed, permuted and weighed."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import grad

from tutelage.divergences import kl, squared_distance
from tutelage.errors import ConfigError, ShapeError
from tutelage.randomness import counter, hashed_tensor, stream
from tutelage.semi_supervised import confident
from tutelage.soft_targets import (
    HardLabels,
    KnowledgeDistillation,
    Noise,
    SoftTarget,
    TopLogits,
    bucket_kl,
    confidence,
    confidence_weights,
    disturbed,
    ensemble,
    largest_probability,
    most_probable,
    noisy,
    permuted,
    top_logits,
)

from .soft_targets import draws, relative

KEY = counter(stream(0, "noise"), 3)


# Noise


@pytest.fixture(scope="module")
def many():
    """4000 draws of 64 disturbed answers, with the student's and the teacher's own."""
    z_s, z_t, index = draws(64, 10).requires_grad_(), 5 * draws(64, 10, seed=1), torch.arange(64)
    keys = hashed_tensor(KEY, torch.arange(4000)).unsqueeze(1)
    return z_s, z_t, noisy(z_t, index, Noise(0.5, 0.5), keys)


def test_noise_leaves_the_expected_gradient_of_a_squared_loss(many):
    z_s, z_t, disturbances = many
    (clean,) = grad(squared_distance(z_s, z_t).mean(), z_s)
    (found,) = grad(squared_distance(z_s.expand(4000, 64, 10), disturbances).mean(), z_s)
    assert relative(found, clean) < 0.01


def test_noise_changes_the_expected_gradient_of_a_divergence(many):
    z_s, z_t, disturbances = many
    (clean,) = grad(kl(z_s, z_t, 4.0).mean(), z_s)
    (found,) = grad(kl(z_s.expand(4000, 64, 10), disturbances, 4.0).mean(), z_s)
    assert 0.02 < relative(found, clean) < 0.2


def test_noise_adds_its_variance_to_a_squared_loss(many):
    z_s, z_t, disturbances = many
    added = 0.5 * 0.5**2 * float(z_t.square().sum(1).mean())
    found = float(squared_distance(z_s.expand(4000, 64, 10), disturbances).mean() - squared_distance(z_s, z_t).mean())
    assert found == pytest.approx(added, rel=0.02)


def test_noise_is_standard_normal_on_half_of_the_examples(many):
    _, z_t, disturbances = many
    xi = (disturbances / z_t - 1).double() / 0.5
    struck = (disturbances != z_t).any(-1)
    assert (disturbances != z_t)[struck].double().mean() > 0.99999, "a whole row or nothing"
    assert float(struck.double().mean()) == pytest.approx(0.5, abs=0.005)
    assert float(struck.double().mean(1).std()) > 0.05, "examples are struck one by one, not batches"
    values = xi[struck]
    moments = [float((values**k).mean()) for k in (1, 2, 3, 4)]
    assert moments == pytest.approx([0, 1, 0, 3], abs=0.03)
    normal = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    assert float((values < 1).double().mean()) == pytest.approx(normal, abs=0.002)
    assert np.abs(np.corrcoef(values[:100_000].T.numpy()) - np.eye(10)).max() < 0.02


def test_noise_belongs_to_the_example():
    """Whatever the order, the batch and the global random state; other keys and examples draw anew."""
    values, index = draws(4096, 10), torch.randperm(60_000, generator=torch.Generator().manual_seed(1))[:4096]
    state = torch.get_rng_state()
    first = noisy(values, index, Noise(), KEY)
    assert torch.equal(torch.get_rng_state(), state)
    mask = disturbed(index, Noise(), KEY)
    assert abs(float(mask.double().mean()) - 0.5) < 0.04
    assert torch.equal((first != values).all(1), mask)
    assert torch.equal(noisy(values, index, Noise(), KEY), first)
    order = torch.randperm(4096, generator=torch.Generator().manual_seed(2))[:100]
    assert torch.equal(noisy(values[order], index[order], Noise(), KEY), first[order])
    assert not torch.equal(disturbed(index, Noise(), KEY + 1), mask)
    torch.manual_seed(5)
    assert torch.equal(disturbed(index, Noise(), KEY), mask)


def test_modes_and_limits_of_noise():
    values, index = draws(8, 3, 2, dtype=torch.float64), torch.arange(8)
    multiplied = noisy(values, index, Noise(1.0, 0.1), KEY)
    added = noisy(values, index, Noise(1.0, 0.1, mode="additive"), KEY)
    assert torch.allclose(multiplied / values - 1, added - values)
    assert 0 < float((added - values).abs().max()) < 0.6
    assert torch.equal(noisy(values, index, Noise(0.0), KEY), values)
    assert torch.equal(noisy(values, index, Noise(1.0, 0.0), KEY), values)
    assert noisy(values.half(), index, Noise(), KEY).dtype == torch.float16
    leaf = values.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: noisy(v, index, Noise(), KEY), leaf)


def test_draws_are_the_documented_ones():
    """The mask from counter 0 of the example; the k-th normal from counters k and n + k."""
    key = counter(KEY, 7)
    u = [(counter(key, c) >> 40) / 2**24 for c in range(5)]
    xi = [math.sqrt(-2 * math.log1p(-u[1 + k])) * math.cos(2 * math.pi * u[3 + k]) for k in range(2)]
    found = noisy(torch.ones(1, 2, dtype=torch.float64), torch.tensor([7]), Noise(1.0, 0.3), KEY)
    assert found[0].tolist() == pytest.approx([1 + 0.3 * v for v in xi])
    assert bool(disturbed(torch.tensor([7]), Noise(0.5), KEY)) == (u[0] < 0.5)


# Permuted and weighed answers


def test_permuted_predictions_keep_the_top_and_the_mass():
    z, index = 3 * draws(64, 10), torch.arange(64) + 100
    found = permuted(z, index, KEY)
    assert torch.equal(found.argmax(1), z.argmax(1))
    assert torch.equal(found.sort(1).values, z.sort(1).values)
    p, q = z.softmax(1), found.softmax(1)
    assert torch.allclose(p.amax(1), q.amax(1), atol=1e-6)
    assert torch.allclose(p.sum(1), q.sum(1), atol=1e-6)
    assert (found != z).any(1).all()
    order = torch.arange(63, -1, -1)
    assert torch.equal(permuted(z[order], index[order], KEY), found[order])
    assert not torch.equal(permuted(z, index, KEY + 1), found)


def test_every_permutation_of_the_others_is_equally_likely():
    z = torch.tensor([0.0, 5.0, 1.0, 2.0]).repeat(6000, 1)
    found = permuted(z, torch.arange(6000), KEY)
    patterns, counts = found.unique(dim=0, return_counts=True)
    assert len(patterns) == 6
    assert counts.tolist() == pytest.approx([1000] * 6, abs=120)


def test_weights_by_confidence():
    z = draws(32, 10) * torch.linspace(0.1, 5, 32).unsqueeze(1)
    weight = confidence_weights(z)
    assert float(weight.mean()) == pytest.approx(1, abs=1e-6)
    top = [max(math.exp(v) for v in row) / sum(math.exp(v) for v in row) for row in z.tolist()]
    assert weight.tolist() == pytest.approx([32 * p / sum(top) for p in top], rel=1e-5)
    assert torch.allclose(confidence_weights(top_logits(z, 2)), weight, atol=1e-6)


def test_positions_within_a_row():
    """As of sequences, (N, T, C): each position is permuted by itself, and a row is as sure as on average."""
    z, index = 3 * draws(6, 4, 5), torch.arange(6) + 50
    found = permuted(z, index, KEY)
    assert torch.equal(found.argmax(-1), z.argmax(-1))
    assert torch.equal(found.sort(-1).values, z.sort(-1).values)
    order = torch.tensor([4, 0, 5, 1, 3, 2])
    assert torch.equal(permuted(z[order], index[order], KEY), found[order])
    alike = permuted(z[:1, :1].expand(1, 200, 5).contiguous(), index[:1], KEY)
    assert len(alike[0].unique(dim=0)) == 24
    assert torch.allclose(confidence(z), z.softmax(-1).amax(-1).mean(1))
    assert torch.allclose(confidence_weights(z), confidence(z) / confidence(z).mean())
    with pytest.raises(
        ShapeError, match=r"logits have shape \(6, 4, 5\) and index \(6, 4\), but needs \(6,\), one a row"
    ):
        permuted(z, index.unsqueeze(1).expand(6, 4), KEY)


def test_there_is_one_confidence():
    z = 3 * draws(64, 10)
    sure = confidence(z)
    assert torch.equal(sure, z.softmax(1).amax(1))
    assert torch.equal(confident(z, float(sure[7])), sure >= sure[7])
    labels = HardLabels(threshold=float(sure[7]))
    assert torch.equal(labels(z, SoftTarget(None, z)) > 0, sure >= sure[7])
    assert confidence(torch.zeros(1, 2)).tolist() == [0.5]


# Several teachers


def test_ensembles():
    z = 3 * draws(8, 4, 5, dtype=torch.float64)
    for T in (1.0, 4.0):
        found = (ensemble(z, temperature=T) / T).softmax(-1)
        assert torch.allclose(found, (z / T).softmax(-1).mean(1))
    assert torch.equal(ensemble(z, "logits"), z.mean(1))
    assert torch.allclose(kl(ensemble(z[:, :1]), z[:, 0]), torch.zeros(8, dtype=torch.float64))
    with pytest.raises(ConfigError, match=r'unknown average "prob"\. Did you mean "probs"'):
        ensemble(z, "prob")


# The largest logits


def answers(k, c=10):
    z_s, z_t = draws(64, c, dtype=torch.float64), 3 * draws(64, c, seed=1, dtype=torch.float64)
    return z_s, z_t, top_logits(z_t, k)


def test_top_logits_hold_the_largest_and_the_rest_at_each_temperature():
    _, z_t, top = answers(3)
    assert torch.equal(top.values, z_t.gather(1, top.indices))
    assert torch.equal(top.values, z_t.sort(1, descending=True).values[:, :3])
    for j, T in enumerate((1.0, 2.0, 4.0)):
        rest = z_t.sort(1).values[:, :7]
        assert torch.allclose(top.tail[:, j], (rest / T).exp().sum(1).log())
    assert torch.allclose(largest_probability(top), z_t.softmax(1).amax(1))
    assert torch.equal(most_probable(top), z_t.argmax(1))
    shuffled = TopLogits(top.values.flip(1), top.indices.flip(1), top.tail, top.temperatures)
    assert torch.equal(most_probable(shuffled), z_t.argmax(1))


@pytest.mark.parametrize("T", [1.0, 2.0, 4.0])
def test_buckets_never_exceed_the_full_divergence(T):
    for k in range(1, 11):
        z_s, z_t, top = answers(k)
        full, found = kl(z_s, z_t, T), bucket_kl(z_s, top, T)
        assert (found <= full + 1e-12).all()
        assert (found >= -1e-12).all()
        if k >= 9:
            assert torch.allclose(found, full, atol=1e-6)
        else:
            assert (full - found).max() > 1e-3


@pytest.mark.parametrize("T", [0.1, 0.5, 2.0])
def test_buckets_equal_a_loop(T):
    z_s, z_t, _ = answers(3)
    top = top_logits(z_t, 3, (T, 1.0))
    for i in range(64):
        p, q = ((z[i] / T).softmax(0) for z in (z_t, z_s))
        kept = set(top.indices[i].tolist())
        buckets = [(float(p[c]), float(q[c])) for c in kept]
        buckets.append(tuple(sum(float(v[c]) for c in range(10) if c not in kept) for v in (p, q)))
        needed = sum(a * math.log(a / b) for a, b in buckets)
        assert float(bucket_kl(z_s, top, T)[i]) == pytest.approx(needed, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("T", [0.1, 0.5])
def test_buckets_below_a_temperature_of_one(T):
    """Near the full divergence, which few classes decide; half precision holds logits, not logits over T."""
    z_s, z_t, _ = answers(9)
    for k in (3, 9):
        top = top_logits(z_t, k, (T,))
        full, found = kl(z_s, z_t, T), bucket_kl(z_s, top, T)
        assert (found <= full + 1e-9).all()
        assert float(found.mean()) == pytest.approx(float(full.mean()), rel=0.02 if k == 3 else 1e-9)
    large = 8000 * z_t.clamp(-4, 4).half()
    top = top_logits(large, 3, (T,))
    assert (large.abs() / 0.1 > 65504).any()
    assert top.tail.dtype == torch.float32
    assert top.tail.isfinite().all()
    found = bucket_kl(large.roll(1, 0), top, T)
    assert torch.allclose(found, kl(large.roll(1, 0), large, T), rtol=1e-5)


def test_buckets_of_large_logits_keep_their_digits():
    """log sum exp of logits near 1e4 in float32 is off by 1e-3; that of log probabilities is not."""
    z_s, z_t, _ = answers(3)
    top = top_logits(z_t.float(), 3)
    found = bucket_kl(z_s.float() + 1e4, top)
    needed = bucket_kl((z_s.float() + 1e4).double(), top_logits(z_t, 3))
    assert torch.allclose(found.double(), needed, atol=2e-6)


def test_gradients_of_buckets_are_near_those_of_all_classes():
    """C = 100, k = 10: the published cosines fall with the temperature."""
    z_s, z_t = draws(64, 100).requires_grad_(), 3 * draws(64, 100, seed=1)
    top = top_logits(z_t, 10)
    cosines = []
    for T in (1.0, 2.0, 4.0):
        full, found = (grad(f.mean(), z_s)[0].flatten() for f in (kl(z_s, z_t, T), bucket_kl(z_s, top, T)))
        cosines.append(float(torch.cosine_similarity(full, found, 0)))
    assert cosines == pytest.approx([0.999, 0.974, 0.839], abs=0.02)


def test_buckets_in_a_loss():
    z_s, z_t, top = answers(9)
    y = z_t.argmax(1)
    for T in (1.0, 4.0):
        loss = KnowledgeDistillation(T)
        assert torch.allclose(loss(z_s, SoftTarget(y, top)), loss(z_s, SoftTarget(y, z_t)), atol=1e-6)
    half = TopLogits(top.values.half(), top.indices.int(), top.tail.half(), top.temperatures)
    found = KnowledgeDistillation(2.0)(z_s.half(), SoftTarget(y, half))
    assert found.dtype == torch.float32
    assert torch.allclose(found, KnowledgeDistillation(2.0)(z_s, SoftTarget(y, z_t)).float(), atol=0.05)


Z = draws(4, 5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: bucket_kl(Z, top_logits(Z, 2), 3.0),
            ConfigError,
            "temperature is 3, but the top logits were stored for 1, 2, 4 only: store them again",
        ),
        (
            lambda: largest_probability(top_logits(Z, 2, [2.0])),
            ConfigError,
            "is 1, but the top logits were stored for 2",
        ),
        (
            lambda: bucket_kl(Z[:2], top_logits(Z, 2)),
            ShapeError,
            r"shape \(4, 2\), but the student's logits are \(2, 5\)",
        ),
        (lambda: bucket_kl(Z[:, :1], top_logits(Z, 2)), ShapeError, r"\(4, 1\): both need the same rows, and at most"),
        (lambda: top_logits(Z, 6), ConfigError, r"k is 6 .*; k must be in 1..5"),
        (lambda: top_logits(Z, 0), ConfigError, r"k is 0 .*; k must be in 1..5"),
        (lambda: top_logits(Z, 2, []), ConfigError, "with at least one temperature"),
        (lambda: top_logits(Z, 2, [0.0]), ConfigError, "temperature is 0.0; it must be above 0"),
        (lambda: Noise(1.5), ConfigError, "Noise: probability is 1.5; it must be in 0..1"),
        (lambda: Noise(sigma=-1.0), ConfigError, "Noise: sigma is -1.0; it must be at least 0 and finite"),
        (lambda: Noise(mode="add"), ConfigError, 'unknown mode of noise "add". Did you mean "additive"'),
        (lambda: Noise(stage="logit"), ConfigError, 'unknown stage of noise "logit". Did you mean "logits"'),
        (lambda: noisy(Z, torch.arange(3), Noise(), 1), ShapeError, r"shape \(4, 5\) .* of shape \(3, ...\)"),
        (
            lambda: noisy(Z.long(), torch.arange(4), Noise(), 1),
            ShapeError,
            "type torch.int64, but need floating values",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
