import numpy as np
import pytest
import torch

from tutelage import SGD, Student
from tutelage.errors import DataError
from tutelage.teachers import FixedWeights, small_loss_mask
from tutelage.testing import tiny_batch, tiny_net


def test_weights_are_looked_up_by_index():
    table = torch.rand(1000)
    batch = tiny_batch()
    weight = FixedWeights(table).teach(batch, Student(tiny_net(), SGD(0.1))).weight
    assert weight.tolist() == [float(table[i]) for i in batch.index]


@pytest.mark.parametrize("bad", [torch.tensor([1.0, -1.0]), torch.tensor([float("nan")]), torch.ones(2, 1)])
def test_bad_weights(bad):
    with pytest.raises(DataError, match="one finite weight of at least 0"):
        FixedWeights(bad)


def test_small_losses_are_kept():
    generator = np.random.default_rng(0)
    losses = np.concatenate([generator.normal(0.3, 0.1, 600), generator.normal(2.0, 0.3, 400)])
    mask = small_loss_mask(losses)
    assert mask[:600].mean() > 0.99
    assert mask[600:].mean() < 0.01
    assert small_loss_mask(np.ones(5)).tolist() == [1.0] * 5
