"""Filters of pools: against loops over rows and folds, and what they refuse."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.selection.common import arranged, clusters, deep, images, linear
from tutelage import SGD, Batch, Student
from tutelage.codewords import Fit, centred
from tutelage.errors import ConfigError, DataError, NotFiniteError, ShapeError
from tutelage.losses import cross_entropy
from tutelage.pools import (
    Consistent,
    Every,
    Judge,
    LinearReference,
    Look,
    OfPool,
    Trained,
    classes_of,
    everything,
    without_duplicates,
)


def mislabelled(pool, rows, classes=3):
    """The same pool with some labels moved on by one."""
    y = pool.y.clone()
    y[rows] = (y[rows] + 1) % classes
    return Batch(pool.x, y, pool.index)


class Spy:
    """A reference that answers by rote: right on what it saw, wrong on what it did not."""

    def __init__(self, answers=None):
        self.seen, self.answers = [], answers

    def __call__(self, pool, classes, seen):
        self.seen.append(seen.clone())
        right = nn.functional.one_hot(pool.y.long(), classes).double()
        return torch.where(seen[..., None], right, -right) if self.answers is None else self.answers


@pytest.mark.parametrize("folds", [2, 3, 5, 12])
def test_no_row_is_judged_by_a_model_that_saw_it(folds):
    pool, spy = clusters(40), Spy()
    with pytest.raises(DataError, match="leaves no row of class 0"):
        Consistent(spy, folds)(pool, 3)
    (seen,) = spy.seen
    assert seen.shape == (folds, 40)
    assert (~seen).sum(0).eq(1).all()  # each row is left out by one model
    assert seen.any(1).all()


def test_in_sample_one_model_sees_everything():
    pool, spy = clusters(40), Spy()
    assert Consistent(spy, None)(pool, 3).all()
    assert spy.seen[0].shape == (1, 40)
    assert spy.seen[0].all()


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_are_dealt_by_identity_however_the_rows_lie(folds):
    """A pool may come sorted by class, or with one class in each place of a period; a fold holds all classes."""
    pool = clusters(50, classes=folds)
    keep = Consistent(folds=folds)
    fold = keep.fold(pool)
    for label in range(folds):
        counts = torch.bincount(fold[pool.y == label], minlength=folds)
        assert counts.max() - counts.min() <= 1
    for order in (pool.y.argsort(), torch.arange(50).flip(0), pool.index.argsort()):
        assert keep.fold(arranged(pool, order)).equal(fold[order])
    assert not Consistent(folds=folds, seed=1).fold(pool).equal(fold)


def test_a_few_rows_of_each_class_fill_the_folds():
    """One of each of five classes: dealt class by class, every fold gets one."""
    pool = clusters(5, classes=5)
    assert sorted(Consistent(folds=5).fold(pool).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("folds", [None, 2, 5])
def test_the_filter_by_loop(folds):
    pool = mislabelled(clusters(40, spread=0.3), [3, 8, 20])
    reference = LinearReference(Fit(steps=60))
    keep = Consistent(reference, folds)
    found, fold = keep(pool, 3), keep.fold(pool)
    for row in range(40):
        seen = torch.ones(40, dtype=torch.bool) if folds is None else fold != fold[row]
        rows = centred(pool.x)
        start = torch.zeros(1, 3, 6, dtype=torch.float64)
        words = Fit(steps=60)(rows[seen][None], pool.y[seen][None], start)[0]
        assert bool(found[row]) == (int((rows[row] @ words.T).argmax()) == int(pool.y[row]))
    if folds:
        assert not found[[3, 8, 20]].any()


def test_the_linear_reference_is_centred_on_the_pool():
    pool = clusters(20)
    seen = torch.stack([pool.y == 0, pool.y != 1])
    found = LinearReference(Fit(steps=20), norm=2.0)(pool, 3, seen)
    for k in range(2):
        rows = centred(pool.x, pool.x.mean(0), 2.0)
        start = torch.zeros(1, 3, 6, dtype=torch.float64)
        words = Fit(steps=20)(rows[seen[k]][None], pool.y[seen[k]][None], start)[0]
        torch.testing.assert_close(found[k], rows @ words.T, rtol=1e-9, atol=1e-11)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), folds=st.sampled_from([None, 2, 5]))
def test_the_order_of_the_pool_does_not_matter(seed, folds):
    pool = mislabelled(clusters(30, seed=seed), [1, 2])
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    keep = Consistent(folds=folds, quota=2)
    assert keep(arranged(pool, order), 3).equal(keep(pool, 3)[order])


def answers(pool, margins):
    """Logits of one model by whose margins the rows stand so."""
    right = nn.functional.one_hot(pool.y.long(), 3).double()
    return (right * margins[:, None])[None]


def test_a_quota_adds_the_rows_of_largest_margin():
    pool = clusters(12)
    margins = torch.tensor([1, -1, -1, 1, -2, -3, 1, -4, -2, 1, -5, -0.5], dtype=torch.float64)
    with pytest.raises(DataError, match=r"no row of class 1 \(4 in the pool\): set a quota, or turn the filter off"):
        Consistent(Spy(answers(pool, margins)), None)(pool, 3)
    found = Consistent(Spy(answers(pool, margins)), None, quota=2)(pool, 3)
    assert found.nonzero().squeeze(1).tolist() == [0, 1, 2, 3, 4, 6, 9, 11]
    assert Consistent(Spy(answers(pool, margins)), None, quota=50)(pool, 3).all()


def test_rows_of_equal_margin_are_added_by_index():
    pool = clusters(12)
    found = Consistent(Spy(answers(pool, -torch.ones(12).double())), None, quota=1)(pool, 3)
    for label in range(3):
        of_class = pool.index[pool.y == label]
        assert pool.index[found & (pool.y == label)].tolist() == [int(of_class.min())]


def test_a_draw_between_two_classes_is_not_the_label():
    pool = clusters(12)
    with pytest.raises(DataError, match="leaves no row of class 0"):
        Consistent(Spy(torch.zeros(1, 12, 3)), None)(pool, 3)


def test_a_class_that_the_pool_has_not_is_not_left_empty():
    """A student may know more classes than a pool has."""
    assert Consistent()(clusters(30), 10).any()


def test_a_class_of_one_row_is_not_known_to_its_judge():
    pool = clusters(31)
    y = pool.y.clone()
    y[0] = 3
    lonely = Batch(pool.x, y, pool.index)
    with pytest.raises(DataError, match=r"leaves no row of class 3 \(1 in the pool\)"):
        Consistent()(lonely, 4)
    assert Consistent(quota=1)(lonely, 4)[0]


def test_a_pool_too_small_for_folds():
    with pytest.raises(DataError, match=r"a pool of 1 rows leaves nothing .* 5 folds: give it more rows, or turn"):
        Consistent()(clusters(1), 3)
    assert Consistent(folds=None, quota=1)(clusters(1), 3).all()


def test_inputs_that_are_not_numbers():
    pool = clusters(30)
    x = pool.x.clone()
    x[4, 2] = torch.nan
    with pytest.raises(NotFiniteError, match=r"the reference answers NaN to row \d+ of the pool"):
        Consistent()(Batch(x, pool.y, pool.index), 3)


def test_a_reference_that_answers_another_shape():
    pool = clusters(12)
    with pytest.raises(ShapeError, match=r"the reference returned \(12, 3\), but needs \(5, 12, 3\)"):
        Consistent(Spy(torch.zeros(12, 3)))(pool, 3)


@pytest.mark.parametrize("folds", [1, 0, -2])
def test_folds_that_are_none(folds):
    with pytest.raises(ConfigError, match=rf"folds = {folds}, but needs 2 or more; None fits"):
        Consistent(folds=folds)


def test_a_quota_below_zero():
    with pytest.raises(ConfigError, match="quota = -1, but needs 0 or more rows of a class"):
        Consistent(quota=-1)


def test_labels_outside_the_classes():
    with pytest.raises(DataError, match=r"label 2 in row 2, but the student knows classes 0 to 1"):
        Consistent()(clusters(12), 2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_the_linear_reference_takes_images_of_any_type(dtype):
    pool = images(30, channels=3)
    x = (pool.x * 20 + 100 + 40 * pool.y[:, None, None, None]).clamp(0, 255).to(dtype)
    assert Consistent()(Batch(x, pool.y, pool.index), 3).sum() >= 15


def test_a_judge_from_elsewhere_is_asked_as_it_is():
    pool = mislabelled(arranged(clusters(60), torch.arange(40)), [3, 8])
    other = arranged(clusters(60), torch.arange(40, 60))
    words = Fit()(other.x[None], other.y[None], torch.zeros(1, 3, 6).double())[0]
    judge = linear().at({"1.weight": words.requires_grad_()})
    found = Consistent(Judge(judge))(pool, 3)
    assert found.equal(judge.predict(pool.x).argmax(1) == pool.y)
    assert not found[[3, 8]].any()


def test_trained_references_are_students_that_studied_the_other_folds():
    pool, student = clusters(24), linear()
    seen = torch.arange(24) % 3 != torch.arange(3)[:, None]
    before = {name: value.clone() for name, value in student.state_dict().items()}
    found = Trained(student, 12, cross_entropy)(pool, 3, seen)
    for k in range(3):
        words, moved = student.params["1.weight"].detach().clone(), torch.zeros(3, 6).double()
        for _ in range(12):
            words.requires_grad_()
            (slope,) = torch.autograd.grad(cross_entropy(pool.x[seen[k]] @ words.T, pool.y[seen[k]]).mean(), [words])
            moved = 0.9 * moved + slope
            words = words.detach() - 0.05 * moved
        torch.testing.assert_close(found[k], pool.x @ words.T, rtol=1e-9, atol=1e-11)
    assert all(value.equal(before[name]) for name, value in student.state_dict().items())


def test_a_network_as_a_reference():
    pool, student = images(24), deep()
    keep = Consistent(Trained(student, 3, cross_entropy), 3, quota=1)
    assert keep(pool, 3).sum() >= 3
    assert Consistent(Trained(student, 3, cross_entropy), 3, quota=1)(pool, 3).equal(keep(pool, 3))


def doubled():
    """A pool whose rows 1 and 4, with one label, and 2 and 5, with two labels, are the same."""
    pool = clusters(6)
    x = pool.x.clone()
    x[4], x[5] = x[1], x[2]
    return Batch(x, torch.tensor([0, 1, 2, 0, 1, 0]), torch.tensor([50, 41, 32, 23, 14, 5]))


def test_without_duplicates():
    keep = without_duplicates()
    assert keep(doubled(), 3).tolist() == [True, False, False, True, True, False]
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    assert keep(arranged(doubled(), order), 3).equal(keep(doubled(), 3)[order])
    assert keep(images(4), 3).all()


def test_what_every_filter_keeps():
    pool = mislabelled(clusters(40), [3, 8])
    both = Every([without_duplicates(), Consistent()])
    assert both(pool, 3).equal(Consistent()(pool, 3))
    assert Every([everything, everything])(pool, 3).all()
    assert Every([])(pool, 3).all()


def test_a_later_filter_sees_what_the_earlier_ones_kept():
    """So no row is judged by a model that saw its twin."""
    pool, spy = clusters(40), Spy()
    x = torch.cat([pool.x, pool.x])
    twins = Batch(x, pool.y.repeat(2), torch.arange(80), views={"explanation": 2 * x})

    def first_half(given, classes):
        assert given.views["explanation"].equal(2 * given.x)
        return given.index % 2 == 0

    found = Every([without_duplicates(), first_half, Consistent(spy, None)])(twins, 3)
    assert spy.seen[0].shape == (1, 20)
    assert found.nonzero().squeeze(1).tolist() == list(range(0, 40, 2))


def test_the_work_of_a_pool_is_done_once():
    spy, pool = Spy(), clusters(40)
    keep = Consistent(spy, None)
    keep(pool, 3)
    keep(replace(pool, progress=0.5), 3)
    assert len(spy.seen) == 1
    keep(pool, 4)
    assert len(spy.seen) == 2
    keep(arranged(pool, torch.arange(40)), 4)
    assert len(spy.seen) == 3
    keep(pool, 4)
    pool.y[0] = 1  # in place
    keep(pool, 4)
    assert len(spy.seen) == 5
    with_view = replace(pool, views={"explanation": pool.x})
    keep(with_view, 4)
    assert len(spy.seen) == 6


def counted(pool, classes):
    counted.calls += 1
    return torch.arange(len(pool))


counted.calls = 0


def test_copies_remember_nothing():
    found, pool = OfPool(counted), clusters(3)
    counted.calls = 0
    found(pool, 3)
    for twin in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):  # noqa: S301
        assert pickle.dumps(twin) == pickle.dumps(OfPool(counted))
        twin(pool, 3)
    found(pool, 3)
    assert counted.calls == 3
    keep = Consistent()
    before = keep(clusters(30), 3)
    assert pickle.loads(pickle.dumps(keep))(clusters(30), 3).equal(before)  # noqa: S301
    assert copy.deepcopy(Every([keep, without_duplicates()]))(clusters(30), 3).equal(before)


def looked(pool, student, shown=(), step=None):
    kept = torch.ones(len(pool), dtype=torch.bool)
    shown = torch.tensor(shown, dtype=torch.long)
    return Look(pool, student, classes_of(student, pool), kept, shown, 0, len(shown) if step is None else step)


def test_a_look_makes_one_pass_and_is_shared_by_those_that_follow():
    pool, student, passes = images(24), deep(), []
    look = looked(pool, student)
    hook = student.architecture.register_forward_hook(lambda net, x, out: passes.append(len(out)))
    features, logits = look.features, look.logits
    later = look.showing(3).showing(7)
    assert later.features is features
    assert later.logits is logits
    assert later.codewords.shape == (3, 16)
    hook.remove()
    assert passes == [24]
    assert later.shown.tolist() == [3, 7]
    assert later.step == 2
    assert look.shown.tolist() == []


@pytest.mark.parametrize("step", range(7))
def test_classes_take_turns(step):
    pool = clusters(9)
    look = looked(pool, linear(), step=step)
    free = torch.ones(9, dtype=torch.bool)
    assert set(pool.y[look.in_turn(free)].tolist()) == {step % 3}
    free[pool.y == step % 3] = False  # the next one that has a row
    assert set(pool.y[look.in_turn(free)].tolist()) == {(step + 1) % 3}
    one = torch.zeros(9, dtype=torch.bool)
    one[5] = True
    assert look.in_turn(one).equal(one)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_floats_are_widened(dtype):
    pool, student = clusters(9), linear(dtype=dtype)
    look = looked(Batch(pool.x.to(dtype), pool.y, pool.index), student)
    assert {look.features.dtype, look.logits.dtype, look.codewords.dtype} == {torch.float32}


def test_codewords_of_a_student_that_ends_otherwise():
    net = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 3, 4), nn.Flatten())
    look = looked(clusters(9), Student(net.double(), SGD(0.1)))
    with pytest.raises(ShapeError, match="not what its last linear layer answers"):
        _ = look.codewords
