"""Whether a student can follow its teacher at all: the gap between their answers after distillation."""

from typing import NamedTuple

import torch
from torch import Tensor

from .divergences import check_classes, log_probabilities
from .errors import NotFiniteError

LARGEST = 0.05
"""A gap r above which the student cannot follow: below it, distillation did not lose to labels in our measurements."""


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
        ShapeError: unless both have the same rows and classes.
    """
    check_classes(z_s, z_t)
    for who, z in (("student", z_s), ("teacher", z_t)):
        if not z.isfinite().all():
            raise NotFiniteError(f"gap: the {who}'s logits are not finite; did its training diverge?")
    with torch.no_grad():
        log_s, log_t = (log_probabilities(z.double(), temperature) for z in (z_s, z_t))
        p = log_t.exp()
        log_mean = torch.logsumexp(log_t, 0) - torch.tensor(len(log_t), dtype=torch.float64).log()
        left = (p * (log_t - log_s)).sum(-1).mean()
        whole = (p * (log_t - log_mean)).sum(-1).mean()
        agreement = (z_s.argmax(-1) == z_t.argmax(-1)).double().mean()
    r = max(0.0, float(left / whole)) if whole > 1e-12 else None
    return Gap(r, float(agreement))
