"""Teacher assistants: which networks to put between a teacher and a student that is too small to follow it.

A path is T -> A_1 -> ... -> A_k -> S; each network is distilled from the one before it. Planning trains nothing:
accuracies go in, measured on validation rows with every network trained alone, and assistants come out.

    plan = bisected(teacher, student, ladder)            # largest first
    print([a.name for a in plan])

Source: Mirzadeh et al., "Improved knowledge distillation via teacher assistant", AAAI 2020, section 5, where the best
assistant is the one half-way in accuracy, not in size; their search over whole paths needs every path trained.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from .errors import ConfigError

MOST = 4
"""Candidates of which all subsets are tried without ``force``: 15 assistants and 16 students to train."""
_SAME = 1e-9


@dataclass(frozen=True)
class Candidate:
    """A network that may stand on a path.

    Attributes:
        name: of the network.
        size: number of parameters.
        accuracy: alone, on validation rows, in [0, 1].

    Raises:
        ConfigError: for an accuracy outside [0, 1].
    """

    name: str
    size: int
    accuracy: float

    def __post_init__(self) -> None:
        if not 0 <= self.accuracy <= 1:
            raise ConfigError(f"{self.name}: accuracy is {self.accuracy}; it must be in 0..1: divide per cent by 100.")


def check_sizes(teacher: tuple[str, int], student: tuple[str, int], ladder: Mapping[str, int]) -> None:
    """Refuse candidates that are not between the teacher and the student.

    Args:
        teacher: name and number of parameters.
        student: the same.
        ladder: numbers of parameters by name.

    Raises:
        ConfigError: naming the candidate, or the student if it is larger than the teacher.
    """
    (top, most), (bottom, least) = teacher, student
    if least > most:
        raise ConfigError(f"the student {bottom} has {least:,} parameters, its teacher {top} {most:,}: exchange them.")
    for name, size in ladder.items():
        if size > most:
            raise ConfigError(f"candidate {name} has {size:,} parameters, more than the teacher {top} ({most:,}).")
        if size < least:
            raise ConfigError(f"candidate {name} has {size:,} parameters, fewer than the student {bottom} ({least:,}).")


def nearest(teacher: Candidate, student: Candidate, ladder: Sequence[Candidate]) -> Candidate:
    """Return the candidate whose accuracy is nearest ``(teacher + student) / 2``; of equals the smaller network.

    Raises:
        ConfigError: if there is no candidate, or one is not between the two in size.
    """
    _check(teacher, student, ladder)
    if not ladder:
        raise ConfigError("there is no candidate to choose from: name at least one network between the two.")
    return min(ladder, key=lambda c: (_off(c, teacher, student), c.size))


def bisected(
    teacher: Candidate, student: Candidate, ladder: Sequence[Candidate], *, min_gap: float = 0.01, max_hops: int = 3
) -> tuple[Candidate, ...]:
    """Return assistants, largest accuracy first: the widest interval is halved until none is wide or they are enough.

    An interval is halved by the candidate nearest its middle of those whose accuracy is inside it and whose size is
    not outside; of equals the smaller. An interval without one stays as it is.

    Args:
        teacher: how the path begins.
        student: how it ends.
        ladder: candidates.
        min_gap: accuracy, in [0, 1]; intervals no wider stay whole.
        max_hops: most assistants, at least 0.

    Raises:
        ConfigError: for options outside their ranges, or a candidate that is not between the two in size.
    """
    _check(teacher, student, ladder)
    if not 0 <= min_gap <= 1:
        raise ConfigError(f"min_gap is {min_gap}; it is a difference of accuracies and must be in 0..1.")
    if max_hops < 0:
        raise ConfigError(f"max_hops is {max_hops}; it is a number of assistants, at least 0.")
    path = [teacher, student]
    while len(path) - 2 < max_hops:
        found = _widest(path, ladder, min_gap)
        if found is None:
            break
        path.insert(*found)
    return tuple(path[1:-1])


def every_path(ladder: Sequence[Candidate], *, force: bool = False) -> tuple[tuple[Candidate, ...], ...]:
    """Return every subset of the candidates as assistants, larger networks first; the empty one is direct distillation.

    With the runs of common beginnings shared, n candidates need 2^n - 1 assistants and 2^n students, see
    :func:`prefixes`.

    Raises:
        ConfigError: for more than 4 candidates without ``force``, or two of one name.
    """
    _check_names(ladder)
    n = len(ladder)
    if n > MOST and not force:
        raise ConfigError(
            f"all paths over {n} candidates are {2**n - 1} assistants and {2**n} students to train; name at most "
            f"{MOST} candidates, or force it."
        )
    order = sorted(ladder, key=lambda c: (-c.size, -c.accuracy))
    return tuple(path for length in range(n + 1) for path in combinations(order, length))


def prefixes(paths: Sequence[Sequence[Candidate]]) -> tuple[tuple[Candidate, ...], ...]:
    """Return the assistants that have to be trained for some paths, each as the path that ends with it; no one twice.

    A path's beginning comes before the path.
    """
    found = {tuple(path[:end]): None for path in paths for end in range(1, len(path) + 1)}
    return tuple(sorted(found, key=len))


def _widest(path: Sequence[Candidate], ladder: Sequence[Candidate], min_gap: float) -> tuple[int, Candidate] | None:
    """Where the next assistant goes, and which; of intervals that can be halved, the widest."""
    gaps = sorted(_halves(path, ladder), key=lambda found: -found[0])
    return gaps[0][1:] if gaps and gaps[0][0] > min_gap + _SAME else None


def _halves(path: Sequence[Candidate], ladder: Sequence[Candidate]) -> Iterator[tuple[float, int, Candidate]]:
    for place, (upper, lower) in enumerate(pairwise(path), start=1):
        inside = [
            c
            for c in ladder
            if lower.accuracy + _SAME < c.accuracy < upper.accuracy - _SAME and lower.size <= c.size <= upper.size
        ]
        if inside:
            yield upper.accuracy - lower.accuracy, place, nearest(upper, lower, inside)


def _off(candidate: Candidate, teacher: Candidate, student: Candidate) -> float:
    """Distance from the middle, without the last digits, in which equal distances differ."""
    return round(abs(candidate.accuracy - (teacher.accuracy + student.accuracy) / 2), 9)


def _check(teacher: Candidate, student: Candidate, ladder: Sequence[Candidate]) -> None:
    _check_names(ladder)
    sizes = {c.name: c.size for c in ladder}
    check_sizes((teacher.name, teacher.size), (student.name, student.size), sizes)


def _check_names(ladder: Sequence[Candidate]) -> None:
    names = [c.name for c in ladder]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"candidate {twice} is named twice.")
