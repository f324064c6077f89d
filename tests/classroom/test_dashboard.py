"""The researcher's page against counts by hand, and what it hides and never hides."""

import dataclasses
from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import insert, update

from tests.classroom.experiments import (
    TRAIN,
    Clock,
    arrive,
    at_question,
    enter,
    go_on,
    make_experiment,
    opened,
    respond,
    rows,
    step,
    walk,
)
from tutelage.classroom import service, tables
from tutelage.classroom.dashboard import SHARES, WORST, dashboard
from tutelage.classroom.database import Database, database_url
from tutelage.classroom.figures import wilson
from tutelage.classroom.replies import End, Question
from tutelage.classroom.service import Arrival
from tutelage.classroom.study import Study
from tutelage.classroom.tokens import random_id

PEOPLE = 14


def answered(room, bearer, draws, until=None):
    """Walk on with drawn answers and times."""
    while not isinstance(page := service.page(room, bearer), End) and not (until is not None and until(page)):
        if isinstance(page, Question):
            respond(room, bearer, int(draws.randint(3)), rt_ms=int(draws.choice([100, 900, 1500, 4000, 200_000])))
        else:
            go_on(room, bearer)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Fourteen who complete, one who is gone, one who is here, two who withdrew, one who declined."""
    clock = Clock()
    folder = make_experiment(tmp_path_factory.mktemp("page") / "shapes", blind=False)
    with opened(folder, clock=clock) as found:
        draws = np.random.RandomState(0)
        gone = enter(found)
        answered(found, gone, draws, at_question(2))
        clock.wait(61 * 60)
        for _ in range(PEOPLE):
            answered(found, enter(found), draws)
        for position in (1, 3):
            bearer = enter(found)
            answered(found, bearer, draws, at_question(position))
            service.withdraw(found, bearer, token=service.page(found, bearer).place.withdraw_token)
        answered(found, enter(found), draws, at_question(5))
        arrival = Arrival(random_id())
        service.decline(found, arrival, token=found.key.form(arrival.visit, 0, "consent"))
        yield found


def page_of(room, **how):
    return dashboard(Study.of(room), now=room.clock(), **how)


def completed(room):
    """By arm the sessions that completed, as lists of their trials in order."""
    trials = {}
    for row in sorted(rows(room, tables.trial), key=lambda row: row.position):
        trials.setdefault(row.session_id, []).append(row)
    found = {name: [] for name in room.material.arms}
    for row in sorted(rows(room, tables.session), key=lambda row: (row.created_at, row.id)):
        if row.state == "completed":
            found[room.arm_names[row.arm_id]].append(trials[row.id])
    return found


def test_people_by_state(room):
    page = page_of(room)
    total = {name: sum(getattr(arm, name) for arm in page.arms) for name in page.arms[0]._fields if name != "arm"}
    assert total == {
        "target": 20, "consented": 18, "started": 16, "active": 1, "completed": PEOPLE, "abandoned": 1, "withdrawn": 2,
        "timed_out": 0,
    }  # fmt: skip
    assert (page.declined, page.screened_out) == (1, 0)
    assert sum(sum(by.values()) for by in page.dropouts.values()) == 3
    assert sorted(position for by in page.dropouts.values() for position in by) == [1, 2, 3]
    by_arm = Counter(room.arm_names[row.arm_id] for row in rows(room, tables.session))
    assert {arm.arm: arm.consented for arm in page.arms} == by_arm


def test_outcomes_by_hand(room):
    page, done = page_of(room), completed(room)
    for outcome in page.results.outcomes:
        for phase, found in (("train", outcome.train), ("test", outcome.test)):
            scores = [100 * np.mean([t.correct for t in person if t.phase == phase]) for person in done[outcome.arm]]
            assert found.n == len(scores) == PEOPLE / 2
            assert (found.mean, found.std, found.median) == pytest.approx(
                (np.mean(scores), np.std(scores, ddof=1), np.median(scores))
            )
    (contrast,) = page.results.contrasts
    assert (contrast.a, contrast.b) == tuple(outcome.arm for outcome in page.results.outcomes)
    means = [outcome.test.mean for outcome in page.results.outcomes]
    assert contrast.welch.difference == pytest.approx(means[0] - means[1])


def test_curves_and_confusions_by_hand(room):
    page, done = page_of(room), completed(room)
    labels = {id: item.label for id, item in room.material.items.items()}
    for arm, people in done.items():
        for position, point in enumerate(page.results.curves[arm]):
            right = sum(person[position].correct for person in people)
            assert point[:4] == (position, "train" if position < 4 else "test", right, len(people))
            assert point.interval == wilson(right, len(people))
        table = np.zeros((3, 3), dtype=int)
        for trial in (trial for person in people for trial in person if trial.phase == "test"):
            table[labels[trial.item_id], trial.response] += 1
        assert page.results.confusions[arm] == tuple(map(tuple, table.tolist()))


def test_times_and_flags_by_hand(room):
    page, done = page_of(room), completed(room)
    for found in page.times:
        times = sorted(t.rt_ms_client for person in done[found.arm] for t in person if t.phase == found.phase)
        naive = [next(t for t in times if sum(u <= t for u in times) >= share * len(times)) for share in SHARES]
        assert (found.n, list(found.quantiles)) == (len(times), naive)
    assert len(page.times) == 4
    everything = rows(room, tables.trial)
    fast = [row.session_id for row in everything if row.rt_ms_client < 300]
    assert page.flags["fast"] == (len(fast), len(set(fast)))
    slow = [row.session_id for row in everything if row.rt_ms_client > 120_000]
    assert page.flags["slow"] == (len(slow), len(set(slow)))
    assert page.flags["withdraw"] == (2, 2)


def test_exclusions_stand_beside_the_full_data(room):
    page, done = page_of(room), completed(room)
    rules = {exclusion.rule: exclusion for exclusion in page.results.exclusions}
    assert list(rules) == [
        "people with an answer in under 0.3 s", "people with an answer that took over 120 s",
        "people who missed a catch trial", "the lowest 20\N{NO-BREAK SPACE}% of each arm in the test",
    ]  # fmt: skip
    assert sum(outcome.test.n for outcome in page.results.outcomes) == PEOPLE
    fast, slow, catch, low = rules.values()
    for arm, people in done.items():
        assert fast.left_out[arm] == sum(any(t.rt_ms_client < 300 for t in person) for person in people)
        assert slow.left_out[arm] == sum(any(t.rt_ms_client > 120_000 for t in person) for person in people)
        assert (catch.left_out[arm], low.left_out[arm]) == (0, int(WORST * len(people)))
    for outcome in low.outcomes:
        scores = sorted(sum(t.correct for t in person if t.phase == "test") / 3 for person in done[outcome.arm])
        assert outcome.test.mean == pytest.approx(100 * np.mean(scores[1:]))


def test_catch_trials_do_not_count_in_the_score(tmp_path, clock):
    catch = ["circle/test0.png", "square/test1.png"]
    with opened(make_experiment(tmp_path / "shapes", blind=False, catch_trials=catch), clock=clock) as room:
        for _ in range(6):
            walk(room, enter(room))  # who always takes everything for a circle
        page, done = page_of(room), completed(room)
    assert all(sum(t.phase == "catch" for t in person) == 2 for people in done.values() for person in people)
    (missed,) = [exclusion for exclusion in page.results.exclusions if "catch" in exclusion.rule]
    assert sum(missed.left_out.values()) == 6
    for outcome in page.results.outcomes:
        scores = [np.mean([t.correct for t in person if t.phase == "test"]) for person in done[outcome.arm]]
        assert outcome.test.mean == pytest.approx(100 * np.mean(scores))
        points = [p for p in page.results.curves[outcome.arm] if p.phase == "catch"]
        assert sum(p.of for p in points) == 2 * len(scores)


def test_results_are_hidden_until_all_arms_are_full(tmp_path, clock):
    with opened(make_experiment(tmp_path / "shapes", planned_n=2), clock=clock) as room:
        for number in range(4):
            assert page_of(room).results is None, number
            walk(room, enter(room))
        page = page_of(room)
        assert [outcome.test.n for outcome in page.results.outcomes] == [2, 2]
        arm = page.arms[0]
        with room.database.write() as connection:
            connection.execute(update(tables.arm).where(tables.arm.c.name == arm.arm).values(target_n=3))
        assert page_of(room).results is None
        with room.database.write() as connection:
            connection.execute(update(tables.arm).where(tables.arm.c.name == arm.arm).values(active=False))
        assert page_of(room).results is not None  # nobody comes into that arm any more


def test_the_same_answers_twice(tmp_path, clock):
    tests = [f"{label}/test{i}.png" for i, label in enumerate(("circle", "square", "cross"))]
    with opened(make_experiment(tmp_path / "shapes", test_items=tests), clock=clock) as room:
        bearers = [enter(room) for _ in range(6)]
        for number, bearer in enumerate(bearers):
            while not isinstance(page := service.page(room, bearer), End):
                step(room, bearer, 1 if isinstance(page, Question) and number == 5 and page.number == 2 else 0)
            clock.wait(1)
        done = completed(room)
        naive = []
        for people in done.values():
            first = {}
            for person in people:
                told = tuple((t.item_id, t.response) for t in person)
                earlier = first.setdefault(told, person[0].session_id)
                if earlier != person[0].session_id:
                    naive.append((earlier, person[0].session_id))
        assert sorted(page_of(room).repeats) == sorted(naive)
        assert len(naive) == 3  # two in one arm, one in that of the person who answered otherwise


def test_nobody_has_come(tmp_path, clock):
    with opened(make_experiment(tmp_path / "shapes", blind=False), clock=clock) as room:
        page = page_of(room)
    assert [arm[1:] for arm in page.arms] == [(10, 0, 0, 0, 0, 0, 0, 0)] * 2
    assert [outcome.test for outcome in page.results.outcomes] == [(0, None, None, None, None)] * 2
    assert (page.results.contrasts, page.times, page.repeats, page.purge_by) == ((), (), (), None)
    assert page.flags == {"fast": (0, 0), "slow": (0, 0)}


def test_a_reminder_to_purge(room):
    first = room.clock() - timedelta(minutes=61)
    assert page_of(room).purge_by == (first + timedelta(days=60)).date().isoformat()


def test_answers_that_were_stripped_do_not_count(tmp_path, clock):
    with opened(make_experiment(tmp_path / "shapes", blind=False, on_withdraw="strip"), clock=clock) as room:
        bearer = enter(room)
        walk(room, bearer, at_question(3))
        service.withdraw(room, bearer, token=service.page(room, bearer).place.withdraw_token)
        walk(room, enter(room))
        page = page_of(room)
        assert len(rows(room, tables.trial)) == 3 + 7
    assert sum(arm.started for arm in page.arms) == 1
    assert sum(times.n for times in page.times) == 7


def test_a_session_that_was_begun_anew(tmp_path, clock):
    with opened(make_experiment(tmp_path / "shapes", resume="restart"), clock=clock) as room:
        bearer = enter(room)
        walk(room, bearer, at_question(2))
        clock.wait(40 * 60)
        end = service.page(room, bearer)
        service.restart(room, bearer, token=end.restart_token)
        page = page_of(room)
    (arm,) = [arm for arm in page.arms if arm.consented]
    assert (arm.consented, arm.timed_out, arm.active) == (2, 1, 1)
    assert page.dropouts[arm.arm] == {2: 1}


def test_ten_thousand_answers_are_counted_as_they_are(tmp_path, clock):
    """More answers than a text of the database should hold by chance: 250 people of 40 items."""
    with opened(make_experiment(tmp_path / "shapes", blind=False), clock=clock) as room:
        arrive(room)
        (person,) = [dict(row._mapping) for row in rows(room, tables.participant)]
        (session,) = [dict(row._mapping) for row in rows(room, tables.session)]
        items, draws = sorted(room.material.items), np.random.RandomState(0)
        people, sessions, trials, right = [], [], [], 0
        for n in range(250):
            ids = {"participant_id": f"{n:032x}", "id": f"{n + 1000:032x}", "bearer_hash": f"{n:064x}"}
            people.append({**person, "id": ids["participant_id"], "external_hmac": f"{n:064x}"})
            sessions.append({**session, **ids, "state": "completed"})
            for position in range(40):
                item, response = items[draws.randint(TRAIN)], int(draws.randint(3))
                correct = response == room.material.items[item].label
                right += correct and position >= 20
                phase = "test" if position >= 20 else "train"
                trials.append({"session_id": ids["id"], "position": position, "phase": phase, "item_id": item,
                               "response": response, "correct": correct, "rt_ms_client": None})  # fmt: skip
        with room.database.write() as connection:
            for table, new in ((tables.participant, people), (tables.session, sessions), (tables.trial, trials)):
                connection.execute(insert(table), new)
        page = page_of(room)
    (outcome,) = [outcome for outcome in page.results.outcomes if outcome.test.n]
    assert (outcome.test.n, outcome.test.mean) == (250, pytest.approx(100 * right / (250 * 20)))
    (curve,) = [curve for curve in page.results.curves.values() if curve]
    assert sum(point.of for point in curve) == 10_000
    assert page.times == ()


def test_both_kinds_of_database_count_alike(room, tmp_path, database):
    study = Study.of(room)
    other = Database(database_url(database(), tmp_path))
    with other.write() as connection:
        for table in tables.metadata.sorted_tables:
            if table is not tables.schema_version and (found := rows(room, table)):
                connection.execute(insert(table), [dict(row._mapping) for row in found])
    page = dashboard(dataclasses.replace(study, database=other), now=room.clock())
    assert dataclasses.replace(page, study=study) == page_of(room)
    other.dispose()
