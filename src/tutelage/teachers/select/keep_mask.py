"""Keep-mask: a teacher that shows some examples and drops others, and learns from how long its students take."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import ConfigError, unknown
from ...interactions import answers_of, labels_of, margin
from ...lesson import Batch, Lesson
from ...losses import cross_entropy
from ...optimiser import Optimiser
from ...randomness import counter, hashed_tensor, real_tensor, seeded, stream
from ...rules import Adam
from ...student import Student
from ...teacher import Teacher

STATE = ("loss", "margin", "label", "progress", "mean_loss", "best_accuracy", "probabilities", "rank")
"""What the teacher may see of an example:

``loss``: cross-entropy; ``margin``: :func:`tutelage.interactions.margin`; ``label``: one-hot, C numbers;
``progress``: share of the episode behind; ``mean_loss``: over the episode so far, log C before it; ``best_accuracy``:
on held-out examples in the episode so far; ``probabilities``: the student's, C numbers; ``rank``: share of the batch
whose loss is at most this one.
"""

FLOOR = math.log(1e-12)
"""No logarithm of a probability is taken as less."""


def log_probability(scores: Tensor, kept: Tensor) -> Tensor:
    """Return ``a_i log p_i + (1 - a_i) log(1 - p_i)`` with ``p = sigmoid(scores)``, each at least log 1e-12.

    Dropped examples count as much as kept ones: over the kept ones alone the estimator is biased, and with log p for
    all of them its mean is 0.

    Args:
        scores: (N,).
        kept: a, bool (N,).
    """
    return F.logsigmoid(torch.where(kept, scores, -scores)).clamp_min(FLOOR)


def score_gradient(scores: Tensor, kept: Tensor, params: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the derivative of ``sum_i log P(a_i)`` in the parameters that the scores (N,) depend on."""
    return torch.autograd.grad(log_probability(scores, kept).sum(), params)


def descent(gradient: Tensor, reward: Tensor | float, baseline: Tensor | float) -> Tensor:
    """Return ``-(R - b) * gradient``: descending it raises the expected return.

    Args:
        gradient: sum of :func:`score_gradient` over an episode.
        reward: R of the episode.
        baseline: b, which must not depend on what was drawn in the episode.

    Source: Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning",
    Machine Learning 1992.
    """
    return -(reward - baseline) * gradient


