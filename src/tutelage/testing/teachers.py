"""The contract of a teacher."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ..lesson import Batch, Lesson
from ..losses import cross_entropy
from ..rules import SGD
from ..student import Student
from ..teacher import Teacher
from .laws import ContractError, Watch, identical, need
from .tiny import tiny_batch, tiny_net


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
        need(isinstance(lesson, Lesson), f"teach returned a {type(lesson).__name__}, but needs to return a Lesson.")
        teacher.learn(lesson, student, validation)
        student.study(teacher.revise(lesson, student))
    return teacher, student


def _with_ahead(batch: Batch, teacher: Teacher) -> Batch:
    ahead = (tiny_batch(seed=1000 + k, progress=batch.progress) for k in range(teacher.ahead))
    return replace(batch, ahead=tuple(ahead))


def _check_reading(factory: Callable[[], Teacher], kind: str, validation: Batch) -> None:
    teacher, student = _pair(factory, validation, kind)
    batch = tiny_batch(seed=50)
    with Watch("teach must only read (law 1)", student, teacher):
        first = teacher.teach(batch, student)
    second = teacher.teach(batch, student)
    same = all(identical(getattr(first, part), getattr(second, part)) for part in ("x", "target", "weight"))
    need(same, "teach twice must give the same lesson (law 1): draw from counters, not from global state.")
    with Watch("learn must not change the student (law 2)", student):
        teacher.learn(first, student, validation)
    with Watch("revise must only read (law 1)", student, teacher):
        teacher.revise(first, student)


def _check_weights(factory: Callable[[], Teacher], validation: Batch) -> None:
    for progress in (0.0, 0.3, 0.6, 0.95):
        teacher, student = _pair(factory, validation)
        batch = tiny_batch(16, seed=51, progress=progress)
        weight = teacher.teach(batch, student).weight
        need(bool(weight.isfinite().all() and (weight >= 0).all()), "weights must be finite and >= 0 (law 5).")
        order = torch.randperm(16, generator=torch.Generator().manual_seed(7))
        shuffled = Batch(batch.x[order], batch.y[order], batch.index[order], progress)
        permuted = teacher.teach(shuffled, student).weight
        if permuted.shape == weight.shape == order.shape:  # a made example is no row of the batch
            need(
                torch.allclose(permuted, weight[order], rtol=1e-9, atol=1e-12),
                "permuting the batch must permute the weights (law 5).",
            )
        single = teacher.teach(Batch(batch.x[:1], batch.y[:1], batch.index[:1], progress), student)
        alone = bool(single.weight.isfinite().all() and (single.weight >= 0).all())
        need(alone, "the weight of a batch of one row must be finite and >= 0 (law 5).")
        wide = torch.zeros(16, 12, dtype=torch.float64)
        wide[:, ::2] = batch.x
        strided = Batch(wide[:, ::2], batch.y, batch.index, progress)
        same = torch.allclose(teacher.teach(strided, student).weight, weight, rtol=1e-9, atol=1e-12)
        need(
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
        need(
            identical(_gone_on(restored, student, validation), needed),
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
    need(lesson.weight.dtype == torch.float32, f"weights for float32 inputs are {lesson.weight.dtype} (law 5).")
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
    need(
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
        need(
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
