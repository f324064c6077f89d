"""Contracts as executable checks, for our own and for third-party teachers, rules, networks and hypergradients.

Each check raises :class:`ContractError` with the law that is broken, as scikit-learn's ``check_estimator`` does.
"""

import copy
import pickle
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .errors import ConfigError, TutelageError
from .hypergradient.problem import Taught, ValidationLoss
from .lesson import Batch, Lesson
from .losses import cross_entropy
from .rules import SGD, Rule
from .student import Student
from .teacher import Teacher


class ContractError(TutelageError, AssertionError):
    """A teacher, rule, student or hypergradient breaks one of the laws."""


def _need(holds: bool, law: str) -> None:
    if not holds:
        raise ContractError(law)


def tiny_net(kind: str = "plain", *, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return a small network: ``plain``, ``batchnorm``, ``dropout`` or ``shared``.

    It maps inputs (N, 6) to 8 features, which the last linear layer takes, and 3 classes.
    """
    from .randomness import seeded

    with seeded(seed):
        if kind == "shared":
            shared = nn.Linear(6, 6)
            net = nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        else:
            middle: dict[str, nn.Module] = {
                "plain": nn.Identity(),
                "batchnorm": nn.BatchNorm1d(8),
                "dropout": nn.Dropout(0.4),
            }
            net = nn.Sequential(nn.Linear(6, 8), middle[kind], nn.Tanh(), nn.Linear(8, 3))
    return net.to(dtype)


def tiny_batch(n: int = 12, *, seed: int = 0, progress: float = 0.5, dtype: torch.dtype = torch.float64) -> Batch:
    """Return a batch of n examples for :func:`tiny_net`."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randint(3, (n,), generator=generator)
    return Batch(x, y, torch.randperm(1000, generator=generator)[:n], progress)


def _bytes(state: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v.detach().clone() if isinstance(v, Tensor) else copy.deepcopy(v) for n, v in state.items()}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        alike = a.dtype == b.dtype and a.shape == b.shape
        return alike and (torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all()))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b))
    return bool(a == b)


class _Watch:
    """Compares the bytes of students, their modules, a teacher and the random state before and after a block."""

    def __init__(self, law: str, student: Student, teacher: Teacher | None = None) -> None:
        self._law, self._student, self._teacher = law, student, teacher

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {f"student {n}": v for n, v in self._student.state_dict().items()}
        module = self._student.architecture
        state |= {f"network {n}": v for n, v in module.state_dict().items()}
        state |= {f"mode of {n}": m.training for n, m in module.named_modules()}
        if self._teacher is not None:
            state |= {f"teacher {n}": v for n, v in self._teacher.state_dict().items()}
            tables = vars(nn.Module())
            plain = {k: v for k, v in vars(self._teacher).items() if k not in tables and _is_plain(v)}
            state |= {f"teacher attribute {n}": v for n, v in plain.items()}
        state["global random state of torch"] = torch.get_rng_state()
        state["global random state of numpy"] = np.random.get_state()[1].tobytes()  # type: ignore[index]  # noqa: NPY002
        state["global random state of python"] = str(random.getstate())
        return _bytes(state)

    def __enter__(self) -> None:
        self._global = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        # moved on, so that seeding once more is seen
        torch.rand(()), np.random.random(), random.random()  # noqa: NPY002
        self._before = self._state()

    def __exit__(self, kind: Any, *_: object) -> None:
        after = self._state()
        torch.set_rng_state(self._global[0])
        np.random.set_state(self._global[1])  # noqa: NPY002
        random.setstate(self._global[2])
        if kind is not None:
            return
        for name in sorted(self._before.keys() | after.keys()):
            _need(_same(self._before.get(name), after.get(name)), f"{self._law}: it changed {name}.")


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return isinstance(value, (int, float, str, bool, Tensor, type(None)))


