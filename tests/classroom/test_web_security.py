"""Other sites, cookies, headers, limits: what keeps people's sessions their own."""

import inspect
import re

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

from starlette.requests import Request
from starlette.testclient import TestClient

from tutelage import cli_classroom
from tutelage.classroom import tables
from tutelage.classroom.config import Recruitment
from tutelage.classroom.replies import End
from tutelage.classroom.tokens import Key
from tutelage.classroom.web.app import app_of
from tutelage.classroom.web.recruitment import Entry, entry, mturk_address, prolific_address, simulation_token
from tutelage.classroom.web.security import RateLimit
from tutelage.classroom.web.visits import Visits

from .experiments import dump, make_experiment, opened, rows
from .web import AT, Browser

KEY = Key(bytes(range(32)))


@pytest.fixture
def room(tmp_path):
    with opened(make_experiment(tmp_path)) as room:
        yield room


@pytest.fixture
def person(room):
    person = Browser(room)
    person.enter()
    return person.question(1)


def fields_of(person):
    form = person.form("answer")
    return {**form.fields, "response": form.choices[0]}


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": AT},
        {"sec-fetch-site": "nonsense"},
        {"sec-fetch-site": ""},
        {"origin": "https://evil.example"},
        {"origin": "https://testserver.evil.example"},
        {"origin": "https://testserver:8000"},
        {"origin": "null"},
        {"origin": ""},
    ],
    ids=str,
)
def test_what_another_site_posts_is_refused(person, headers):
    before = dump(person.room)
    fields = fields_of(person)
    for path in ("/answer", "/next", "/withdraw", "/consent", "/decline", "/restart", "/withdraw-by-code"):
        answer = person.post(path, fields, **headers)
        assert answer.status_code == 403
        assert "did not come from a page of this study" in answer.text
    assert dump(person.room) == before


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {"origin": AT}, {}],
    ids=str,
)
def test_what_our_pages_post_is_taken(person, headers):
    assert person.post("/answer", fields_of(person), **headers).status_code == 303


def cookies(answer):
    return answer.headers.get_list("set-cookie")


def test_cookies(room):
    client = TestClient(app_of(room), base_url=AT, follow_redirects=False)
    (cookie,) = cookies(client.get("/"))
    name = f"visit_{room.experiment_id[:8]}"
    assert re.fullmatch(name + r"=[0-9a-f]{32}; HttpOnly; Max-Age=2592000; Path=/; SameSite=Lax; Secure", cookie)


@pytest.mark.parametrize("at", ["http://localhost", "http://127.0.0.1:8000", "http://[::1]:8000"])
def test_cookies_on_this_machine_need_no_tls(room, at):
    (cookie,) = cookies(TestClient(app_of(room), base_url=at).get("/"))
    assert "Secure" not in cookie
    assert "HttpOnly" in cookie


@pytest.mark.parametrize("at", ["http://192.168.0.7", "http://localhost.example", "http://classroom"])
def test_cookies_elsewhere_need_tls(room, at):
    (cookie,) = cookies(TestClient(app_of(room), base_url=at).get("/"))
    assert cookie.endswith("; Secure")


def test_cookies_in_a_frame(tmp_path):
    with opened(make_experiment(tmp_path, recruitment={"platform": "mturk"})) as room:
        client = TestClient(app_of(room), base_url=AT, follow_redirects=False)
        for cookie in cookies(client.get("/?workerId=A1&assignmentId=3AB")):
            assert cookie.endswith("; SameSite=None; Partitioned; Secure")


def test_a_session_is_opened_by_nothing_but_its_secret(person):
    """Neither the id of the session nor that of the participant opens it."""
    room = person.room
    (session,) = rows(room, tables.session)
    for known in (session.id, session.participant_id, session.bearer_hash[:32]):
        client = TestClient(app_of(room), base_url=AT, follow_redirects=False)
        client.cookies.set(f"session_{room.experiment_id[:8]}", known)
        assert client.get("/s").headers["location"] == "/"


HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}


def test_headers_of_all_responses(person):
    answers = [person.client.get(path) for path in ("/", "/s", "/consent", "/nowhere", "/i/x", "/withdraw-by-code")]
    answers += [person.post("/answer", {"position": "9"}), person.post("/next", {}, origin="https://evil.example")]
    answers += [person.client.post("/answer", content=b"x" * 70_000)]
    assert {answer.status_code for answer in answers} >= {200, 303, 403, 404, 409, 413}
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy == (
            "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
        )
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert answer.headers["cache-control"] == "no-store"


def test_policies_of_platforms(tmp_path):
    told = {}
    for platform in ("mturk", "prolific", "mturk_link"):
        with opened(make_experiment(tmp_path / platform, recruitment={"platform": platform})) as room:
            answer = TestClient(app_of(room), base_url=AT).get("/nowhere")
            told[platform] = answer.headers["content-security-policy"], answer.headers.get("x-frame-options")
    assert "form-action 'self' https://www.mturk.com https://workersandbox.mturk.com;" in told["mturk"][0]
    assert "frame-ancestors https://worker.mturk.com https://workersandbox.mturk.com " in told["mturk"][0]
    assert told["mturk"][1] is None
    assert "form-action 'self' https://app.prolific.com; frame-ancestors 'none'" in told["prolific"][0]
    assert "form-action 'self'; frame-ancestors 'none'" in told["mturk_link"][0]


def test_no_page_needs_what_the_policy_forbids(room):
    """No script or style in a page, no handler in an attribute, no address of another site."""
    person = Browser(room)
    pages = [person.get("/").text, person.get("/consent").text]
    person.go("consent", accepted="yes")
    while not person.heading.startswith("Thank"):
        pages.append(person.html)
        person.step()
    for page in [*pages, person.html]:
        assert re.findall(r"<script(?![^>]*src=\"/static/)", page) == []
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|data:|https?://|//[a-z]", page)
        assert len(page.encode()) < 60_000


