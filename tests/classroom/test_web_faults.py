"""What browsers, networks and disks do wrong: bodies cut off, headers that are none, letters that nobody types."""

import asyncio
import os

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from starlette.testclient import TestClient

from tutelage.classroom import tables
from tutelage.classroom.web.app import app_of

from .experiments import dump, make_experiment, opened, rows
from .web import AT, Browser


@pytest.fixture
def room(tmp_path):
    with opened(make_experiment(tmp_path)) as room:
        yield room


@pytest.fixture
def person(room):
    person = Browser(room)
    person.enter()
    return person.question(1)


def test_a_body_that_is_cut_off_is_no_answer(room, person):
    """Cut after its first digit, the answer 12 would be another one."""
    form = person.form("answer")
    body = "&".join(f"{name}={value}" for name, value in {**form.fields, "response": "0"}.items()).encode()
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in person.client.cookies.jar)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/answer",
        "raw_path": b"/answer",
        "root_path": "",
        "scheme": "https",
        "query_string": b"",
        "http_version": "1.1",
        "server": ("testserver", 443),
        "client": ("127.0.0.1", 1),
        "headers": [
            (b"host", b"testserver"),
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"content-length", str(len(body) + 1).encode()),
            (b"cookie", cookies.encode()),
        ],
    }
    before, sent = dump(room), []
    coming = [{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(app_of(room)(scope, receive, send))
    assert dump(room) == before
    assert not sent, "nobody listens"


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "null", "é"])
def test_an_origin_that_is_none_is_another_site(room, person, origin):
    before = dump(room)
    client = TestClient(person.client.app, base_url=AT, raise_server_exceptions=False)
    assert client.post("/answer", headers={"origin": origin.encode()}).status_code == 403
    assert dump(room) == before


@pytest.mark.parametrize("host", ["[", "[::1", "a]", "", "localhost:x", "\xe9"])
@pytest.mark.parametrize("path", ["/", "/s/"])
def test_a_host_that_is_none_does_no_harm(room, host, path):
    client = TestClient(app_of(room), base_url=AT, raise_server_exceptions=False, follow_redirects=False)
    answer = client.get(path, headers={"host": host.encode("latin-1")})
    assert answer.status_code < 500
    assert all("Secure" in told for told in answer.headers.get_list("set-cookie"))


@pytest.mark.parametrize("name", ["language", "age_band"])
@pytest.mark.parametrize("value", ["\0", "a\nb"])
def test_letters_that_nobody_types_are_not_taken_with_consent(build, name, value):
    room = build()
    person = Browser(room)
    person.get("/")
    person.get("/consent")
    before = dump(room)
    assert person.send("consent", accepted="yes", **{name: value}).status_code == 422
    assert dump(room) == before


def test_letters_that_nobody_types_are_left_out_of_a_comment(build):
    """PostgreSQL has no place for the first of them."""
    room = build()
    person = Browser(room)
    person.enter()
    person.until(lambda self: "textarea" in self.html)
    assert person.send("next", comment="two\0 lines\r\nof \x1btext\t✓").status_code == 303
    assert rows(room, tables.session)[0].comment == "two lines\nof text\t✓"


@pytest.mark.parametrize("token", ["%00", "a%00", "%FF", "0" * 32, "0" * 5000])
def test_an_image_by_a_token_that_is_none(build, token):
    person = Browser(build())
    person.enter()
    assert person.client.get(f"/i/{token}").status_code == 404


@pytest.mark.parametrize("code", ["\0", "ß" * 16, "0" * 60_000])
def test_a_code_that_is_none(build, code):
    person = Browser(build())
    assert person.post("/withdraw-by-code", {"code": code}).status_code == 422


def test_images_are_shown_though_they_cannot_be_kept(room, person):
    """Such as on a full disk: they are encoded anew each time."""
    for kept in room.images.cache.iterdir():
        kept.unlink()
    room.images.cache.rmdir()
    room.images.cache.write_bytes(b"")  # where the folder should be
    assert person.get("/s").status_code == 200
    assert person.asks
    picture = person.html.split('src="/i/')[1].split('"')[0]
    assert person.client.get(f"/i/{picture}").status_code == 200
    person.finish()
    assert len(rows(room, tables.trial)) == room.config.length


@pytest.mark.skipif(os.name != "posix", reason="needs the rights of POSIX")
def test_nobody_else_can_read_the_answers(room, person, tmp_path):
    room.database.backup(tmp_path / "copy.sqlite")
    found = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.glob("*.sqlite*")}
    assert found.keys() >= {"classroom.sqlite", "classroom.sqlite-wal", "copy.sqlite"}
    assert set(found.values()) == {0o600}


def test_an_error_of_the_database_tells_no_values(build):
    """They would stand in the log of the server."""
    room = build()
    values = {"participant_id": "0" * 32, "raw_id": "secretperson"}
    with pytest.raises(IntegrityError) as error, room.database.write() as connection:
        connection.execute(insert(tables.external_id).values(values))
    assert "secretperson" not in str(error.value).split("DETAIL")[0]
