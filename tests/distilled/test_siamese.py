"""Siamese augmentation: one change for both sides, from a key, differentiable in the images."""

import pytest
import torch

from tutelage.errors import ConfigError, ShapeError
from tutelage.siamese import OPS, WITHOUT_FLIP, Siamese


def images(n=3, channels=3, height=8, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("op", OPS)
def test_batches_of_any_size_get_the_same_change(op):
    x, change = images(5), Siamese((op,))
    for key in range(20):
        whole = change(x, key)
        assert torch.equal(whole[:2], change(x[:2], key))
        assert torch.equal(whole[3:4], change(x[3:4], key))
        assert whole.shape == x.shape
        assert whole.dtype == x.dtype


def test_the_operation_and_its_numbers_come_from_the_key():
    x, change = images(), Siamese()
    found = [change(x, key) for key in range(40)]
    assert torch.equal(change(x, 7), found[7])
    assert len({tuple(f.flatten().tolist()) for f in found}) > 20  # flips and crops are few
    state = torch.get_rng_state()
    change(x, 1)
    assert torch.equal(state, torch.get_rng_state())


def test_every_operation_is_drawn():
    x = images()
    alone = {op: Siamese((op,)) for op in OPS}
    seen = {op for key in range(60) for op in OPS if torch.equal(Siamese()(x, key), alone[op](x, key))}
    assert seen == set(OPS)


@pytest.mark.parametrize("op", OPS)
def test_rows_changed_by_themselves_differ(op):
    x = images(1).expand(64, -1, -1, -1)
    found = Siamese((op,)).each(x, 5)
    assert len({tuple(row.flatten().tolist()) for row in found}) > (1 if op == "flip" else 4)
    assert torch.equal(found, Siamese((op,)).each(x, 5))


@pytest.mark.parametrize("op", OPS)
def test_a_key_changes_a_single_row_in_both_ways_alike(op):
    x = images(1)
    for key in range(5):
        assert torch.equal(Siamese((op,))(x, key), Siamese((op,)).each(x, key))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("each", [False, True])
def test_the_derivative_in_the_images(op, each):
    x, change = images(2, height=6, width=6).requires_grad_(), Siamese((op,))
    for key in (0, 3):
        assert torch.autograd.gradcheck(lambda x, key=key: change._changed(x, key, 2 if each else 1), [x])


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 7, 12), (1, 1, 1)], ids=str)
def test_images_of_any_size(op, shape):
    x = images(2, *shape).float()
    for key in range(10):
        found = Siamese((op,)).each(x, key)
        assert found.shape == x.shape
        assert found.dtype == torch.float32
        assert found.isfinite().all()


def test_a_crop_is_a_shift_of_whole_pixels():
    x = torch.arange(1.0, 65.0).view(1, 1, 8, 8)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    windows = {tuple(padded[:, :, i : i + 8, j : j + 8].flatten().tolist()) for i in range(3) for j in range(3)}
    found = {tuple(Siamese(("crop",))(x, key).flatten().tolist()) for key in range(100)}
    assert found == windows


