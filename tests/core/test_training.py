import math

import pytest
import torch

from tutelage import SGD, Batch, Student, train
from tutelage.errors import NotFiniteError
from tutelage.teachers import Uniform, self_paced
from tutelage.testing import tiny_batch, tiny_net
from tutelage.training import FiniteGuard, check_finite


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
