"""ZCA whitening."""

import pytest
import torch

from tutelage.distilled.whitening import fitted_whitening
from tutelage.errors import ConfigError, ShapeError


def rows(n=200):
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    return (torch.randn(n, 12, generator=generator, dtype=torch.float64) @ mix + 3.0).view(n, 3, 2, 2)


def test_pixels_are_without_correlations():
    x = rows()
    z = fitted_whitening(x, eps=1e-9)(x).flatten(1)
    assert z.shape == (200, 12)
    assert torch.allclose(torch.cov(z.T), torch.eye(12, dtype=torch.float64), atol=1e-6)
    assert z.mean(0).abs().max() < 1e-12


def test_the_formula():
    x = rows()
    flat = x.flatten(1)
    u, s, _ = torch.linalg.svd(torch.cov(flat.T))
    needed = (flat - flat.mean(0)) @ (u @ torch.diag((s + 0.1).rsqrt()) @ u.T)
    assert torch.allclose(fitted_whitening(x)(x).flatten(1), needed)


def test_it_can_be_undone():
    x = rows()
    whitening = fitted_whitening(x[:5])  # fewer examples than pixels
    assert torch.allclose(whitening.undone(whitening(x)), x)
    single = fitted_whitening(x.float())
    assert single(x.float()).dtype == torch.float32
    assert torch.allclose(single.undone(single(x.float())), x.float(), atol=1e-4)


def test_errors():
    with pytest.raises(ConfigError, match="1 examples have no covariance"):
        fitted_whitening(rows(1))
    with pytest.raises(ConfigError, match="eps is 0; it must be above 0"):
        fitted_whitening(rows(), eps=0)
    with pytest.raises(ShapeError, match=r"shape \(3, 3, 3\) have 27 numbers, but it was fitted to 12"):
        fitted_whitening(rows())(torch.zeros(2, 3, 3, 3))
