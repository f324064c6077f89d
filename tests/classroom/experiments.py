"""Small experiments on disk, and people who walk through them, for the tests of the classroom."""

import json
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
from PIL import Image
from sqlalchemy import select

from tutelage.classroom import service, tables
from tutelage.classroom.config import CONFIG_FILE
from tutelage.classroom.replies import End, Entered, Feedback, Question
from tutelage.classroom.service import Arrival
from tutelage.classroom.tokens import Key, random_id
from tutelage.data.items import file_hash
from tutelage.teaching_sets import Picture, Provenance, Shown, TeachingSet

CLASSES = ("circle", "square", "cross")
TRAIN, TEST = 9, 9


class Clock:
    """A clock that goes on only when told to."""

    def __init__(self):
        self.time = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)

    def __call__(self):
        return self.time

    def wait(self, seconds):
        self.time += timedelta(seconds=seconds)


def picture(folder, path, seed):
    file = folder / "images" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file_hash(file)


def item(folder, split, i):
    label = CLASSES[i % len(CLASSES)]
    path, explained = f"{label}/{split}{i}.png", f"{label}/{split}{i}-why.png"
    seed = i + (1000 if split == "test" else 0)
    explanation = Picture(explained, picture(folder, explained, seed + 500)) if split == "train" else None
    return Shown(path, label, picture(folder, path, seed), explanation=explanation)


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(v)}" for key, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def settings(**changes):
    """The keys of an experiment.toml: two arms of 4 teaching and 3 test items."""
    return {
        "name": "shapes",
        "title": "Learn to tell shapes",
        "planned_n": 10,
        "num_train": 4,
        "num_test": 3,
        "consent": {"version": "1", "text": "I agree."},
        "tutorial": [{"title": "Look", "text": "And choose."}],
        "arms": [
            {"name": "forth", "teaching_set": "arms/forth.json"},
            {"name": "back", "teaching_set": "arms/back.json", "show_explanation": False},
        ],
        **changes,
    }


def write_config(folder, **changes):
    lines = [f"{key} = {toml(value)}" for key, value in settings(**changes).items()]
    (folder / CONFIG_FILE).write_text("\n".join(lines) + "\n")


def make_experiment(folder, **changes):
    """Write an experiment with images, two teaching sets and a key; ``changes`` are keys of its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    train = tuple(item(folder, "train", i) for i in range(TRAIN))
    test = tuple(item(folder, "test", i) for i in range(TEST))
    (folder / "arms").mkdir()
    for name, items in (("forth", train[:6]), ("back", train[:2:-1])):
        TeachingSet(name, CLASSES, items, Provenance("by hand"), test).save(folder / "arms" / f"{name}.json")
    write_config(folder, **changes)
    Key.create(folder)
    return folder


def opened(folder, *, makers=None, clock=None):
    """An open experiment whose clock stands still unless it is told to go on."""
    room = service.open_room(folder, makers=makers, clock=clock or Clock())
    service.set_status(room, "open")
    return room


def arrive(room, arrival=None):
    """Consent; returns what the service says."""
    arrival = arrival or Arrival(random_id())
    token = room.key.form(arrival.visit, 0, "consent")
    return service.consent(room, arrival, token=token, accepted=True, consent_version=room.config.consent.version)


def enter(room, arrival=None):
    """Consent; returns the bearer."""
    entered = arrive(room, arrival)
    assert isinstance(entered, Entered), entered
    return entered.bearer


def go_on(room, bearer, **more):
    """POST /next of the current page."""
    place = service.page(room, bearer).place
    return service.advance(room, bearer, position=place.position, stage=place.stage, token=place.token, **more)


def respond(room, bearer, response, **more):
    """POST /answer of the current page."""
    place = service.page(room, bearer).place
    return service.answer(
        room,
        bearer,
        position=place.position,
        token=place.token,
        response=response,
        **{"rt_ms": 1500, "blurs": 0, **more},
    )


def step(room, bearer, response=0):
    """Do what the current page asks for; returns the page."""
    page = service.page(room, bearer)
    reply = respond(room, bearer, response) if isinstance(page, Question) else go_on(room, bearer)
    assert reply.written, (page, reply)
    return page


def walk(room, bearer, until=None):
    """Go on until a condition on the page holds, or to the end; returns the pages that were left, and the last one."""
    pages = []
    while not isinstance(page := service.page(room, bearer), End) and not (until is not None and until(page)):
        pages.append(step(room, bearer))
    return [*pages, page]


def at_question(position):
    return lambda page: isinstance(page, Question) and page.place.position == position


def at_feedback(position):
    return lambda page: isinstance(page, Feedback) and page.place.position == position


def dump(room):
    """All rows of all tables, to tell whether a byte has changed."""
    with room.database.read() as connection:
        return {
            name: sorted(map(str, connection.execute(select(table)).all()))
            for name, table in tables.metadata.tables.items()
        }


def rows(room, table, *where):
    with room.database.read() as connection:
        return connection.execute(select(table).where(*where)).all()


def events(room, kind):
    return [json.loads(row.detail) for row in rows(room, tables.event, tables.event.c.kind == kind)]


def at_once(count, work):
    """Run something in many threads that start together; returns what each gave."""
    barrier, found = threading.Barrier(count), [None] * count

    def run(i):
        barrier.wait()
        found[i] = work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
