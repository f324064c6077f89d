"""MaxGrad: its scores against autograd through the network, pairs, and what the published code got wrong."""

import pytest
import torch

from tests.selection.common import arranged, clusters, deep, images, linear
from tutelage import Batch
from tutelage.codewords import Fit, centred
from tutelage.errors import ConfigError
from tutelage.pools import Consistent, everything
from tutelage.sequences import Refitted, teaching_set
from tutelage.teachers import MaxGrad


def scores_of(teacher, pool, student):
    look = teacher.looked(pool, student)
    return teacher.score(look, look.kept)


def psi_by_autograd(pool, student):
    """``4 ||dL/df||^2`` and ``4 ||dL/dY||^2`` of each row alone, in evaluation mode."""
    features, _ = student.embed(pool.x)
    words = student.head[1].detach()
    functional, head = [], []
    for feature, label in zip(features, pool.y.tolist()):
        f, y = feature.clone().requires_grad_(), words.clone().requires_grad_()
        risk = sum(torch.exp((f @ y[k] - f @ y[label]) / 2) for k in range(len(y)) if k != label)
        by_f, by_y = torch.autograd.grad(risk, [f, y])
        functional.append(4 * by_f.square().sum())
        head.append(4 * by_y.square().sum())
    return torch.stack(functional), torch.stack(head)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_scores_of_a_deep_student(classes):
    pool, student = images(30, classes, dtype=torch.float64), deep(classes, dtype=torch.float64)
    functional, head = psi_by_autograd(pool, student)
    torch.testing.assert_close(scores_of(MaxGrad(everything), pool, student).exp(), functional, rtol=1e-9, atol=0)
    found = scores_of(MaxGrad(everything, space="head"), pool, student)
    torch.testing.assert_close(found.exp(), head, rtol=1e-9, atol=0)


@pytest.mark.parametrize("seed", range(5))
def test_the_first_row_is_the_one_of_largest_score(seed):
    """Not the one whose place in a shuffled order happens to be the position of another."""
    pool, student = images(40, seed=seed), deep(seed=seed)
    functional, _ = psi_by_autograd(pool, student)
    for order in (torch.arange(40), torch.randperm(40, generator=torch.Generator().manual_seed(seed))):
        notes = MaxGrad(everything).teach(arranged(pool, order), student).notes
        assert int(notes["index"]) == int(pool.index[functional.argmax()])
        assert float(notes["score"]) == pytest.approx(float(functional.max().log()), rel=1e-4)
        assert order[notes["row"]] == functional.argmax()


def test_as_many_classes_as_the_student_has():
    """Nothing is made for 3 or 5 classes."""
    for classes in (2, 4, 11):
        pool, student = clusters(44, classes=classes), linear(classes=classes)
        notes = MaxGrad(everything).teach(pool, student).notes
        assert notes["class_counts"].tolist() == [len(range(k, 44, classes)) for k in range(classes)]


def test_scores_are_finite_where_the_plain_risk_overflows():
    pool = clusters(30, dtype=torch.float32)
    far = Batch(3000 * pool.x, pool.y, pool.index)
    student = linear(dtype=torch.float32, scale=3.0)
    found = scores_of(MaxGrad(everything), far, student)
    assert student.embed(far.x)[1].abs().max() > 1e4
    assert found.isfinite().all()
    doubled = linear(scale=3.0).at({"1.weight": student.head[1].detach().double().requires_grad_()})
    needed = scores_of(MaxGrad(everything), Batch(far.x.double(), far.y, far.index), doubled)
    assert found.argsort(descending=True).tolist() == needed.argsort(descending=True).tolist()


