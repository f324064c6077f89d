"""The exact strategies against central differences of training, closed forms, and each other."""

import functools
import inspect

import pytest
import torch
from torch.func import functional_call

from tests.core.look_ahead import ProblemA, along, central, cosine, drawn, flat, net, relative
from tutelage import SGD, Adam, AdamW, Lesson, Student
from tutelage.errors import ConfigError
from tutelage.hypergradient import OneStep, Recompute, Reversible, Truncated, Unrolled
from tutelage.losses import cross_entropy, squared_error
from tutelage.rules import Rule, RuleState
from tutelage.schedules import Cosine, StepDecay

RULES = {
    "sgd": lambda wd: SGD(0.3, weight_decay=wd),
    "heavy ball": lambda wd: SGD(0.2, 0.9, weight_decay=wd),
    "dampened": lambda wd: SGD(0.2, 0.9, 0.3, weight_decay=wd),
    "nesterov": lambda wd: SGD(0.2, 0.9, weight_decay=wd, nesterov=True),
    "cosine": lambda wd: SGD(Cosine(0.2, 10), 0.9, weight_decay=wd),
    "step decay": lambda wd: SGD(StepDecay(0.2, (3, 6)), 0.9, weight_decay=wd),
    "adam": lambda wd: Adam(0.05, weight_decay=wd),
    "adamw": lambda wd: AdamW(0.05, weight_decay=wd),
}
both = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


@functools.cache
def reference(name):
    problem = ProblemA(RULES[name])
    return problem, problem.gradients(Unrolled())


@pytest.mark.parametrize("name", RULES)
def test_unrolled_equals_central_differences_of_real_training(name):
    problem, gradients = reference(name)
    assert along(problem.trained, problem.eta, gradients) < 1e-8
    assert abs(float(gradients[2])) > 1e-6


def test_every_coordinate():
    problem = ProblemA(RULES["heavy ball"], steps=3)
    gradients = problem.gradients(Unrolled())
    assert relative(gradients, central(problem.trained, problem.eta)) < 1e-8


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("segment", [1, 3, "sqrt", 8, "auto"])
def test_recompute_equals_unrolled(name, segment):
    problem, gradients = reference(name)
    assert relative(problem.gradients(Recompute(segment)), gradients) < 1e-14


def test_recompute_says_what_it_kept():
    problem, _ = reference("sgd")
    found = {}
    for segment in (1, 3, "sqrt"):
        strategy = Recompute(segment)
        problem.gradients(strategy)
        found[segment] = strategy.stats.states, strategy.stats.reruns
    assert found == {1: (8, 8), 3: (6, 13), "sqrt": (6, 13)}


def by_recursion(nesterov, steps=8, lr=0.2, mu=0.9, decay=0.01):
    """The closed recursion of momentum, written from its formula: gradients of weights (K, 12) and of lr (K,)."""
    module, rates = net(), [lr * (1 + t) / steps for t in range(steps)]
    xs, y = [drawn(12, 6, seed=t) for t in range(steps)], torch.arange(12) % 3
    weights = [torch.sigmoid(drawn(12, seed=20 + t)) for t in range(steps)]
    x_valid = drawn(15, 6, seed=50)
    w = {n: p.detach() for n, p in module.named_parameters()}
    names = list(w)

    def slope(w, weight, t):
        losses = cross_entropy(functional_call(module, w, xs[t]), y)
        return torch.autograd.grad((weight * losses).mean(), [w[n] for n in names], create_graph=True)

    path, directions, v = [], [], None
    for t in range(steps):
        w = {n: p.detach().requires_grad_() for n, p in w.items()}
        path.append(w)
        d = [g.detach() + decay * w[n].detach() for g, n in zip(slope(w, weights[t], t), names)]
        v = d if v is None else [mu * m + g for m, g in zip(v, d)]
        directions.append([g + mu * m for g, m in zip(d, v)] if nesterov else v)
        w = {n: w[n].detach() - rates[t] * p for n, p in zip(names, directions[-1])}
    w = {n: p.requires_grad_() for n, p in w.items()}
    loss = cross_entropy(functional_call(module, w, x_valid), torch.arange(15) % 3).mean()
    a = torch.autograd.grad(loss, list(w.values()))
    b = [torch.zeros_like(p) for p in a]
    found, rate_slopes = [None] * steps, [None] * steps
    for t in reversed(range(steps)):
        rate_slopes[t] = -sum((p * q).sum() for p, q in zip(a, directions[t]))
        if nesterov:
            e = [q - rates[t] * mu * p for p, q in zip(a, b)]
            c = [q - rates[t] * p for p, q in zip(a, e)]
        else:
            e = c = [q - rates[t] * p for p, q in zip(a, b)]
        b = [mu * q for q in e]
        weight = weights[t].clone().requires_grad_()
        products = torch.autograd.grad(slope(path[t], weight, t), [*path[t].values(), weight], grad_outputs=c)
        a = [p + h + decay * q for p, h, q in zip(a, products, c)]
        found[t] = products[-1]
    return found, torch.stack(rate_slopes), (module, xs, y, weights, x_valid, rates)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(
    "strategy", [Unrolled(), Recompute(1), Recompute(3)], ids=["unrolled", "recompute", "segments"]
)
def test_closed_recursion(nesterov, strategy):
    needed, rates_needed, (module, xs, y, weights, x_valid, rates) = by_recursion(nesterov)
    lr = torch.tensor(rates, dtype=torch.float64, requires_grad=True)
    weights = [w.requires_grad_() for w in weights]
    student = Student(module, SGD(lr, 0.9, weight_decay=0.01, nesterov=nesterov))
    lessons = [Lesson(x, y, w, cross_entropy) for x, w in zip(xs, weights)]
    _, (*found, rates_found) = strategy(
        student, lessons, lambda s: cross_entropy(s.logits(x_valid), torch.arange(15) % 3).mean(), [*weights, lr]
    )
    assert relative(found, needed) < 1e-13
    assert relative(rates_found, rates_needed) < 1e-13


