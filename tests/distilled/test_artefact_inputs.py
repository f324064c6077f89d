"""What raw rows become, and which rows are refused as others than those that a set is for."""

import pytest
import torch

from tests.distilled.artefacts import INPUTS, SHAPE, made, numbers
from tutelage.distilled.inputs import Inputs
from tutelage.distilled.whitening import Whitening
from tutelage.errors import ConfigError, ShapeError

NAN = float("nan")


def zero_one(shape=SHAPE, whitening=None):
    return Inputs(shape, 1.0, torch.tensor(0.0), torch.tensor(1.0), whitening)


def test_rows_become_what_networks_see():
    raw = torch.tensor([[[[0, 16, 8, 4]] * 4]], dtype=torch.uint8)
    seen = INPUTS.seen(raw)
    assert torch.allclose(seen, (raw / 16.0 - 0.3) / 0.4)
    assert torch.equal(INPUTS.seen(raw.float() / 16, scale=1.0), seen)
    with pytest.raises(ShapeError, match=r"rows have shape \(4, 4\), but the set was made for \(1, 4, 4\)"):
        INPUTS.seen(raw[0])


def test_whitened_rows():
    inputs = zero_one(whitening=Whitening(torch.ones(16), 2 * torch.eye(16)))
    assert torch.equal(inputs.seen(torch.full((1, *SHAPE), 3.0)), torch.full((1, *SHAPE), 4.0))


def test_another_normalisation_is_refused_and_a_rounded_one_is_not():
    colour = Inputs((3, 2, 2), 255.0, numbers(3, 1, 1), torch.tensor([0.247, 0.2435, 0.2616]).view(3, 1, 1))
    colour.check(numbers(3), [0.247, 0.243, 0.261])
    INPUTS.check(0.3, [0.4])
    with pytest.raises(ConfigError, match=r"with mean .* and std 0.2023, 0.1994, 0.201, but the set was made with"):
        colour.check(numbers(3), [0.2023, 0.1994, 0.2010])
    with pytest.raises(
        ConfigError, match=r"with mean 0 and std 1, but the set was made with mean 0.3 and std 0.4: use"
    ):
        INPUTS.check(0.0, 1.0)
    with pytest.raises(ConfigError, match="use these, as a set works with them alone"):
        colour.check([0.5, 0.5], 1.0)


@pytest.mark.parametrize(
    ("mean", "std"), [(NAN, 0.4), (0.3, NAN), (0.3, float("inf")), ([], 0.4), (0.3, 0.5), (0.31, 0.4)]
)
def test_numbers_that_are_none_are_no_normalisation(mean, std):
    with pytest.raises(ConfigError, match=r"but the set was made with mean 0\.3 and std 0.4"):
        INPUTS.check(mean, std)


def test_numbers_of_each_pixel_are_compared_pixel_by_pixel():
    each = Inputs(SHAPE, 1.0, numbers(*SHAPE), torch.tensor(2.0))
    each.check(numbers(*SHAPE), 2.0)
    each.check(numbers(*SHAPE).flatten() + 0.009, [2.0])
    with pytest.raises(ConfigError, match=r"with mean .* \(16 numbers\) and std 2, but the set"):
        each.check(numbers(*SHAPE).flip(2), 2.0)
    mixed = Inputs((3, 2, 2), 1.0, torch.tensor(0.0), torch.ones(3, 1, 1))
    mixed.check([0.0, 0.0, 0.0], 1.0)
    with pytest.raises(ConfigError, match="the rows are normalised with mean 0, 0 and std 1"):
        mixed.check([0.0, 0.0], 1.0)


def test_rows_that_are_whitened_otherwise_are_refused():
    own, other = Whitening(torch.zeros(16), torch.eye(16)), Whitening(torch.zeros(16), 1.1 * torch.eye(16))
    inputs = zero_one(whitening=own)
    inputs.check(0.0, 1.0, own)
    inputs.check(0.0, 1.0, Whitening(torch.full((16,), 1e-3), torch.eye(16) + 1e-3))
    with pytest.raises(ConfigError, match="the rows are not whitened, but the set was whitened, in its own way: make"):
        inputs.check(0.0, 1.0)
    wrong = [other, Whitening(torch.ones(16), torch.eye(16)), Whitening(torch.zeros(4), torch.eye(4))]
    wrong += [Whitening(torch.zeros(16), torch.eye(16) * NAN), Whitening(torch.zeros(16) * NAN, torch.eye(16))]
    for whitening in wrong:
        with pytest.raises(ConfigError, match="the rows are whitened in their own way, but the set was whitened, in"):
            inputs.check(0.0, 1.0, whitening)
    with pytest.raises(ConfigError, match="the rows are whitened in their own way, but the set was not whitened"):
        zero_one().check(0.0, 1.0, own)


def test_training_and_evaluation_compare_the_whitening_as_well():
    own = Whitening(torch.zeros(16), torch.eye(16))
    artefact, x, y = made(inputs=zero_one(whitening=own)), numbers(2, *SHAPE), torch.zeros(2).long()
    artefact.train(normalisation=(0.0, 1.0, own))
    artefact.evaluate(x, y, 1, normalisation=(0.0, 1.0, own))
    with pytest.raises(ConfigError, match="the rows are not whitened"):
        artefact.train(normalisation=(0.0, 1.0))
    with pytest.raises(ConfigError, match="the rows are not whitened"):
        artefact.evaluate(x, y, 1, normalisation=(0.0, 1.0))


@pytest.mark.parametrize(
    ("shape", "scale", "mean", "std", "error", "match"),
    [
        (SHAPE, 0.0, 0.0, 1.0, ConfigError, r"raw values are in \[0, 0\]; the end must be above 0"),
        (SHAPE, NAN, 0.0, 1.0, ConfigError, "the end must be above 0"),
        (SHAPE, 1.0, NAN, 1.0, ConfigError, "a mean is not finite"),
        (SHAPE, 1.0, 0.0, float("inf"), ConfigError, "a std is not finite"),
        (SHAPE, 1.0, 0.0, 0.0, ConfigError, "every std must be above 0"),
        (SHAPE, 1.0, [0.0, 0.0], 1.0, ShapeError, r"a mean of shape \(2,\) does not fit rows of \(1, 4, 4\)"),
        (SHAPE, 1.0, 0.0, [[[[1.0]]]], ShapeError, r"a std of shape \(1, 1, 1, 1\) does not fit rows"),
        ((), 1.0, 0.0, 1.0, ShapeError, r"rows of shape \(\) hold nothing"),
        ((1, 0), 1.0, 0.0, 1.0, ShapeError, r"rows of shape \(1, 0\) hold nothing"),
    ],
)
def test_inputs_that_make_no_rows(shape, scale, mean, std, error, match):
    with pytest.raises(error, match=match):
        Inputs(shape, scale, torch.tensor(mean), torch.tensor(std))


def test_a_whitening_that_fits_no_row():
    for mean, matrix in ((torch.zeros(15), torch.eye(16)), (torch.zeros(16), torch.eye(16)[:, :8])):
        with pytest.raises(ShapeError, match=r"whitening: a mean of shape .* but a row has 16 numbers"):
            zero_one(whitening=Whitening(mean, matrix))
    for mean, matrix in ((torch.zeros(16) * NAN, torch.eye(16)), (torch.zeros(16), torch.eye(16).long())):
        with pytest.raises(ConfigError, match="its mean and matrix must be finite real numbers"):
            zero_one(whitening=Whitening(mean, matrix))
