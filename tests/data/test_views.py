"""Views: exact inverses, masks, points against maps, warps against a loop, matrices, the digits bank."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import DIGITS_BANK, View
from tutelage.data.views import Identity, LinearWarp, Mirror, QuarterTurns, Rescale, Roll, Shift, Warp
from tutelage.errors import ConfigError, ShapeError

WHOLE = st.one_of(
    st.just(Identity()),
    st.builds(Mirror, st.booleans()),
    st.builds(QuarterTurns, st.integers(-5, 5)),
    st.builds(Roll, st.integers(-9, 9), st.integers(-9, 9)),
)
SHIFTS = st.builds(Shift, st.integers(-9, 9), st.integers(-9, 9))
SIZES = st.tuples(st.integers(1, 7), st.integers(1, 7))


def images(size, seed=0):
    return torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def smooth(size):
    """A slow wave, which interpolation reproduces closely."""
    y, x = torch.meshgrid(*(torch.arange(s, dtype=torch.float64) for s in size), indexing="ij")
    return (1.5 + torch.sin(0.2 * x) + torch.cos(0.15 * y))[None, None]


@settings(deadline=None, max_examples=80)
@given(view=WHOLE, size=SIZES, seed=st.integers(0, 99))
def test_views_of_whole_pixels_are_inverted_exactly(view, size, seed):
    x = images(size, seed)
    assert torch.equal(view.invert(view.apply(x), size), x)
    assert view.mask(size).all()
    assert view.mask(size).shape == size


@settings(deadline=None, max_examples=80)
@given(view=SHIFTS, size=SIZES, seed=st.integers(0, 99))
def test_a_zero_filled_shift_is_exact_on_its_mask(view, size, seed):
    x, mask = images(size, seed) + 0.1, view.mask(size)
    back = view.invert(view.apply(x), size)
    assert torch.equal(back[..., mask], x[..., mask])
    assert (back[..., ~mask] == 0).all()
    assert mask.sum() == max(size[0] - abs(view.dy), 0) * max(size[1] - abs(view.dx), 0)


@settings(deadline=None, max_examples=80)
@given(view=st.one_of(WHOLE, SHIFTS), size=SIZES, data=st.data())
def test_points_go_where_pixels_go(view, size, data):
    row, column = (data.draw(st.integers(0, side - 1)) for side in size)
    x = torch.zeros(1, 1, *size)
    x[0, 0, row, column] = 1
    seen = view.apply(x)[0, 0].nonzero()
    if len(seen):
        found = view.invert_points(seen.flip(-1).to(torch.float64), size)
        assert found.tolist() == [[column, row]]


@pytest.mark.parametrize(
    ("view", "pixels"),
    [
        (Mirror(), [[2, 1, 0], [5, 4, 3]]),
        (Mirror(vertical=True), [[3, 4, 5], [0, 1, 2]]),
        (QuarterTurns(1), [[2, 5], [1, 4], [0, 3]]),
        (Roll(1, 1), [[5, 3, 4], [2, 0, 1]]),
        (Shift(1, -1), [[0, 0, 0], [1, 2, 0]]),
        (Shift(0, 5), [[0, 0, 0], [0, 0, 0]]),
    ],
)
def test_what_a_view_looks_like(view, pixels):
    assert view.apply(torch.arange(6).view(1, 1, 2, 3))[0, 0].tolist() == pixels


def test_quarter_turns_are_warps_by_ninety_degrees():
    x = images((6, 6))
    for turns in range(-2, 4):
        torch.testing.assert_close(Warp(degrees=90 * turns).apply(x), QuarterTurns(turns).apply(x))


def test_whole_shifts_are_warps():
    x = images((5, 7))
    torch.testing.assert_close(Warp(dy=2, dx=-3).apply(x), Shift(2, -3).apply(x))
    assert torch.equal(Warp(dy=2, dx=-3).mask((5, 7)), Shift(2, -3).mask((5, 7)))


@pytest.mark.parametrize("view", [Warp(25, 0.4, -0.8), Warp(-12), Warp(dx=0.6), Warp(dy=-0.6)])
def test_warps_against_a_loop(view):
    x = images((6, 8))
    out, angle = view.apply(x).numpy(), math.radians(view.degrees)
    for r in range(6):
        for q in range(8):
            u, v = q - 3.5 - view.dx, r - 2.5 - view.dy
            at_x = u * math.cos(angle) - v * math.sin(angle) + 3.5
            at_y = u * math.sin(angle) + v * math.cos(angle) + 2.5
            want = np.zeros((2, 3))
            for row in (math.floor(at_y), math.floor(at_y) + 1):
                for column in (math.floor(at_x), math.floor(at_x) + 1):
                    if 0 <= row < 6 and 0 <= column < 8:
                        want += (1 - abs(at_y - row)) * (1 - abs(at_x - column)) * x[:, :, row, column].numpy()
            np.testing.assert_allclose(out[:, :, r, q], want, atol=1e-12)


@pytest.mark.parametrize(
    ("view", "error"),
    [(Warp(12), 0.02), (Warp(-30, 1.5, 2), 0.02), (Warp(dx=0.6), 0.02), (Rescale(2.0), 0.06), (Rescale(0.5), 0.2)],
)
def test_approximate_views_come_back_nearly_on_their_mask(view, error):
    size = (24, 20)
    x, mask = smooth(size), view.mask((24, 20))
    back = view.invert(view.apply(x), size)
    assert back.shape == x.shape
    assert (back - x)[..., mask].abs().max() < error
    assert mask.sum() > 0.3 * mask.numel()
    if not mask.all():
        assert (back - x)[..., ~mask].abs().max() > error


def test_points_of_approximate_views():
    size = (20, 30)
    for view in (Warp(17, 1.25, -2.5), Rescale(1.5), Rescale(0.5)):
        y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
        blob = torch.exp(-((x - 17) ** 2 + (y - 8) ** 2) / 8)[None, None]
        seen = view.apply(blob)[0, 0]
        rows, columns = torch.meshgrid(*(torch.arange(float(s)) for s in seen.shape), indexing="ij")
        centre = torch.stack([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum()
        torch.testing.assert_close(view.invert_points(centre, size), torch.tensor([17.0, 8.0]), atol=0.05, rtol=0)


def test_sides_of_a_rescaled_view():
    assert Rescale(1.5).apply(torch.ones(1, 2, 5, 7)).shape == (1, 2, 8, 11)
    assert Rescale(0.01).apply(torch.ones(1, 2, 5, 7)).shape == (1, 2, 1, 1)


@pytest.mark.parametrize("view", [Warp(12), Warp(dx=0.6), Mirror(), Shift(1, 2), Roll(1, 1)])
def test_a_view_as_a_matrix(view):
    x, matrix = images((5, 6)).float(), LinearWarp.of(view, (5, 6))
    torch.testing.assert_close(matrix.apply(x), view.apply(x))
    torch.testing.assert_close(matrix.invert(x, (5, 6)), view.invert(x, (5, 6)))
    assert torch.equal(matrix.mask((5, 6)), view.mask((5, 6)))


def test_the_pseudo_inverse_is_exact_where_the_matrix_keeps_everything():
    x = images((4, 4))
    mixing = torch.eye(16, dtype=torch.float64) + 0.2 * torch.rand(16, 16, dtype=torch.float64)
    view = LinearWarp(mixing)
    torch.testing.assert_close(view.invert(view.apply(x), (4, 4)), x)
    assert view.mask((4, 4)).all()
    lossy = LinearWarp(LinearWarp.of(Shift(1, 0), (4, 4)).forward)
    assert torch.equal(lossy.mask((4, 4)), Shift(1, 0).mask((4, 4)))


def test_matrices_are_named_by_their_content():
    one, same, other = (LinearWarp.of(v, (4, 4)) for v in (Warp(3), Warp(3), Warp(4)))
    assert repr(one) == repr(same) != repr(other)
    assert repr(one).startswith("LinearWarp(16, sha256=")
    assert repr(Warp(dx=0.6)) == "Warp(degrees=0.0, dy=0.0, dx=0.6)"


def test_the_digits_bank():
    assert [repr(view) for view in DIGITS_BANK] == [
        "Identity()",
        "Warp(degrees=0.0, dy=0.0, dx=0.6)",
        "Warp(degrees=0.0, dy=0.0, dx=-0.6)",
        "Warp(degrees=0.0, dy=0.6, dx=0.0)",
        "Warp(degrees=0.0, dy=-0.6, dx=0.0)",
        "Warp(degrees=12.0, dy=0.0, dx=0.0)",
        "Warp(degrees=-12.0, dy=0.0, dx=0.0)",
    ]
    x = images((8, 8))
    seen = [view.apply(x) for view in DIGITS_BANK]
    assert all(isinstance(view, View) for view in DIGITS_BANK)
    assert torch.equal(seen[0], x)
    torch.testing.assert_close(seen[1][..., 1:], 0.4 * x[..., 1:] + 0.6 * x[..., :-1])
    torch.testing.assert_close(seen[1][..., 0], 0.4 * x[..., 0])


def test_views_are_pure_and_differentiable():
    x = images((5, 5)).requires_grad_()
    before = x.detach().clone()
    for view in (Mirror(), QuarterTurns(), Roll(1, 2), Shift(1, -2), Warp(10, 0.5), Rescale(1.4), *DIGITS_BANK):
        assert torch.autograd.gradcheck(view.apply, (x,), fast_mode=True)
    assert torch.equal(x.detach(), before)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Rescale(0.0), ConfigError, "rescale: factor is 0.0; it must be above 0."),
        (lambda: Rescale(math.nan), ConfigError, "rescale: factor is nan"),
        (lambda: LinearWarp(torch.ones(4, 3)), ShapeError, r"forward has shape \(4, 3\); it needs \(HW, HW\)."),
        (
            lambda: LinearWarp(torch.eye(4), torch.eye(3)),
            ShapeError,
            r"linear warp: backward has shape \(3, 3\), forward \(4, 4\).",
        ),
        (
            lambda: LinearWarp(torch.eye(4)).apply(torch.ones(1, 1, 3, 3)),
            ShapeError,
            r"linear warp: x has shape \(1, 1, 3, 3\), the matrix 4 pixels.",
        ),
        (
            lambda: LinearWarp.of(QuarterTurns(), (2, 3)),
            ShapeError,
            r"QuarterTurns\(turns=1\) turns \(2, 3\) into \(3, 2\); sizes must stay.",
        ),
        (
            lambda: LinearWarp(torch.eye(4)).invert_points(torch.zeros(1, 2), (2, 2)),
            ConfigError,
            "points need a view that knows positions, such as Warp.",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
