"""Adaptive teachers within a session, and the preview of arms."""

import time

import pytest

from tutelage.classroom import service, tables
from tutelage.classroom.replies import Feedback, Question, Tutorial

from .experiments import at_feedback, at_once, at_question, dump, enter, events, go_on, rows, walk

LENGTH = 7
PATIENT_MS = 10_000

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
    room = build(arms=ADAPTIVE, makers={"review": Backwards}, adaptive_limit_ms=PATIENT_MS)
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
    ("maker", "limit_ms", "reason"),
    [
        (Slow, 50, "time"),
        (Broken, PATIENT_MS, "error: ZeroDivisionError: no answers"),
        (Stranger, PATIENT_MS, "not in the pool"),
    ],
)
def test_a_teacher_that_does_not_answer_is_replaced_by_a_drawn_sequence(build, maker, limit_ms, reason):
    room = build(arms=ADAPTIVE, makers={"review": maker}, adaptive_limit_ms=limit_ms)
    bearer = enter(room)
    walk(room, bearer, at_question(4))
    assert events(room, "fallback") == [{"position": i, "reason": reason} for i in range(4)]
    items = [row.item_id for row in rows(room, tables.plan) if row.position < 4]
    assert len(set(items)) == 4


def test_a_decision_that_a_crash_took_away_is_made_again(build):
    room = build(arms=ADAPTIVE, makers={"review": Backwards}, adaptive_limit_ms=PATIENT_MS)
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
    room = build(arms=ADAPTIVE, makers={"review": Backwards}, adaptive_limit_ms=PATIENT_MS)
    bearer = enter(room)
    place = walk(room, bearer, lambda page: isinstance(page, Tutorial) and page.page is None)[-1].place
    replies = at_once(8, lambda _: service.advance(room, bearer, position=0, stage=place.stage, token=place.token))
    assert [reply.written for reply in replies].count(True) == 1
    assert len([row for row in rows(room, tables.plan) if row.position == 0]) == 1


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
