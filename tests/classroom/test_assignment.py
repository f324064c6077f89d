"""Which arm a person comes into."""

from collections import Counter

import pytest

from tutelage.classroom import service, tables
from tutelage.classroom.assignment import Filled, least_filled
from tutelage.classroom.service import Arrival
from tutelage.classroom.tokens import random_id
from tutelage.errors import ConfigError

from .experiments import arrive, at_once, at_question, enter, rows, walk


def arms(*targets, **more):
    return [
        {"name": f"arm{i}", "teaching_set": "arms/forth.json", "target_n": target, **more}
        for i, target in enumerate(targets)
    ]


def counts(room, *states):
    wanted = [tables.session.c.state.in_(states)] if states else []
    return Counter(room.arm_names[row.arm_id] for row in rows(room, tables.session, *wanted))


def test_the_least_filled_arm_relative_to_its_target():
    assert least_filled([Filled("a", 3, 10), Filled("b", 2, 10)], 0) == "b"
    assert least_filled([Filled("a", 3, 10), Filled("b", 2, 5)], 0) == "a"
    assert least_filled([Filled("a", 30, 10), Filled("b", 31, 10)], 0) == "a"
    with pytest.raises(ConfigError, match="no arm takes people in"):
        least_filled([], 0)


def test_ties_are_drawn_by_the_seed_whatever_the_order_of_rows():
    tied = [Filled(name, 1, 3) for name in "abcd"] + [Filled("e", 2, 3)]
    drawn = [least_filled(tied, seed) for seed in range(400)]
    assert drawn == [least_filled(tied[::-1], seed) for seed in range(400)]
    shares = Counter(drawn)
    assert set(shares) == set("abcd")
    assert all(70 <= count <= 130 for count in shares.values())  # 100 +- 3.5 standard deviations


def test_two_hundred_at_once_come_evenly_into_four_arms(build):
    room = build(arms=arms(50, 50, 50, 50))
    replies = at_once(200, lambda _: arrive(room))
    assert all(reply.new for reply in replies)
    found = counts(room)
    assert sum(found.values()) == 200
    assert max(found.values()) - min(found[f"arm{i}"] for i in range(4)) <= 1


def test_unequal_targets_are_kept_at_every_moment(build):
    room = build(arms=arms(10, 20))
    for n in range(1, 31):
        enter(room)
        assert abs(counts(room)["arm0"] - n / 3) <= 1
    assert counts(room) == {"arm0": 10, "arm1": 20}


def test_abandoned_places_are_filled_again(build, clock):
    room = build(arms=arms(5, 5))
    bearers = [enter(room) for _ in range(6)]
    left = {row.id for row in rows(room, tables.session) if room.arm_names[row.arm_id] == "arm0"}
    clock.wait(59 * 60)
    for row in rows(room, tables.session):
        bearer = room.key.bearer(row.id)
        if row.id not in left:
            walk(room, bearer, at_question(0))  # those of arm1 are still there
    clock.wait(2 * 60)
    for _ in range(3):
        enter(room)
    assert counts(room) == {"arm0": 6, "arm1": 3}
    assert len(bearers) == 6


def test_those_who_completed_keep_their_place_and_those_who_withdrew_do_not(build, clock):
    room = build(arms=arms(5, 5))
    for _ in range(4):
        walk(room, enter(room))
    clock.wait(24 * 3600)
    gone = next(row for row in rows(room, tables.session) if room.arm_names[row.arm_id] == "arm1")
    bearer = room.key.bearer(gone.id)
    service.withdraw(room, bearer, token=service.page(room, bearer).withdraw_token)
    enter(room)
    assert counts(room, "completed", "tutorial") == {"arm0": 2, "arm1": 2}


def test_an_inactive_arm_takes_nobody_in(build):
    room = build(arms=[*arms(5), {"name": "off", "teaching_set": "arms/back.json", "active": False}])
    for _ in range(6):
        enter(room)
    assert counts(room) == {"arm0": 6}


def test_simulated_people_take_no_places(build):
    room = build(arms=arms(5, 5))
    for _ in range(8):
        enter(room, Arrival(random_id(), "simulated"))
    assert counts(room) == {"arm0": 4, "arm1": 4}
    for _ in range(2):
        enter(room)
    assert set(counts(room).values()) == {5}


def test_who_comes_back_stays_in_the_arm(build):
    room = build(arms=arms(5, 5))
    arrival = Arrival(random_id())
    first = enter(room, arrival)
    for _ in range(5):
        enter(room)
        assert enter(room, arrival) == first
    assert sum(counts(room).values()) == 6
