import math
from dataclasses import replace

import pytest
import torch

from tutelage import SGD, Batch, Student, train
from tutelage.errors import NotFiniteError
from tutelage.stacked import StackedStudent
from tutelage.teachers import Uniform, self_paced
from tutelage.testing import tiny_batch, tiny_net
from tutelage.training import FiniteGuard, check_finite, train_stacked, with_next


def test_yields_every_step_and_learns():
    student = Student(tiny_net(), SGD(0.5))
    batch = tiny_batch()
    steps = list(train(student, Uniform(), [batch] * 60))
    assert [s.number for s in steps] == list(range(60))
    assert float(steps[-1].metrics["loss"]) < 0.5 * float(steps[0].metrics["loss"])
    assert steps[0].lesson.x is batch.x
    assert student.step == 60


def test_metrics_of_the_teacher_are_passed_on():
    (step,) = train(Student(tiny_net(), SGD(0.1)), self_paced(), [tiny_batch()])
    assert float(step.metrics["threshold"]) > 0


def test_a_bad_value_stops_training_and_is_named():
    bad = tiny_batch(seed=3)
    bad.x[0, 0] = math.nan
    student = Student(tiny_net(), SGD(0.25))
    message = r"the loss is nan at step 2 \(teacher Curriculum, learning rate 0.25\); lower the learning rate"
    with pytest.raises(NotFiniteError, match=message):
        list(train(student, self_paced(), [tiny_batch(), tiny_batch(seed=1), bad, tiny_batch()]))


def test_an_exploding_rate_stops_training():
    student = Student(tiny_net(dtype=torch.float32), SGD(1e38))
    small = tiny_batch(dtype=torch.float32)
    batch = Batch(1e3 * small.x, small.y, small.index)
    with pytest.raises(NotFiniteError, match=r"step \d+ \(teacher Uniform, learning rate 1e\+38\)"):
        list(train(student, Uniform(), [batch] * 50))


def test_a_student_with_bad_parameters_is_not_kept():
    student = Student(tiny_net(), SGD(0.1))
    check_finite(student)
    bad = {n: torch.full_like(p, math.inf) for n, p in student.params.items()}
    with pytest.raises(NotFiniteError, match=r"params\.0\.weight is not finite after 0 steps"):
        check_finite(student.at(bad))


def test_the_guard_names_the_first_bad_step_even_when_it_looks_late():
    guard = FiniteGuard(every=10)
    for number in range(9):
        guard.watch(number, Uniform(), 0.1, torch.tensor(math.nan if number >= 4 else 1.0))
    with pytest.raises(NotFiniteError, match="at step 4"):
        guard.look()
    guard.look()
    for number in range(9):
        guard.watch(number, Uniform(), 0.1, torch.tensor(math.inf))
    with pytest.raises(NotFiniteError, match="at step 0"):
        guard.watch(9, Uniform(), 0.1, torch.tensor(1.0))


def test_nothing_is_drawn_from_global_state():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    list(train(Student(tiny_net("dropout"), SGD(0.1)), self_paced(dropout=((0.5, 100),)), [tiny_batch()] * 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_empty_stream_trains_nothing():
    assert list(train(Student(tiny_net(), SGD(0.1)), Uniform(), [])) == []


def test_batches_of_uint8_are_weighed_in_float():
    x = torch.zeros(3, 6, dtype=torch.uint8)
    lesson = Uniform().teach(Batch(x, torch.zeros(3).long(), torch.arange(3)), Student(tiny_net(), SGD(0.1)))
    assert lesson.weight.dtype == torch.float32


class Looking(Uniform):
    """Looks two batches ahead, and teaches again with other weights after learning."""

    ahead = 2

    def __init__(self):
        super().__init__()
        self.seen = []

    def learn(self, lesson, student, validation):
        return {"learned": True}

    def revise(self, lesson, student):
        return replace(lesson, weight=2 * lesson.weight, notes={"again": True})

    def teach(self, batch, student):
        self.seen.append([int(b.index[0]) for b in (batch, *batch.ahead)])
        return super().teach(batch, student)


def numbered(count):
    batches = [tiny_batch(seed=seed) for seed in range(count)]
    return [replace(b, index=torch.full_like(b.index, i)) for i, b in enumerate(batches)]


def test_a_teacher_sees_the_batches_that_come_and_the_student_studies_what_it_settled_on():
    teacher, student = Looking(), Student(tiny_net(), SGD(0.1))
    read = []

    def stream():
        for batch in numbered(4):
            read.append(int(batch.index[0]))
            yield batch

    steps = train(student, teacher, stream())
    first = next(steps)
    assert read == [0, 1, 2]
    rest = list(steps)
    assert teacher.seen == [[0, 1, 2], [1, 2, 3], [2, 3], [3]]
    assert all(step.lesson.notes == {"again": True} for step in [first, *rest])
    once, twice = Student(tiny_net(), SGD(0.2)), Student(tiny_net(), SGD(0.1))
    list(train(once, Uniform(), numbered(1)))
    list(train(twice, Looking(), numbered(1)))
    assert all(torch.allclose(p, twice.params[n]) for n, p in once.params.items())


def test_stacked_teachers_see_what_comes_too():
    def students():
        return [Student(tiny_net(seed=s), SGD(0.1), seed=s) for s in range(2)]

    alone, together = students(), StackedStudent(students())
    teachers = [Looking(), Looking()]
    for student in alone:
        list(train(student, Looking(), numbered(4)))
    list(train_stacked(together, teachers, [(b, b) for b in numbered(4)], [None, None]))
    assert teachers[0].seen == teachers[1].seen == [[0, 1, 2], [1, 2, 3], [2, 3], [3]]
    for one, other in zip(alone, together.students()):
        assert all(torch.allclose(p, other.params[n], atol=1e-12) for n, p in one.params.items())


def test_with_next_reads_no_further_than_asked():
    assert list(with_next("abc", 0)) == [("a", ()), ("b", ()), ("c", ())]
    assert list(with_next("abc", 5)) == [("a", ("b", "c")), ("b", ("c",)), ("c", ())]
    assert list(with_next("", 2)) == []
