"""Label noise by a stated convention: what was asked, what is expected, what came out.

Every draw belongs to the index of a row: ``v_j = h(stream(seed, "noise"), index, j)``. Hence noise added
before or after a split is the same, and with equal seeds the rows selected at p are selected at every p' > p,
with the same new label. K is the number of classes, never the largest label plus one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, DataError
from ..randomness import UInt64Array, hashed, integer, real, stream
from .sources import IntArray, check_labels

Count: TypeAlias = Literal["bernoulli", "exact", "per_class"]
FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Relabel: TypeAlias = Callable[[IntArray, UInt64Array], IntArray]
"""(clean labels, hashes) of the selected rows -> their new labels."""

_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """Clean and noisy labels of a source, and how one became the other.

    Attributes:
        clean: labels before, int64, shape (N,).
        noisy: labels after, int64, shape (N,).
        mask: ``noisy != clean``, shape (N,).
        selected: rows that the noise drew a new label for, which may be the old one, shape (N,).
        matrix: ``T[a, b] = P(noisy b, given clean a)``, float64, shape (K, K).
        convention: the kind and its arguments, for reports.
        seed: of the draws; None if the labels were given.
        requested: the rate p that was asked for; None where there is none.
        expected: share of changed labels that ``matrix`` implies, among the rows open to noise.
        realised: share of changed labels among the same rows.
    """

    clean: IntArray
    noisy: IntArray
    mask: BoolArray
    selected: BoolArray
    matrix: FloatArray
    convention: str
    seed: int | None
    requested: float | None
    expected: float
    realised: float


def uniform(
    y: IntArray,
    p: float,
    *,
    include_true: bool,
    num_classes: int,
    seed: int,
    on: IntArray | None = None,
    count: Count = "bernoulli",
) -> NoisyLabels:
    """Give selected rows a uniform label, among all K classes or among the K - 1 others.

    ``T = (1-p) I + p/K 11'`` with the true class included (p (K-1)/K of the labels change), and
    ``T = (1-p) I + p/(K-1) (11' - I)`` without it (p of them change). Published rates mean either, so there
    is no default.

    Args:
        y: clean labels, int64, shape (N,).
        p: share of rows selected, in [0, 1].
        include_true: whether a selected row may keep its label.
        num_classes: K.
        seed: of the draws.
        on: indices open to noise; None: all. Every other label stays clean.
        count: ``"bernoulli"``: each row with probability p; ``"exact"``: the ``floor(p n + 1/2)`` rows of
            smallest hash; ``"per_class"``: the same inside each class.

    Raises:
        ConfigError: if p, K or ``count`` is not valid.
        DataError: if a label or an index of ``on`` is out of range.
    """
    k = num_classes
    eye = np.eye(k)
    if include_true:
        matrix = (1 - p) * eye + p / k
        return _drawn(y, p, matrix, f"uniform(p={p}, include_true=True)", seed, on, count, lambda c, v: integer(v, k))
    if k < 2:
        raise ConfigError("uniform: without the true class it needs at least 2 classes.")
    matrix = (1 - p) * eye + p / (k - 1) * (1 - eye)

    def other(clean: IntArray, v: UInt64Array) -> IntArray:
        new = integer(v, k - 1)
        return new + (new >= clean)

    return _drawn(y, p, matrix, f"uniform(p={p}, include_true=False)", seed, on, count, other)


def pair_flip(
    y: IntArray,
    p: float,
    *,
    num_classes: int,
    seed: int,
    mapping: Mapping[int, int] | None = None,
    on: IntArray | None = None,
    count: Count = "bernoulli",
) -> NoisyLabels:
    """Flip selected rows to one fixed class: ``(y + 1) mod K``, or ``mapping[y]``; classes not in it stay
    clean.

    ``T = (1-p) I + p P``. Arguments and errors as in :func:`uniform`; ``mapping`` must stay within 0..K-1.
    """
    k = num_classes
    target = np.roll(np.arange(k), -1) if mapping is None else np.arange(k)
    for a, b in (mapping or {}).items():
        if not (0 <= a < k and 0 <= b < k):
            raise ConfigError(f"pair_flip: mapping {a} -> {b} leaves the classes 0..{k - 1}.")
        target[a] = b
    return _flip(y, p, target[:, None], "pair_flip", seed, on, count)


def class_flip(
    y: IntArray,
    p: float,
    *,
    num_classes: int,
    seed: int,
    targets: int = 1,
    on: IntArray | None = None,
    count: Count = "bernoulli",
) -> NoisyLabels:
    """Flip selected rows to one of ``targets`` (1 or 2) other classes, drawn once per class from the seed.

    Arguments and errors as in :func:`uniform`. Source: Shu et al., "Meta-Weight-Net", NeurIPS 2019 (flip,
    flip2).
    """
    k = num_classes
    if not 1 <= targets < k:
        raise ConfigError(f"class_flip: {targets} targets among {k} classes; it needs 1..{k - 1}.")
    key = stream(seed, "noise/classes")
    order = np.argsort(hashed(hashed(key, np.arange(k))[:, None], np.arange(k)), axis=1, kind="stable")
    others = np.stack([row[row != a][:targets] for a, row in enumerate(order)])
    return _flip(y, p, others, f"class_flip[{targets}]", seed, on, count)


def within_groups(
    y: IntArray,
    p: float,
    groups: Sequence[int],
    *,
    seed: int,
    on: IntArray | None = None,
    count: Count = "bernoulli",
) -> NoisyLabels:
    """Give selected rows a uniform other class of their group, as in superclass noise on CIFAR-100.

    Args:
        y: clean labels, int64, shape (N,).
        p: share of rows selected, in [0, 1].
        groups: the group of each of the K classes; a class alone in its group stays clean.
        seed: of the draws.
        on: indices open to noise; None: all.
        count: as in :func:`uniform`.

    Raises:
        ConfigError: if p or ``count`` is not valid.
        DataError: if a label or an index of ``on`` is out of range.
    """
    group = np.asarray(groups)
    k = len(group)
    same = (group[:, None] == group) & ~np.eye(k, dtype=bool)
    sizes = np.maximum(same.sum(axis=1), 1)
    alone = ~same.any(axis=1)
    members = np.argsort(~same, axis=1, kind="stable")  # row a: the other classes of its group come first
    members[alone, 0] = np.flatnonzero(alone)
    matrix = (1 - p) * np.eye(k) + p * np.where(alone[:, None], np.eye(k), same / sizes[:, None])

    def relabel(clean: IntArray, v: UInt64Array) -> IntArray:
        return members[clean, integer(v, sizes[clean])]

    return _drawn(y, p, matrix, f"within_groups(p={p})", seed, on, count, relabel)


def matrix(y: IntArray, transition: npt.ArrayLike, *, seed: int, on: IntArray | None = None) -> NoisyLabels:
    """Draw every label from row y of a transition matrix (K, K), by inverse distribution function in float64.

    Raises:
        DataError: if a row of ``transition`` is negative or does not sum to 1 within 1e-6, or y leaves
            0..K-1.
    """
    table = np.asarray(transition, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise DataError(f"matrix: shape {table.shape}; it needs (K, K).")
    cdf = _cumulative("matrix", table)
    rows, v = _rows("matrix", y, len(table), seed, on)
    u = real(v[0])
    noisy = y.copy()
    for a in range(len(table)):  # per class: cdf[y] would be an (N, K) table
        here = y[rows] == a
        noisy[rows[here]] = np.searchsorted(cdf[a], u[here], side="right")
    return _result(y, noisy, rows, rows, table, "matrix", seed, None)


def probabilities(y: IntArray, table: npt.ArrayLike, *, seed: int, on: IntArray | None = None) -> NoisyLabels:
    """Draw label i from row i of a table (N, K) of class probabilities, such as votes of annotators.

    Raises:
        DataError: if a row is negative or does not sum to 1 within 1e-6, or there is not one row a label.
    """
    q = np.asarray(table, dtype=np.float64)
    if q.ndim != 2 or len(q) != len(y):
        raise DataError(f"probabilities: shape {q.shape}; it needs ({len(y)}, K).")
    cdf = _cumulative("probabilities", q)
    rows, v = _rows("probabilities", y, q.shape[1], seed, on)
    noisy = y.copy()
    noisy[rows] = (cdf[rows] <= real(v[0])[:, None]).sum(axis=1)
    mean = np.eye(q.shape[1])
    for a in np.unique(y[rows]):
        mean[a] = q[rows[y[rows] == a]].mean(axis=0)
    return _result(y, noisy, rows, rows, mean, "probabilities", seed, None)


def from_labels(
    y: IntArray,
    noisy: IntArray,
    *,
    num_classes: int,
    on: IntArray | None = None,
    convention: str = "from_labels",
) -> NoisyLabels:
    """Take noisy labels as given, such as those of a crowd; the matrix is counted.

    Raises:
        DataError: if the two differ in length, or a label leaves 0..K-1.
    """
    if noisy.shape != y.shape:
        raise DataError(f"{convention}: {len(noisy)} noisy labels for {len(y)} clean ones.")
    check_labels(convention, y, num_classes)
    check_labels(convention, noisy, num_classes)
    rows = _index(convention, len(y), on)
    result = np.where(np.isin(np.arange(len(y)), rows), noisy, y)
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (y[rows], result[rows]), 1)
    seen = counts.sum(axis=1, keepdims=True)
    table = np.where(seen > 0, counts / np.maximum(seen, 1), np.eye(num_classes))
    return _result(y, result, rows, rows, table, convention, None, None)


def _flip(
    y: IntArray, p: float, targets: IntArray, kind: str, seed: int, on: IntArray | None, count: Count
) -> NoisyLabels:
    """Flip to one of the columns of ``targets`` (K, m), each with probability p / m."""
    k, m = targets.shape
    table = (1 - p) * np.eye(k)
    np.add.at(table, (np.arange(k)[:, None], targets), p / m)

    def relabel(clean: IntArray, v: UInt64Array) -> IntArray:
        return targets[clean, integer(v, m)]

    return _drawn(y, p, table, f"{kind}(p={p})", seed, on, count, relabel)


def _drawn(
    y: IntArray,
    p: float,
    table: FloatArray,
    convention: str,
    seed: int,
    on: IntArray | None,
    count: Count,
    relabel: Relabel,
) -> NoisyLabels:
    kind = convention.partition("(")[0]
    if not 0 <= p <= 1:
        raise ConfigError(f"{kind}: p is {p}; it must lie in [0, 1].")
    rows, (v1, v2) = _rows(kind, y, len(table), seed, on)
    chosen = _select(kind, v1, y[rows], p, count)
    noisy = y.copy()
    noisy[rows[chosen]] = relabel(y[rows[chosen]], v2[chosen])
    return _result(y, noisy, rows, rows[chosen], table, f"{convention}, {count}", seed, p)


def _select(kind: str, v: UInt64Array, y: IntArray, p: float, count: Count) -> BoolArray:
    if count == "bernoulli":
        return real(v) < p
    if count not in ("exact", "per_class"):
        raise ConfigError(f'{kind}: count is "{count}"; it must be bernoulli, exact or per_class.')
    chosen = np.zeros(len(v), dtype=np.bool_)
    for block in [np.arange(len(v))] if count == "exact" else [np.flatnonzero(y == c) for c in np.unique(y)]:
        size = int(np.floor(p * len(block) + 0.5))
        chosen[block[np.argsort(v[block], kind="stable")[:size]]] = True
    return chosen


def _rows(
    kind: str, y: IntArray, num_classes: int, seed: int, on: IntArray | None
) -> tuple[IntArray, tuple[UInt64Array, UInt64Array]]:
    """Return the rows open to noise and their two hashes."""
    check_labels(kind, y, num_classes)
    rows = _index(kind, len(y), on)
    key = hashed(stream(seed, "noise"), rows)
    return rows, (hashed(key, 0), hashed(key, 1))


def _index(kind: str, n: int, on: IntArray | None) -> IntArray:
    if on is None:
        return np.arange(n)
    rows = np.unique(np.asarray(on, dtype=np.int64))
    if rows.size == 0:
        raise DataError(f"{kind}: no row is open to noise; on= is empty.")
    if rows[0] < 0 or rows[-1] >= n:
        raise DataError(f"{kind}: on= reaches from {rows[0]} to {rows[-1]}; valid are 0..{n - 1}.")
    return rows


def _cumulative(kind: str, table: FloatArray) -> FloatArray:
    sums = table.sum(axis=1)
    bad = np.flatnonzero(~(np.abs(sums - 1) <= _TOLERANCE))
    if bad.size:
        raise DataError(f"{kind}: row {bad[0]} sums to {sums[bad[0]]:g}, needs 1 within 1e-6.")
    bad = np.flatnonzero((table < 0).any(axis=1))
    if bad.size:
        raise DataError(f"{kind}: row {bad[0]} has a negative probability.")
    cdf: FloatArray = np.cumsum(table, axis=1)
    return cdf / cdf[:, -1:]  # ends in 1 exactly, so that no draw falls behind the last class


def _result(
    clean: IntArray,
    noisy: IntArray,
    rows: IntArray,
    selected: IntArray,
    table: Any,
    convention: str,
    seed: int | None,
    requested: float | None,
) -> NoisyLabels:
    mask = noisy != clean
    drawn = np.zeros(len(clean), dtype=np.bool_)
    drawn[selected] = True
    expected = float((1 - np.diag(table)[clean[rows]]).mean())
    return NoisyLabels(
        clean, noisy, mask, drawn, table, convention, seed, requested, expected, float(mask[rows].mean())
    )
