"""What is refused over HTTP, with which reply, and that no byte of the database changes by it."""

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

from starlette.testclient import TestClient

from tutelage.classroom import service, tables
from tutelage.classroom.database import Unavailable
from tutelage.classroom.web.app import app_of

from .experiments import Clock, at_once, dump, events, make_experiment, opened, rows
from .web import AT, Browser


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def room(tmp_path, clock):
    with opened(make_experiment(tmp_path, resume="block"), clock=clock) as room:
        yield room


@pytest.fixture
def person(room):
    """A browser at the second question."""
    person = Browser(room)
    person.enter()
    return person.question(2)


@pytest.fixture
def fields(person):
    """Of the form of the second question, answered."""
    form = person.form("answer")
    return {**form.fields, "response": form.choices[0]}


def refused(person, path, fields, status, **headers):
    before = dump(person.room)
    answer = person.post(path, fields, **headers)
    assert answer.status_code == status
    assert dump(person.room) == before
    return answer


def test_the_same_answer_again_is_accepted_and_written_once(person, fields):
    first, again = person.post("/answer", fields), person.post("/answer", fields)
    for answer in (first, again):
        assert (answer.status_code, answer.headers["location"], answer.content) == (303, "/s", b"")
    assert len(rows(person.room, tables.trial)) == 2
    person.get("/s")
    person.finish()
    refused(person, "/answer", fields, 303)


def test_another_answer_to_the_same_item_is_a_conflict(person, fields):
    other = {**fields, "response": str((int(fields["response"]) + 1) % 3)}
    person.post("/answer", fields)
    refused(person, "/answer", other, 409)
    assert "Your first answer stands." in person.html
    assert 'href="/s"' in person.html
    person.get("/s")
    person.finish()
    refused(person, "/answer", other, 409)


@pytest.mark.parametrize("position", ["2", "99", "-1", "", "1.0", "one", "1e0", "٢", "9" * 40, "1; DROP TABLE trial"])
def test_a_position_that_is_not_reached_or_none(person, fields, position):
    refused(person, "/answer", {**fields, "position": position}, 409)


@pytest.mark.parametrize("response", ["3", "-1", "", "0.0", "circle", "٠", "9" * 40])
def test_an_answer_out_of_range(person, fields, response):
    refused(person, "/answer", {**fields, "response": response}, 422)


def test_no_answer_at_all(person, fields):
    del fields["response"]
    refused(person, "/answer", fields, 422)


@pytest.mark.parametrize("token", ["", "0" * 32, "x", "é"])
def test_a_wrong_token(person, fields, token):
    refused(person, "/answer", {**fields, "token": token}, 403)
    refused(person, "/withdraw", {"token": token}, 403)
    refused(person, "/next", {**fields, "token": token}, 403)


def test_the_token_of_another_person_or_another_position(person, fields):
    other = Browser(person.room)
    other.enter()
    other.question(1)
    earlier = other.form("answer").fields["token"]
    other.question(2)
    for token in (earlier, other.form("answer").fields["token"]):
        refused(person, "/answer", {**fields, "token": token}, 403)


@pytest.mark.parametrize(
    ("stage", "status"),
    [("question", 409), ("over", 409), ("debrief", 409), ("page-0", 403), ("", 409), ("nonsense", 409)],
)
def test_a_stage_cannot_be_jumped(person, fields, stage, status):
    refused(person, "/next", {**fields, "stage": stage}, status)


def test_next_before_the_time_is_accepted_and_flagged(person, fields):
    person.post("/answer", fields)
    person.get("/s")
    assert person.send("next").status_code == 303
    assert events(person.room, "early_next")[-1] == {"position": 1, "feedback_ms": 0}


def test_a_double_click_on_next_goes_one_step(person, fields):
    person.post("/answer", fields)
    person.get("/s")
    form = person.form("next")
    person.post("/next", form.fields)
    shown = person.get("/s").text
    refused(person, "/next", form.fields, 303)
    assert person.get("/s").text == shown


def test_two_tabs_and_the_back_button(person, fields):
    other = {**fields, "response": str((int(fields["response"]) + 1) % 3)}
    statuses = at_once(2, lambda i: person.client.post("/answer", data=(fields, other)[i]).status_code)
    assert sorted(statuses) == [303, 409]
    assert len(rows(person.room, tables.trial)) == 2
    person.get("/s")
    person.question(3)
    assert person.post("/answer", fields).status_code in (303, 409)
    assert len(rows(person.room, tables.trial)) == 2


@pytest.mark.parametrize("path", ["/answer", "/next", "/withdraw", "/restart", "/consent"])
def test_an_unknown_session_goes_to_the_start_page(room, path):
    before = dump(room)
    for cookie in ("", "0" * 32, "nonsense", "é"):
        client = TestClient(app_of(room), base_url=AT, follow_redirects=False)
        headers = {"cookie": f"session_{room.experiment_id[:8]}={cookie}".encode()}
        answer = client.post(path, data={"position": "0", "token": "x", "response": "0"}, headers=headers)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert client.get("/s", headers=headers).headers["location"] == "/"
    assert dump(room) == before


