"""The planner of teacher assistants: the published row, ties, bisection, all subsets, what it refuses."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.assistants import Candidate, bisected, check_sizes, every_path, nearest, prefixes
from tutelage.errors import ConfigError

RESNETS = [  # CIFAR-100: Mirzadeh et al.; resnet110, 20 and 8 as published, the others between them
    Candidate("resnet56", 860_000, 0.7100),
    Candidate("resnet32", 470_000, 0.6950),
    Candidate("resnet20", 280_000, 0.6703),
    Candidate("resnet14", 180_000, 0.6500),
]
TEACHER = Candidate("resnet110", 1_730_000, 0.7238)
STUDENT = Candidate("resnet8", 80_000, 0.6137)


def named(path):
    return [c.name for c in path]


def candidates(*accuracies, sizes=None):
    sizes = sizes or range(len(accuracies), 0, -1)
    return [Candidate(f"n{i}", s, a) for i, (a, s) in enumerate(zip(accuracies, sizes))]


def test_one_hop_is_nearest_the_middle_of_the_accuracies():
    assert nearest(TEACHER, STUDENT, RESNETS).accuracy == 0.6703
    assert nearest(TEACHER, STUDENT, RESNETS[::-1]).name == "resnet20"
    # the mean of the sizes is 905,000: resnet56 would be nearest in size
    assert nearest(TEACHER, STUDENT, RESNETS[:1]).name == "resnet56"


@pytest.mark.parametrize(("large", "small"), [(0.65, 0.75), (0.75, 0.65), (0.7, 0.7)])
def test_of_equals_the_smaller(large, small):
    teacher, student = Candidate("t", 1000, 0.8), Candidate("s", 1, 0.6)
    ladder = [Candidate("large", 500, large), Candidate("small", 100, small)]
    assert nearest(teacher, student, ladder).name == "small"
    assert nearest(teacher, student, ladder[::-1]).name == "small"
    assert named(bisected(teacher, student, ladder, max_hops=1)) == ["small"]


def test_bisection_by_hand():
    teacher, student = Candidate("t", 100, 0.90), Candidate("s", 1, 0.50)
    ladder = candidates(0.85, 0.78, 0.71, 0.62, 0.55, sizes=[90, 80, 70, 60, 50])
    # .50 ... .90: middle .70 -> .71; widest .50 ... .71: middle .605 -> .62; widest .71 ... .90: middle .805 -> .78
    assert named(bisected(teacher, student, ladder, max_hops=1)) == ["n2"]
    assert named(bisected(teacher, student, ladder, max_hops=2)) == ["n2", "n3"]
    assert named(bisected(teacher, student, ladder)) == ["n1", "n2", "n3"]
    assert named(bisected(teacher, student, ladder, max_hops=9)) == ["n0", "n1", "n2", "n3", "n4"]
    assert bisected(teacher, student, ladder, max_hops=0) == ()


@pytest.mark.parametrize(("min_gap", "count"), [(0.4, 0), (0.399, 1), (0.2, 1), (0.199, 3), (0.1, 3), (0.01, 3)])
def test_bisection_stops_at_the_smallest_gap(min_gap, count):
    teacher, student = Candidate("t", 100, 0.9), Candidate("s", 1, 0.5)
    ladder = candidates(0.8, 0.7, 0.6)  # .9 - .7 and .7 - .5 differ from .2 in their last digits
    assert len(bisected(teacher, student, ladder, min_gap=min_gap)) == count


def test_an_interval_without_a_candidate_stays_whole():
    teacher, student = Candidate("t", 100, 0.9), Candidate("s", 1, 0.5)
    # nothing below .88; one better than the teacher, one worse than the student, one as good as the student
    ladder = candidates(0.88, 0.95, 0.40, 0.50)
    assert named(bisected(teacher, student, ladder)) == ["n0"]
    assert bisected(teacher, student, ladder[1:]) == ()
    assert bisected(student, student, ladder[3:4] and []) == ()
    # inside .9 ... .7, but smaller than the assistant at .7
    uneven = candidates(0.7, 0.8, sizes=[50, 20])
    assert named(bisected(teacher, student, uneven)) == ["n0"]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 99), st.integers(0, 100)), max_size=7), st.integers(0, 4), st.integers(0, 30))
def test_bisection_leads_down_and_stops_for_a_reason(rungs, max_hops, gap):
    teacher, student = Candidate("t", 100, 0.9), Candidate("s", 1, 0.2)
    ladder = [Candidate(f"n{i}", size, a / 100) for i, (size, a) in enumerate(rungs)]
    path = bisected(teacher, student, ladder, min_gap=gap / 100, max_hops=max_hops)
    whole = [teacher, *path, student]
    assert len(path) <= max_hops
    for upper, lower in pairwise(whole):
        assert upper.accuracy > lower.accuracy
        assert upper.size >= lower.size
        inside = [
            c for c in ladder if lower.accuracy < c.accuracy < upper.accuracy and lower.size <= c.size <= upper.size
        ]
        if len(path) < max_hops:
            assert not inside or upper.accuracy - lower.accuracy <= gap / 100 + 1e-6


@pytest.mark.parametrize("n", range(5))
def test_all_paths_and_what_they_share(n):
    ladder = RESNETS[:n]
    paths = every_path(ladder[::-1])
    assert len(paths) == len(set(paths)) == 2**n
    assert paths[0] == ()
    assert all(path == tuple(sorted(path, key=lambda c: -c.size)) for path in paths)
    needed = prefixes(paths)
    assert len(needed) == len(set(needed)) == 2**n - 1
    assert set(needed) == set(paths[1:])
    assert all(not end[:-1] or end[:-1] in needed[:i] for i, end in enumerate(needed))


def test_shared_beginnings_are_trained_once():
    a, b, c = RESNETS[:3]
    assert prefixes([(a, b), (a, b, c), (b,), ()]) == ((a,), (b,), (a, b), (a, b, c))


def test_what_planning_refuses():
    with pytest.raises(ConfigError, match=r"^resnet20: accuracy is 67.03; it must be in 0..1: divide per cent by 100"):
        Candidate("resnet20", 1, 67.03)
    with pytest.raises(ConfigError, match="accuracy is nan"):
        Candidate("resnet20", 1, float("nan"))
    with pytest.raises(ConfigError, match=r"^there is no candidate to choose from"):
        nearest(TEACHER, STUDENT, [])
    wide = Candidate("wide", 2_000_000, 0.7)
    with pytest.raises(ConfigError, match=r"^candidate wide has 2,000,000 parameters, more than the teacher resnet110"):
        nearest(TEACHER, STUDENT, [wide])
    with pytest.raises(ConfigError, match=r"^candidate tiny has 7 parameters, fewer than the student resnet8 \(80,000"):
        bisected(TEACHER, STUDENT, [Candidate("tiny", 7, 0.7)])
    with pytest.raises(ConfigError, match=r"^the student resnet110 has 1,730,000 parameters, its teacher resnet8 80,"):
        check_sizes(("resnet8", 80_000), ("resnet110", 1_730_000), {})
    with pytest.raises(ConfigError, match=r"^candidate resnet56 is named twice"):
        nearest(TEACHER, STUDENT, [RESNETS[0]] * 2)
    with pytest.raises(ConfigError, match=r"^candidate resnet56 is named twice"):
        every_path([RESNETS[0]] * 2)
    with pytest.raises(ConfigError, match=r"^min_gap is 1.5"):
        bisected(TEACHER, STUDENT, RESNETS, min_gap=1.5)
    with pytest.raises(ConfigError, match=r"^max_hops is -1"):
        bisected(TEACHER, STUDENT, RESNETS, max_hops=-1)
    five = [*RESNETS, Candidate("resnet26", 370_000, 0.68)]
    with pytest.raises(ConfigError, match=r"^all paths over 5 candidates are 31 assistants and 32 students to train"):
        every_path(five)
    assert len(every_path(five, force=True)) == 32
