"""Hints: a student learns what layers inside a trained network answer, not its last one alone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ...feature_losses import FeatureLoss, FeatureTerm, HintRegression, HintTarget, Regressor
from ...frozen import Frozen
from ...lesson import Batch, Lesson
from ...optimiser import Optimiser
from ...randomness import seeded, stream
from ...ranks import mean_over_ranks
from ...rules import Adam, Rule
from ...soft_targets import KnowledgeDistillation, SoftTarget, TargetLoss
from ...student import Student
from ...teacher import Teacher


class Hints(Teacher):
    """Teaches ``loss(S(x), y, z) + sum_terms weight sum_l distance(F_s,l, F_t,l)`` for pairs l of named layers.

    Neither network is edited. Where a term regresses the student's features to the teacher's channels, the regressors
    are this teacher's parameters: it descends the same distances in them, both at once as one optimiser would.

    Args:
        source: one frozen network, asked live: its layers are in no cache.
        layers: pairs (layer of the teacher, layer of the student), named as ``named_modules`` does.
        terms: of the features.
        sizes: (channels of the student, channels of the teacher) of each pair, as :func:`hint_sizes` finds them;
            needed where a term regresses.
        loss: of the logits; default: the labels' cross-entropy alone.
        rule: of the regressors; default: ``Adam(1e-3)``.
        seed: of their first values.

    Raises:
        ConfigError: without layers, or sizes where they are needed.

    Source: Romero et al., "FitNets", ICLR 2015; Zagoruyko and Komodakis, "Paying more attention to attention", ICLR
    2017; Park et al., "Relational knowledge distillation", CVPR 2019.
    """

    def __init__(
        self,
        source: Frozen,
        layers: Sequence[tuple[str, str]],
        terms: Sequence[FeatureTerm] = (HintRegression(),),
        *,
        sizes: Sequence[tuple[int, int]] = (),
        loss: TargetLoss | None = None,
        rule: Rule | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not layers or not terms:
            raise ConfigError(
                "Hints: give pairs of layers, (of the teacher, of the student), and terms that compare them."
            )
        regress = any(term.regressed for term in terms)
        if regress and len(sizes) != len(layers):
            raise ConfigError(
                f"Hints: {len(layers)} pairs of layers, but sizes of {len(sizes)}: a regressor needs the channels of "
                "both, hint_sizes(source, student, layers, x) finds them."
            )
        self.source = source
        self.of_teacher = tuple(teacher for teacher, _ in layers)
        base = KnowledgeDistillation(ce_weight=1.0, kd_weight=0.0) if loss is None else loss
        self.loss = FeatureLoss(base, tuple(terms), tuple(student for _, student in layers))
        with seeded(stream(seed, "regressors")):
            self.regressors = nn.ModuleList(nn.Linear(*size) for size in (sizes if regress else ()))
        self.optimiser = Optimiser(self._trained(), Adam(1e-3) if rule is None else rule)

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the rows with labels, and with the logits and the layers of the teacher."""
        logits, outputs = self.source.answers_with(batch.x, self.of_teacher)
        features = tuple(outputs[name] for name in self.of_teacher)
        # copies: the student studies by the regressors that were, though learn changes them before
        regressors = tuple(Regressor(r.weight.detach().clone(), r.bias.detach().clone()) for r in self._linears())
        target = HintTarget(SoftTarget(batch.y, logits), features, regressors)
        weight = torch.ones(len(batch), dtype=batch.weight_dtype, device=batch.x.device)
        layers = tuple(dict.fromkeys(self.loss.layers))
        notes = {"method": repr(self.loss), **self.source.notes(batch)}
        return Lesson(batch.x, target, weight, self.loss, notes, layers)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Descend the distances of the lesson in the regressors; return ``hint_loss``, their weighted mean before."""
        if not self.regressors:
            return {}
        layers = {name: f.detach() for name, f in student.layers(lesson.x, lesson.layers).items()}
        target = lesson.target._replace(regressors=tuple(Regressor(r.weight, r.bias) for r in self._linears()))
        with torch.enable_grad():
            terms = [t for t in self.loss.terms if t.regressed]
            rows = [term.weight * self.loss.distance(term, target, layers) for term in terms]
            loss = (lesson.weight * sum(rows[1:], rows[0])).mean()
            trained = self._trained()
            gradients = torch.autograd.grad(loss, list(trained.values()))
        mean_over_ranks(gradients)
        self.optimiser.step(trained, gradients)
        return {"hint_loss": loss.detach()}

    def _linears(self) -> list[nn.Linear]:
        return [r for r in self.regressors if isinstance(r, nn.Linear)]

    def _trained(self) -> dict[str, Tensor]:
        return dict(self.regressors.named_parameters())


def hint_sizes(
    source: Frozen, student: Student, layers: Sequence[tuple[str, str]], x: Tensor
) -> tuple[tuple[int, int], ...]:
    """Return the (channels of the student, channels of the teacher) of pairs of layers, from a pass of both.

    Args:
        source: the teacher.
        student: any.
        layers: pairs (layer of the teacher, layer of the student).
        x: a few inputs (N, ...).

    Raises:
        ConfigError: for an unknown layer, with the nearest known one.
        ShapeError: for a layer that a pass does not reach, or whose output is no tensor of N rows.
    """
    _, theirs = source.answers_with(x, [teacher for teacher, _ in layers])
    with torch.no_grad():
        mine = student.layers(x, [name for _, name in layers], training=False)
    return tuple((mine[s].shape[1], theirs[t].shape[1]) for t, s in layers)
