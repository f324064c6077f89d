"""The sheet of a distilled set: every image, its label, and the step sizes of its batch."""

import numpy as np
import pytest
import torch
from PIL import Image

from tutelage.errors import DataError, ShapeError
from tutelage.report.sheet import Line, drawn, label_words, limits_of, scaled, sheet, sheet_pixels, step_words


def test_one_affine_map_for_all_images():
    images = torch.tensor([[[[[-1.0, 0.0], [1.0, 3.0]]], [[[-1.0, -1.0], [-1.0, -1.0]]]]])
    assert limits_of(images) == (-1.0, 3.0)
    assert np.allclose(scaled(images, -1.0, 3.0)[0], [[[0.0, 0.25], [0.5, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert not scaled(torch.full((1, 2, 1, 2, 2), 0.5), 0.5, 0.5).any()
    assert scaled(images[:, :, :, :1, :1], 0.0, 2.0).max() <= 1.0


@pytest.mark.parametrize(
    ("shape", "shown"),
    [((2, 3, 1, 4, 5), (2, 3, 4, 5)), ((2, 3, 3, 4, 5), (2, 3, 4, 5, 3)), ((2, 3, 4, 5), (2, 3, 4, 5)),
     ((2, 3, 7), (2, 3, 1, 7)), ((2, 3, 2, 4, 5), (2, 3, 1, 40))],
)  # fmt: skip
def test_shapes(shape, shown):
    assert scaled(torch.randn(shape), -4.0, 4.0).shape == shown


def test_labels_are_told_by_name_and_soft_ones_with_their_probability():
    assert label_words(torch.tensor([1, 0]), 2, ["cat", "a very long name"]) == [["a very l…", "cat"]] * 2
    assert label_words(torch.tensor([[1, 0], [0, 0]]), 2, ["a", "b"]) == [["b", "a"], ["a", "a"]]
    soft = torch.tensor([[[0.25, 0.75]], [[0.5001, 0.4999]]]).log()
    assert label_words(soft, 2, ["a", "b"]) == [["b 0.75"], ["a 0.50"]]


def test_step_sizes_are_told_beside_their_batch_epoch_by_epoch():
    told = step_words(torch.tensor([0.1, 0.2, 0.3, 0.4]), 2)
    assert told == ["step sizes\n0.1, 0.3", "step sizes\n0.2, 0.4"]
    assert step_words(torch.zeros(0), 3) == ["", "", ""]
    assert step_words(torch.full((12,), 0.5), 1)[0].endswith("\n... 0.5")


@pytest.mark.parametrize("shape", [(1, 1, 1, 2, 2), (3, 4, 3, 5, 5), (1, 50, 1, 4, 4), (2, 23, 6)])
def test_a_sheet_is_a_picture_with_the_same_bytes_each_time(shape, tmp_path):
    images, labels = torch.randn(shape), torch.zeros(shape[1]).long()
    for name in ("a.png", "b.png"):
        sheet(images, labels, torch.full((shape[0],), 0.1), ["only"], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        dots = np.asarray(picture.convert("RGB"))
    assert (dots.min(), dots.max()) == (0, 255)


def test_what_a_sheet_cannot_take(tmp_path):
    with pytest.raises(ShapeError, match="takes 2000 images, but there are 2001"):
        sheet(torch.zeros(1, 2001, 4), torch.zeros(2001).long(), torch.zeros(0), ["a"], tmp_path / "a.png")
    with pytest.raises(DataError, match="cannot be written"):
        sheet(torch.zeros(1, 1, 4), torch.zeros(1).long(), torch.zeros(0), ["a"], tmp_path / "no" / "a.png")


def test_the_values_are_seen_on_the_sheet():
    """Black, white and the grey between are in the picture, each as large as an image."""
    pixels = sheet_pixels(
        torch.tensor([-1.0, 1.0, 0.0]).view(1, 3, 1, 1, 1).expand(1, 3, 1, 8, 8), torch.arange(3),
        torch.tensor([0.5]), ["a", "b", "c"],
    )  # fmt: skip
    greys = {value: int((pixels == value).all(-1).sum()) for value in (0, 128)}
    assert greys == {0: 72 * 72, 128: 72 * 72}


def test_images_of_several_sizes_fit():
    small, large = np.zeros((1, 4, 6)), np.zeros((1, 200, 90))
    assert drawn([Line("", small, ["a"]), Line("", large, ["b"])], "").shape[2] == 3
