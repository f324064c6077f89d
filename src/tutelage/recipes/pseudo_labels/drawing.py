"""Who is labelled: so many rows of each class, drawn by the seed, or rows that a file names."""

from pathlib import Path
from typing import Literal

import numpy as np

from ...data import DataSet, Source, Split
from ...data.sources import IntArray
from ...data.splits import Role
from ...errors import DataError
from ...randomness import hashed, permutation, stream


def draw(
    data: DataSet,
    seed: int,
    labels: int,
    *,
    test: float,
    how: Literal["stratified", "random-state"],
    include_labelled: bool,
) -> Split:
    """Draw test rows if the data has none of its own, labelled rows (role ``trusted``), and the unlabelled pool.

    Args:
        data: a training source, and perhaps a test source.
        seed: of the draw.
        labels: labelled rows in all, shared evenly by the classes; what is left over goes to the first ones.
        test: share of the rows that are tested on, if the data has no test source.
        how: by this library's counters, or by numpy's ``RandomState(seed)``: a permutation whose first rows are
            tested on, then for each class a choice without replacement, as our documented figures were drawn.
        include_labelled: whether the pool has the labelled rows as well.

    Raises:
        DataError: if there are fewer labels than classes, or too few rows.
    """
    source, n = data.train, len(data.train)
    held_out = 0 if data.test is not None else round(test * n)
    if labels < source.num_classes:
        raise DataError(
            f"{labels} labels are fewer than the {source.num_classes} classes of {source.name}; "
            f"use --labels {source.num_classes} or more."
        )
    generator = np.random.RandomState(seed % 2**32)  # one of its own: no global state
    order = generator.permutation(n) if how == "random-state" else permutation(stream(seed, "test rows"), n)
    tested, pool = order[:held_out], order[held_out:]
    chosen = []
    each, more = divmod(labels, source.num_classes)
    for c in range(source.num_classes):
        rows, count = pool[source.y[pool] == c], each + (c < more)
        if len(rows) < count:
            raise DataError(
                f"{source.name}: class {source.classes[c]} has {len(rows)} rows, too few for {count} labels; "
                "use fewer labels."
            )
        if how == "random-state":
            chosen.append(generator.choice(rows, count, replace=False))
        else:
            chosen.append(rows[np.argsort(hashed(stream(seed, "labelled rows"), rows), kind="stable")[:count]])
    labelled = np.concatenate(chosen)
    if not include_labelled:
        pool = np.setdiff1d(pool, labelled)
    return roles(labelled, pool, tested, include_labelled=include_labelled)


def from_files(
    data: DataSet, seed: int, labelled: str, unlabelled: str | None, *, test: float, include_labelled: bool
) -> Split:
    """Take the labelled rows from a file, and the unlabelled ones from another or from what is left.

    Args:
        data: a training source, and perhaps a test source.
        seed: of the test rows.
        labelled: a CSV or Parquet file with the column ``index``.
        unlabelled: the same; None: all other rows, but for the test rows.
        test: share of the rows that neither file names, if the data has no test source.
        include_labelled: whether the pool has the labelled rows as well, and may name them.

    Raises:
        DataError: if a file cannot be read, both name a row, or no row is left.
    """
    source = data.train
    known = read_rows(labelled, source)
    pool = None if unlabelled is None else read_rows(unlabelled, source)
    taken = known if pool is None else np.union1d(known, pool)
    others = np.setdiff1d(np.arange(len(source)), taken)
    order = others[permutation(stream(seed, "test rows"), len(others))]
    held_out = 0 if data.test is not None else max(1, round(test * len(others)))
    pool = order[held_out:] if pool is None else pool
    return roles(
        known,
        np.union1d(pool, known) if include_labelled else pool,
        order[:held_out],
        include_labelled=include_labelled,
    )


def roles(labelled: IntArray, pool: IntArray, tested: IntArray, *, include_labelled: bool) -> Split:
    """Return the roles of rows.

    Raises:
        DataError: if labelled and unlabelled rows share ids without being meant to, or there is no unlabelled row.
    """
    if not len(pool):
        raise DataError("no unlabelled row is left; use fewer labels or a smaller --test, or --include-labelled.")
    shared = np.intersect1d(labelled, pool)
    if len(shared) and not include_labelled:
        raise DataError(
            f"labelled and unlabelled rows share {len(shared):,} ids, e.g. {shared[0]}; remove them from one, or pass "
            "--include-labelled if that is meant."
        )
    overlaps: tuple[tuple[Role, Role], ...] = (("unlabelled", "trusted"),) if include_labelled else ()
    return Split(trusted=np.sort(labelled), unlabelled=np.sort(pool), test=np.sort(tested), overlaps=overlaps)


def read_rows(path: str, source: Source) -> IntArray:
    """Read the column ``index`` of a CSV or Parquet file: positions of rows, ascending.

    Raises:
        DataError: if it cannot be read, or names a row twice or one that is not there.
    """
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    read = pyarrow.parquet.read_table if Path(path).suffix == ".parquet" else pyarrow.csv.read_csv
    try:
        table = read(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable CSV or Parquet file ({str(error).splitlines()[0]}).") from None
    if table.column_names.count("index") != 1:
        raise DataError(f'{path}: needs one column "index", but has {", ".join(table.column_names) or "none"}.')
    index = table.column("index").to_numpy()
    if index.dtype.kind not in "iu" or not len(index):
        raise DataError(f'{path}: column "index" must hold whole numbers, positions in {source.name}, without gaps.')
    values, counts = np.unique(index, return_counts=True)
    if values[0] < 0 or values[-1] >= len(source):
        raise DataError(f"{path}: index {values[0] if values[0] < 0 else values[-1]} is outside 0..{len(source) - 1}.")
    if (counts > 1).any():
        raise DataError(f"{path}: index {values[counts > 1][0]} comes twice.")
    return values.astype(np.int64)