def check_teacher(
    factory: Callable[[], Teacher],
    *,
    validation: Batch | None = None,
    own_forwards: int = 0,
    descends_validation: bool = True,
    tolerance: float = 1e-6,
) -> None:
    """Run a teacher through the laws that every teacher keeps.

    Args:
        factory: returns a fresh teacher, in the same state each time; called with no arguments. The teacher is moved
            to float64.
        validation: trusted examples for ``learn``; default: 12 examples for :func:`tiny_net`.
        own_forwards: student forward passes that a step may take beyond the one that is studied; 0 for teachers that
            weigh by the student's own losses, more for those that look ahead.
        descends_validation: whether the parameters of the teacher, if it has any, are learned by descending the
            cross-entropy of the validation batch after the lessons of the present batch and of those ahead;
            ``learn`` then leaves this gradient in ``.grad``, at one of the first 20 steps at least. False for
            teachers that learn otherwise.
        tolerance: largest relative error of that gradient, against central differences.

    Raises:
        ContractError: naming the law that is broken.
    """
    validation = tiny_batch(12, seed=99) if validation is None else validation
    for kind in ("plain", "batchnorm", "dropout", "shared"):
        _check_reading(factory, kind, validation)
    _check_weights(factory, validation)
    _check_single_precision(factory, validation)
    _check_resume(factory, validation)
    _check_forwards(factory, validation, own_forwards)
    if descends_validation:
        _check_gradient(factory, validation, tolerance)


def _pair(
    factory: Callable[[], Teacher], validation: Batch, kind: str = "plain", steps: int = 2
) -> tuple[Teacher, Student]:
    """A teacher and a student after a few steps together."""
    teacher = factory().double()
    student = Student(tiny_net(kind), SGD(0.1, momentum=0.9), seed=3)
    for seed in range(steps):
        lesson = teacher.teach(_with_ahead(tiny_batch(seed=seed), teacher), student)
        _need(isinstance(lesson, Lesson), f"teach returned a {type(lesson).__name__}, but needs to return a Lesson.")
        teacher.learn(lesson, student, validation)
        student.study(teacher.revise(lesson, student))
    return teacher, student


def _with_ahead(batch: Batch, teacher: Teacher) -> Batch:
    ahead = (tiny_batch(seed=1000 + k, progress=batch.progress) for k in range(teacher.ahead))
    return replace(batch, ahead=tuple(ahead))


def _check_reading(factory: Callable[[], Teacher], kind: str, validation: Batch) -> None:
    teacher, student = _pair(factory, validation, kind)
    batch = tiny_batch(seed=50)
    with _Watch("teach must only read (law 1)", student, teacher):
        first = teacher.teach(batch, student)
    second = teacher.teach(batch, student)
    same = all(_same(getattr(first, part), getattr(second, part)) for part in ("x", "target", "weight"))
    _need(same, "teach twice must give the same lesson (law 1): draw from counters, not from global state.")
    with _Watch("learn must not change the student (law 2)", student):
        teacher.learn(first, student, validation)
    with _Watch("revise must only read (law 1)", student, teacher):
        teacher.revise(first, student)


def _check_weights(factory: Callable[[], Teacher], validation: Batch) -> None:
    for progress in (0.0, 0.3, 0.6, 0.95):
        teacher, student = _pair(factory, validation)
        batch = tiny_batch(16, seed=51, progress=progress)
        weight = teacher.teach(batch, student).weight
        _need(bool(weight.isfinite().all() and (weight >= 0).all()), "weights must be finite and >= 0 (law 5).")
        order = torch.randperm(16, generator=torch.Generator().manual_seed(7))
        shuffled = Batch(batch.x[order], batch.y[order], batch.index[order], progress)
        permuted = teacher.teach(shuffled, student).weight
        if permuted.shape == weight.shape:
            _need(
                torch.allclose(permuted, weight[order], rtol=1e-9, atol=1e-12),
                "permuting the batch must permute the weights (law 5).",
            )
        single = teacher.teach(Batch(batch.x[:1], batch.y[:1], batch.index[:1], progress), student)
        alone = bool(single.weight.isfinite().all() and (single.weight >= 0).all())
        _need(alone, "the weight of a batch of one row must be finite and >= 0 (law 5).")
        wide = torch.zeros(16, 12, dtype=torch.float64)
        wide[:, ::2] = batch.x
        strided = Batch(wide[:, ::2], batch.y, batch.index, progress)
        same = torch.allclose(teacher.teach(strided, student).weight, weight, rtol=1e-9, atol=1e-12)
        _need(
            same or permuted.shape != weight.shape, "inputs that are not contiguous must give the same weights (law 5)."
        )


def _check_resume(factory: Callable[[], Teacher], validation: Batch) -> None:
    teacher, student = _pair(factory, validation, steps=3)
    other = factory().double()
    other.load_state_dict(teacher.state_dict())
    try:
        thawed = pickle.loads(pickle.dumps(teacher))  # noqa: S301
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ContractError(f"a teacher must pickle (law 6): {error}; define it at the top of a module.") from error
    copies = {"state_dict": other, "pickle": thawed, "deepcopy": copy.deepcopy(teacher)}
    needed = _gone_on(teacher, student, validation)
    for how, restored in copies.items():
        _need(
            _same(_gone_on(restored, student, validation), needed),
            f"after {how} a teacher must go on with the same bytes (law 6): keep what you remember in buffers.",
        )


