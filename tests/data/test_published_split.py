"""The published split: its counts and its order of labels, on trees without images."""

import numpy as np
import pytest

from tutelage.data.image_lists import read_image_list, write_image_list
from tutelage.data.published_split import published_split, split_folder
from tutelage.errors import DataError

SETS = {
    "butterflies": (
        "butterflies", (386, 450, 400, 386, 500), [300, 303, 319, 309, 313], [86, 83, 67, 77, 73],
    ),
    "characters": ("ChineseChars", (237, 250, 300), [198, 186, 184], [39, 51, 53]),
    "oct": (None, (354, 354, 360), [296, 275, 278], [58, 79, 76]),
}  # fmt: skip
"""Beginning of the released list files, sizes of classes of which the smallest is as published, counts."""


@pytest.mark.parametrize("name", SETS)
def test_counts_are_those_published(name):
    _, sizes, train_counts, test_counts = SETS[name]
    y = np.repeat(np.arange(len(sizes)), sizes)
    train, test = published_split(y)
    assert np.bincount(y[train]).tolist() == train_counts
    assert np.bincount(y[test]).tolist() == test_counts
    assert len(np.union1d(train, test)) == len(sizes) * min(sizes)  # disjoint, the surplus of large classes left out


@pytest.mark.parametrize("name", ["butterflies", "characters"])
def test_labels_come_in_the_order_of_the_released_lists(name, real_data):
    begin, sizes, _, _ = SETS[name]
    y = np.repeat(np.arange(len(sizes)), min(sizes))
    for rows, role in zip(published_split(y), ("tr", "te")):
        path = real_data / "maxgrad" / f"{begin}_gt_{role}.txt"
        if not path.is_file():
            pytest.skip(f"{path} is not there")
        assert y[rows].tolist() == [image.label for image in read_image_list(path).images]


def test_it_is_the_loop_that_was_published():
    from sklearn.model_selection import train_test_split

    y = np.random.RandomState(1).permutation(np.repeat(np.arange(3), (20, 31, 25)))
    shuffled = np.random.RandomState(0).permutation(len(y)).tolist()
    kept = []
    for c in range(3):
        of_class = [row for row in shuffled if y[row] == c]
        kept += of_class[:20]
    train, test = train_test_split(kept, test_size=0.2, random_state=0)
    assert [rows.tolist() for rows in published_split(y)] == [train, test]


def test_a_tree_becomes_two_lists(tmp_path):
    for label, name in enumerate(("grass", "mound", "stem")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(20 + label):
            (tmp_path / "images" / name / f"{name}{i}.png").touch()
        (tmp_path / "images" / name / "notes.txt").touch()
    train, test = split_folder(tmp_path, prefix="./datasets/chinese_chars/images")
    assert (len(train), len(test)) == (48, 12)
    assert train.classes == ("grass", "mound", "stem")
    assert not {image.path for image in train.images} & {image.path for image in test.images}
    assert all(image.path.startswith("./datasets/chinese_chars/images/") for image in train.images)
    write_image_list(test.images, tmp_path / "te.txt")
    assert read_image_list(tmp_path / "te.txt").images == test.images
    assert split_folder(tmp_path / "images")[1].images[0].path == f"{tmp_path}/images/" + "/".join(
        test.images[0].path.split("/")[-2:]
    )


def test_trees_that_cannot_be_split(tmp_path):
    with pytest.raises(DataError, match="no class folders"):
        split_folder(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match='class "a" is empty'):
        split_folder(tmp_path)
    (tmp_path / "a/1.png").touch()
    with pytest.raises(DataError, match="1 classes of 1 rows are too few"):
        split_folder(tmp_path)
    with pytest.raises(DataError, match="gone: cannot be read"):
        split_folder(tmp_path / "gone")