class Clipped(Rule):
    """SGD whose gradient is scaled to a length of at most 0.1."""

    def __init__(self, lr):
        self.inner = SGD(lr)
        self.decay, self.rate, self.init = self.inner.decay, self.inner.rate, self.inner.init

    decay = rate = init = None

    def step(self, params, gradients, state, decay=None):
        norm = torch.stack([g.square().sum() for g in gradients.values()]).sum().sqrt()
        clipped = {n: g * (0.1 / norm).clamp_max(1.0) for n, g in gradients.items()}
        return self.inner.step(params, clipped, state, decay)


def one_step(rule, warm=10):
    student = Student(net(), rule)
    for t in range(warm):
        student.study(Lesson(drawn(12, 6, seed=30 + t), torch.arange(12) % 3, torch.ones(12).double(), cross_entropy))
    weight = torch.sigmoid(drawn(12, seed=1)).requires_grad_()
    target = torch.softmax(drawn(12, 3, seed=2), -1).requires_grad_()
    lesson = Lesson(drawn(12, 6, seed=3), target, weight, cross_entropy)
    x_valid, y_valid = drawn(15, 6, seed=4), torch.arange(15) % 3

    def loss(s):
        return cross_entropy(s.logits(x_valid), y_valid).mean()

    return student, [lesson], loss, [weight, target]


STEPS = {
    "sgd": SGD(0.3),
    "heavy ball": SGD(0.3, 0.9),
    "nesterov": SGD(0.3, 0.9, nesterov=True, weight_decay=0.01),
    "adam": Adam(0.05),
    "adamw": AdamW(0.05),
    "clipped": Clipped(0.3),
}


@pytest.mark.parametrize("rule", STEPS.values(), ids=STEPS)
def test_one_step_by_forward_mode_equals_autograd(rule):
    problem = one_step(rule)
    loss, needed = OneStep("autograd")(*problem)
    same, found = OneStep("jvp")(*problem)
    assert relative(found, needed) < 1e-13
    assert torch.equal(loss, same)


def test_one_step_by_differences_is_of_second_order():
    problem = one_step(SGD(0.3, 0.9))
    needed = OneStep("autograd")(*problem)[1]
    radii = [0.1, 1e-2, 1e-3]
    errors = torch.tensor([relative(OneStep("fd", r=r)(*problem)[1], needed) for r in radii])
    slopes = errors.log10().diff() / torch.tensor(radii).log10().diff()
    assert errors[1] < 1e-3
    assert ((slopes - 2).abs() < 0.1).all()


