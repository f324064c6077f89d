"""Sources: validation messages, no needless copies, fingerprints, torch data sets."""

import hashlib

import numpy as np
import pytest
import torch

from tutelage.data import DataSet, Source, from_arrays, from_dataset
from tutelage.errors import ConfigError, DataError

X = np.zeros((4, 1, 2, 2), dtype=np.uint8)
Y = np.array([0, 1, 2, 0])


def test_arrays_are_not_copied():
    source = from_arrays(X, Y, num_classes=3)
    assert source.x is X
    assert np.shares_memory(source.y, Y)
    assert source.classes == ("0", "1", "2")
    assert len(source) == 4


def test_tensors_share_memory():
    x = torch.zeros(4, 2)
    source = from_arrays(x, torch.tensor([0, 1, 2, 0]), num_classes=3)
    x[0, 0] = 7
    assert source.x[0, 0] == 7


@pytest.mark.parametrize(
    ("x", "maximum", "scale"), [(X, None, 255.0), (X, 16.0, 16.0), (X.astype(np.float32), None, 1.0)]
)
def test_scale(x, maximum, scale):
    assert from_arrays(x, Y, num_classes=3, maximum=maximum).scale == scale


def test_other_numbers_become_float32():
    source = from_arrays(np.arange(8.0).reshape(4, 2), Y.astype(np.uint8), classes=("a", "b", "c"))
    assert source.x.dtype == np.float32
    assert source.y.dtype == np.int64


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:3], Y, "arrays: x has 3 rows, y has 4; leading sizes must agree."),
        (np.float32(1), Y, "arrays: x is a scalar; it needs a leading axis of rows."),
        (X, np.int64(1), "arrays: y is a scalar; it needs a leading axis of rows."),
        (X[:0], Y[:0], "arrays: source is empty."),
        (X, np.array([0, 1, 3, 0]), "arrays: label 3 at index 2; K is 3."),
        (X, np.array([0, -1, 1, 0]), "arrays: label -1 at index 1; K is 3."),
        (
            X,
            np.array([0.0, 1, 1, 0]),
            r"arrays: y is float64 of shape \(4,\), needs integers of shape \(N,\).",
        ),
        (np.array([[1.0], [2.0], [np.inf], [np.nan]]), Y, r"arrays: x\[2\] is not finite."),
        (np.array(["a", "b", "c", "d"]), Y, "arrays: x is <U1, needs numbers."),
    ],
)
def test_bad_arrays(x, y, message):
    with pytest.raises(DataError, match=f"^{message}$"):
        from_arrays(x, y, num_classes=3)


def test_check_can_be_left_out():
    x = np.full((4, 1), np.nan, dtype=np.float32)
    assert np.isnan(from_arrays(x, Y, num_classes=3, check=False).x).all()


def test_the_number_of_classes_is_never_guessed():
    with pytest.raises(ConfigError, match="arrays: the number of classes is not known; pass num_classes=K"):
        from_arrays(X, Y)
    with pytest.raises(ConfigError, match="num_classes is 4, but there are 2 class names"):
        from_arrays(X, Y, num_classes=4, classes=("a", "b"))
    with pytest.raises(ConfigError, match="num_classes is 0; it must be at least 1"):
        from_arrays(X, Y, num_classes=0)


def test_a_source_takes_only_its_two_types():
    with pytest.raises(DataError, match="x is float64, needs uint8 or float32"):
        Source("s", np.zeros((4, 1)), Y, ("a", "b", "c"))
    with pytest.raises(DataError, match="x is not contiguous"):
        Source("s", np.zeros((4, 6), np.uint8)[:, ::2], Y, ("a", "b", "c"))
    with pytest.raises(DataError, match="y is int32 of shape"):
        Source("s", X, Y.astype(np.int32), ("a", "b", "c"))


def test_fingerprint():
    source = from_arrays(X, Y, num_classes=3)
    by_hand = hashlib.sha256(b"|u1(4, 1, 2, 2)" + X.tobytes() + b"<i8(4,)" + Y.tobytes()).hexdigest()
    assert source.fingerprint() == by_hand
    other = X.copy()
    other[3, 0, 1, 1] = 1
    assert from_arrays(other, Y, num_classes=3).fingerprint() != by_hand
    assert from_arrays(X.reshape(4, 4), Y, num_classes=3).fingerprint() != by_hand


def test_the_fingerprint_of_a_large_source_is_sampled(monkeypatch):
    monkeypatch.setattr("tutelage.data.sources._FULL_HASH_BYTES", 8)
    assert from_arrays(X, Y, num_classes=3).fingerprint().startswith("sampled-")


def test_train_and_test_must_agree():
    train = from_arrays(X, Y, num_classes=3, name="a")
    test = from_arrays(X.reshape(4, 4), Y, num_classes=3, name="b")
    with pytest.raises(DataError, match=r"a has rows of shape \(1, 2, 2\), but b \(4,\)."):
        DataSet(train, test)


class Pairs(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class ManyPairs(Pairs):
    def __getitem__(self, i):
        raise AssertionError("__getitems__ is there to be used")

    def __getitems__(self, indices):
        return [self.items[i] for i in indices]


@pytest.mark.parametrize("kind", [Pairs, ManyPairs])
def test_from_dataset(kind):
    source = from_dataset(kind([(torch.full((3,), float(i)), i % 2) for i in range(5)]), 2, name="pairs")
    assert source.x[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert source.y.tolist() == [0, 1, 0, 1, 0]


def test_from_dataset_of_pil_images():
    image = pytest.importorskip("PIL.Image")
    rgb = image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    source = from_dataset(Pairs([(rgb, 0)]), 1)
    assert source.x.shape == (1, 3, 2, 4)
    assert source.x[0, 1, 0, 0] == 1
    assert from_dataset(Pairs([(rgb.convert("L"), 0)]), 1).x.shape == (1, 1, 2, 4)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "dataset: source is empty."),
        ([(torch.zeros(1), 0), (torch.zeros(2), 0)], "element 1 has shape .2,., element 0 .1,.; use resize."),
        ([torch.zeros(1)], "item 0 is a Tensor, needs a pair"),
    ],
)
def test_bad_datasets(items, message):
    with pytest.raises(DataError, match=message):
        from_dataset(Pairs(items), 2)


@pytest.mark.parametrize(
    ("shape", "colour"),
    [((3, 32, 32), True), ((3, 40, 32), True), ((3, 32, 31), False), ((1, 32, 32), False), ((96,), False)],
)
def test_colour_images_have_three_channels_and_at_least_32_pixels_a_side(shape, colour):
    assert from_arrays(np.zeros((2, *shape), dtype=np.float32), [0, 1], num_classes=2).colour is colour
