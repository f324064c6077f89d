"""What drawing leaves in a folder."""

import csv
import html
import re
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image, ImageSequence

from tutelage import curricula
from tutelage.errors import CheckpointError, ConfigError, ShapeError
from tutelage.mentors import Mentor, MentorNetwork
from tutelage.report.drawing import PERCENTS, draw
from tutelage.report.drawing.numbers import Scale

FILES = ["curriculum.gif", "curriculum.html", "grid.csv", "grid.parquet", "cuts.csv", "cuts.parquet"]


def pixels(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mixture, at a few percents."""
    folder = tmp_path_factory.mktemp("drawing") / "new" / "alone"
    written = draw({"predefined": curricula.predefined}, folder, percents=(9, 18, 20, 90), threshold=1.5)
    assert written == [folder / name for name in ["e-09.png", "e-18.png", "e-20.png", "e-90.png", *FILES]]
    assert sorted(folder.iterdir()) == sorted(written)
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two curricula, one of them a mentor that learned nothing, with an unkind name."""
    folder = tmp_path_factory.mktemp("compared")
    mentor = Mentor(MentorNetwork(seed=0))
    draw({"self_paced": curricula.self_paced, "<b>$x_1$": mentor}, folder, percents=(20, 95), bound=15)
    return folder


def test_pictures_open_and_share_a_size(alone: Path, compared: Path) -> None:
    for folder, names in ((alone, ("e-09", "e-18", "e-20", "e-90")), (compared, ("e-20", "e-95"))):
        images = [pixels(folder / f"{name}.png") for name in names]
        assert len({image.size for image in images}) == 1
        assert all(image.getpixel((1, 1)) == (255, 255, 255) for image in images)
        assert len({image.tobytes() for image in images}) == len(images)


def test_the_animation_shows_each_frame_for_half_a_second_without_end(alone: Path) -> None:
    with Image.open(alone / "curriculum.gif") as gif:
        assert (gif.format, gif.n_frames, gif.info["loop"]) == ("GIF", 4, 0)
        seen = [(frame.info["duration"], frame.convert("RGB").tobytes()) for frame in ImageSequence.Iterator(gif)]
    pictures = [pixels(alone / f"e-{e}.png").tobytes() for e in ("09", "18", "20", "90")]
    assert seen == [(500, picture) for picture in pictures]


def test_the_grid_holds_every_weight(alone: Path) -> None:
    scale = Scale()
    found = rows(alone / "grid.csv")
    assert len(found) == 4 * 61 * 61
    assert list(found[0]) == ["percent", "loss", "d", "occurs", "v(predefined)"]
    loss, d, v = (np.array([float(row[key]) for row in found]) for key in ("loss", "d", "v(predefined)"))
    percents = np.array([int(row["percent"]) for row in found])
    assert percents[:: 61 * 61].tolist() == [9, 18, 20, 90]
    np.testing.assert_array_equal(np.unique(loss), scale.losses)
    np.testing.assert_array_equal(np.unique(d), scale.differences)
    assert [row["occurs"] == "true" for row in found] == (d <= loss).tolist()
    expected = np.where(percents <= 18, 1, np.where(percents < 90, d <= 0, np.clip(1 - d, 0, 1)))
    np.testing.assert_allclose(v, expected, atol=1e-6)


def test_the_cuts_are_those_of_the_line(alone: Path) -> None:
    found = rows(alone / "cuts.csv")
    assert list(found[0]) == ["curriculum", "percent", "threshold", "v(0)", "v(10)", "d*", "clear"]
    assert [row["percent"] for row in found] == ["9", "18", "20", "90"]
    assert {(row["curriculum"], row["threshold"], row["v(0)"], row["clear"]) for row in found} == {
        ("predefined", "1.5", "1", "true")
    }
    assert [row["v(10)"] for row in found] == ["1", "1", "0", "0"]
    assert [row["d*"] for row in found][:2] == ["", ""]
    np.testing.assert_allclose([float(row["d*"]) for row in found[2:]], [0, 0.5], atol=2e-5)


def test_parquet_holds_the_same_as_csv(alone: Path, compared: Path) -> None:
    for folder in (alone, compared):
        for name in ("grid", "cuts"):
            table, texts = pyarrow.parquet.read_table(folder / f"{name}.parquet"), rows(folder / f"{name}.csv")
            assert table.column_names == list(texts[0])
            for key in table.column_names:
                values = table[key].to_pylist()
                if pyarrow.types.is_floating(table[key].type):
                    np.testing.assert_allclose(
                        np.array(values, dtype=float),
                        [float(row[key] or "nan") for row in texts],
                        rtol=1e-6,
                    )
                else:
                    assert [str(v).lower() for v in values] == [row[key].lower() for row in texts]


def test_two_curricula_leave_their_difference(compared: Path) -> None:
    table = pyarrow.parquet.read_table(compared / "grid.parquet")
    assert table.column_names == ["percent", "loss", "d", "occurs", "v(self_paced)", "v(<b>$x_1$)", "difference"]
    loss, d, first, second, difference = (
        table[key].to_numpy() for key in ("loss", "d", "v(self_paced)", "v(<b>$x_1$)", "difference")
    )
    np.testing.assert_array_equal(difference, first - second)
    np.testing.assert_array_equal(first, d <= 0)
    here = slice(61 * 61)
    losses, thresholds = (torch.tensor(values[here], dtype=torch.float32) for values in (loss, loss - d))
    np.testing.assert_allclose(second[here], Mentor(MentorNetwork(seed=0))(losses, thresholds, 0.2), atol=1e-6)


def test_the_page_plays_the_frames_and_asks_nothing_of_the_network(alone: Path, compared: Path) -> None:
    page = (alone / "curriculum.html").read_text()
    assert re.findall(r'src="(data:image/png;base64,)', page) == ["data:image/png;base64,"] * 4
    assert not re.search(r"(src|href)=\"(?!data:)|https?://|@import|url\(", page)
    assert "default-src 'none'" in html.unescape(page)
    assert 'data-wait="500"' in page
    assert 'data-names="9 18 20 90"' in page
    assert 'slider, { type: "range"' in page
    assert "no clear curriculum" not in page
    assert "cannot occur" in page
    assert "the threshold 1.5" in page
    assert "The last column is the first curriculum minus the second." not in page


def test_the_page_names_what_is_unclear_and_escapes_names(compared: Path) -> None:
    page = (compared / "curriculum.html").read_text()
    assert "<b>$x" not in page
    assert "&lt;b&gt;$x_1$: no clear curriculum at any e: v(0) − v(10) is" in page
    assert "self_paced: no clear" not in page
    assert "The last column is the first curriculum minus the second." in page


def test_drawing_again_gives_the_same_bytes_and_replaces_its_files(tmp_path: Path) -> None:
    (tmp_path / "e-20.png").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    first = {path: path.read_bytes() for path in draw({"hard": curricula.hard}, tmp_path, percents=(20,))}
    assert {path: path.read_bytes() for path in draw({"hard": curricula.hard}, tmp_path, percents=(20,))} == first
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert first[tmp_path / "e-20.png"].startswith(b"\x89PNG")


def test_a_curriculum_without_values_where_nothing_occurs_is_drawn(tmp_path: Path) -> None:
    draw({"root": lambda loss, threshold, e: threshold.sqrt().clamp(max=1)}, tmp_path, percents=(50,))
    found = rows(tmp_path / "grid.csv")
    assert {row["occurs"] for row in found if not row["v(root)"]} == {"false"}


def test_drawing_leaves_the_settings_and_random_state_of_the_caller(tmp_path: Path) -> None:
    import matplotlib as mpl

    settings, state = dict(mpl.rcParams), torch.get_rng_state()
    draw({"hard": curricula.hard}, tmp_path, percents=(20,))
    assert dict(mpl.rcParams) == settings
    assert torch.equal(torch.get_rng_state(), state)


def test_mistakes_are_named_before_anything_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "drawing"
    with pytest.raises(ConfigError, match="there is no curriculum to draw; give at least one"):
        draw({}, folder)
    with pytest.raises(ConfigError, match="bound is 0; it must be positive"):
        draw({"hard": curricula.hard}, folder, bound=0)
    with pytest.raises(ConfigError, match=r"percents are \(100,\); they must be whole numbers in 0\.\.99"):
        draw({"hard": curricula.hard}, folder, percents=[100])
    with pytest.raises(ShapeError, match='"mean" returned shape'):
        draw({"hard": curricula.hard, "mean": lambda loss, threshold, e: loss.mean()}, folder)
    assert not folder.exists()
    folder.write_text("a file")
    with pytest.raises(CheckpointError, match=r"cannot write .*drawing.*; choose another folder"):
        draw({"hard": curricula.hard}, folder, percents=(20,))


def test_a_mentor_has_13_frames(tmp_path: Path) -> None:
    written = draw({"mentor": Mentor(MentorNetwork(seed=0))}, tmp_path)
    assert [path.name for path in written[:13]] == [f"e-{e:02}.png" for e in PERCENTS]
    with Image.open(tmp_path / "curriculum.gif") as gif:
        assert gif.n_frames == 13
