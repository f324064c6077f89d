"""STRICT: show the row that leaves least of the wrong hypotheses."""

from torch import Tensor

from ...hypothesis_space import HypothesisSpace, Space
from ...pools import Filter, Look
from ...selecting import Selecting
from ...version_space import OneVsAll, VersionSpace


class Strict(Selecting):
    """Shows the row after which the error that learners are expected to make, ``sum_h q err``, is least.

    Learners have a linear hypothesis and let go of it, by ``Lk``, where it is wrong; see :mod:`tutelage.hypotheses`.
    The row is the argmin of ``sum_c sum_h q[h] err[h] Lk[h, i]``: the greedy maximum of ``F``, within 1 - 1/e of the
    best. What it shows does not depend on the student. Scores in ``notes`` are minus the logarithm of that sum; beside
    them are ``expected_error``, ``posterior_entropy`` and ``difficulty``, see
    :meth:`tutelage.version_space.VersionSpace.noted`.

    Args:
        keep: which rows may be shown; default: those on which the best hypothesis of each task is right.
        space: finds the hypotheses of a pool; may be shared by teachers. Default: 100 of them, learned and random.
        rows: how many to show at a time.
        seed: of the default space.

    Source: Singla et al., "Near-optimally teaching the crowd to classify", ICML 2014; for several classes:
    Mac Aodha et al., "Teaching categories to human learners with visual explanations", CVPR 2018.
    """

    def __init__(self, keep: Filter | None = None, *, space: Space | None = None, rows: int = 1, seed: int = 0) -> None:
        space = HypothesisSpace(seed=seed) if space is None else space
        known = VersionSpace(space, OneVsAll(space) if keep is None else keep)
        super().__init__(known.keep, rows=rows, beside=known.noted, seed=seed)
        self.known = known

    def score(self, look: Look, free: Tensor) -> Tensor:
        """Return ``-log sum_c sum_h q err Lk`` (N,)."""
        return -self.known.log_remaining(look)
