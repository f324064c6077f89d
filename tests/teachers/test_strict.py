"""STRICT shows what a triple loop and a lazy greedy search show."""

import copy
import heapq
import math
import pickle

import pytest
import torch

from tests.selection.spaces import cloud, drawn, fixed, loop_greedy, shown_by, signs, student
from tutelage import SGD, Batch, Student
from tutelage.errors import DataError
from tutelage.hypotheses import difficulty, entropy, expected_error
from tutelage.hypothesis_space import HypothesisSpace
from tutelage.pools import everything
from tutelage.teachers.select.strict import Strict
from tutelage.version_space import OneVsAll


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_as_a_triple_loop(classes):
    pool = cloud(classes)
    hypotheses = drawn(pool)
    rows, left = loop_greedy(hypotheses.margins(pool.x).tolist(), signs(pool.y, classes), 0.5, 10)
    shown, scores, _ = shown_by(Strict(everything, space=fixed(hypotheses)), pool, student(classes), 10)
    assert shown == rows
    assert [math.exp(-score) for score in scores] == pytest.approx(left, rel=1e-12)


def test_errors_are_counted_on_kept_rows():
    pool = cloud()
    hypotheses, keep = drawn(pool), torch.arange(36) % 4 != 1
    allowed = keep.nonzero().squeeze(1).tolist()
    rows, _ = loop_greedy(hypotheses.margins(pool.x).tolist(), signs(pool.y, 3), 0.5, 10, allowed=allowed)
    teacher = Strict(lambda batch, classes: keep, space=fixed(hypotheses))
    shown, _, lessons = shown_by(teacher, pool, student(), 10)
    assert shown == rows
    assert lessons[0].notes["kept"] == 27


def test_lazy_greedy_shows_the_same():
    """Gains never grow, so a row whose old gain is less than another's new one need not be looked at."""
    pool = cloud(each=30, seed=4)
    hypotheses = drawn(pool, 60)
    known = hypotheses.tasks(pool.x, pool.y, 3)

    def gain(rows, row):
        return float(known.value(torch.tensor([*rows, row])) - known.value(torch.tensor(rows, dtype=torch.long)))

    heap, shown, looks = [(-gain([], i), i, 0) for i in range(len(pool))], [], len(pool)
    heapq.heapify(heap)
    while len(shown) < 10:
        _, row, when = heapq.heappop(heap)
        if when == len(shown):
            shown.append(row)
        else:
            heapq.heappush(heap, (-gain(shown, row), row, len(shown)))
            looks += 1
    assert shown_by(Strict(everything, space=fixed(hypotheses)), pool, student(), 10)[0] == shown
    assert looks < 0.8 * 10 * len(pool)


def test_several_at_a_time_are_the_same_rows():
    pool = cloud()
    one, _, _ = shown_by(Strict(), pool, student(), 6)
    three, _, lessons = shown_by(Strict(rows=3), pool, student(), 2)
    assert one == three
    assert lessons[0].notes["difficulty"].shape == (3,)


def test_notes():
    pool = cloud()
    hypotheses = drawn(pool)
    known, margins = hypotheses.tasks(pool.x, pool.y, 3), hypotheses.margins(pool.x)
    rows, _, lessons = shown_by(Strict(everything, space=fixed(hypotheses)), pool, student(), 4)
    for n, lesson in enumerate(lessons):
        before, after = (known.log_posterior(torch.tensor(rows[:m], dtype=torch.long)) for m in (n, n + 1))
        notes = lesson.notes
        assert notes["expected_error"] == pytest.approx(float(expected_error(after, known.errors).mean()))
        assert notes["posterior_entropy"] == pytest.approx(float(entropy(after).mean()))
        hard = float(difficulty(before, margins, 0.5)[:, rows[n]].mean())
        assert notes["difficulty"].tolist() == pytest.approx([hard])
    errors = [lesson.notes["expected_error"] for lesson in lessons]
    assert errors[-1] < errors[0] < float(known.errors.mean())


def test_the_student_does_not_matter_and_is_left_alone():
    pool, one, other = cloud(), student(), student()
    before = {name: value.clone() for name, value in one.state_dict().items()}
    assert shown_by(Strict(), pool, one, 5)[0] == shown_by(Strict(), pool, other, 5)[0]
    assert all(torch.equal(before[name], value) for name, value in one.state_dict().items())


def test_the_order_of_rows_does_not_matter():
    pool = cloud()
    order = torch.randperm(36, generator=torch.Generator().manual_seed(2))
    turned = Batch(pool.x[order], pool.y[order], pool.index[order])
    shown = [
        [int(lesson.notes["index"]) for lesson in shown_by(Strict(), batch, student(), 8)[2]]
        for batch in (pool, turned)
    ]
    assert shown[0] == shown[1]


def test_it_goes_on_from_its_state():
    pool = cloud()
    whole, _, _ = shown_by(Strict(), pool, student(), 8)
    first = Strict()
    shown_by(first, pool, student(), 3)
    loaded = Strict()
    loaded.load_state_dict(first.state_dict())
    for again in (loaded, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):  # noqa: S301
        assert shown_by(again, pool, student(), 5)[0] == whole[3:]


def test_seeds_are_of_the_hypotheses():
    pool = cloud(5, each=20, spread=3.0)
    runs = [shown_by(Strict(everything, seed=seed), pool, student(5), 10)[0] for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_a_shared_space_is_searched_once(monkeypatch):
    calls = []
    space = HypothesisSpace()
    monkeypatch.setattr(space._of, "find", lambda pool, classes: calls.append(1) or space._find(pool, classes))
    pool, keep = cloud(), OneVsAll(space)
    for teacher in (Strict(space=space), Strict(keep, space=space), Strict(everything, space=space)):
        shown_by(teacher, pool, student(), 3)
    assert calls == [1]


def test_float64_and_images():
    pool = cloud()
    wide = Batch(pool.x.double().view(-1, 1, 2, 2), pool.y, pool.index)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).double()
    assert shown_by(Strict(), wide, Student(net, SGD(0.1)), 5)[0] == shown_by(Strict(), pool, student(), 5)[0]


def test_labels_that_the_student_does_not_know():
    with pytest.raises(DataError, match="label 2 in row 2, but the student knows classes 0 to 1"):
        Strict().teach(cloud(3), student(2))
