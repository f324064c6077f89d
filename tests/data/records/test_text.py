"""Lines of text files: what ends a line, what stays, several files, bad bytes."""

import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data.records import TextLineReader, text
from tutelage.errors import DataError


def lines(path):
    reader = TextLineReader(path)
    return reader.read(np.arange(len(reader)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\r\nb\nc\r\nd", ["a", "b", "c", "d"]),
        (b"\n", [""]),
        (b"\r\n", [""]),
        (b"\n\n", ["", ""]),
        (b"\n\na\n\n", ["", "", "a", ""]),
        (b"a\r\n\r\nb\n\r\n", ["a", "", "b", ""]),
        (b"a\rb\n", ["a\rb"]),
        (b"\ra\n", ["\ra"]),
        (b"a\r\r\n", ["a\r"]),
        (b"a\r", ["a\r"]),
        (b"a\n\r", ["a", "\r"]),
        (b" a \t\n  \n", [" a \t", "  "]),
        ("é\u2028ü\x0b\x0c\x85\n".encode(), ["é\u2028ü\x0b\x0c\x85"]),
        (b"\xef\xbb\xbfa\n", ["\ufeffa"]),
        (b"a\0b\n", ["a\0b"]),
    ],
)
def test_what_a_line_is(tmp_path, content, expected):
    (tmp_path / "a").write_bytes(content)
    assert lines(tmp_path / "a") == expected


@given(st.binary(min_size=1, max_size=60).map(lambda b: bytes(b"\r\n\nab"[c % 5] for c in b)), st.integers(1, 9))
def test_against_splitting(tmp_path_factory, content, piece):
    path = tmp_path_factory.mktemp("text") / "a"
    path.write_bytes(content)
    parts = content.split(b"\n")
    last = [parts[-1]] if parts[-1] else []
    expected = [part.removesuffix(b"\r") for part in parts[:-1]] + last
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_PIECE_BYTES", piece)
        assert lines(path) == [part.decode() for part in expected]


def test_random_access_to_several_files(tmp_path):
    (tmp_path / "a").write_text("0\n1")
    (tmp_path / "b").write_text("2\n\n4\n")
    reader = TextLineReader([tmp_path / "a", tmp_path / "b"])
    assert len(reader) == 5
    assert reader.read(np.array([4, 3, 1, 2, 4])) == ["4", "", "1", "2", "4"]
    assert reader.gather(np.array([0, 4])).tolist() == ["0", "4"]
    assert (reader.signature(), reader.kind) == ("str", "text")
    assert pickle.loads(pickle.dumps(reader)).read(np.array([2])) == ["2"]  # noqa: S301
    assert re.fullmatch("[0-9a-f]{64}", reader.fingerprint())
    assert TextLineReader([tmp_path / "b", tmp_path / "a"]).fingerprint() != reader.fingerprint()
    reader.close()
    with pytest.raises(DataError, match="the reader is closed"):
        reader.read(np.array([0]))


def test_bytes_that_are_not_utf8(tmp_path):
    (tmp_path / "a").write_bytes(b"fine\n")
    (tmp_path / "b").write_bytes(b"one\n\nthree\nf\xfcnf\nfive\n")
    reader = TextLineReader([tmp_path / "a", tmp_path / "b"])
    assert reader.read(np.array([0, 1, 2, 3, 5])) == ["fine", "one", "", "three", "five"]
    with pytest.raises(DataError, match=f"^{tmp_path}/b line 4: not UTF-8.$"):
        reader.read(np.array([5, 4]))


def test_missing_and_empty_files(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(DataError, match=f"^{tmp_path}/a: file is empty.$"):
        TextLineReader(tmp_path / "a")
    with pytest.raises(DataError, match=f"^{tmp_path}/b: no such file.$"):
        TextLineReader(tmp_path / "b")
