"""Lessons whose loss looks at layers of the student: one pass, the same update, exact derivatives."""

import pytest
import torch
from torch import nn

from tests.core.look_ahead import central, relative
from tutelage import SGD, AdamW, Lesson, Student
from tutelage.errors import ConfigError, ShapeError
from tutelage.hypergradient import ConjugateGradient, OneStep, Recompute, Reversible, Truncated, Unrolled
from tutelage.losses import cross_entropy
from tutelage.stacked import StackedStudent
from tutelage.testing import tiny_batch, tiny_net

X, Y = tiny_batch().x, tiny_batch().y
ONES = torch.ones(12, dtype=torch.float64)
HINT = torch.linspace(-1, 1, 12 * 8, dtype=torch.float64).view(12, 8)


def hinted(logits, target, layers):
    """Cross-entropy, and the squared distances of two layers to a hint."""
    y, hint = target
    apart = [(layers[name] - hint).square().mean(1) for name in ("0", "2")]
    return cross_entropy(logits, y) + apart[0] + 0.5 * apart[1]


def lesson_of(weight=ONES, x=X, y=Y, hint=HINT):
    return Lesson(x, (y, hint), weight, hinted, layers=("0", "2"))


def by_hand(net, optimiser, lesson, steps):
    """The same lesson by torch's own means."""
    for _ in range(steps):
        first = net[0](lesson.x)
        hidden = net[2](net[1](first))
        loss = (lesson.weight * hinted(net[3](hidden), lesson.target, {"0": first, "2": hidden})).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@pytest.mark.parametrize("kind", ["plain", "batchnorm"])
def test_study_is_what_torch_does(kind):
    net, reference = tiny_net(kind), tiny_net(kind).train()
    student = Student(net, AdamW(0.01, weight_decay=0.1))
    lesson = lesson_of(weight=torch.linspace(0, 2, 12, dtype=torch.float64))
    by_hand(reference, torch.optim.AdamW(reference.parameters(), 0.01, weight_decay=0.1), lesson, 5)
    for _ in range(5):
        student.study(lesson)
    for name, value in reference.state_dict().items():
        assert torch.allclose(value.double(), student.net.state_dict()[name].double(), atol=1e-12), name


@pytest.mark.parametrize("kind", ["plain", "batchnorm", "dropout", "shared"])
def test_after_is_study(kind):
    student = Student(tiny_net(kind), SGD(0.1, 0.9), seed=3)
    lesson = lesson_of() if kind != "shared" else Lesson(X, (Y, HINT[:, :6]), ONES, hinted, layers=("0", "2"))
    if kind == "shared":
        student = Student(
            nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 3)).double(), SGD(0.1)
        )
    student.study(lesson)
    exact = student.after(lesson)
    plain = student.after(lesson, differentiable=False)
    student.study(lesson)
    for name, value in student.params.items():
        assert torch.allclose(value, exact.params[name], atol=1e-14), name
        assert torch.equal(value, plain.params[name]), name


def test_one_pass_serves_looking_and_study():
    student, passes = Student(tiny_net("dropout"), SGD(0.1)), []
    student.architecture.register_forward_hook(lambda *_: passes.append(1))
    lesson = lesson_of()
    student.layers(X, lesson.layers)
    student.logits(X)
    student.features(X, "2")
    student.study(lesson)
    assert len(passes) == 1
    student.logits(X)
    student.study(lesson)
    assert len(passes) == 2
    assert not any(module._forward_hooks for module in student.architecture[:3])


def test_layers_asked_for_after_the_logits_are_those_of_the_same_pass():
    student = Student(tiny_net("dropout"), SGD(0.1), seed=5)
    logits = student.logits(X)
    layers = student.layers(X, ["0", "1", "2"])
    assert torch.equal(student.logits(X), logits)
    assert torch.equal(torch.tanh(layers["1"]), layers["2"])
    assert torch.allclose(
        nn.functional.linear(layers["2"], student.params["3.weight"], student.params["3.bias"]), logits
    )


