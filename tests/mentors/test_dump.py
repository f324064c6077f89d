"""Dumps: three forms of files, thresholds, and what a dump must not hold."""

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.mentors import Dump

PUBLISHED = """\
3 0 7 7 2.25
3 50 7 7 0.125
1 0 4 5 3.5
1 50 4 5 4
2 50 0 0 0.75
"""


def dump(n=60, seed=0, **columns):
    """Each of n / 3 examples at three percents; a third of the labels is wrong, every fifth is not trusted."""
    random = np.random.default_rng(seed)
    ids = np.repeat(random.permutation(1000)[: n // 3], 3)
    trusted = ids % 7
    given = np.where(ids % 3 == 0, (trusted + 1) % 7, trusted)
    table = {
        "id": torch.from_numpy(ids),
        "percent": torch.tensor([0, 40, 99]).repeat(n // 3),
        "given": torch.from_numpy(given),
        "trusted": torch.from_numpy(np.where(ids % 5 == 0, -1, trusted)),
        "loss": torch.from_numpy(random.random(n).astype(np.float32) * 5),
        "threshold": torch.tensor([1.5, 0.75, 0.25]).repeat(n // 3),
    }
    return Dump(**(table | columns))


def written(tmp_path, text, name="dump.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_the_published_text_form(tmp_path):
    table = Dump.read(written(tmp_path, PUBLISHED, "dump.txt"))
    assert table.id.tolist() == [3, 3, 1, 1, 2]
    assert table.percent.tolist() == [0, 50, 0, 50, 50]
    assert table.given.tolist() == [7, 7, 4, 4, 0]
    assert table.trusted.tolist() == [7, 7, 5, 5, 0]
    assert table.loss.tolist() == [2.25, 0.125, 3.5, 4.0, 0.75]
    assert table.threshold is None
    again = tmp_path / "again.txt"
    table.write(again)
    assert again.read_text() == PUBLISHED


def test_two_percents_of_an_example_are_two_rows(tmp_path):
    rows = Dump.read(written(tmp_path, PUBLISHED, "dump.txt")).rows(0.5)
    assert len(rows) == 5
    assert rows.group.tolist() == [3, 3, 1, 1, 2]
    assert rows.target.tolist() == [1, 1, 0, 0, 1]
    # the medians of (2.25, 3.5) and of (.125, 4, .75)
    assert rows.difference.tolist() == pytest.approx([-0.625, -0.625, 0.625, 3.25, 0])


@pytest.mark.parametrize("suffix", ["csv", "parquet", "txt"])
def test_no_row_is_lost_on_the_way_through_a_file(tmp_path, suffix):
    table = dump() if suffix != "txt" else dump(threshold=None)
    table.write(tmp_path / f"dump.{suffix}")
    again = Dump.read(tmp_path / f"dump.{suffix}")
    assert len(again) == 60
    assert again.fingerprint() == table.fingerprint()
    first = (tmp_path / f"dump.{suffix}").read_bytes()
    again.write(tmp_path / f"again.{suffix}")
    assert (tmp_path / f"again.{suffix}").read_bytes() == first


def test_csv_with_the_published_names_and_further_columns(tmp_path):
    text = "loss,id,note,clean,noisy,percent\n1.5,10,a,3,3,7\n0.5,11,b,,2,7\n"
    table = Dump.read(written(tmp_path, text))
    assert table.id.tolist() == [10, 11]
    assert table.trusted.tolist() == [3, -1]
    assert table.given.tolist() == [3, 2]
    assert table.rows(0.5).group.tolist() == [10]


def test_thresholds_are_recorded_or_quantiles_of_each_percent():
    table = dump()
    known = table.trusted >= 0
    recorded = table.rows()
    assert len(recorded) == known.sum()
    assert torch.equal(recorded.loss, table.loss[known])
    assert torch.equal(recorded.difference, (table.loss - table.threshold)[known])
    for p in (0.5, 0.9):
        rows = table.rows(p)
        for n, row in enumerate(known.nonzero().flatten().tolist()):
            same = table.loss[table.percent == table.percent[row]].numpy()  # with the rows that are not trusted
            expected = table.loss[row].item() - np.quantile(same, p)
            assert rows.difference[n].item() == pytest.approx(expected, abs=1e-6)
    pooled = table.rows(0.9, pooled=True)
    assert torch.allclose(
        pooled.loss - pooled.difference, torch.tensor(np.quantile(table.loss.numpy(), 0.9)), atol=1e-6
    )


def test_targets_are_whether_the_given_label_is_right():
    table = dump()
    rows = table.rows()
    known = table.trusted >= 0
    assert torch.equal(rows.target == 1, (table.given == table.trusted)[known])
    assert 0 < rows.target.mean() < 1


def test_the_fingerprint_sees_every_column():
    prints = {dump().fingerprint(), dump(threshold=None).fingerprint()}
    for name in ("id", "given", "trusted", "loss", "threshold"):
        column = getattr(dump(), name).clone()
        column[:3] += 1000
        prints.add(dump(**{name: column}).fingerprint())
    prints.add(dump(percent=torch.tensor([0, 40, 98]).repeat(20)).fingerprint())
    assert len(prints) == 8
    assert dump().fingerprint() in prints


def test_neither_threshold_nor_percentile():
    with pytest.raises(ConfigError, match="dump has no column threshold; pass percentile"):
        dump(threshold=None).rows()
    for percentile in (0.0, 1.0, 70.0):
        with pytest.raises(ConfigError, match=f"percentile is {percentile}; it must lie between 0 and 1, such as 0.5"):
            dump().rows(percentile)


def test_no_clean_labels(tmp_path):
    with pytest.raises(DataError, match="dump: no clean labels; a mentor is learned from rows whose right label is kn"):
        dump(trusted=torch.full((60,), -1)).rows()
    with pytest.raises(DataError, match=r"a\.csv: no clean labels"):
        Dump.read(written(tmp_path, "id,percent,given,trusted,loss\n1,2,3,,.5\n", "a.csv")).rows(0.5)


@pytest.mark.parametrize("name", ["id", "percent", "given", "trusted", "loss"])
def test_missing_columns(tmp_path, name):
    header = "id,percent,given,trusted,loss".replace(name, "other")
    message = rf'd\.csv has no column "{name}"; needed are id, percent, given, trusted, loss\.$'
    with pytest.raises(DataError, match=message):
        Dump.read(written(tmp_path, f"{header}\n1,2,3,3,.5\n", "d.csv"))


def altered(name, row, value):
    column = getattr(dump(), name).clone()
    column = column if column.is_floating_point() else column.double()
    column[row] = value
    return {name: column}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (altered("loss", 4, float("nan")), "dump row 4: loss is nan; a loss is finite and at least 0"),
        (altered("loss", 5, float("inf")), "dump row 5: loss is inf"),
        (altered("loss", 6, -0.5), r"dump row 6: loss is -0\.5"),
        (
            altered("percent", 2, 100),
            r"row 2: percent is 100; the known epochs are .* 0\.\.99: write floor\(100 \* step",
        ),
        (altered("percent", 2, -1), "row 2: percent is -1; the known epochs are the percents of training"),
        (altered("percent", 2, 0.5), r"row 2: percent is 0\.5; it must be a whole number"),
        (altered("given", 9, 1.5), r"row 9: given is 1\.5; it must be a whole number"),
        (altered("id", 9, float("nan")), "row 9: id is nan; it must be a whole number"),
        (altered("threshold", 8, float("nan")), "row 8: threshold is nan; it must be finite"),
        (altered("percent", 2, 40), "comes twice at percent 40; an example has one row a percent"),
    ],
)
def test_what_a_dump_must_not_hold(columns, message):
    with pytest.raises(DataError, match=message):
        dump(**columns)


def test_shapes_and_empty_dumps(tmp_path):
    with pytest.raises(ShapeError, match=r"Dump\.loss has shape \(60, 1\), but needs \(N,\) as id, \(60,\)"):
        dump(loss=torch.ones(60, 1))
    with pytest.raises(DataError, match=r"e\.csv has no rows"):
        Dump.read(written(tmp_path, "id,percent,given,trusted,loss\n", "e.csv"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", r"a\.txt: the first line is empty"),
        ("a.txt", "1 2 3 3\n", r"4 numbers a line; the text form has id percent noisy clean loss"),
        ("a.txt", "1 2 3 3 0.5\n1 3 3\n", "not in the form `id percent noisy clean loss`"),
        ("a.txt", "1 2 cat dog 0.5\n", "not in the form `id percent noisy clean loss`"),
        ("a.csv", "id,percent,given,trusted,loss\n1,2,cat,dog,.5\n", 'column "given" is string; it must hold numbers'),
        ("a.csv", "id,percent,given,trusted,loss\n1,2,3\n", "not a readable CSV file"),
        ("a.parquet", "PAR1 no such thing", "not a readable Parquet file"),
    ],
)
def test_unreadable_files(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message) as error:
        Dump.read(written(tmp_path, text, name))
    assert "\n" not in str(error.value)


def test_files_that_are_not_there(tmp_path):
    for name in ("none.txt", "none.csv", "none.parquet"):
        with pytest.raises(DataError, match=rf"{name} does not exist; a dump is a table with the columns id, percent"):
            Dump.read(tmp_path / name)
    with pytest.raises(DataError, match="cannot be written"):
        dump().write(tmp_path / "no folder" / "a.csv")
    with pytest.raises(ConfigError, match=r"the text form of a dump holds no thresholds; write \.csv or \.parquet"):
        dump().write(tmp_path / "a.txt")
