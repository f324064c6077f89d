"""Random warps: against the view of the same numbers, all combinations, the same bits in any batch."""

import itertools
import math

import pytest
import torch

from tutelage.data import Augmentation, Crop, Flip
from tutelage.data.views import Warp
from tutelage.data.warping import RandomWarp
from tutelage.errors import ConfigError, ShapeError
from tutelage.randomness import counter, stream


@pytest.mark.parametrize("size", [(8, 8), (5, 9), (7, 4)])
def test_warps_are_those_of_the_view(size):
    x = torch.rand(27, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    op = RandomWarp()
    assert op.combinations == tuple(itertools.product((-12.0, 0.0, 12.0), (-0.7, 0.0, 0.7), (-0.7, 0.0, 0.7)))
    seen = op.apply(x, torch.arange(27))
    for row, (degrees, dy, dx) in enumerate(op.combinations):
        want = Warp(degrees, dy, dx).apply(x[row : row + 1])[0]
        torch.testing.assert_close(seen[row], want, atol=1e-12, rtol=0)
    few = op.apply(x[:2].float(), torch.tensor([26, 3]))
    torch.testing.assert_close(few[1].double(), Warp(*op.combinations[3]).apply(x[1:2])[0], atol=1e-6, rtol=0)


def test_a_draw_belongs_to_seed_epoch_and_index():
    op, index = RandomWarp((-1.0, 2.0), (5.0, 6.0, 7.0)), torch.tensor([4, 9, 4])
    drawn = op.draw(3, 8, index)
    want = [((counter(stream(3, "warp"), 8, i, 0) >> 32) * 12) >> 32 for i in (4, 9, 4)]
    assert drawn.tolist() == want
    assert torch.equal(op.draw(3, 8, index[1:]), drawn[1:])
    assert torch.equal(op.draw(3, torch.tensor([8, 8, 8]), index), drawn)


def test_all_combinations_are_equally_likely():
    counts = RandomWarp().draw(0, 0, torch.arange(27_000)).bincount()
    assert len(counts) == 27
    assert (counts - 1000).abs().max() < 150  # about 5 standard deviations


def test_warps_in_an_augmentation():
    x = torch.randint(0, 17, (6, 1, 8, 8), dtype=torch.uint8)
    index = torch.arange(6)
    both = Augmentation(Crop(1), Flip(), RandomWarp())
    out = both.apply(x, both.draw(0, 0, index), 16.0)
    assert out.dtype == torch.float32
    still = Augmentation(RandomWarp((0.0,), (0.0,)))
    torch.testing.assert_close(still.apply(x, still.draw(0, 0, index), 16.0), x / 16.0)
    given = torch.rand(2, 1, 3, 3)
    RandomWarp().apply(given, RandomWarp().draw(0, 0, index[:2]))
    assert RandomWarp().apply(given[:1], RandomWarp().draw(0, 0, index[:1])).shape == (1, 1, 3, 3)


def test_warps_refuse():
    with pytest.raises(ConfigError, match=r"^warp: shifts are \[\]; at least one finite number is needed"):
        RandomWarp(())
    with pytest.raises(ConfigError, match=r"^warp: degrees are \[nan\]"):
        RandomWarp(degrees=(math.nan,))
    with pytest.raises(ShapeError, match=r"^warp: x has shape \(2, 64\), but needs images"):
        RandomWarp().apply(torch.ones(2, 64), RandomWarp().draw(0, 0, torch.arange(2)))
