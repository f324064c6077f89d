"""What the researcher downloads, and how an arm is looked at."""

import csv
import io
import json
import zipfile

import pytest

pytest.importorskip("fastapi", reason="needs the extra tutelage[classroom]")

from tutelage.classroom import service

from .experiments import dump, enter, walk
from .researchers import logged_in, text_of
from .test_web_accessibility import read


@pytest.fixture
def room(build):
    return build(planned_n=1)


@pytest.fixture
def researcher(room):
    return logged_in(room)


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


def test_a_layout_is_offered_once_there_is_something_in_it(room, researcher):
    path = "/admin/export/explain_teach.zip"
    assert path not in researcher.get("/admin/export").text
    assert researcher.client.get(path).status_code == 404
    walk(room, enter(room))
    assert f'"{path}"' in researcher.get("/admin/export").text
    assert f"{path}?people=simulated" not in researcher.html
    for link in (each["href"] for each in read(researcher.html).of("a") if "download" in each):
        assert researcher.client.get(link).status_code == 200, link


def test_the_page_of_downloads_says_that_results_are_hidden(build):
    room = build(planned_n=1)
    researcher = logged_in(room)
    assert "The results are hidden until every arm is full" in text_of(researcher, "/admin/export")
    for _ in range(2):
        walk(room, enter(room))
    assert "hidden" not in text_of(researcher, "/admin/export")


def test_a_preview_without_an_image_leads_back_to_itself(room, researcher):
    item = room.material.items[room.material.arms["forth"].item_ids[0]]
    item.file.unlink()
    for kept in room.images.cache.glob(f"{item.id}*"):
        kept.unlink()
    researcher.get("/admin/preview/0/0")
    assert researcher.heading == "This did not work"
    assert "nothing is recorded" in researcher.html
    (retry,) = [link for link in read(researcher.html).of("a") if link.get("class") == "button"]
    assert retry["href"] == ""  # the page that it is on


def test_a_preview_of_an_arm_that_is_none(researcher):
    for arm in ("99", "-1"):
        for path, sent in (("answer", {"position": "0", "response": "0"}), ("next", {"position": "0"})):
            assert researcher.post(f"/admin/preview/{arm}/{path}", sent).status_code == 404
