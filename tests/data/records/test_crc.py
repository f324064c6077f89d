"""CRC-32C: published values, the mask, agreement with the bitwise definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data.records import crc32c
from tutelage.data.records.crc import mask, masks

from . import oracles


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0xE3069283),
        (b"", 0),
        (bytes(32), 0x8A9136AA),  # this and the next three: RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_values(data, crc):
    assert crc32c(data) == crc
    assert oracles.crc32c(data) == crc


def test_mask():
    assert mask(0xE3069283) == 0xC78AB0E5
    assert mask(0) == 0xA282EAD8


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_masks_of_an_array(crcs):
    assert masks(np.array(crcs, dtype=np.uint32)).tolist() == [mask(crc) for crc in crcs]


@given(st.binary(max_size=300))
def test_against_the_definition(data):
    assert crc32c(data) == oracles.crc32c(data)
    assert mask(crc32c(data)).to_bytes(4, "little") == oracles.masked(data)