def _gone_on(teacher: Teacher, student: Student, validation: Batch) -> dict[str, Any]:
    """The state of a copy of the student after three more steps with this teacher."""
    twin = Student(tiny_net(), SGD(0.1, momentum=0.9))
    twin.load_state_dict(student.state_dict())
    for _ in range(3):
        lesson = teacher.teach(_with_ahead(tiny_batch(seed=52), teacher), twin)
        teacher.learn(lesson, twin, validation)
        twin.study(teacher.revise(lesson, twin))
    return twin.state_dict()


def _check_single_precision(factory: Callable[[], Teacher], validation: Batch) -> None:
    teacher, batch = factory(), tiny_batch(seed=55, dtype=torch.float32)
    student = Student(tiny_net(dtype=torch.float32), SGD(0.1))
    lesson = teacher.teach(batch, student)
    _need(lesson.weight.dtype == torch.float32, f"weights for float32 inputs are {lesson.weight.dtype} (law 5).")
    like = Batch(validation.x.float(), validation.y, validation.index, validation.progress)
    teacher.learn(lesson, student, like)
    student.study(lesson)


def _check_forwards(factory: Callable[[], Teacher], validation: Batch, own_forwards: int) -> None:
    teacher, student = _pair(factory, validation)
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    hook = student.architecture.register_forward_hook(count)
    lesson = teacher.teach(tiny_batch(seed=53), student)
    teacher.learn(lesson, student, validation)
    student.study(teacher.revise(lesson, student))
    hook.remove()
    _need(
        passes <= 1 + own_forwards,
        f"a step took {passes} student forward passes, but {1 + own_forwards} are allowed (law 8): "
        "use student.logits(batch.x), which is the pass that is studied.",
    )


def _check_gradient(factory: Callable[[], Teacher], validation: Batch, tolerance: float) -> None:
    """Compare ``.grad`` after ``learn`` with central differences of the loss after the lessons."""
    teacher, student = _pair(factory, validation)
    parameters = [p for p in teacher.parameters() if p.requires_grad]
    if not parameters:
        return
    batch, start = _step_of_learning(teacher, student, validation)
    found = [torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for p in parameters]
    teacher.load_state_dict(start)

    def loss() -> float:
        later = student
        for given in (batch, *batch.ahead):
            later = later.after(teacher.teach(given, later), differentiable=False)
        return cross_entropy(later.logits(validation.x), validation.y).mean().item()

    for p, gradient in zip(parameters, found):
        needed = torch.zeros_like(gradient)
        flat = p.data.view(-1)
        for i in range(flat.numel()):
            center, h = float(flat[i]), 1e-5
            flat[i] = center + h
            above = loss()
            flat[i] = center - h
            needed.view(-1)[i] = (above - loss()) / (2 * h)
            flat[i] = center
        error = float((gradient - needed).norm() / needed.norm().clamp_min(1e-8))
        _need(
            error <= tolerance,
            f"the gradient of learn differs from central differences by {error:.1e} relative (law 4).",
        )


def _step_of_learning(teacher: Teacher, student: Student, validation: Batch) -> tuple[Batch, dict[str, Any]]:
    """Go on to the first step at which ``learn`` leaves a gradient; return its batch, and the teacher before it."""
    for p in teacher.parameters():
        p.grad = None
    for seed in range(54, 74):
        batch = _with_ahead(tiny_batch(seed=seed), teacher)
        start = copy.deepcopy(teacher.state_dict())
        lesson = teacher.teach(batch, student)
        teacher.learn(lesson, student, validation)
        if any(p.grad is not None for p in teacher.parameters()):
            break
        student.study(teacher.revise(lesson, student))
    return batch, start


