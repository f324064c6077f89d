"""A person's way through an experiment: what is accepted, what is refused, and what is written."""

import time

import pytest

from tutelage.classroom import service, tables
from tutelage.classroom.replies import (
    Accepted,
    Debrief,
    Dialog,
    End,
    Entered,
    Feedback,
    Question,
    Refused,
    Tutorial,
    Welcome,
)
from tutelage.classroom.service import Arrival
from tutelage.classroom.tokens import random_id

from .experiments import (
    CLASSES,
    arrive,
    at_feedback,
    at_once,
    at_question,
    dump,
    enter,
    events,
    go_on,
    respond,
    rows,
    step,
    walk,
)

LENGTH = 7


@pytest.fixture
def room(build):
    return build()


def test_the_whole_way(room):
    pages = walk(room, enter(room))
    assert [type(page) for page in pages] == [
        *[Tutorial] * 2,
        *[Question, Feedback] * 2,
        Dialog,
        *[Question, Feedback] * 2,
        Dialog,
        *[Question] * 3,
        Debrief,
        End,
    ]
    assert [page.kind for page in pages if isinstance(page, Dialog)] == ["half_way", "training_over"]
    questions = [page for page in pages if isinstance(page, Question)]
    assert [(page.number, page.of, page.left, page.test) for page in questions] == [
        *((i + 1, LENGTH, 4 - i, False) for i in range(4)),
        *((i + 5, LENGTH, 3 - i, True) for i in range(3)),
    ]
    assert {tuple(sorted(choice.value for choice in page.choices)) for page in questions} == {(0, 1, 2)}
    assert len({page.choices for page in questions}) == 1  # one order for a person
    assert pages[0].page.title == "Look"
    assert pages[1].page is None
    end = pages[-1]
    assert end.state == "completed"
    assert len(end.code) == 16
    trials = rows(room, tables.trial)
    assert sorted(trial.position for trial in trials) == list(range(LENGTH))
    labels = {id: item.label for id, item in room.material.items.items()}
    assert all(trial.correct == (labels[trial.item_id] == 0) for trial in trials)
    assert pages[-2].right == sum(trial.correct for trial in trials if trial.phase == "test")
    assert all(trial.shown_at and trial.answered_at and trial.rt_ms_client == 1500 for trial in trials)


def test_feedback_says_what_was_right_and_explains_only_where_the_arm_does(build):
    for name, explained in (("forth", True), ("back", False)):
        room = build(arms=[{"name": name, "teaching_set": f"arms/{name}.json", "show_explanation": explained}])
        bearer = enter(room)
        feedback = walk(room, bearer, at_feedback(0))[-1]
        shown = room.material.items[room.material.arms[name].item_ids[0]]
        assert (feedback.given, feedback.right, feedback.correct) == (0, shown.label, shown.label == 0)
        assert (feedback.explanation is not None) == explained
        if explained:
            assert service.image(room, bearer, feedback.explanation.token) is not None
            assert (feedback.explanation.width, feedback.explanation.height) == (32, 24)
            go_on(room, bearer)
            assert service.image(room, bearer, feedback.explanation.token) is None


def test_an_image_is_seen_only_at_its_place_and_by_its_session(room):
    bearer = enter(room)
    question = walk(room, bearer, at_question(0))[-1]
    assert service.image(room, bearer, question.image.token).media_type == "image/png"
    assert service.image(room, bearer, question.next_image) is not None
    assert service.image(room, enter(room), question.image.token) is None
    assert service.image(room, bearer, random_id()) is None
    assert service.image(room, "nonsense", question.image.token) is None
    following = walk(room, bearer, at_question(1))[-1]
    assert following.image.token == question.next_image
    assert service.image(room, bearer, question.image.token) is None
    walk(room, bearer)
    assert service.image(room, bearer, following.image.token) is None


def test_no_page_names_an_item_or_its_class_before_the_answer(room):
    bearer = enter(room)
    for _ in range(30):
        page = service.page(room, bearer)
        if isinstance(page, End):
            break
        told = repr(page)
        assert not any(item.id in told or item.path in told for item in room.material.items.values())
        assert ("right=" in told) == isinstance(page, Feedback | Debrief)
        step(room, bearer)


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


