"""Takes the pictures of the classroom's pages that the documents show, from an experiment with drawn leaves.

Needs the extra ``tutelage[classroom]``, playwright and Chromium: ``python scripts/classroom_screens.py [FOLDER]``.
"""

import functools
import math
import random
import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance
from playwright.sync_api import Page, ViewportSize, sync_playwright

from tutelage.classroom import service
from tutelage.classroom.tokens import Key
from tutelage.classroom.web.serving import served
from tutelage.data.items import file_hash
from tutelage.teaching_sets import Picture, Provenance, Shown, TeachingSet

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
LEAVES = {"Alder": (1.05, 18, 0.03), "Beech": (1.45, 0, 0.0), "Hornbeam": (1.55, 30, 0.06)}
"""Length over width, number and height of teeth."""
SIDE = 144
CONFIG = """
name = "leaves"
title = "Telling leaves apart"
planned_n = 20
num_train = 6
num_test = 4
payment = "You are paid 3.00 pounds."
about = "We study which order of images, and which explanations, help people to learn to tell leaves apart."

[consent]
version = "2026-01"
contact = "leaves@example.org"
text = \"\"\"
You will learn to tell the leaves of three trees apart, and then be tested on new ones.

We store your answers and how long they took, under a random number. We do not store your name or your address in the
network. You can stop at any time, and have your answers deleted, without giving a reason.
\"\"\"

[[arms]]
name = "by hand"
teaching_set = "arms/leaves.json"
"""
WIDTHS = {"": (1100, 760), "-narrow": (320, 640)}


def leaf(kind: str, seed: int) -> tuple[Image.Image, Image.Image]:
    """Draw a leaf, and the same with its edge made plain."""
    ratio, teeth, height = LEAVES[kind]
    draws = random.Random(seed)
    turn, size, scale = draws.uniform(-0.5, 0.5), draws.uniform(0.8, 1.0), 4
    outline = []
    for step in range(720):
        angle = step / 720 * 2 * math.pi
        tooth = 1 + height * (2 * abs((angle / (2 * math.pi) * teeth * 1.3) % 1 - 0.5)) * (teeth > 0) * 2
        point = 1 - 0.16 * abs(math.sin(angle / 2)) * (abs(angle - math.pi) > 0.5)
        x, y = math.sin(angle) * tooth * point * 0.3, -math.cos(angle) * tooth * 0.3 * ratio
        x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
        outline.append(((0.5 + x * size) * SIDE * scale, (0.5 + y * size) * SIDE * scale))
    image = Image.new("RGB", (SIDE * scale, SIDE * scale), (246, 244, 236))
    green = (draws.randint(70, 100), draws.randint(120, 150), draws.randint(50, 75))
    pen = ImageDraw.Draw(image)
    pen.polygon(outline, fill=green)
    vein = tuple(min(255, c + 45) for c in green)
    pen.line([outline[0], outline[360]], fill=vein, width=8)
    for share in range(60, 330, 40):
        for edge in (outline[share], outline[-share]):
            along = share / 360 + 0.12
            begin = tuple(a + (b - a) * min(along, 1) for a, b in zip(outline[0], outline[360], strict=True))
            pen.line([begin, tuple(b + 0.86 * (e - b) for b, e in zip(begin, edge, strict=True))], fill=vein, width=4)
    told = ImageEnhance.Brightness(ImageEnhance.Color(image).enhance(0.25)).enhance(1.1)
    ImageDraw.Draw(told).line([*outline, outline[0]], fill=(216, 88, 20), width=14, joint="curve")
    return image.resize((SIDE, SIDE)), told.resize((SIDE, SIDE))


def shown(folder: Path, kind: str, number: int) -> Shown:
    """Write the images of an item."""
    paths = (f"{number}.png", f"{number}-explained.png")
    for path, image in zip(paths, leaf(kind, number), strict=True):
        image.save(folder / "images" / path)
    hashes = [file_hash(folder / "images" / path) for path in paths]
    return Shown(paths[0], kind, hashes[0], explanation=Picture(paths[1], hashes[1]))


def make(folder: Path) -> None:
    """Write the experiment."""
    (folder / "images").mkdir()
    (folder / "arms").mkdir()
    kinds = list(LEAVES)
    items = [shown(folder, kinds[i % 3], i) for i in range(12)]
    learned, tested = tuple(items[:6]), tuple(items[6:])
    TeachingSet("leaves", tuple(kinds), learned, Provenance("by hand"), tested).save(folder / "arms" / "leaves.json")
    (folder / "experiment.toml").write_text(CONFIG)
    Key.create(folder)


