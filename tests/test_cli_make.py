"""The command ``tutelage make``: the folder that it leaves, and what it refuses: one line, status 2."""

import numpy as np
import pytest
from PIL import Image

from tutelage.cli import main
from tutelage.data import load
from tutelage.data.glyphs import glyphs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "glyphs"
    assert main(["make", "glyphs-sim", str(folder), "--seed", "3", "--per-class", "6", "--size", "32"]) == 0
    return folder


def refused(capsys, *arguments):
    assert main(["make", *map(str, arguments)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert len(told.splitlines()) == 1
    return told


def pixels(path):
    return np.asarray(Image.open(path))


def test_lists_name_every_image_once_with_its_label(made):
    classes = sorted(entry.name for entry in (made / "images").iterdir())
    assert classes == ["grass", "mound", "stem"]
    listed = []
    for part, count in (("tr", 14), ("te", 4)):
        lines = [line.split(" ") for line in (made / f"glyphs-sim_gt_{part}.txt").read_text().splitlines()]
        assert [place for *_, place in lines] == list(map(str, range(count)))
        for path, label, _ in lines:
            name = path.removeprefix("./datasets/glyphs-sim/images/")
            assert name.split("/")[0] == classes[int(label)]
            listed.append(name)
    assert sorted(listed) == sorted(f"{p.parent.name}/{p.name}" for p in (made / "images").rglob("*.png"))
    assert len(set(listed)) == 18


def test_the_parts_are_those_of_the_set(made):
    drawn = glyphs(3, per_class=6, size=32)
    for part, rows in zip(("tr", "te"), drawn.parts()):
        for line, row in zip((made / f"glyphs-sim_gt_{part}.txt").read_text().splitlines(), rows, strict=True):
            name = line.split(" ")[0].removeprefix("./datasets/glyphs-sim/images/")
            np.testing.assert_array_equal(pixels(made / "images" / name), drawn.x[row, 0])
            np.testing.assert_array_equal(pixels(made / "masks" / name) > 0, drawn.masks[row])


def test_explanations_keep_the_cue_and_darken_the_rest(made):
    for path in (made / "images").rglob("*.png"):
        name = path.relative_to(made / "images")
        image, bright = pixels(path).astype(float), pixels(made / "explanations" / name).astype(float)
        cue = pixels(made / "masks" / name) > 0
        assert (bright <= image + 1).all()
        assert bright[cue].sum() / image[cue].sum() > 3 * bright[~cue].sum() / image[~cue].sum()


def test_the_images_load_as_a_folder(made):
    source = load(made / "images").train
    assert source.x.shape == (18, 1, 32, 32)
    assert source.classes == ("grass", "mound", "stem")


def test_butterflies_are_in_colour(tmp_path, capsys):
    assert main(["make", "butterflies-sim", str(tmp_path), "--per-class", "2", "--size", "48"]) == 0
    assert "10 images, 8 to train and 2 to test" in " ".join(capsys.readouterr().out.split())
    path = next((tmp_path / "explanations" / "Monarch").iterdir())
    assert pixels(path).shape == (48, 48, 3)


def test_refused(tmp_path, capsys):
    (tmp_path / "kept.txt").write_text("mine")
    assert "exists and is not an empty folder" in refused(capsys, "glyphs-sim", tmp_path)
    assert "exists and is not an empty folder" in refused(capsys, "glyphs-sim", tmp_path / "kept.txt")
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.txt"]
    new = tmp_path / "new"
    assert "per_class is 1; it must be at least 2" in refused(capsys, "glyphs-sim", new, "--per-class", "1")
    assert "size is 8; it must be at least 48" in refused(capsys, "butterflies-sim", new, "--size", "8")
    assert "size is 100000; it must be at most 1024" in refused(capsys, "glyphs-sim", new, "--size", "100000")
    assert "per_class is 1000000; it must be at most" in refused(capsys, "glyphs-sim", new, "--per-class", "1000000")
    assert "glyph-sim" in refused(capsys, "glyph-sim", new)
    assert not new.exists()
    assert "cannot be written" in refused(capsys, "glyphs-sim", tmp_path / "kept.txt" / "in", "--per-class", "2")