@pytest.mark.parametrize("how", ["jvp", "fd", "autograd"])
def test_one_step_reaches_inputs_start_and_rule(how):
    lr = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    student, (lesson,), loss, _ = one_step(SGD(lr, weight_decay=0.1), warm=0)
    x = drawn(12, 6, seed=3).requires_grad_()
    lesson = Lesson(x, lesson.target, lesson.weight, cross_entropy)
    wrt = [x, lr, student.params["0.weight"]]
    found = OneStep(how)(student, [lesson], loss, wrt)[1]
    needed = Unrolled()(student, [lesson], loss, wrt)[1]
    for f, n in zip(found, needed):
        assert relative(f, n) < (1e-6 if how == "fd" else 1e-13)
    alone = OneStep(how)(student, one_step(SGD(lr), 0)[1], loss, [lr])[1]
    assert relative(alone, [needed[1]]) < 1e-12


def test_learning_to_reweight_needs_no_second_backward():
    """At weights 0: -dM / d eps_i = lr / N <grad l_i(w), grad M(w)>."""
    student, (lesson,), loss, _ = one_step(SGD(0.3), warm=3)
    eps = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    (found,) = OneStep("jvp")(student, [Lesson(lesson.x, lesson.target, eps, cross_entropy)], loss, [eps])[1]
    params = list(student.params.values())
    direction = flat(torch.autograd.grad(loss(student), params))
    losses = cross_entropy(student.at({}).logits(lesson.x), lesson.target)
    rows = torch.stack([flat(torch.autograd.grad(row, params, retain_graph=True)) for row in losses])
    assert relative(-found, 0.3 / 12 * rows @ direction) < 1e-12


LONG = {"constant": 0.1, "cosine": Cosine(0.1, 25), "step decay": StepDecay(0.1, (7, 14))}


@pytest.mark.parametrize("lr", LONG.values(), ids=LONG)
@pytest.mark.parametrize("warm", [0, 3])
def test_reversible_equals_recompute(lr, warm):
    problem = ProblemA(lambda wd: SGD(lr, 0.9, weight_decay=wd), steps=20)
    student = problem.student()
    for lesson in problem.lessons()[:warm]:
        student.study(lesson)
    call = student, problem.lessons(), problem.loss, [*problem.eta, *student.params.values()]
    needed = Recompute()(*call)[1]
    strategy = Reversible()
    found = strategy(*call)[1]
    assert relative(found[:3], needed[:3]) < 1e-13
    assert relative(found[3:], needed[3:]) < 1e-13
    assert strategy.stats.drift < 1e-12
    assert strategy.stats.states == 1
    assert not strategy.stats.fell_back


def single(momentum, steps):
    problem = ProblemA(lambda wd: SGD(0.02, momentum, weight_decay=5e-4), steps, dtype=torch.float32)
    return problem.student(), problem.lessons(), problem.loss, problem.eta[:2]


def test_reversible_drifts_in_single_precision():
    call = single(0.9, 100)
    strategy = Reversible()
    assert relative(strategy(*call)[1], Recompute()(*call)[1]) <= 1e-3
    assert 0 < strategy.stats.drift <= 1e-3
    with pytest.raises(ConfigError, match=r"undoing 200 steps with momentum 0.9 in torch.float32 would drift .* 114 "):
        Reversible()(*single(0.9, 200))


def test_reversible_falls_back_where_it_drifts():
    call = single(0.5, 40)
    forced = Reversible(check=False)
    assert relative(forced(*call)[1], Recompute()(*call)[1]) < 1e-5
    assert forced.stats.fell_back
    assert not forced.stats.drift <= 1e-3


def test_truncation():
    problem, gradients = reference("heavy ball")
    assert all(torch.equal(a, b) for a, b in zip(problem.gradients(Truncated(8)), gradients))
    assert all(torch.equal(a, b) for a, b in zip(problem.gradients(Truncated(99)), gradients))
    short = problem.gradients(Truncated(2))
    assert relative(problem.gradients(Recompute(truncate=2)), short) < 1e-14
    weights = [torch.sigmoid(drawn(12, seed=t)).requires_grad_() for t in range(8)]
    lessons = [Lesson(x.x.detach(), x.target, w, x.loss) for x, w in zip(problem.lessons(), weights)]
    for strategy in (Truncated(3), Recompute(truncate=3)):
        found = strategy(problem.student(), lessons, problem.loss, weights)[1]
        assert [bool((g != 0).any()) for g in found] == [False] * 5 + [True] * 3


def test_truncation_hurts_more_with_momentum():
    found = {name: cosine(reference(name)[0].gradients(Truncated(1)), reference(name)[1]) for name in RULES}
    assert found["heavy ball"] < found["sgd"] < 0.99


