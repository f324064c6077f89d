"""A person's way through an experiment: what is shown, and what is written."""

import pytest

from tutelage.classroom import service, tables
from tutelage.classroom.replies import Debrief, Dialog, End, Feedback, Question, Refused, Tutorial
from tutelage.classroom.tokens import random_id

from .experiments import CLASSES, at_feedback, at_question, dump, enter, events, go_on, respond, rows, step, walk

LENGTH = 7


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


def test_classes_are_what_buttons_say(room):
    question = walk(room, enter(room), at_question(0))[-1]
    assert {choice.name for choice in question.choices} == set(CLASSES)
