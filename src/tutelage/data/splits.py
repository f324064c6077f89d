"""Splits: which rows are for training, trusted, unlabelled, for validation or test; disjoint by index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, DataError, unknown
from ..randomness import hashed, stream
from .sources import IntArray

Role: TypeAlias = Literal["train", "trusted", "unlabelled", "validation", "test"]
Size: TypeAlias = int | float | Literal["rest"]
"""A number of rows, a share of all rows in (0, 1), or what the other roles leave."""

ROLES: tuple[Role, ...] = get_args(Role)
_DRAWN: tuple[Role, ...] = ("test", "validation", "trusted", "unlabelled", "train")


def _none() -> IntArray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Split:
    """Index sets of one source, pairwise disjoint but for the overlaps on record.

    A role that was not asked for is empty. The trusted role reads clean labels, train noisy ones, validation
    and test clean ones.

    Attributes:
        train: rows with the given, possibly wrong, labels; int64, ascending, as all of them.
        trusted: rows whose labels are known to be right.
        unlabelled: rows whose labels are not used.
        validation: rows for choosing settings.
        test: rows for the final number; nothing is chosen by them.
        overlaps: pairs (outer, inner) where the outer role includes the inner one on purpose.

    Raises:
        DataError: if two roles share rows without being on record, or a role names a row twice.
    """

    train: IntArray = field(default_factory=_none)
    trusted: IntArray = field(default_factory=_none)
    unlabelled: IntArray = field(default_factory=_none)
    validation: IntArray = field(default_factory=_none)
    test: IntArray = field(default_factory=_none)
    overlaps: tuple[tuple[Role, Role], ...] = ()

    def __post_init__(self) -> None:
        for i, a in enumerate(ROLES):
            values, counts = np.unique(self[a], return_counts=True)
            if (counts > 1).any():
                raise DataError(f"{a} names index {values[counts > 1][0]} twice.")
            for b in ROLES[i + 1 :]:
                _check_disjoint(a, b, self)

    def __getitem__(self, role: str) -> IntArray:
        """Return the indices of a role by its name."""
        if role not in ROLES:
            raise ConfigError(unknown("role", role, ROLES))
        indices: IntArray = getattr(self, role)
        return indices


def split(
    y: IntArray,
    sizes: Mapping[str, Size],
    *,
    seed: int,
    stratified: bool = True,
    train_includes: Sequence[Role] = (),
    unlabelled_includes: Sequence[Role] = (),
) -> Split:
    """Split the rows of a source into roles.

    Rows are ordered by ``h(stream(seed, "split"), index)`` and dealt to test, validation, trusted, unlabelled
    and train, in this order. Stratified, role r of size m gets ``floor(n_c m / n)`` rows of class c plus
    units by largest remainder (ties to the lower class) of the ``n = sum n_c`` rows that earlier roles left;
    otherwise roles are consecutive blocks. Rows that no role asks for stay unused.

    Args:
        y: labels, int64, shape (N,); the clean ones, so that noise does not move rows between roles.
        sizes: role -> number of rows, share of N, or ``"rest"`` (once).
        seed: of the order.
        stratified: keep class shares.
        train_includes: roles whose rows train shall contain as well, such as ``("trusted",)``; put on record.
        unlabelled_includes: the same for the unlabelled role.

    Raises:
        ConfigError: if a role or a size is not valid.
        DataError: if the sizes exceed N or leave a role without rows.
    """
    counts = _counts(sizes, len(y))
    order = np.argsort(hashed(stream(seed, "split"), np.arange(len(y))), kind="stable")
    roles: dict[str, IntArray] = {}
    for role in _DRAWN:
        if role in counts:
            taken = _take(y[order], counts[role], stratified)
            roles[role] = np.sort(order[taken])
            order = order[~taken]
    overlaps: list[tuple[Role, Role]] = [("train", r) for r in train_includes]
    overlaps += [("unlabelled", r) for r in unlabelled_includes]
    disjoint = dict(roles)
    for outer, inner in overlaps:
        if outer not in disjoint or inner not in disjoint or outer == inner:
            raise ConfigError(f"split: {outer} cannot include {inner}; both need a size.")
        roles[outer] = np.union1d(roles[outer], disjoint[inner])
    return Split(**roles, overlaps=tuple(overlaps))


def _take(y: IntArray, m: int, stratified: bool) -> npt.NDArray[np.bool_]:
    """Mark the first m rows, or the first of each class, of what is left in drawing order."""
    taken = np.zeros(len(y), dtype=np.bool_)
    if not stratified:
        taken[:m] = True
        return taken
    classes, available = np.unique(y, return_counts=True)
    shares, remainders = np.divmod(available * m, len(y))
    units = np.argsort(-remainders, kind="stable")[: m - int(shares.sum())]
    shares[units] += 1
    for c, share in zip(classes, shares):
        taken[np.flatnonzero(y == c)[:share]] = True
    return taken


def _counts(sizes: Mapping[str, Size], n: int) -> dict[str, int]:
    for role in sizes:
        if role not in ROLES:
            raise ConfigError(unknown("role", role, ROLES))
    if list(sizes.values()).count("rest") > 1:
        raise ConfigError('split: "rest" is given more than once.')
    counts = {role: _count(role, size, n) for role, size in sizes.items() if size != "rest"}
    if sum(counts.values()) > n:
        raise DataError(f"split: {' + '.join(f'{c:,}' for c in counts.values())} > {n:,}.")
    counts |= {role: n - sum(counts.values()) for role, size in sizes.items() if size == "rest"}
    for role, count in counts.items():
        if count == 0:
            raise DataError(f"split: no row is left for {role}; {n:,} rows are shared by {', '.join(sizes)}.")
    return counts


def _count(role: str, size: Size, n: int) -> int:
    if isinstance(size, str) or not size >= 0 or (isinstance(size, float) and size > 1):
        raise ConfigError(
            f'split: the size of {role} is {size}; it must be a number of rows, a share in (0, 1) or "rest".'
        )
    return int(np.floor(size * n + 0.5)) if isinstance(size, float) else int(size)


def _check_disjoint(a: Role, b: Role, roles: Split) -> None:
    shared = np.intersect1d(roles[a], roles[b])
    for outer, inner in roles.overlaps:
        if outer in (a, b):
            shared = np.setdiff1d(shared, roles[inner])
    if shared.size:
        raise DataError(f"{a} and {b} share {shared.size:,} indices, e.g. {shared[0]}.")