def test_wrong_labels_are_shown_first_unless_the_pool_is_filtered():
    """That is what the filter is for, and it is there unless told otherwise."""
    clean = clusters(90, spread=0.5, width=10)
    wrong = torch.arange(0, 90, 10)
    y = clean.y.clone()
    y[wrong] = (y[wrong] + 1) % 3
    pool = Batch(centred(clean.x), y, clean.index)
    study, indices = Refitted(Fit(steps=60)), set(pool.index[wrong].tolist())
    student = linear(10, scale=0.0)
    shares = [
        len(indices & set(teaching_set(teacher, pool, student, 12, study).index.tolist())) / 12
        for teacher in (MaxGrad(everything), MaxGrad(Consistent(None, None)), MaxGrad())
    ]
    assert shares[0] >= 0.4
    assert shares[2] <= 0.1
    assert shares[1] <= shares[0]


def test_the_default_filter_is_cross_fitted():
    assert isinstance(MaxGrad().keep, Consistent)
    assert MaxGrad().keep.folds == 5


def with_explanations(pool):
    return Batch(pool.x, pool.y, pool.index, views={"explanation": pool.x.flip(1)})


@pytest.mark.parametrize("explained", [False, True])
def test_pairs_by_loop(explained):
    pool, student = clusters(25), linear()
    pool = with_explanations(pool) if explained else pool
    words = student.head[1].detach()

    def psi(x, c, k):
        return torch.exp(-(x @ (words[c] - words[k])) / 2) ** 2 * (words[c] - words[k]).square().sum()

    best = []
    for row, (x, c) in enumerate(zip(pool.x, pool.y.tolist())):
        for k in range(3):
            if k != c:
                score = psi(x, c, k)
                best.append(((score + psi(x.flip(0), c, k)) / 2 if explained else score, row, k))
    teacher = MaxGrad(everything, pairs=True, rows=3)
    notes = teacher.teach(pool, student).notes
    for place in range(3):
        score, row, counter = max(best, key=lambda entry: float(entry[0]))
        assert int(notes["row"][place]) == row
        assert int(notes["counter_class"][place]) == counter
        assert float(notes["score"][place]) == pytest.approx(float(score.log()), rel=1e-9)
        others = [i for i in range(25) if int(pool.y[i]) == counter]
        nearest = min(others, key=lambda i: float((pool.x[i] - pool.x[row]).norm()))
        assert int(notes["counterfactual"][place]) == int(pool.index[nearest])
        best = [entry for entry in best if entry[1] != row]


def test_the_counterfactual_is_a_row_that_may_be_shown():
    pool, student = clusters(25), linear()
    counter = int(MaxGrad(everything, pairs=True).teach(pool, student).notes["counter_class"])
    none = MaxGrad(lambda pool, classes: pool.y != counter, pairs=True).teach(pool, student).notes
    if int(none["counter_class"]) == counter:
        assert int(none["counterfactual"]) == -1
    first = MaxGrad(everything, pairs=True).teach(pool, student).notes
    hidden = MaxGrad(lambda pool, classes: pool.index != first["counterfactual"], pairs=True)
    second = hidden.teach(pool, student).notes
    assert second["index"].equal(first["index"])
    assert not second["counterfactual"].equal(first["counterfactual"])


def test_counterfactuals_are_exact_far_from_the_origin():
    """Distances by way of inner products lose all digits there."""
    pool = clusters(60, dtype=torch.float32)
    far = Batch(pool.x + 3e3, pool.y, pool.index)
    student = linear(dtype=torch.float32)
    notes = MaxGrad(everything, pairs=True, rows=30).teach(far, student).notes
    for row, counter, index in zip(notes["row"], notes["counter_class"], notes["counterfactual"]):
        others = (far.y == counter).nonzero().squeeze(1)
        distances = (far.x[others].double() - far.x[row].double()).norm(dim=1)
        assert int(far.index[others[distances.argmin()]]) == int(index)


def test_options_that_do_not_fit():
    with pytest.raises(ConfigError, match="unknown space 'heads'; known are functional and head"):
        MaxGrad(space="heads")
    with pytest.raises(ConfigError, match="pairs are ranked in the functional space alone: leave out the space"):
        MaxGrad(space="head", pairs=True)