def test_addresses_of_our_files_change_with_their_content(person):
    for path in re.findall(r'"(/static/[^"]+)"', person.html):
        answer = person.client.get(path)
        assert re.search(r"\?v=[0-9a-f]{12}$", path)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "://" not in answer.text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/debug", "/dashboard", "/user_data", "/.env"])
def test_the_program_shows_nothing_of_itself(person, path):
    assert person.client.app.debug is False
    assert person.client.get(path).status_code == 404


def test_only_this_machine_is_served_unless_told_otherwise():
    assert inspect.signature(cli_classroom.serve).parameters["host"].default == "127.0.0.1"


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/i/../../key"])
def test_paths_do_not_lead_out_of_their_folder(person, path):
    assert person.client.get(path).status_code == 404


def test_the_ids_of_a_platform_are_in_no_page_and_in_one_table(tmp_path):
    recruitment = {"platform": "prolific", "keep_raw_ids": True}
    with opened(make_experiment(tmp_path, recruitment=recruitment)) as room:
        person = Browser(room)
        answer = person.client.get("/?PROLIFIC_PID=secretperson&SESSION_ID=secretsubmission")
        assert (answer.status_code, answer.headers["location"], answer.content) == (303, "/", b"")
        person.enter("/")
        while not person.heading.startswith("Thank"):
            assert "secret" not in person.html
            assert "secret" not in str(person.response.request.url)
            person.step()
        stored = {name: str(found) for name, found in dump(room).items()}
        assert [name for name, found in stored.items() if "secret" in found] == ["external_id"]


def test_no_address_and_no_browser_is_stored(room):
    person = Browser(room, headers={"user-agent": "Mosaic/0.9"}, client=("203.0.113.7", 5))
    person.enter()
    person.finish()
    assert "203.0.113.7" not in str(dump(room))
    assert "Mosaic" not in str(dump(room))


def test_what_the_parameters_of_platforms_say():
    prolific, mturk = Recruitment(platform="prolific"), Recruitment(platform="mturk")
    query = {"PROLIFIC_PID": "p", "STUDY_ID": "s", "SESSION_ID": "n", "workerId": "w", "assignmentId": "a", "code": "c"}
    query["turkSubmitTo"] = "https://www.mturk.com/"
    assert entry(prolific, query, KEY) == Entry("prolific", "p")
    assert entry(Recruitment(platform="prolific", keep_raw_ids=True), query, KEY) == Entry("prolific", "p", "n")
    assert entry(mturk, query, KEY) == Entry("mturk", "w", "a", "https://www.mturk.com")
    assert entry(mturk, {**query, "turkSubmitTo": "https://x.example"}, KEY) == Entry("mturk", "w")
    assert entry(Recruitment(platform="mturk_link"), query, KEY) == Entry("mturk", "w")
    assert entry(Recruitment(links="single_use"), query, KEY) == Entry("direct", "c")
    assert entry(Recruitment(), query, KEY) == Entry("direct")
    assert entry(prolific, {"PROLIFIC_PID": "a\nb"}, KEY) == Entry("prolific")


def test_where_people_leave_to():
    prolific, mturk = Recruitment(platform="prolific"), Recruitment(platform="mturk")
    assert prolific_address(prolific, "C&1") == "https://app.prolific.com/submissions/complete?cc=C%261"
    assert prolific_address(prolific, None) is None
    assert prolific_address(mturk, "C1") is None
    done = End("completed", submission="a", submit_to="https://www.mturk.com")
    assert mturk_address(mturk, done) == "https://www.mturk.com/mturk/externalSubmit"
    assert mturk_address(prolific, done) is None
    assert mturk_address(mturk, End("completed", submission="a", submit_to="https://evil.example")) is None


def test_two_tabs_of_one_person_share_a_visit_and_two_people_do_not():
    visits = Visits()
    first = visits.enter("", Entry("prolific", "p"))
    assert visits.enter(first, Entry("prolific", "p")) == first
    other = visits.enter(first, Entry("prolific", "q"))
    assert other != first
    assert visits.entry(first) == Entry("prolific", "p")
    assert visits.entry(other) == Entry("prolific", "q")
    assert visits.enter("0" * 32, Entry("prolific", "p")) == "0" * 32, "known to the browser, not to us: a restart"


def test_a_limit_counts_each_address_within_its_window():
    now = [0.0]
    limit = RateLimit(2, 60.0, clock=lambda: now[0])

    def admits(address):
        return limit.admits(Request({"type": "http", "client": (address, 1), "headers": []}))

    assert [admits("a"), admits("a"), admits("a"), admits("b")] == [True, True, False, True]
    now[0] = 59.0
    assert not admits("a")
    now[0] = 60.0
    assert [admits("a"), admits("a"), admits("a")] == [True, True, False]


def test_a_household_of_ipv6_is_one_address():
    limit = RateLimit(1, 60.0)

    def admits(address):
        return limit.admits(Request({"type": "http", "client": (address, 1), "headers": []}))

    assert [admits("2001:db8::1"), admits("2001:db8::ffff:2"), admits("2001:db8:0:1::1")] == [True, False, True]
    assert [admits("203.0.113.1"), admits("203.0.113.2"), admits("203.0.113.1")] == [True, True, False]


def test_simulated_people_are_not_limited(room):
    person = Browser(room)
    person.get(f"/?simulated={simulation_token(room.key)}")
    person.get("/consent")
    form = person.form("consent")
    statuses = {person.post("/consent", {**form.fields, "token": "0" * 32}).status_code for _ in range(210)}
    assert statuses == {403}
