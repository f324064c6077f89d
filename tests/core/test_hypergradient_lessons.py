"""Lessons: taught once or at every virtual student, attached or detached; what is refused; what stays as it is."""

import functools
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.core.look_ahead import ProblemA, central, drawn, net, relative
from tutelage import SGD, Adam, Lesson, Student
from tutelage.errors import ConfigError, NotDifferentiable, NotFiniteError, ShapeError
from tutelage.hypergradient import (
    ConjugateGradient,
    OneStep,
    Recompute,
    Reversible,
    Sizes,
    Truncated,
    Unrolled,
    auto,
    sizes_of,
)
from tutelage.losses import cross_entropy

X_VALID, Y_VALID = drawn(15, 6, seed=2), torch.arange(15) % 3
ONES = torch.ones(12, dtype=torch.float64)


def validation(student):
    return cross_entropy(student.logits(X_VALID, training=False), Y_VALID).mean()


class Teaching:
    """A teacher of the losses: eta = (5,); ``made`` says what of the lesson depends on the student."""

    def __init__(self, made, steps, rule=None):
        self.made, self.steps = made, steps
        self.rule = rule or SGD(0.5, 0.9)
        self.eta = torch.tensor([1.5, -0.5, 0.3, 0.2, -0.4], dtype=torch.float64, requires_grad=True)
        self.x, self.y = [drawn(12, 6, seed=10 + t) for t in range(steps)], torch.arange(12) % 3

    def student(self):
        return Student(net(), self.rule)

    def teach(self, eta, t, student, inputs=None):
        x = self.x[t]
        answers = student.logits(x) if inputs is None else inputs
        losses = cross_entropy(answers, self.y)
        gate = torch.sigmoid(eta[0] * losses + eta[1])
        if self.made == "weight":
            return Lesson(x, self.y, gate, cross_entropy)
        if self.made == "target":
            soft = torch.softmax(answers * eta[2], -1)
            return Lesson(x, soft, ONES, cross_entropy)
        if self.made == "x":
            return Lesson(x + eta[3] * gate[:, None] * x.flip(1), self.y, ONES, cross_entropy)
        scale = 1 + gate
        return Lesson(x, self.y, ONES, lambda z, y: scale * cross_entropy(eta[4].exp() * z, y))

    def lessons(self, eta=None):
        return [functools.partial(self.teach, self.eta if eta is None else eta, t) for t in range(self.steps)]

    def process(self, eta, inputs=None):
        """The loss after real studying, and the teacher's inputs."""
        eta, student, seen = eta.detach(), self.student(), []
        for t in range(self.steps):
            seen.append(student.predict(self.x[t]))
            student.study(self.teach(eta, t, student, seen[t] if inputs is None else inputs[t]))
        return float(validation(student).detach()), seen

    def differences(self, inputs=None):
        return central(lambda values: self.process(values[0], inputs)[0], [self.eta])[0]


MADE = ["weight", "target", "x", "loss"]


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("steps", [2, 5])
def test_attached_features(made, steps):
    """The derivative of the whole process: also through what the teacher saw, never through it in the step itself."""
    teaching = Teaching(made, steps)
    needed = teaching.differences()
    for strategy in (Unrolled(), Recompute(1), Recompute(2), Reversible()):
        found = strategy(teaching.student(), teaching.lessons(), validation, [teaching.eta])[1][0]
        assert relative(found, needed) < 1e-6


@pytest.mark.parametrize("made", MADE)
def test_detached_features(made):
    teaching = Teaching(made, 5)
    frozen = teaching.differences(teaching.process(teaching.eta)[1])
    whole = teaching.differences()
    for kind in (Unrolled, Recompute):
        strategy = kind(features="detached")
        found = strategy(teaching.student(), teaching.lessons(), validation, [teaching.eta])[1][0]
        assert relative(found, frozen) < 1e-6
        assert relative(found, whole) > 1e-5


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("strategy", [Unrolled(), OneStep("jvp"), OneStep("fd", r=1e-5)], ids=["unrolled", "jvp", "fd"])
def test_one_step_knows_no_difference(made, strategy):
    teaching = Teaching(made, 1)
    found = [
        kind(teaching.student(), teaching.lessons(), validation, [teaching.eta])[1][0]
        for kind in (strategy, Unrolled(features="detached"))
    ]
    assert relative(found[0], teaching.differences()) < 1e-7
    assert relative(*found) < 1e-7


