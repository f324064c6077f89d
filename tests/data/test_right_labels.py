"""Tables of right labels: what is read, and every way in which they are refused."""

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tutelage.data import from_arrays, read_right_labels
from tutelage.errors import DataError


def source(classes, rows=50):
    y = np.arange(rows) % len(classes)
    return from_arrays(np.zeros((rows, 2), np.float32), y, classes=classes, name="mine")


PETS = source(["cat", "dog", "true"])
DIGITS = source([str(i) for i in range(10)])
FLOORS = source(["1", "10", "2"])


def csv(path, text):
    file = path / "right.csv"
    file.write_text(text)
    return file


def parquet(path, **columns):
    file = path / "right.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file


def check(found, index, labels):
    assert [a.dtype for a in found] == [np.int64, np.int64]
    np.testing.assert_array_equal(found[0], index)
    np.testing.assert_array_equal(found[1], labels)


def test_numbers_of_classes_come_back_by_ascending_index(tmp_path):
    text = "index,label\n40,1\n3,0\n17,2\n"
    check(read_right_labels(csv(tmp_path, text), PETS), [3, 17, 40], [0, 2, 1])
    check(read_right_labels(str(csv(tmp_path, text)), DIGITS), [3, 17, 40], [0, 2, 1])
    check(read_right_labels(parquet(tmp_path, index=[40, 3, 17], label=[1, 0, 2]), PETS), [3, 17, 40], [0, 2, 1])


def test_names_of_classes(tmp_path):
    text = "label,index\ndog,40\ncat,3\ntrue,17\n"
    check(read_right_labels(csv(tmp_path, text), PETS), [3, 17, 40], [0, 2, 1])
    check(read_right_labels(csv(tmp_path, "index,label\n4,true\n"), PETS), [4], [2])
    file = parquet(tmp_path, label=["dog", "cat"], index=np.array([7, 5], np.uint8))
    check(read_right_labels(file, PETS), [5, 7], [0, 1])


def test_names_that_are_numbers_are_names(tmp_path):
    check(read_right_labels(csv(tmp_path, "index,label\n1,10\n2,2\n0,1\n"), FLOORS), [0, 1, 2], [0, 1, 2])
    check(read_right_labels(parquet(tmp_path, index=[1, 2], label=[10, 2]), FLOORS), [1, 2], [1, 2])
    with pytest.raises(DataError, match=r'right\.csv row 0: label "0" is not among the classes 1, 10, 2\.'):
        read_right_labels(csv(tmp_path, "index,label\n1,0\n"), FLOORS)


def test_other_columns_do_not_matter(tmp_path):
    check(read_right_labels(csv(tmp_path, "who,index,label,when\nme,8,9,\nyou,2,0,5\n"), DIGITS), [2, 8], [0, 9])


def test_first_and_last_row_of_the_source(tmp_path):
    check(read_right_labels(csv(tmp_path, "index,label\n49,9\n0,0\n"), DIGITS), [0, 49], [0, 9])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,labels\n1,2\n", 'no column "label" among index, labels; needed are index and label.'),
        ("row,label\n1,2\n", 'no column "index" among row, label; needed are index and label.'),
        ("1,2\n3,4\n", 'no column "index" among 1, 2'),
        ("index,index,label\n1,1,2\n", 'two columns "index" among index, index, label'),
        ("index,label\n", "has no rows."),
        ("", "not a readable CSV or Parquet file"),
        ("index,label\n1,2\n3\n", "not a readable CSV or Parquet file"),
        ("index,label\n1.5,2\n", 'column "index" must hold whole numbers, positions in mine.'),
        ("index,label\na,2\n", 'column "index" must hold whole numbers'),
        ("index,label\n1,2\n,3\n", "row 1: no index."),
        ("index,label\n50,2\n", "index 50 is outside 0..49, the rows of mine."),
        ("index,label\n1,2\n-1,2\n", "index -1 is outside 0..49"),
        ("index,label\n1,2\n7,2\n3,3\n7,2\n", "index 7 comes twice."),
        ("index,label\n1,2\n2,10\n", 'row 1: label "10" is not among the classes 0, 1, 2'),
        ("index,label\n1,-1\n", 'row 0: label "-1" is not among the classes'),
        ("index,label\n1,2.0\n", 'row 0: label "2.0" is not among the classes'),
        ("index,label\n1,two\n", 'row 0: label "two" is not among the classes 0, 1, 2'),
        ("index,label\n1,2\n2,\n", 'row 1: label "" is not among the classes'),
    ],
    ids=repr,
)
def test_bad_tables(tmp_path, text, message):
    with pytest.raises(DataError) as caught:
        read_right_labels(csv(tmp_path, text), DIGITS)
    assert str(caught.value).startswith(str(tmp_path / "right.csv"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,label\n1,cat\n2,cow\n", 'row 1: label "cow" is not among the classes cat, dog, true.'),
        ("index,label\n1,2\n2,3\n", "label 3 is outside 0..2."),
        ("index,label\n1,2\n2,cat\n", 'row 0: label "2" is not among the classes cat, dog, true.'),
    ],
    ids=repr,
)
def test_labels_that_are_no_class(tmp_path, text, message):
    with pytest.raises(DataError) as caught:
        read_right_labels(csv(tmp_path, text), PETS)
    assert str(caught.value) == f"{tmp_path / 'right.csv'}" + (" " if message.startswith("row") else ": ") + message


def test_parquet_with_gaps(tmp_path):
    with pytest.raises(DataError, match=r"right\.parquet row 1: no label\."):
        read_right_labels(parquet(tmp_path, index=[1, 2], label=[1, None]), PETS)
    with pytest.raises(DataError, match=r"right\.parquet row 0: no index\."):
        read_right_labels(parquet(tmp_path, index=[None, 2], label=[1, 0]), PETS)


@pytest.mark.parametrize("name", ["right.csv", "right.parquet"])
def test_files_that_cannot_be_read(tmp_path, name):
    with pytest.raises(DataError, match=rf"{name}: not a readable CSV or Parquet file"):
        read_right_labels(tmp_path / name, DIGITS)
    (tmp_path / name).write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match=f"{name}: "):
        read_right_labels(tmp_path / name, DIGITS)
    with pytest.raises(DataError, match="not a readable CSV or Parquet file"):
        read_right_labels(tmp_path, DIGITS)
