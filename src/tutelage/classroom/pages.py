"""The page that a session is at, and the images that it may see: reads, and writes nothing."""

from typing import Literal

from sqlalchemy import Connection, func, select

from . import tables
from .completion import issued_code
from .images import Encoded
from .material import Variant
from .replies import Choice, Debrief, Dialog, End, Feedback, Page, Picture, Place, Question, Refused, Tutorial
from .room import Room, milliseconds
from .sessions import Session, expired, find, find_image, in_sight


def page(room: Room, bearer: str) -> Page | Refused:
    """Return the page of a session; ``Refused`` of the kind ``unknown`` if there is no such session."""
    with room.database.read() as connection:
        session = find(room, connection, bearer)
        if session is None:
            return Refused("unknown")
        if not session.active or expired(room, session, room.now()):
            return _end(room, connection, session)
        if session.state == "tutorial":
            return _tutorial(room, session)
        if session.state == "debrief":
            return _debrief(room, connection, session)
        if session.state in ("half_way", "training_over"):
            kind: Literal["half_way", "training_over"] = "half_way" if session.state == "half_way" else "training_over"
            coming = in_sight(connection, session).get((session.position, "image"))
            token = None if coming is None else coming.token
            return Dialog(_place(room, session), kind, _left(room, session.position), token)
        return _item(room, connection, session)


def image(room: Room, bearer: str, token: str) -> Encoded | None:
    """Return an image that a session may see now, or None.

    These are the image of its item, that of the item which comes next, and the explanation of an item that was just
    answered, in an arm that shows it. None is also what there is if the image cannot be read.
    """
    with room.database.read() as connection:
        found = find_image(room, connection, bearer, token)
    if found is None:
        return None
    session, position, item_id, variant = found
    if not session.active or expired(room, session, room.now()):
        return None
    if variant == "explanation":
        seen = session.state == "feedback" and position == session.position
    else:
        seen = session.position <= position <= session.position + 1
    picture = room.material.items[item_id].picture(variant)
    return room.images.encoded(*picture) if seen and picture is not None else None


def choices(room: Room, order: tuple[int, ...]) -> tuple[Choice, ...]:
    """Return the buttons of a session in their order."""
    return tuple(Choice(value, room.material.classes[value]) for value in order)


def picture(room: Room, item_id: str, variant: Variant, token: str) -> Picture | None:
    """Return an image of a page, or None if it cannot be shown."""
    found = room.material.items[item_id].picture(variant)
    size = None if found is None else room.images.size(*found)
    if size is None:
        return None
    width, height = (round(side * room.config.scale) for side in size)
    return Picture(token, width, height)


def _item(room: Room, connection: Connection, session: Session) -> Question | Feedback:
    position, config = session.position, room.config
    images = in_sight(connection, session)
    here, ahead = images[position, "image"], images.get((position + 1, "image"))
    shown = picture(room, here.item_id, "image", here.token)
    coming = None if ahead is None else ahead.token
    place, buttons = _place(room, session), choices(room, session.button_order)
    if session.state != "feedback":
        test, left = session.state == "test", _left(room, position)
        return Question(place, test, position + 1, config.length, left, shown, coming, buttons)
    why = images.get((position, "explanation"))
    assert here.response is not None, "feedback follows an answer"
    assert here.answered_at is not None, "an answer has its time"
    return Feedback(
        place=place,
        number=position + 1,
        of=config.length,
        left=_left(room, position) - 1,
        image=shown,
        explanation=None if why is None else picture(room, why.item_id, "explanation", why.token),
        next_image=coming,
        choices=buttons,
        given=here.response,
        right=room.material.items[here.item_id].label,
        wait_ms=max(0, config.feedback_ms - milliseconds(here.answered_at, room.now())),
    )


def _tutorial(room: Room, session: Session) -> Tutorial:
    pages, number = room.config.tutorial, int(session.stage.removeprefix("page-"))
    told = pages[number] if number < len(pages) else None
    return Tutorial(_place(room, session), number + 1, len(pages) + 1, told)


def _debrief(room: Room, connection: Connection, session: Session) -> Debrief:
    trial = tables.trial
    right = connection.scalar(
        select(func.count()).where(trial.c.session_id == session.id, trial.c.phase == "test", trial.c.correct)
    )
    return Debrief(_place(room, session), right if room.config.show_score else None, room.config.num_test)


def _end(room: Room, connection: Connection, session: Session) -> End:
    """The last page; a session that was left for too long ends without being changed, and may be begun anew."""
    state = "timed_out" if session.active else session.state
    told = tables.external_id
    kept = connection.execute(select(told).where(told.c.participant_id == session.participant_id)).one_or_none()
    codes = room.config.recruitment.outcome_codes
    again = session.active and room.config.resume == "restart"
    return End(
        state=state,
        code=issued_code(room, connection, session.id) if state == "completed" else None,
        outcome_code=next((code for outcome, code in codes.items() if outcome == state), None),
        raw_id=None if kept is None else kept.raw_id,
        submission=None if kept is None else kept.submission,
        submit_to=None if kept is None else kept.submit_to,
        restart_token=room.key.form(session.id, 0, "restart") if again else None,
        withdraw_token=None if state == "withdrawn" else room.key.form(session.id, 0, "withdraw"),
    )


def _place(room: Room, session: Session) -> Place:
    token = room.key.form(session.id, session.position, session.stage)
    return Place(session.position, session.stage, token, room.key.form(session.id, 0, "withdraw"))


def _left(room: Room, position: int) -> int:
    """Items of the phase from a position on."""
    config = room.config
    return (config.num_train if position < config.num_train else config.length) - position
