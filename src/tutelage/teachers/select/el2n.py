"""EL2N: rows that the student gets most wrong."""

from torch import Tensor
from torch.nn.functional import one_hot

from ...pools import Consistent, Filter, Look
from ...selecting import Selecting


class EL2N(Selecting):
    """Shows the row of largest error ``||softmax(z_i) - onehot(c_i)||`` under the present student.

    Args:
        keep: which rows may be shown; default: those whose label a linear model of the other folds predicts.
        rows: how many to show at a time.
        seed: of draws; there are none.

    Source: Paul, Ganguli and Dziugaite, "Deep learning on a data diet", NeurIPS 2021, definition 2.2; there it is the
    mean over networks early in training, here that of the one student that is taught.
    """

    def __init__(self, keep: Filter | None = None, *, rows: int = 1, seed: int = 0) -> None:
        super().__init__(Consistent() if keep is None else keep, rows=rows, seed=seed)

    def score(self, look: Look, free: Tensor) -> Tensor:
        """Return the errors (N,), in [0, sqrt 2]."""
        errors: Tensor = look.logits.softmax(1) - one_hot(look.pool.y.long(), look.classes)
        sizes: Tensor = errors.norm(dim=1)
        return sizes
