"""The way of a participant over HTTP."""

import re

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

from starlette.testclient import TestClient

from tutelage.classroom import service, tables
from tutelage.classroom.web.app import app_of, create_app
from tutelage.classroom.web.pages import Pages, Texts
from tutelage.classroom.web.recruitment import simulation_token
from tutelage.errors import ConfigError

from .experiments import Clock, dump, make_experiment, opened, rows, write_config
from .web import AT, Browser, forms


@pytest.fixture
def room(tmp_path):
    with opened(make_experiment(tmp_path)) as room:
        yield room


@pytest.fixture
def changed(tmp_path):
    """Opens an experiment with changes to its configuration."""
    rooms = []

    def make(clock=None, **changes):
        rooms.append(opened(make_experiment(tmp_path / f"e{len(rooms)}", **changes), clock=clock))
        return rooms[-1]

    yield make
    for room in rooms:
        room.close()


def prolific(**more):
    codes = {"completed": "DONE1", "withdrawn": "GONE2", "declined": "NO3"}
    return {"platform": "prolific", "outcome_codes": codes, **more}


def test_the_whole_way(room):
    person = Browser(room)
    person.get("/")
    assert person.heading == "Learn to tell shapes"
    assert "It takes about 1 minute." in person.html
    person.enter()
    headings = [person.heading]
    while "next" in forms(person.html) or person.asks:
        person.step()
        headings.append(person.heading)
    verdict = {"✓ Right": "feedback", "✗ Not right": "feedback"}
    asked, shown = "What does this image show?", "feedback"
    assert [verdict.get(heading, heading) for heading in headings] == [
        "Look", "Now it begins", asked, shown, asked, shown, "Half of the learning is done", asked, shown, asked, shown,
        "Now comes the test", asked, asked, asked, "That was the last image", "Thank you",
    ]  # fmt: skip
    (code,) = re.findall(r'<output class="code">([A-Z2-7]{16})</output>', person.html)
    assert service.redeem(room, code) == "redeemed"
    assert person.get("/").text == person.get("/s").text
    assert len(rows(room, tables.trial)) == 7


def test_the_whole_way_on_each_database(build):
    room = build()
    person = Browser(room)
    person.enter()
    person.finish()
    assert person.heading == "Thank you"
    assert len(rows(room, tables.trial)) == 7


def test_get_changes_nothing(room):
    person = Browser(room)
    person.enter()
    person.question(2)
    before = dump(room)
    for path in ("/", "/consent", "/s", "/leave", "/declined", "/screened-out", "/withdrawn", "/withdraw-by-code"):
        person.get(path)
    for token in re.findall(r'(?:src|next)="/i/([0-9a-f]+)"', person.get("/s").text):
        assert person.client.get(f"/i/{token}").headers["content-type"] == "image/png"
    assert dump(room) == before


def test_the_start_page_leads_back_to_the_session(room):
    person = Browser(room)
    person.enter()
    person.question(3)
    asked = person.html
    assert person.get("/").text == asked
    assert person.get("/consent").text == asked
    assert len(rows(room, tables.session)) == 1


def test_agreeing_twice_gives_one_session(room):
    person = Browser(room)
    person.get("/")
    person.get("/consent")
    form = person.form("consent")
    for _ in range(2):
        assert person.post("/consent", {**form.fields, "accepted": "yes"}).headers["location"] == "/s"
    assert len(rows(room, tables.session)) == len(rows(room, tables.participant)) == 1


def test_what_a_person_tells_of_themselves_is_kept(room):
    person = Browser(room)
    person.get("/")
    person.get("/consent")
    person.go("consent", accepted="yes", language="Latin", age_band="35-44")
    ((_, *told),) = [(row.id, row.language, row.age_band) for row in rows(room, tables.participant)]
    assert told == ["Latin", "35-44"]


@pytest.mark.parametrize("name", ["decline", "screen-out"])
def test_people_who_do_not_take_part_are_counted_and_no_more(room, name):
    before = dump(room)
    person = Browser(room)
    person.get("/") if name == "screen-out" else (person.get("/"), person.get("/consent"))
    person.go(name)
    assert person.heading == {"decline": "You do not take part", "screen-out": "This device does not fit"}[name]
    after = dump(room)
    assert len(after.pop("tally")) == 1
    assert not before.pop("tally")
    assert after == before


def test_a_session_goes_on_after_a_restart_of_the_server(tmp_path):
    folder = make_experiment(tmp_path)
    with opened(folder) as room:
        person = Browser(room)
        person.enter()
        person.question(2)
        cookies = dict(person.client.cookies)
        asked = person.html
    with opened(folder) as room:
        person = Browser(room)
        person.client.cookies.update(cookies)
        assert person.get("/").text == asked


def test_the_answer_and_its_times_are_stored(room):
    person = Browser(room)
    person.enter()
    person.question(1)
    person.go("answer", response=person.form("answer").choices[2], rt_ms="1234.4", blurs="2")
    (trial,) = rows(room, tables.trial)
    assert (trial.rt_ms_client, trial.blurs) == (1234, 2)