def test_a_late_answer_goes_to_the_start_page(person, fields, clock):
    clock.wait(31 * 60)
    assert refused(person, "/answer", fields, 303).headers["location"] == "/"


def test_an_answer_after_withdrawal_goes_to_the_start_page(person, fields):
    person.send("withdraw")
    assert refused(person, "/answer", fields, 303).headers["location"] == "/"


def test_withdrawing_twice_is_accepted(person):
    form = person.form("withdraw")
    person.post("/withdraw", form.fields)
    refused(person, "/withdraw", form.fields, 303)


@pytest.mark.parametrize("path", ["/nowhere", "/i/", "/i/x", "/i/" + "0" * 32, "/static/nothing.css", "/s/1", "/docs"])
def test_an_unknown_link(person, path):
    assert person.client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/answer", "/next", "/withdraw", "/decline"])
def test_asking_for_what_is_only_sent(person, path):
    assert person.client.get(path).status_code == 405


def test_a_body_over_64_kb(person, fields):
    large = {**fields, "comment": "x" * (64 * 1024)}
    refused(person, "/answer", large, 413)
    before = dump(person.room)
    answer = person.client.post("/answer", content=iter([b"x" * 40_000] * 2))
    assert answer.status_code == 413
    assert dump(person.room) == before
    assert person.post("/answer", {**fields, "comment": "x" * 60_000}).status_code == 303


@pytest.mark.parametrize("length", ["-1", "x", "9" * 30])
def test_a_length_that_is_none(person, length):
    answer = person.client.post("/answer", content=b"", headers={"content-length": length})
    assert answer.status_code == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "multipart/form-data; boundary=x", ""])
def test_another_kind_of_body(person, kind):
    before = dump(person.room)
    content = b'{"position": 1, "response": 0}'
    answer = person.client.post("/answer", content=content, headers={"content-type": kind})
    assert answer.status_code == 415
    assert dump(person.room) == before


@pytest.mark.parametrize("content", [b"\xff\xfe", b"&".join(b"a=1" for _ in range(40)), b"response=%ff"])
def test_a_form_that_is_none(person, content):
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert person.client.post("/answer", content=content, headers=kind).status_code == 422


def test_consent_without_the_tick_or_of_another_text(room):
    person = Browser(room)
    person.get("/")
    person.get("/consent")
    form = person.form("consent")
    refused(person, "/consent", form.fields, 422)
    refused(person, "/consent", {**form.fields, "accepted": "yes", "consent_version": "0"}, 422)
    refused(person, "/consent", {**form.fields, "accepted": "yes", "token": "0" * 32}, 403)
    refused(person, "/consent", {**form.fields, "accepted": "yes", "language": "x" * 300}, 422)
    assert "accepted" not in form.fields, "nothing is ticked before"


def test_consent_without_cookies(room):
    client = TestClient(app_of(room), base_url=AT, follow_redirects=False)
    answer = client.get("/consent")
    assert answer.status_code == 400
    assert "needs cookies" in answer.text


def test_an_image_that_is_missing_keeps_the_position(person, fields):
    """The page says so, nothing is accepted, and when the image is back it goes on."""
    room = person.room
    (plan,) = rows(room, tables.plan, tables.plan.c.position == 1)
    file = room.material.items[plan.item_id].file
    content = file.read_bytes()
    file.unlink()
    for kept in room.images.cache.iterdir():
        kept.unlink()
    answer = person.get("/s")
    assert answer.status_code == 503
    assert "Nothing that you answered is lost." in person.html
    assert not person.asks
    trials = dump(room)["trial"]
    assert person.post("/answer", fields).status_code == 503
    assert dump(room)["trial"] == trials
    assert events(room, "missing_image") == [{"position": 1}]
    file.write_bytes(content)
    assert person.get("/s").status_code == 200
    assert person.post("/answer", fields).status_code == 303


def test_a_database_that_fails_gives_a_page_to_try_again(person, fields, monkeypatch):
    def full(*args, **kwargs):
        raise Unavailable("the disk is full")

    monkeypatch.setattr(service, "answer", full)
    answer = refused(person, "/answer", fields, 503)
    assert answer.headers["retry-after"] == "10"
    assert 'href="/s"' in answer.text


def test_a_defect_gives_a_page_with_all_headers(room, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(service, "page", broken)
    client = TestClient(app_of(room), base_url=AT, raise_server_exceptions=False)
    answer = client.get("/s")
    assert answer.status_code == 500
    assert "on our side" in answer.text
    assert "ZeroDivision" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")


def test_too_many_people_from_one_address(room):
    person = Browser(room)
    person.get("/")
    person.get("/consent")
    form = person.form("consent")
    statuses = [person.post("/consent", {**form.fields, "token": "0" * 32}).status_code for _ in range(201)]
    assert statuses == [403] * 200 + [429]
    assert not rows(room, tables.participant)


def test_codes_cannot_be_guessed_at_speed(room):
    person = Browser(room)
    statuses = [person.post("/withdraw-by-code", {"code": f"{i:016}"}).status_code for i in range(30)]
    assert statuses == [422] * 10 + [429] * 20
