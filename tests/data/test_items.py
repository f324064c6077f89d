"""Items: identity by name and content, and sets that must share none."""

import hashlib

import pytest
import torch

from tutelage.data.items import Item, check_disjoint, distinct, duplicates, file_hash, file_items, tensor_items
from tutelage.errors import DataError


@pytest.fixture
def files(tmp_path):
    for name, content in (("a/one.png", b"1"), ("b/one.png", b"2"), ("b/copy.png", b"1")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def items_of(root, *names):
    return file_items([root / name for name in names], root)


def test_a_file_is_its_name_and_the_hash_of_its_bytes(files):
    (item,) = items_of(files, "a/one.png")
    assert item == Item("a/one.png", hashlib.sha256(b"1").hexdigest())
    assert (item.name, item.id) == ("one.png", f"one.png:{item.sha256}")
    assert file_hash(str(files / "b/one.png")) == hashlib.sha256(b"2").hexdigest()


def test_the_id_stays_where_the_pool_is_moved_or_filtered(files):
    (files / "moved").mkdir()
    (files / "a").rename(files / "moved/a")
    moved = items_of(files / "moved", "a/one.png")
    assert [item.id for item in moved] == [f"one.png:{hashlib.sha256(b'1').hexdigest()}"]
    rows = torch.arange(12.0).view(4, 3)
    everything, some = tensor_items("pool", rows), tensor_items("pool", rows[[3, 1]])
    assert some == (everything[3], everything[1])


def test_rows_of_tensors_differ_in_type_shape_and_values():
    row = torch.tensor([[0, 1, 2, 3]])
    kinds = [row, row.float(), row.view(1, 2, 2), row.flip(1)]
    assert len({tensor_items("pool", rows)[0].sha256 for rows in kinds}) == 4
    assert tensor_items("pool", row.t().contiguous().t()) == tensor_items("pool", row)
    item = tensor_items("pool", row)[0]
    assert item.path == f"pool/{item.sha256[:12]}"


def test_what_is_the_same_under_two_names_is_found(files):
    first, second = items_of(files, "a/one.png"), items_of(files, "b/one.png", "b/copy.png")
    assert duplicates(first, second) == [(0, 1)]
    assert duplicates(second, second) == [(0, 0), (1, 1)]
    assert distinct([*second, *first, *second]) == [0, 1]
    told = "train item a/one.png and test item b/copy.png are the same: SHA-256 6b86b273ff34; remove one of them."
    with pytest.raises(DataError, match=told):
        check_disjoint("train", first, "test", second)
    check_disjoint("train", first, "test", second[:1])  # the same name, another content


def test_files_that_cannot_be_items(files):
    with pytest.raises(DataError, match=r"gone.png: cannot be read \(No such file"):
        items_of(files, "gone.png")
    with pytest.raises(DataError, match=r"one.png: does not lie below"):
        file_items([files / "a/one.png"], files / "b")