@pytest.mark.parametrize(("explained", "arms"), [(True, "arms/forth.json"), (False, "arms/back.json")])
def test_an_explanation_is_there_where_the_arm_shows_it(changed, explained, arms):
    person = Browser(changed(arms=[{"name": "one", "teaching_set": arms, "show_explanation": explained}]))
    person.enter()
    person.question(1)
    person.step()
    images = re.findall(r'<img src="(/i/[0-9a-f]+)" width="32" height="24" alt="(.*?)"', person.html)
    told = ["Image 1 of 7", "Image 1 of 7, with the parts that matter"][: 2 if explained else 1]
    assert [alt for _, alt in images] == told
    assert all(person.client.get(path).status_code == 200 for path, _ in images)


@pytest.mark.parametrize("show", [True, False])
def test_the_score_is_of_the_test_and_only_if_it_is_to_be_shown(changed, show):
    room = changed(show_score=show)
    person = Browser(room)
    person.enter()
    person.until(lambda person: person.heading == "That was the last image")
    right = sum(row.correct for row in rows(room, tables.trial, tables.trial.c.phase == "test"))
    assert (f"You were right for {right} of 3 test images." in person.html) == show


def test_withdrawing_at_a_page_takes_the_answers_back(room):
    person = Browser(room)
    person.enter()
    person.question(2)
    person.go("withdraw")
    assert person.heading == "You have withdrawn"
    assert not rows(room, tables.trial)
    assert person.get("/").text == person.html


def test_withdrawing_later_by_code(room):
    person = Browser(room)
    person.enter()
    person.finish()
    code = re.search(r'class="code">(\w+)<', person.html)[1]
    other = Browser(room)
    other.get("/withdraw-by-code")
    assert other.send("withdraw-by-code", code="A" * 16).status_code == 422
    assert "There is no such code." in other.html
    assert rows(room, tables.trial)
    other.go("withdraw-by-code", code=f" {code[:8].lower()} {code[8:]}")
    assert other.heading == "You have withdrawn"
    assert not rows(room, tables.trial)


def test_too_long_a_pause_where_the_session_is_begun_anew(changed):
    clock = Clock()
    room = changed(clock, resume="restart")
    person = Browser(room)
    person.enter()
    person.question(2)
    clock.wait(31 * 60)
    person.get("/s")
    assert person.heading == "The pause was too long"
    person.go("restart")
    assert person.heading == "Look"
    assert sorted(row.state for row in rows(room, tables.session)) == ["timed_out", "tutorial"]


def test_too_long_a_pause_where_that_is_the_end(changed):
    clock = Clock()
    person = Browser(changed(clock, resume="block"))
    person.enter()
    clock.wait(31 * 60)
    person.get("/s")
    assert person.heading == "The pause was too long"
    assert "restart" not in forms(person.html)


def test_an_experiment_that_is_closed_takes_nobody_in(room):
    person = Browser(room)
    person.get("/")
    service.set_status(room, "closed")
    for path in ("/", "/consent"):
        assert person.get(path).status_code == 403
        assert "takes nobody in" in person.html
        assert "Go on" not in person.html


def test_prolific_people_come_by_their_id_and_leave_with_a_code(changed):
    room = changed(recruitment=prolific())
    person = Browser(room)
    answer = person.client.get("/?PROLIFIC_PID=5f1e&STUDY_ID=7&SESSION_ID=9")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    person.enter()
    (row,) = rows(room, tables.participant)
    assert row.source == "prolific"
    assert row.external_hmac == room.key.external("prolific", "5f1e")
    assert not rows(room, tables.external_id)
    person.until(lambda person: person.heading == "That was the last image")
    assert person.go("next").headers["location"] == "https://app.prolific.com/submissions/complete?cc=DONE1"
    person.get("/s")
    assert 'href="https://app.prolific.com/submissions/complete?cc=DONE1"' in person.html
    person.go("withdraw")
    assert "cc=GONE2" in person.html


def test_prolific_people_who_decline_get_their_code(changed):
    person = Browser(changed(recruitment=prolific()))
    person.get("/?PROLIFIC_PID=5f1e")
    person.get("/consent")
    person.go("decline")
    assert "cc=NO3" in person.html


def test_prolific_people_come_back_to_their_session_from_another_browser(changed):
    room = changed(recruitment=prolific(keep_raw_ids=True))
    first, second = Browser(room), Browser(room)
    first.enter("/?PROLIFIC_PID=5f1e&SESSION_ID=9")
    first.question(2)
    assert second.get("/?PROLIFIC_PID=5f1e&SESSION_ID=10").text == first.html
    ((raw, submission),) = [(row.raw_id, row.submission) for row in rows(room, tables.external_id)]
    assert (raw, submission) == ("5f1e", "9")


