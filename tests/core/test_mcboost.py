"""The risk of multi-class boosting and its scores: against autograd, loops and cases worked out by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import DataError, ShapeError
from tutelage.mcboost import (
    CAP,
    check_labels,
    gaps,
    log_head_score,
    log_pair_scores,
    log_score,
    mcboost,
    mcboost_published,
    pulls,
)


def drawn(n, classes, width, seed=0, dtype=torch.float64, scale=1.0):
    """Features (n, d), codewords (K, d) and labels (n,)."""
    generator = torch.Generator().manual_seed(seed)
    features = scale * torch.randn(n, width, generator=generator, dtype=torch.float64)
    words = torch.randn(classes, width, generator=generator, dtype=torch.float64) / width**0.5
    return features.to(dtype), words.to(dtype), torch.randint(classes, (n,), generator=generator)


def risk(feature, words, label):
    """The sum that defines the risk of one row."""
    return sum(torch.exp(-(feature @ (words[label] - words[k])) / 2) for k in range(len(words)) if k != label)


def psi_by_loop(features, words, labels):
    """The squared norm of ``s y_c - sum_k w_k y_k``, class by class."""
    found = []
    for feature, label in zip(features, labels.tolist()):
        vector = torch.zeros_like(feature)
        for k in range(len(words)):
            if k != label:
                vector += torch.exp(-(feature @ (words[label] - words[k])) / 2) * (words[label] - words[k])
        found.append((vector**2).sum())
    return torch.stack(found)


@pytest.mark.parametrize("case", range(200))
def test_scores_and_slopes_are_those_of_autograd(case):
    classes, width = 2 + case % 9, 2 + (7 * case) % 39
    features, words, labels = drawn(3, classes, width, seed=case)
    logits = features @ words.T
    psi, head = log_score(logits, labels, words).exp(), log_head_score(logits, labels, features).exp()
    slopes = -pulls(gaps(logits, labels), labels) / 2
    for i in range(3):
        f, y = features[i].clone().requires_grad_(), words.clone().requires_grad_()
        loss = risk(f, y, int(labels[i]))
        by_feature, by_word = torch.autograd.grad(loss, [f, y])
        torch.testing.assert_close(psi[i], 4 * by_feature.square().sum(), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(head[i], 4 * by_word.square().sum(), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(slopes[i, :, None] * features[i], by_word, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(mcboost(logits[i : i + 1], labels[i : i + 1], cap=math.inf)[0], loss.detach())


@pytest.mark.parametrize("classes", [2, 3, 5, 10])
def test_single_precision_ranks_as_the_loop(classes):
    features, words, labels = drawn(500, classes, 32, seed=classes, dtype=torch.float32)
    logits = features @ words.T
    found, needed = log_score(logits, labels, words), psi_by_loop(features, words, labels)
    torch.testing.assert_close(found.double().exp(), needed.double(), rtol=5e-6, atol=0)
    assert found.argmax() == needed.argmax()
    assert found.topk(20).indices.tolist() == needed.topk(20).indices.tolist()


def test_the_worked_example():
    words = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    features = torch.tensor([[1.0, 0.5]] * 2, dtype=torch.float64)
    labels = torch.tensor([0, 2])
    logits = features @ words.T
    weights = gaps(logits, labels).exp()
    near = {"rtol": 0, "atol": 1e-6}
    torch.testing.assert_close(weights[0], torch.tensor([0, 0.7788008, 0.2865048], dtype=torch.float64), **near)
    torch.testing.assert_close(weights[1], torch.tensor([3.4903430, 2.7182818, 0], dtype=torch.float64), **near)
    assert float(mcboost(logits, labels)[0]) == pytest.approx(1.0653056, abs=1e-6)
    slope = -pulls(gaps(logits, labels), labels)[0] @ words / 2
    torch.testing.assert_close(slope, torch.tensor([-0.6759052, 0.2461480], dtype=torch.float64), **near)
    psi = log_score(logits, labels, words).exp()
    torch.testing.assert_close(psi, torch.tensor([2.0697466, 173.7596370], dtype=torch.float64), **near)


def squares(logits, labels):
    """``s^2 + ||w||^2``."""
    weights = gaps(logits, labels).exp()
    return weights.sum(1) ** 2 + weights.square().sum(1)


def test_orthonormal_codewords():
    features, _, labels = drawn(50, 4, 7)
    words = torch.linalg.qr(drawn(7, 2, 7, seed=1)[0]).Q[:4]
    logits = features @ words.T
    torch.testing.assert_close(log_score(logits, labels, words).exp(), squares(logits, labels), rtol=1e-12, atol=0)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_codewords_of_a_unit_simplex(classes):
    eye = torch.eye(classes, dtype=torch.float64)
    words = (eye - 1 / classes) * math.sqrt(classes / (classes - 1))
    features, _, labels = drawn(50, classes, classes)
    logits = features @ words.T
    needed = classes / (classes - 1) * squares(logits, labels)
    torch.testing.assert_close(log_score(logits, labels, words).exp(), needed, rtol=1e-12, atol=0)


def test_two_classes_on_a_line_are_adaboost():
    features = torch.linspace(-2.9, 2.9, 21, dtype=torch.float64)[:, None]
    words = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    labels = torch.arange(21) % 2
    margins = features[:, 0] * (1 - 2 * labels)
    logits = features @ words.T
    torch.testing.assert_close(mcboost(logits, labels), (-margins).exp(), rtol=1e-12, atol=0)
    torch.testing.assert_close(log_score(logits, labels, words).exp(), 4 * (-2 * margins).exp(), rtol=1e-12, atol=0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 10), size=st.sampled_from([30.0, 1e3, 1e4]))
def test_huge_logits_are_finite_and_ranked_as_in_double_precision(seed, classes, size):
    generator = torch.Generator().manual_seed(seed)
    logits = size * (2 * torch.rand(200, classes, generator=generator) - 1)
    labels = torch.randint(classes, (200,), generator=generator)
    words = torch.randn(classes, 8, generator=generator)
    found, exact = log_score(logits, labels, words), log_score(logits.double(), labels, words.double())
    assert found.isfinite().all()
    top, needed = found.argmax(), exact.argmax()
    assert top == needed or float(exact[needed] - exact[top]) <= 1e-6 * size
    apart = exact.sort(descending=True)
    clear = (apart.values[:-1] - apart.values[1:]).amin() > 1e-5 * size
    if clear:
        assert found.argsort(descending=True).tolist() == apart.indices.tolist()


def test_large_features_overflow_only_without_logarithms():
    features, words, labels = drawn(300, 5, 512, dtype=torch.float32, scale=30.0)
    words = words * 512**0.5
    logits = features @ words.T
    assert not psi_by_loop(features, words, labels).isfinite().all()
    assert log_score(logits, labels, words).isfinite().all()
    assert log_head_score(logits, labels, features).isfinite().all()
    assert log_pair_scores(logits, labels, words).isnan().sum() == 0


def test_codewords_that_coincide_pull_nowhere():
    words = torch.ones(3, 4)
    found = log_score(torch.zeros(2, 3), torch.tensor([0, 2]), words)
    assert found.isfinite().all()
    assert (found < -80).all()


def test_what_all_codewords_have_in_common_does_not_count():
    features, words, labels = drawn(50, 4, 6)
    logits = features @ words.T
    needed = log_score(logits, labels, words)
    shifted = log_score(logits.float(), labels, (words + 1000.0).float())
    torch.testing.assert_close(shifted.double(), needed, rtol=0, atol=1e-3)


def test_pairs_by_loop():
    features, words, labels = drawn(20, 4, 6)
    found = log_pair_scores(features @ words.T, labels, words)
    for i, label in enumerate(labels.tolist()):
        for k in range(4):
            if k == label:
                assert found[i, k] == -torch.inf
            else:
                weight = torch.exp(-(features[i] @ (words[label] - words[k])) / 2)
                needed = (weight**2 * (words[label] - words[k]).square().sum()).log()
                torch.testing.assert_close(found[i, k], needed, rtol=1e-12, atol=1e-12)


def test_a_shift_of_all_logits_changes_nothing():
    features, words, labels = drawn(20, 4, 6)
    logits = features @ words.T
    shifted = logits + torch.linspace(-5, 5, 20, dtype=torch.float64)[:, None]
    torch.testing.assert_close(log_score(shifted, labels, words), log_score(logits, labels, words))
    torch.testing.assert_close(mcboost(shifted, labels), mcboost(logits, labels))


@pytest.mark.parametrize("cap", [1.0, CAP, math.inf])
def test_the_slope_is_the_weight_up_to_the_cap(cap):
    """And it keeps its direction above."""
    logits = torch.tensor([[0.0, 3.0, -2.0, 90.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1])
    weights = gaps(logits.detach(), labels).exp().clamp_max(cap)
    needed = (weights - torch.zeros_like(weights).scatter(1, labels[:, None], weights.sum(1, keepdim=True))) / 2
    (slope,) = torch.autograd.grad(mcboost(logits, labels, cap=cap).sum(), [logits])
    torch.testing.assert_close(slope, needed, rtol=1e-12, atol=1e-12)


def test_the_capped_risk_is_continuous_and_never_infinite():
    at = 2 * math.log(CAP)
    logits = torch.tensor([[0.0, at - 1e-9], [0.0, at], [0.0, at + 1e-9], [0.0, 1e4]])
    found = mcboost(logits, torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(found[:3], torch.full((3,), CAP), rtol=1e-5, atol=0)
    assert found.isfinite().all()


def test_the_published_loss():
    features, words, labels = drawn(20, 5, 6)
    logits = features @ words.T
    terms = (logits - logits.gather(1, labels[:, None])).clamp_max(20).exp()
    torch.testing.assert_close(mcboost_published(logits, labels), terms.mean(1) - 1, rtol=1e-12, atol=1e-12)
    certain = torch.tensor([[1e4, 0.0, 0.0]])
    assert float(mcboost_published(certain, torch.tensor([0]))) == pytest.approx(1 / 3 - 1)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_of_any_integer_type(dtype):
    features, words, labels = drawn(9, 4, 6)
    logits = features @ words.T
    assert mcboost(logits, labels.to(dtype)).equal(mcboost(logits, labels))
    assert log_score(logits, labels.to(dtype), words).equal(log_score(logits, labels, words))
    assert log_pair_scores(logits, labels.to(dtype), words).equal(log_pair_scores(logits, labels, words))


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (torch.tensor([0, 3]), DataError, r"label 3 in row 1, but the student knows classes 0 to 2"),
        (torch.tensor([-1, 0]), DataError, r"label -1 in row 0.*leave out rows without a label"),
        (torch.tensor([0.0, 1.0]), DataError, r"type torch.float32, but needs class ids: use .long\(\)"),
        (torch.tensor([[0], [1]]), ShapeError, r"labels of shape \(2, 1\), but needs \(N,\)"),
    ],
    ids=str,
)
def test_labels_that_are_none(labels, error, message):
    with pytest.raises(error, match=message):
        check_labels(labels, 3)


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"logits \(2, 3\) and labels \(3,\), but needs \(N, K\) and \(N,\)"):
        mcboost(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ShapeError, match=r"logits \(2, 3, 4\)"):
        gaps(torch.zeros(2, 3, 4), torch.zeros(2, dtype=torch.long))