def test_two_students_of_one_network_do_not_share_what_is_remembered():
    net = tiny_net()
    one, other = Student(net, SGD(0.1)), Student(net, SGD(0.1))
    one.study(lesson_of())
    assert other._forward(X, True).layers == {}
    assert one._forward(X, True).layers.keys() == {"0", "2"}


def test_a_view_watches_layers_of_its_own():
    student = Student(tiny_net(), SGD(0.1))
    view = student.at({})
    assert view.layers(X, ["2"]).keys() == {"2"}
    assert student._run(X, training=True).layers == {}
    student.layers(X, ["0"])
    assert view._run(X, training=True).layers.keys() == {"2"}


def test_a_layer_that_another_changes_in_place_is_as_it_was():
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)).double()
    student = Student(net, SGD(0.1))
    assert float(student.layers(X, ["0"])["0"].detach().min()) < 0
    student.study(Lesson(X, Y, ONES, lambda z, y, layers: cross_entropy(z, y) + layers["0"].mean(1), layers=("0",)))


def test_the_target_may_be_made_of_the_student_itself():
    """What a lesson was made of is a value: the gradient does not go through it."""
    student = Student(tiny_net(), SGD(0.1))
    mine = student.layers(X, ["0", "2"])["2"]  # of the pass that is studied
    attached, value = lesson_of(hint=mine * 2), lesson_of(hint=mine.detach() * 2)
    one, other = student.after(attached), student.after(value)
    for name in student.params:
        assert torch.allclose(one.params[name], other.params[name], atol=1e-14)


@pytest.mark.parametrize("wrt", ["weight", "hint", "x"])
def test_after_is_differentiable_in_what_the_lesson_depends_on(wrt):
    student = Student(tiny_net(), SGD(0.3, 0.9))
    trusted = tiny_batch(9, seed=9)

    def loss(value):
        lesson = lesson_of(**{wrt: value})
        later = student.after(lesson).after(lesson)
        return cross_entropy(later.logits(trusted.x), trusted.y).mean()

    start = {"weight": ONES, "hint": HINT, "x": X}[wrt].clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, start, atol=1e-6)


class Process:
    """A weight and a hint, learned through lessons on layers."""

    def __init__(self, steps):
        self.steps = steps
        self.eta = torch.linspace(-1, 1, 12, dtype=torch.float64).requires_grad_()
        self.shift = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
        self.trusted = tiny_batch(15, seed=99)

    def student(self):
        return Student(tiny_net(), SGD(0.3, 0.9))

    def lessons(self, eta=None, shift=None):
        eta, shift = (self.eta, self.shift) if eta is None else (eta, shift)
        made = []
        for t in range(self.steps):
            batch = tiny_batch(seed=t)
            made.append(lesson_of(torch.sigmoid(eta), batch.x, batch.y, HINT * shift[0] + shift[1]))
        return made

    def loss(self, student):
        return cross_entropy(student.logits(self.trusted.x, training=False), self.trusted.y).mean()

    def trained(self, values):
        student = self.student()
        for lesson in self.lessons(*(v.detach() for v in values)):
            student.study(lesson)
        return float(self.loss(student).detach())

    def needed(self):
        return central(self.trained, [self.eta, self.shift])


STRATEGIES = [
    (Unrolled(), 3, 1e-6),
    (Recompute(), 3, 1e-6),
    (Reversible(), 3, 1e-6),
    (OneStep(), 1, 1e-6),
    (OneStep("fd"), 1, 1e-3),
    (OneStep("autograd"), 1, 1e-6),
    (Truncated(1), 1, 1e-6),
]


@pytest.mark.parametrize(("strategy", "steps", "tolerance"), STRATEGIES, ids=[repr(s)[:24] for s, *_ in STRATEGIES])
def test_hypergradients_are_exact(strategy, steps, tolerance):
    problem = Process(steps)
    _, found = strategy(problem.student(), problem.lessons(), problem.loss, [problem.eta, problem.shift])
    for gradient, needed in zip(found, problem.needed()):
        assert float(gradient.norm()) > 1e-6
        assert relative(gradient, needed) < tolerance


