"""Stale scores: what is looked at in between, against sorting by hand, and what that changes."""

import copy
import math

import pytest
import torch

from tests.selection.common import arranged, clusters, deep, images, linear
from tests.selection.teachers import Given
from tutelage import Batch
from tutelage.errors import ConfigError
from tutelage.pools import everything
from tutelage.sequences import Course, Studied, teach_together, teaching_set
from tutelage.stale_scores import StaleScores
from tutelage.teachers import FirstThen, MaxGrad, Prototypes


def watched(teacher, pool, student, steps, study=True):
    """Lessons, and how many rows passed through the student at each beside the one that tells the classes."""
    lessons, passed, passes = [], [], []
    hook = student.architecture.register_forward_hook(lambda net, x, out: passes.append(len(out)))
    for _ in range(steps):
        passes.clear()
        lessons.append(teacher.teach(pool, student))
        passed.append(sum(passes) - 1)
        teacher.learn(lessons[-1], student, None)
        if study:
            student = student.after(lessons[-1], differentiable=False)
    hook.remove()
    return lessons, passed


def test_all_rows_are_looked_at_every_few_lessons_and_a_share_in_between():
    teacher, pool = MaxGrad(everything, stale=StaleScores(0.25, 3)), clusters(40)
    _, passed = watched(teacher, pool, linear(), 7)
    assert passed == [40, math.ceil(39 / 4), math.ceil(38 / 4), 40, math.ceil(36 / 4), math.ceil(35 / 4), 40]


def test_a_look_at_some_rows():
    """Also after the whole pool was embedded; what was shown is found again."""
    pool, student = clusters(12), linear()
    look = MaxGrad(everything).looked(pool, student).showing(4).showing(7)
    features, places = look.features, torch.tensor([9, 4, 2])
    part = look.at(places)
    torch.testing.assert_close(part.features, features[places])
    assert part.pool.index.equal(pool.index[places])
    assert part.shown.tolist() == [1]
    assert part.kept.tolist() == [True] * 3
    assert part.step == 2


def test_by_hand():
    """Known scores are those of the last look at each row; the whole pool is looked at in the lessons 0, 3, ..."""
    pool, student, known = clusters(30), linear(), {}
    teacher, shown = MaxGrad(everything, stale=StaleScores(0.2, 3)), []
    for lesson in range(8):
        full = MaxGrad(everything)
        scores = full.score(full.looked(pool, student), torch.ones(30, dtype=torch.bool)).tolist()
        left = [row for row in range(30) if row not in shown]
        highest = sorted(left, key=lambda row: (-known.get(row, 0), int(pool.index[row])))[: math.ceil(len(left) / 5)]
        rows = range(30) if lesson % 3 == 0 else highest
        known |= {row: scores[row] for row in rows}
        best = max((row for row in rows if row not in shown), key=lambda row: scores[row])
        found = teacher.teach(pool, student)
        assert found.notes["row"].tolist() == [best]
        assert sorted(found.notes["looked_index"].tolist()) == sorted(pool.index[list(rows)].tolist())
        if lesson in (3, 6):
            assert found.notes["stale_exact"] == (best in highest)
        else:
            assert "stale_exact" not in found.notes
        shown.append(best)
        teacher.learn(found, student, None)
        student = student.after(found, differentiable=False)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("options", [{"share": 1.0, "every": 4}, {"share": 0.01, "every": 1}], ids=str)
@pytest.mark.parametrize("space", ["functional", "head"])
def test_with_nothing_left_out_it_is_the_full_look(options, rows, space):
    pool, student = images(40), deep().evaluated()
    study = Studied(steps=5)
    exact = teaching_set(MaxGrad(everything, space=space, rows=rows), pool, student, 9, study)
    stale = teaching_set(
        MaxGrad(everything, space=space, rows=rows, stale=StaleScores(**options)), pool, student, 9, study
    )
    assert stale.index.equal(exact.index)
    torch.testing.assert_close(stale.scores, exact.scores, rtol=1e-4, atol=1e-4)


