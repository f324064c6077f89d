"""Label synthesis: examples come at random, and each gets the label whose step brings the student nearest a target."""

from typing import Any

import torch
from torch import Tensor

from ...codewords import codewords_of, wide
from ...errors import ConfigError
from ...lesson import Batch, Lesson
from ...linear_sgd import SQUARED, LinearLoss, check_learner, terms, weights_of
from ...randomness import counter, smallest, stream
from ...rules import Scalar
from ...student import Student
from ...teacher import Teacher


class LabelSynthesis(Teacher):
    """Shows a row of the pool at random, with a label made for it; the pool's own labels are not read.

    A step of rate eta on ``x`` with residual R changes ``||W - W*||^2`` by ``eta^2 ||x||^2 ||R - r||^2`` and what no
    label changes, with ``r = (W - W*) x / (eta ||x||^2)``: the label is the one whose residual is nearest to r. For the
    squared error that is ``y = W x - r``, after which ``W+ x = W* x`` whatever eta is; for the logistic loss a mean
    label in [-1, 1]; for the softmax cross-entropy probabilities, a point of the simplex.

    Args:
        target: W* (K, d), (d,) for a single output, or a trained student: its last layer.
        loss: what the student studies by.
        eta: the rate of its steps, > 0; default: that of the student's rule.
        bound: of the labels' sizes for the squared error, > 0; default: twice the largest ``|W* x|`` in the pool;
            infinity: none.
        hard: give the best of the real labels: of all classes, or of -1 and +1.
        seed: of the draws of rows.

    Raises:
        ConfigError: for eta or bound <= 0, a bound of labels that are bounded already, numbers that are to be ``hard``,
            and MCBoost's labels, which do not mix, unless they are; in ``teach``, if the student's last layer has a
            bias.
        ShapeError: in ``teach``, if that layer has not the shape of the target.

    Source: Liu, Liu, Wang, Paull, Schoelkopf and Weller, "Iterative teaching by label synthesis", NeurIPS 2021:
    the greedy teacher (LAST).
    """

    target: Tensor
    taught: Tensor

    def __init__(
        self,
        target: Tensor | Student,
        *,
        loss: LinearLoss = SQUARED,
        eta: float | None = None,
        bound: float | None = None,
        hard: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if (eta is not None and eta <= 0) or (bound is not None and bound <= 0):
            raise ConfigError(f"eta = {eta} and bound = {bound}, but each has to be above 0, or None for its default.")
        if bound is not None and loss != SQUARED:
            raise ConfigError(
                f"bound is of the squared error; labels of the {loss.name} loss have bounds of their own."
            )
        if hard and loss == SQUARED:
            raise ConfigError("hard chooses among real labels, but any number is a label of the squared error.")
        if not hard and loss.label_for is None:
            raise ConfigError(f"labels of the {loss.name} loss do not mix: choose among the real ones (hard=True).")
        self.linear, self.eta, self.bound, self.hard, self.seed = loss, eta, bound, hard, seed
        self.register_buffer("target", weights_of(target))
        self.register_buffer("taught", torch.tensor(0))

    @torch.no_grad()
    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return one row with its label.

        ``notes``: ``index`` of the row in the data set, ``row`` in the pool, int64 (1,), and ``score`` (1,), by how
        much the step lowers ``||W - W*||^2``.
        """
        check_learner(student, self.target)
        key = counter(stream(self.seed, "rows to be labelled"), int(self.taught))
        row = smallest(key, batch.index, 1).nonzero().squeeze(1)
        pool, answers = map(wide, student.embed(batch.x))
        target = self.target.to(pool)
        features, logits, apart = pool[row], answers[row], codewords_of(student, pool[:64], answers[:64]) - target
        eta = student.lr if self.eta is None else self.eta
        label = (self._best_real if self.hard else self._made)(features, logits, apart, eta)
        if self.linear == SQUARED:
            most = 2 * float((pool @ target.T).abs().max()) if self.bound is None else self.bound
            label = label.clamp(-most, most)
        score = terms(self.linear.residuals(logits, label), features, apart).gain(eta)
        weight = torch.ones(1, dtype=batch.weight_dtype, device=batch.x.device)
        notes = {"index": batch.index[row], "row": row, "score": score}
        return Lesson(batch.x[row], label, weight, self.linear.losses, notes)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Count the lesson, so that the next one draws another row."""
        self.taught += 1
        return {}

    def _made(self, features: Tensor, logits: Tensor, apart: Tensor, eta: Scalar) -> Tensor:
        """The label (1,), or (1, K), whose residual is nearest to r."""
        assert self.linear.label_for is not None
        size = (eta * features.square().sum(1, keepdim=True)).clamp_min(torch.finfo(features.dtype).tiny)
        return self.linear.label_for(logits, features @ apart.T / size)

    def _best_real(self, features: Tensor, logits: Tensor, apart: Tensor, eta: Scalar) -> Tensor:
        """The label (1,) of largest gain, the first of equal ones."""
        real = torch.arange(logits.shape[1]) if self.linear.labels == "classes" else torch.tensor([-1.0, 1.0])
        real = real.to(logits.device)
        residuals = self.linear.residuals(logits.expand(len(real), -1), real)
        return real[terms(residuals, features, apart).gain(eta).argmax()][None]
