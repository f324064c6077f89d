"""Data distillation's pure parts: averages over views against loops, ties, thresholds, shares of batches, names."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tutelage.data import DIGITS_BANK
from tutelage.data.view_names import BANKS, PICTURES_BANK, Chained, Zoom, named_views
from tutelage.data.views import Identity, Mirror, QuarterTurns, Rescale, Shift, View, Warp
from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.multi_view import (
    averaged,
    averaged_maps,
    confident_rows,
    matching_threshold,
    probabilities,
    union_sizes,
)


def images(n=5, size=(6, 6), dtype=torch.float64):
    return torch.rand(n, 1, *size, dtype=dtype, generator=torch.Generator().manual_seed(0))


def net(classes=4, pixels=36, dtype=torch.float64):
    weight = torch.randn(pixels, classes, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return lambda x: x.flatten(1).to(dtype) @ weight


# Averages.


def test_views_are_averaged_in_probability():
    x, answer = images(), net()
    bank = (Identity(), Mirror(), Warp(12.0, 0.6, -0.6))
    want = torch.zeros(5, 4, dtype=torch.float64)
    for i in range(5):
        for view in bank:
            z = answer(view.apply(x[i : i + 1]))[0]
            want[i] += torch.tensor([math.exp(v) for v in z], dtype=torch.float64) / sum(math.exp(v) for v in z) / 3
    p = averaged(answer, bank, x)
    torch.testing.assert_close(p, want, atol=1e-14, rtol=0)
    assert not p.requires_grad
    mean_logit = torch.softmax(torch.stack([answer(v.apply(x)) for v in bank]).mean(0), 1)
    assert (p - mean_logit).abs().max() > 1e-3


def test_one_view_is_the_softmax():
    x, answer = images(), net()
    assert torch.equal(averaged(answer, [Identity()], x), torch.softmax(answer(x), 1))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 99])
def test_averages_do_not_depend_on_the_pieces(batch_size):
    x = images()
    torch.testing.assert_close(
        averaged(net(), PICTURES_BANK, x, batch_size=batch_size), averaged(net(), PICTURES_BANK, x)
    )


def test_one_row_and_rows_that_are_no_images():
    assert averaged(net(), DIGITS_BANK, images(1)).shape == (1, 4)
    assert averaged(net(pixels=3), [Identity()], torch.ones(2, 3)).shape == (2, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_averages_are_taken_in_single_precision(dtype):
    p = averaged(net(dtype=dtype), [Identity(), Mirror()], images(dtype=torch.float32))
    assert p.dtype == torch.float32
    torch.testing.assert_close(p.sum(1), torch.ones(5), atol=1e-6, rtol=0)


def test_answers_leave_no_gradient():
    layer = nn.Sequential(nn.Flatten(), nn.Linear(36, 4)).double()
    assert not averaged(layer, DIGITS_BANK, images()).requires_grad


def fields(x):
    """A network whose maps move with its images: class 0 likes light, class 1 dark, class 2 the light of a border."""
    return torch.cat([3 * x, 1 - x, nn.functional.max_pool2d(x, 3, 1, 1)], dim=1)


@pytest.mark.parametrize("view", [Mirror(), QuarterTurns(1), QuarterTurns(2), Mirror(vertical=True)])
def test_maps_are_brought_back_before_they_are_averaged(view):
    x = images(2, (5, 7))
    torch.testing.assert_close(averaged_maps(fields, [Identity(), view], x), torch.softmax(fields(x), 1))
    wrong = (torch.softmax(fields(x), 1) + torch.softmax(fields(Mirror().apply(x)), 1)) / 2
    assert (wrong - torch.softmax(fields(x), 1)).abs().max() > 0.01


def test_a_pixel_counts_the_views_that_show_it():
    x = images(2, (4, 5))
    seen = averaged_maps(lambda x: x, [Identity(), Shift(1, 0)], x, activation=lambda z: z)
    torch.testing.assert_close(seen, x)  # the lowest row left the second view: only the first counts there
    alone = averaged_maps(lambda x: x, [Shift(1, -2)], x, activation=lambda z: z)
    want = x.clone()
    want[:, :, 3] = 0
    want[..., :2] = 0
    assert torch.equal(alone, want)
    bigger = averaged_maps(lambda x: x, [Rescale(2.0)], x, activation=torch.sigmoid)
    assert bigger.shape == x.shape


def test_averages_refuse():
    x = images()
    with pytest.raises(ConfigError, match=r"^there are no views to average over; give at least one"):
        averaged(net(), [], x)
    with pytest.raises(ConfigError, match=r"^there are no views"):
        averaged_maps(net(), [], x)
    with pytest.raises(ShapeError, match=r"^answers to Identity\(\) have shape \(5, 1, 6, 6\), but need \(5, C\)"):
        averaged(lambda x: x, [Identity()], x)
    with pytest.raises(ShapeError, match=r"^answers to Rescale\(factor=2.0\) have shape \(5, 144\), but need \(5, C\)"):
        averaged(lambda x: x.flatten(1), [Identity(), Rescale(2.0)], x)
    with pytest.raises(
        ShapeError, match=r"^the network cannot take the view Rescale\(factor=2.0\), of shape .* size\.$"
    ):
        averaged(net(), [Rescale(2.0)], x)
    with pytest.raises(RuntimeError, match=r"^mat1 and mat2"):
        averaged(net(pixels=7), [Identity()], x)
    with pytest.raises(DataError, match=r"^the network's answers to the view Mirror\(vertical=False\) are not finite"):
        averaged(lambda x: x.flatten(1) / 0, [Mirror()], x)
    with pytest.raises(ShapeError, match=r"^maps of Identity\(\) have shape \(5, 1, 3, 3\), but need \(5, K, 6, 6\)"):
        averaged_maps(lambda x: x[..., :3, :3], [Identity()], x)


# Labels.


def test_of_equal_probabilities_the_lowest_class():
    logits = torch.tensor([[0.0, 4.0, 4.0], [1.0, 1.0, 1.0], [0.1, 0.2, 0.7]])
    assert averaged(lambda x: x, DIGITS_BANK[:1], logits).argmax(1).tolist() == [1, 0, 2]


def test_the_threshold_is_inclusive():
    p = torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.125, 0.875]])
    assert confident_rows(p, 0.75).tolist() == [False, True, True]
    assert confident_rows(p, 0.0).all()
    with pytest.raises(DataError, match=r"^threshold 0.9 keeps none of 3 rows, whose largest confidence is 0.875"):
        confident_rows(p, 0.9)
    with pytest.raises(ConfigError, match=r"^threshold is 1.5; it must be in 0..1"):
        confident_rows(p, 1.5)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 300), st.floats(0, 1))
def test_a_share_of_each_batch_is_labelled(batch, share):
    if 0 < round(share * batch) < batch:
        assert union_sizes(batch, share) == (round(share * batch), batch - round(share * batch))
    else:
        kind = "labelled" if round(share * batch) == 0 else "pseudo-labelled"
        with pytest.raises(ConfigError, match=rf"leaves no {kind} row in a batch of {batch}"):
            union_sizes(batch, share)


def test_shares_outside_their_range():
    assert union_sizes(64, 0.5) == (32, 32)
    assert union_sizes(10, 0.6) == (6, 4)
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ConfigError, match=r"^labelled share is .*; it must be in 0..1"):
            union_sizes(64, share)


def test_detections_as_many_as_labelled_instances():
    scores = torch.tensor([0.9, 0.1, 0.8, 0.3, 0.7, 0.2])
    assert matching_threshold(scores, 2, 1.5) == pytest.approx(0.7)  # three predictions on two images
    assert int((scores >= matching_threshold(scores, 3, 1.0)).sum()) == 3
    assert matching_threshold(scores, 2, 50.0) == pytest.approx(0.1)
    assert matching_threshold(scores, 2, 0.2) == math.inf
    assert matching_threshold(torch.empty(0), 2, 2.0) == math.inf
    with pytest.raises(ConfigError, match=r"^0 images with 1.0 instances each"):
        matching_threshold(scores, 0, 1.0)
    with pytest.raises(ConfigError, match=r"^2 images with nan instances each"):
        matching_threshold(scores, 2, math.nan)
    with pytest.raises(DataError, match=r"^scores of predictions must be finite"):
        matching_threshold(scores / 0, 2, 1.0)


# Views by name, and those that only have one.


def test_views_by_name():
    assert named_views("digits") is DIGITS_BANK
    assert named_views("identity,x0.6,x-.6,y0.6,y-0.6,turn12,turn-12") == DIGITS_BANK
    assert named_views("identity, mirror ,zoom1.1,mirror+zoom1.1,zoom0.9,mirror+zoom0.9") == PICTURES_BANK
    assert named_views("scale2,upside-down") == (Rescale(2.0), Mirror(vertical=True))
    assert all(isinstance(view, View) for bank in BANKS.values() for view in bank)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("miror", r'unknown view "miror". Did you mean "mirror"\? Known: one, digits, pictures, identity, '),
        ("identity,digits", r'unknown view "digits"'),
        ("turn", r'unknown view "turn"'),
        ("turn1e3", r'unknown view "turn1e3"'),
        ("spin12", r'unknown view "spin12"'),
        ("mirror+", r'unknown view ""'),
        (" , ", r"no view is named; at least one is needed"),
        ("mirror,identity,mirror", r"view mirror is named twice"),
        ("zoom0", r"zoom: factor is 0.0; it must be above 0"),
        ("scale-1", r"rescale: factor is -1.0"),
    ],
)
def test_names_that_are_no_views(names, message):
    with pytest.raises(ConfigError, match=message):
        named_views(names)


def test_zoom_against_its_formula():
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(7.0), indexing="ij")
    seen = Zoom(2.0).apply(x[None, None])[0, 0]
    torch.testing.assert_close(seen, 3 + (x - 3) / 2)  # the value of a pixel is its column: half-way from the centre
    smaller = Zoom(0.5).apply(torch.ones(1, 1, 8, 8))[0, 0]
    assert smaller.sum() == 16
    assert smaller[2:6, 2:6].min() == 1
    points = torch.stack([x, y], dim=-1)
    back = Zoom(2.0).invert_points(points, (9, 7))
    torch.testing.assert_close(back[..., 0], seen)


def test_views_in_a_chain():
    x = images(2, (4, 6))
    chain = Chained((Shift(1, 0), QuarterTurns(1), Mirror()))
    seen = Mirror().apply(QuarterTurns(1).apply(Shift(1, 0).apply(x)))
    assert torch.equal(chain.apply(x), seen)
    assert torch.equal(chain.invert(seen, (4, 6)), Shift(-1, 0).apply(Shift(1, 0).apply(x)))
    assert chain.mask((4, 6)).sum() == 18
    spot = torch.zeros(1, 1, 4, 6)
    spot[0, 0, 1, 5] = 1
    place = chain.apply(spot)[0, 0].nonzero().flip(-1).double()
    assert chain.invert_points(place, (4, 6)).tolist() == [[5, 1]]
    twice = Chained((Rescale(2.0), Rescale(0.5)))
    assert twice.invert(twice.apply(x), (4, 6)).shape == x.shape
    with pytest.raises(ConfigError, match=r"^chained views: there is none"):
        Chained(())


def test_probabilities_of_maps():
    maps = images(2, (3, 3)).repeat(1, 4, 1, 1)
    torch.testing.assert_close(probabilities(maps), torch.full_like(maps, 0.25))
