import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.example_dropout import kept, per_percent, rows_left
from tutelage.randomness import counter


@pytest.mark.parametrize(
    ("n", "rate", "left"), [(128, 0.5, 64), (128, 0.05, 121), (128, 0.9, 12), (100, 0.9, 10), (7, 0, 7)]
)
def test_rows_left(n, rate, left):
    assert rows_left(n, rate) == left
    for mode in ("random", "actual", "binary"):
        assert int(kept(torch.rand(n), torch.arange(n), rate, mode, 1).sum()) == left


@pytest.mark.parametrize("mode", ["random", "actual", "binary"])
def test_permuting_the_batch_permutes_the_mask(mode):
    weight, index = torch.rand(50), torch.randperm(1000)[:50]
    order = torch.randperm(50)
    mask = kept(weight, index, 0.4, mode, 3)
    assert torch.equal(kept(weight[order], index[order], 0.4, mode, 3), mask[order])


def test_random_keeps_each_row_equally_often():
    weight, index = torch.tensor([0.0, 1.0, 0.5, 0.2]), torch.arange(4)
    share = sum(kept(weight, index, 0.5, "random", counter(0, t)).double() for t in range(20_000)) / 20_000
    assert torch.allclose(share, torch.full((4,), 0.5, dtype=torch.float64), atol=0.015)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "needed"), [(2 / 3, [0.5, 0.25, 0.25]), (1 / 3, [0.8333, 0.5833, 0.5833])])
def test_actual_draws_in_proportion_to_the_weight(rate, needed):
    """Sequential sampling without replacement with weights 2, 1, 1."""
    weight, index = torch.tensor([2.0, 1.0, 1.0]), torch.arange(3)
    share = sum(kept(weight, index, rate, "actual", counter(1, t)).double() for t in range(20_000)) / 20_000
    assert share.tolist() == pytest.approx(needed, abs=0.015)


def test_actual_avoids_rows_of_weight_zero():
    weight, index = torch.tensor([0.0, 1.0]).repeat(32), torch.arange(64)
    masks = [kept(weight, index, 0.5, "actual", counter(2, t)) for t in range(200)]
    zeros = sum(int((mask & (weight == 0)).sum()) for mask in masks)
    assert zeros / sum(int(mask.sum()) for mask in masks) < 0.05


def test_schedules_cover_all_percents():
    spread = per_percent(((0.5, 17), (0.05, 78), (0.9, 5)))
    assert len(spread) == 100
    assert (spread[16], spread[17], spread[94], spread[95], spread[97]) == (0.5, 0.05, 0.05, 0.9, 0.9)
    with pytest.raises(ConfigError, match="covers 99 percent, but needs 100"):
        per_percent(((0.5, 17), (0.05, 82)))
