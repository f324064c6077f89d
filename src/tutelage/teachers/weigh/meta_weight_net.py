"""Meta-Weight-Net: weights as a learned function of the loss alone."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ...interactions import Normalise, effective_share, labels_of, weights_of
from ...lesson import Batch, Lesson, Loss
from ...look_ahead import LookAhead
from ...losses import cross_entropy
from ...randomness import seeded, stream
from ...student import Student
from ...teacher import Teacher


def loss_curve(hidden: Sequence[int]) -> nn.Sequential:
    """Return ``V``: (N, 1) -> (N, 1), linear layers with ReLU between them."""
    pairs = list(pairwise([1, *hidden, 1]))
    parts = [part for a, b in pairs[:-1] for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts, nn.Linear(*pairs[-1]))


class MetaWeightNet(Teacher):
    """Weighs each example by ``s = sigmoid(V(loss))``, V a small network that descends the validation loss.

    In each step: look ahead with the old V, change V, teach again with the new one, and study. ``weight_i = N s_i /
    sum_j s_j``.

    Args:
        hidden: widths of V's hidden layers.
        normalise: ``"sum"``: as above; ``"mean"``: ``weight_i = s_i``, as in the published ``MW-Net.py``.
        loss: per-example loss, of lessons and validation.
        seed: of the initial parameters (PyTorch's defaults).
        **options: of :class:`tutelage.look_ahead.LookAhead`: steps (K) and every (B), here 1 by default, window,
            inputs, look_ahead (the published code looks ahead by ``"plain"`` steps, while the student takes others),
            strategy, rule, validation_rows.

    Raises:
        ConfigError: for options outside their ranges.

    A label outside 0..C-1, such as -1 for none, gives weight 0. Notes of a lesson: ``score`` (N,), ``unlabelled``, how
    many rows have no label, and ``batch``.

    Source: Shu et al., "Meta-Weight-Net: learning an explicit mapping for sample weighting", NeurIPS 2019, algorithm 1.
    """

    def __init__(
        self,
        *,
        hidden: Sequence[int] = (100,),
        normalise: Normalise = "sum",
        loss: Loss = cross_entropy,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        if not hidden or min(hidden) < 1:
            raise ConfigError(f"hidden is {tuple(hidden)}; it needs the width of at least one layer, such as (100,).")
        if normalise not in get_args(Normalise):
            raise ConfigError(f'normalise is "{normalise}"; it must be one of {", ".join(get_args(Normalise))}.')
        self.hidden, self.normalise, self.loss, self.seed = tuple(hidden), normalise, loss, seed
        with seeded(stream(seed, "meta-weight-net")):
            self.curve = loss_curve(hidden)
        defaults: dict[str, Any] = {"steps": 1, "every": 1, "loss": loss}
        self.look_ahead = LookAhead(dict(self.curve.named_parameters()), **(defaults | options))
        self.ahead = self.look_ahead.ahead

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that JSON can hold."""
        mine = {"hidden": list(self.hidden), "normalise": self.normalise, "seed": self.seed}
        return mine | self.look_ahead.arguments

    def scores(self, losses: Tensor) -> Tensor:
        """Return the scores (N,) of losses (N,), each in (0, 1)."""
        dtype = next(self.curve.parameters()).dtype
        logit: Tensor = self.curve(losses.to(dtype).unsqueeze(1))
        return torch.sigmoid(logit).squeeze(1).to(losses.dtype)

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the batch with its given labels, weighted; differentiable in V and the student."""
        labels, known = labels_of(batch.y, student.logits(batch.x).shape[-1])
        scores = self.scores(student.losses(batch.x, labels, self.loss)).to(batch.weight_dtype)
        weight = weights_of(scores, known, self.normalise)
        seen = torch.where(known, scores.detach(), 0.0)
        return Lesson(batch.x, labels, weight, self.loss, {"score": seen, "unlabelled": (~known).sum(), "batch": batch})

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Descend the validation loss if it is time; return ``effective_share``, ``unlabelled`` and what was found."""
        params, batch = dict(self.curve.named_parameters()), lesson.notes["batch"]
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
