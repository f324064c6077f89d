"""Drawn butterflies: the draws, the marks and their places, and that the three alike differ in their marks alone."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from tutelage.data import loading
from tutelage.data.butterflies import butterflies
from tutelage.data.wings import KINDS, layers
from tutelage.errors import ConfigError

ALIKE = [1, 2, 4]


@pytest.fixture(scope="module")
def drawn():
    return butterflies(0, per_class=60, size=64)


def test_what_is_drawn(drawn):
    assert drawn.x.shape == drawn.erased.shape == (300, 3, 64, 64)
    assert drawn.x.dtype == np.uint8
    assert drawn.classes == ("CabbageWhite", "Monarch", "Queen", "RedAdmiral", "Viceroy")
    assert np.bincount(drawn.y).tolist() == [60] * 5


def test_erasing_changes_the_mask_and_nothing_else(drawn):
    assert ((drawn.x != drawn.erased).any(1) == drawn.masks).all()
    share = drawn.masks.mean((1, 2))
    assert share.min() > 0
    assert share.max() < 0.15


def test_butterflies_alike_are_one_kind_without_their_marks():
    """All layers but the marks are equal, and so are the colours."""
    monarch, queen, viceroy = (layers(kind, 32) for kind in ("Monarch", "Queen", "Viceroy"))
    for name in ("wings", "fore", "ink", "dots", "body"):
        assert (getattr(monarch, name) == getattr(queen, name)).all()
        assert (getattr(monarch, name) == getattr(viceroy, name)).all()
    assert KINDS["Monarch"] == KINDS["Queen"] == KINDS["Viceroy"]
    assert len({layer.mark.numpy().tobytes() for layer in (monarch, queen, viceroy)}) == 3


def test_marks_lie_on_the_hindwings_of_those_alike():
    for kind in ("Monarch", "Queen", "Viceroy"):
        of = layers(kind, 64)
        for part in (of.light, of.mark):
            assert (part <= of.wings + 1e-6).all()
            assert float((part * of.fore).max()) < 0.26  # on the common edge at most


def test_marks_change_the_mean_colour_alike(drawn):
    """Measured at full size: -2.6 to -2.4, -.5 to -.2 and 1.1 to 1.7 of 255 in red, green and blue."""
    change = (drawn.x.astype(float) - drawn.erased).mean((2, 3))
    means = np.stack([change[drawn.y == label].mean(0) for label in ALIKE])
    assert np.ptp(means, axis=0).max() < 1.0


def test_an_image_depends_on_seed_class_and_number_alone(drawn):
    few = butterflies(0, per_class=3, size=64)
    assert (few.x == drawn.x[[60 * label + number for label in range(5) for number in range(3)]]).all()
    assert (butterflies(1, per_class=3, size=64).x != few.x).any(axis=(1, 2, 3)).all()


def test_another_process_draws_the_same_bytes():
    code = (
        "import hashlib; from tutelage.data.butterflies import butterflies; b = butterflies(3, per_class=2, size=48);"
        "print(hashlib.sha256(b.x.tobytes() + b.masks.tobytes()).hexdigest())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    own = butterflies(3, per_class=2, size=48)
    assert told == hashlib.sha256(own.x.tobytes() + own.masks.tobytes()).hexdigest()


def test_load_reaches_it(monkeypatch):
    small = {**loading._SIMULATED, "butterflies-sim": lambda **size: butterflies(per_class=10, **size)}
    monkeypatch.setattr(loading, "_SIMULATED", small)
    data = loading.load("butterflies-sim", resize=(48, 48))
    assert data.train.x.shape == (40, 3, 48, 48)
    assert len(data.test) == 10


@pytest.mark.slow
def test_full_size_splits_as_the_published_set():
    data = loading.load("butterflies-sim")
    assert data.train.x.shape == (1544, 3, 144, 144)
    assert len(data.test) == 386


def test_bad_numbers():
    with pytest.raises(ConfigError, match="butterflies-sim: size is 32; it must be at least 48"):
        butterflies(size=32)