def test_implicit_hypergradients_take_lessons_on_layers():
    problem = Process(1)
    student = problem.student()
    strategy = ConjugateGradient(damping=1.0, iters=200, tol=1e-12)
    _, found = strategy(student, problem.lessons(), problem.loss, [problem.eta, problem.shift])

    sizes = {n: p.numel() for n, p in student.params.items()}
    start = torch.cat([p.detach().flatten() for p in student.params.values()])

    def at(flat):
        parts = zip(sizes, torch.split(flat, list(sizes.values())))
        return student.at({n: part.view_as(student.params[n]) for n, part in parts})

    def mark(flat, eta, shift):
        (lesson,) = problem.lessons(eta, shift)
        there = at(flat)
        return lesson.mark(there.logits(lesson.x), there.layers(lesson.x, lesson.layers))

    eta, shift = problem.eta.detach(), problem.shift.detach()
    hessian = torch.autograd.functional.hessian(lambda flat: mark(flat, eta, shift), start)
    slope = torch.autograd.functional.jacobian(lambda flat: problem.loss(at(flat)), start)
    q = torch.linalg.solve(hessian + torch.eye(len(start), dtype=torch.float64), slope)

    def slopes(*values):
        flat = start.clone().requires_grad_()
        return torch.autograd.grad(mark(flat, *values), flat, create_graph=True)[0] @ q

    for gradient, needed in zip(found, torch.autograd.functional.jacobian(slopes, (eta, shift))):
        assert relative(gradient, -needed) < 1e-6


def test_a_stack_does_not_show_its_layers():
    stack = StackedStudent([Student(tiny_net(seed=s), SGD(0.1)) for s in range(2)])
    with pytest.raises(
        ConfigError, match="looks at 0, 2 of its student, which a stack does not show: train these stud"
    ):
        stack.study([lesson_of()] * 2)


def test_a_member_of_a_stack_shows_its_layers_by_a_pass_of_its_own():
    students = [Student(tiny_net(seed=s), SGD(0.1)) for s in range(2)]
    members = StackedStudent(students).members([tiny_batch(), tiny_batch()])
    for member, student in zip(members, students):
        assert torch.allclose(member.layers(X, ["2"])["2"], student.layers(X, ["2"])["2"])
        later, needed = member.after(lesson_of()), student.after(lesson_of())
        assert all(torch.allclose(later.params[n], p) for n, p in needed.params.items())


def test_losses_of_a_lesson_need_its_layers():
    student, lesson = Student(tiny_net(), SGD(0.1)), lesson_of()
    logits, layers = student.logits(X), student.layers(X, lesson.layers)
    assert torch.allclose(lesson.mark(logits, layers), lesson.losses(logits, layers).mean())
    for given in (None, {"0": layers["0"]}):
        with pytest.raises(ConfigError, match=r"looks at 0, 2 of the student: pass student\.layers\(lesson\.x, lesson"):
            lesson.losses(logits, given)


def test_layers_that_are_not_there():
    student = Student(tiny_net(), SGD(0.1))
    with pytest.raises(ConfigError, match=r'unknown layer of the network "4"\. .*Known: 0, 1, 2, 3'):
        student.study(Lesson(X, Y, ONES, hinted, layers=("4",)))

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.unused = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x):
            return self.inner(x)

    with pytest.raises(ShapeError, match=r"layer unused needs .* but the forward pass does not reach it"):
        Student(Odd().double(), SGD(0.1)).study(Lesson(X, Y, ONES, hinted, layers=("unused",)))


def test_a_loss_that_ignores_the_logits_is_a_loss_of_its_layers():
    student = Student(tiny_net(), SGD(0.1))
    head = student.params["3.weight"].detach().clone()
    lesson = Lesson(X, Y, ONES, lambda z, y, layers: layers["2"].square().mean(1), layers=("2",))
    for later in (student.after(lesson), student):
        if later is student:
            student.study(lesson)
        assert torch.equal(later.params["3.weight"], head)
        assert not torch.equal(later.params["0.weight"], student.architecture[0].weight)
