"""Nothing that a browser gets says what a person must not know yet."""

import io
import re

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tutelage.classroom import tables
from tutelage.data.items import file_hash
from tutelage.teaching_sets import TeachingSet

from . import experiments
from .experiments import CLASSES, make_experiment, opened, rows, write_config
from .web import Browser

RANDOM = re.compile(r"[0-9a-f]{32}")


def talkative(folder, path, seed):
    """An image that says in its metadata what it shows."""
    file = folder / "images" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    told = PngInfo()
    told.add_text("label", f"it is a {path}")
    told.add_itxt("XMP", f"it is a {path}")
    exif = Image.Exif()
    exif[0x010E] = f"it is a {path}"
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, pnginfo=told, exif=exif)
    assert f"it is a {path}".encode() in file.read_bytes()
    return file_hash(file)


@pytest.fixture(params=["forth", "back", "drawn"])
def room(request, tmp_path, monkeypatch):
    """One arm: with explanations, without, or in random order."""
    monkeypatch.setattr(experiments, "picture", talkative)
    arm = {"name": "one", "teaching_set": "arms/forth.json", "show_explanation": request.param != "back"}
    if request.param == "drawn":
        arm["teacher"] = "random"
    with opened(make_experiment(tmp_path / "e", arms=[arm], show_score=False)) as room:
        yield room


def everything(answer):
    """All bytes of a response, with where it came from."""
    return b"\n".join(
        [str(answer.request.url).encode(), *(b": ".join(pair) for pair in answer.headers.raw), answer.content]
    )


class Recording(Browser):
    """Fetches whatever a page names, and keeps what it got, beside how many items were answered by then."""

    def __init__(self, room):
        super().__init__(room)
        self.kept = []
        self.answered = 0
        self.client.event_hooks["response"].append(self._keep)

    def _keep(self, answer):
        answer.read()
        self.kept.append((self.answered, answer))

    def look(self):
        for path in re.findall(r'(?:src|href|data-next)="(/(?:i|static)/[^"]+)"', self.html):
            assert self.client.get(path).status_code == 200

    def crawl(self):
        self.get("/")
        self.look()
        self.enter()
        while self.heading != "That was the last image":
            self.look()
            asked = self.asks
            form = self.form("answer" if asked else "next")
            more = {"response": form.choices[0]} if asked else {}
            self.answered += asked  # what comes from here on may say what it was
            self.post(form.action, {**form.fields, **more})
            self.get("/s")
        return self


def test_no_byte_names_an_item_that_is_not_answered(room):
    person = Recording(room).crawl()
    plan = sorted(rows(room, tables.plan), key=lambda row: row.position)
    assert person.answered == len(plan) == 7
    for answered, answer in person.kept:
        got = everything(answer)
        for row in plan[answered:]:
            item = room.material.items[row.item_id]
            secrets = {item.id, item.path, item.source_name, item.source_name.split(".")[0], file_hash(item.file)}
            secrets |= {item.file.name, f"{CLASSES[item.label]}/", str(item.file.parent), "it is a"}
            if item.explanation is not None:
                secrets |= {item.explanation.name, item.explanation_id}
            for secret in secrets:
                assert secret.encode() not in got, (secret, answer.request.url)


def test_no_byte_names_a_file_at_all(room):
    for _, answer in Recording(room).crawl().kept:
        for item in room.material.items.values():
            for secret in (item.id, item.path, item.source_name, "it is a", "images/", "experiment.toml", "Traceback"):
                assert secret.encode() not in everything(answer), (secret, answer.request.url)


def questions(person):
    """Status, headers and body of every page that asks, with random ids taken out."""
    for _, answer in person.kept:
        if 'action="/answer"' in answer.text:
            yield answer.status_code, sorted(answer.headers.items()), RANDOM.sub("", answer.text)


def test_a_question_does_not_depend_on_its_label(tmp_path):
    """Two experiments that differ in the labels of all items ask with the same bytes."""
    asked = []
    for turn in range(3):
        folder = make_experiment(tmp_path / str(turn))
        for path in (folder / "arms").iterdir():
            found = TeachingSet.load(path, check_files=False)
            turned = {
                what: tuple(
                    type(item)(**{**vars(item), "label": CLASSES[(CLASSES.index(item.label) + turn) % len(CLASSES)]})
                    for item in getattr(found, what)
                )
                for what in ("items", "test")
            }
            TeachingSet(found.name, found.classes, turned["items"], found.provenance, turned["test"]).save(path)
        arms = [{"name": "one", "teaching_set": "arms/forth.json"}]
        write_config(folder, button_order="fixed", show_score=False, arms=arms)
        with opened(folder) as room:
            asked.append(list(questions(Recording(room).crawl())))
    assert len(asked[0]) == 7
    assert asked[0] == asked[1] == asked[2]