def keep_weights(kept: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``N a_i / max(1, sum_j a_j)``, (N,): the mean over the kept ones, and nothing if there is none."""
    a = kept.to(dtype)
    return a * (len(a) / a.sum().clamp_min(1.0))


def episode_return(reached: int | None, budget: int) -> float:
    """Return ``-log(reached / budget)``, 0 if it was not reached.

    Raises:
        ConfigError: for a number of batches outside 1..budget.
    """
    if budget < 1 or (reached is not None and not 1 <= reached <= budget):
        raise ConfigError(f"an episode reached its goal after {reached} of {budget} batches; give 1..budget, or None.")
    return 0.0 if reached is None else -math.log(reached / budget)


def draw(probability: Tensor, index: Tensor, key: int) -> Tensor:
    """Return which examples are kept, bool (N,): each with its probability, by the counter of its index."""
    return real_tensor(hashed_tensor(key, index)) < probability


class Gathered(nn.Module):
    """What an episode has gathered so far, in buffers.

    Args:
        params: whose gradients are summed.

    Attributes:
        lessons: how many were learned from.
        loss_sum: of their mean losses.
        best_accuracy: on held-out examples.
        frozen: whether the teacher learns no more.
    """

    lessons: Tensor
    loss_sum: Tensor
    best_accuracy: Tensor
    frozen: Tensor

    def __init__(self, params: Sequence[Tensor]) -> None:
        super().__init__()
        self.params = len(params)
        for i, parameter in enumerate(params):
            self.register_buffer(f"gradient_{i}", torch.zeros_like(parameter, requires_grad=False))
        for name, value in (("lessons", 0), ("loss_sum", 0.0), ("best_accuracy", 0.0), ("frozen", False)):
            self.register_buffer(name, torch.tensor(value))

    @property
    def gradients(self) -> list[Tensor]:
        """Sums of score gradients, one a parameter."""
        return [self.get_buffer(f"gradient_{i}") for i in range(self.params)]

    def add(self, gradients: Iterable[Tensor], loss: Tensor) -> None:
        """Take in a lesson: its score gradients, and the losses of its examples (N,)."""
        for total, gradient in zip(self.gradients, gradients):
            total += gradient
        self.loss_sum += loss.mean()
        self.lessons += 1

    def clear(self) -> None:
        """Forget all of it."""
        for tensor in (*self.gradients, self.lessons, self.loss_sum, self.best_accuracy):
            tensor.zero_()


class KeepMask(Teacher):
    """Shows an example with probability ``p_i = sigmoid(f(state_i))``, and learns f by REINFORCE.

    An episode is a run of one student from a fresh initialisation, until it is good enough on held-out examples
    (:func:`tutelage.episodes.episodes`). Its return is ``R = -log(i / T)``, i the batches that it took of at most T;
    the teacher then descends ``-(R - b) sum_t sum_i [a_i log p_i + (1 - a_i) log(1 - p_i)]`` once, with b a moving
    average of earlier returns, 0 before the first. Only the sum of the gradients is kept over an episode. A label
    outside 0..C-1 is unknown: such an example is dropped, and counted in the metrics.

    Args:
        classes: C of the students that it will teach.
        state: what f sees, of :data:`STATE`.
        hidden: width of the tanh layer of f; 0: f is linear.
        bias: of the last layer at the start; 2 keeps nearly nine tenths.
        lr: of Adam, a step an episode.
        decay: of the moving average of returns, in [0, 1).
        seed: of the initial parameters.

    Raises:
        ConfigError: for options outside their ranges.
        ShapeError: in ``teach``, if the student has another number of classes, or rows have several labels.

    Source: Fan, Tian, Qin, Li and Liu, "Learning to teach", ICLR 2018. Published code sums log p over dropped examples
    as well, or keeps where p > 1/2 instead of drawing; neither follows the gradient.
    """

    episode: Tensor
    baseline: Tensor
    best_return: Tensor
    stale: Tensor

    def __init__(
        self,
        classes: int,
        *,
        state: Iterable[str] = STATE,
        hidden: int = 12,
        bias: float = 2.0,
        lr: float = 0.01,
        decay: float = 0.8,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.classes, self.state, self.hidden = classes, tuple(state), hidden
        self.bias, self.lr, self.decay, self.seed = bias, lr, decay, seed
        if classes < 2 or hidden < 0 or not 0 <= decay < 1 or not self.state:
            raise ConfigError(
                f"KeepMask has {classes} classes, hidden {hidden}, decay {decay} and {len(self.state)} parts of the "
                "state; it needs at least 2 classes, hidden >= 0, decay in [0, 1) and one part."
            )
        for name in self.state:
            if name not in STATE:
                raise ConfigError(unknown("part of the state", name, STATE))
        width = sum(classes if name in ("label", "probabilities") else 1 for name in self.state)
        with seeded(stream(seed, "keep-mask")):
            last = nn.Linear(hidden or width, 1)
            self.net = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), last) if hidden else nn.Sequential(last)
        nn.init.constant_(last.bias, bias)
        self.optimiser = Optimiser(self._params, Adam(lr))
        self.gathered = Gathered([*self._params.values()])
        for name, value in (("episode", 0), ("stale", 0), ("baseline", 0.0), ("best_return", -math.inf)):
            self.register_buffer(name, torch.tensor(value))

    @torch.no_grad()
    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the batch with its given labels, kept examples weighted; the notes say state, score (p) and kept."""
        logits = answers_of(student, batch.x, self.classes)
        labels, known = labels_of(batch.y, self.classes)
        loss = student.losses(batch.x, labels, cross_entropy).detach()
        state = self._state(batch, logits.detach(), labels, loss)
        probability = self._scores(state).sigmoid()
        key = counter(stream(student.seed, "keep-mask"), student.step, int(self.episode), int(self.gathered.lessons))
        kept = draw(probability, batch.index, key) & known
        notes = {"loss": loss, "state": state, "score": probability, "known": known, "kept": kept}
        return Lesson(batch.x, labels, keep_weights(kept, batch.weight_dtype), cross_entropy, notes)

    @torch.enable_grad()
    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Add the gradient of this lesson's log-probability to the episode's sum; return the share that is kept."""
        notes, known = lesson.notes, lesson.notes["known"]
        gradients: Sequence[Tensor] = ()
        if not self.gathered.frozen:
            scores = self._scores(notes["state"])[known]
            gradients = score_gradient(scores, notes["kept"][known], [*self._params.values()])
        self.gathered.add(gradients, notes["loss"])
        return {"kept": notes["kept"].double().mean(), "unlabelled": (~known).sum()}

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments, as JSON can hold them."""
        names = ("classes", "hidden", "bias", "lr", "decay", "seed")
        return {name: getattr(self, name) for name in names} | {"state": list(self.state)}

    def freeze(self) -> None:
        """Learn no more: keep and drop by the probabilities of now."""
        self.gathered.frozen.fill_(True)

    def begin_episode(self) -> None:
        """Forget what an episode has gathered so far: a student from a fresh initialisation is to come."""
        self.gathered.clear()

    def measured(self, accuracy: float) -> None:
        """Take in the student's accuracy on held-out examples, in [0, 1]: ``best_accuracy`` of the state."""
        self.gathered.best_accuracy.clamp_(min=accuracy)

    def end_episode(self, reached: int | None, budget: int) -> dict[str, float]:
        """Learn from the episode, one step of Adam, and begin the next.

        Args:
            reached: batches used until the student was good enough, in 1..budget; None: it never was.
            budget: T, the most batches of an episode.

        Returns:
            what :meth:`rewarded` returns.

        Raises:
            ConfigError: for numbers of batches that do not fit.
        """
        return self.rewarded(episode_return(reached, budget))

    def rewarded(self, reward: float) -> dict[str, float]:
        """End an episode whose return is any number, the greater the better; otherwise as :meth:`end_episode`.

        Returns:
            ``return``, the ``baseline`` that it was compared with, and ``gradient_norm`` of what was descended.
        """
        baseline = float(self.baseline)
        gradients = [descent(total, reward, baseline) for total in self.gathered.gradients]
        if not self.gathered.frozen:
            self.optimiser.step(self._params, gradients)
        self.baseline.fill_(self.decay * baseline + (1 - self.decay) * reward if self.episode else reward)
        self.stale.copy_(torch.where(reward > self.best_return, 0, self.stale + 1))
        self.best_return.clamp_(min=reward)
        self.episode += 1
        self.begin_episode()
        norm = float(torch.nn.utils.get_total_norm(gradients))
        return {"return": reward, "baseline": baseline, "gradient_norm": norm}

    @property
    def _params(self) -> dict[str, Tensor]:
        return dict(self.net.named_parameters())

    def _scores(self, state: Tensor) -> Tensor:
        scores: Tensor = self.net(state).squeeze(1)
        return scores

    def _state(self, batch: Batch, logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
        """Return what f sees, (N, width), in the precision of its parameters."""
        n = len(batch)
        gathered = self.gathered
        mean_loss = gathered.loss_sum / gathered.lessons if gathered.lessons else math.log(self.classes)
        parts: dict[str, Tensor] = {
            "loss": loss,
            "margin": margin(logits, labels),
            "label": F.one_hot(labels, self.classes),
            "progress": loss.new_full((n,), batch.progress),
            "mean_loss": loss.new_ones(n) * mean_loss,
            "best_accuracy": loss.new_ones(n) * gathered.best_accuracy,
            "probabilities": logits.softmax(1),
            "rank": torch.searchsorted(loss.sort().values, loss, right=True).to(loss.dtype) / n,
        }
        like = next(self.net.parameters())
        return torch.cat([parts[name].reshape(n, -1).to(like) for name in self.state], 1)
