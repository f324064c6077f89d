"""The researcher's pages in Chromium: keyboard, small screens, updates while one looks, no other origin."""

import os
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")
pytest.importorskip("playwright.sync_api", reason="needs playwright")

from playwright import sync_api as api

from tutelage.classroom import admission, tables

from .experiments import enter as enter_room
from .experiments import make_experiment, opened, rows, walk
from .test_browser import CHROMIUM, SEEN, chromium, follow, narrow, watched  # noqa: F401
from .web import served

PASSWORD = "hornbeam or beech?"
PATHS = ("", "/people", "/codes", "/export", "/preview/0/0")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"no browser: install Debian's chromium ({CHROMIUM})"),
]


@pytest.fixture
def room(tmp_path):
    with opened(make_experiment(tmp_path, planned_n=1, scale=8.0)) as room:
        for _ in range(3):
            walk(room, enter_room(room))
        yield room


@pytest.fixture
def address(room):
    with served(room) as address:
        yield address


def log_in(page, room, address):
    page.goto(f"{address}/admin/enter/{admission.make_link(room.folder)}")
    page.click("main button")
    page.wait_for_selector("#figures")


@pytest.fixture
def page(chromium, room, address):  # noqa: F811
    """The overview, which fails the test if it asks another origin or its policy is broken."""
    context = chromium.new_context(base_url=address)
    page = context.new_page()
    complaints = watched(page, address)
    log_in(page, room, address)
    yield page
    context.close()
    assert complaints == []


def test_to_log_in_and_close_the_experiment_by_keyboard(chromium, room, address):  # noqa: F811
    admission.set_password(room.folder, PASSWORD)
    page = chromium.new_page(base_url=address)
    page.goto("/admin")
    page.focus("#password")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("#figures")
    for _ in range(20):
        page.keyboard.press("Tab")
        assert page.evaluate(SEEN), page.evaluate("document.activeElement.outerHTML")
        if page.evaluate("document.activeElement.value") == "closed":
            break
    page.keyboard.press("Enter")
    api.expect(page.locator(".notices")).to_contain_text("Closed: nobody can come in")
    page.close()


def test_charts_are_drawn(page):
    for chart in page.locator(".chart").all():
        box = chart.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 50
    filled = page.evaluate("getComputedStyle(document.querySelector('.chart .test.dot')).fill")
    assert filled == "rgb(29, 92, 99)"


def test_the_overview_is_brought_up_to_date_unless_one_does_not_want_it(page, room):
    page.evaluate("window.marked = true")
    before = page.inner_text("#figures tbody")
    walk(room, enter_room(room))
    page.evaluate("update()")
    api.expect(page.locator("#figures tbody").first).not_to_have_text(before)
    assert page.evaluate("window.marked")  # the page itself was not loaded again
    page.uncheck("#live")
    before = page.inner_text("#figures tbody")
    walk(room, enter_room(room))
    page.evaluate("update()")
    assert page.inner_text("#figures tbody") == before
    page.reload()
    assert not page.is_checked("#live")
    assert page.inner_text("#figures tbody") != before


def test_when_the_login_is_over_the_page_asks_for_it(page):
    page.context.clear_cookies()
    page.evaluate("update()")
    page.wait_for_url("**/admin/login")


def test_a_preview_is_walked_through(page, room):
    found = rows(room, tables.trial)
    follow(page, "text=Look >> nth=0")
    for _ in range(20):
        if page.inner_text("h1") == "Overview":
            break
        if page.query_selector("[data-question]"):
            page.locator("input[type=radio]").first.check()
        button = page.locator("[data-main] button[type=submit]")
        api.expect(button).to_be_enabled()
        follow(page, button)
    assert page.inner_text("h1") == "Overview"
    assert rows(room, tables.trial) == found


@pytest.mark.parametrize("width", [320, 1280])
def test_small_screens_lose_nothing(chromium, room, address, width):  # noqa: F811
    page = chromium.new_page(base_url=address, viewport={"width": width, "height": 640}, has_touch=True)
    page.goto("/admin/login")
    assert narrow(page) == []
    log_in(page, room, address)
    (person, *_) = rows(room, tables.participant)
    for path in (*PATHS, f"/people/{person.id}"):
        page.goto(f"/admin{path}")
        assert narrow(page) == [], path
    page.close()


@pytest.mark.skipif("TUTELAGE_AXE" not in os.environ, reason="set TUTELAGE_AXE to axe.min.js of npm's axe-core")
def test_the_rules_of_axe(page, room):
    axe = Path(os.environ["TUTELAGE_AXE"]).read_text()
    (person, *_) = rows(room, tables.participant)
    for path in (*PATHS, f"/people/{person.id}", "/login", "/enter/0"):
        page.goto(f"/admin{path}")
        page.evaluate(axe)
        found = page.evaluate("axe.run({resultTypes: ['violations']})")
        assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == [], path