def test_the_answer_writes_what_the_next_page_needs(room, clock):
    bearer = enter(room)
    walk(room, bearer, at_question(4))
    clock.wait(5)
    assert respond(room, bearer, 1).written
    before = dump(room)
    question = service.page(room, bearer)
    assert question.place.position == 5
    assert question.image is not None
    assert question.next_image is not None
    assert service.image(room, bearer, question.image.token) is not None
    assert dump(room) == before  # looking writes nothing
    plan = {row.position: row for row in rows(room, tables.plan)}
    assert plan[5].shown_at == room.now()
    assert plan[6].shown_at is None
    trial = next(row for row in rows(room, tables.trial) if row.position == 4)
    assert (trial.shown_at[-13:], trial.answered_at[-13:]) == ("09:00:00.000Z", "09:00:05.000Z")


def test_feedback_left_early_is_accepted_and_flagged(room, clock):
    bearer = enter(room)
    walk(room, bearer, at_feedback(0))
    clock.wait(0.4)
    assert service.page(room, bearer).wait_ms == 1600
    assert go_on(room, bearer).written
    assert events(room, "early_next") == [{"position": 0, "feedback_ms": 400}]
    walk(room, bearer, at_feedback(1))
    clock.wait(2.5)
    assert service.page(room, bearer).wait_ms == 0
    go_on(room, bearer)
    assert len(events(room, "early_next")) == 1
    assert {row.position: row.feedback_ms for row in rows(room, tables.trial)} == {0: 400, 1: 2500}


@pytest.mark.parametrize(
    ("given", "kept"),
    [(0, 0), ("812.6", 813), (None, None), ("nan", None), ("inf", None), (-5, None), ("x", None), (1e12, None)],
)
def test_times_that_cannot_be_are_missing(room, given, kept):
    bearer = enter(room)
    walk(room, bearer, at_question(0))
    respond(room, bearer, 0, rt_ms=given, blurs="3")
    trial = rows(room, tables.trial)[0]
    assert (trial.rt_ms_client, trial.blurs) == (kept, 3)
    assert events(room, "blur") == [{"position": 0, "count": 3}]


def test_a_missing_image_accepts_no_answer_and_keeps_the_place(room):
    bearer = enter(room)
    place = walk(room, bearer, at_question(0))[-1].place
    session = rows(room, tables.session)[0]
    arm = room.material.arms[room.arm_names[session.arm_id]]
    item = room.material.items[arm.item_ids[0]]
    content = item.file.read_bytes()
    item.file.unlink()
    for kept in room.images.cache.glob(f"{item.id}*"):
        kept.unlink()
    assert service.page(room, bearer).image is None
    assert service.answer(room, bearer, position=0, token=place.token, response=0) == Refused("missing", 0)
    assert rows(room, tables.trial) == []
    assert events(room, "missing_image") == [{"position": 0}]
    item.file.write_bytes(content)
    assert service.page(room, bearer).image is not None
    assert respond(room, bearer, 0).written


# --- coming in ---


def test_the_start_page_stores_nothing(room):
    before = dump(room)
    arrival = Arrival(random_id())
    found = service.welcome(room, arrival)
    assert found == Welcome(1, room.key.form(arrival.visit, 0, "consent"), open=True)
    assert dump(room) == before


def test_the_start_page_tells_the_time_that_others_needed(room, clock):
    bearer = enter(room)
    clock.wait(11 * 60)
    walk(room, bearer)
    assert service.welcome(room, Arrival(random_id())).minutes == 11


def test_coming_back_to_the_start_page_leads_to_the_session(room):
    arrival = Arrival(random_id())
    bearer = enter(room, arrival)
    before = dump(room)
    assert service.welcome(room, arrival) == Entered(bearer, new=False)
    assert arrive(room, arrival) == Entered(bearer, new=False)
    assert dump(room) == before


def test_consent_must_be_given_to_this_text_on_our_form(room):
    arrival = Arrival(random_id())
    good = {"token": service.welcome(room, arrival).consent_token, "accepted": True, "consent_version": "1"}
    before = dump(room)
    for change, kind in (
        ({"accepted": False}, "invalid"),
        ({"consent_version": "0"}, "invalid"),
        ({"language": "x" * 500}, "invalid"),
        ({"token": "0" * 32}, "forged"),
    ):
        assert service.consent(room, arrival, **{**good, **change}) == Refused(kind)
    assert dump(room) == before
    assert isinstance(service.consent(room, arrival, **good, language="de", age_band="30-39"), Entered)
    person = rows(room, tables.participant)[0]
    assert (person.language, person.age_band, person.consent_version) == ("de", "30-39", "1")
    assert person.consent_at