def check_student(net: nn.Module, x: Tensor, y: Tensor, rule: Rule | None = None, *, tolerance: float = 0.0) -> None:
    """Run a network through the laws that every student keeps.

    Args:
        net: maps x (N, ...) to logits (N, C); float64 gives the sharpest comparison.
        x: a few inputs, N >= 2.
        y: class ids (N,).
        rule: update rule; default: SGD with momentum.
        tolerance: largest difference between ``study`` and ``after``; 0: the same bytes. Fused layers (LSTM) take
            another kernel when a gradient of the gradient may be wanted, and need 1e-6.

    Raises:
        ContractError: naming the law that is broken.
    """
    student = Student(net, rule or SGD(0.05, momentum=0.9), seed=1)
    lesson = Lesson(x, y, torch.linspace(0.5, 1.5, len(x), dtype=x.dtype), cross_entropy)
    student.study(lesson)
    with _Watch("looking must leave no trace (law 2)", student):
        kept = student.logits(x)
        student.logits(x, training=False)
        student.predict(x)
        later = student.after(lesson)
        later.logits(x)
        again = student.after(lesson)
        fresh = student.at({}).logits(x)
    _need(
        torch.equal(kept, fresh),
        "a pass must depend on parameters, buffers and the random state only (law 2): keep no other state.",
    )
    _need(_same(dict(later.params), dict(again.params)), "after must give the same student each time (law 2).")
    student.study(lesson)
    worst = float(torch.stack([(later.params[n] - p).detach().abs().max() for n, p in student.params.items()]).max())
    _need(worst <= tolerance, f"study(lesson) must equal after(lesson) (law 3); they differ by {worst:.1e}.")
    twin = Student(copy.deepcopy(net), student.rule)
    twin.load_state_dict(student.state_dict())
    student.study(lesson)
    twin.study(lesson)
    _need(_same(student.state_dict(), twin.state_dict()), "a restored student must go on with the same bytes (law 6).")


def check_rule(
    rule: Rule,
    reference: Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer],
    *,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    steps: int = 20,
    tolerance: float = 1e-12,
) -> None:
    """Compare a rule with a torch optimiser: float64, with parameters whose gradient is 0, missing or seldom.

    Args:
        rule: ours.
        reference: makes torch's from a list of parameters.
        schedule: makes torch's scheduler from the optimiser, stepped after every step.
        steps: how many to compare.
        tolerance: largest absolute difference of any parameter.

    Raises:
        ContractError: if they differ, or the rule changes its arguments.
    """
    generator = torch.Generator().manual_seed(0)
    names = ("matrix", "bias", "dead", "seldom", "unused")
    values = {n: torch.randn(3, 2, generator=generator, dtype=torch.float64) for n in names}
    theirs = {n: nn.Parameter(v.clone()) for n, v in values.items()}
    optimiser = reference(list(theirs.values()))
    scheduler = schedule(optimiser) if schedule else None
    params, state = dict(values), rule.init(values)
    for number in range(steps):
        gradients = {n: torch.randn(3, 2, generator=generator, dtype=torch.float64) for n in ("matrix", "bias")}
        gradients["dead"] = torch.zeros(3, 2, dtype=torch.float64)
        if number % 3 == 1:
            gradients["seldom"] = torch.randn(3, 2, generator=generator, dtype=torch.float64)
        before = _bytes(params), _bytes({k: dict(v) for k, v in state.slots.items()})
        new, later = rule.step(params, {"seldom": None, "unused": None, **gradients}, state)
        kept = before[0], {k: dict(v) for k, v in before[1].items()}
        _need(_same(kept, (params, {k: dict(v) for k, v in state.slots.items()})), "a rule must not change in place.")
        params, state = new, later
        for n, p in theirs.items():
            p.grad = gradients[n].clone() if n in gradients else None
        optimiser.step()
        if scheduler is not None:
            scheduler.step()
        worst = float(torch.stack([(params[n] - theirs[n].detach()).abs().max() for n in names]).max())
        _need(worst <= tolerance, f"the rule differs from torch.optim by {worst:.1e} after step {state.step} (law 3).")


HypergradientCall = Callable[
    [Student, Sequence[Taught], ValidationLoss, Sequence[Tensor]], tuple[Tensor, Sequence[Tensor]]
]


def check_hypergradient(
    factory: Callable[[], HypergradientCall],
    *,
    steps: int = 3,
    exact: bool = True,
    rule: Rule | None = None,
    tolerance: float = 1e-6,
) -> None:
    """Run a hypergradient strategy through the laws that every strategy keeps.

    Args:
        factory: returns a strategy; called with no arguments.
        steps: how many lessons it looks ahead.
        exact: whether it gives the derivative of training by these steps; False for truncated, implicit and
            approximate ones, whose number is then not looked at.
        rule: of the student; default: SGD(0.1, momentum=0.9).
        tolerance: largest relative error, against central differences of real training.

    Raises:
        ContractError: naming the law that is broken.
    """
    rule = SGD(0.1, momentum=0.9) if rule is None else rule
    for kind in ("plain", "shared", "dropout", "batchnorm"):
        _check_call(factory, _LookAhead(kind, rule, steps), may_refuse=kind == "batchnorm")
    _check_call(factory, _LookAhead("plain", rule, steps, torch.float32), may_refuse=False)
    problem = _LookAhead("plain", rule, steps)
    _check_refusals(factory, problem)
    if exact:
        found = factory()(problem.student, problem.lessons(), problem.loss, [problem.eta])[1][0]
        error = float((found - problem.differences()).norm() / found.norm().clamp_min(1e-8))
        _need(error <= tolerance, f"the result differs from central differences by {error:.1e} relative (law 4).")


