"""Learning to reweight: an example counts as much as a step on it would lower the validation loss."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ...errors import ConfigError
from ...hypergradient import sizes_of
from ...hypergradient.one_step import answers_along
from ...interactions import effective_share, labels_of
from ...lesson import Batch, Lesson, Loss
from ...look_ahead import drawn
from ...losses import cross_entropy
from ...student import Student
from ...teacher import Teacher

How = Literal["auto", "jvp", "backward"]
Directions = Mapping[str, Tensor | None]


def validation_gradient(student: Student, validation: Batch, loss: Loss) -> dict[str, Tensor | None]:
    """``grad M(w)``, M the mean validation loss of the student in evaluation mode; None for what it does not reach."""
    with torch.enable_grad():
        mean = loss(student.evaluated().logits(validation.x), validation.y).mean()
        found = torch.autograd.grad(mean, list(student.params.values()), allow_unused=True)
    return dict(zip(student.params, found))


def agreement_by_jvp(student: Student, x: Tensor, labels: Tensor, loss: Loss, s: Directions) -> Tensor:
    """``J_i = <grad_w l_i, s>`` (N,), by one forward-mode pass: ``J_i = <d l_i / d z_i, (dz_i / dw) s>``."""
    z, u = answers_along(student, x, s)
    with torch.enable_grad():
        answers = z.requires_grad_()
        (slope,) = torch.autograd.grad(loss(answers, labels).sum(), answers)
    return (slope * u).flatten(1).sum(1)


def agreement_by_backward(student: Student, x: Tensor, labels: Tensor, loss: Loss, s: Directions) -> Tensor:
    """``J_i = <grad_w l_i, s>`` (N,), as ``d <g(eps), s> / d eps`` with ``g(eps) = grad_w sum_i eps_i l_i``."""
    reached = [n for n, direction in s.items() if direction is not None]
    with torch.enable_grad():
        losses = student.losses(x, labels, loss)
        eps = torch.zeros_like(losses, requires_grad=True)
        params = [student.params[n] for n in reached]
        g = torch.autograd.grad(losses, params, eps, create_graph=True, allow_unused=True)
        pairs = [(gradient, s[n]) for gradient, n in zip(g, reached) if gradient is not None]
        (found,) = torch.autograd.grad([a for a, _ in pairs], eps, [b for _, b in pairs], retain_graph=True)
    return found


def positive_part(agreement: Tensor) -> Tensor:
    """``N max(0, J_i) / sum_j max(0, J_j)``; all 0 if no J is above 0."""
    positive = agreement.clamp_min(0.0)
    total = positive.sum()
    return torch.where(total > 0, len(agreement) * (positive / total), 0.0)


class LearningToReweight(Teacher):
    """Weighs each example by how its gradient agrees with that of the validation loss M.

    ``J_i = <grad_w l_i(w), grad_w M(w)>, weight_i = N max(0, J_i) / sum_j max(0, J_j)``. This is the derivative of M
    after a plain step whose example weights stand at 0; learning rate and momentum cancel. If no J is above 0, all
    weights are 0: the student's step is then of momentum and decay only, and ``all_zero`` is 1 in the metrics.

    There is nothing to learn and nothing to remember; the validation examples are not in the ``state_dict``.

    Args:
        validation: trusted examples.
        how: ``"jvp"``: one forward-mode pass. ``"backward"``: the gradient of a gradient. Equal numbers; ``"auto"``:
            the first where activations outweigh parameters, as in convolutional networks.
        validation_rows: how many validation examples a step takes, drawn without replacement; all if no more.
        loss: per-example loss, of lessons and validation.

    Raises:
        ConfigError: for options outside their ranges.

    A label outside 0..C-1, such as -1 for none, gives weight 0. Notes of a lesson: ``score``, the weights, and
    ``unlabelled``, how many rows have no label.

    Source: Ren et al., "Learning to reweight examples for robust deep learning", ICML 2018, equations 7 to 11. Unlike
    its published code there is no second network: at weights 0 the virtual student is the student.
    """

    x: Tensor
    y: Tensor
    index: Tensor

    def __init__(
        self, validation: Batch, *, how: How = "auto", validation_rows: int = 512, loss: Loss = cross_entropy
    ) -> None:
        super().__init__()
        if how not in get_args(How):
            raise ConfigError(f'how is "{how}"; it must be one of {", ".join(get_args(How))}.')
        if validation_rows < 1 or len(validation) < 1:
            raise ConfigError("LearningToReweight needs at least one validation example a step.")
        self.how, self.validation_rows, self.loss = how, validation_rows, loss
        for name in ("x", "y", "index"):
            self.register_buffer(name, getattr(validation, name), persistent=False)

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the batch with its given labels, weighted; the weights are plain values."""
        how = self._chosen(batch, student)
        labels, known = labels_of(batch.y, student.logits(batch.x).shape[-1])
        x = self.x.to(batch.x.dtype) if batch.x.is_floating_point() else self.x
        validation = drawn(Batch(x, self.y, self.index), student, self.validation_rows)
        s = validation_gradient(student, validation, self.loss)
        agreement = agreement_by_jvp if how == "jvp" else agreement_by_backward
        j = agreement(student, batch.x, labels, self.loss, s)
        weight = positive_part(torch.where(known, j, 0.0)).to(batch.weight_dtype)
        notes = {"score": weight, "unlabelled": (~known).sum(), "how": how}
        return Lesson(batch.x, labels, weight, self.loss, notes)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Return ``effective_share``, ``unlabelled``, and ``all_zero``, 1 if no example counts, else 0."""
        self.how = lesson.notes["how"]
        return {
            "effective_share": effective_share(lesson.weight),
            "unlabelled": lesson.notes["unlabelled"],
            "all_zero": (~lesson.weight.any()).to(lesson.weight.dtype),
        }

    def _chosen(self, batch: Batch, student: Student) -> How:
        if self.how != "auto":
            return self.how
        sizes = sizes_of(student, batch.x)
        return "jvp" if sizes.activations > sizes.weights else "backward"
