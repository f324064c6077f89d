"""Meta pseudo labels: a teacher labels for a student, and learns from how that student then does on labels."""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ... import credit
from ...errors import ConfigError, ShapeError, unknown
from ...lesson import Batch, Lesson, Loss
from ...losses import cross_entropy
from ...masks import Mask, Silence
from ...randomness import counter, stream
from ...ranks import ranks
from ...rules import SGD, Rule
from ...semi_supervised import (
    UDA,
    Annealing,
    confidences,
    consistency,
    drawn_labels,
    label_health,
    labelled_weights,
    view_of,
)
from ...student import Student
from ...taught_net import TaughtNet, check_answers
from ...teacher import Teacher

Mode = Literal["soft-jvp", "soft-unroll", "soft-fd", "hard-per-sample", "hard-scalar", "distil"]


class MetaPseudoLabels(Teacher):
    """Labels ``q = softmax(T(x) / temperature)`` for a student, and descends the student's loss on labelled examples.

    Each step it descends ``supervised_weight CE(y, T(x_l)) + w(t) L_uda + meta_weight G``, where G is the derivative of
    ``M(w - lr U(grad L_u))``: of the labelled loss M of the student after the very step that it is about to take. By
    mode:

    - ``soft-jvp``: labels q; exact, by one forward-mode pass (:func:`tutelage.credit.by_jvp`).
    - ``soft-unroll``: the same by reverse mode through the step; the reference. In one process only.
    - ``soft-fd``: the same by two more passes, for operators without forward mode.
    - ``hard-per-sample``: labels drawn from q, each with its own credit: unbiased, of a small variance.
    - ``hard-scalar``: labels drawn from q, one credit h for the batch, less a moving baseline: the paper's.
    - ``distil``: labels q and no feedback at all: the control.

    ``batch`` holds unlabelled rows with the views "weak" and "strong" (``batch.x`` where there is none), and
    ``batch.labelled`` the teacher's labelled examples. The student is scored on what ``learn`` gets as validation, else
    on ``batch.labelled`` (its view "clean" if there is one). While the student's rate is 0 there is no feedback.

    Args:
        net: the teacher's network, copied; with ``reduced`` it maps stored logits (N, C) to adjusted ones.
        rule: of the teacher.
        mode: as above.
        meta_weight: of G; 0: a control, nothing is computed for it. Negative: away from the student's good.
        supervised_weight: of the teacher's own labelled loss.
        temperature: of the labels, > 0.
        label_view: which view the labels are of.
        student_view: which view the student studies.
        uda: consistency of the teacher on both views, or None.
        mask: instead of the threshold of ``uda``, one that adapts.
        label_smoothing: of the teacher's labelled loss, in [0, 1).
        student_smoothing: of the labels that the student gets, in [0, 1).
        label_threshold: the student studies only labels whose largest probability reaches it.
        tsa: release labelled examples slowly: ``"linear"``, ``"exp"``, ``"log"``.
        baseline: of hard-scalar: how much of the moving average of h is kept at a step; it is taken off h.
        credit: of hard-scalar, how h is found: ``"difference"``, the loss before less that after; ``"dot"``, to first
            order; ``"average"`` of the dots at both ends; ``"auto"``: a difference for SGD without momentum, else dot.
        scale: of hard-scalar: ``"sum"`` over the batch is unbiased, ``"mean"`` the paper's 1/N of it.
        sample: of the hard modes: False takes the most probable label instead of a drawn one, which is biased.
        reduced: logits (n, C) of a large teacher, looked up by index; ``net`` is then a small network on them.
        report_every: steps between those whose metrics have ``meta_norm`` (||G||), ``meta_cosine`` (of G and the
            gradient of the supervised term, if there is one) and ``feedback_before``; they take two passes back through
            the teacher more, and one of the student on the labelled rows.

    Raises:
        ConfigError: for options outside their ranges, that do not go together, or that the mode would ignore.
        NotDifferentiable: at the first step that has feedback, if it does not reach the teacher.

    Source: Pham et al., "Meta pseudo labels", CVPR 2021, section 2 and algorithm 1. Its published code descends a term
    whose gradient is 0; a well-known port has the sign reversed. Here old less new is credited, both in evaluation mode
    with the same statistics, and soft labels get their exact gradient.
    """

    moving_h: Tensor
    checked: Tensor
    reduced: Tensor | None

    def __init__(
        self,
        net: nn.Module,
        rule: Rule,
        mode: Mode = "soft-jvp",
        *,
        meta_weight: float = 1.0,
        supervised_weight: float = 1.0,
        temperature: float = 1.0,
        label_view: Literal["weak", "strong"] = "weak",
        student_view: Literal["weak", "strong"] = "strong",
        uda: UDA | None = None,
        mask: Mask | None = None,
        label_smoothing: float = 0.0,
        student_smoothing: float = 0.0,
        label_threshold: float = 0.0,
        tsa: Annealing | None = None,
        baseline: float = 0.99,
        credit: Literal["auto", "difference", "dot", "average"] = "auto",
        scale: Literal["sum", "mean"] = "sum",
        sample: bool = True,
        reduced: Tensor | None = None,
        report_every: int = 50,
    ) -> None:
        super().__init__()
        if mode not in get_args(Mode):
            raise ConfigError(unknown("mode", str(mode), get_args(Mode)))
        self.mode, self.hard = mode, mode.startswith("hard")
        self.meta_weight = 0.0 if mode == "distil" else meta_weight
        self.supervised_weight, self.temperature = supervised_weight, temperature
        self.label_view, self.student_view = label_view, student_view
        self.uda, self.mask, self.silence = uda, mask, Silence()
        self.label_smoothing, self.student_smoothing = label_smoothing, student_smoothing
        self.label_threshold, self.tsa = label_threshold, tsa
        self.baseline, self.credit, self.scale, self.sample = baseline, credit, scale, sample
        self.report_every = report_every
        self.network = TaughtNet(net, rule)
        self._passed = False
        self.register_buffer("reduced", reduced, persistent=False)
        self.register_buffer("moving_h", torch.zeros((), dtype=torch.float64))
        self.register_buffer("checked", torch.tensor(False))
        self._check()

    @property
    def biased(self) -> str | None:
        """Why the meta-gradient is not an unbiased one, or None."""
        if self.hard and not self.sample and self.meta_weight:
            return "biased: labels are the most probable ones, not drawn"
        return None

    def predict(self, x: Tensor, *, batch_size: int = 1024) -> Tensor:
        """Return the teacher's own logits (N, C), as in evaluation."""
        return self.network.predict(x, batch_size=batch_size)

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the student's view with this teacher's labels; the notes hold the pass that made them."""
        inputs = self._inputs(batch)
        key = counter(stream(student.seed, "teacher"), student.step)
        with torch.enable_grad():
            z, buffers = self.network.answer(torch.cat(list(inputs.values())), key)
            parts = dict(zip(inputs, torch.split(z, [len(x) for x in inputs.values()])))
            logits = parts[self.label_view] / self.temperature
            q = torch.softmax(logits, -1)
        x = view_of(batch, self.student_view)
        if student.step == 0:
            check_answers(z, student.logits(x))
        target = q if self.mode == "soft-unroll" and self.meta_weight else q.detach()
        if self.hard:
            drawn = drawn_labels(q, batch.index, counter(stream(student.seed, "labels"), student.step))
            target = drawn if self.sample else q.argmax(-1)
        sure = q.detach().amax(-1) >= self.label_threshold
        weight = sure.to(batch.weight_dtype)
        notes = {"z": z, "parts": parts, "logits": logits, "q": q, "buffers": buffers, "batch": batch}
        return Lesson(x, target, weight, self._loss(), notes)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Descend the supervised, consistency and meta terms in one step; return what happened.

        Metrics: ``eta``, the student's rate; ``supervised_loss``, ``uda_loss``, ``uda_weight``, ``mask_rate``;
        ``mask_histogram`` (10,), of the weak view by confidence before its temperature; ``label_entropy``,
        ``label_histogram`` (C,), ``confidence_histogram`` (10,); with a ``label_threshold`` ``label_rate``, the share
        that reaches it; with feedback ``h`` (to first order, but for a difference) and ``feedback_loss`` (after the
        step), of a difference at every step ``feedback_before``, of hard-scalar ``baseline``.
        """
        notes, eta = lesson.notes, float(student.lr)
        z: Tensor = notes["z"]
        metrics: dict[str, Any] = {"eta": eta} | label_health(notes["q"])
        if self.label_threshold:
            metrics["label_rate"] = lesson.weight.mean()
        if self.biased:
            metrics["biased"] = True
        with torch.enable_grad():
            own, said = self._own_terms(lesson, student)
            meta, heard = self._feedback(lesson, student, validation) if self.meta_weight and eta > 0 else (None, {})
        params = list(self.network.trained().values())
        found = functools.partial(torch.autograd.grad, z, params, materialize_grads=True)
        if meta is not None and self._reports(student):
            g = found(meta, retain_graph=True)
            metrics["meta_norm"] = _flat(g).norm()
            if "labelled" in notes["parts"]:
                rows = torch.arange(len(z), device=z.device) < len(notes["parts"]["labelled"])
                supervised = found(own * rows.unsqueeze(1), retain_graph=True)
                metrics["meta_cosine"] = torch.cosine_similarity(_flat(g), _flat(supervised), 0)
            gradients = [a + b for a, b in zip(g, found(own))]
        else:
            gradients = list(found(own if meta is None else own + meta))
        self.network.descend(gradients)
        self.network.commit(notes["buffers"])
        return metrics | said | heard

    def _reports(self, student: Student) -> bool:
        return student.step % self.report_every == 0

    def _inputs(self, batch: Batch) -> dict[str, Tensor]:
        """What the teacher looks at in its one pass: the views that some term needs, in the order of the paper."""
        labelled = batch.labelled
        if self.supervised_weight and labelled is None:
            raise ConfigError(
                "MetaPseudoLabels: the batch has no labelled examples; give them, or supervised_weight=0."
            )
        if self.reduced is not None:
            rows = {"labelled": labelled.index} if self.supervised_weight and labelled is not None else {}
            rows |= {"weak": batch.index}
            last = max(int(index.max()) for index in rows.values())
            if last >= len(self.reduced):
                raise ShapeError(f"reduced has {len(self.reduced)} rows of logits, but an example has index {last}.")
            return {name: self.reduced[index] for name, index in rows.items()}
        inputs = {"labelled": labelled.x} if self.supervised_weight and labelled is not None else {}
        for view in ("weak", "strong"):
            if self.uda is not None or self.label_view == view:
                uda = "UDA" if self.uda is not None and view == "strong" else None
                inputs[view] = view_of(batch, view, needed_by=uda)
        return inputs

    def _own_terms(self, lesson: Lesson, student: Student) -> tuple[Tensor, dict[str, Any]]:
        """The gradient of the supervised and the consistency term in z, and metrics."""
        parts, batch, z = lesson.notes["parts"], lesson.notes["batch"], lesson.notes["z"]
        total = z.new_zeros(())
        metrics: dict[str, Any] = {}
        if "labelled" in parts:
            logits, y = parts["labelled"], batch.labelled.y
            weight = labelled_weights(logits, y, batch.progress, self.tsa)
            loss = (weight * cross_entropy(logits, y, label_smoothing=self.label_smoothing)).sum()
            total = total + self.supervised_weight * loss
            metrics["supervised_loss"] = loss.detach()
        if self.uda is not None:
            q, w = torch.softmax(parts["weak"].detach(), -1), self.uda.weight_at(student.step)
            mask = self.uda.mask(parts["weak"]) if self.mask is None else self.mask.weights(q, batch.index)
            loss = consistency(parts["weak"], parts["strong"], self.uda, mask)
            total = total + w * loss
            metrics |= {"uda_loss": loss.detach(), "uda_weight": w, "mask_rate": mask.mean()}
            metrics["mask_histogram"] = confidences(q)
            if self.mask is not None:
                self.mask.update(q, batch.index)
            self.silence(mask, q, student.step)
        if not total.requires_grad:
            return torch.zeros_like(z), metrics
        return torch.autograd.grad(total, z, retain_graph=True)[0], metrics

    def _feedback(self, lesson: Lesson, student: Student, validation: Batch | None) -> tuple[Tensor, dict[str, Any]]:
        """The gradient of ``meta_weight G`` in z, and metrics."""
        z, logits, q = lesson.notes["z"], lesson.notes["logits"], lesson.notes["q"]
        loss = self._feedback_loss(lesson.notes["batch"], validation)
        if self.mode == "hard-scalar":
            h, metrics = self._scalar(lesson, student, loss)
            past = self.moving_h.to(h.dtype, copy=True)
            counted = h - past
            self.moving_h.lerp_(h.double(), 1.0 - self.baseline)
            metrics |= {"h": h, "baseline": past}
            spread = ranks() if self.scale == "sum" else 1  # gradients are averaged over ranks, this is a sum
            term = credit.scalar_term(logits, lesson.target, spread * counted, self.scale)
            size = counted
        else:
            table, metrics = self._table(lesson, student, loss)
            if self.hard:
                term = credit.per_sample_term(logits, lesson.target, table)
            else:
                term = credit.soft_term(q, table)
            size = table
        if self._reports(student) and "feedback_before" not in metrics:
            metrics["feedback_before"] = credit.loss_before(student, lesson, loss)
        (gradient,) = torch.autograd.grad(term, z, retain_graph=True)
        if not self._passed and bool(lesson.weight.any()):  # not to read from the device at every step
            if not self.checked:
                credit.check_meta_gradient(gradient, size)
            self.checked.fill_(True)
            self._passed = True
        return self.meta_weight * gradient, metrics

    def _table(self, lesson: Lesson, student: Student, loss: credit.Feedback) -> tuple[Tensor, dict[str, Any]]:
        if self.mode == "soft-unroll":
            if ranks() > 1:
                raise ConfigError(
                    "soft-unroll runs in one process; over several ranks use soft-jvp, which is as exact."
                )
            new, table = credit.by_unrolling(student, lesson, loss)
            return table, {"h": -(lesson.target.detach() * table).sum(), "feedback_loss": new}
        back = credit.pulled_back(student, lesson, loss)
        by = credit.by_difference if self.mode == "soft-fd" else credit.by_jvp
        table = (1.0 - self.student_smoothing) * by(student, lesson, back.s)
        return table, {"h": back.dot, "feedback_loss": back.loss}

    def _scalar(self, lesson: Lesson, student: Student, loss: credit.Feedback) -> tuple[Tensor, dict[str, Any]]:
        how: str = self.credit
        if how == "auto":
            plain = isinstance(student.rule, SGD) and isinstance(student.rule.momentum, float | int)
            how = "difference" if plain and student.rule.momentum == 0 else "dot"  # type: ignore[attr-defined]
        if how == "difference":
            old, new = credit.losses_around(student, lesson, loss)
            return old - new, {"feedback_before": old, "feedback_loss": new}
        back = credit.pulled_back(student, lesson, loss)
        if how == "dot":
            return back.dot, {"feedback_loss": back.loss}
        start = credit.pulled_back(student, lesson, loss, at="old")
        return (start.dot + back.dot) / 2, {"feedback_before": start.loss, "feedback_loss": back.loss}

    def _feedback_loss(self, batch: Batch, validation: Batch | None) -> credit.Feedback:
        if validation is not None:
            return credit.feedback_loss(validation.x, validation.y)
        if batch.labelled is None:
            raise ConfigError(
                "MetaPseudoLabels: no labelled examples to score the student on; pass them as validation."
            )
        return credit.feedback_loss(view_of(batch.labelled, "clean"), batch.labelled.y)

    def _loss(self) -> Loss:
        s = self.student_smoothing
        return functools.partial(cross_entropy, label_smoothing=s) if s else cross_entropy

    def _check(self) -> None:
        for name in ("meta_weight", "supervised_weight"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be finite.")
        if self.supervised_weight < 0:
            raise ConfigError(f"supervised_weight is {self.supervised_weight}; it must be at least 0.")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"temperature is {self.temperature}; it must be above 0, and finite.")
        for name in ("label_smoothing", "student_smoothing", "label_threshold", "baseline"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be in [0, 1).")
        known = {"label_view": ("weak", "strong"), "student_view": ("weak", "strong"), "scale": ("sum", "mean")}
        for name, values in (known | {"credit": ("auto", "difference", "dot", "average")}).items():
            if getattr(self, name) not in values:
                raise ConfigError(unknown(name, str(getattr(self, name)), values))
        if self.mode != "hard-scalar" and (self.baseline, self.credit, self.scale) != (0.99, "auto", "sum"):
            raise ConfigError(
                f"baseline, credit and scale are of hard-scalar; the mode is {self.mode}, which has none."
            )
        if not self.hard and not self.sample:
            raise ConfigError(f"sample=False is of the hard modes; the mode is {self.mode}, whose labels are soft.")
        if self.mask is not None and self.uda is None:
            raise ConfigError("mask is of the consistency term; give uda, too.")
        if self.tsa is not None and not self.supervised_weight:
            raise ConfigError("tsa is of the supervised term, whose weight is 0.")
        if self.reduced is not None and (self.uda is not None or self.label_view != "weak"):
            raise ConfigError(
                "reduced: one row of logits is stored for each example, so there are no two views: no uda."
            )
        if self.report_every < 1:
            raise ConfigError(f"report_every is {self.report_every}; it is a number of steps, at least 1.")


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in gradients])