def walk(page: Page, address: str, taken: Callable[[str], None]) -> None:
    """Go through all pages, and take each kind once."""
    page.goto(address)
    page.wait_for_selector("[data-check=images]:not(:empty)")
    taken("start")
    page.click("[data-begin]")
    page.check("#accepted")
    taken("consent")
    page.click("text=Agree and continue")
    seen = set()
    while not page.query_selector(".code"):
        kind = page.evaluate("""() => document.querySelector('[data-question]')
            ? (document.querySelector('.kicker').textContent.startsWith('Test') ? 'test' : 'question')
            : document.querySelector('.verdict') ? document.querySelector('.verdict').className.split(' ')[1]
            : document.querySelector('.score') ? 'debrief'
            : document.querySelector('main h1').textContent.startsWith('Now comes') ? 'training-over'
            : document.querySelector('main h1').textContent.startsWith('Half') ? 'half-way'
            : document.querySelector('main h1').textContent.startsWith('Now it') ? 'begin' : 'tutorial'""")
        if kind in ("question", "test"):
            page.locator("input[type=radio]").nth(0).check()
        if kind not in seen:
            if kind in ("right", "wrong"):
                page.wait_for_selector("button[data-wait]:not([disabled])")
                if (page.query_selector(".pair.stacked") is None) != (kind == "right"):  # one of each way to show them
                    page.evaluate("document.querySelector('[data-beside]').click()")
            seen.add(kind)
            taken(kind)
        page.locator("button[data-wait]:not([disabled]), main form button:not([data-wait])").first.click()
        page.wait_for_load_state()
    taken("end")


def to_question(page: Page, address: str) -> None:
    """Go to the first question."""
    page.goto(address)
    page.click("[data-begin]")
    page.check("#accepted")
    page.click("text=Agree and continue")
    while not page.query_selector("[data-question]"):
        page.click("main form button")
        page.wait_for_load_state()


def stray(open_page: Callable[[], Page], address: str, folder: Path, taken: Callable[[Page, str], None]) -> None:
    """Take the pages beside the straight way."""
    page = open_page()
    page.goto(address)
    page.click("[data-begin]")
    page.click("text=I do not want to take part")
    taken(page, "declined")
    page = open_page()
    page.goto(f"{address}/withdraw-by-code")
    taken(page, "withdraw-by-code")
    page = open_page()
    to_question(page, address)
    tab = open_page()
    tab.context.add_cookies(page.context.cookies())
    tab.goto(f"{address}/s")
    for each, choice in ((page, 0), (tab, 1)):
        each.locator("input[type=radio]").nth(choice).check()
        each.click("main form button")
        each.wait_for_load_state()
    taken(tab, "answered-before")
    tab.close()
    page.click("button[data-wait]:not([disabled])")
    page.wait_for_selector("[data-question]")
    page.route("**/i/*", lambda route: route.abort())
    page.reload()
    page.wait_for_selector(".failed:not([hidden])")
    taken(page, "not-loaded")
    hidden = [(folder / name, folder / f"{name}.away") for name in ("images", "private/images")]
    for place, away in hidden:
        place.rename(away)
    page.reload()
    taken(page, "missing")
    for place, away in hidden:
        away.rename(place)
    page.unroute("**/i/*")
    page.goto(f"{address}/s")
    page.click("summary")
    taken(page, "leave")
    page.click("details button")
    page.wait_for_selector("[data-question]", state="detached")
    taken(page, "withdrawn")


def take(target: Path, ending: str, page: Page, kind: str) -> None:
    """Take a picture of a page."""
    taken = Image.open(BytesIO(page.screenshot(full_page=True, animations="disabled")))
    taken.convert("RGB").quantize(96, dither=Image.Dither.NONE).save(target / f"{kind}{ending}.png", optimize=True)


def photograph(
    open_page: Callable[[], Page], address: str, room: service.Room, taken: Callable[[Page, str], None]
) -> None:
    """Take all pictures of one width."""
    page = open_page()
    walk(page, address, functools.partial(taken, page))
    stray(open_page, address, room.folder, taken)
    service.set_status(room, "closed")
    page = open_page()
    page.goto(address)
    taken(page, "closed")
    service.set_status(room, "open")


def main(target: Path) -> None:
    """Serve the experiment, and take pictures of it wide and narrow."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        make(Path(name))
        with service.open_room(name) as room, served(room) as address:
            service.set_status(room, "open")
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            for ending, (width, height) in WIDTHS.items():
                size = ViewportSize(width=width, height=height)
                open_page = functools.partial(browser.new_page, viewport=size)
                photograph(open_page, address, room, functools.partial(take, target, ending))
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "docs" / "classroom")
