"""What a teacher of people is: by the answers of one person it says which item comes next."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from pydantic import JsonValue


class Answered(NamedTuple):
    """A teaching item that a person answered.

    Attributes:
        item_id: of the item.
        response: class that was chosen.
        explained: whether the explanation was shown afterwards.
    """

    item_id: str
    response: int
    explained: bool


@dataclass(frozen=True)
class PoolItem:
    """An item that may be shown.

    Attributes:
        id: of the item.
        label: position of its class.
        file: with the image.
    """

    id: str
    label: int
    file: Path


@dataclass(frozen=True)
class Pool:
    """The teaching items of an arm.

    Attributes:
        classes: names in label order.
        items: what may be shown.
    """

    classes: tuple[str, ...]
    items: tuple[PoolItem, ...]


class AdaptiveTeacher(Protocol):
    """Chooses items for one person after the other; holds nothing of them."""

    def next_item(self, history: Sequence[Answered], pool: Pool, rng: int) -> tuple[str, Mapping[str, JsonValue]]:
        """Return the id of the next item, and what the teacher saw: the same for the same arguments.

        Args:
            history: of the person, in order.
            pool: of the arm.
            rng: key of the decision's random numbers, see :mod:`tutelage.randomness`; another for each decision.
        """
        ...


TeacherMaker: TypeAlias = Callable[[Pool, int], AdaptiveTeacher]
"""Makes the teacher of an arm from its pool and a seed, once: whatever takes long belongs here."""
