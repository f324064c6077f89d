"""Mentor: a network with the settings it was made for; a curriculum function that was learned."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..lesson import percent
from .network import MentorNetwork


@dataclass(frozen=True)
class Settings:
    """How a mentor is meant to be used, and where it comes from.

    Attributes:
        percentile: p in (0, 1) of the moving percentile that its threshold was.
        decay: in [0, 1), of that moving percentile.
        burn_in: percent of training, in 0..100, before which all weights are 1.
        fixed_time: whether the time that the network sees stops at ``burn_in``.
        loss: name of the per-example loss.
        classes: number of classes it was learned with; None: none. The network does not depend on it.
        origin: what it was learned from and how well; whatever JSON can hold.

    Raises:
        ConfigError: for a number outside its range.
    """

    percentile: float = 0.5
    decay: float = 0.5
    burn_in: int = 18
    fixed_time: bool = True
    loss: str = "cross_entropy"
    classes: int | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.percentile < 1:
            raise ConfigError(f"percentile of a mentor is {self.percentile}; it must lie between 0 and 1, such as 0.5.")
        if not 0 <= self.decay < 1:
            raise ConfigError(f"decay of a mentor is {self.decay}; it must be in [0, 1).")
        if not 0 <= self.burn_in <= 100:
            raise ConfigError(f"burn_in of a mentor is {self.burn_in}; it is a percent of training, in 0..100.")


class Mentor(nn.Module):
    """A learned curriculum function ``v(loss, threshold, progress) = sigmoid(g(l, l - threshold, e))``.

    It can stand wherever a function of :mod:`tutelage.curricula` can. Its ``state_dict`` holds all that changes.

    Args:
        network: what it computes with.
        settings: how it is meant to be used; of these only ``fixed_time`` and ``burn_in`` play a part here: the
            network then sees the time ``min(e, burn_in)``. Burn-in itself is the teacher's.
        held: the percent, in 0..99, that the network sees whatever the time is; for mentors that were fitted to
            one moment of a training. It can be changed at any time.

    Raises:
        ConfigError: if ``held`` is outside 0..99.

    Source: Jiang et al., "MentorNet", ICML 2018, section 3.
    """

    def __init__(self, network: MentorNetwork, settings: Settings | None = None, *, held: int | None = None) -> None:
        super().__init__()
        if held is not None and not 0 <= held <= 99:
            raise ConfigError(f"held is {held}; it is a percent of training, in 0..99.")
        self.network = network
        self.settings = Settings() if settings is None else settings
        self.held = held

    @torch.no_grad()
    def forward(self, loss: Tensor, threshold: Tensor, progress: float) -> Tensor:
        """Return the weights.

        Args:
            loss: >= 0, of any shape, such as (B,) or (S, B).
            threshold: broadcasts against it.
            progress: share of training that lies behind, in [0, 1).

        Returns:
            Weights in [0, 1], of the shape and dtype of ``loss``, without gradient.
        """
        e = percent(progress)
        if self.held is not None:
            e = self.held
        elif self.settings.fixed_time:
            e = min(e, self.settings.burn_in)
        dtype = self.network.out.weight.dtype
        logits: Tensor = self.network(loss.to(dtype), (loss - threshold).to(dtype), e)
        return logits.sigmoid().to(loss.dtype)

    def get_extra_state(self) -> Tensor:
        """Return ``held`` as the int64 tensor that checkpoints can hold; -1 stands for None."""
        return torch.tensor(-1 if self.held is None else self.held)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over what ``get_extra_state`` returned."""
        held = int(state)
        self.held = None if held < 0 else held


def describe(mentor: Mentor) -> dict[str, str]:
    """Return what a mentor is and where it comes from, for people to read: a name and a value a line."""
    network, settings = mentor.network, mentor.settings
    facts: dict[str, Any] = {
        "form": network.form,
        "time": network.time,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "percentile": settings.percentile,
        "decay": settings.decay,
        "burn-in": f"{settings.burn_in} % of training",
        "fixed time": "yes" if settings.fixed_time else "no",
        "held at": "-" if mentor.held is None else f"{mentor.held} % of training",
        "loss": settings.loss,
        "classes": settings.classes or "-",
    }
    facts |= {f"origin: {name.replace('_', ' ')}": value for name, value in settings.origin.items()}
    return {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in facts.items()}