@pytest.mark.parametrize("rule", [RULES["sgd"], RULES["heavy ball"]], ids=["sgd", "heavy ball"])
def test_single_precision(rule):
    problem = ProblemA(rule)
    like = ProblemA(rule, dtype=torch.float32)
    needed = problem.gradients(Unrolled())
    for strategy in (Unrolled(), Recompute(1), Recompute("sqrt")):
        found = like.gradients(strategy)
        assert all(g.dtype == torch.float32 for g in found)
        assert relative([g.double() for g in found], needed) < 1e-4


def test_single_precision_by_differences():
    problem, single = (ProblemA(RULES["sgd"], steps=1, dtype=dtype) for dtype in (torch.float64, torch.float32))
    needed = problem.gradients(Unrolled())
    assert relative([g.double() for g in single.gradients(OneStep("fd"))], needed) < 1e-2
    assert relative([g.double() for g in single.gradients(OneStep("jvp"))], needed) < 1e-4


@pytest.mark.parametrize("kind", ["dropout", "batchnorm"])
def test_masks_and_statistics_are_replayed(kind):
    problem = ProblemA(RULES["heavy ball"], kind=kind)
    needed = problem.gradients(Unrolled())
    exact = [Recompute(1), Recompute(3), *([Reversible()] if kind == "dropout" else [])]
    for strategy in exact:
        assert relative(problem.gradients(strategy), needed) < 1e-13
    first = ProblemA(RULES["heavy ball"], steps=1, kind=kind)
    needed = first.gradients(Unrolled())
    assert relative(first.gradients(OneStep("jvp")), needed) < 1e-13
    assert relative(first.gradients(OneStep("fd")), needed) < 1e-6


@pytest.mark.parametrize("kind", ["dropout", "batchnorm"])
def test_masks_and_statistics_against_central_differences(kind):
    """Validated with batch statistics: running ones are constants of the derivative, and move with the process."""
    problem = ProblemA(RULES["heavy ball"], kind=kind)
    x, y = problem.validation
    problem.loss = lambda student: cross_entropy(student.logits(x), y).mean()
    for strategy in (Unrolled(validation_mode="train"), Recompute(validation_mode="train")):
        assert along(problem.trained, problem.eta, problem.gradients(strategy), directions=4) < 1e-7


def test_batch_statistics_stay():
    problem = ProblemA(RULES["sgd"], steps=1, kind="batchnorm")
    student = problem.student()
    before = {n: v.clone() for n, v in student.state_dict().items()}
    for strategy in (Unrolled(), Recompute(), OneStep("jvp"), OneStep("fd")):
        strategy(student, problem.lessons(), problem.loss, problem.eta)
        assert all(torch.equal(before[n], v) for n, v in student.state_dict().items())


def test_validation_mode():
    problem = ProblemA(RULES["sgd"], kind="batchnorm")

    def loss(student):  # in the mode that it is given
        x, y = problem.validation
        return cross_entropy(student.logits(x), y).mean()

    call = problem.student(), problem.lessons()
    by_default = Unrolled()(*call, loss, problem.eta)
    assert torch.equal(by_default[0], Unrolled()(*call, problem.loss, problem.eta)[0])
    in_training = Unrolled(validation_mode="train")(*call, loss, problem.eta)
    assert abs(float(in_training[0] - by_default[0])) > 1e-3


