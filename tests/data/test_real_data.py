"""CIFAR-10 and MNIST as Parquet files, where they are at hand: counts, statistics, the cache."""

import os
from pathlib import Path

import numpy as np
import pytest

from tutelage.data import Normalise, load

DATA = Path(os.environ.get("TUTELAGE_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
MNIST_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "train", "test", "mean", "std"),
    [
        (
            "cifar10",
            (3, 32, 32),
            [5000] * 10,
            [1000] * 10,
            [0.4913, 0.4821, 0.4465],
            [0.2452, 0.2428, 0.2606],
        ),
        ("mnist", (1, 28, 28), MNIST_COUNTS, None, [0.1307], [0.3081]),
    ],
)
def test_real_data(name, shape, train, test, mean, std, monkeypatch, tmp_path):
    if not (DATA / f"{name}-train.parquet").is_file():
        pytest.skip(f"{name}-train.parquet is not in {DATA}; set TUTELAGE_DATA")
    monkeypatch.setenv("TUTELAGE_DATA", str(DATA))
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))
    data = load(name)
    assert data.train.x.shape[1:] == shape
    assert data.train.x.dtype == np.uint8
    assert np.bincount(data.train.y).tolist() == train
    assert len(data.test) == 10_000
    assert test is None or np.bincount(data.test.y).tolist() == test
    fit = Normalise.fit(data.train, np.arange(len(data.train)))
    np.testing.assert_allclose(fit.mean.flatten(), mean, atol=5e-4)
    np.testing.assert_allclose(fit.std.flatten(), std, atol=5e-4)

    def fail(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr("tutelage.data.parquet.decode", fail)
    assert load(name).train.fingerprint() == data.train.fingerprint()
