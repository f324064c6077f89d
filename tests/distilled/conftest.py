"""Digits as the acceptance experiments of distillation have them."""

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def digits():
    """1,297 training and 500 test rows (1, 8, 8), standardised by the mean and deviation of training: x, y, x, y."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.RandomState(0).permutation(len(bunch.data))
    x = torch.from_numpy((bunch.data[order] / 16).astype(np.float32)).view(-1, 1, 8, 8)
    y = torch.from_numpy(bunch.target[order]).long()
    x = (x - x[:1297].mean()) / x[:1297].std(correction=0)
    return x[:1297], y[:1297], x[1297:], y[1297:]
