"""Random rows: what every other selection has to beat."""

from torch import Tensor

from ...pools import Filter, Look, everything
from ...randomness import counter, hashed_tensor, real_tensor, stream
from ...selecting import Selecting


class AtRandom(Selecting):
    """Shows rows at random, without replacement.

    The draw is a function of (seed, step, index): leaving rows out of the pool moves no other one.

    Args:
        keep: which rows may be shown; default: all.
        balanced: take class t mod K at step t.
        rows: how many to show at a time.
        seed: of the draws.
    """

    def __init__(self, keep: Filter = everything, *, balanced: bool = False, rows: int = 1, seed: int = 0) -> None:
        super().__init__(keep, rows=rows, seed=seed)
        self.balanced = balanced

    def score(self, look: Look, free: Tensor) -> Tensor:
        """Return uniform numbers (N,) in [0, 1)."""
        key = counter(stream(look.seed, "random selection"), look.step)
        drawn = real_tensor(hashed_tensor(key, look.pool.index.long()))
        return drawn.masked_fill(~look.in_turn(free), -1.0) if self.balanced else drawn
