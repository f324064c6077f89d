"""The researcher's pages: who comes in, what they show and hide, and what they do."""

import csv
import io
import json
import os
import re
import time
import zipfile
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

from fastapi import Response

from tutelage.classroom import admission, service, tables
from tutelage.classroom.dashboard import CurvePoint, Outcome
from tutelage.classroom.figures import Interval, mean_of
from tutelage.classroom.people import PAGE, codes, list_people, withdraw_person
from tutelage.classroom.web.app import app_of
from tutelage.classroom.web.charts import curve_chart, dropout_chart, means_chart
from tutelage.classroom.web.logins import Logins
from tutelage.classroom.web.pages import STATIC
from tutelage.errors import ConfigError

from .experiments import at_feedback, at_question, dump, enter, events, make_experiment, opened, rows, walk
from .test_web_accessibility import contrast, read
from .web import Browser

PASSWORD = "hornbeam or beech?"
PAGES = (
    "/admin", "/admin/figures", "/admin/people", "/admin/codes", "/admin/export", "/admin/preview/0/0",
    "/admin/export/trials.csv", "/admin/export/all.zip",
)  # fmt: skip
POSTS = ("/admin/logout", "/admin/status", "/admin/codes", "/admin/people/0/withdraw", "/admin/people/0/purge")
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def make(tmp_path):
    rooms = []

    def made(**changes):
        folder = make_experiment(tmp_path / f"e{len(rooms)}", **changes)
        rooms.append(opened(folder))
        return rooms[-1]

    yield made
    for room in rooms:
        room.close()


@pytest.fixture
def room(make):
    return make(planned_n=1)


@pytest.fixture
def with_password(room):
    """The experiment, with a password: its hash takes its time."""
    admission.set_password(room.folder, PASSWORD)
    return room


@pytest.fixture
def researcher(room):
    return logged_in(room)


def logged_in(room):
    browser = Browser(room)
    browser.get(f"/admin/enter/{admission.make_link(room.folder)}")
    browser.go("enter")
    assert browser.heading == "Overview"
    return browser


def token(browser):
    return browser.form("logout").fields["token"]


def text(browser):
    return " ".join(re.sub(r"<.*?>", " ", browser.html).split())


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
    logins = Logins(room.key, room.experiment_id, lambda: now[0])

    request = SimpleNamespace(url=SimpleNamespace(hostname="localhost"), cookies={})
    response = Response()
    logins.begin(request, response)
    name, value = response.headers["set-cookie"].split(";")[0].split("=")
    request.cookies[name] = value
    now[0] = 12 * 3600 - 1
    assert logins.of(request) is not None
    now[0] = 12 * 3600
    assert logins.of(request) is None


def test_the_overview_counts_people_and_hides_results_until_all_arms_are_full(room, researcher):
    walk(room, enter(room))
    walk(room, second := enter(room), until=at_feedback(2))
    researcher.get("/admin")
    assert "1 of 1" in text(researcher)
    assert "Hidden for now. Results are hidden until every arm has its planned number" in text(researcher)
    assert "Learning curves" not in researcher.html
    walk(room, second)
    researcher.get("/admin")
    assert "Hidden for now" not in researcher.html
    assert researcher.html.count('<svg class="chart"') >= 3
    assert "Confusion in the test" in researcher.html


def test_what_is_hidden_is_in_no_byte(make):
    room = make(planned_n=5)
    walk(room, enter(room))
    researcher = logged_in(room)
    right = sum(row.correct for row in rows(room, tables.trial) if row.phase == "test")
    for path in ("/admin", "/admin/figures"):
        researcher.get(path)
        assert f"{100 * right / 3:.1f}" not in researcher.html
        assert "<svg" not in researcher.html


def test_figures_alone_are_what_the_overview_has(room, researcher):
    walk(room, enter(room))
    whole, part = researcher.get("/admin").text, researcher.get("/admin/figures?people=real").text
    assert part.strip() in whole
    assert "no evidence about teaching people" in researcher.get("/admin?people=simulated").text


def test_people_are_listed_found_and_looked_at(room, researcher):
    walk(room, enter(room), until=at_question(3))
    (session,) = rows(room, tables.session)
    researcher.get(f"/admin/people?find={session.participant_id[:6]}")
    assert "1 session," in text(researcher)
    assert session.participant_id[:8] in researcher.html
    assert "0 sessions," in text_of(researcher, "/admin/people?find=zzz")
    assert "0 sessions," in text_of(researcher, "/admin/people?find=%25")
    assert "0 sessions," in text_of(researcher, "/admin/people?people=simulated")
    told = text_of(researcher, f"/admin/people/{session.participant_id}")
    assert "teaching, item 3" in told
    assert researcher.get("/admin/people/nobody").status_code == 404


def text_of(browser, path):
    browser.get(path)
    return text(browser)


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
    assert "Withdrawn." in text(researcher)
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


def test_the_experiment_is_closed_and_opened(room, researcher):
    researcher.get("/admin")
    researcher.go("status", status="closed")
    assert service.status(room) == "closed"
    researcher.go("status", status="open")
    assert service.status(room) == "open"
    assert "Opened: people can come in." in researcher.html
    assert researcher.send("status", status="draft").status_code == 422


def test_an_experiment_with_an_error_is_not_opened(room, researcher):
    researcher.get("/admin")
    researcher.go("status", status="closed")
    next((room.folder / "images").rglob("train0.png")).unlink()
    researcher.go("status", status="open")
    assert "Not opened:" in researcher.html
    assert service.status(room) == "closed"


