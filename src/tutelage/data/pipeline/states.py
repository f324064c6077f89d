"""The state of a stream of data, and whether a pipeline may go on from it."""

from collections.abc import Iterator, Mapping
from typing import Any

from ... import __version__
from ...errors import CannotResume
from .identity import digest
from .leaves import Generate, Read
from .nodes import Node, walk
from .planned import Planned
from .streams import Stream

FORMAT = 1
_LONG = 24


def resume_stream(fresh: Stream, state: Mapping[str, Any], present_form: str) -> None:
    """Bring a fresh stream to a state; if the stream has another form by now, by passing over what was had.

    Raises:
        CannotResume: if the source has fewer elements than were had.
    """
    if "stream" in state and state.get("form") == present_form:
        try:
            fresh.restore(state["stream"])
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise CannotResume(f"cannot resume: stream is damaged ({type(error).__name__}: {error}).") from error
        return
    for _ in range(int(state["step"])):
        if next(fresh, None) is None:
            raise CannotResume(f"cannot resume: step was {state['step']}, but the stream is shorter now.")


def snapshot(node: Node, **place: Any) -> dict[str, Any]:
    """Return what a state says of a pipeline, plain data for JSON, and where the stream stands.

    Raises:
        CannotResume: if the pipeline could not be recognised, or its source cannot go on.
    """
    state = {
        "format": FORMAT,
        "tutelage": __version__,
        "chain": digest(node),
        "sources": list(sources(node)),
        "seed": node.site.seed,
        **place,
    }
    plans = [n.plans.digest() for n in walk(node) if isinstance(n, Planned)]
    return state | {"plan": plans[0] if len(plans) == 1 else plans} if plans else state


def sources(node: Node) -> Iterator[dict[str, Any]]:
    """Yield what tells the sources of a pipeline from others."""
    for n in walk(node):
        if isinstance(n, Read):
            yield {"kind": n.reader.kind, "length": len(n.reader), "fingerprint": _fingerprint(n)}
        elif isinstance(n, Generate):
            yield {"kind": "generator", "length": None, "fingerprint": None}


def _fingerprint(read: Read) -> str:
    """Return the fingerprint of the reader, computed once."""
    kept = read.reader.__dict__.get("_fingerprint")
    if kept is None:
        kept = read.reader.__dict__["_fingerprint"] = read.reader.fingerprint()
    return str(kept)


def as_state(state: Any) -> Mapping[str, Any]:
    """Return a state.

    Raises:
        CannotResume: if it is none.
    """
    if not isinstance(state, Mapping):
        raise no_state("format")
    return state


def no_state(field: str) -> CannotResume:
    """Return the error for what is no state, or lacks a field."""
    return CannotResume(f"cannot resume: this is no state of a pipeline (it has no {field}); pass one of state_dict().")


def check(state: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare a stored state with that of the present pipeline.

    Raises:
        CannotResume: at the first field that differs, with the stored and the present value.
    """
    form = as_state(state).get("format")
    if form is None:
        raise no_state("format")
    if form != FORMAT:
        raise CannotResume(f"cannot resume: the state has format {form!r}, this version reads {FORMAT}.")
    for field in ("step", "epoch"):
        value = state.get(field)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise CannotResume(f"cannot resume: {field} is {value!r}, needs a whole number from 0 on; damaged state.")
    compared = ("sources", "chain", "seed", "plan", "batch", "names", "kind")
    for field in compared:
        if state.get(field) != now.get(field):
            raise CannotResume(_difference(field, state.get(field), now.get(field)))


def _difference(field: str, stored: Any, present: Any) -> str:
    if isinstance(stored, list) and isinstance(present, list) and len(stored) == len(present):
        for k, (a, b) in enumerate(zip(stored, present)):
            if a != b:
                return _difference(f"{field}[{k}]", a, b)
    if isinstance(stored, Mapping) and isinstance(present, Mapping):
        for key in (*stored, *present):
            if stored.get(key) != present.get(key):
                return _difference(f"{field}.{key}", stored.get(key), present.get(key))
    what = " (another operator, argument or function)" if field == "chain" else ""
    return f"cannot resume: {field} was {_short(stored)}, is now {_short(present)}{what}."


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONG else text[:12] + "..."