def test_in_the_test_nothing_depends_on_being_right(tmp_path):
    got = {}
    for right in (True, False):
        folder = make_experiment(tmp_path / str(right), button_order="fixed", show_score=False)
        with opened(folder) as room:
            person = Recording(room)
            person.enter()
            person.question(5)
            begun = len(person.kept)
            while person.asks:
                position = int(person.form("answer").fields["position"])
                (plan,) = rows(room, tables.plan, tables.plan.c.position == position)
                label = room.material.items[plan.item_id].label
                person.go("answer", response=str(label if right else (label + 1) % len(CLASSES)))
            assert [row.correct for row in rows(room, tables.trial, tables.trial.c.phase == "test")] == [right] * 3
            got[right] = [
                (answer.status_code, sorted(answer.headers.items()), RANDOM.sub("", answer.text))
                for _, answer in person.kept[begun:]
            ]
    assert len(got[True]) == 6
    assert got[True] == got[False]


def test_images_come_without_what_their_files_said(room):
    person = Recording(room).crawl()
    images = [answer for _, answer in person.kept if "/i/" in str(answer.request.url)]
    assert len(images) >= 7
    for answer in images:
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"].startswith("private")
        assert not {"etag", "last-modified", "content-disposition", "set-cookie"} & set(answer.headers)
        assert set(re.findall(rb"IHDR|IDAT|IEND|tEXt|iTXt|zTXt|eXIf|tIME|iCCP", answer.content)) == {
            b"IHDR", b"IDAT", b"IEND",
        }  # fmt: skip
        image = Image.open(io.BytesIO(answer.content))
        assert not image.info
        assert not image.getexif()


def tokens(room, variant, position=None):
    known = tables.image_token
    where = [known.c.variant == variant, *([] if position is None else [known.c.position == position])]
    return [row.token for row in rows(room, known, *where)]


def status(person, token):
    return person.client.get(f"/i/{token}").status_code


def test_an_explanation_is_there_only_while_its_feedback_is_shown(room):
    person = Browser(room)
    person.enter()
    person.question(1)
    assert [status(person, token) for token in tokens(room, "explanation")] == []
    person.step()
    explained = room.config.arms[0].show_explanation
    assert [status(person, token) for token in tokens(room, "explanation")] == [200] * explained
    person.step()
    assert [status(person, token) for token in tokens(room, "explanation")] == [404] * explained
    seen = set()
    while person.heading != "That was the last image":
        seen |= set(tokens(room, "explanation"))
        shown = set(re.findall(r'"/i/([0-9a-f]{32})"', person.html))
        assert all(status(person, token) == (200 if token in shown else 404) for token in seen)
        person.step()
    assert len(seen) == 4 * explained


def test_an_image_is_there_for_its_session_in_its_time(room):
    person, other = Browser(room), Browser(room)
    person.enter()
    person.question(2)
    other.enter()
    (now,), (before,) = tokens(room, "image", 1), tokens(room, "image", 0)[:1]
    assert status(person, now) == 200
    assert status(other, now) == 404
    other.client.cookies.clear()
    assert status(other, now) == 404
    assert [position for position in range(9) if tokens(room, "image", position)] == [0, 1, 2]
    assert before != now


def test_cookies_are_random_ids(room):
    person = Recording(room).crawl()
    set_to = [cookie for _, answer in person.kept for cookie in answer.headers.get_list("set-cookie")]
    assert set_to
    for cookie in set_to:
        assert re.fullmatch(r"(visit|session)_[0-9a-f]{8}=[0-9a-f]{32}; HttpOnly; .*", cookie)
    ids = {row.id for table in (tables.session, tables.participant) for row in rows(room, table)}
    for _, answer in person.kept:
        assert not any(each.encode() in everything(answer) for each in ids)


def test_class_names_stay_text(tmp_path, monkeypatch):
    nasty = ("<script>alert(1)</script>", '"><img src=x>', "{{ 7 * 7 }}")
    monkeypatch.setattr(experiments, "CLASSES", nasty)
    monkeypatch.setattr(
        experiments,
        "item",
        lambda folder, split, i: experiments.Shown(
            f"{split}{i}.png", nasty[i % 3], talkative(folder, f"{split}{i}.png", i + 100 * (split == "test"))
        ),
    )
    with opened(make_experiment(tmp_path / "e", title="<b>bold</b>", about="<i>about</i>")) as room:
        person = Browser(room)
        person.enter()
        for number in (1, 2):
            person.question(number)
            for page in (person.html, person.go("answer", response="0").text):
                assert "<script>alert" not in page
                assert "<img src=x" not in page
                assert "<b>bold" not in page
                assert "{{ 7 * 7 }}" in page
                assert "&lt;script&gt;alert(1)" in page