class Scaled(torch.nn.Module):
    """A loss with a parameter."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

    def forward(self, logits, target):
        return squared_error(self.scale * logits, target)


PLACES = ("lr", "momentum", "decay", "x", "target", "weight", "loss", "closure", "start", "state", "validation")


def everywhere(values, steps=4):
    """Training with a hyperparameter in every place; values by place -> student, lessons, loss."""
    v = dict(zip(PLACES, values))
    student = Student(net(), SGD(v["lr"], v["momentum"], weight_decay=v["decay"]))
    slots = {n: drawn(*p.shape, seed=70 + i) for i, (n, p) in enumerate(student.params.items())} | {
        "0.bias": v["state"]
    }
    student = student.at({"0.weight": v["start"]}, RuleState(3, {"momentum": slots}))
    module = Scaled()
    module.scale = None
    del module.scale
    module.scale = v["loss"]
    factor = v["closure"].exp()

    def closed(logits, target):
        return factor * module(logits, target)

    lessons = [Lesson(v["x"] * (t + 1), v["target"], v["weight"] ** 2, closed) for t in range(steps)]
    return student, lessons, lambda s: (s.logits(drawn(9, 6, seed=8)) * v["validation"]).square().mean()


def test_hyperparameters_everywhere():
    shapes = [(), (), (), (5, 6), (5, 3), (5,), (), (), (8, 6), (8,), ()]
    values = [drawn(*shape, seed=60 + i) for i, shape in enumerate(shapes)]
    for i, value in ((0, 0.03), (1, 0.8), (2, 0.05), (6, 1.3), (7, 0.2)):
        values[i] = torch.tensor(value, dtype=torch.float64)

    def trained(moved):
        student, lessons, loss = everywhere([m.requires_grad_() for m in moved])
        for lesson in lessons:
            student = student.after(lesson, differentiable=False)
        return float(loss(student).detach())

    needed = central(trained, values, h=3e-6)
    values = [v.requires_grad_() for v in values]
    unused = torch.ones(2, 3, requires_grad=True)
    for strategy in (Unrolled(), Recompute(1), Recompute(2)):
        *found, last = strategy(*everywhere(values), [*values, unused])[1]
        for place, f, n in zip(PLACES, found, needed):
            assert relative(f, n) < 1e-8, place
        assert torch.equal(last, torch.zeros(2, 3))


def test_adam_where_a_gradient_is_always_zero():
    x = drawn(12, 6, seed=1)
    x[:, 2] = 0.0
    weight = torch.ones(12, dtype=torch.float64, requires_grad=True)
    student, module = Student(net(), Adam(0.01)), net()
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    view = student
    for _ in range(5):
        view = view.after(Lesson(x, torch.arange(12) % 3, weight, cross_entropy))
        optimiser.zero_grad()
        cross_entropy(module(x), torch.arange(12) % 3).mean().backward()
        optimiser.step()
    assert torch.equal(view.params["0.weight"][:, 2], module[0].weight[:, 2])
    assert all(torch.allclose(view.params[n], p, atol=1e-12) for n, p in module.named_parameters())
    lessons = [Lesson(x, torch.arange(12) % 3, weight, cross_entropy)] * 5
    for strategy in (Unrolled(), Recompute()):
        found = strategy(student, lessons, lambda s: s.logits(drawn(9, 6)).square().mean(), [weight])[1][0]
        assert found.isfinite().all()
        assert (found != 0).any()


def test_the_look_ahead_takes_the_real_steps():
    """Published code looks ahead with plain SGD whatever the student's rule is."""
    for rule in RULES.values():
        problem = ProblemA(rule)
        loss, _ = Unrolled()(problem.student(), problem.lessons(), problem.loss, problem.eta)
        assert float(loss) == problem.trained(problem.eta)


def test_labels_of_the_validation_set_matter():
    problem, gradients = reference("sgd")
    x, y = problem.validation
    shuffled = y[torch.randperm(15, generator=torch.Generator().manual_seed(0))]
    found = Unrolled()(
        problem.student(), problem.lessons(), lambda s: cross_entropy(s.logits(x), shuffled).mean(), problem.eta
    )[1]
    assert relative(found, gradients) > 0.1


def test_options_are_those_of_the_mathematics():
    """There is no step size in conjugate gradients (a published one scales half of its terms by one)."""
    from tutelage.hypergradient import ConjugateGradient

    assert set(inspect.signature(ConjugateGradient).parameters) == {
        "iters", "tol", "damping", "features", "validation_mode", "measure",
    }  # fmt: skip


@pytest.mark.parametrize("library", ["torchopt", "higher"])
def test_other_libraries(library):
    module = pytest.importorskip(library)
    problem, net_ = ProblemA(lambda wd: SGD(0.2, 0.9), steps=5), net()
    lessons = [Lesson(x.x.detach(), x.target, x.weight, x.loss) for x in problem.lessons()]
    needed = Unrolled()(problem.student(), lessons, problem.loss, problem.eta[:1])[1][0]
    if library == "torchopt":
        optimiser = module.MetaSGD(net_, lr=0.2, momentum=0.9)
        for lesson in lessons:
            optimiser.step(lesson.mark(net_(lesson.x)))
        answers = net_(problem.validation[0])
    else:
        with module.innerloop_ctx(net_, torch.optim.SGD(net_.parameters(), 0.2, 0.9), copy_initial_weights=False) as (
            functional,
            optimiser,
        ):
            for lesson in lessons:
                optimiser.step(lesson.mark(functional(lesson.x)))
            answers = functional(problem.validation[0])
    loss = cross_entropy(answers, problem.validation[1]).mean()
    assert relative(torch.autograd.grad(loss, problem.eta[0])[0], needed) < 1e-12
