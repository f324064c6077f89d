"""Credit: what each pseudo label of a lesson does to a later loss of the student, and what a teacher descends for it.

A student steps from w to ``w' = step(w, g)`` with ``g = grad (1/N) sum_i weight_i CE(label_i, S(x_i))``; M is a loss of
the student there, on labelled examples. With ``s = (d step / d g)^T dM / dw'`` at w' (``-lr u``, u the tangent of the
rule: for SGD ``dM / dw'`` itself), the derivative of M in the probability that label i gives to class c is ::

    credit_ic = -(weight_i / N) d log p_ic(w + eps s) / d eps    at eps = 0,  p = softmax S(x),

a table (N, C). Where it is positive, more of that class would make the later loss rise: its probability is to fall.

Source: Pham et al., "Meta pseudo labels", CVPR 2021, section 2 and appendix A, where one scalar is the credit of a
whole batch. Our derivatives are exact for any rule; signs are those of what a teacher descends.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .errors import NotDifferentiable
from .hypergradient.base import operators_named
from .hypergradient.one_step import answers_along
from .lesson import Lesson
from .losses import cross_entropy
from .ranks import mean_over_ranks
from .student import Descent, Student

Feedback = Callable[[Student], Tensor]
"""A loss of the student on labelled examples: a scalar."""
Direction = Mapping[str, Tensor | None]
"""By parameter; None where nothing depends on it."""
_INSTEAD = 'mode "soft-fd" (--soft fd) or "hard-scalar", which need neither'


class Pullback(NamedTuple):
    """A later loss, and its derivative in the gradient of a lesson.

    Attributes:
        loss: M(w'), a scalar.
        s: ``(d step / d g)^T dM``, by parameter.
        dot: ``-<s, g>``, a scalar: by how much M falls through the step, to first order.
    """

    loss: Tensor
    s: Direction
    dot: Tensor


def feedback_loss(x: Tensor, y: Tensor) -> Feedback:
    """Return the mean cross-entropy of labelled examples, as in evaluation and in full precision under autocast."""

    def loss(student: Student) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return cross_entropy(student.logits(x, training=False), y).mean()

    return loss


def pulled_back(student: Student, lesson: Lesson, feedback: Feedback, *, at: str = "new") -> Pullback:
    """Take the feedback's derivative back through the student's own update rule, at its present gradient and state.

    The gradient of the lesson is kept for ``student.study``. Over ranks, g and s are averaged.

    Args:
        student: who is about to study the lesson.
        lesson: with a target that is a value.
        feedback: of a student.
        at: ``"new"``: the feedback's gradient is taken at w', ``"old"``: at w. Both see the running statistics that
            the step leads to.
    """
    later, gradients = _step(student, lesson)
    end = later if at == "new" else later.at({n: p.detach().requires_grad_() for n, p in student.params.items()})
    with torch.enable_grad():
        loss = feedback(end)
    leaves = {n: g for n, g in gradients.items() if g is not None}
    if at == "new":
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    else:
        names = list(leaves)
        v = torch.autograd.grad(loss, [end.params[n] for n in names], materialize_grads=True)
        found = torch.autograd.grad([later.params[n] for n in names], list(leaves.values()), v, allow_unused=True)
    known = {n: d for n, d in zip(leaves, found) if d is not None}
    mean_over_ranks(list(known.values()))
    dot = -sum((d * leaves[n].detach()).sum() for n, d in known.items()) if known else torch.zeros_like(loss)
    assert isinstance(dot, Tensor)
    return Pullback(loss.detach(), {n: known.get(n) for n in gradients}, dot.detach())


def losses_around(student: Student, lesson: Lesson, feedback: Feedback) -> tuple[Tensor, Tensor]:
    """Return the feedback before and after the lesson, both with the running statistics that the step leads to.

    So nothing but the parameters differs between the two, and without a step the difference is exactly 0.
    """
    descent = _averaged(student, lesson)
    with torch.no_grad():
        later = student.follow(lesson, descent)
        old, new = feedback(later.at(student.params)), feedback(later)
    mean_over_ranks([old, new])
    return old, new


def loss_before(student: Student, lesson: Lesson, feedback: Feedback) -> Tensor:
    """Return the feedback at the student's present parameters, with the running statistics that the step leads to."""
    with torch.no_grad():
        later = student.follow(lesson, _averaged(student, lesson))
        old = feedback(later.at(student.params))
    mean_over_ranks([old])
    return old


def by_jvp(student: Student, lesson: Lesson, s: Direction) -> Tensor:
    """Return the credit table (N, C) by one forward-mode pass: exact, no derivative of a derivative.

    Raises:
        NotDifferentiable: if an operator of the student's network has no forward mode.
    """
    with operators_named("by_jvp", student, _INSTEAD):
        z, u = answers_along(student, lesson.x, s)
    along = u - (torch.softmax(z, -1) * u).sum(-1, keepdim=True)
    return _table(lesson, along)


@torch.no_grad()
def by_difference(student: Student, lesson: Lesson, s: Direction, r: float | None = None) -> Tensor:
    """Return the credit table (N, C) from two passes at ``w +- e s`` with ``e = r / ||s||``: error O(r^2).

    Args:
        student: who is about to study the lesson.
        lesson: what it studies.
        s: as in :class:`Pullback`.
        r: how far apart; default 1e-4 in float64, else 1e-2.
    """
    known = [d for d in s.values() if d is not None]
    norm = float(torch.nn.utils.get_total_norm(known)) if known else 0.0
    if norm == 0.0:
        return torch.zeros_like(student.logits(lesson.x))
    e = (r or (1e-4 if known[0].dtype == torch.float64 else 1e-2)) / norm
    ends = []
    for step in (e, -e):
        there = {n: p if (d := s[n]) is None else torch.add(p, d, alpha=step) for n, p in student.params.items()}
        ends.append(torch.log_softmax(student.at(there).logits(lesson.x), -1))
    return _table(lesson, (ends[0] - ends[1]) / (2 * e))


def by_unrolling(student: Student, lesson: Lesson, feedback: Feedback) -> tuple[Tensor, Tensor]:
    """Return M(w') and the credit table (N, C) by reverse mode through the step's graph: the reference.

    Args:
        student: who is about to study the lesson.
        lesson: its target (N, C) requires a gradient.
        feedback: of a student.

    Raises:
        NotDifferentiable: if an operator of the student's network has no second derivative.
    """
    with operators_named("by_unrolling", student, _INSTEAD):
        descent = student.descent(lesson, create_graph=True, keep=True)
        with torch.enable_grad():
            loss = feedback(student.follow(lesson, descent))
        (table,) = torch.autograd.grad(loss, [lesson.target])
    return loss.detach(), table


def soft_term(q: Tensor, table: Tensor) -> Tensor:
    """Return ``sum_ic q_ic credit_ic``, whose gradient in a teacher is that of M: exact for soft labels.

    Args:
        q: labels (N, C), with the teacher's graph.
        table: credit (N, C).
    """
    return (q * table).sum()


def per_sample_term(logits: Tensor, labels: Tensor, table: Tensor) -> Tensor:
    """Return ``sum_i h_i CE(label_i, z_i)`` with ``h_i = -credit_i,label_i``, what each drawn label did by itself.

    Its mean over the labels is :func:`soft_term`; its variance does not grow with N.

    Args:
        logits: of which the labels were drawn, temperature included, (N, C), with the teacher's graph.
        labels: (N,).
        table: credit (N, C).
    """
    h = -table.gather(1, labels.unsqueeze(1)).squeeze(1)
    return (h * cross_entropy(logits, labels)).sum()


def scalar_term(logits: Tensor, labels: Tensor, h: Tensor, scale: str = "sum") -> Tensor:
    """Return ``h sum_i CE(label_i, z_i)``, one credit for the whole batch: the paper's, of a large variance.

    Args:
        logits: of which the labels were drawn, temperature included, (N, C), with the teacher's graph.
        labels: (N,).
        h: how far the later loss fell, old - new, less a baseline: a scalar.
        scale: ``"sum"``: unbiased. ``"mean"``: 1/N of it, as in the paper.
    """
    losses = cross_entropy(logits, labels)
    return h * (losses.sum() if scale == "sum" else losses.mean())


def check_meta_gradient(gradient: Tensor, credit: Tensor) -> None:
    """Make sure that labelled examples reach a teacher through its student.

    Args:
        gradient: of the meta term in the teacher's logits.
        credit: what multiplied the labels in it: its size says what counts as rounding.

    Raises:
        NotDifferentiable: if the gradient is not finite, or 0 to rounding; the message names the likely cause.
    """
    if not bool(gradient.isfinite().all() and credit.isfinite().all()):
        cause = "the student's step or its feedback loss overflows: lower the student's learning rate"
        raise NotDifferentiable(f"the meta-gradient is not finite at the first step; {cause}.")
    size, rounding = credit.abs().max(), 16 * torch.finfo(gradient.dtype).eps
    if not bool(size > 0):
        cause = "no label changes the feedback loss: are all weights 0, or does the student ignore what it studies?"
    elif bool(gradient.abs().max() <= rounding * size):
        cause = (
            "it does not depend on the teacher: are its labels certain (probability 1), or is the cross-entropy taken "
            "with its own softmax, whose gradient is 0?"
        )
    else:
        return
    raise NotDifferentiable(f"the meta-gradient is 0 at the first step; {cause}")


def _step(student: Student, lesson: Lesson) -> tuple[Student, dict[str, Tensor | None]]:
    """The student one step on, and the leaves that stand for the lesson's gradient in it."""
    descent = _averaged(student, lesson)
    gradients = {n: None if g is None else g.detach().requires_grad_() for n, g in descent.gradients.items()}
    with torch.enable_grad():
        later = student.follow(lesson, descent._replace(gradients=gradients))
    return later, gradients


def _averaged(student: Student, lesson: Lesson) -> Descent:
    descent = student.descent(lesson, keep=True)
    mean_over_ranks([g for g in descent.gradients.values() if g is not None])
    return descent


def _table(lesson: Lesson, along: Tensor) -> Tensor:
    weight = lesson.weight.detach().to(along.dtype) / len(lesson)
    return -weight.unsqueeze(1) * along
