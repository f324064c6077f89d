"""Whether a student can follow its teacher at all: the gap between their answers after distillation."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .divergences import check_classes, kl
from .errors import ConfigError, NotFiniteError, ShapeError

LARGEST = 0.05
"""A gap r above which the student cannot follow: below it, distillation did not lose to labels in our measurements."""
_AT_ONCE = 2**22
"""Logits that are looked at together: all of a large data set in float64, several times, would take its memory."""


class Gap(NamedTuple):
    """How much of what a teacher says its student does not.

    Attributes:
        r: 0 if the student answers as the teacher, 1 if it does no better than always giving the teacher's mean
            answer, at least 0; None where the teacher gives every row the same answer.
        agreement: share of the rows with the same largest logit, in [0, 1].
    """

    r: float | None
    agreement: float

    @property
    def advice(self) -> str | None:
        """What to try where r is above 0.05, as one line; None where the student follows."""
        if self.r is None or self.r <= LARGEST:
            return None
        return (
            f"the student cannot follow this teacher (r = {self.r:.2g}, above {LARGEST}; they agree on "
            f"{100 * self.agreement:.0f} % of the rows): try a smaller teacher, a teaching assistant between the two, "
            "or a larger ce_weight; none of these is sure to help."
        )


def gap(z_s: Tensor, z_t: Tensor, temperature: float = 4.0) -> Gap:
    """Return ``r = mean_x KL(p_t^T || p_s^T) / mean_x KL(p_t^T || mean_x p_t^T)`` and the agreement of the argmax.

    Args:
        z_s: logits of the student on the training examples, in evaluation mode, (N, C).
        z_t: of the teacher on the same rows, (N, C).
        temperature: T of the distillation, above 0.

    Raises:
        ConfigError: for a temperature that is not above 0.
        NotFiniteError: for logits that are not finite.
        ShapeError: unless both have the same rows and classes, at least one row.
    """
    check_classes(z_s, z_t)
    if not z_s.numel():
        raise ShapeError(
            f"gap: the logits have shape {tuple(z_s.shape)}, but need at least one row: give some examples."
        )
    rows = max(1, _AT_ONCE // z_s.shape[-1])
    pieces = zip(torch.split(z_s.detach(), rows), torch.split(z_t.detach(), rows))
    left, entropy, agreed, p = (sum(part) for part in zip(*(_sums(*piece, temperature) for piece in pieces)))
    n = len(z_s)
    # the mean divergence from the mean answer is the entropy of that answer less the mean entropy
    whole = float(torch.special.entr(p / n).sum() - entropy / n)
    return Gap(max(0.0, float(left / n) / whole) if whole > 1e-12 else None, float(agreed / n))


def _sums(z_s: Tensor, z_t: Tensor, temperature: float) -> tuple[Tensor, ...]:
    """Over rows: their divergences, entropies, agreements, scalars, and probabilities (C,) of the teacher."""
    for who, z in (("student", z_s), ("teacher", z_t)):
        if not z.isfinite().all():
            raise NotFiniteError(f"gap: the {who}'s logits are not finite; did its training diverge?")
    p = torch.softmax(z_t.double() / temperature, -1)
    divergences = kl(z_s.double(), z_t.double(), temperature)
    agreed = z_s.argmax(-1) == z_t.argmax(-1)
    return divergences.sum(), torch.special.entr(p).sum(), agreed.double().sum(), p.sum(0)


def mean_gap(gaps: Sequence[Gap]) -> Gap:
    """Return the mean over several runs; r over those that have one.

    Raises:
        ConfigError: if there is none.
    """
    if not gaps:
        raise ConfigError("there is no gap to take the mean of: give one for each run.")
    known = [own.r for own in gaps if own.r is not None]
    return Gap(sum(known) / len(known) if known else None, sum(own.agreement for own in gaps) / len(gaps))