def test_exports_are_downloaded(room, researcher):
    walk(room, enter(room))
    response = researcher.get("/admin/export/trials.csv")
    assert response.headers["content-disposition"] == 'attachment; filename="trials.csv"'
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert len(list(csv.DictReader(io.StringIO(response.text)))) == 7
    assert json.loads(researcher.get("/admin/export/experiment.json").text)["experiment"] == "shapes"
    with zipfile.ZipFile(io.BytesIO(researcher.get("/admin/export/explain_teach.zip").content)) as archive:
        assert {"results.json", "settings.json"} <= set(archive.namelist())
    with zipfile.ZipFile(io.BytesIO(researcher.get("/admin/export/all.zip").content)) as archive:
        assert {"trials.csv", "codebook.md", "explain_teach/results.json"} <= set(archive.namelist())
    assert len(researcher.get("/admin/export/trials.csv?people=simulated").text.splitlines()) == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/admin/export/experiment.toml", 404), ("/admin/export/..%2fkey", 404),
        ("/admin/export/explain_teach.zip?people=simulated", 404), ("/admin/export/trials.csv?people=all", 422),
        ("/admin/people?page=x", 422), ("/admin?people=all", 422), ("/admin/preview/2/0", 404),
        ("/admin/preview/0/7", 404), ("/admin/preview/0/0?given=9", 404), ("/admin/preview/x/0", 422),
        ("/admin/preview/image/nothing/image", 404), ("/admin/preview/image/nothing/label", 422),
    ],
)  # fmt: skip
def test_addresses_that_are_none(researcher, path, status):
    response = researcher.get(path)
    assert response.status_code == status
    assert "traceback" not in response.text.lower()


def test_a_preview_shows_an_arm_from_the_first_item_to_the_last_and_records_nothing(room, researcher):
    before = dump(room)
    researcher.get("/admin/preview/0/0")
    seen = []
    while researcher.heading != "Overview":
        seen.append(researcher.heading)
        assert "nothing is recorded" in researcher.html
        for image in read(researcher.html).of("img"):
            assert researcher.client.get(image["src"]).headers["content-type"].startswith("image/")
        researcher.step()
    assert len(seen) == 4 * 2 + 3  # items to learn from have feedback
    assert dump(room) == before
    assert service.preview(room, "forth", 0).place.withdraw_token == ""


def test_a_preview_of_a_form_that_is_none(researcher):
    researcher.get("/admin/preview/0/0")
    for fields in ({"position": "0"}, {"position": "x", "response": "0"}, {"position": "0", "response": "9"}):
        assert researcher.post("/admin/preview/0/answer", fields).status_code == 422


def test_names_with_html_stay_text(make):
    room = make(
        planned_n=1, name=EVIL, arms=[{"name": EVIL, "teaching_set": "arms/forth.json"}], title=EVIL
    )  # fmt: skip
    bearer = enter(room)
    walk(room, bearer)
    researcher = logged_in(room)
    (person,) = rows(room, tables.participant)
    for path in (
        "/admin",
        "/admin/people",
        f"/admin/people/{person.id}",
        "/admin/preview/0/0",
        f"/admin/people?find={EVIL}",
    ):
        html = researcher.get(path).text
        assert EVIL not in html
        assert "&lt;script&gt;" in html


def test_every_page_obeys_the_policy_and_is_labelled(room, researcher):
    for _ in range(2):
        walk(room, enter(room))
    (person, _) = rows(room, tables.participant)
    for path in (
        "/admin",
        "/admin/people",
        f"/admin/people/{person.id}",
        "/admin/codes",
        "/admin/export",
        "/admin/preview/0/0",
    ):
        response = researcher.get(path)
        assert response.headers["content-security-policy"].startswith("default-src 'self';")
        assert response.headers["cache-control"] == "no-store"
        outline = read(response.text)
        assert len(outline.of("h1")) == 1
        assert outline.of("html")[0]["lang"]
        for tag, given in outline.tags:
            assert not any(name == "style" or name.startswith("on") for name in given), (tag, given)
            assert tag != "style"
        for script in outline.of("script"):
            assert script["src"].startswith("/static/")
        for field, within in outline.fields:
            assert within or field.get("id") in outline.labels, field
        for svg in outline.of("svg"):
            assert svg["aria-label"]


def test_the_contrast_of_confusion():
    shades = re.findall(r"\.shade-\d+ \{ background: (#[0-9a-f]{6});", (STATIC / "admin.css").read_text())
    assert len(shades) == 10
    assert all(contrast("#1c2733", shade) >= 4.5 for shade in shades)


def test_charts_have_a_mark_for_each_value():
    points = tuple(CurvePoint(i, "train" if i < 2 else "test", 1, 2, Interval(0.1, 0.9)) for i in range(5))
    curve = curve_chart("arm", points, 5, 0.5)
    assert curve.count("<circle") == curve.count("whisker") == 5
    assert curve.count("<polyline") == 2
    assert "Item 5: 1 of 2 right" in curve
    means = means_chart((Outcome("a", mean_of([]), mean_of([50.0, 70.0])), Outcome("b", mean_of([]), mean_of([]))), 0.5)
    assert means.count("<circle") == 1
    assert "60.0 %, from" in means
    assert "nobody yet" in means
    assert dropout_chart("arm", {0: 3, 4: 1}, 5).count("<rect") == 2
