"""Pools and students of all kinds, also such as cannot be taught."""

import pytest
import torch

from tests.selection.common import arranged, clusters, linear
from tests.selection.teachers import FACTORIES, FAST, chosen, consistent
from tutelage import SGD, Batch, Student
from tutelage.errors import ConfigError, DataError, NotFiniteError
from tutelage.pools import Consistent, everything
from tutelage.sequences import Studied, teaching_set
from tutelage.teachers import AtRandom, MaxGrad


@pytest.mark.parametrize("name", FACTORIES)
def test_a_pool_that_is_not_contiguous(name):
    pool = clusters(30)
    apart = torch.zeros(30, 12).double()
    apart[:, ::2] = pool.x
    strided = Batch(apart[:, ::2], pool.y.repeat_interleave(2)[::2], pool.index.repeat_interleave(2)[::2])
    needed = chosen(FACTORIES[name](consistent(2)), pool, linear())
    assert chosen(FACTORIES[name](consistent(2)), strided, linear()) == needed


@pytest.mark.parametrize("name", FACTORIES)
def test_images_for_a_linear_student(name):
    flat = clusters(30, width=12)
    shaped = Batch(flat.x.reshape(30, 3, 2, 2), flat.y, flat.index)
    needed = chosen(FACTORIES[name](consistent(2)), flat, linear(12))
    assert chosen(FACTORIES[name](consistent(2)), shaped, linear(12)) == needed


class Bytes(torch.nn.Module):
    """A linear student of images in bytes."""

    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(6, 3, bias=False)

    def forward(self, x):
        return self.last(x.float() / 255 - 0.5)


@pytest.mark.parametrize("name", FACTORIES)
def test_inputs_in_bytes(name):
    pool = clusters(30)
    x = (40 * pool.x + 120).clamp(0, 255).to(torch.uint8)
    course = teaching_set(
        FACTORIES[name](consistent(2)),
        Batch(x, pool.y.to(torch.uint8), pool.index),
        Student(Bytes(), SGD(0.1)),
        5,
        FAST,
    )
    assert course.shown.x.dtype == torch.uint8
    assert len(set(course.index.tolist())) == 5
    assert course.lessons[0].weight.dtype == torch.float32


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_floats(name, dtype):
    pool = clusters(20)
    half = Batch(pool.x.to(dtype), pool.y, pool.index)
    teacher = FACTORIES[name](consistent(2))
    lesson = teacher.teach(half, linear(dtype=dtype, scale=20.0))
    assert lesson.notes["score"].isfinite().all()
    assert lesson.x.dtype == lesson.weight.dtype == dtype


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize(("classes", "rows"), [(2, 2), (2, 5), (3, 1), (10, 1)])
def test_small_pools_are_shown_whole(name, classes, rows):
    pool = clusters(rows, classes=classes)
    assert sorted(chosen(FACTORIES[name](everything), pool, linear(classes=classes), rows)) == sorted(
        pool.index.tolist()
    )


@pytest.mark.parametrize("name", FACTORIES)
def test_a_student_with_a_bias(name):
    pool, student, teacher = clusters(20), linear(bias=True), FACTORIES[name](everything)
    assert len(set(teaching_set(teacher, pool, student, 5, Studied(3)).index.tolist())) == 5


@pytest.mark.parametrize("name", sorted(set(FACTORIES) - {"random", "balanced"}))
def test_a_student_that_diverged(name):
    student = linear().at({"1.weight": torch.full((3, 6), torch.nan).double().requires_grad_()})
    teacher = FACTORIES[name](everything)
    if name in ("prototypes", "herding", "k-center"):  # they look at the embedding, here the inputs
        assert teacher.teach(clusters(20), student).notes["score"].isfinite().all()
    else:
        with pytest.raises(NotFiniteError, match=r"score of row \d+ is NaN after 0 rows; the student diverged"):
            teacher.teach(clusters(20), student)


@pytest.mark.parametrize("name", FACTORIES)
def test_more_rows_than_there_are(name):
    pool, student = clusters(6), linear()
    with pytest.raises(ConfigError, match="asked for 7 rows, but the pool has 6: ask for fewer"):
        teaching_set(FACTORIES[name](everything), pool, student, 7, FAST)
    few = lambda pool, classes: pool.index > pool.index.median()  # noqa: E731
    with pytest.raises(
        ConfigError, match="asked for row 4, but the pool has 6 rows, of which 3 may be shown, each once"
    ):
        teaching_set(FACTORIES[name](few), pool, student, 6, FAST)


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("keep", [everything, Consistent()], ids=["everything", "consistent"])
def test_labels_outside_the_classes(name, keep):
    pool = clusters(20, classes=4)
    with pytest.raises(DataError, match=r"label 3 in row 3, but the student knows classes 0 to 2"):
        FACTORIES[name](keep).teach(pool, linear())


def test_no_rows_at_a_time():
    with pytest.raises(ConfigError, match="rows = 0, but a step shows 1 row or more"):
        MaxGrad(rows=0)


def test_an_empty_pool():
    with pytest.raises(ConfigError, match="asked for row 1, but the pool has 0 rows"):
        AtRandom().teach(arranged(clusters(3), slice(0, 0)), linear())
