"""Simulated people over HTTP: nothing is lost or doubled whatever they do, and they answer as they should."""

import asyncio
import json
from collections import Counter

import httpx
import numpy as np
import pytest
from sqlalchemy import delete, insert, update

from tests.classroom.experiments import CLASSES, make_experiment, rows
from tutelage.classroom import tables
from tutelage.classroom.adaptive import MAKERS
from tutelage.classroom.dashboard import dashboard
from tutelage.classroom.exporting import export_study
from tutelage.classroom.room import open_room
from tutelage.classroom.simulate import recount, simulate
from tutelage.classroom.simulated_person import PROFILES
from tutelage.classroom.study import Study
from tutelage.classroom.web.app import app_of
from tutelage.errors import ConfigError


def run(folder, people, **how):
    """Simulate people against the app in this process; returns the room and what was counted."""
    room = open_room(folder, makers=MAKERS)
    transport = httpx.ASGITransport(app=app_of(room))

    def client():
        return httpx.AsyncClient(transport=transport, base_url="http://localhost")

    return room, asyncio.run(simulate(room, client, people, **how))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two people of each profile in two arms."""
    room, found = run(make_experiment(tmp_path_factory.mktemp("mixed") / "shapes", blind=False), 2 * len(PROFILES))
    yield room, found
    room.close()


def test_mixed_people_leave_exactly_their_answers(mixed):
    room, found = mixed
    assert found.unexpected == ()
    assert found.sound
    assert (found.completed, found.withdrew) == (20, 2)
    assert (found.lost, found.extra, found.incomplete, found.misjudged) == (0, 0, 0, 0)
    assert found.answers == 20 * room.config.length
    assert len(rows(room, tables.trial)) == 20 * room.config.length  # those who withdrew left nothing
    assert not any(status >= 500 for walk in found.walks for status in walk.statuses)
    assert all(ms > 0 for ms in found.answer_ms)


def test_arms_are_as_full_as_each_other(mixed):
    room, _ = mixed
    per_arm = Counter(row.arm_id for row in rows(room, tables.session))
    assert sum(per_arm.values()) == 22
    assert max(per_arm.values()) - min(per_arm.values()) <= 1 + 2  # places of those who withdrew are given again


def test_people_are_what_their_profile_says(mixed):
    _, found = mixed
    by = {profile: [walk for walk in found.walks if walk.profile == profile] for profile in PROFILES}
    assert all(walk.statuses[409] == 7 for walk in by["two_tabs"])
    assert all(walk.statuses[409] == 6 for walk in by["back_button"])
    assert all(walk.statuses[403] == 2 * 3 and walk.statuses[422] == 2 * 3 for walk in by["forger"])
    assert all(walk.withdrew and not walk.completed for walk in by["withdrawer"])
    assert all(walk.statuses[403] == walk.statuses[409] == walk.statuses[422] == 0 for walk in by["calibrated"])


def test_simulated_people_are_apart_from_real_ones(mixed, tmp_path):
    room, found = mixed
    study = Study.of(room)
    assert {row.source for row in rows(room, tables.participant)} == {"simulated"}
    assert sum(arm.consented for arm in dashboard(study).arms) == 0
    page = dashboard(study, "simulated")
    assert sum(arm.completed for arm in page.arms) == found.completed
    assert {arm.arm: arm.completed for arm in page.arms} == found.arms
    export_study(study, tmp_path / "real")
    assert (tmp_path / "real" / "trials.csv").read_text().count("\n") == 1
    export_study(study, tmp_path / "simulated", people="simulated")
    assert (tmp_path / "simulated" / "trials.csv").read_text().count("\n") == 1 + found.answers


def test_scores_are_those_of_a_recount(mixed):
    room, found = mixed
    labels = {id: item.label for id, item in room.material.items.items()}
    plan = {(row.session_id, row.position): row.item_id for row in rows(room, tables.plan)}
    outcomes = dashboard(Study.of(room), "simulated").results.outcomes
    arm_of = {row.id: room.arm_names[row.arm_id] for row in rows(room, tables.session)}
    for outcome in outcomes:
        scores = [
            np.mean([given == labels[plan[walk.session_id, at]] for at, given in walk.acknowledged.items() if at >= 4])
            for walk in found.walks
            if walk.completed and arm_of[walk.session_id] == outcome.arm
        ]
        assert outcome.test.n == len(scores)
        assert outcome.test.mean == pytest.approx(100 * np.mean(scores))


def test_a_recount_finds_what_is_wrong(mixed):
    room, found = mixed
    done = next(walk for walk in found.walks if walk.completed and walk.profile == "perfect")
    other = next(walk for walk in found.walks if walk.completed and walk.profile == "random")
    trial = tables.trial
    with room.database.read() as connection:
        kept = [dict(row._mapping) for row in connection.execute(trial.select())]
    try:
        with room.database.write() as connection:
            connection.execute(delete(trial).where(trial.c.session_id == done.session_id, trial.c.position == 2))
            mark = update(trial).where(trial.c.session_id == other.session_id, trial.c.position == 0)
            connection.execute(mark.values(correct=~trial.c.correct))
        again = recount(room, found.walks)
        assert (again.lost, again.extra, again.incomplete, again.misjudged) == (1, 0, 1, 1)
        assert not again.sound
        forgotten = done.acknowledged.pop(3)
        assert recount(room, found.walks).extra == 1
        done.acknowledged[3] = forgotten
    finally:
        with room.database.write() as connection:
            connection.execute(delete(trial))
            connection.execute(insert(trial), kept)
    assert recount(room, found.walks).sound


def test_perfect_people_are_right_and_learners_learn(tmp_path):
    arms = [{"name": "all", "teaching_set": "arms/forth.json", "teacher": "fixed"}]
    folder = make_experiment(tmp_path / "shapes", arms=arms, blind=False)
    room, found = run(folder, 2, profiles=["perfect", "learner"])
    with room:
        assert found.sound
        of = {walk.session_id: walk.profile for walk in found.walks}
        trials = rows(room, tables.trial)
    lapse = 0.05 + 2 / 3
    assert np.mean([row.correct for row in trials if of[row.session_id] == "perfect"]) >= 1 - lapse
    assert sum(of[row.session_id] == "learner" for row in trials) == 7


def test_the_same_seed_gives_the_same_answers_to_the_same_items(tmp_path):
    room, found = run(make_experiment(tmp_path / "a"), 6, profiles=["calibrated"], seed=3, at_once=1)
    with room:
        responses = [walk.acknowledged for walk in found.walks]
        times = {(row.session_id, row.position): row.rt_ms_client for row in rows(room, tables.trial)}
    other_room, other = run(make_experiment(tmp_path / "b"), 6, profiles=["calibrated"], seed=3, at_once=1)
    with other_room:
        other_times = {(row.session_id, row.position): row.rt_ms_client for row in rows(other_room, tables.trial)}
    mine, theirs = (
        [[by[walk.session_id, at] for at in range(7)] for walk in told.walks]
        for by, told in ((times, found), (other_times, other))
    )
    assert mine == theirs  # items are drawn by the ids of sessions, which are random; how long people think is not
    assert [sorted(by) for by in responses] == [list(range(7))] * 6


def test_adaptive_arms(tmp_path):
    arms = [
        {"name": name, "teaching_set": "arms/forth.json", "teacher": name} for name in ("strict", "maxgrad", "review")
    ]
    room, found = run(make_experiment(tmp_path / "shapes", arms=arms, adaptive_limit_ms=10_000), 6)
    with room:
        assert found.sound, found.unexpected
        assert rows(room, tables.event, tables.event.c.kind == "fallback") == []
        names = {row.id: room.arm_names[row.arm_id] for row in rows(room, tables.session)}
        told = {}
        for row in rows(room, tables.plan, tables.plan.c.phase == "train"):
            told.setdefault(names[row.session_id], []).append(json.loads(row.notes_json))
    assert all("expected_error" in notes for notes in told["strict"])
    assert all("log_score" in notes for notes in told["maxgrad"])
    reviewed = {name for notes in told["review"] for name in notes.get("review", ())}
    assert reviewed <= set(CLASSES)


def test_a_server_that_is_not_there(tmp_path):
    folder = make_experiment(tmp_path / "shapes")
    with open_room(folder) as room:

        def client():
            return httpx.AsyncClient(base_url="http://127.0.0.1:9")

        found = asyncio.run(simulate(room, client, 2))
    assert not found.sound
    assert (found.completed, found.answers, found.answer_ms) == (0, 0, None)
    assert [line.split(":")[0] for line in found.unexpected] == ["calibrated 0", "perfect 1"]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"profiles": ["perfekt"]}, 'unknown profile "perfekt". Did you mean "perfect"'),
        ({"at_once": 0}, "2 people, 0 at once, pace 0: needs 1 or more"),
        ({"pace": -1.0}, "pace -1: needs 1 or more, and a pace >= 0"),
    ],
)
def test_refusals(how, told, tmp_path):
    with pytest.raises(ConfigError, match=told):
        run(make_experiment(tmp_path / "shapes"), 2, **how)
