"""Windows of lessons: which, when, from where; and that a run goes on from the middle of one."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.core.look_ahead import relative
from tests.teachers.learned import batches, student, validation, window
from tutelage import SGD, Adam, Batch, Lesson, Student, Teacher, train
from tutelage.checkpoint import load_checkpoint, save_checkpoint, with_prefix, without_prefix
from tutelage.errors import ConfigError
from tutelage.hypergradient import OneStep, Recompute, Reversible, Unrolled
from tutelage.look_ahead import LookAhead, drawn
from tutelage.losses import cross_entropy
from tutelage.schedules import StepDecay
from tutelage.testing import tiny_batch, tiny_net


class Line(Teacher):
    """weight = softplus(a * loss + b): the least that learns by looking ahead."""

    def __init__(self, **options):
        super().__init__()
        self.line = nn.Parameter(torch.tensor([-0.3, 0.8], dtype=torch.float64))
        self.look_ahead = LookAhead({"line": self.line}, **options)
        self.ahead = self.look_ahead.ahead
        self.taught = []

    def teach(self, batch, student):
        self.taught.append((student.step, batch.index))
        losses = student.losses(batch.x, batch.y, cross_entropy)
        weight = nn.functional.softplus(self.line[0] * losses + self.line[1])
        return Lesson(batch.x, batch.y, weight, cross_entropy, {"batch": batch})

    def learn(self, lesson, student, validation):
        return self.look_ahead.learn({"line": self.line}, self.teach, lesson.notes["batch"], student, validation)

    def revise(self, lesson, student):
        return self.teach(lesson.notes["batch"], student) if self.look_ahead.has_updated(student) else lesson


def lessons(teacher, given):
    return [lambda s, b=b: teacher.teach(b, s) for b in given]


def validation_loss(trusted):
    return lambda s: cross_entropy(s.logits(trusted.x), trusted.y).mean()


@pytest.mark.parametrize("window", ["ahead", "back"])
def test_an_update_every_b_steps(window):
    teacher = Line(steps=2, every=3, window=window)
    changed, told = [], []
    for step in train(student(), teacher, batches(10), validation()):
        changed.append(teacher.line.detach().clone())
        told.append("validation_loss" in step.metrics)
        assert told[-1] == ("hypergradient_norm" in step.metrics)
    # going back, the first window that ends before a third step began at step 1
    due = {"ahead": [0, 3, 6, 9], "back": [3, 6, 9]}[window]
    assert [t for t in range(10) if told[t]] == due
    assert [t for t in range(1, 10) if not torch.equal(changed[t - 1], changed[t])] == [t for t in due if t]


def test_the_update_is_the_rules_and_the_gradient_is_left():
    teacher, start, given = Line(steps=3, every=1, rule=SGD(0.25)), student(), batches(3)
    before = teacher.line.detach().clone()
    metrics = teacher.learn(teacher.teach(window(given), start), start, validation())
    twin = Line()
    loss, (needed,) = Unrolled()(start, lessons(twin, given), validation_loss(validation()), [twin.line])
    assert torch.equal(teacher.line.grad, needed)
    assert torch.equal(metrics["validation_loss"], loss)
    assert float(metrics["hypergradient_norm"]) == pytest.approx(float(needed.norm()))
    assert torch.allclose(teacher.line, before - 0.25 * needed, rtol=0, atol=1e-15)


def test_the_rule_by_default_is_adam():
    rule = Line().look_ahead.optimiser.rule
    assert rule == Adam(1e-2, weight_decay=1e-4)


@pytest.mark.parametrize("kind", ["plain", "batchnorm", "dropout"])
@pytest.mark.parametrize("rule", [None, Adam(0.02, eps=1e-4)], ids=["sgd", "adam"])
@pytest.mark.parametrize("look_ahead", ["rule", "plain"])
def test_back_and_ahead_give_the_same_gradient(kind, rule, look_ahead):
    options = {"steps": 4, "every": 4, "look_ahead": look_ahead}
    given, trusted, start = batches(5), validation(), student(kind=kind, rule=rule)
    ahead = Line(**options)
    ahead.learn(ahead.teach(window(given[:4]), start), start, trusted)
    back = Line(window="back", **options)
    for step in train(student(kind=kind, rule=rule), back, given, trusted):
        assert (back.line.grad is None) == (step.number < 4)
    assert relative(back.line.grad, ahead.line.grad) < 1e-12


def test_back_with_windows_that_overlap():
    """K = 5, B = 2: updates before steps 6, 8: from the students of steps 1, 3 through five batches each."""
    given, trusted, runner, twin = batches(9), validation(), student(), student()
    back = Line(steps=5, every=2, window="back", rule=SGD(0.0))
    states, found = [], {}
    for t, batch in enumerate(given):
        states.append(copy.deepcopy(runner.state_dict()))
        back.line.grad = None
        lesson = back.teach(batch, runner)
        back.learn(lesson, runner, trusted)
        if back.line.grad is not None:
            found[t] = back.line.grad.clone()
        runner.study(lesson)
    assert list(found) == [6, 8]
    for t, gradient in found.items():
        twin.load_state_dict(states[t - 5])
        _, (needed,) = Unrolled()(twin, lessons(back, given[t - 5 : t]), validation_loss(trusted), [back.line])
        assert relative(gradient, needed) < 1e-12


def test_back_keeps_no_more_than_it_needs():
    teacher = Line(steps=2, every=5, window="back")
    for step in train(student(), teacher, batches(12), validation()):
        kept = {name.split(".")[3] for name in teacher.state_dict() if ".past.batches." in name}
        inside = step.number % 5
        assert kept == {str(t) for t in range(step.number - inside + 3, step.number + 1)} if inside >= 3 else not kept
        assert any(".past.students." in name for name in teacher.state_dict()) == (inside >= 3)


def test_a_window_of_another_student_is_forgotten():
    teacher, trusted = Line(steps=3, every=4, window="back"), validation()
    for _ in train(student(), teacher, batches(4), trusted):
        pass
    other = student("steps")
    for _ in train(other, teacher, batches(2), trusted):
        pass
    assert not [name for name in teacher.state_dict() if ".past." in name and ".1." not in name]


@pytest.mark.parametrize("window", ["ahead", "back"])
@pytest.mark.parametrize("kind", ["plain", "batchnorm"])
def test_a_run_goes_on_from_the_middle_of_a_window(window, kind, tmp_path):
    options = {"steps": 5, "every": 5, "window": window}
    given, trusted = batches(60), validation()
    whole, teacher = student(kind=kind), Line(**options)
    for step in train(whole, teacher, given, trusted):
        if step.number == 36:
            tensors = with_prefix("student", whole.state_dict()) | with_prefix("teacher", teacher.state_dict())
            save_checkpoint(tmp_path / "state", tensors, {})
    tensors, _ = load_checkpoint(tmp_path / "state")
    resumed, other = student(kind=kind), Line(**options)
    resumed.load_state_dict(without_prefix("student", tensors))
    other.load_state_dict(without_prefix("teacher", tensors))
    assert resumed.step == 37
    for _ in train(resumed, other, given[37:], trusted):
        pass
    for needed, found in ((whole, resumed), (teacher, other)):
        needed, found = needed.state_dict(), found.state_dict()
        assert needed.keys() == found.keys()
        assert all(torch.equal(needed[n], found[n]) for n in needed)


def test_the_window_is_what_is_studied_next_over_the_end_of_an_epoch():
    def epochs():
        for e in range(3):
            order = torch.randperm(56, generator=torch.Generator().manual_seed(e))
            for rows in order.split(8):  # seven a epoch, windows of five
                whole = tiny_batch(56, seed=1)
                yield Batch(whole.x[rows], whole.y[rows], rows, 0.0)

    teacher = Line(steps=5, every=5)
    studied, ahead = [], {}
    for step in train(student(), teacher, epochs(), validation()):
        studied.append(step.batch.index)
        taught, teacher.taught = teacher.taught, []
        if step.number % 5 == 0:
            ahead[step.number] = dict(taught)
    assert len(studied) == 21
    for t, seen in ahead.items():
        assert sorted(seen) == list(range(t, min(t + 5, 21)))
        assert all(torch.equal(seen[s], studied[s]) for s in seen)


def test_fewer_lessons_at_the_end_of_training():
    teacher = Line(steps=5, every=5)
    numbers = [s.number for s in train(student(), teacher, batches(7), validation()) if "validation_loss" in s.metrics]
    assert numbers == [0, 5]


def test_one_pass_a_step_without_an_update():
    teacher, runner = Line(steps=5, every=5), student()
    passes = 0

    def count(*_):
        nonlocal passes
        passes += 1

    runner.architecture.register_forward_hook(count)
    taken = []
    for _ in train(runner, teacher, batches(15), validation()):
        taken.append(passes)
        passes = 0
    # five students, of whom the first has answered already, and the validation loss; at first one pass for the sizes
    assert taken == [7, 1, 1, 1, 1, 6, 1, 1, 1, 1, 6, 1, 1, 1, 1]


def test_looking_ahead_changes_nothing_but_the_parameters():
    for name in ("ahead", "back"):
        teacher, runner = Line(steps=2, every=1, window=name), student(kind="dropout")
        for _ in train(runner, teacher, batches(4), validation()):
            pass
        before, drawn_before = copy.deepcopy(runner.state_dict()), torch.get_rng_state()
        batch = window(batches(2))
        teacher.learn(teacher.teach(batch, runner), runner, validation())
        assert all(torch.equal(before[n], v) for n, v in runner.state_dict().items())
        assert torch.equal(drawn_before, torch.get_rng_state())


def test_plain_steps_have_the_rate_of_the_schedule_and_nothing_else():
    rule = SGD(StepDecay(0.4, (1, 2), 0.5), momentum=0.9, weight_decay=0.1, nesterov=True)
    given, trusted, runner = batches(4), validation(), student(rule=rule)
    for _ in train(runner, Line(steps=1, every=9), given[:1], trusted):
        pass
    teacher = Line(steps=2, every=1, look_ahead="plain", rule=SGD(0.0))
    teacher.learn(teacher.teach(window(given[1:3]), runner), runner, trusted)
    twin = Student(tiny_net(), SGD(StepDecay(0.4, (1, 2), 0.5)))
    twin.load_state_dict({n: v for n, v in runner.state_dict().items() if not n.startswith("rule.")})
    _, (needed,) = Unrolled()(twin, lessons(teacher, given[1:3]), validation_loss(trusted), [teacher.line])
    assert relative(teacher.line.grad, needed) < 1e-12


@pytest.mark.parametrize("strategy", [Unrolled(), Recompute(1), Recompute("sqrt"), Reversible()], ids=repr)
def test_strategies_agree(strategy):
    found = []
    for given in (None, strategy):
        teacher, runner = Line(steps=4, every=1, strategy=given), student()
        teacher.learn(teacher.teach(window(batches(4)), runner), runner, validation())
        found.append(teacher.line.grad)
    assert relative(found[1], found[0]) < 1e-11


def test_a_strategy_is_chosen_by_sizes():
    small = Line(steps=1, every=1)
    small.learn(small.teach(tiny_batch(4), student()), student(), validation())
    large = Line(steps=1, every=1, inputs="detached")
    wide = tiny_batch(400)
    large.learn(large.teach(wide, student()), student(), validation())
    assert small.look_ahead.strategy == Unrolled()
    assert large.look_ahead.strategy == OneStep("jvp", features="detached")


def test_inputs_that_are_detached():
    found = {}
    for inputs in ("attached", "detached"):
        for strategy in (None, Unrolled()):
            teacher, runner = Line(steps=4, every=1, inputs=inputs, strategy=strategy), student()
            teacher.learn(teacher.teach(window(batches(4)), runner), runner, validation())
            found[inputs, strategy is None] = teacher.line.grad
    assert torch.equal(found["detached", True], found["detached", False])
    assert torch.equal(found["attached", True], found["attached", False])
    assert relative(found["detached", True], found["attached", True]) > 1e-4


def test_validation_rows_are_drawn_anew_at_each_step():
    trusted, runner = validation(40), student()
    assert drawn(trusted, runner, 40) is trusted
    first = drawn(trusted, runner, 10)
    assert len(first) == 10
    assert len(set(first.index.tolist())) == 10
    assert torch.equal(first.index, drawn(trusted, runner, 10).index)
    order = torch.arange(39, -1, -1)
    turned = Batch(trusted.x[order], trusted.y[order], trusted.index[order])
    assert set(drawn(turned, runner, 10).index.tolist()) == set(first.index.tolist())
    rows = [torch.equal(trusted.x[trusted.index == i][0], x) for i, x in zip(first.index, first.x)]
    assert all(rows)
    for _ in train(runner, Line(steps=1, every=1), batches(1), trusted):
        pass
    assert set(drawn(trusted, runner, 10).index.tolist()) != set(first.index.tolist())


def test_as_many_validation_rows_as_asked_for():
    teacher, runner, trusted = Line(steps=1, every=1, validation_rows=10), student(), validation(40)
    metrics = teacher.learn(teacher.teach(batches(1)[0], runner), runner, trusted)
    twin = Line()
    later = runner.after(twin.teach(batches(1)[0], runner))
    part = drawn(trusted, runner, 10)
    needed = cross_entropy(later.logits(part.x), part.y).mean()
    assert float(metrics["validation_loss"]) == pytest.approx(float(needed.detach()), abs=1e-12)


def test_another_validation_loss():
    def halved(logits, target):
        return 0.5 * cross_entropy(logits, target)

    found = []
    for loss in (cross_entropy, halved):
        teacher, runner = Line(steps=2, every=1, loss=loss), student()
        teacher.learn(teacher.teach(window(batches(2)), runner), runner, validation())
        found.append(teacher.line.grad)
    assert torch.allclose(0.5 * found[0], found[1], rtol=1e-12, atol=0)


def test_a_frozen_one_learns_no_more_and_needs_no_validation():
    teacher, runner = Line(steps=1, every=1), student()
    with pytest.warns(UserWarning, match="rarely serves a student of another initialisation"):
        teacher.look_ahead.freeze()
    before = teacher.line.detach().clone()
    for step in train(runner, teacher, batches(3), None):
        assert "validation_loss" not in step.metrics
    for step in train(runner, teacher, batches(3), validation()):
        assert "validation_loss" not in step.metrics
    assert torch.equal(before, teacher.line)
    thawed = Line(steps=1, every=1)
    thawed.load_state_dict(teacher.state_dict())
    assert bool(thawed.look_ahead.frozen)


def test_single_precision():
    for name in ("ahead", "back"):
        teacher = Line(steps=3, every=3, window=name).float()
        runner, trusted = student(dtype=torch.float32), validation(dtype=torch.float32)
        for _ in train(runner, teacher, batches(7, dtype=torch.float32), trusted):
            pass
        assert teacher.line.grad.dtype == torch.float32
        assert all(p.dtype == torch.float32 for p in runner.params.values())


def test_a_move_takes_the_window_along():
    teacher = Line(steps=5, every=5, window="back")
    for _ in train(student(), teacher, batches(3), validation()):
        pass
    kept = {n: v for n, v in teacher.state_dict().items() if ".past." in n and v.is_floating_point()}
    assert len(kept) > 5
    moved = teacher.float().state_dict()
    assert all(moved[n].dtype == torch.float32 for n in kept)
    assert all(moved[n].dtype == torch.int64 for n in moved if n.endswith((".y", ".index")))


def test_the_batches_that_are_asked_for():
    assert Line(steps=4, every=2).ahead == 3
    assert Line(steps=4, every=2, window="back").ahead == 0
    assert LookAhead({}, steps=4, window="back").arguments == {
        "steps": 4,
        "every": 5,
        "window": "back",
        "inputs": "attached",
        "look_ahead": "rule",
        "validation_rows": 512,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"every": 0}, "every is 0; it must be at least 1"),
        ({"validation_rows": 0}, "validation_rows is 0; it must be at least 1"),
        ({"window": "behind"}, 'window is "behind"; it must be one of ahead, back'),
        ({"inputs": "cut"}, 'inputs is "cut"; it must be one of attached, detached'),
        ({"look_ahead": "sgd"}, 'look_ahead is "sgd"; it must be one of rule, plain'),
    ],
)
def test_options_outside_their_ranges(options, message):
    with pytest.raises(ConfigError, match=message):
        LookAhead({}, **options)


def test_without_validation():
    teacher = Line()
    with pytest.raises(ConfigError, match="learns from trusted examples; pass them as validation"):
        next(train(student(), teacher, batches(1), None))


def test_a_view_with_another_rule():
    runner = student()
    for _ in train(runner, Line(every=9, steps=1), batches(2), validation()):
        pass
    x = tiny_batch().x
    kept = runner.logits(x)
    view = runner.with_rule(SGD(0.7))
    assert view.logits(x) is kept
    assert view.step == 2
    assert view.lr == 0.7
    assert not view.rule_state.slots
    assert runner.rule_state.slots["momentum"]


@pytest.mark.parametrize("rule", [None, Adam(0.02)], ids=["sgd", "adam"])
def test_a_view_of_the_past(rule):
    runner, x = student(kind="batchnorm", rule=rule), tiny_batch().x
    states, answers = [], []
    for batch in batches(3):
        states.append(runner.state_dict())
        answers.append(runner.predict(x))
        runner.study(Lesson(batch.x, batch.y, torch.ones(12, dtype=torch.float64), cross_entropy))
    after = copy.deepcopy(runner.state_dict())
    for t, (state, answer) in enumerate(zip(states, answers)):
        view = runner.restored(state)
        assert view.step == t
        assert torch.equal(view.predict(x), answer)
        assert view.state_dict().keys() >= state.keys()
        assert all(torch.equal(view.state_dict()[n], v) for n, v in state.items())
    assert all(torch.equal(after[n], v) for n, v in runner.state_dict().items())


def test_batches_ahead_hold_no_batches_ahead():
    """What a window keeps does not hold the batches that its batches were given with."""
    teacher, runner = Line(steps=3, every=3, window="back"), student()
    batch = replace(batches(1)[0], ahead=tuple(batches(3)))
    teacher.learn(teacher.teach(batch, runner), runner, validation())
    assert {n.rsplit(".", 1)[1] for n in teacher.state_dict() if ".batches." in n} == {"x", "y", "index", "progress"}