def gated(z, y, g):
    return g * cross_entropy(z, y)


def closing(g):
    return lambda z, y: gated(z, y, g)


def test_a_static_lesson_goes_back_through_its_teacher_once():
    class Counted(torch.autograd.Function):
        backwards = 0

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            Counted.backwards += 1
            return g.clone()

    eta = drawn(12).requires_grad_()
    teaching = Teaching("weight", 6)
    for strategy in (Unrolled(), Recompute(1), Recompute(2), Reversible()):
        weight, gate = torch.sigmoid(Counted.apply(eta)), Counted.apply(eta).exp()
        losses = [closing(gate), lambda z, y, g=gate: g * cross_entropy(z, y), functools.partial(gated, g=gate)]
        lessons = [Lesson(x, teaching.y, weight, losses[t % 3]) for t, x in enumerate(teaching.x)]
        Counted.backwards = 0
        strategy(teaching.student(), lessons, validation, [eta])
        assert Counted.backwards <= 4  # weight once; gate once for each of the three losses that hold it


def test_a_lesson_can_be_asked_twice_and_belongs_to_its_tensors():
    teaching = Teaching("weight", 3)
    logits = drawn(12, seed=4).requires_grad_()
    weight = torch.sigmoid(logits)
    lessons = [Lesson(x, teaching.y, weight, cross_entropy) for x in teaching.x]
    call = teaching.student(), lessons, validation, [weight, logits, weight]
    first, second = (Unrolled()(*call)[1] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    assert torch.equal(first[0], first[2])
    assert relative(first[1], first[0] * weight * (1 - weight)) < 1e-12
    assert logits.grad is None
    assert not any(g.requires_grad for g in first)


@pytest.mark.parametrize("made", ["weight", "target"])
@pytest.mark.parametrize(
    ("strategy", "more"), [(Unrolled(), 0), (OneStep("jvp"), 1), (OneStep("fd"), 2)], ids=["unrolled", "jvp", "fd"]
)
def test_the_students_own_pass_is_left_to_study(strategy, more, made):
    """The batch once and the validation set once; passes elsewhere, or in forward mode, come on top."""
    passes = []
    teaching = Teaching(made, 1)
    student = teaching.student()
    student.architecture.register_forward_hook(lambda *_: passes.append(1))
    for step in range(3):
        passes.clear()
        lesson = teaching.teach(teaching.eta, 0, student)
        strategy(student, [lesson], validation, [teaching.eta])
        assert len(passes) == 2 + more, step
        student.study(lesson)
        assert len(passes) == 2 + more, step


def test_one_row_that_is_not_contiguous():
    wide = drawn(1, 12)
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([1])
    found = [
        strategy(Student(net(), SGD(0.3)), [Lesson(x, y, weight, cross_entropy)], validation, [weight])[1][0]
        for x in (wide[:, ::2], wide[:, ::2].contiguous())
        for strategy in (Unrolled(), Recompute(), OneStep("jvp"), OneStep("fd"))
    ]
    assert all(relative(f, found[0]) < 1e-6 for f in found)


def test_attached_lessons_may_not_lean_on_a_momentum_that_is_left_out():
    """A teacher that reads the momentum gets the real one when its steps are run again."""
    teaching = Teaching("weight", 4)

    def teach(t, student):
        slots = student.rule_state.slots["momentum"]
        size = slots["0.bias"].square().sum() if slots else torch.zeros((), dtype=torch.float64)
        return Lesson(teaching.x[t], teaching.y, torch.sigmoid(teaching.eta[0] + size) * ONES, cross_entropy)

    lessons = [functools.partial(teach, t) for t in range(4)]
    call = teaching.student(), lessons, validation, [teaching.eta]
    needed = Unrolled()(*call)[1]
    assert relative(Recompute(1)(*call)[1], needed) < 1e-14
    assert relative(Recompute(2)(*call)[1], needed) < 1e-14


def lesson(weight=ONES, **changes):
    parts = {"x": drawn(12, 6), "target": torch.arange(12) % 3, "weight": weight, "loss": cross_entropy} | changes
    return Lesson(**parts)


ETA = torch.ones(12, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lessons": []}, ConfigError, "0 lessons given; give at least one"),
        ({"lessons": [3]}, ConfigError, r"lessons\[0\] is a int, but needs to be a Lesson"),
        ({"lessons": [lambda s: None]}, ConfigError, r"lessons\[0\] returned a NoneType, but needs a Lesson"),
        ({"wrt": []}, ConfigError, "wrt is empty"),
        ({"wrt": [ETA, torch.ones(3, dtype=torch.int64)]}, NotDifferentiable, r"wrt\[1\], \(3,\) torch.int64, has no"),
        ({"wrt": [torch.ones(3)]}, NotDifferentiable, r"wrt\[0\], \(3,\) torch.float32, does not require a gradient"),
        ({"lessons": [lesson(ETA.detach())]}, NotDifferentiable, "depends on no entry of wrt .* detached"),
        ({"loss": lambda s: s.logits(X_VALID)}, ShapeError, r"loss is \(15, 3\), but needs to be a scalar"),
        ({"loss": lambda s: 1.0}, ShapeError, "the validation loss is float"),
        ({"loss": lambda s: validation(s).detach()}, NotDifferentiable, "depends on no entry"),
        ({"strategy": Unrolled(features="loose")}, ConfigError, "features is 'loose'; it must be one of attached, det"),
        ({"strategy": Unrolled(validation_mode="test")}, ConfigError, "validation_mode is 'test'"),
        ({"strategy": OneStep(), "lessons": [lesson(ETA)] * 2}, ConfigError, "OneStep: 2 lessons given.* use Unrolled"),
        ({"strategy": Reversible()}, ConfigError, "can only undo SGD with momentum above 0 .* use Recompute"),
        ({"strategy": Reversible(), "rule": SGD(0.1, 0.9, nesterov=True)}, ConfigError, "can only undo SGD"),
        ({"strategy": Reversible(), "rule": Adam()}, ConfigError, "can only undo SGD"),
        (
            {"strategy": Reversible(), "rule": SGD(torch.tensor(0.1, requires_grad=True), 0.9)},
            ConfigError,
            "cannot differentiate in the learning rate",
        ),
        (
            {"strategy": Reversible(), "rule": SGD(0.1, 0.9), "net": net("batchnorm")},
            ConfigError,
            r"studying changes 1\.running_mean, which cannot be undone; use Recompute",
        ),
        ({"net": net(dtype=torch.float16)}, ConfigError, "float16 gradients underflow"),
    ],
)  # fmt: skip
def test_what_is_refused(change, error, message):
    given = {
        "strategy": Unrolled(),
        "lessons": [lesson(ETA)],
        "loss": validation,
        "wrt": [ETA],
        "net": net(),
        "rule": SGD(0.1),
    }
    given |= change
    student = Student(given["net"], given["rule"])
    with pytest.raises(error, match=message):
        given["strategy"](student, given["lessons"], given["loss"], given["wrt"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Unrolled(truncate=0), "truncate is 0; at least the last step"),
        (lambda: Truncated(-1), "truncate is -1"),
        (lambda: Recompute("root"), "segment is 'root'; it must be 1 or more, 'sqrt' or 'auto'"),
        (lambda: Recompute(0), "segment is 0"),
        (lambda: OneStep("guess"), "how is 'guess'; it must be one of jvp, fd, autograd"),
        (lambda: OneStep("fd", r=0.0), r"r is 0\.0; it must be above 0"),
        (lambda: Reversible(max_drift=0.0), r"max_drift is 0\.0"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    "strategy", [Unrolled(), Recompute(), Reversible()], ids=["unrolled", "recompute", "reversible"]
)
def test_a_look_ahead_that_is_not_finite(strategy):
    name = type(strategy).__name__
    student = Student(net(), SGD(lambda step: 1e308 if step == 2 else 0.1, 0.9))
    lessons = [lesson(ETA)] * 4
    with pytest.raises(NotFiniteError, match=rf"{name}: the look-ahead is not finite after step 3 of 4 \(lr 1e\+308"):
        strategy(student, lessons, validation, [ETA])
    student = Student(net(), SGD(0.1, 0.9))
    with pytest.raises(NotFiniteError, match=rf"{name}: the validation loss is not finite after 4 steps .* \|\|w\|\|"):
        strategy(student, lessons, lambda s: validation(s) / 0.0, [ETA])
    with pytest.raises(NotFiniteError, match=rf"{name}: the derivative of the validation loss is not finite"):
        strategy(student, lessons, lambda s: (validation(s) * 0.0).sqrt(), [ETA])


@pytest.mark.filterwarnings("error:Converting a tensor")
def test_a_learned_rate_that_diverges_is_told_without_a_warning():
    rate = torch.tensor(1e308, dtype=torch.float64, requires_grad=True)
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with pytest.raises(NotFiniteError, match=r"not finite after step \d of 3 \(lr 1e\+308"):
            Unrolled()(Student(net(), SGD(rate)), [lesson(ETA)] * 3, validation, [rate])
    finally:
        torch.set_warn_always(always)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.inner(x).view(-1, 1, 2, 3)
        return self.out(nn.functional.scaled_dot_product_attention(x, x, x).flatten(1))


def test_operators_without_the_derivative():
    call = Student(Attention().double(), SGD(0.3)), [lesson(ETA)], validation, [ETA]
    for strategy in (OneStep("jvp"), ConjugateGradient(damping=1.0), Unrolled()):  # another try has another pass
        message = rf'{type(strategy).__name__}: _scaled_dot_product\w+ has no .*SDPBackend\.MATH.* OneStep\("fd"\)'
        with pytest.raises(NotDifferentiable, match=message):
            strategy(*call)
    with sdpa_kernel(SDPBackend.MATH):
        needed = Unrolled()(*call)[1]
        assert relative(OneStep("jvp")(*call)[1], needed) < 1e-12
    assert relative(OneStep("fd")(*call)[1], needed) < 1e-6


def test_autocast_to_bfloat16():
    problem = ProblemA(lambda wd: SGD(0.3, 0.9, weight_decay=wd), dtype=torch.float32)
    needed = problem.gradients(Unrolled())
    with torch.autocast("cpu", torch.bfloat16):
        found = [problem.gradients(strategy) for strategy in (Unrolled(), Recompute(1), Recompute("sqrt"))]
        assert torch.is_autocast_cache_enabled()
    assert 1e-4 < relative(found[0], needed) < 0.1
    for other in found[1:]:
        assert relative(other, found[0]) < 1e-6
    with torch.autocast("cpu", torch.float16), pytest.raises(ConfigError, match="use bfloat16 or float32"):
        problem.gradients(Unrolled())


def test_the_choice():
    small, wide, convolutional = Sizes(10**6, 10**5), Sizes(10**8, 10**5), Sizes(10**5, 10**7)
    assert auto(1, small, SGD(0.1)) == Unrolled()
    assert auto(1, convolutional, SGD(0.1)) == OneStep("jvp")
    assert auto(5, small, SGD(0.1)) == Unrolled()
    assert auto(10, wide, SGD(0.1)) == Recompute("sqrt")
    assert auto(20, small, SGD(0.1)) == Recompute("sqrt")
    assert auto(100, convolutional, SGD(0.1)) == Recompute(1)
    assert auto(200, convolutional, Adam()) == Recompute("sqrt")


def test_sizes_of_a_student():
    student = Student(net(), SGD(0.1))
    found = sizes_of(student, drawn(12, 6))
    assert found.weights == 8 * (6 * 8 + 8 + 8 * 3 + 3)
    assert found.activations >= 8 * 12 * (6 + 8)
    assert found.activations <= 8 * 12 * (6 + 8 + 8)


def test_the_example_of_the_docs():
    page = Path(__file__).resolve().parents[2] / "docs" / "hypergradients.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    names = {}
    exec(code, names)
    assert names["student"].step == 3
    assert float(names["loss"]) < 3


BY_STEPS = {"unrolled": Unrolled, "recompute": Recompute, "reversible": Reversible}
STRATEGIES = BY_STEPS | {how: functools.partial(OneStep, how) for how in ("jvp", "fd", "autograd")}


def weighed(loss=cross_entropy, scale=1.0, target=None):
    weight = torch.full((12,), 0.5, dtype=torch.float64, requires_grad=True)
    target = torch.arange(12) % 3 if target is None else target
    return Lesson(scale * drawn(12, 6, seed=3), target, weight, loss), weight


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_a_loss_without_derivative_is_named(strategy):
    def hard(logits, target):
        return (logits.argmax(1) != target).double()

    def detached(logits, target):
        return cross_entropy(logits.detach(), target)

    soft = torch.eye(3, dtype=torch.float64)[torch.arange(12) % 3].requires_grad_()
    for lesson, wrt in (weighed(hard), weighed(detached), weighed(detached, target=soft)):
        with pytest.raises(NotDifferentiable, match=f"the loss {lesson.loss.__name__} has no derivative in the stud"):
            strategy()(Student(net(), SGD(0.1, 0.9)), [lesson], validation, [wrt])
    with pytest.raises(NotDifferentiable, match="the loss hard has no derivative"):
        Student(net(), SGD(0.1)).study(weighed(hard)[0])


class Detached(SGD):
    def step(self, params, gradients, state, decay=None):
        return super().step(params, {n: g.detach().sign() for n, g in gradients.items()}, state, decay)


@pytest.mark.parametrize("strategy", [s for n, s in STRATEGIES.items() if n != "reversible"])
def test_nothing_to_differentiate_is_refused_by_all(strategy):
    lesson, weight = weighed()
    with pytest.raises(NotDifferentiable, match="is a lesson, the loss or the rule detached"):
        strategy()(Student(net(), Detached(0.1)), [lesson], validation, [weight])
    with pytest.raises(NotDifferentiable, match="is a lesson, the loss or the rule detached"):
        strategy()(Student(net(), SGD(0.1)), [lesson], lambda s: validation(s).detach(), [weight])


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_unused_entries_are_noted(strategy):
    lesson, weight = weighed()
    unused, empty = (torch.ones(n, dtype=torch.float64, requires_grad=True) for n in (3, 0))
    how = strategy()
    _, gradients = how(Student(net(), SGD(0.1, 0.9)), [lesson], validation, [unused, weight, empty])
    assert torch.equal(gradients[0], torch.zeros(3, dtype=torch.float64))
    assert gradients[2].shape == (0,)
    assert how.stats.unused == (0, 2)
    how(Student(net(), SGD(0.1, 0.9)), [lesson], validation, [weight])
    assert how.stats.unused == ()


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
@pytest.mark.parametrize("lr", [1e150, 1e308])
def test_one_step_that_overflows(strategy, lr):
    lesson, weight = weighed(scale=1e160)
    with pytest.raises(NotFiniteError, match=re.escape(f"lr {lr:.3g}, ||w||")):
        strategy()(Student(net().append(torch.nn.Linear(3, 3).double()), SGD(lr, 0.9)), [lesson], validation, [weight])


def test_undoing_what_has_no_momentum_names_the_rule_in_short():
    lesson, weight = weighed()
    student = Student(net(), SGD(lambda step: 0.1, nesterov=True, momentum=0.9))
    with pytest.raises(ConfigError, match=r"nesterov, not SGD\(momentum=0\.9, nesterov=True\): use Recompute"):
        Reversible()(student, [lesson], validation, [weight])
    with pytest.raises(ConfigError, match=r"nesterov, not Adam: use Recompute"):
        Reversible()(Student(net(), Adam()), [lesson], validation, [weight])
