"""The arms that recipes on badly labelled data have in common."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ..errors import ConfigError
from ..example_dropout import per_percent
from ..teacher import Teacher
from ..teachers import CATALOGUE, FixedWeights, Uniform, small_loss_mask
from .arms import Arm
from .experiment import Setting
from .options import Options, parse_dropout, parse_schedule
from .outcome import Outcome
from .trajectory import Trajectory

CURRICULA = tuple(name for name in CATALOGUE if name not in ("uniform", "meta-weight-net"))
"""Teachers of the catalogue that weigh by the loss and a threshold."""
HONEST: Mapping[str, tuple[Arm, str]] = {
    "trusted-only": (Arm("trusted-only"), "plain training on the trusted rows alone, with their true labels"),
    "early-stopping": (
        Arm("uniform", "trusted"),
        "plain training, at the epoch with the best accuracy on the trusted rows' true labels",
    ),
    "mixture-mask": (
        Arm("mixture-mask"),
        "plain training, then afresh on the examples with small early loss (two Gaussians; Arazo et al., 2019)",
    ),
    "oracle": (Arm("oracle"), "weight 1 for right, 0 for wrong labels: what a perfect teacher would reach"),
}
"""The rows that keep a comparison honest, with a line about each."""

ARMS: Mapping[str, tuple[Arm, str]] = {
    **{name: (Arm(name), "") for name in ("uniform", *CURRICULA)},
    **HONEST,
}
"""Arms by name, with a line about those that are no teacher of the catalogue."""


def trajectories(options: Options) -> list[Trajectory]:
    """Return the ways of training that :data:`ARMS` need."""

    def plain(setting: Setting, needed: Outcome | None) -> Teacher:
        return Uniform()

    def oracle(setting: Setting, needed: Outcome | None) -> Teacher:
        return FixedWeights(torch.from_numpy(~setting.noise.mask).float())

    def mask(setting: Setting, needed: Outcome | None) -> Teacher:
        weights = torch.zeros(len(setting.source))
        if needed is not None:
            position = setting.seed - options.first_seed
            losses = needed.tensors["early_loss"][position].numpy()
            drawn = np.isfinite(losses)
            rows = needed.tensors["rows"][position][torch.from_numpy(drawn)]
            weights[rows] = torch.from_numpy(small_loss_mask(losses[drawn]))
        return FixedWeights(weights)

    others = [
        Trajectory("uniform", plain),
        Trajectory("trusted-only", plain, rows="trusted", labels="true"),
        Trajectory("oracle", oracle),
        Trajectory("mixture-mask", mask, needs="uniform"),
    ]
    return others + [Trajectory(name, from_catalogue(name, options)) for name in CURRICULA]


def from_catalogue(name: str, options: Options, **others: Any) -> Callable[[Setting, Outcome | None], Teacher]:
    """Return what makes a teacher of the catalogue by the options; ``others`` take their place."""
    given = pacing_options(options)
    if options.gamma is not None and name in ("spcl", "focal"):
        given["gamma"] = options.gamma
    given |= others

    def make(setting: Setting, needed: Outcome | None) -> Teacher:
        return CATALOGUE[name](**({"percentile": percentile(options, setting)} | given))

    return make


def pacing_options(options: Options) -> dict[str, Any]:
    """Return what the options say to a :class:`tutelage.pacing.Pacing`; what they leave open is not in it."""
    found: dict[str, Any] = {
        "mode": options.dropout_mode,
        "allow_empty": options.allow_empty,
        "bias_correction": options.bias_correction,
        "interpolation": options.interpolation,
        "normalise": options.normalise,
        "keep_positive": options.keep_positive,
    }
    if options.moving_average is not None:
        found["decay"] = options.moving_average
    if options.burn_in is not None:
        found["burn_in"] = options.burn_in
    if options.dropout is not None:
        found["dropout"] = parse_dropout(options.dropout)
    return found


def percentile(options: Options, setting: Setting) -> float | tuple[float, ...]:
    """Return the percentile of the losses for one seed, or 100 of them, one a percent of training.

    Raises:
        ConfigError: if it is neither a number, nor a schedule, nor ``trusted``.
    """
    text = "0.5" if options.percentile is None else options.percentile
    if text == "trusted":
        right = ~setting.noise.mask[setting.roles["trusted"]]
        return float(np.clip(right.mean(), 0.01, 0.99))
    if "x" in text or "," in text:
        return per_percent(parse_schedule("percentile", text), "percentile")
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f'--percentile is "{text}"; give a number between 0 and 1, or trusted.') from error