class _LookAhead:
    """A student, lessons whose weights are learned, and a validation loss."""

    def __init__(self, kind: str, rule: Rule, steps: int, dtype: torch.dtype = torch.float64) -> None:
        self.kind, self.dtype = kind, dtype
        self.student = Student(tiny_net(kind, dtype=dtype), rule)
        self.student.study(Lesson(*self._rows(70), torch.ones(12, dtype=dtype), cross_entropy))
        self._steps = steps
        self.eta = torch.linspace(-1.0, 1.0, 12, dtype=dtype).requires_grad_()
        self.unused = torch.ones(2, 3, dtype=dtype, requires_grad=True)

    def _rows(self, seed: int) -> tuple[Tensor, Tensor]:
        batch = tiny_batch(seed=seed, dtype=self.dtype)
        return batch.x, batch.y

    def lessons(self, eta: Tensor | None = None) -> list[Lesson]:
        weight = torch.sigmoid(self.eta if eta is None else eta)
        return [Lesson(*self._rows(t), weight, cross_entropy) for t in range(self._steps)]

    def loss(self, student: Student) -> Tensor:
        x, y = self._rows(99)
        return cross_entropy(student.logits(x, training=False), y).mean()

    def trained(self, eta: Tensor) -> float:
        student = Student(tiny_net(self.kind, dtype=self.dtype), self.student.rule)
        student.load_state_dict(self.student.state_dict())
        for lesson in self.lessons(eta):
            student.study(lesson)
        return float(self.loss(student).detach())

    def differences(self, h: float = 1e-5) -> Tensor:
        center, unit = self.eta.detach(), torch.eye(12, dtype=self.dtype)
        slopes = [(self.trained(center + h * d) - self.trained(center - h * d)) / (2 * h) for d in unit]
        return torch.tensor(slopes, dtype=self.dtype)


def _check_call(factory: Callable[[], HypergradientCall], problem: _LookAhead, *, may_refuse: bool) -> None:
    student, lessons = problem.student, problem.lessons()
    wrt = [problem.unused, problem.eta]
    try:
        with _Watch("a hypergradient must leave no trace (law 2)", student):
            loss, found = factory()(student, lessons, problem.loss, wrt)
    except ConfigError:
        if not may_refuse:
            raise
        return
    left = [*student.params.values(), *student.architecture.parameters(), *wrt]
    _need(all(t.grad is None for t in left), "a hypergradient must not write to .grad (law 2).")
    alike = [(g.shape, g.dtype, g.device) == (w.shape, w.dtype, w.device) for g, w in zip(found, wrt)]
    _need(
        len(found) == 2 and all(alike),
        "the gradients must be one an entry of wrt, in its order, shape, dtype and device.",
    )
    _need(not bool(found[0].any()), "an entry of wrt that nothing depends on must get zeros.")
    _need(bool(found[1].isfinite().all() and found[1].any()), "a gradient must be finite, and not 0 everywhere.")
    _need(
        loss.ndim == 0 and not any(t.requires_grad for t in (loss, *found)),
        "the loss must be a scalar, and neither it nor the gradients may hold a graph.",
    )
    again = factory()(student, lessons, problem.loss, wrt)
    _need(_same([loss, *found], [again[0], *again[1]]), "a second call must give the same bytes: keep the graphs.")


def _check_refusals(factory: Callable[[], HypergradientCall], problem: _LookAhead) -> None:
    lessons, eta = problem.lessons(), problem.eta
    cases: dict[str, tuple[list[Lesson], Tensor]] = {
        "no lessons": ([], eta),
        "a wrt of integers": (lessons, torch.ones(3, dtype=torch.int64)),
        "a wrt that requires no gradient": (lessons, torch.ones(3)),
        "lessons that do not depend on wrt": (problem.lessons(eta.detach()), eta),
    }
    for what, (given, wrt) in cases.items():
        try:
            factory()(problem.student, given, problem.loss, [wrt])
        except TutelageError:
            continue
        raise ContractError(f"a hypergradient must refuse {what} with an error of tutelage.errors.")
