"""What is refused on the way through an experiment, and what may come twice: neither changes a byte."""

import pytest

from tutelage.classroom import service, tables
from tutelage.classroom.replies import Accepted, Dialog, End, Question, Refused

from .experiments import at_once, at_question, dump, enter, respond, rows, step, walk

LENGTH = 7


REFUSED = [
    ({"position": 2}, "ahead"),
    ({"position": 99}, "ahead"),
    ({"position": -1}, "ahead"),
    ({"position": "x"}, "ahead"),
    ({"position": "1" * 400}, "ahead"),
    ({"position": "1.0"}, "ahead"),
    ({"token": "0" * 32}, "forged"),
    ({"token": ""}, "forged"),
    ({"token": "ü"}, "forged"),
    ({"response": 3}, "invalid"),
    ({"response": -1}, "invalid"),
    ({"response": None}, "invalid"),
    ({"response": "circle"}, "invalid"),
    ({"response": "²"}, "invalid"),
]


@pytest.mark.parametrize(("changes", "kind"), REFUSED)
def test_a_wrong_answer_form_changes_nothing(room, changes, kind):
    bearer = enter(room)
    place = walk(room, bearer, at_question(1))[-1].place
    before = dump(room)
    given = {"position": place.position, "token": place.token, "response": 0, **changes}
    assert service.answer(room, bearer, **given) == Refused(kind, 1)
    assert dump(room) == before
    assert respond(room, bearer, 0) == Accepted(written=True)


def test_tokens_of_another_session_position_or_stage_are_forged(room):
    bearer, other = enter(room), enter(room)
    place = walk(room, bearer, at_question(1))[-1].place
    foreign = walk(room, other, at_question(1))[-1].place
    before = dump(room)
    for token in (foreign.token, place.withdraw_token):
        assert service.answer(room, bearer, position=1, token=token, response=0) == Refused("forged", 1)
    assert service.answer(room, bearer, position=0, token=place.token, response=0) == Refused("forged", 1)
    assert service.advance(room, bearer, position=0, stage="feedback", token=place.token) == Refused("forged", 1)
    assert service.withdraw(room, bearer, token=place.token) == Refused("forged", 1)
    assert dump(room) == before


@pytest.mark.parametrize("bearer", ["", "x", "0" * 32, "ü" * 32, "0" * 5000])
def test_an_unknown_session_is_refused(room, bearer):
    before = dump(room)
    assert service.page(room, bearer) == Refused("unknown")
    assert service.answer(room, bearer, position=0, token="", response=0) == Refused("unknown")
    assert service.advance(room, bearer, position=0, stage="question", token="") == Refused("unknown")
    assert service.withdraw(room, bearer, token="") == Refused("unknown")
    assert service.restart(room, bearer, token="") == Refused("unknown")
    assert dump(room) == before


@pytest.mark.parametrize("later", [0, 1, 3, None])
def test_a_second_answer_changes_nothing_whenever_it_comes(room, later):
    bearer = enter(room)
    place = walk(room, bearer, at_question(0))[-1].place
    respond(room, bearer, 2)
    if later is None:
        walk(room, bearer)
    elif later:
        walk(room, bearer, at_question(later))
    before = dump(room)
    again = {"position": 0, "token": place.token}
    assert service.answer(room, bearer, response=2, **again) == Accepted(written=False)
    assert service.answer(room, bearer, response="2", **again) == Accepted(written=False)
    refused = service.answer(room, bearer, response=1, **again)
    assert (refused.kind, refused.position) == ("conflict", {0: 0, None: LENGTH}.get(later, later))
    assert dump(room) == before


def test_going_on_twice_is_going_on_once(room):
    bearer = enter(room)
    while not isinstance(page := service.page(room, bearer), End):
        place = page.place
        step(room, bearer)
        if not isinstance(page, Question):
            before = dump(room)
            again = service.advance(room, bearer, position=place.position, stage=place.stage, token=place.token)
            assert again == Accepted(written=False)
            assert dump(room) == before


def test_a_question_cannot_be_skipped(room):
    bearer = enter(room)
    place = walk(room, bearer, at_question(0))[-1].place
    before = dump(room)
    for position, stage in (
        (0, "question"),
        (0, "feedback"),
        (1, "question"),
        (7, "debrief"),
        (0, "x"),
        ("", "page-0"),
    ):
        token = room.key.form("x", 0, stage)
        kind = "ahead" if stage != "question" or position else "forged"
        assert service.advance(room, bearer, position=position, stage=stage, token=token).kind == kind
    skipped = service.advance(room, bearer, position=0, stage="question", token=place.token)
    assert skipped == Refused("ahead", 0)
    assert dump(room) == before


def test_an_answer_during_the_tutorial_or_a_dialog_is_ahead(room):
    bearer = enter(room)
    session = rows(room, tables.session)[0]
    token = room.key.form(session.id, 0, "question")
    assert service.answer(room, bearer, position=0, token=token, response=0) == Refused("ahead", 0)
    walk(room, bearer, lambda page: isinstance(page, Dialog))
    token = room.key.form(session.id, 2, "question")
    assert service.answer(room, bearer, position=2, token=token, response=0) == Refused("ahead", 2)


def test_two_tabs_at_once_write_one_row(room):
    bearer = enter(room)
    place = walk(room, bearer, at_question(0))[-1].place
    replies = at_once(16, lambda i: service.answer(room, bearer, position=0, token=place.token, response=i % 2))
    kinds = [reply.kind if isinstance(reply, Refused) else reply.written for reply in replies]
    assert kinds.count(True) == 1
    assert kinds.count(False) == 7
    assert kinds.count("conflict") == 8
    assert len(rows(room, tables.trial)) == 1
