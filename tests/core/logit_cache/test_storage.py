"""Forms of stored logits: rounding, the largest few, and what does not fit."""

import math

import pytest
import torch

from tutelage.errors import ConfigError, DataError
from tutelage.logit_cache import Storage
from tutelage.soft_targets import TopLogits, top_logits

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 5 * torch.randn(64, 10, generator=GENERATOR)
IDS = torch.arange(100, 164)


def through(storage, logits=LOGITS, dtype=torch.float32):
    return storage.unpacked(storage.packed(logits, IDS), dtype)


@pytest.mark.parametrize(("precision", "bits"), [("float16", 11), ("bfloat16", 8)])
def test_rounding_keeps_its_bound_and_uses_it(precision, bits):
    storage = Storage(precision)
    error = (through(storage) - LOGITS).abs()
    assert (error <= LOGITS.abs() * 2.0**-bits).all()
    assert torch.equal(storage.bound(LOGITS), LOGITS.abs() * 2.0**-bits)
    assert (error / LOGITS.abs()).max() > 2.0 ** -(bits + 1)


def test_32_bits_are_exact_and_the_type_is_what_was_asked_for():
    assert torch.equal(through(Storage("float32")), LOGITS)
    assert through(Storage(), dtype=torch.float64).dtype == torch.float64


def test_what_does_not_fit_is_refused_by_name():
    logits = LOGITS.clone()
    logits[3, 2] = -7e4
    with pytest.raises(DataError, match=r"example 103 reach 70000, and float16 holds at most 65504: use storage=Stor"):
        Storage().packed(logits, IDS)
    assert through(Storage("float32"), logits)[3, 2] == -7e4
    assert abs(through(Storage("bfloat16"), logits)[3, 2] + 7e4) <= 7e4 * 2**-8
    logits[3, 2] = 65504
    assert through(Storage(), logits)[3, 2] == 65504
    for bad in (float("nan"), float("inf"), -float("inf")):
        logits[5, 0], logits[3, 2] = bad, 0
        for precision in ("float16", "float32", "bfloat16"):
            with pytest.raises(DataError, match=r"logits of example 105 are not finite; mend the teacher"):
                Storage(precision).packed(logits, IDS)


def test_the_largest_few():
    given, needed = through(Storage("float32", top=3, temperatures=(1.0, 4.0))), top_logits(LOGITS, 3, (1.0, 4.0))
    assert isinstance(given, TopLogits)
    assert given.temperatures == needed.temperatures == (1.0, 4.0)
    for name in ("values", "indices", "tail"):
        assert torch.equal(getattr(given, name), getattr(needed, name))
    assert given.indices.dtype == torch.int64


@pytest.mark.parametrize("sign", [1, -1])
def test_a_tail_that_does_not_fit_is_refused_by_name(sign):
    logits = LOGITS.clone()
    logits[3] = sign * 4e4
    storage = Storage(top=3, temperatures=(1.0, 0.5))
    total = rf"{sign * 80000 + math.log(7):.6g} at temperature 0\.5"  # of the other seven
    message = rf"example 103 outside the top 3 come to {total}, and float16 holds at most 65504"
    with pytest.raises(DataError, match=message):
        storage.packed(logits, IDS)
    assert through(Storage(top=3), logits).tail.isfinite().all()
    assert through(Storage("float32", 3, (1.0, 0.5)), logits).tail.isfinite().all()
    assert (through(Storage(top=10)).tail == -float("inf")).all()  # of no class: log 0


@pytest.mark.parametrize(("classes", "places"), [(40_000, torch.int16), (65_536, torch.int16), (70_000, torch.int32)])
def test_places_of_many_classes(classes, places):
    logits = torch.zeros(2, classes)
    logits[0, classes - 1], logits[0, 3], logits[1, 32_768], logits[1, 32_767] = 9, 8, 7, 6
    storage = Storage(top=2)
    assert storage.columns(classes)["places"] == (places, 2)
    given = storage.unpacked(storage.packed(logits, IDS[:2]), torch.float32)
    assert given.indices.tolist() == [[classes - 1, 3], [32_768, 32_767]]
    assert given.values.tolist() == [[9, 8], [7, 6]]


def test_the_usual_form_and_texts():
    assert Storage.usual(1000) == Storage("float16", None)
    with pytest.raises(ConfigError, match=r"the teacher has 1,001 classes: choose .*top=10.*2,002 bytes a row"):
        Storage.usual(1001)
    assert str(Storage()) == "float16"
    assert str(Storage("bfloat16", 10, (1, 2))) == "top 10 in bfloat16, T 1, 2"


def test_arguments():
    with pytest.raises(ConfigError, match=r'unknown precision "float8".*Known: float16, float32, bfloat16'):
        Storage("float8")
    with pytest.raises(ConfigError, match="top is 0; it must be at least 1"):
        Storage(top=0)
    for wrong in ((), (0.0,), (1.0, float("inf"))):
        with pytest.raises(ConfigError, match=r"temperatures are .* at least one is needed, all above 0"):
            Storage(top=2, temperatures=wrong)
    with pytest.raises(ConfigError, match="k is 11"):
        Storage(top=11).packed(LOGITS, IDS)