def test_scores_that_do_not_change_are_exact():
    pool = Batch(torch.zeros(20, 6).double(), torch.arange(20) % 3, torch.arange(20))
    scores = torch.rand(20, generator=torch.Generator().manual_seed(0))
    teacher = Given(scores, stale=StaleScores(0.1, 4))
    lessons, _ = watched(teacher, pool, linear(), 10, study=False)
    assert [int(lesson.notes["index"]) for lesson in lessons] == scores.argsort(descending=True)[:10].tolist()
    assert [lesson.notes["stale_exact"] for lesson in lessons if "stale_exact" in lesson.notes] == [True, True]


def test_a_row_that_rose_is_told():
    """Row 9 was the worst, and is now the best: a look at the three highest would have missed it."""
    pool = Batch(torch.zeros(10, 6).double(), torch.arange(10) % 3, torch.arange(10))
    teacher = Given(-torch.arange(10.0), stale=StaleScores(0.3, 2))
    watched(teacher, pool, linear(), 2, study=False)
    teacher.scores = torch.arange(10.0)
    notes = teacher.teach(pool, linear()).notes
    assert int(notes["index"]) == 9
    assert notes["stale_exact"] is False


def test_as_many_are_looked_at_as_are_shown():
    teacher = MaxGrad(everything, rows=7, stale=StaleScores(0.01, 100))
    lessons, passed = watched(teacher, clusters(30), linear(), 4)
    assert passed == [30, 7, 7, 7]
    assert len(set(torch.cat([lesson.notes["index"] for lesson in lessons]).tolist())) == 28
    with pytest.raises(ConfigError, match="asked for row 31, but the pool has 30 rows"):
        teacher.teach(clusters(30), linear())


def test_a_pool_with_new_rows_is_looked_at_as_a_whole():
    pool, teacher = clusters(30), MaxGrad(everything, stale=StaleScores(0.2, 100))
    _, passed = watched(teacher, arranged(pool, torch.arange(20)), linear(), 2)
    assert passed == [20, 4]
    assert watched(teacher, pool, linear(), 1)[1] == [30]
    assert watched(teacher, arranged(pool, torch.arange(29, 4, -1)), linear(), 1)[1][0] <= 6


def test_the_first_rows_may_be_anothers():
    pool, keep = clusters(30), everything
    stale = StaleScores(0.2, 3)
    teacher = FirstThen(Prototypes(keep), MaxGrad(keep, stale=stale), 3)
    _, passed = watched(teacher, pool, linear(), 7)
    assert passed == [30, 30, 30, 30, math.ceil(26 / 5), math.ceil(25 / 5), 30]


def test_it_goes_on_from_its_state():
    pool, make = clusters(30), lambda: MaxGrad(everything, stale=StaleScores(0.1, 4))
    study = Studied(steps=3)
    whole = teaching_set(make(), pool, linear(), 11, study)
    part = teaching_set(make(), pool, linear(), 6, study)
    loaded = make()
    loaded.load_state_dict(part.teacher.state_dict())
    for teacher in (loaded, copy.deepcopy(part.teacher)):
        again = Course(teacher, pool, linear())
        again.student, again.lessons = part.student, list(part.lessons)
        assert teach_together([again], 11, study)[0].index.equal(whole.index)
        sizes = [[len(lesson.notes["looked_index"]) for lesson in course.lessons] for course in (again, whole)]
        assert sizes[0] == sizes[1]


def test_refused():
    for share, every in ((0.0, 5), (1.1, 5), (0.1, 0)):
        with pytest.raises(ConfigError, match=rf"share = {share} and every = {every}, but stale scores need a share"):
            StaleScores(share, every)
    with pytest.raises(ConfigError, match="pairs look for counterfactual rows in the whole pool: leave out stale"):
        MaxGrad(pairs=True, stale=StaleScores())
