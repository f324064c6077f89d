"""The contract of a network, taught as a student."""

import copy

import torch
from torch import Tensor, nn

from ..lesson import Lesson
from ..losses import cross_entropy
from ..rules import SGD, Rule
from ..student import Student
from .laws import Watch, identical, need


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
    with Watch("looking must leave no trace (law 2)", student):
        kept = student.logits(x)
        student.logits(x, training=False)
        student.predict(x)
        later = student.after(lesson)
        later.logits(x)
        again = student.after(lesson)
        fresh = student.at({}).logits(x)
    need(
        torch.equal(kept, fresh),
        "a pass must depend on parameters, buffers and the random state only (law 2): keep no other state.",
    )
    need(identical(dict(later.params), dict(again.params)), "after must give the same student each time (law 2).")
    student.study(lesson)
    worst = float(torch.stack([(later.params[n] - p).detach().abs().max() for n, p in student.params.items()]).max())
    need(worst <= tolerance, f"study(lesson) must equal after(lesson) (law 3); they differ by {worst:.1e}.")
    twin = Student(copy.deepcopy(net), student.rule)
    twin.load_state_dict(student.state_dict())
    student.study(lesson)
    twin.study(lesson)
    need(
        identical(student.state_dict(), twin.state_dict()), "a restored student must go on with the same bytes (law 6)."
    )
