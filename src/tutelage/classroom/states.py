"""The states of a participant, and which event leads from which to which: everything else is refused."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from ..errors import ConfigError

State: TypeAlias = Literal[
    "arrived",
    "consent",
    "tutorial",
    "teaching",
    "feedback",
    "half_way",
    "training_over",
    "test",
    "debrief",
    "completed",
    "declined",
    "withdrawn",
    "timed_out",
    "screened_out",
]
"""``teaching`` waits for the answer to a teaching item, ``feedback`` shows what was right. The first two, ``declined``
and ``screened_out`` have no session."""

Event: TypeAlias = Literal[
    "start",
    "accept",
    "decline",
    "screen_out",
    "next",
    "begin",
    "half",
    "end",
    "answer",
    "last_answer",
    "finish",
    "withdraw",
    "expire",
]
"""``next`` goes on; ``begin``, ``half`` and ``end`` go on from the last page of the tutorial, to the page in the middle
of the teaching items, and to the page after them; ``last_answer`` is that of the test; ``expire`` is a return that
comes too late."""

STATES: tuple[State, ...] = get_args(State)
EVENTS: tuple[Event, ...] = get_args(Event)
ACTIVE: tuple[State, ...] = ("tutorial", "teaching", "feedback", "half_way", "training_over", "test", "debrief")
"""With a session that goes on."""

TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        ("arrived", "start"): "consent",
        ("consent", "accept"): "tutorial",
        ("consent", "decline"): "declined",
        ("consent", "screen_out"): "screened_out",
        ("tutorial", "next"): "tutorial",
        ("tutorial", "begin"): "teaching",
        ("teaching", "answer"): "feedback",
        ("feedback", "next"): "teaching",
        ("feedback", "half"): "half_way",
        ("feedback", "end"): "training_over",
        ("half_way", "next"): "teaching",
        ("training_over", "next"): "test",
        ("test", "answer"): "test",
        ("test", "last_answer"): "debrief",
        ("debrief", "finish"): "completed",
        ("tutorial", "withdraw"): "withdrawn",
        ("teaching", "withdraw"): "withdrawn",
        ("feedback", "withdraw"): "withdrawn",
        ("half_way", "withdraw"): "withdrawn",
        ("training_over", "withdraw"): "withdrawn",
        ("test", "withdraw"): "withdrawn",
        ("debrief", "withdraw"): "withdrawn",
        ("completed", "withdraw"): "withdrawn",
        ("tutorial", "expire"): "timed_out",
        ("teaching", "expire"): "timed_out",
        ("feedback", "expire"): "timed_out",
        ("half_way", "expire"): "timed_out",
        ("training_over", "expire"): "timed_out",
        ("test", "expire"): "timed_out",
        ("debrief", "expire"): "timed_out",
    }
)


def after(state: State, event: Event) -> State:
    """Return the state that follows.

    Raises:
        ConfigError: if the event cannot happen in the state.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        known = ", ".join(sorted(e for s, e in TRANSITIONS if s == state)) or "none"
        raise ConfigError(f'the event "{event}" cannot happen in the state "{state}"; possible: {known}.') from None


def stage_order(stage: str) -> int:
    """Return the rank of a stage among those at one position; -1 for what is no stage.

    The order is ``page-0``, ``page-1``, ..., ``dialog``, ``question``, ``feedback``, ``debrief``, ``over``.
    """
    if stage in _STAGES:
        return 1_000_000 + _STAGES.index(stage)
    number = stage.removeprefix("page-")
    return int(number) if stage != number and number.isascii() and number.isdigit() and len(number) < 6 else -1


_STAGES = ("dialog", "question", "feedback", "debrief", "over")
