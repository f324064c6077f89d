"""Who comes in: the start page, consent, links and platforms."""

import pytest

from tutelage.classroom import service, tables
from tutelage.classroom.replies import Entered, Refused, Welcome
from tutelage.classroom.service import Arrival
from tutelage.classroom.tokens import random_id

from .experiments import arrive, at_once, dump, enter, rows, walk


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
