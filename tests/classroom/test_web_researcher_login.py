"""Who comes to the researcher's pages, and who does not."""

import os
import re
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

import httpx
from fastapi import Response
from starlette.testclient import TestClient

from tutelage.classroom import admission
from tutelage.classroom.web.app import app_of
from tutelage.classroom.web.logins import Logins
from tutelage.classroom.web.serving import served
from tutelage.errors import ConfigError

from .experiments import dump, events, make_experiment, opened
from .researchers import PASSWORD, logged_in, token
from .web import AT, Browser

PAGES = (
    "/admin", "/admin/figures", "/admin/people", "/admin/codes", "/admin/export", "/admin/preview/0/0",
    "/admin/export/trials.csv", "/admin/export/all.zip",
)  # fmt: skip
POSTS = ("/admin/logout", "/admin/status", "/admin/codes", "/admin/people/0/withdraw", "/admin/people/0/purge")
OPEN_POSTS = ("/admin/login", "/admin/enter", "/admin/preview/0/answer", "/admin/preview/0/next")
"""Without a token: whoever sends them has a secret, or changes nothing."""


@pytest.fixture
def room(tmp_path):
    with opened(make_experiment(tmp_path, planned_n=1, name="with a hypothesis")) as found:
        yield found


@pytest.fixture
def with_password(room):
    """The experiment, with a password: its hash takes its time."""
    admission.set_password(room.folder, PASSWORD)
    return room


@pytest.fixture
def researcher(room):
    return logged_in(room)


@pytest.mark.parametrize("path", PAGES)
def test_without_a_login_there_is_nothing_to_see(room, path):
    response = Browser(room).client.get(path)
    assert (response.status_code, response.headers["location"]) == (303, "/admin/login")
    assert "Overview" not in response.text


@pytest.mark.parametrize("path", POSTS)
def test_without_a_login_there_is_nothing_to_do(room, path):
    before = dump(room)
    response = Browser(room).post(path, {"token": "0" * 32, "status": "closed", "sure": "yes"})
    assert (response.status_code, response.headers["location"]) == (303, "/admin/login")
    assert dump(room) == before


@pytest.mark.parametrize("path", POSTS)
def test_a_form_that_is_not_ours_does_nothing(room, researcher, path):
    before = dump(room)
    for fields in ({"status": "closed"}, {"status": "closed", "token": "0" * 32, "sure": "yes"}):
        assert researcher.post(path, fields).status_code == 403
    sent = {"status": "closed", "token": room.key.form("somebody", 0, "researcher")}
    assert researcher.post(path, sent).status_code == 403
    assert dump(room) == before


def test_another_site_cannot_post(room, researcher):
    before = dump(room)
    sent = {"token": token(researcher), "status": "closed"}
    response = researcher.post("/admin/status", sent, **{"Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 403
    assert dump(room) == before


def test_a_wrong_password_is_refused_and_the_sixth_try_within_a_minute_is_not_looked_at(with_password):
    browser = Browser(with_password)
    for _ in range(5):
        assert browser.post("/admin/login", {"password": "hornbeam or beech"}).status_code == 401
    response = browser.post("/admin/login", {"password": PASSWORD})
    assert response.status_code == 429
    assert "set-cookie" not in response.headers
    assert browser.get("/admin").request.url.path == "/admin/login"


def test_the_password_lets_in(with_password):
    browser = Browser(with_password)
    browser.get("/admin/login")
    assert browser.go("login", password=PASSWORD).request.url.path == "/admin"
    assert events(with_password, "admin")[-1] == {"login": "password"}


def test_without_a_password_nothing_opens(tmp_path):
    with opened(make_experiment(tmp_path)) as room:
        browser = Browser(room)
        assert "No password is set" in browser.get("/admin/login").text
        for given in ("", "admin", "password", "None"):
            assert browser.post("/admin/login", {"password": given}).status_code == 401


@pytest.mark.parametrize("stored", ["changeme", "", "scrypt$32768$8$1$AAAA$BBBB"])
def test_a_placeholder_in_place_of_the_hash_is_not_served(tmp_path, stored):
    folder = make_experiment(tmp_path)
    path = folder / "private" / "password"
    path.write_text(stored)
    path.chmod(0o600)
    with opened(folder) as room, pytest.raises(ConfigError, match="holds no hash of a password"):
        app_of(room)


def test_a_hash_that_others_may_read_is_not_served(with_password):
    path = with_password.folder / "private" / "password"
    path.chmod(0o644)
    with pytest.raises(ConfigError, match=r"others may read it \(mode 644\)"):
        app_of(with_password)


def test_a_link_lets_in_once(room):
    secret = admission.make_link(room.folder)
    browser = Browser(room)
    for _ in range(2):
        assert browser.get(f"/admin/enter/{secret}").status_code == 200  # to look at it does not use it
    assert browser.go("enter").request.url.path == "/admin"
    assert events(room, "admin")[-1] == {"login": "link"}
    other = Browser(room)
    other.get(f"/admin/enter/{secret}")
    assert other.send("enter").status_code == 401


def test_an_old_link_lets_nobody_in(room):
    secret = admission.make_link(room.folder)
    (file,) = (room.folder / admission.LINKS).iterdir()
    assert secret not in file.name
    old = time.time() - 60 * admission.LINK_MINUTES - 1
    os.utime(file, (old, old))
    assert not admission.use_link(room.folder, secret)
    assert not admission.use_link(room.folder, "../key")


def test_the_cookie_holds_a_random_id_and_goes_to_these_pages_only(with_password):
    browser = Browser(with_password)
    told = browser.post("/admin/login", {"password": PASSWORD}).headers["set-cookie"]
    assert re.fullmatch(
        r"researcher_[0-9a-f]{8}=[0-9a-f]{32}; HttpOnly; Max-Age=43200; Path=/admin; SameSite=Strict; Secure", told
    )


def test_a_login_ends(room, researcher):
    researcher.post("/admin/logout", {"token": token(researcher)})
    assert researcher.get("/admin").request.url.path == "/admin/login"


def test_a_login_ends_after_twelve_hours(room):
    now = [0.0]
    logins = Logins(room.key, room.experiment_id, lambda: None, lambda: now[0])

    request = SimpleNamespace(url=SimpleNamespace(hostname="localhost"), cookies={})
    response = Response()
    logins.begin(request, response)
    name, value = response.headers["set-cookie"].split(";")[0].split("=")
    request.cookies[name] = value
    now[0] = 12 * 3600 - 1
    assert logins.of(request) is not None
    now[0] = 12 * 3600
    assert logins.of(request) is None


@pytest.mark.parametrize("path", [*POSTS, *OPEN_POSTS])
def test_what_another_site_posts_is_refused(room, researcher, path):
    before = dump(room)
    sent = {"token": token(researcher), "status": "closed", "position": "0", "response": "0"}
    for told in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}):
        assert researcher.post(path, sent, **told).status_code == 403
    assert dump(room) == before


