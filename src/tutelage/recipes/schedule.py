"""How the student of an experiment is trained: a value."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..errors import ConfigError
from ..rules import SGD, Adam, AdamW, Decay, Rule
from ..schedules import Cosine, StepDecay

Scaling: TypeAlias = Literal["rows", "each", "centre"]
"""``rows``: by mean and deviation of the training rows; ``each``: each image to mean 0 and variance 1 by itself;
``centre``: x / scale less its mean over the training rows, in each place."""


@dataclass(frozen=True)
class Schedule:
    """How the student of an experiment is trained.

    Attributes:
        rule: ``adam``, ``adamw`` or ``sgd``.
        lr: learning rate at the start; None: 0.001, for ``sgd`` 0.1.
        drops: shares of training after which the rate is divided by 10.
        cosine: let the rate fall to 0 as a cosine instead.
        momentum: of ``sgd``.
        nesterov: of ``sgd``.
        weight_decay: coefficient of ``1/2 ||w||^2``.
        decay_on: ``weights`` of two or more dimensions only, or ``all`` parameters.
        scale_decay: multiply the decay by the mean weight of the lesson.
        steps: about how long, if no number of epochs is given.
        batch_size: examples a step, if there are so many.
        pad: zero pixels at each side before a random crop.
        scaling: see :data:`Scaling`.
    """

    rule: str = "adam"
    lr: float | None = None
    drops: tuple[float, ...] = (0.50, 0.64, 0.77)
    cosine: bool = False
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 2e-4
    decay_on: Literal["weights", "all"] = "weights"
    scale_decay: bool = True
    steps: int = 900
    batch_size: int = 128
    pad: int = 4
    scaling: Scaling = "rows"

    def make(self, steps: int) -> Rule:
        """Return the rule for a training of so many steps.

        Raises:
            ConfigError: for an unknown rule.
        """
        lr = self.lr if self.lr is not None else (0.1 if self.rule == "sgd" else 1e-3)
        drops = tuple(round(share * steps) for share in self.drops)
        schedule = Cosine(lr, steps) if self.cosine else StepDecay(lr, drops)
        decay = Decay(self.weight_decay, on=self.decay_on, scaled=self.scale_decay)
        match self.rule:
            case "adam":
                return Adam(schedule, weight_decay=decay)
            case "adamw":
                return AdamW(schedule, weight_decay=decay)
            case "sgd":
                return SGD(schedule, momentum=self.momentum, weight_decay=decay, nesterov=self.nesterov)
        raise ConfigError(f'unknown rule "{self.rule}". Known: adam, adamw, sgd.')