def test_declining_leaves_a_count_only(room):
    for _ in range(2):
        arrival = Arrival(random_id())
        assert service.decline(room, arrival, token=room.key.form(arrival.visit, 0, "consent")).written
    arrival = Arrival(random_id())
    assert service.decline(room, arrival, token="") == Refused("forged")
    assert service.screen_out(room, arrival, token=room.key.form(arrival.visit, 0, "consent")).written
    assert {row.kind: row.count for row in rows(room, tables.tally)} == {"declined": 2, "screened_out": 1}
    assert rows(room, tables.participant) == []


def test_one_participation_a_person_also_at_once(build):
    room = build(recruitment={"platform": "prolific"})
    replies = at_once(50, lambda i: arrive(room, Arrival(random_id(), "prolific", "5f0c0ffee", submission=f"s{i}")))
    assert len({reply.bearer for reply in replies}) == 1
    assert [reply.new for reply in replies].count(True) == 1
    assert len(rows(room, tables.participant)) == len(rows(room, tables.session)) == 1
    assert isinstance(arrive(room, Arrival(random_id(), "prolific", "another")), Entered)
    assert len(rows(room, tables.participant)) == 2


def test_a_double_click_on_consent_makes_one_person(room):
    arrival = Arrival(random_id())
    replies = at_once(20, lambda _: arrive(room, arrival))
    assert len({reply.bearer for reply in replies}) == 1
    assert len(rows(room, tables.session)) == 1


def test_platform_ids_are_stored_only_where_asked_for(build):
    for keep in (False, True):
        room = build(recruitment={"platform": "mturk", "keep_raw_ids": keep})
        arrival = Arrival(random_id(), "mturk", "WORKER1", submission="ASSIGN1", submit_to="https://www.mturk.com")
        bearer = enter(room, arrival)
        assert ("WORKER1" in str(dump(room))) == keep
        walk(room, bearer)
        end = service.page(room, bearer)
        assert (end.raw_id, end.submission) == ("WORKER1" if keep else None, "ASSIGN1")
        assert service.purge_raw_ids(room) == 1
        assert "ASSIGN1" not in str(dump(room))


@pytest.mark.parametrize(
    ("recruitment", "arrival"),
    [
        ({"platform": "prolific"}, Arrival("v")),
        ({"platform": "prolific"}, Arrival("v", "mturk", "x")),
        ({"platform": "mturk"}, Arrival("v", "mturk")),
        ({"platform": "mturk_link"}, Arrival("v", "direct")),
        ({"platform": "direct"}, Arrival("v", "prolific", "x")),
        ({"platform": "direct"}, Arrival("v", "direct", "x")),
        ({"links": "single_use"}, Arrival("v", "direct", "x")),
        ({"links": "single_use"}, Arrival("v")),
    ],
)
def test_who_does_not_come_from_where_people_are_wanted_is_not_let_in(build, recruitment, arrival):
    room = build(recruitment=recruitment)
    before = dump(room)
    assert service.welcome(room, arrival) == Refused("blocked")
    assert arrive(room, arrival) == Refused("blocked")
    assert dump(room) == before


def test_a_link_in_a_task_of_mturk_is_the_same_for_all(build):
    room = build(recruitment={"platform": "mturk_link"})
    assert enter(room, Arrival(random_id(), "mturk")) != enter(room, Arrival(random_id(), "mturk"))


def test_a_single_use_link_lets_one_person_in_who_may_come_back(build):
    room = build(recruitment={"links": "single_use"})
    first, second = service.make_links(room, 2)
    assert first not in str(dump(room))
    bearer = enter(room, Arrival(random_id(), external_id=first))
    assert enter(room, Arrival(random_id(), external_id=first)) == bearer
    assert enter(room, Arrival(random_id(), external_id=second)) != bearer


def test_nobody_comes_into_a_closed_experiment_but_who_is_in_goes_on(room):
    bearer = enter(room)
    service.set_status(room, "closed")
    assert service.status(room) == "closed"
    assert arrive(room) == Refused("closed")
    assert not service.welcome(room, Arrival(random_id())).open
    assert walk(room, bearer)[-1].state == "completed"


def test_simulated_people_may_come_into_a_draft(room):
    service.set_status(room, "draft")
    assert arrive(room) == Refused("closed")
    assert isinstance(arrive(room, Arrival(random_id(), "simulated")), Entered)


# --- leaving and coming back ---


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


# --- withdrawal and removal ---


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


# --- codes ---


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


