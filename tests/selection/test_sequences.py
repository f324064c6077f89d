"""Courses: how students take in what was shown, many courses at once, and a student that does not learn."""

import pytest
import torch
from torch import nn

from tests.selection.common import clusters, deep, images, linear
from tutelage import SGD, Batch, Lesson, Student, Teacher
from tutelage.codewords import Fit, centred
from tutelage.errors import ConfigError, NotConverged, ShapeError
from tutelage.linear_sgd import SOFTMAX
from tutelage.losses import cross_entropy
from tutelage.mcboost import mcboost, mcboost_published
from tutelage.pools import everything
from tutelage.sequences import (
    PUBLISHED,
    PUBLISHED_RULE,
    Course,
    Refitted,
    Studied,
    check_fitted,
    teach_together,
    teaching_set,
)
from tutelage.teachers import AtRandom, KCenter, LabelSynthesis, MaxGrad, Prototypes

FIT = Fit(steps=12)


def batch_of(course, size):
    return course.shown.x[:size], course.shown.y[:size]


def test_a_course_by_hand():
    """Show the largest score, fit to all that was shown from the start, and so on."""
    pool, student = clusters(25), linear()
    course = teaching_set(MaxGrad(everything), pool, student, 6, Refitted(FIT))
    start = student.head[1].detach()
    words, shown = start, []
    for step in range(6):
        best, largest = None, -torch.inf
        for row in sorted(range(25), key=lambda row: int(pool.index[row])):
            f, c = pool.x[row], int(pool.y[row])
            vector = sum(
                torch.exp(-(f @ (words[c] - words[k])) / 2) * (words[c] - words[k]) for k in range(3) if k != c
            )
            psi = float(vector.square().sum())
            if row not in shown and psi > largest:
                best, largest = row, psi
        shown.append(best)
        assert int(course.index[step]) == int(pool.index[best])
        assert float(course.scores[step].exp()) == pytest.approx(largest, rel=1e-8)
        words = FIT(pool.x[shown][None], pool.y[shown][None], start[None])[0]
    assert course.shown.x.equal(pool.x[shown])
    assert course.shown.y.equal(pool.y[shown])
    torch.testing.assert_close(course.student.head[1].detach(), words, rtol=1e-10, atol=1e-12)


def test_the_student_that_is_given_is_not_changed():
    student = deep()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    course = teaching_set(MaxGrad(everything), images(24), student, 3, Studied(4))
    assert all(value.equal(before[name]) for name, value in student.state_dict().items())
    assert course.start is student
    assert course.student.step == 12
    assert not course.student.buffers["1.running_mean"].equal(student.buffers["1.running_mean"])


