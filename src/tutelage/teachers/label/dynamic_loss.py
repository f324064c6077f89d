"""Dynamic loss: a loss whose form is learned, and changes with how far the student is."""

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ...interactions import answers_of, labels_of
from ...lesson import Batch, Lesson, Loss
from ...look_ahead import LookAhead
from ...losses import cross_entropy
from ...randomness import seeded, stream
from ...rules import Adam
from ...student import Student
from ...teacher import Teacher

Form: TypeAlias = Literal["soft", "paper", "linear"]
Start: TypeAlias = Literal["zeros", "identity"]

KEY_SIZE = 8
"""Numbers in the key of a memory slot."""


def attention(state: Tensor, keys: Tensor, query: Tensor) -> Tensor:
    """Return ``a = softmax_m(k_m . tanh(Q s))``, (M,).

    Args:
        state: s, (3,).
        keys: k, (M, 8).
        query: Q, (8, 3).
    """
    return (keys @ torch.tanh(query @ state)).softmax(0)


def linear_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``- sum_c W[y, c] log p_c + b``, (N,).

    Args:
        logits: (N, C).
        target: rows ``W[y, :]`` and then b, (N, C + 1).
    """
    return target[:, -1] - (target[:, :-1] * logits.log_softmax(1)).sum(1)


def sigmoid_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``sigmoid(- y^T W log p + b)``, (N,), in (0, 1); arguments as of :func:`linear_loss`."""
    return linear_loss(logits, target).sigmoid()


LOSSES: dict[Form, Loss] = {"soft": cross_entropy, "paper": sigmoid_loss, "linear": linear_loss}


class Averages(nn.Module):
    """Moving averages of the training and the validation loss over log C, and the state of the present window.

    The state stands still within a window, so that the lessons that were looked at are those that are studied.

    Args:
        decay: of both, in [0, 1).

    Attributes:
        moving: the averages, (2,); 1, as of a student that knows nothing, at first.
        held: the averages as the window began, (2,).
        progress: of the last lesson.
    """

    moving: Tensor
    held: Tensor
    progress: Tensor

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        for name, value in (("moving", torch.ones(2)), ("held", torch.ones(2)), ("progress", torch.zeros(()))):
            self.register_buffer(name, value)

    def state(self, progress: float | Tensor) -> Tensor:
        """Return ``(progress, training loss / log C, validation loss / log C)``, (3,)."""
        return torch.cat([self.held.new_ones(1) * progress, self.held])

    @torch.no_grad()
    def take(self, which: int, value: Tensor) -> None:
        """Take in a training (0) or a validation (1) loss over log C."""
        self.moving[which].lerp_(value.to(self.moving), 1 - self.decay)

    def hold(self) -> None:
        """End a window: the state is that of now."""
        self.held.copy_(self.moving)


