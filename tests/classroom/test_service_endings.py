"""Ways out of an experiment: completion and its code, withdrawal, removal."""

import pytest

from tutelage.classroom import service, tables
from tutelage.classroom.replies import Accepted, Debrief, End, Refused
from tutelage.classroom.service import Arrival
from tutelage.classroom.tokens import random_id

from .experiments import at_once, at_question, dump, enter, go_on, rows, walk

LENGTH = 7


@pytest.mark.parametrize("position", [0, 1, 5, None])
def test_withdrawal_deletes_the_answers(room, position):
    bearer = enter(room)
    page = walk(room, bearer, None if position is None else at_question(position))[-1]
    token = page.withdraw_token if isinstance(page, End) else page.place.withdraw_token
    code = page.code if isinstance(page, End) else None
    assert service.withdraw(room, bearer, token=token) == Accepted(written=True)
    assert service.withdraw(room, bearer, token=token) == Accepted(written=False)
    for table in (tables.trial, tables.plan, tables.image_token):
        assert rows(room, table) == []
    assert rows(room, tables.participant)[0].withdrawn_at
    assert service.page(room, bearer).state == "withdrawn"
    assert service.answer(room, bearer, position=0, token="", response=0) == Refused("unknown")
    assert code is None or service.redeem(room, code) == "redeemed"


def test_withdrawal_may_strip_the_answers_instead(build):
    room = build(on_withdraw="strip")
    bearer = enter(room)
    page = walk(room, bearer, at_question(2))[-1]
    service.withdraw(room, bearer, token=page.place.withdraw_token)
    trials = rows(room, tables.trial)
    assert [trial.position for trial in trials] == [0, 1]
    assert {(trial.response, trial.correct, trial.answered_at, trial.rt_ms_client) for trial in trials} == {(None,) * 4}


def test_withdrawal_later_by_code(room):
    bearer = enter(room)
    code = walk(room, bearer)[-1].code
    assert not service.withdraw_by_code(room, "A" * 16)
    assert service.withdraw_by_code(room, f" {code.lower()[:8]} {code[8:]}")
    assert service.page(room, bearer).state == "withdrawn"
    assert rows(room, tables.trial) == []


def test_withdrawal_after_a_restart_takes_back_both_sessions(build, clock):
    room = build(resume="restart")
    bearer = enter(room)
    walk(room, bearer, at_question(1))
    clock.wait(31 * 60)
    new = service.restart(room, bearer, token=service.page(room, bearer).restart_token).bearer
    walk(room, new, at_question(1))
    token = service.page(room, bearer).withdraw_token
    assert service.withdraw(room, bearer, token=token) == Accepted(written=True)
    assert rows(room, tables.trial) == []
    assert service.page(room, new).state == "withdrawn"


def test_purge_removes_a_person_everywhere(room):
    bearer, other = enter(room), enter(room)
    walk(room, bearer)
    walk(room, other)
    person = rows(room, tables.session, tables.session.c.state == "completed")[0]
    assert not service.purge(room, "0" * 32)
    assert service.purge(room, person.participant_id)
    told = str(dump(room))
    assert person.id not in told
    assert person.participant_id not in told
    assert len(rows(room, tables.trial)) == LENGTH
    assert len(rows(room, tables.participant)) == 1


def test_a_code_is_issued_at_the_end_and_redeemed_once(room):
    bearer = enter(room)
    debrief = walk(room, bearer, lambda page: isinstance(page, Debrief))[-1]
    assert rows(room, tables.completion) == []
    session = rows(room, tables.session)[0]
    assert go_on(room, bearer, comment=" Thank you. ").written
    code = service.page(room, bearer).code
    assert service.page(room, bearer).code == code
    assert debrief.of == 3
    assert code not in str(dump(room))
    assert session.id[:8].upper() not in code
    assert service.redeem(room, "B" * 16) == "unknown"
    assert service.redeem(room, "") == "unknown"
    assert service.redeem(room, code) == "redeemed"
    before = dump(room)
    assert service.redeem(room, code) == "again"
    assert dump(room) == before
    assert rows(room, tables.session)[0].comment == "Thank you."


def test_a_code_redeemed_at_once_is_redeemed_once(room):
    bearer = enter(room)
    code = walk(room, bearer)[-1].code
    assert sorted(at_once(12, lambda _: service.redeem(room, code))) == ["again"] * 11 + ["redeemed"]


def test_outcome_codes_and_hidden_scores(build):
    room = build(show_score=False, recruitment={"platform": "prolific", "outcome_codes": {"completed": "C1"}})
    bearer = enter(room, Arrival(random_id(), "prolific", "p"))
    pages = walk(room, bearer)
    assert pages[-2].right is None
    assert pages[-1].outcome_code == "C1"
