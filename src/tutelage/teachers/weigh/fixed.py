"""Weights given in advance: an oracle, or a mask from a first look at the losses."""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ...errors import DataError
from ...lesson import Batch, Lesson, Loss
from ...losses import cross_entropy
from ...student import Student
from ...teacher import Teacher


def small_loss_mask(losses: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Split examples by their mean loss with a mixture of two Gaussians; 1 for the ones with small loss.

    The losses are scaled to [0, 1]; an example is kept if the posterior of the component with the lower mean is
    above 1/2.

    Args:
        losses: (N,), the mean loss of each example over the first epochs of plain training; finite.

    Returns:
        (N,) of 0 and 1.

    Source: Arazo et al., "Unsupervised label noise modeling and loss correction", ICML 2019, section 3, with the
    Gaussian components of Li, Socher and Hoi, "DivideMix", ICLR 2020, section 3.1.
    """
    from sklearn.mixture import GaussianMixture

    values = np.asarray(losses, dtype=np.float64).reshape(-1, 1)
    spread = np.ptp(values)
    if spread == 0:
        return np.ones(len(values), dtype=np.float32)
    model = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    scaled = (values - values.min()) / spread
    posterior = model.fit(scaled).predict_proba(scaled)
    keep: npt.NDArray[np.float32] = (posterior[:, model.means_.argmin()] > 0.5).astype(np.float32)
    return keep


class FixedWeights(Teacher):
    """Every example has one weight for the whole training, looked up by its index.

    With 1 for right and 0 for wrong labels this is the oracle of a benchmark; with :func:`small_loss_mask` a mask
    that needs neither trusted labels nor the noise rate.

    Args:
        weights: (n,), finite and >= 0, one for each position of the data set.
        loss: per-example loss.

    Raises:
        DataError: if a weight is negative or not finite.

    Source: the control that MentorNet calls "data driven, to learn": 1[given label == true label].
    """

    weights: Tensor

    def __init__(self, weights: Tensor, *, loss: Loss = cross_entropy) -> None:
        super().__init__()
        if weights.ndim != 1 or not weights.isfinite().all() or (weights < 0).any():
            raise DataError("FixedWeights: needs one finite weight of at least 0 for each position of the data set.")
        self.register_buffer("weights", weights.detach().clone())
        self.loss = loss

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the batch with its given labels, weighted by index."""
        return Lesson(batch.x, batch.y, self.weights[batch.index].to(batch.weight_dtype), self.loss)
