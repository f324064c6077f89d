"""CSV files: columns, labels, quoting, and every message with its line."""

import pickle
import re

import numpy as np
import pytest

from tutelage.data.records import CsvReader
from tutelage.errors import ConfigError, DataError

PEOPLE = "age,size,kind\n31,1.5,dog\n4,-2e1,cat\n 7 ,.25,dog\n"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.csv"


def test_with_a_label(path):
    reader = CsvReader(write(path, PEOPLE), label="kind")
    assert (len(reader), reader.columns, reader.classes, reader.kind) == (3, ("age", "size"), ("cat", "dog"), "csv")
    x, y = reader.gather(np.array([2, 0, 1]))
    np.testing.assert_array_equal(x, np.float32([[7, 0.25], [31, 1.5], [4, -20]]), strict=True)
    np.testing.assert_array_equal(y, np.array([1, 1, 0]), strict=True)
    one, label = reader.read(np.array([1]))[0]
    np.testing.assert_array_equal(one, np.float32([4, -20]), strict=True)
    np.testing.assert_array_equal(label, np.array(0), strict=True)
    assert reader.signature() == ("float32 (2,)", "int64 ()")


def test_without_a_label(path):
    reader = CsvReader(write(path, PEOPLE), text=["kind"])
    assert (reader.columns, reader.classes) == (("age", "size", "kind"), None)
    gathered = reader.gather(np.array([1, 2]))
    np.testing.assert_array_equal(gathered["age"], np.float32([4, 7]), strict=True)
    assert gathered["kind"].tolist() == ["cat", "dog"]
    element = reader.read(np.array([0]))[0]
    np.testing.assert_array_equal(element["size"], np.array(1.5, dtype=np.float32), strict=True)
    assert element["kind"] == "dog"
    assert reader.signature() == {"age": "float32 ()", "size": "float32 ()", "kind": "str"}


def test_chosen_columns(path):
    write(path, PEOPLE)
    assert CsvReader(path, columns=["size"]).gather(np.arange(3))["size"].tolist() == [1.5, -20, 0.25]
    assert CsvReader(path, "kind", columns=["size", "age"]).gather(np.array([0]))[0].tolist() == [[1.5, 31]]
    assert CsvReader(path, "age", columns=["size"]).gather(np.arange(3))[1].tolist() == [31, 4, 7]


def test_integer_labels_are_kept(path):
    reader = CsvReader(write(path, "x,y\n1,3\n2,-1\n3, 10\n"), "y")
    assert reader.classes is None
    assert reader.gather(np.arange(3))[1].tolist() == [3, -1, 10]


def test_quotes_blank_lines_and_line_ends(path):
    content = b'\xef\xbb\xbf"a, b",c\r\n\r\n"1",x\r\n2,"two\r\nlines, ""quoted"""\r\n\r\n3,y'
    reader = CsvReader(write(path, content), text=["c"])
    assert reader.columns == ("a, b", "c")
    assert reader.gather(np.arange(3))["c"].tolist() == ["x", 'two\r\nlines, "quoted"', "y"]
    assert CsvReader(write(path, "a;b\n1;2\n"), delimiter=";").columns == ("a", "b")


