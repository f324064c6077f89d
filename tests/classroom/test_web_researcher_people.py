"""The researcher's pages of people and their codes."""

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

from tutelage.classroom import service, tables
from tutelage.classroom.people import PAGE, codes, list_people, withdraw_person
from tutelage.classroom.replies import Debrief

from .experiments import at_question, dump, enter, go_on, rows, walk
from .researchers import EVIL, logged_in, table, text_of, token


@pytest.fixture
def room(build):
    return build(planned_n=1)


@pytest.fixture
def researcher(room):
    return logged_in(room)


def test_people_are_listed_found_and_looked_at(room, researcher):
    walk(room, bearer := enter(room), until=at_question(3))
    (session,) = rows(room, tables.session)
    researcher.get(f"/admin/people?find={session.participant_id[:6]}")
    assert "1 session," in text_of(researcher)
    assert session.participant_id[:8] in researcher.html
    assert "0 sessions," in text_of(researcher, "/admin/people?find=zzz")
    assert "0 sessions," in text_of(researcher, "/admin/people?find=%25")
    assert "0 sessions," in text_of(researcher, "/admin/people?people=simulated")
    path = f"/admin/people/{session.participant_id}"
    for shown, said in (("4", "teaching, item 4"), ("end", "completed Began")):  # as its page and the charts count
        researcher.get("/admin/people")
        assert [row[3] for row in table(researcher, "Sessions")] == ["Item", shown]
        assert said in text_of(researcher, path)
        walk(room, bearer)
    assert researcher.get("/admin/people/nobody").status_code == 404


def test_the_list_has_pages(room, clock):
    for _ in range(PAGE + 3):
        enter(room)
    first, last = list_people(room), list_people(room, page=99)
    assert (first.page, first.pages, len(first.sessions), first.count) == (1, 2, PAGE, PAGE + 3)
    assert (last.page, len(last.sessions)) == (2, 3)
    assert {s.id for s in first.sessions}.isdisjoint(s.id for s in last.sessions)


def test_somebody_idle_is_shown_as_abandoned(room):
    enter(room)
    room.clock.wait(3601)
    assert [session.state for session in list_people(room).sessions] == ["abandoned"]


def test_a_person_is_withdrawn_once(room, researcher):
    walk(room, enter(room))
    (person,) = rows(room, tables.participant)
    researcher.get(f"/admin/people/{person.id}")
    researcher.go("withdraw")
    assert "Withdrawn." in text_of(researcher)
    assert rows(room, tables.trial) == []
    researcher.get(f"/admin/people/{person.id}")
    researcher.go("withdraw")
    assert "that was done before" in researcher.html
    assert not withdraw_person(room, "nobody")


def test_a_person_is_removed_only_when_one_is_sure(room, researcher):
    walk(room, enter(room))
    (person,) = rows(room, tables.participant)
    path = f"/admin/people/{person.id}"
    researcher.get(path)
    assert researcher.post(f"{path}/purge", {"token": token(researcher)}).status_code == 422
    assert rows(room, tables.participant)
    researcher.get(path)
    researcher.go("purge", sure="yes")
    assert f"Removed: {person.id}." in researcher.html
    assert person.id not in str(dump(room))


def test_codes_are_redeemed_once(room, researcher):
    code = walk(room, enter(room))[-1].code
    researcher.get("/admin/codes")
    researcher.go("codes", codes=f"{code}\n{'A' * 16} {code}")
    assert f"{code} redeemed: it may be paid." in researcher.html
    assert f"{'A' * 16} is no code of this experiment." in researcher.html
    assert "it may be paid" not in researcher.get("/admin/codes").text  # said once
    researcher.go("codes", codes=code)
    assert "was redeemed before" in researcher.html
    assert [told.code for told in codes(room)] == [code]


def test_people_are_found_by_the_state_that_they_are_shown_in(build, clock):
    room = build(resume="restart")
    bearer = enter(room)
    walk(room, bearer, at_question(1))
    clock.wait(31 * 60)
    service.restart(room, bearer, token=service.page(room, bearer).restart_token)
    clock.wait(61 * 60)
    walk(room, enter(room), at_question(2))
    researcher = logged_in(room)
    for state in ("timed out", "timed_out", "abandoned", "teaching"):
        assert "1 session," in text_of(researcher, f"/admin/people?find={state}"), state
    assert "0 sessions," in text_of(researcher, "/admin/people?find=tutorial")  # it is abandoned


@pytest.mark.parametrize(("find", "status"), [("%00", 200), ("a%00", 200), ("%ED%A0%80", 200), ("x" * 60_000, 422)])
def test_what_cannot_be_looked_for_finds_nobody(room, researcher, find, status):
    enter(room)
    response = researcher.get(f"/admin/people?find={find}")
    assert response.status_code == status
    assert status != 200 or "0 sessions," in text_of(researcher)


@pytest.mark.parametrize("participant", ["nobody", "%00", "0" * 32, "x" * 9000, "%0d%0aX:%20y"])
def test_there_is_no_such_person(room, researcher, participant):
    before, path = dump(room), f"/admin/people/{participant}"
    assert researcher.get(path).status_code == 404
    researcher.get("/admin")
    sent = {"token": token(researcher), "sure": "yes"}
    assert researcher.post(f"{path}/withdraw", sent).status_code == 404
    assert researcher.post(f"{path}/purge", sent).headers["location"] == "/admin/people"
    assert "There is no such person." in text_of(researcher, "/admin/people")
    assert dump(room) == before


def test_a_comment_with_html_stays_text(room, researcher):
    bearer = enter(room)
    walk(room, bearer, lambda page: isinstance(page, Debrief))
    go_on(room, bearer, comment=f"{EVIL} <!-- & \0")
    (person,) = rows(room, tables.participant)
    html = researcher.get(f"/admin/people/{person.id}").text
    assert EVIL not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &lt;!-- &amp;" in html