@pytest.mark.parametrize("path", [*POSTS, *OPEN_POSTS])
@pytest.mark.parametrize("kind", ["text/plain", "application/json", "multipart/form-data; boundary=x", ""])
def test_what_is_no_form_is_refused(room, researcher, path, kind):
    before = dump(room)
    sent = f'{{"token": "{token(researcher)}", "status": "closed"}}'
    assert researcher.client.post(path, content=sent, headers={"Content-Type": kind}).status_code == 415
    assert dump(room) == before


def test_thirty_tries_a_minute_are_all_that_many_addresses_have(room):
    app = app_of(room)
    clients = [TestClient(app, base_url=AT, client=(f"10.0.0.{n}", 1)) for n in range(7)]
    found = [client.post("/admin/login", data={"password": "x"}).status_code for client in clients for _ in range(5)]
    assert found == [401] * 30 + [429] * 5
    link = {"secret": admission.make_link(room.folder)}
    other = TestClient(app, base_url=AT, client=("10.0.1.1", 1), follow_redirects=False)
    assert other.post("/admin/enter", data=link).headers["location"] == "/admin"  # they keep no researcher out


def test_addresses_that_a_header_makes_up_have_thirty_tries_together(room):
    with served(room) as address, httpx.Client(base_url=address, trust_env=False) as client:
        told = ({"X-Forwarded-For": f"10.0.0.{n}"} for n in range(31))
        found = [client.post("/admin/login", data={"password": "x"}, headers=each).status_code for each in told]
    assert found == [401] * 30 + [429]


def test_a_cookie_that_was_there_before_opens_nothing(room, researcher):
    (name,) = researcher.client.cookies
    old = researcher.client.cookies[name]
    other = Browser(room)
    other.client.cookies.set(name, "0" * 32, domain="testserver.local", path="/admin")
    assert other.get("/admin").request.url.path == "/admin/login"
    researcher.get(f"/admin/enter/{admission.make_link(room.folder)}")
    researcher.go("enter")
    new = researcher.client.cookies[name]
    assert new != old
    for value, path in ((old, "/admin/login"), (new, "/admin")):
        researcher.client.cookies.clear()
        researcher.client.cookies.set(name, value)
        assert researcher.get("/admin").request.url.path == path


def test_another_password_ends_all_logins(with_password):
    browser = Browser(with_password)
    browser.get("/admin/login")
    browser.go("login", password=PASSWORD)
    assert browser.get("/admin").request.url.path == "/admin"
    admission.set_password(with_password.folder, PASSWORD[::-1])
    assert browser.get("/admin").request.url.path == "/admin/login"


def test_a_password_that_cannot_be_used_while_it_is_served_lets_nobody_in(with_password):
    browser = Browser(with_password)
    (with_password.folder / "private" / "password").chmod(0o644)
    assert "its file cannot be used" in browser.get("/admin/login").text
    assert browser.post("/admin/login", {"password": PASSWORD}).status_code == 401


def test_before_a_login_nothing_is_told_that_participants_do_not_read(with_password):
    browser = Browser(with_password)
    for path in ("/admin/login", f"/admin/enter/{admission.make_link(with_password.folder)}", "/admin/nothing"):
        html = browser.get(path).text
        assert with_password.config.name not in html
        assert with_password.config.title in html
