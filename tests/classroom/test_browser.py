"""The classroom in Chromium: keyboard, motion, failing images, small screens, no JavaScript, no other origin."""

import os
import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")
pytest.importorskip("playwright.sync_api", reason="needs playwright")

from playwright import sync_api as api

from tutelage.classroom import tables

from .experiments import make_experiment, opened, rows
from .web import served

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
FEEDBACK_MS = 250
ARMS = [{"name": "one", "teaching_set": "arms/forth.json"}]
SEEN = """() => {
    const focused = document.activeElement.closest('.choice') || document.activeElement;
    return getComputedStyle(focused).outlineStyle === 'solid';
}"""
"""Whether one can see where the focus is."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"no browser: install Debian's chromium ({CHROMIUM})"),
]


@pytest.fixture(scope="module")
def chromium():
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def room(request, tmp_path):
    changes = {"feedback_ms": FEEDBACK_MS, "scale": 8.0, "arms": ARMS, **getattr(request, "param", {})}
    with opened(make_experiment(tmp_path, **changes)) as room:
        yield room


@pytest.fixture
def page(chromium, room):
    """A page at the start, which fails the test if it asks another origin or its policy is broken."""
    with served(room) as address:
        context = chromium.new_context(base_url=address)
        page = context.new_page()
        complaints = watched(page, address)
        page.goto("/")
        yield page
        context.close()
        assert complaints == []


def watched(page, address):
    complaints = []
    page.on("request", lambda request: request.url.startswith(address) or complaints.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda told: "Refused" in told.text and complaints.append(told.text))
    return complaints


def heading(page):
    return page.inner_text("h1").strip()


def follow(page, target):
    """Click on what leads to another page, and wait for that."""
    with page.expect_navigation():
        (page.locator(target) if isinstance(target, str) else target).click()


def enter(page):
    page.goto("/")
    follow(page, "[data-begin]")
    page.check("#accepted")
    follow(page, "text=Agree and continue")
    return page


def step(page, choice=0):
    if page.query_selector("[data-question]"):
        page.locator("input[type=radio]").nth(choice).check()
    button = page.locator("[data-main] button, main form[action='/next'] button").first
    api.expect(button).to_be_enabled()
    follow(page, button)


def until(page, told, kind="h1"):
    for _ in range(40):
        if told in page.inner_text(kind):
            return page
        step(page)
    raise AssertionError(f"never came to {told}")


def asked(page):
    enter(page)
    return until(page, "What does")


def answered(page):
    step(asked(page))
    return page


def test_the_whole_way_by_keyboard(page, room):
    def tab_to(selector):
        for _ in range(12):
            page.keyboard.press("Tab")
            assert page.evaluate(SEEN), page.evaluate("document.activeElement.outerHTML")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"Tab does not come to {selector}")

    def enter_key():
        with page.expect_navigation():
            page.keyboard.press("Enter")

    tab_to("[data-begin]")
    enter_key()
    tab_to("#accepted")
    page.keyboard.press("Space")
    tab_to("form[action='/consent'] button")
    enter_key()
    chosen = []
    while not page.query_selector("#comment"):
        if page.query_selector("[data-question]"):
            key = str(1 + len(chosen) % 3)
            page.keyboard.press(key)
            chosen.append(page.get_attribute("input:checked", "value"))
            assert page.evaluate("document.activeElement.checked")
        elif page.query_selector("[data-wait]"):
            api.expect(page.locator("[data-wait]")).to_be_enabled()
        enter_key()
    tab_to("form[action='/next'] button")
    enter_key()
    assert page.query_selector(".code")
    given = sorted(rows(room, tables.trial), key=lambda row: row.position)
    assert [str(row.response) for row in given] == chosen
    assert all(0 < row.rt_ms_client < 60_000 for row in given)


def test_the_order_of_focus_is_the_order_of_reading(page):
    asked(page)
    order = []
    page.keyboard.press("Tab")
    for _ in range(5):
        order.append(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
        page.keyboard.press("Tab")
    assert order[:4] == ["Skip to the content", "response", "Answer", "Leave the study"]


def test_changes_are_announced(page):
    asked(page)
    status = page.locator("#status")
    api.expect(status).to_have_text("Image 1 of 7. Choose one of 3 answers.")
    step(page)
    api.expect(status).to_have_text(re.compile(r"^(Right|Not right)\. .*This is \w+\.$|You can go on\."))
    api.expect(status).to_have_text("You can go on.")


@pytest.mark.parametrize("room", [{"feedback_ms": 3000}], indirect=True)
def test_next_waits_for_the_feedback_to_be_looked_at(page, room):
    answered(page)
    button = page.locator("[data-wait]")
    api.expect(button).to_be_disabled()
    page.keyboard.press("Enter")
    api.expect(button).to_be_enabled()
    assert page.query_selector(".verdict")


def test_the_number_keys_do_not_choose_what_is_not_there(page):
    asked(page)
    page.keyboard.press("4")
    assert page.query_selector("input:checked") is None
    page.keyboard.press("Enter")
    assert heading(page).startswith("What does")


def test_image_and_explanation_take_turns_until_held(page):
    answered(page)
    pair = page.locator(".pair")
    page.mouse.move(0, 0)

    def comes(explained):
        """Looks at every frame: who looks once a second may see the same half of each turn."""
        page.wait_for_selector(".pair.explained" if explained else ".pair:not(.explained)")

    for _ in range(2):
        comes(True)
        comes(False)

    def held():
        comes(False)
        page.wait_for_timeout(1300)
        assert "explained" not in pair.get_attribute("class")

    page.keyboard.press("Space")
    held()
    api.expect(page.locator("#status")).to_have_text("Held: the plain image.")
    page.keyboard.press("Space")
    comes(True)
    pair.hover()
    held()
    page.mouse.move(0, 0)
    comes(True)
    pair.focus()
    held()
    page.locator("[data-pause]").focus()
    comes(True)


def test_side_by_side_is_a_setting_that_stays(page):
    answered(page)
    page.click("text=Show both side by side")
    assert "stacked" not in page.get_attribute(".pair", "class")
    step(page)
    step(page)
    assert "stacked" not in page.get_attribute(".pair", "class")
    page.click("text=Show both in one place")
    assert "stacked" in page.get_attribute(".pair", "class")


@pytest.mark.parametrize("room", [{"explanation": "toggle"}], indirect=True)
def test_an_explanation_that_is_asked_for(page):
    answered(page)
    explanation = page.locator(".explanation")
    api.expect(explanation).to_have_css("opacity", "0")
    page.keyboard.press("Space")
    api.expect(explanation).to_have_css("opacity", "1")
    api.expect(page.locator("[data-pause]")).to_have_text("Show the plain image")
    page.wait_for_timeout(700)
    api.expect(explanation).to_have_css("opacity", "1")


def test_reduced_motion_shows_both_side_by_side(chromium, room):
    with served(room) as address:
        page = chromium.new_page(base_url=address, reduced_motion="reduce")
        answered(page)
        page.wait_for_timeout(1200)
        assert page.get_attribute(".pair", "class") == "pair"
        assert page.locator(".pair img").nth(1).is_visible()
        page.close()


def test_an_image_that_does_not_come_can_be_tried_again_and_nothing_is_lost(page, room):
    until(asked(page), "Image 2 of", ".bar")
    page.route("**/i/*", lambda route: route.abort())
    page.context.new_cdp_session(page).send("Network.clearBrowserCache")
    page.goto("/s")
    page.wait_for_selector(".failed:not([hidden])")
    assert page.locator("[data-question] button").is_disabled()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    assert len(rows(room, tables.trial)) == 1
    page.unroute("**/i/*")
    page.click("text=Try again")
    api.expect(page.locator("[data-question] button")).to_be_enabled()
    step(page)
    assert page.query_selector(".verdict")
    assert len(rows(room, tables.trial)) == 2


def test_a_double_click_sends_one_answer(page, room):
    asked(page)
    sent = []
    page.on("request", lambda request: request.method == "POST" and sent.append(request.url))
    page.locator("input[type=radio]").nth(1).check()
    page.locator("[data-question] button").dblclick(no_wait_after=True)
    page.wait_for_selector(".verdict")
    assert len(sent) == 1
    assert len(rows(room, tables.trial)) == 1


def test_leaving_the_page_is_counted(page, room):
    asked(page)
    for _ in range(3):
        page.evaluate("window.dispatchEvent(new Event('blur'))")
    step(page)
    assert [row.blurs for row in rows(room, tables.trial)] == [3]


def test_the_back_button_leads_to_the_current_page_or_changes_nothing(page, room):
    asked(page)
    step(page)
    api.expect(page.locator("[data-wait]")).to_be_enabled()
    step(page)
    page.wait_for_selector("[data-question]")
    page.go_back()
    page.wait_for_load_state()
    assert "Image 2 of 7" in page.inner_text(".bar")
    assert len(rows(room, tables.trial)) == 1


def test_a_second_tab_is_at_the_same_page_and_cannot_answer_differently(page, room):
    asked(page)
    other = page.context.new_page()
    other.goto(page.url)
    assert other.inner_text("main") == page.inner_text("main")
    step(page, 0)
    step(other, 1)
    assert "Your first answer stands." in other.inner_text("main")
    follow(other, "text=Go on")
    assert other.query_selector(".verdict")
    assert len(rows(room, tables.trial)) == 1


def test_the_whole_way_without_javascript(chromium, room):
    with served(room) as address:
        page = chromium.new_page(base_url=address, java_script_enabled=False)
        page.goto("/")
        assert "Without JavaScript everything works" in page.inner_text("main")
        enter(page)
        for _ in range(40):
            if page.locator(".code").count():
                break
            step(page)
        assert page.locator(".code").is_visible()
        page.close()
    found = rows(room, tables.trial)
    assert len(found) == 7
    assert {row.rt_ms_client for row in found} == {None}


def narrow(page):
    """What does not fit, or is too small to be touched."""
    return page.evaluate("""() => {
        const wide = document.documentElement.scrollWidth > window.innerWidth ? ['page'] : [];
        const small = [...document.querySelectorAll('a, button, summary, select, textarea, input:not([type=hidden])')]
            .map((each) => each.closest('label.choice, .tick') || each)
            .filter((each) => each.checkVisibility() && !each.matches('.skip'))
            .filter((each) => { const box = each.getBoundingClientRect(); return box.height < 44 || box.width < 44; })
            .map((each) => each.outerHTML);
        return [...wide, ...small];
    }""")


@pytest.mark.parametrize(("width", "zoom"), [(320, 1), (640, 2), (1280, 4)])
def test_small_screens_and_zoom_lose_nothing(chromium, room, width, zoom):
    """A window of 640 pixels at 200 % is one of 320 to the page, as is one of 1280 at 400 %."""
    with served(room) as address:
        page = chromium.new_page(
            base_url=address, viewport={"width": width // zoom, "height": 560}, device_scale_factor=zoom, has_touch=True
        )
        page.goto("/")
        assert narrow(page) == []
        page.goto("/consent")
        assert narrow(page) == []
        enter(page)
        while not page.query_selector(".code"):
            assert narrow(page) == []
            if page.query_selector(".pair"):
                page.click("[data-beside]")
                assert narrow(page) == []
            step(page)
        assert narrow(page) == []
        page.close()


def test_large_letters_lose_nothing(chromium, room):
    with served(room) as address:
        page = chromium.new_page(base_url=address, viewport={"width": 640, "height": 560})
        page.add_init_script(
            "document.addEventListener('DOMContentLoaded', () => {document.documentElement.style.fontSize = '200%'; });"
        )
        answered(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.close()


def test_a_window_that_is_too_narrow_is_told_of_at_the_start(chromium, room):
    with served(room) as address:
        page = chromium.new_page(base_url=address, viewport={"width": 280, "height": 560})
        page.goto("/")
        page.wait_for_selector(".screened:not([hidden])")
        assert not page.locator("[data-begin]").is_visible()
        follow(page, ".screened button")
        api.expect(page.locator("h1")).to_have_text("This device does not fit")
        assert [(row.kind, row.count) for row in rows(room, tables.tally)] == [("screened_out", 1)]
        page.close()


@pytest.mark.skipif("TUTELAGE_AXE" not in os.environ, reason="set TUTELAGE_AXE to axe.min.js of npm's axe-core")
def test_the_rules_of_axe(page):
    axe = Path(os.environ["TUTELAGE_AXE"]).read_text()

    def violations():
        page.evaluate(axe)
        found = page.evaluate("axe.run({resultTypes: ['violations']})")
        return [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]]

    assert violations() == []
    page.goto("/consent")
    assert violations() == []
    enter(page)
    page.click("summary")
    while not page.query_selector(".code"):
        assert violations() == []
        step(page)
    assert violations() == []
    for path in ("/declined", "/withdraw-by-code", "/nowhere"):
        page.goto(path)
        assert violations() == []
