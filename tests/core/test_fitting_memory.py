"""The graph of all steps while memory lasts: what it needs, what is free, what is chosen, what is refused."""

import pytest
import torch
from torch import nn

from tests.core.look_ahead import drawn
from tutelage import SGD, Lesson, Student
from tutelage.errors import ConfigError
from tutelage.hypergradient import Decision, Fitting, Recompute, Unrolled, check_tape, fitting, tape_bytes
from tutelage.losses import cross_entropy
from tutelage.memory import free_bytes
from tutelage.nets import mlp
from tutelage.nets.initial import Scaled
from tutelage.nets.together import Each, Together
from tutelage.testing import check_hypergradient

CPU = torch.device("cpu")


def problem(steps=3, rows=64):
    student = Student(mlp((16,), 3, widths=(32,), activation=nn.Tanh).double(), SGD(0.1))
    weight = torch.ones(rows, dtype=torch.float64, requires_grad=True)
    lessons = [Lesson(drawn(rows, 16, seed=t), torch.arange(rows) % 3, weight, cross_entropy) for t in range(steps)]
    x = drawn(rows, 16, seed=99)
    return student, lessons, lambda s: cross_entropy(s.logits(x), torch.arange(rows) % 3).mean(), [weight]


def test_it_keeps_the_laws(monkeypatch):
    check_hypergradient(Fitting)
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 0)
    check_hypergradient(Fitting)


def test_it_keeps_the_graph_while_half_of_the_free_memory_holds_it(monkeypatch):
    student, lessons, loss, wrt = problem()
    needed = 3 * tape_bytes(student, lessons[0])
    for free, kept in ((2 * needed, Unrolled()), (2 * needed - 1, Recompute())):
        monkeypatch.setattr(fitting, "free_bytes", lambda device, free=free: free)
        ours = Fitting()
        value, gradients = ours(student, lessons, loss, wrt)
        needed_value, needed_gradients = kept(student, lessons, loss, wrt)
        assert torch.equal(value, needed_value)
        assert all(torch.equal(a, b) for a, b in zip(gradients, needed_gradients, strict=True))
        assert (ours.stats.states, ours.stats.reruns) == (kept.stats.states, kept.stats.reruns)


def test_truncation_needs_less(monkeypatch):
    student, lessons, loss, wrt = problem()
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 2 * tape_bytes(student, lessons[0]))
    ours = Fitting(truncate=1)
    found = ours(student, lessons, loss, wrt)[1][0]
    assert torch.equal(found, Unrolled(1)(student, lessons, loss, wrt)[1][0])
    assert ours.stats.reruns == 0
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 0)
    ours = Fitting(truncate=1)
    assert torch.equal(ours(student, lessons, loss, wrt)[1][0], found)
    assert ours.stats.reruns == 1


def test_a_graph_is_as_large_as_what_it_keeps():
    student, lessons, _, _ = problem()
    hidden, inputs = 8 * 64 * 32, 8 * 64 * 16
    weights = sum(p.nbytes for p in student.params.values())
    assert 2 * hidden + weights < tape_bytes(student, lessons[0]) < 12 * hidden + 2 * inputs + 4 * weights
    large = problem(rows=640)
    ratio = tape_bytes(large[0], large[1][0]) / tape_bytes(student, lessons[0])
    assert 5 < ratio < 10


@pytest.mark.parametrize("how", ["vmap", "hand"])
def test_a_graph_of_several_networks_is_as_large_as_theirs(how):
    net = mlp((16,), 3, widths=(32,)).double()
    lesson = Lesson(drawn(64, 16), torch.arange(64) % 3, torch.ones(64, dtype=torch.float64), Each(cross_entropy))
    one, four = (
        tape_bytes(Student(Together(net, Scaled().draw(net, list(range(k))), how=how), SGD(0.1)), lesson)
        for k in (1, 4)
    )
    assert 2.5 < four / one < 4.5


def test_measuring_leaves_the_student_as_it_is():
    student, lessons, _, _ = problem()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    tape_bytes(student, lessons[0])
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_graph_that_does_not_fit_is_refused(monkeypatch):
    student, lessons, _, _ = problem()
    check_tape(student, lessons)
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 3 * tape_bytes(student, lessons[0]) - 1)
    check_tape(student, lessons, truncate=2)
    with pytest.raises(ConfigError, match=r"the graph of 3 steps needs 0\.\d GB, but .* are free: use Recompute\(\)"):
        check_tape(student, lessons)


def test_some_memory_is_free():
    assert 1 << 20 < free_bytes(CPU) < 1 << 50


def test_what_was_decided_stays(monkeypatch):
    student, lessons, loss, wrt = problem()
    for free, kept in ((1 << 40, False), (0, True)):
        monkeypatch.setattr(fitting, "free_bytes", lambda device, free=free: free)
        first, decision = Fitting(), Decision()
        assert decision.state_dict()["recomputes"] == -1
        with decision.kept(first):
            first(student, lessons, loss, wrt)
        assert decision.state_dict()["recomputes"] == int(kept)
        assert first.recomputes is kept
        again = Decision()
        again.load_state_dict(decision.state_dict())
        monkeypatch.setattr(fitting, "free_bytes", lambda device, free=free: (1 << 40) - free)
        second = Fitting()
        with again.kept(second):
            second(student, lessons, loss, wrt)
        assert (second.recomputes, second.stats.reruns) == (kept, 3 * kept)
        with Decision().kept(second):
            assert second.recomputes is None  # another teacher's


def test_nothing_is_decided_by_what_fails_or_by_other_strategies():
    decision = Decision()
    with pytest.raises(ZeroDivisionError), decision.kept(Fitting()):
        raise ZeroDivisionError
    with decision.kept(Recompute()):
        pass
    assert decision.recomputes == -1
