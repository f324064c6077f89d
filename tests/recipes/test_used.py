"""Options that nothing in a run looks at: the table of cases, and what is said of them."""

from dataclasses import dataclass, replace

import pytest

from tutelage.errors import ConfigError
from tutelage.recipes.used import GIVEN, check_used, use


@dataclass(frozen=True)
class Options:
    rate: float = 0.5
    kind: str = "plain"
    file: str | None = None
    keep: bool = False
    level: int | None = None


TABLE = {
    "rate": use("one", "two"),
    "level": (use("one", kind=("plain", "other", "third")), use(keep=True, file=GIVEN)),
    "kind": use("two", file=None),
    "file": use(keep=False),
}


@pytest.mark.parametrize(
    ("given", "arms", "line"),
    [
        ({"rate": 0.1}, ("three",), "--rate is for one, two; nothing in this run looks at it, so leave it out."),
        ({"level": 3, "kind": "plan"}, ("one",), "--level is for one with --kind plain, other or third, or runs with "
         "--keep and --file; nothing in this run looks at it, so leave it out."),
        ({"level": 3, "keep": True}, ("two",), "--level is for one"),
        ({"level": 0}, ("two",), "--level is for one"),  # given, though it is nothing
        ({"kind": "other", "file": "x"}, ("two",), "--kind is for two without --file; nothing"),
        ({"kind": "other"}, (), "--kind is for two"),
        ({"file": "x", "keep": True}, ("two",), "--file is for runs with --no-keep; nothing"),
    ],
)  # fmt: skip
def test_what_nothing_looks_at_is_refused(given, arms, line):
    options = Options(**given)
    with pytest.raises(ConfigError) as caught:
        check_used(options, options, TABLE, arms)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("given", "arms"),
    [
        ({}, ()),  # what is not given is never refused
        ({"rate": 0.5, "level": None}, ("three",)),
        ({"rate": 0.1}, ("three", "two")),
        ({"level": 3, "kind": "third"}, ("one", "two", "three")),
        ({"level": 3, "file": ""}, ("one",)),
        ({"kind": "other"}, ("two",)),
        ({"keep": True}, ()),  # not in the table: it always counts
    ],
)
def test_what_counts_is_not(given, arms):
    options = Options(**given)
    table = TABLE if given.get("kind") != "third" else {**TABLE, "kind": use("one")}
    check_used(options, options, table, arms)


def test_conditions_are_of_what_was_chosen_not_of_what_was_given():
    given = Options(level=3)
    with pytest.raises(ConfigError, match="--level is for"):
        check_used(given, replace(given, kind="chosen"), TABLE, ("one",))
    check_used(given, replace(given, keep=True, file="chosen"), TABLE, ("two",))
