"""Deep interactions: weights from what goes on inside the student, learned from its validation loss."""

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ...errors import ConfigError, ShapeError
from ...interactions import Normalise, answers_of, effective_share, features_of, labels_of, margin, surface, weights_of
from ...lesson import Batch, Lesson, Loss
from ...look_ahead import LookAhead
from ...losses import cross_entropy
from ...randomness import seeded, stream
from ...student import Student
from ...teacher import Teacher

Form = Literal["deep", "bilinear", "surface"]
WIDTHS = {"deep": 64, "bilinear": 32, "surface": 64}
"""Default widths of the forms."""


class Deep(nn.Module):
    """``b . tanh(W_h h + E_y + W_s s) + b_0``."""

    def __init__(self, features: int, label: nn.Module, readings: int, width: int) -> None:
        super().__init__()
        self.features, self.label = nn.Linear(features, width), label
        self.surface, self.out = nn.Linear(readings, width), nn.Linear(width, 1)

    def forward(self, s: Tensor, y: Tensor, h: Tensor) -> Tensor:
        """Return the score's logit (N,) of surface s (N, 2 or 3), label y and features h (N, d)."""
        logit: Tensor = self.out(torch.tanh(self.features(h) + self.label(y) + self.surface(s)))
        return logit.squeeze(1)


class Bilinear(nn.Module):
    """``(U h) . E_y / sqrt(width) + w_s . s``: ``U^T E_y`` is what the label looks like among the features."""

    def __init__(self, features: int, label: nn.Module, readings: int, width: int) -> None:
        super().__init__()
        self.features, self.label, self.surface = nn.Linear(features, width), label, nn.Linear(readings, 1)
        self.scale = 1.0 / math.sqrt(width)

    def forward(self, s: Tensor, y: Tensor, h: Tensor) -> Tensor:
        """Return the score's logit (N,) of surface s (N, 2 or 3), label y and features h (N, d)."""
        likeness = (self.features(h) * self.label(y)).sum(1) * self.scale
        logit: Tensor = likeness + self.surface(s).squeeze(1)
        return logit