# --- adaptive teachers ---

ADAPTIVE = [{"name": "chosen", "teaching_set": "arms/forth.json", "teacher": "review"}]


class Backwards:
    """Shows its pool from the end; notes how many answers it saw."""

    def __init__(self, pool, seed):
        self.seen = []

    def next_item(self, history, pool, rng):
        self.seen.append((list(history), rng))
        return pool.items[-1 - len(history)].id, {"answers": len(history)}


class Slow(Backwards):
    def next_item(self, history, pool, rng):
        time.sleep(0.3)
        return super().next_item(history, pool, rng)


class Broken(Backwards):
    def next_item(self, history, pool, rng):
        raise ZeroDivisionError("no answers")


class Stranger(Backwards):
    def next_item(self, history, pool, rng):
        return "0" * 32, {}


def test_an_adaptive_teacher_chooses_by_the_answers(build):
    room = build(arms=ADAPTIVE, makers={"review": Backwards})
    bearer = enter(room)
    pages = walk(room, bearer)
    assert pages[-1].state == "completed"
    plan = {row.position: row for row in rows(room, tables.plan)}
    assert [plan[i].item_id for i in range(4)] == list(room.material.arms["chosen"].item_ids[::-1][:4])
    assert plan[2].notes_json == '{"answers": 2}'
    seen = room.teachers["chosen"].seen
    assert [len(history) for history, _ in seen] == [0, 1, 2, 3]
    assert seen[3][0] == [(plan[i].item_id, 0, True) for i in range(3)]
    assert len({rng for _, rng in seen}) == 4
    assert events(room, "fallback") == []
    feedback = [page for page in pages if isinstance(page, Feedback)]
    assert all(page.next_image is not None for page in feedback)  # known while the feedback is looked at


@pytest.mark.parametrize(
    ("maker", "reason"),
    [(Slow, "time"), (Broken, "error: ZeroDivisionError: no answers"), (Stranger, "not in the pool")],
)
def test_a_teacher_that_does_not_answer_is_replaced_by_a_drawn_sequence(build, maker, reason):
    room = build(arms=ADAPTIVE, makers={"review": maker}, adaptive_limit_ms=50)
    bearer = enter(room)
    walk(room, bearer, at_question(4))
    assert events(room, "fallback") == [{"position": i, "reason": reason} for i in range(4)]
    items = [row.item_id for row in rows(room, tables.plan) if row.position < 4]
    assert len(set(items)) == 4


def test_a_decision_that_a_crash_took_away_is_made_again(build):
    room = build(arms=ADAPTIVE, makers={"review": Backwards})
    bearer = enter(room)
    walk(room, bearer, at_feedback(0))
    with room.database.write() as connection:
        lost = (tables.plan.c.position == 1) & (tables.plan.c.phase == "train")
        connection.execute(tables.image_token.delete().where(tables.image_token.c.position == 1))
        connection.execute(tables.plan.delete().where(lost))
    assert service.page(room, bearer).next_image is None
    assert go_on(room, bearer).written
    assert service.page(room, bearer).image is not None


def test_two_decisions_at_once_are_one(build):
    room = build(arms=ADAPTIVE, makers={"review": Backwards})
    bearer = enter(room)
    place = walk(room, bearer, lambda page: isinstance(page, Tutorial) and page.page is None)[-1].place
    replies = at_once(8, lambda _: service.advance(room, bearer, position=0, stage=place.stage, token=place.token))
    assert [reply.written for reply in replies].count(True) == 1
    assert len([row for row in rows(room, tables.plan) if row.position == 0]) == 1


# --- preview ---


@pytest.mark.parametrize("makers", [None, {"review": Backwards}])
def test_a_preview_walks_an_arm_and_records_nothing(build, makers):
    room = build(makers=makers, **({"arms": ADAPTIVE} if makers else {}))
    name = "chosen" if makers else "forth"
    before = dump(room)
    for position in range(LENGTH):
        question = service.preview(room, name, position)
        assert question.number == position + 1
        item, variant = question.image.token.split("/")
        assert service.preview_image(room, item, variant) is not None
        told = service.preview(room, name, position, given=1)
        assert isinstance(told, Feedback if position < 4 else Question)
    assert dump(room) == before
    assert service.preview_image(room, "x", "image") is None


def test_classes_are_what_buttons_say(room):
    question = walk(room, enter(room), at_question(0))[-1]
    assert {choice.name for choice in question.choices} == set(CLASSES)