def test_courses_side_by_side_are_the_courses_of_each():
    pools = [clusters(20 + k, seed=k) for k in range(3)]
    make = [lambda: MaxGrad(everything), lambda: AtRandom(rows=2), lambda: Prototypes(everything)]
    courses = [Course(make[k](), pools[k], linear(seed=k)) for k in range(3)]
    words = lambda course: course.student.head[1].detach()  # noqa: E731
    assert teach_together(courses, 6, Refitted(FIT), words) is courses
    for k, course in enumerate(courses):
        alone = teaching_set(make[k](), pools[k], linear(seed=k), 6, Refitted(FIT), words)
        assert course.index.equal(alone.index)
        torch.testing.assert_close(course.watched, alone.watched, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(course.student.head[1], alone.student.head[1], rtol=1e-10, atol=1e-12)


def test_courses_go_on():
    teacher, pool = KCenter(everything), clusters(20)
    course = teaching_set(teacher, pool, linear(), 4, Refitted(FIT))
    teach_together([course], 9, Refitted(FIT))
    assert course.index.equal(teaching_set(KCenter(everything), pool, linear(), 9, Refitted(FIT)).index)
    assert teach_together([course], 9, Refitted(FIT))[0].index.shape == (9,)


def test_a_course_ends_with_the_lesson_that_reaches_its_size():
    course = teaching_set(AtRandom(rows=4), clusters(20), linear(), 6, Refitted(FIT))
    assert [len(lesson) for lesson in course.lessons] == [4, 4]


def test_what_is_watched():
    course = teaching_set(
        AtRandom(), clusters(20), linear(), 3, Refitted(FIT), lambda c: (len(c.lessons), c.student is not c.start)
    )
    assert course.watched == [(1, True), (2, True), (3, True)]


@pytest.mark.parametrize("size", [0, -3])
def test_a_course_of_no_rows(size):
    with pytest.raises(ConfigError, match=rf"asked for {size} rows, but a course shows 1 row or more"):
        teaching_set(AtRandom(), clusters(5), linear(), size)


@pytest.mark.parametrize("fresh", [False, True])
def test_study_in_steps_by_hand(fresh):
    pool, student = clusters(20), linear()
    course = teaching_set(AtRandom(), pool, student, 4, Studied(3, cross_entropy, fresh=fresh))
    net = nn.Linear(6, 3, bias=False).double()
    optimiser = None
    for size in range(1, 5):
        if fresh or optimiser is None:
            with torch.no_grad():
                net.weight.copy_(student.head[1])
            optimiser = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
        x, y = batch_of(course, size)
        for _ in range(3):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimiser.step()
    torch.testing.assert_close(course.student.head[1], net.weight, rtol=1e-10, atol=1e-12)


def test_the_loss_of_the_lessons_is_the_default():
    pool = clusters(20)
    found = teaching_set(MaxGrad(everything), pool, linear(), 4, Studied(3))
    needed = teaching_set(MaxGrad(everything), pool, linear(), 4, Studied(3, mcboost))
    other = teaching_set(MaxGrad(everything), pool, linear(), 4, Studied(3, cross_entropy))
    assert found.student.head[1].equal(needed.student.head[1])
    assert not found.student.head[1].equal(other.student.head[1])


def test_the_published_settings():
    assert (PUBLISHED.steps, PUBLISHED.loss, PUBLISHED.fresh) == (10, mcboost_published, False)
    assert (PUBLISHED_RULE.lr, PUBLISHED_RULE.momentum) == (1e-4, 0.9)
    assert PUBLISHED_RULE.decay.amount == 1e-4
    student = Student(linear().net, PUBLISHED_RULE)
    course = teaching_set(MaxGrad(everything), clusters(20), student, 3, PUBLISHED)
    assert course.student.step == 30


def test_batch_norm_keeps_its_statistics_in_an_evaluated_student():
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3, bias=False)).double()
    student = Student(net, SGD(0.05))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        teaching_set(AtRandom(), clusters(20), student, 2, Studied(3))
    course = teaching_set(AtRandom(), clusters(20), student.evaluated(), 2, Studied(3))
    assert course.student.buffers["1.running_mean"].equal(student.buffers["1.running_mean"])
    assert not course.student.params["0.weight"].equal(student.params["0.weight"])


def test_no_steps():
    with pytest.raises(ConfigError, match="steps = 0, but a student studies for 1 step or more"):
        Studied(0)


class Shrunk(nn.Module):
    """Frozen layers, and one without parameters, before the last one."""

    def __init__(self, bias=False):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Tanh()).double().requires_grad_(False)
        self.last = nn.Linear(4, 3, bias=bias).double()

    def forward(self, x):
        return self.last(3 * self.trunk(x))


def test_a_frozen_trunk_is_looked_through():
    """The last layer is fitted to what reaches it, as if the pool had been embedded before."""
    pool, student = clusters(20), Student(Shrunk(), SGD(0.1))
    embedded = Batch(student.embed(pool.x)[0], pool.y, pool.index)
    head = nn.Linear(4, 3, bias=False).double()
    with torch.no_grad():
        head.weight.copy_(student.head[1])
    found = teaching_set(MaxGrad(everything), pool, student, 5, Refitted(FIT))
    needed = teaching_set(MaxGrad(everything), embedded, Student(head, SGD(0.1)), 5, Refitted(FIT))
    assert found.index.equal(needed.index)
    torch.testing.assert_close(found.student.head[1], needed.student.head[1], rtol=1e-10, atol=1e-12)
    assert found.student.predict(pool.x).argmax(1).equal(needed.student.predict(embedded.x).argmax(1))