class Surface(nn.Module):
    """``f([s, E_y])`` with one hidden layer of ReLU: what can be seen without looking inside."""

    def __init__(self, label: nn.Module, embedded: int, readings: int, width: int) -> None:
        super().__init__()
        self.label = label
        self.net = nn.Sequential(nn.Linear(readings + embedded, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, s: Tensor, y: Tensor, h: None) -> Tensor:
        """Return the score's logit (N,) of surface s (N, 2 or 3) and label y."""
        logit: Tensor = self.net(torch.cat([s, self.label(y)], 1))
        return logit.squeeze(1)


class DeepInteractions(Teacher):
    """Weighs each example by its label, the student's features and the surface (loss, progress, margin).

    With scores ``s = sigmoid(form(surface, y, h))`` of the student's one training pass, ``weight_i = N s_i / sum_j
    s_j``. The parameters descend the validation loss after K lessons, every B steps; the lesson that is then studied
    is taught again.

    ==========  ==========================================================================
    form        logit of the score, with embeddings E of the labels
    ==========  ==========================================================================
    deep        ``b . tanh(W_h h + E_y + W_s surface) + b_0``, width 64
    bilinear    ``(U h) . E_y / sqrt(32) + w_s . surface``, width 32
    surface     ``f([surface, E_y])``, E of 8 numbers, f one hidden layer of 64 ReLUs
    ==========  ==========================================================================

    Args:
        form: see above.
        features: d, width of ``h``; not needed for ``"surface"``. :meth:`for_student` finds it out.
        classes: C; with ``regression`` how many numbers a row has to predict.
        layers: the modules of the student whose outputs are ``h``; none: the input of its last linear layer.
        width: of the form; default: as above.
        normalise: ``"sum"``: as above; ``"mean"``: ``weight_i = s_i``.
        regression: y are numbers, (N,) or (N, C): the margin is left out, and E_y is a linear layer.
        loss: per-example loss, of lessons and validation.
        seed: of the initial parameters (PyTorch's defaults).
        **options: of :class:`tutelage.look_ahead.LookAhead`: steps (K), every (B), window, inputs, look_ahead,
            strategy, rule, validation_rows.

    Raises:
        ConfigError: for options outside their ranges.
        ShapeError: in ``teach``, if the student has other features or classes, or rows have several labels.

    A label outside 0..C-1, such as -1 for none, gives weight 0. Notes of a lesson: ``score`` (N,), ``unlabelled``, how
    many rows have no label, and ``batch``.

    Source: Fan et al., "Learning to teach with deep interactions", 2020, section 3. It has no published code: the exact
    form of its network is not known; ``"bilinear"`` is our own.
    """

    def __init__(
        self,
        form: Form = "deep",
        *,
        features: int | None = None,
        classes: int = 10,
        layers: Sequence[str] = (),
        width: int | None = None,
        normalise: Normalise = "sum",
        regression: bool = False,
        loss: Loss = cross_entropy,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        _check(form, features, classes, width, normalise, regression)
        self.form, self.features, self.classes, self.layers = form, features, classes, tuple(layers)
        self.width = WIDTHS[form] if width is None else width
        self.normalise, self.regression, self.loss, self.seed = normalise, regression, loss, seed
        with seeded(stream(seed, "deep interactions")):
            self.scorer = self._scorer()
        self.look_ahead = LookAhead(dict(self.scorer.named_parameters()), **({"loss": loss} | options))
        self.ahead = self.look_ahead.ahead

    @classmethod
    def for_student(
        cls, student: Student, batch: Batch, form: Form = "deep", *, layers: Sequence[str] = (), **options: Any
    ) -> "DeepInteractions":
        """Return a teacher for a student, with the features and classes that it has on a batch.

        Args:
            student: who will be taught.
            batch: a few examples as in training.
            form: see the class.
            layers: see the class.
            **options: further arguments.
        """
        features = None if form == "surface" else features_of(student, batch.x, layers).shape[1]
        classes = student.logits(batch.x).shape[-1]
        return cls(form, layers=layers, **({"features": features, "classes": classes} | options))

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that JSON can hold."""
        names = ("form", "features", "classes", "width", "normalise", "regression", "seed")
        mine = {name: getattr(self, name) for name in names}
        return mine | {"layers": list(self.layers)} | self.look_ahead.arguments

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the batch with its given labels, weighted; differentiable in the scorer and the student."""
        labels, known = self._labels(batch)
        losses = student.losses(batch.x, labels, self.loss)
        margins = None if self.regression else margin(answers_of(student, batch.x, self.classes), labels)
        readings = surface(losses, batch.progress, margins)
        inside = None if self.form == "surface" else self._inside(batch, student)
        dtype = next(self.scorer.parameters()).dtype
        shown = labels.reshape(len(batch), -1).to(dtype) if self.regression else labels
        inside = None if inside is None else inside.to(dtype)
        scores = torch.sigmoid(self.scorer(readings.to(dtype), shown, inside)).to(batch.weight_dtype)
        weight = weights_of(scores, known, self.normalise)
        seen = torch.where(known, scores.detach(), 0.0)
        notes = {"score": seen, "unlabelled": (~known).sum(), "batch": batch}
        return Lesson(batch.x, labels, weight, self.loss, notes)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Descend the validation loss if it is time; return ``effective_share``, ``unlabelled`` and what was found."""
        params, batch = dict(self.scorer.named_parameters()), lesson.notes["batch"]
        metrics = self.look_ahead.learn(params, self.teach, batch, student, validation, lesson=lesson)
        share = effective_share(lesson.notes["score"])
        return metrics | {"effective_share": share, "unlabelled": lesson.notes["unlabelled"]}

    def revise(self, lesson: Lesson, student: Student) -> Lesson:
        """Teach again, without a graph, if the parameters have just changed."""
        return self.look_ahead.revised(self.teach, lesson, student)

    def freeze(self) -> None:
        """Learn no more; warns, because what was learned on one student seldom holds for another."""
        self.look_ahead.freeze()
        self.ahead = 0

    def _scorer(self) -> nn.Module:
        readings = 2 if self.regression else 3
        embedded = 8 if self.form == "surface" else self.width
        label = nn.Linear(self.classes, embedded) if self.regression else nn.Embedding(self.classes, embedded)
        if self.form == "surface":
            return Surface(label, embedded, readings, self.width)
        assert self.features is not None
        kind = Deep if self.form == "deep" else Bilinear
        return kind(self.features, label, readings, self.width)

    def _labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if not self.regression:
            return labels_of(batch.y, self.classes)
        if batch.y[:1].numel() != self.classes:
            raise ShapeError(f"labels are {tuple(batch.y.shape)}, but this teacher was made for {self.classes} a row.")
        return batch.y, torch.ones(len(batch), dtype=torch.bool, device=batch.x.device)

    def _inside(self, batch: Batch, student: Student) -> Tensor:
        inside = features_of(student, batch.x, self.layers)
        if inside.shape[1] != self.features:
            raise ShapeError(
                f"this teacher was made for {self.features} features, but the student has {inside.shape[1]}: "
                f"make another, with features={inside.shape[1]}."
            )
        return inside


def _check(form: str, features: int | None, classes: int, width: int | None, normalise: str, regression: bool) -> None:
    if form not in WIDTHS:
        raise ConfigError(f'form is "{form}"; it must be one of {", ".join(WIDTHS)}.')
    if normalise not in get_args(Normalise):
        raise ConfigError(f'normalise is "{normalise}"; it must be one of {", ".join(get_args(Normalise))}.')
    if form != "surface" and (features is None or features < 1):
        raise ConfigError(
            f"features is {features}, but form {form} needs the width of what it reads from the student: pass it, "
            "or use DeepInteractions.for_student."
        )
    if width is not None and width < 1:
        raise ConfigError(f"width is {width}; it must be at least 1.")
    if classes < (1 if regression else 2):
        raise ConfigError(f"classes is {classes}; a teacher that weighs by labels needs at least 2.")