@pytest.mark.parametrize(("height", "width", "down", "right"), [(28, 28, 4, 4), (8, 27, 1, 3), (3, 12, 0, 2)])
def test_a_crop_moves_each_side_by_an_eighth_rounded(height, width, down, right):
    """Rows and columns by numbers of their own, all of which occur."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x = torch.stack([1 + rows, 1 + columns]).double().unsqueeze(0)
    found = Siamese(("crop",)).each(x.expand(3000, -1, -1, -1), 3)[:, :, height // 2, width // 2]
    moved = found - x[0, :, height // 2, width // 2]
    assert {int(d) for d in moved[:, 0]} == set(range(-down, down + 1))
    assert {int(d) for d in moved[:, 1]} == set(range(-right, right + 1))
    assert len({tuple(row.tolist()) for row in moved}) == (2 * down + 1) * (2 * right + 1)


@pytest.mark.parametrize(("side", "size", "first"), [(6, 3, range(-1, 5)), (7, 4, range(-2, 6)), (8, 4, range(-2, 7))])
def test_cutouts_are_about_every_place_alike(side, size, first):
    """Of an odd length about each pixel, of an even one about each edge of one: both ends are alike."""
    found = Siamese(("cutout",)).each(torch.ones(4000, 1, side, side), 2)[:, 0] == 0
    places = {tuple(f <= k < f + size for k in range(side)) for f in first}
    for axis in (1, 2):
        lines, counts = found.any(axis).unique(dim=0, return_counts=True)
        assert {tuple(line.tolist()) for line in lines} == places
        assert counts.min() > 4000 / len(places) * 0.8
    assert len(found.flatten(1).unique(dim=0)) == len(places) ** 2  # rows and columns apart


def test_a_cutout_is_half_of_both_sides():
    x, sizes = torch.ones(1, 1, 8, 8), set()
    for key in range(200):
        hole = Siamese(("cutout",))(x, key)[0, 0] == 0
        height, width = int(hole.any(1).sum()), int(hole.any(0).sum())
        assert int(hole.sum()) == height * width
        sizes |= {height, width}
    assert sizes == {2, 3, 4}  # cut off at the border


def test_flips_about_half_the_time():
    x = torch.arange(4.0).view(1, 1, 1, 4)
    found = Siamese(("flip",)).each(x.expand(10_000, -1, -1, -1), 0)
    flipped = (found[:, 0, 0, 0] == 3).sum()
    assert torch.equal(found[found[:, 0, 0, 0] == 3][0, 0, 0], torch.tensor([3.0, 2.0, 1.0, 0.0]))
    assert 4850 < flipped < 5150


def test_color_is_affine_within_its_ranges():
    """Brightness moves the mean by up to a half; contrast and saturation scale deviations from means."""
    x = images(1).expand(2000, -1, -1, -1)
    found = Siamese(("color",)).each(x, 0)
    moved = found.mean((1, 2, 3)) - x.mean((1, 2, 3))
    assert moved.min() < -0.48
    assert -0.5 <= moved.min() <= moved.max() < 0.5
    grey = found.mean(1) - found.mean((1, 2, 3))[:, None, None]
    old = x.mean(1) - x.mean((1, 2, 3))[:, None, None]
    contrast = (grey * old).sum((1, 2)) / (old * old).sum((1, 2))
    assert torch.allclose(grey, contrast[:, None, None] * old)
    assert 0.5 <= contrast.min() < 0.52
    assert 1.48 < contrast.max() < 1.5
    colour = (found - found.mean(1, keepdim=True)) / (x - x.mean(1, keepdim=True))
    saturation = colour.flatten(1).median(1).values / contrast
    assert 0 <= saturation.min() < 0.01
    assert 1.99 < saturation.max() < 2


def test_rotation_and_scale_are_about_the_centre_on_any_sides():
    """A linear image turns into a linear one: its slopes tell angle and factor."""
    rows, columns = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(61.0) - 30, indexing="ij")
    x = torch.stack([rows, columns]).double().unsqueeze(0)
    inside = (slice(16, 25), slice(26, 35))
    angles, factors = [], []  # the same angle on both axes; factors of each axis's own
    for key in range(60):
        turned = Siamese(("rotate",))(x, key)[0]
        assert turned[:, 20, 30].abs().max() < 1e-9
        sine, cosine = (float((turned[1].diff(dim=axis))[inside].mean()) for axis in (0, 1))
        assert sine**2 + cosine**2 == pytest.approx(1, abs=1e-9)
        assert float(turned[0].diff(dim=0)[inside].mean()) == pytest.approx(cosine)
        angles.append(torch.rad2deg(torch.atan2(torch.tensor(sine), torch.tensor(cosine))))
        scaled = Siamese(("scale",))(x, key)[0]
        assert scaled[0].diff(dim=1)[inside].abs().max() < 1e-9
        assert scaled[1].diff(dim=0)[inside].abs().max() < 1e-9
        factors.append([float(scaled[axis].diff(dim=axis)[inside].mean()) for axis in (0, 1)])
    assert -15 <= min(angles) < -13 < 13 < max(angles) <= 15
    for some in zip(*factors):
        assert 1 / 1.2 <= min(some) < 0.87 < 1.15 < max(some) <= 1.2
    assert abs(float(torch.corrcoef(torch.tensor(factors).T)[0, 1])) < 0.4


@pytest.mark.parametrize("op", ["crop", "scale", "rotate"])
def test_outside_the_image_is_0(op):
    found = Siamese((op,)).each(torch.ones(50, 1, 8, 8), 1)
    assert found.amin((1, 2, 3)).min() < 0.5
    assert (found[:, :, 3:5, 3:5] - 1).abs().max() < 1e-6


def test_no_flip_for_digits():
    assert WITHOUT_FLIP == ("color", "crop", "cutout", "scale", "rotate")


def test_errors():
    with pytest.raises(ConfigError, match=r'unknown operation of siamese augmentation "colour"\. Did you mean "color"'):
        Siamese(("colour",))
    with pytest.raises(ConfigError, match="needs at least one operation of color, crop"):
        Siamese(())
    with pytest.raises(ShapeError, match=r"inputs have shape \(4, 6\), but it needs images \(N, C, H, W\)"):
        Siamese()(torch.zeros(4, 6), 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("op", OPS)
def test_on_a_gpu(op):
    x = images(4)
    for key in range(5):
        assert torch.allclose(Siamese((op,)).each(x.cuda(), key).cpu(), Siamese((op,)).each(x, key), atol=1e-9)
