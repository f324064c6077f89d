"""The state machine as a table, and what holds whatever a browser sends."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.classroom import service, tables
from tutelage.classroom.replies import Accepted, Question, Refused
from tutelage.classroom.states import ACTIVE, EVENTS, STATES, TRANSITIONS, after, stage_order
from tutelage.errors import ConfigError

from .experiments import enter, make_experiment, opened, rows

ALLOWED = {
    "arrived": {"start": "consent"},
    "consent": {"accept": "tutorial", "decline": "declined", "screen_out": "screened_out"},
    "tutorial": {"next": "tutorial", "begin": "teaching"},
    "teaching": {"answer": "feedback"},
    "feedback": {"next": "teaching", "half": "half_way", "end": "training_over"},
    "half_way": {"next": "teaching"},
    "training_over": {"next": "test"},
    "test": {"answer": "test", "last_answer": "debrief"},
    "debrief": {"finish": "completed"},
    "completed": {"withdraw": "withdrawn"},
}
WITH_A_SESSION = ("tutorial", "teaching", "feedback", "half_way", "training_over", "test", "debrief")


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_every_state_and_event(state, event):
    allowed = dict(ALLOWED.get(state, {}))
    if state in WITH_A_SESSION:
        allowed |= {"withdraw": "withdrawn", "expire": "timed_out"}
    if event in allowed:
        assert after(state, event) == allowed[event]
    else:
        with pytest.raises(ConfigError, match=f'the event "{event}" cannot happen in the state "{state}"'):
            after(state, event)


def test_the_active_states_are_those_that_can_be_left_without_an_end():
    assert ACTIVE == WITH_A_SESSION
    reached, new = set(), {"arrived"}
    while new:
        reached |= new
        new = {to for (state, _), to in TRANSITIONS.items() if state in new} - reached
    assert reached == set(STATES)
    assert {state for state in STATES if state not in {s for s, _ in TRANSITIONS}} == {
        "declined",
        "withdrawn",
        "timed_out",
        "screened_out",
    }


def test_stages_are_in_the_order_in_which_they_come():
    stages = ["page-0", "page-1", "page-10", "dialog", "question", "feedback", "debrief", "over"]
    orders = [stage_order(stage) for stage in stages]
    assert orders == sorted(set(orders))
    for wrong in ("", "page-", "page--1", "page-x", "page-1000000", "page-²", "Question", "question "):
        assert stage_order(wrong) == -1


EVENT = st.one_of(
    st.tuples(st.just("go on"), st.integers(0, 2)),
    st.tuples(st.just("answer"), st.integers(-1, 8), st.integers(-1, 3), st.booleans()),
    st.tuples(
        st.just("advance"),
        st.integers(-1, 8),
        st.sampled_from(["page-0", "page-1", "page-2", "dialog", "question", "feedback", "debrief", "over", "x"]),
        st.booleans(),
    ),
    st.tuples(st.just("wait"), st.integers(1, 4000)),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    room = opened(make_experiment(tmp_path_factory.mktemp("property") / "e"))
    yield room
    room.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENT, min_size=5, max_size=60))
def test_random_requests_never_go_back_skip_or_repeat(shared, sequence):
    bearer = enter(shared)
    session = rows(shared, tables.session)[-1]
    session_id = next(row.id for row in rows(shared, tables.session) if shared.key.bearer(row.id) == bearer)
    last, kept = (0, 0), {}
    for event in sequence:
        reply = request(shared, bearer, session_id, event)
        session = rows(shared, tables.session, tables.session.c.id == session_id)[0]
        trials = rows(shared, tables.trial, tables.trial.c.session_id == session_id)
        place = (session.position, stage_order(session.stage))
        assert place >= last
        if isinstance(reply, Refused) or (reply is not None and not reply.written):
            assert place == last
        answered = {trial.position: (trial.item_id, trial.response) for trial in trials}
        assert answered.items() >= kept.items()  # what was answered stands
        done = session.position + (session.stage == "feedback")
        assert sorted(answered) == list(range(done))
        assert len(trials) == len(answered)
        last, kept = place, answered


def request(room, bearer, session_id, event):
    kind, *given = event
    if kind == "wait":
        room.clock.wait(given[0])
        return None
    if kind == "answer":
        position, response, honest = given
        token = room.key.form(session_id, position, "question") if honest else "0" * 32
        return service.answer(room, bearer, position=position, token=token, response=response)
    if kind == "advance":
        position, stage, honest = given
        token = room.key.form(session_id, position, stage) if honest else "0" * 32
        return service.advance(room, bearer, position=position, stage=stage, token=token)
    page = service.page(room, bearer)
    if not hasattr(page, "place"):
        return None
    place = page.place
    if isinstance(page, Question):
        reply = service.answer(room, bearer, position=place.position, token=place.token, response=given[0])
    else:
        reply = service.advance(room, bearer, position=place.position, stage=place.stage, token=place.token)
    assert reply == Accepted(written=True)
    return reply
