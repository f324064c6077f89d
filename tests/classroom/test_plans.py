"""What people are shown: drawn from the stored seed alone, and as the configuration says."""

import json
from collections import Counter

import pytest

from tutelage.classroom import plans, tables
from tutelage.classroom.plans import button_order, decision_key, fallback, planned_teaching, planned_test, session_seed

from .experiments import enter, rows

SEED = session_seed(0, "a" * 32)
RANDOM = [{"name": "forth", "teaching_set": "arms/forth.json", "teacher": "random"}]


def test_a_session_replays_from_the_stored_seed(build):
    room = build(arms=RANDOM, seed=7, catch_trials=["circle/test0.png"])
    for _ in range(5):
        enter(room)
    for session in rows(room, tables.session):
        seed = session_seed(7, session.id)
        assert int(session.seed) == seed
        assert json.loads(session.button_order) == button_order(room.config, seed, 3)
        arm = room.material.arms["forth"]
        drawn = planned_teaching(room.config, arm, seed) + planned_test(room.config, room.material, seed)
        stored = rows(room, tables.plan, tables.plan.c.session_id == session.id)
        assert sorted(tuple(row)[1:5] for row in stored) == [tuple(row) for row in drawn]


def test_a_fixed_arm_shows_its_items_in_order(build):
    room = build()
    arm = room.material.arms["back"]
    plan = planned_teaching(room.config, arm, SEED)
    assert [row.item_id for row in plan] == list(arm.item_ids[:4])
    assert [row.position for row in plan] == [0, 1, 2, 3]
    assert {(row.phase, row.show_explanation) for row in plan} == {("train", False)}
    assert {row.show_explanation for row in planned_teaching(room.config, room.material.arms["forth"], SEED)} == {True}


def test_a_random_arm_draws_without_repeats_and_evenly(build):
    room = build(arms=RANDOM)
    arm = room.material.arms["forth"]
    first = Counter()
    for i in range(600):
        plan = planned_teaching(room.config, arm, session_seed(0, str(i)))
        assert len({row.item_id for row in plan}) == 4
        first[plan[0].item_id] += 1
    assert set(first) == set(arm.item_ids)
    assert all(65 <= count <= 135 for count in first.values())  # 100 +- 3.8 standard deviations


def test_a_test_is_drawn_for_each_person_from_items_that_do_not_teach(build):
    room = build()
    drawn = [planned_test(room.config, room.material, session_seed(0, str(i))) for i in range(50)]
    for plan in drawn:
        assert len({row.item_id for row in plan}) == 3
        assert {room.material.items[row.item_id].split for row in plan} == {"test"}
        assert [row.position for row in plan] == [4, 5, 6]
    assert len({tuple(row.item_id for row in plan) for plan in drawn}) > 30


def test_a_test_may_be_the_same_for_all(build):
    paths = ["square/test1.png", "circle/test0.png", "cross/test2.png"]
    room = build(test_items=paths)
    for i in range(3):
        plan = planned_test(room.config, room.material, session_seed(0, str(i)))
        assert [room.material.items[row.item_id].path for row in plan] == paths


def test_everyone_gets_the_catch_trials_at_drawn_places(build):
    room = build(catch_trials=["circle/test0.png", "square/test1.png"])
    assert room.config.length == 9
    places = set()
    for i in range(60):
        plan = planned_test(room.config, room.material, session_seed(0, str(i)))
        assert [row.position for row in plan] == list(range(4, 9))
        caught = [row for row in plan if row.phase == "catch"]
        assert {room.material.items[row.item_id].path for row in caught} == {"circle/test0.png", "square/test1.png"}
        assert not {row.item_id for row in caught} & {row.item_id for row in plan if row.phase == "test"}
        places |= {row.position for row in caught}
    assert places == set(range(4, 9))


@pytest.mark.parametrize("kind", ["participant", "fixed"])
def test_buttons(build, kind):
    room = build(button_order=kind)
    orders = Counter(tuple(button_order(room.config, session_seed(0, str(i)), 3)) for i in range(600))
    if kind == "fixed":
        assert orders == {(0, 1, 2): 600}
    else:
        assert len(orders) == 6
        assert all(65 <= count <= 135 for count in orders.values())


def test_an_adaptive_arm_is_planned_as_it_goes(build):
    class Never:
        def __init__(self, pool, seed):
            pass

    adaptive = [{"name": "forth", "teaching_set": "arms/forth.json", "teacher": "strict"}]
    room = build(arms=adaptive, makers={"strict": Never})
    arm = room.material.arms["forth"]
    assert planned_teaching(room.config, arm, SEED) == []
    shown = []
    for _ in range(6):
        shown.append(fallback(SEED, arm, shown))
    assert sorted(shown) == sorted(arm.item_ids)
    assert fallback(SEED, arm, shown) in arm.item_ids  # more than there are: again from the beginning
    assert fallback(SEED, arm, shown[:2]) == fallback(SEED, arm, shown[1::-1])
    assert len({decision_key(SEED, i) for i in range(20)} | {decision_key(SEED + 1, i) for i in range(20)}) == 40


def test_what_is_drawn_differs_between_sessions_and_experiments():
    assert plans.session_seed(0, "a") != plans.session_seed(1, "a")
    assert plans.session_seed(0, "a") != plans.session_seed(0, "b")
    assert 0 <= plans.session_seed(0, "a") < 2**64