def test_without_the_id_of_the_platform_nobody_comes_in(changed):
    person = Browser(changed(recruitment=prolific()))
    for path in ("/", "/?PROLIFIC_PID=", "/?workerId=A1", "/?PROLIFIC_PID=" + "x" * 300):
        assert person.get(path).status_code == 403
        assert "Open that link again." in person.html


def test_another_person_at_the_same_browser_is_another_person(changed):
    room = changed(recruitment=prolific())
    person = Browser(room)
    for name in ("5f1e", "6a2b"):
        person.enter(f"/?PROLIFIC_PID={name}")
        assert person.heading == "Look"
        person.question(2)
    assert len(rows(room, tables.participant)) == 2


def test_single_use_links_let_one_person_in(changed):
    room = changed(recruitment={"links": "single_use"})
    (code,) = service.make_links(room, 1)
    first, second, other = Browser(room), Browser(room), Browser(room)
    first.enter(f"/?code={code}")
    first.question(1)
    assert second.get(f"/?code={code}").text == first.html
    assert other.get("/").status_code == 403
    assert other.get("/?code=" + "0" * 32).status_code == 403
    assert len(rows(room, tables.participant)) == 1


MTURK = "assignmentId=3AB&hitId=H1&workerId=A1&turkSubmitTo=https%3A%2F%2Fworkersandbox.mturk.com"


def test_mturk_people_hand_the_task_in_where_it_came_from(changed):
    room = changed(recruitment={"platform": "mturk"})
    person = Browser(room)
    person.enter(f"/?{MTURK}")
    cookies = person.client.get("/consent").request.headers["cookie"]
    assert "session_" in cookies
    person.finish()
    form = forms(person.html)["externalSubmit"]
    assert form.action == "https://workersandbox.mturk.com/mturk/externalSubmit"
    assert form.fields["assignmentId"] == "3AB"
    assert service.redeem(room, form.fields["outcome"]) == "redeemed"


def test_mturk_people_are_sent_to_no_other_host(changed):
    for i, address in enumerate(("https://evil.example", "https://www.mturk.com.evil.example", "javascript:alert(1)")):
        person = Browser(changed(recruitment={"platform": "mturk"}))
        person.enter(f"/?assignmentId=3AB&workerId=A{i}&turkSubmitTo={address}")
        person.finish()
        assert "evil" not in person.html
        assert "javascript:" not in person.html
        assert "externalSubmit" not in forms(person.html)


def test_a_preview_of_mturk_stores_nothing(changed):
    room = changed(recruitment={"platform": "mturk"})
    before = dump(room)
    person = Browser(room)
    person.get("/?assignmentId=ASSIGNMENT_ID_NOT_AVAILABLE&hitId=H1")
    assert "Accept the task to start." in person.html
    assert "/consent" not in person.html
    assert not person.client.cookies
    assert dump(room) == before


def test_a_survey_link_of_mturk_gives_a_code_to_paste(changed):
    person = Browser(changed(recruitment={"platform": "mturk_link"}))
    person.enter("/?workerId=A1&assignmentId=3AB")
    person.finish()
    assert re.search(r'class="code">[A-Z2-7]{16}<', person.html)


def test_simulated_people_need_the_key(room):
    for token in (simulation_token(room.key), "0" * 32):
        Browser(room).enter(f"/?simulated={token}")
    assert sorted(row.source for row in rows(room, tables.participant)) == ["direct", "simulated"]


def test_create_app_opens_a_folder(tmp_path):
    app = create_app(make_experiment(tmp_path))
    assert service.status(app.state.room) == "draft"
    app.state.room.close()


def test_a_language_without_texts_is_refused(tmp_path):
    folder = make_experiment(tmp_path)
    write_config(folder, language="eng")
    with pytest.raises(ConfigError, match=r'key "language": unknown language "eng". Did you mean "en"\? Known: en\.'):
        create_app(folder)


def test_every_text_that_a_page_says_is_there(room):
    environment = Pages(room.config).environment
    texts = Texts("en").tables
    said = set()
    for name in environment.list_templates():
        source = environment.loader.get_source(environment, name)[0]
        said |= {tuple(key.split(".")) for key in re.findall(r"'([a-z_]+\.[a-z_]+)'[^{}]*\| say", source)}
    assert len(said) > 60
    for table, name in said:
        assert {name, f"{name}_one", f"{name}_other"} & set(texts[table]) or any(
            key.startswith(name) for key in texts[table]
        )


def test_numbers_have_a_form_for_one():
    say = Texts("en").say
    assert say("question.left", n=1) == "1 image left in this part"
    assert say("question.left", n=7) == "7 images left in this part"


@pytest.mark.parametrize("closes", [True, False])
def test_who_opened_the_experiment_closes_it(room, closes, monkeypatch):
    closed = []
    monkeypatch.setattr(type(room), "close", lambda self: closed.append(self))
    with TestClient(app_of(room, closes=closes), base_url=AT) as client:
        assert client.get("/").status_code == 200
        assert closed == []
    assert closed == [room] * closes
