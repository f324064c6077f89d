"""The researcher's overview: what it counts, shows and hides, and what it does."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

from tutelage.classroom import service, tables
from tutelage.classroom.replies import End, Question
from tutelage.classroom.service import Arrival
from tutelage.classroom.tokens import random_id

from .experiments import at_feedback, enter, go_on, respond, rows, walk
from .researchers import EVIL, logged_in, table, text_of
from .test_web_accessibility import read

DRAWN = {"name": "drawn", "teaching_set": "arms/forth.json", "teacher": "random"}
ARMS = [{"name": "forth", "teaching_set": "arms/forth.json"}, {"name": "back", "teaching_set": "arms/back.json"}, DRAWN]


@pytest.fixture
def room(build):
    return build(planned_n=1)


@pytest.fixture
def researcher(room):
    return logged_in(room)


def test_the_overview_counts_people_and_hides_results_until_all_arms_are_full(room, researcher):
    walk(room, enter(room))
    walk(room, second := enter(room), until=at_feedback(2))
    researcher.get("/admin")
    assert "1 of 1" in text_of(researcher)
    assert "Hidden for now. Results are hidden until every arm has its planned number" in text_of(researcher)
    assert "Learning curves" not in researcher.html
    walk(room, second)
    researcher.get("/admin")
    assert "Hidden for now" not in researcher.html
    assert researcher.html.count('<svg class="chart"') >= 3
    assert "Confusion in the test" in researcher.html


def test_what_is_hidden_is_in_no_byte(build):
    room = build(planned_n=5)
    walk(room, enter(room))
    researcher = logged_in(room)
    right = sum(row.correct for row in rows(room, tables.trial) if row.phase == "test")
    (person,) = rows(room, tables.participant)
    pages = ("/figures", "/people", f"/people/{person.id}", "/codes", "/export", "/preview/0/0")
    for path in ("/admin", *(f"/admin{page}" for page in pages)):
        researcher.get(path)
        assert f"{100 * right / 3:.1f}" not in researcher.html
        assert "<svg" not in researcher.html
        assert "<!--" not in researcher.html


def test_figures_alone_are_what_the_overview_has(room, researcher):
    walk(room, enter(room))
    whole, part = researcher.get("/admin").text, researcher.get("/admin/figures?people=real").text
    assert part.strip() in whole
    assert "no evidence about teaching people" in researcher.get("/admin?people=simulated").text


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


def test_names_with_html_stay_text(build):
    room = build(
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


@pytest.mark.parametrize("path", ["/admin/nothing", "/admin/people/nobody", "/admin?people=all"])
def test_what_did_not_work_leads_back_to_these_pages(researcher, path):
    (back,) = [link for link in read(researcher.get(path).text).of("a") if link.get("class") == "button"]
    assert back["href"] == "/admin"


def drawn(room, people, seed=0):
    """Let people through who answer by chance."""
    draws = np.random.RandomState(seed)
    for _ in range(people):
        bearer = enter(room)
        while not isinstance(page := service.page(room, bearer), End):
            if isinstance(page, Question):
                respond(room, bearer, int(draws.randint(3)), rt_ms=int(draws.randint(200, 4000)))
            else:
                go_on(room, bearer)


def scored(room, right):
    """Let people through with so many right answers in the test, a list an arm."""
    left = {arm: list(numbers) for arm, numbers in right.items()}
    for _ in range(sum(map(len, left.values()))):
        bearer = enter(room)
        (session,) = rows(room, tables.session, tables.session.c.state == "tutorial")
        number = left[room.arm_names[session.arm_id]].pop()
        while not isinstance(page := service.page(room, bearer), End):
            if isinstance(page, Question):
                at = (tables.plan.c.session_id == session.id, tables.plan.c.position == page.place.position)
                (planned,) = rows(room, tables.plan, *at)
                knows = planned.phase == "test" and page.place.position < room.config.num_train + number
                respond(room, bearer, (room.material.items[planned.item_id].label + (not knows)) % 3)
            else:
                go_on(room, bearer)


def scores(room):
    """By arm, the per cent of right answers in the test of each person who completed."""
    done = {row.id: room.arm_names[row.arm_id] for row in rows(room, tables.session) if row.state == "completed"}
    found = {name: [] for name in sorted(room.material.arms)}
    for id, arm in done.items():
        tested = rows(room, tables.trial, tables.trial.c.session_id == id, tables.trial.c.phase == "test")
        found[arm].append(100 * np.mean([trial.correct for trial in tested]))
    return found


def told(mean, half):
    return f"{mean:.1f} [{mean - half:.1f}, {mean + half:.1f}]"


def test_the_numbers_are_those_of_a_recount(build):
    room = build(planned_n=6, arms=ARMS, num_test=9)
    right = {"back": [2, 4, 5, 3, 6, 1], "drawn": [9, 6, 7, 8, 7, 5], "forth": [4, 7, 3, 8, 6, 5]}
    scored(room, right)
    researcher = logged_in(room)
    by_arm = scores(room)
    assert {arm: sorted(each) for arm, each in by_arm.items()} == {
        arm: [100 * (number / 9) for number in sorted(each)] for arm, each in right.items()
    }
    shown = {row[0]: row[1:] for row in table(researcher, "Right answers by arm")[1:]}
    for arm, each in by_arm.items():
        half = stats.t.ppf(0.975, 5) * np.std(each, ddof=1) / math.sqrt(6)
        assert shown[arm][:4] == [
            "6", told(np.mean(each), half), f"{np.median(each):.1f}", f"{np.std(each, ddof=1):.1f}"
        ]  # fmt: skip
    pairs = [("back", "drawn"), ("back", "forth"), ("drawn", "forth")]
    tests = [stats.ttest_ind(by_arm[a], by_arm[b], equal_var=False) for a, b in pairs]
    order, adjusted, highest = np.argsort([test.pvalue for test in tests]), [0.0] * 3, 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (3 - rank) * tests[place].pvalue))
        adjusted[place] = highest
    contrasts = table(researcher, "Differences between arms")[1:]
    for row, (a, b), test, holm in zip(contrasts, pairs, tests, adjusted, strict=True):
        difference = np.mean(by_arm[a]) - np.mean(by_arm[b])
        half = test.confidence_interval().high - difference
        assert row[:5] == [
            f"{a} – {b}", told(difference, half), f"{test.df:.1f}", f"{test.pvalue:.4f}", f"{holm:.4f}"
        ]  # fmt: skip
        low, high = map(float, row[5].strip("[]").split(", "))
        error = math.sqrt(sum(np.var(by_arm[arm]) / 6 for arm in (a, b)))
        assert (low, high) == pytest.approx((difference - 1.96 * error, difference + 1.96 * error), abs=0.4 * error)
    spread = max(np.std(each, ddof=1) for each in by_arm.values())
    needed = [f"{d} points: {math.ceil(2 * ((1.959964 + 0.841621) * spread / d) ** 2)}" for d in (5, 10, 15, 20)]
    assert "; ".join(needed) in text_of(researcher)
    assert researcher.get("/admin/figures").text == researcher.get("/admin/figures").text  # drawn once for all


def test_exclusions_stand_beside_all_people(build):
    room = build(planned_n=1, blind=False)
    drawn(room, 10)
    rows_ = table(logged_in(room), "Right answers in the test with some people left out")
    assert [row[0] for row in rows_] == [
        "Left out", "nobody", "people with an answer in under 0.3 s", "people with an answer that took over 120 s",
        "people who missed a catch trial", "the lowest 20 % of each arm in the test",
    ]  # fmt: skip
    assert [cell.split("n = ")[1] for cell in rows_[1][1:]] == ["5", "5"]
    assert [cell.split("n = ")[1] for cell in rows_[5][1:]] == ["4", "4"]


def test_simulated_people_count_only_where_they_are_asked_for_and_withdrawn_ones_never(build):
    room = build(planned_n=3, blind=False)
    for source in ("simulated", "simulated", "direct", "direct", "direct", "direct"):
        bearer = enter(room, Arrival(random_id(), source))
        end = walk(room, bearer)[-1]
    service.withdraw(room, bearer, token=end.withdraw_token)
    researcher = logged_in(room)
    for people, counts, outcomes in (
        ("real", [["1 of 3", "2 of 3"], ["0", "1"]], ["1", "2"]),
        ("simulated", [["1 of 3", "1 of 3"], ["0", "0"]], ["1", "1"]),
    ):
        researcher.get(f"/admin?people={people}")
        arms = table(researcher, "People by arm and state")[1:]
        assert [sorted(row[column] for row in arms) for column in (1, 6)] == counts
        shown = table(researcher, "Right answers by arm")[1:]
        assert sorted(row[1] for row in shown) == outcomes


def test_where_nobody_differs_nothing_is_compared_or_asked_for(build):
    room = build(planned_n=10, test_items=["circle/test0.png", "square/test1.png", "cross/test2.png"])
    for _ in range(20):
        walk(room, enter(room))  # each has 1 of 3 right
    researcher = logged_in(room)
    assert [row[1:5] for row in table(researcher, "Right answers by arm")[1:]] == [
        ["10", "33.3 [33.3, 33.3]", "33.3", "0.0"]
    ] * 2
    assert "Not compared: arms with fewer than two people" in text_of(researcher)
    assert "Differences between arms" not in researcher.html
    assert "with a power of 80 %" not in researcher.html


def test_a_small_p_is_not_nothing(build):
    room = build(planned_n=8, num_test=9)
    labels = {id: item.label for id, item in room.material.items.items()}
    for number in range(16):
        bearer = enter(room)
        (session,) = [row for row in rows(room, tables.session) if row.state == "tutorial"]
        plan = {row.position: row.item_id for row in rows(room, tables.plan, tables.plan.c.session_id == session.id)}
        knows = room.arm_names[session.arm_id] == "forth"  # all but one item of the first two people
        while not isinstance(page := service.page(room, bearer), End):
            if isinstance(page, Question):
                right = labels[plan[page.place.position]]
                respond(room, bearer, right if knows != (number < 2 and page.number == 5) else (right + 1) % 3)
            else:
                go_on(room, bearer)
    (row,) = table(logged_in(room), "Differences between arms")[1:]
    assert row[3:5] == ["< 0.0001", "< 0.0001"]


LONG = "an arm whose name is as long as nobody would make it, with spaces and " + "x" * 60


@pytest.mark.parametrize("blind", [True, False])
@pytest.mark.parametrize("people", [0, 1, 9])
def test_eight_arms_with_long_names_and_hardly_anybody(build, blind, people):
    arms = [{**DRAWN, "name": f"{LONG} {n}", "active": n != 3} for n in range(8)]
    room = build(planned_n=1, arms=arms, blind=blind)
    drawn(room, people)
    service.set_status(room, "closed")
    researcher = logged_in(room)
    assert ("Hidden for now" in researcher.html) == (blind and people < 7)
    assert researcher.html.count(": nobody yet</text>") == (0 if blind and people < 7 else 8 - min(people, 7))
    for path in ("/admin/people", "/admin/export", "/admin?people=simulated", "/admin/preview/7/0"):
        assert researcher.get(path).status_code == 200


def test_all_have_withdrawn(build):
    room = build(planned_n=1, blind=False)
    for _ in range(3):
        bearer = enter(room)
        service.withdraw(room, bearer, token=walk(room, bearer)[-1].withdraw_token)
    researcher = logged_in(room)
    assert [row[1:3] for row in table(researcher, "Right answers by arm")[1:]] == [["0", "–"]] * 2
    assert sum(int(row[6]) for row in table(researcher, "People by arm and state")[1:]) == 3
    assert "After the last item" in researcher.html
    assert "Nobody has completed yet." in text_of(researcher)


def test_class_names_with_html_stay_text(room):
    for _ in range(2):
        walk(room, enter(room))
    material = dataclasses.replace(room.material, classes=(EVIL, "<!--", "'\"&"))
    researcher = logged_in(dataclasses.replace(room, material=material))
    for path in ("/admin", "/admin/preview/0/0", "/admin/preview/0/0?given=0"):
        html = researcher.get(path).text
        assert EVIL not in html
        assert "<!--" not in html
        assert "&lt;script&gt;" in html
