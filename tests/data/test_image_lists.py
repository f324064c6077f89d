"""Published lists of images: as they are released, and against images made for the purpose."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tutelage.data.image_lists import (
    ImageList,
    ListedImage,
    folder_images,
    image_paths,
    load_listed,
    load_listed_pair,
    plain_name,
    read_image_list,
    write_image_list,
)
from tutelage.errors import ConfigError, DataError

BUTTERFLIES = ("CabbageWhite", "Monarch", "Queen", "RedAdmiral", "Viceroy")
CHARACTERS = ("grass", "mound", "stem")
COUNTS = {
    "butterflies_gt_tr.txt": (BUTTERFLIES, [300, 303, 319, 309, 313]),
    "butterflies_gt_te.txt": (BUTTERFLIES, [86, 83, 67, 77, 73]),
    "butterflies_Lt_gt_tr.txt": (BUTTERFLIES, [4, 4, 3, 4, 5]),
    "ChineseChars_gt_tr.txt": (CHARACTERS, [198, 186, 184]),
    "ChineseChars_gt_te.txt": (CHARACTERS, [39, 51, 53]),
    "ChineseChars_Lt_gt_tr.txt": (CHARACTERS, [7, 7, 6]),
}


@pytest.fixture
def folder(tmp_path):
    """Images/ with two classes of three images of one colour each, and a parallel tree of explanations."""
    colour = 0
    for tree in ("images", "explanations"):
        for room in ("Cabbage_White", "Red Admiral"):
            (tmp_path / "data" / tree / room).mkdir(parents=True)
            for name in ("1.png", "2.png", "two words.png"):
                colour += 10
                Image.new("RGB", (4, 4), (colour, 0, 0)).save(tmp_path / "data" / tree / room / name)
    return tmp_path / "data"


def listed(tmp_path, *lines, name="list.txt", classes=None):
    (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    return read_image_list(tmp_path / name, classes)


@pytest.mark.parametrize("name", COUNTS)
def test_released_lists(name, real_data, tmp_path):
    path = real_data / "maxgrad" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    classes, counts = COUNTS[name]
    found = read_image_list(path)
    assert found.classes == classes
    assert np.bincount([image.label for image in found.images]).tolist() == counts
    assert [image.index for image in found.images] == list(range(len(found)))
    assert read_image_list(path, classes) == found
    write_image_list(found.images, tmp_path / "copy.txt")
    assert (tmp_path / "copy.txt").read_bytes() == path.read_bytes()


def test_lines_are_split_from_the_right(tmp_path):
    found = listed(tmp_path, "./a b/c/one two.png 0 7", "", "./a b/d/3.png  1 0\r")
    assert found.images == (ListedImage("./a b/c/one two.png", 0, 7), ListedImage("./a b/d/3.png", 1, 0))
    assert (found.classes, found.lines, len(found)) == (("c", "d"), (1, 3), 2)
    assert (found.images[0].name, found.images[0].folder) == ("one two.png", "c")
    write_image_list(found.images, tmp_path / "again.txt")
    assert read_image_list(tmp_path / "again.txt").images == found.images


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("./x/a/1.png 0", 'line 2: "./x/a/1.png 0" is not of the form "path label index"'),
        ("./x/a/1.png zero 0", "is not of the form"),
        ("./x/a/1.png -1 0", "is not of the form"),
        ("./x/a/1.png ² 0", "is not of the form"),
        ("./x/a/1.png 2 0", "line 2: label 2 is outside the 2 classes a, b; if the list does not show all classes"),
        (
            "./x/b/1.png 0 0",
            "line 2: label 0 is a, but the image lies in b; labels are ranks in the order a, b. If it was told so, as "
            "in the list of a run with label noise, give told=True and the classes.",
        ),
    ],
)
def test_lines_that_cannot_be(line, told, tmp_path):
    with pytest.raises(DataError, match=re.escape(told)):
        listed(tmp_path, "./x/a/0.png 0 0", line, "./x/b/2.png 1 0")


def test_told_labels_may_differ_from_the_folders_if_the_classes_are_named(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("./x/b/0.png 0 0\n./x/b/1.png 1 0\n")
    found = read_image_list(path, ("a", "b"), told=True)
    assert [(image.label, image.folder) for image in found.images] == [(0, "b"), (1, "b")]
    assert found == ImageList.of(str(path), found.images, ("a", "b"), told=True)
    with pytest.raises(ConfigError, match=r"list.txt: told labels do not show which classes there are; give classes"):
        read_image_list(path, told=True)
    with pytest.raises(DataError, match="label 1 is outside the 1 classes b"):
        read_image_list(path, ("b",), told=True)


def test_lists_that_cannot_be(tmp_path):
    with pytest.raises(DataError, match="lists no image"):
        listed(tmp_path, "")
    with pytest.raises(DataError, match=r"gone.txt: cannot be read \(No such file"):
        read_image_list(tmp_path / "gone.txt")
    (tmp_path / "image.txt").write_bytes(b"\x89PNG\xff")
    with pytest.raises(DataError, match=r"image.txt: not a list of images"):
        read_image_list(tmp_path / "image.txt")
    with pytest.raises(DataError, match="label 3 is outside the 3 classes a, b, c"):
        listed(tmp_path, "./x/a/0.png 3 0", classes=("a", "b", "c"))
    with pytest.raises(DataError, match="two of the classes a b, AB are the same"):
        listed(tmp_path, "./x/ab/0.png 0 0", classes=("a b", "AB"))
    for path in ("two\nlines.png", "", "end "):
        with pytest.raises(DataError, match="cannot stand in a list"):
            write_image_list([ListedImage(path, 0, 0)], tmp_path / "never.txt")
    assert not (tmp_path / "never.txt").exists()


def test_class_names_are_compared_without_spaces_underscores_and_case(tmp_path):
    assert {plain_name(name) for name in ("Red Admiral", "RedAdmiral", "Red_Admiral", "red admiral")} == {"redadmiral"}
    found = listed(tmp_path, "./x/RedAdmiral/0.png 1 0", classes=("Cabbage White", "Red Admiral"))
    assert found.classes == ("Cabbage White", "Red Admiral")


@pytest.mark.parametrize("top", ["", "images"])
def test_images_are_found_by_class_and_name_wherever_they_lie(top, folder, tmp_path):
    found = listed(tmp_path, "./elsewhere/RedAdmiral/two words.png 1 0", "./other/CabbageWhite/1.png 0 1")
    paths = image_paths(found, folder / top)
    assert paths == (folder / "images/Red Admiral/two words.png", folder / "images/Cabbage_White/1.png")
    pool = load_listed(found, folder / top)
    assert pool.paths == paths
    assert pool.source.x[:, :, 0, 0].tolist() == [[60, 0, 0], [10, 0, 0]]
    assert pool.source.y.tolist() == [1, 0]
    assert pool.source.classes == ("CabbageWhite", "RedAdmiral")
    assert [item.name for item in pool.items] == ["two words.png", "1.png"]
    assert load_listed(found, folder / top, resize=(2, 2)).source.x.shape == (2, 3, 2, 2)


def test_images_that_cannot_be_used_are_named(folder, tmp_path):
    found = listed(tmp_path, "./x/CabbageWhite/1.png 0 0", "./x/RedAdmiral/gone.png 1 0")
    told = f"list.txt line 2: ./x/RedAdmiral/gone.png is missing; looked for {folder}/images/Red Admiral/gone.png"
    with pytest.raises(DataError, match=re.escape(told)):
        image_paths(found, folder)
    (folder / "images/Red Admiral/gone.png").write_text("no image")
    with pytest.raises(DataError, match=re.escape("Red Admiral/gone.png: not a readable image")):
        load_listed(found, folder)
    with pytest.raises(DataError, match="nowhere: cannot be read"):
        image_paths(found, tmp_path / "nowhere")
    (folder / "images/RedAdmiral").mkdir()
    with pytest.raises(DataError, match="Red Admiral and RedAdmiral name the same class"):
        image_paths(found, folder)


def test_an_image_in_both_lists_is_found_whatever_its_name(folder, tmp_path):
    train = listed(tmp_path, "./x/CabbageWhite/1.png 0 0", "./x/RedAdmiral/1.png 1 0", name="train.txt")
    test = listed(tmp_path, "./x/CabbageWhite/2.png 0 0", "./x/RedAdmiral/2.png 1 0", name="test.txt")
    first, second = load_listed_pair(train, test, folder)
    assert (len(first.source), len(second.source)) == (2, 2)
    images = folder / "images"
    (images / "Red Admiral/2.png").write_bytes((images / "Cabbage_White/1.png").read_bytes())
    told = "train item images/Cabbage_White/1.png and test item images/Red Admiral/2.png are the same"
    with pytest.raises(DataError, match=told):
        load_listed_pair(train, test, folder)
    other = ImageList.of("other", [ListedImage("x/moth/1.png", 0, 0)])
    with pytest.raises(DataError, match="has the classes CabbageWhite, RedAdmiral, but other moth"):
        load_listed_pair(train, other, folder)


def test_names_of_lists_are_those_of_their_sources(folder, tmp_path):
    found = listed(tmp_path, "./x/CabbageWhite/1.png 0 0", name="mine_tr.txt", classes=("Cabbage White", "Red Admiral"))
    pool = load_listed(found, str(folder))
    assert (pool.source.name, Path(found.name).name) == ("mine_tr", "mine_tr.txt")


def test_all_images_of_a_folder(tmp_path):
    for name in ("b/2.png", "b/10.JPG", "a/x.png", "a/notes.txt", ".hidden/y.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()
    found = folder_images(tmp_path, "./set/")
    assert [(image.path, image.label) for image in found.images] == [
        *(("./set/a/x.png", 0), ("./set/b/10.JPG", 1), ("./set/b/2.png", 1)),
    ]
    assert (found.classes, found.name) == (("a", "b"), tmp_path.name)
    assert folder_images(tmp_path).images[0].path == f"{tmp_path.as_posix()}/images/a/x.png"
    (tmp_path / "images" / "c").mkdir()
    with pytest.raises(DataError, match=r'images: class "c" is empty'):
        folder_images(tmp_path)
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="bare: no class folders; put the images of each class into a folder"):
        folder_images(tmp_path / "bare")
