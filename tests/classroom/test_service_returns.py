"""People who leave and come back: after a pause, a restart of the server, another time of the clock."""

import pytest

from tutelage.classroom import service, tables
from tutelage.classroom.replies import Entered, Refused
from tutelage.classroom.service import Arrival
from tutelage.classroom.tokens import random_id

from .experiments import at_feedback, at_question, dump, enter, events, respond, rows, walk


def test_a_short_pause_goes_on_and_is_logged(room, clock):
    bearer = enter(room)
    walk(room, bearer, at_question(1))
    clock.wait(61)
    assert respond(room, bearer, 0).written
    assert events(room, "gap") == [{"ms": 61_000, "position": 1}]
    assert events(room, "resume") == []


def test_a_long_pause_goes_on_by_default(room, clock):
    bearer = enter(room)
    walk(room, bearer, at_question(1))
    clock.wait(61 * 60)
    assert service.page(room, bearer).place.position == 1
    assert respond(room, bearer, 0).written
    assert [len(events(room, kind)) for kind in ("gap", "resume", "late")] == [1, 1, 1]
    assert rows(room, tables.session)[0].resumes == 1


@pytest.mark.parametrize("policy", ["restart", "block"])
def test_after_a_long_pause_the_session_is_over(build, clock, policy):
    room = build(resume=policy)
    bearer = enter(room)
    place = walk(room, bearer, at_question(1))[-1].place
    clock.wait(30 * 60)
    assert service.page(room, bearer).place == place  # not yet
    clock.wait(1)
    before = dump(room)
    end = service.page(room, bearer)
    assert (end.state, end.restart_token is not None) == ("timed_out", policy == "restart")
    assert service.answer(room, bearer, position=1, token=place.token, response=0) == Refused("unknown")
    assert service.advance(room, bearer, position=1, stage="question", token=place.token) == Refused("unknown")
    assert service.restart(room, bearer, token="0" * 32) == Refused("forged", 1)
    assert dump(room) == before


def test_a_restart_is_a_new_session_in_the_same_arm(build, clock):
    room = build(resume="restart")
    arrival = Arrival(random_id())
    bearer = enter(room, arrival)
    walk(room, bearer, at_question(1))
    session = rows(room, tables.session)[0]
    early = room.key.form(session.id, 0, "restart")
    assert service.restart(room, bearer, token=early) == Refused("blocked", 1)
    clock.wait(31 * 60)
    token = service.page(room, bearer).restart_token
    entered = service.restart(room, bearer, token=token)
    assert entered.new
    assert entered.bearer != bearer
    assert service.restart(room, bearer, token=token) == Entered(entered.bearer, new=False)
    sessions = {row.state: row for row in rows(room, tables.session)}
    assert set(sessions) == {"timed_out", "tutorial"}
    assert sessions["timed_out"].arm_id == sessions["tutorial"].arm_id
    assert len(rows(room, tables.trial)) == 1  # what was answered is kept
    assert service.welcome(room, arrival) == Entered(entered.bearer, new=False)
    assert service.page(room, bearer).state == "timed_out"
    assert walk(room, entered.bearer)[-1].state == "completed"


def test_a_block_can_not_be_restarted(build, clock):
    room = build(resume="block")
    bearer = enter(room)
    clock.wait(31 * 60)
    token = room.key.form(rows(room, tables.session)[0].id, 0, "restart")
    assert service.restart(room, bearer, token=token) == Refused("blocked", 0)


def test_a_reopened_experiment_goes_on_at_the_same_place(room, clock):
    bearer = enter(room)
    pages = walk(room, bearer, at_feedback(2))
    room.close()
    again = service.open_room(room.folder, clock=clock)
    assert service.page(again, bearer) == pages[-1]
    assert walk(again, bearer)[-1].state == "completed"
    again.close()


def test_a_clock_that_is_set_back_does_no_harm(room, clock):
    bearer = enter(room)
    walk(room, bearer, at_feedback(1))
    clock.wait(-3600)
    assert walk(room, bearer)[-1].state == "completed"
    assert min(row.feedback_ms for row in rows(room, tables.trial) if row.phase == "train") == 0
