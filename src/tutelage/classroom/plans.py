"""What a person is shown, drawn from (seed of the experiment, id of the session) alone: it can be drawn again."""

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, TypeAlias, TypeVar

from ..randomness import counter, permutation, stream
from .config import ADAPTIVE, Config
from .material import Arm, Material

T = TypeVar("T")
Phase: TypeAlias = Literal["train", "test", "catch"]


class Planned(NamedTuple):
    """An item of a session.

    Attributes:
        position: from 0, over all phases.
        phase: ``catch``: an easy item among those of the test.
        item_id: of the item.
        show_explanation: after the answer.
    """

    position: int
    phase: Phase
    item_id: str
    show_explanation: bool


def session_seed(seed: int, session_id: str) -> int:
    """Return the seed of a session, in [0, 2^64)."""
    return stream(seed, f"session/{session_id}")


def button_order(config: Config, seed: int, classes: int) -> list[int]:
    """Return the classes in the order of their buttons.

    Args:
        config: of the experiment.
        seed: of the session.
        classes: how many there are.
    """
    if config.button_order == "fixed":
        return list(range(classes))
    return _shuffled(seed, "buttons", range(classes))


def planned_teaching(config: Config, arm: Arm, seed: int) -> list[Planned]:
    """Return the teaching items of a session; none for an adaptive teacher, which chooses as it goes.

    Args:
        config: of the experiment.
        arm: of the session.
        seed: of the session.
    """
    if arm.config.teacher in ADAPTIVE:
        return []
    order = range(len(arm.item_ids))
    rows = _shuffled(seed, "sequence", order) if arm.config.teacher == "random" else list(order)
    return [
        Planned(position, "train", arm.item_ids[row], arm.explained[row])
        for position, row in enumerate(rows[: config.num_train])
    ]


def planned_test(config: Config, material: Material, seed: int) -> list[Planned]:
    """Return the test of a session: what everyone gets, or a draw without repeats, with catch trials in drawn places.

    Args:
        config: of the experiment.
        material: of the experiment.
        seed: of the session.
    """
    tested = material.test_fixed
    if tested is None:
        tested = tuple(_shuffled(seed, "test", material.test_pool)[: config.num_test])
    catches = _shuffled(seed, "catch", material.catch)
    count = len(tested) + len(catches)
    places = set(_shuffled(seed, "catch places", range(count))[: len(catches)])
    test, catch = iter(tested), iter(catches)
    return [
        Planned(config.num_train + i, "catch", next(catch), False)
        if i in places
        else Planned(config.num_train + i, "test", next(test), False)
        for i in range(count)
    ]


def fallback(seed: int, arm: Arm, shown: Collection[str]) -> str:
    """Return what an adaptive arm shows when its teacher has no answer in time: the next of a drawn sequence.

    Args:
        seed: of the session.
        arm: of the session.
        shown: ids of items that were.
    """
    order = _shuffled(seed, "fallback", arm.item_ids)
    return next((item for item in order if item not in shown), order[len(shown) % len(order)])


def decision_key(seed: int, position: int) -> int:
    """Return the key of an adaptive teacher's random numbers for one position of a session."""
    return counter(stream(seed, "adaptive"), position)


def _shuffled(seed: int, name: str, values: Sequence[T]) -> list[T]:
    return [values[i] for i in permutation(stream(seed, name), len(values))]
