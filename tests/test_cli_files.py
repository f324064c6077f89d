"""What commands that write a file have in common."""

import pytest

from tutelage.cli_files import check_new, printable
from tutelage.errors import ConfigError


def test_a_new_file(tmp_path):
    check_new("--out", tmp_path / "a.png", (".png",), "a picture ends in")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("name", "suffixes", "told"),
    [
        ("a.txt", (".png",), "a picture ends in .png."),
        ("a.txt", (".csv", ".parquet", ".json"), "a picture ends in .csv, .parquet or .json."),
        ("there.png", (".png",), "it exists, and is not written over; give another name, or move it away."),
        ("no/a.png", (".png",), "there is no folder .*/no; make it, or give another."),
    ],
)
def test_refused(name, suffixes, told, tmp_path):
    (tmp_path / "there.png").touch()
    with pytest.raises(ConfigError, match=f"^--out {tmp_path}/{name}: {told}"):
        check_new("--out", tmp_path / name, suffixes, "a picture ends in")


def test_what_a_terminal_would_obey_is_replaced():
    assert printable("Ä 🦋\x1b[31m\n") == "Ä 🦋\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"