class DynamicLoss(Teacher):
    """Teaches with a loss of its own, ``W(s) = sum_m a_m(s) W_m``, ``a = softmax_m(k_m . tanh(Q s))``.

    The state s is progress, and moving averages of the training and of the validation loss over log C; each of M
    memory slots has a key k_m and a (C, C) matrix W_m. The teacher stands still within a window, then descends the
    validation loss through the window's lessons. A label outside 0..C-1 is unknown: such an example has weight 0.

    Args:
        classes: C of the students that it will teach.
        form: ``"soft"``: ``l_i = - sum_c softmax(W[y_i, :])_c log p_ic``; each row of the label map is a distribution,
            and the loss is bounded below. ``"paper"``: ``sigmoid(- y_i^T W log p_i + b)``, ``"linear"``:
            ``- W[y_i, :] log p_i + b``; both are unstable, and for research only.
        slots: M.
        start: of every W_m: ``"zeros"``, or ``"identity"``: 4 I.
        lr: of Adam, without decay.
        decay: of the moving averages, in [0, 1), a step of the student and an update of the teacher.
        seed: of the initial keys.
        **looking: of :class:`tutelage.look_ahead.LookAhead`: steps (K, 5), every (B, 5), window, inputs, ...

    Raises:
        ConfigError: for options outside their ranges.
        ShapeError: in ``teach``, if the student has another number of classes, or rows have several labels.

    Source: Wu et al., "Learning to teach with dynamic loss functions", NeurIPS 2018. There the state is the number of
    the iteration with training and development accuracy, and the loss ``"paper"``, as far as known.
    """

    def __init__(
        self,
        classes: int,
        *,
        form: Form = "soft",
        slots: int = 1,
        start: Start = "zeros",
        lr: float = 0.05,
        decay: float = 0.9,
        seed: int = 0,
        **looking: Any,
    ) -> None:
        super().__init__()
        for name, given, known in (("form", form, Form), ("start", start, Start)):
            if given not in get_args(known):
                raise ConfigError(f'{name} is "{given}"; it must be one of {", ".join(get_args(known))}.')
        if classes < 2 or slots < 1 or not 0 <= decay < 1:
            raise ConfigError(
                f"DynamicLoss has {classes} classes, {slots} slots and decay {decay}; it needs at least 2 classes, "
                "1 slot, and decay in [0, 1)."
            )
        self.classes, self.form, self.slots, self.start = classes, form, slots, start
        self.lr, self.decay, self.seed = lr, decay, seed
        first = torch.zeros(classes, classes) if start == "zeros" else 4.0 * torch.eye(classes)
        self.memory = nn.Parameter(first.repeat(slots, 1, 1))
        with seeded(stream(seed, "dynamic-loss")):
            self.keys = nn.Parameter(torch.randn(slots, KEY_SIZE))
            self.query = nn.Parameter(torch.randn(KEY_SIZE, 3))
        self.bias = nn.Parameter(torch.zeros(())) if form != "soft" else None
        self.averages = Averages(decay)
        self.look_ahead = LookAhead(dict(self.named_parameters()), **({"rule": Adam(lr)} | looking))
        self.ahead = self.look_ahead.ahead

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that JSON can hold."""
        names = ("classes", "form", "slots", "start", "lr", "decay", "seed")
        return {name: getattr(self, name) for name in names} | self.look_ahead.arguments

    @property
    def label_map(self) -> Tensor:
        """What each label is taught as, (C, C), at the state of the last lesson, without graph.

        Of the form ``"soft"`` each row is a distribution over the classes; of the others it is W.
        """
        return self.map_at(self.averages.state(self.averages.progress)).detach()

    def map_at(self, state: Tensor) -> Tensor:
        """Return the label map, (C, C), at ``(progress, training loss / log C, validation loss / log C)``, (3,)."""
        matrix = torch.einsum("m,mij->ij", attention(state, self.keys, self.query), self.memory)
        return matrix.softmax(1) if self.form == "soft" else matrix

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the batch with the learned loss, differentiable in the teacher."""
        answers_of(student, batch.x, self.classes)
        labels, known = labels_of(batch.y, self.classes)
        loss = student.losses(batch.x, labels, cross_entropy).detach()
        notes = {"loss": loss, "mean_loss": (loss * known).sum() / known.sum().clamp_min(1)}
        return self._lesson(batch, self.averages.state(batch.progress), notes)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Descend the validation loss if a window begins (or ends, of ``"back"``); see :class:`LookAhead`.

        Returns:
            the examples ``unlabelled``, and at an update ``validation_loss`` and ``hypergradient_norm``.
        """
        notes, averages, looking = lesson.notes, self.averages, self.look_ahead
        metrics = looking.learn(self._params, self._virtual, notes["batch"], student, validation)
        averages.progress.fill_(notes["batch"].progress)
        averages.take(0, notes["mean_loss"] / math.log(self.classes))
        if metrics:
            averages.take(1, metrics["validation_loss"] / math.log(self.classes))
        # the lessons of a window have one state: a new one comes after the last of them, wherever the window lies
        if (student.step + (looking.window == "ahead")) % looking.every == 0:
            averages.hold()
        return metrics | {"unlabelled": notes["unlabelled"]}

    def revise(self, lesson: Lesson, student: Student) -> Lesson:
        """Return the same batch with the loss as it is after an update."""
        if not self.look_ahead.has_updated(student):
            return lesson
        batch = lesson.notes["batch"]
        began = self.look_ahead.window == "back"
        state = self.averages.state(batch.progress) if began else lesson.notes["state"]
        return self._lesson(batch, state, lesson.notes)

    def freeze(self) -> None:
        """Learn no more: the memory stays, the state moves on."""
        self.look_ahead.freeze()
        self.ahead = 0

    @property
    def _params(self) -> dict[str, Tensor]:
        return dict(self.named_parameters())

    def _virtual(self, batch: Batch, student: Student) -> Lesson:
        return self._lesson(batch, self.averages.state(batch.progress), {})

    def _lesson(self, batch: Batch, state: Tensor, notes: Mapping[str, Any]) -> Lesson:
        labels, known = labels_of(batch.y, self.classes)
        target = self.map_at(state)[labels]
        if self.bias is not None:
            target = torch.cat([target, self.bias.expand(len(batch), 1)], 1)
        dtype = batch.weight_dtype
        notes = {**notes, "batch": batch, "state": state, "unlabelled": (~known).sum()}
        return Lesson(batch.x, target.to(dtype), known.to(dtype), LOSSES[self.form], notes)