def frozen_bias():
    net = Shrunk(bias=True)
    net.last.bias.requires_grad_(False)
    return net


@pytest.mark.parametrize(
    ("net", "trains"),
    [
        (nn.Linear(6, 3).double(), "weight, bias"),
        (nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3, bias=False)).double(), r"0\.weight, 0\.bias, 1\.weight"),
        (nn.Sequential(nn.Linear(6, 3, bias=False).requires_grad_(False), nn.PReLU()).double(), r"1\.weight"),
        (frozen_bias(), r"last\.weight"),
    ],
    ids=["bias", "two layers", "another layer", "frozen bias"],
)
def test_students_that_cannot_be_fitted_alone(net, trains):
    with pytest.raises(ConfigError, match=rf"trains {trains}, but only a last linear layer without bias .*Studied"):
        teaching_set(AtRandom(), clusters(20), Student(net, SGD(0.1)), 3)


def test_a_last_layer_that_does_not_give_the_logits():
    net = nn.Sequential(nn.Linear(6, 3, bias=False), nn.ReLU()).double()
    with pytest.raises(ShapeError, match="not what its last linear layer answers"):
        teaching_set(AtRandom(), clusters(20), Student(net, SGD(0.1)), 6)


def test_a_student_that_learns_passes():
    pool = clusters(40, spread=0.3)
    scaled = Batch(centred(pool.x), pool.y, pool.index)
    check_fitted(teaching_set(AtRandom(), scaled, linear(scale=0.0), 12, watch=check_fitted))


def test_an_unbounded_loss_is_told():
    """Raw embeddings and too large a rate throw the student far off; it is right on no more than by a guess."""
    pool = clusters(40)
    far = Batch(40 * pool.x, pool.y, pool.index)
    course = teaching_set(Prototypes(everything), far, linear(), 9, Studied(1, lambda z, y: -mcboost(z, y)))
    with pytest.raises(NotConverged, match=r"after 9 rows the student is right on \d of them, and a guess on 3"):
        check_fitted(course)


def test_a_student_that_guesses_one_class_is_told():
    course = teaching_set(Prototypes(everything), clusters(20), linear(), 9, Refitted(FIT))
    course.student = linear(scale=0.0)
    with pytest.raises(NotConverged, match=r"after 9 rows the student is right on 3 of them, and a guess on 3"):
        check_fitted(course)


def test_labels_that_were_made_are_studied_as_they_are():
    pool, target = clusters(20), torch.full((3, 6), 0.5, dtype=torch.float64)
    course = teaching_set(LabelSynthesis(target, loss=SOFTMAX), pool, linear(), 4, Studied(2))
    assert course.shown.y.equal(torch.cat([lesson.target for lesson in course.lessons]))
    assert course.shown.y.shape == (4, 3)
    assert course.shown.y.frac().count_nonzero() > 0


def test_rows_of_a_single_label_tell_nothing():
    pool = clusters(20)
    of_one = Batch(pool.x, torch.zeros_like(pool.y), pool.index)
    check_fitted(teaching_set(AtRandom(), of_one, linear(), 3, Refitted(Fit(steps=1, lr=1e-9))))


class Made(Teacher):
    """Shows one row of the pool over and over, with another label: it does not select."""

    def teach(self, batch, student):
        notes = {"index": batch.index[:1], "score": torch.zeros(1)}
        return Lesson(batch.x[:1], (batch.y[:1] + 1) % 3, torch.ones(1).double(), cross_entropy, notes)


def test_any_teacher_may_hold_a_course():
    pool = clusters(4)
    course = teaching_set(Made(), pool, linear(), 6, Refitted(FIT))
    assert course.index.tolist() == [int(pool.index[0])] * 6
    assert course.shown.y.tolist() == [1] * 6
