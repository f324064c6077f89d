"""Takes the pictures of the researcher's pages that the documents show, from simulated people.

Needs the extra ``tutelage[classroom]``, playwright and Chromium:
``python scripts/classroom_researcher_screens.py [FOLDER]``.
"""

import asyncio
import functools
import sys
import tempfile
from pathlib import Path

from classroom_screens import ARGUMENTS, CHROMIUM, CONFIG, WIDTHS, make, take
from playwright.sync_api import Page, sync_playwright
from sqlalchemy import select, update

from tutelage.classroom import service, tables
from tutelage.classroom.admission import set_password
from tutelage.classroom.simulate import simulate
from tutelage.classroom.web.serving import clients, served

PASSWORD = "hornbeam or beech?"
PEOPLE = 48
ARM = """
[[arms]]
name = "drawn"
teaching_set = "arms/leaves.json"
teacher = "random"
show_explanation = false
"""
PROFILES = ("calibrated", "learner", "calibrated", "perfect", "random", "calibrated", "withdrawer", "back_button")


def tour(page: Page, address: str, person: str, taken) -> None:
    """Go through the pages."""
    page.goto(f"{address}/admin/login")
    taken("researcher-login")
    page.fill("#password", PASSWORD)
    page.click("main button")
    page.wait_for_selector("#figures")
    taken("researcher-overview")
    for kind, path in (
        ("hidden", "?people=simulated"),
        ("people", "/people?find=withdrawn"),
        ("person", f"/people/{person}"),
        ("codes", "/codes"),
        ("export", "/export"),
        ("preview", "/preview/0/0"),
    ):
        page.goto(f"{address}/admin{path}")
        page.wait_for_load_state("networkidle")
        taken(f"researcher-{kind}")


def main(target: Path) -> None:
    """Serve the experiment, let simulated people through, and take pictures of its pages wide and narrow."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        text = CONFIG.replace("planned_n = 20", "planned_n = 16")
        (folder / "experiment.toml").write_text(text + ARM)
        set_password(folder, PASSWORD)
        with service.open_room(name) as room, served(room) as address:
            asyncio.run(simulate(room, clients(address), PEOPLE, profiles=PROFILES, at_once=8))
            service.set_status(room, "open")
            with room.database.write() as connection:  # so that there is something to see on the page of real people
                connection.execute(update(tables.participant).values(source="direct"))
                person = connection.scalar(select(tables.participant.c.id).limit(1))
            shoot(address, person, target)


def shoot(address: str, person: str, target: Path) -> None:
    """Take all pictures, wide and narrow."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for ending, (width, height) in WIDTHS.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            tour(page, address, person, functools.partial(take, target, ending, page))
            page.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "docs" / "classroom")