def test_several_files(tmp_path):
    first = write(tmp_path / "a", "x,y\n1,dog\n2,cat\n")
    second = write(tmp_path / "b", "x,y\n3,ape\n")
    reader = CsvReader([first, second], "y")
    assert reader.classes == ("ape", "cat", "dog")
    assert [y.item() for _, y in reader.read(np.array([2, 0, 1]))] == [0, 2, 1]
    write(second, "x,z\n3,ape\n")
    with pytest.raises(DataError, match=f"^{second}: columns x, z; {first} has x, y.$"):
        CsvReader([first, second], "y")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("age\n" + "1\n" * 7 + "n/a\n", ' line 9, column "age": "n/a" is no number.'),
        ("age\n1\n\n\nn/a\n", ' line 5, column "age": "n/a" is no number.'),
        ('age,b\n1,"2\n"\n3,"\n\nx"\n', ' line 4, column "b": "x" is no number.'),
        (f"a\n{'long ' * 20}\n", f' line 2, column "a": "{"long " * 8}..." is no number.'),
        ("a,b\n1,\n", ' line 2, column "b": "" is no number.'),
        ("a\n1_000\n", ' line 2, column "a": "1_000" is no number.'),
        ("a\n1\nnan\n", ' line 3, column "a": "nan" is not finite; pass check=False to keep such values.'),
        ("a\n-inf\n", ' line 2, column "a": "-inf" is not finite; pass check=False to keep such values.'),
        ("a\n1e39\n", ' line 2, column "a": "1e39" is not finite; pass check=False to keep such values.'),
        ("a,b\n1,2\n1,2,3\n", " line 3: fields 3, columns 2."),
        ("a,b\n1\n", " line 2: fields 1, columns 2."),
        ("a,b,a\n1,2,3\n", ': two columns are called "a".'),
        ("a,b\n", ": no rows below the header."),
        ("\n\n", ": no header."),
        (b"a\n1\n\n\xfc\n", " line 4: not UTF-8."),
        ('a\n1\n"2\n3\n', " line 3: no CSV (unexpected end of data)."),
        ('a\n1\n"2"3\n', " line 3: no CSV (',' expected after '\"')."),
    ],
)
def test_bad_files(path, content, message):
    with pytest.raises(DataError, match=f"^{re.escape(str(path) + message)}$"):
        CsvReader(write(path, content))


def test_values_that_are_not_finite_can_be_kept(path):
    reader = CsvReader(write(path, "a\nnan\n-inf\n1e39\n"), check=False)
    np.testing.assert_array_equal(reader.gather(np.arange(3))["a"], np.float32([np.nan, -np.inf, np.inf]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("1\n \n", ' line 3, column "y": "" is no label.'),
        ("1\ncat\n", ' line 3, column "y": "cat" is no number, unlike labels above.'),
        ("cat\ndog\n3\n", ' line 4, column "y": "3" is a number, unlike labels above.'),
        ("1\n1.5\n", ' line 3, column "y": "1.5" is no class; labels are texts or integers below 10^18.'),
        (
            "99999999999999999999\n",
            ' line 2, column "y": "99999999999999999999" is no class; labels are texts or integers below 10^18.',
        ),
    ],
)
def test_bad_labels(path, labels, message):
    rows = "".join(f"0,{label}\n" for label in labels.splitlines())
    with pytest.raises(DataError, match=f"^{re.escape(str(path) + message)}$"):
        CsvReader(write(path, "x,y\n" + rows), "y")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "species"}, ': no column "species" among age, size, kind; pass label="age".'),
        ({"columns": ["aga"]}, ': no column "aga" among age, size, kind.'),
        ({"text": ["aga"]}, ': no column "aga" among age, size, kind; text= names columns that are read.'),
        ({"label": "kind", "columns": []}, ": no column besides the label."),
    ],
)
def test_missing_columns(path, options, message):
    with pytest.raises(DataError, match=f"^{re.escape(str(path) + message)}$"):
        CsvReader(write(path, PEOPLE), **options)


def test_text_beside_a_label(path):
    with pytest.raises(ConfigError, match=r"^CsvReader: x holds numbers only; leave out text= or label=.$"):
        CsvReader(write(path, PEOPLE), "kind", text=["age"])


def test_missing_and_empty_files(path):
    with pytest.raises(DataError, match=f"^{path}: no such file.$"):
        CsvReader(path)
    with pytest.raises(DataError, match=f"^{path}: file is empty.$"):
        CsvReader(write(path, ""))


def test_fingerprint_and_pickling(path):
    reader = CsvReader(write(path, PEOPLE), "kind")
    first = reader.fingerprint()
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert CsvReader(path, "kind").fingerprint() == first
    assert CsvReader(path, "kind", columns=["age"]).fingerprint() != first
    assert CsvReader(path, text=["kind"]).fingerprint() != first
    copy = pickle.loads(pickle.dumps(reader))  # noqa: S301
    assert copy.gather(np.arange(3))[1].tolist() == [1, 0, 1]
    assert copy.fingerprint() == first
    assert CsvReader(write(path, PEOPLE.replace("31", "32")), "kind").fingerprint() != first
