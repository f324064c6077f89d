"""Teachers that select keep the laws; what they show follows the rows wherever these lie."""

import pytest
import torch

from tests.selection.common import arranged
from tutelage import SGD, Lesson, Student
from tutelage.losses import cross_entropy
from tutelage.pools import everything
from tutelage.teachers import SELECTING, FirstThen, MaxGrad, Prototypes
from tutelage.testing import check_teacher, tiny_batch, tiny_net

PASSES = 2
"""One row, which tells how many classes there are, and the pool in evaluation; the lesson is studied in another."""


def check(make, **options):
    """Three rows at a time, for batch norm cannot study one; from a pool of one row, that row three times."""

    def made():
        teacher = make(everything, rows=3, **options)
        teacher.again = True
        return teacher

    check_teacher(made, own_forwards=PASSES)


@pytest.mark.parametrize("name", SELECTING)
def test_selecting(name):
    check(SELECTING[name])


@pytest.mark.parametrize("options", [{"space": "head"}, {"pairs": True}], ids=str)
def test_maxgrad(options):
    check(MaxGrad, **options)


def first_then(keep, **options):
    """A teacher of two."""
    both = Prototypes(keep, **options), MaxGrad(keep, **options)
    for teacher in both:
        teacher.again = True
    return FirstThen(*both, 3)


def test_first_then():
    check_teacher(lambda: first_then(everything, rows=3), own_forwards=PASSES)


@pytest.mark.parametrize("make", [*SELECTING.values(), first_then], ids=[*SELECTING, "first then"])
@pytest.mark.parametrize("kind", ["plain", "batchnorm", "dropout", "shared"])
def test_law_five_a_permutation_of_the_pool_changes_nothing_that_is_shown(make, kind):
    """A lesson has fewer rows than the pool, so that the general check has no weights to compare."""
    batch, student = tiny_batch(16), Student(tiny_net(kind), SGD(0.1))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    teachers = [make(everything), make(everything)]
    for _ in range(5):
        lesson, same = (t.teach(b, student) for t, b in zip(teachers, (batch, arranged(batch, order))))
        assert lesson.x.equal(same.x)
        assert lesson.target.equal(same.target)
        assert lesson.notes["index"].equal(same.notes["index"])
        assert lesson.weight.tolist() == same.weight.tolist() == [1.0]
        for teacher, shown in zip(teachers, (lesson, same)):
            teacher.learn(shown, student, None)
        whole = Lesson(batch.x, batch.y, torch.ones(16).double(), cross_entropy)
        student = student.after(whole, differentiable=False)
