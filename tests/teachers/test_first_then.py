"""One teacher for the first rows and another one for the rest."""

import copy
import itertools
import pickle

import pytest

from tests.selection.common import clusters, linear
from tests.selection.teachers import FAST, Given, chosen, consistent
from tutelage.errors import ConfigError
from tutelage.pools import everything
from tutelage.sequences import Course, teach_together, teaching_set
from tutelage.teachers import FirstThen, MaxGrad, Prototypes


@pytest.mark.parametrize("n", [0, 1, 3, 6])
def test_one_teacher_first_and_then_another(n):
    pool, keep = clusters(30), consistent(3)
    both = teaching_set(FirstThen(Prototypes(keep), MaxGrad(keep), n), pool, linear(), 6, FAST)
    first = chosen(Prototypes(keep), pool, linear(), 6)
    assert both.index[:n].tolist() == first[:n]
    then = MaxGrad(keep)
    then.shown = both.index[:n].tolist()
    course = Course(then, pool, linear())
    course.lessons = both.lessons[:n]
    if n:
        course.student = FAST([course])[0]
    assert teach_together([course], 6, FAST)[0].index.equal(both.index)


def test_first_then_resumes_at_any_row():
    make = lambda: FirstThen(Prototypes(everything), MaxGrad(everything), 3)  # noqa: E731
    pool, student, teacher, found = clusters(20), linear(), make(), []
    for _ in range(7):
        twins = [make(), copy.deepcopy(teacher), pickle.loads(pickle.dumps(teacher))]  # noqa: S301
        twins[0].load_state_dict(teacher.state_dict())
        lesson = teacher.teach(pool, student)
        for twin in twins:
            assert twin.teach(pool, student).notes["index"].equal(lesson.notes["index"])
        teacher.learn(lesson, student, None)
        found.append(int(lesson.notes["index"]))
    assert len(set(found)) == 7


def test_first_then_studies_by_one_loss():
    """Else a student would change its loss in the middle."""
    first, then = Prototypes(everything), MaxGrad(everything)
    teacher, pool = FirstThen(first, then, 2), clusters(20)
    assert first.loss is not then.loss
    losses = [lesson.loss for lesson in teaching_set(teacher, pool, linear(), 4, FAST).lessons]
    assert losses == [then.loss] * 4


def test_first_then_that_does_not_fit():
    with pytest.raises(ConfigError, match="n = -1, but the first teacher chooses 0 rows or more"):
        FirstThen(Prototypes(), MaxGrad(), -1)
    with pytest.raises(ConfigError, match="n = 3, but the first teacher shows 2 rows at a time: take a multiple"):
        FirstThen(Prototypes(rows=2), MaxGrad(), 3)
    again = [
        FirstThen(Given(None, again=a), Given(None, again=b), 0).again
        for a, b in itertools.product([False, True], repeat=2)
    ]
    assert again == [False, False, False, True]
