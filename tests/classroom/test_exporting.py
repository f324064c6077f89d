"""Exports: every row and no other, nothing that names a person, and files that others can read."""

import csv
import dataclasses
import io
import json
import uuid

import pytest
from sqlalchemy import insert, update

from tests.classroom.experiments import (
    CLASSES,
    Clock,
    at_question,
    enter,
    go_on,
    make_experiment,
    opened,
    respond,
    rows,
    walk,
)
from tutelage import __version__
from tutelage.classroom import service, tables
from tutelage.classroom.database import Database, database_url
from tutelage.classroom.export_explain_teach import to_explain_teach
from tutelage.classroom.export_tables import SESSIONS, TRIALS, kept_sessions
from tutelage.classroom.exporting import FILES, export_study, safe
from tutelage.classroom.importing import import_results
from tutelage.classroom.replies import Debrief, End
from tutelage.classroom.service import Arrival
from tutelage.classroom.study import Study
from tutelage.classroom.tokens import random_id
from tutelage.errors import ConfigError, DataError
from tutelage.explain_teach import Experiment

RAW = "A1B2C3PLATFORMID"
ARMS = [
    {"name": "forth", "teaching_set": "arms/forth.json"},
    {"name": "drawn", "teaching_set": "arms/back.json", "teacher": "random", "show_explanation": False},
]


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Four people of a platform who complete, one at an item, one who withdrew, and one who is simulated."""
    changes = {"arms": ARMS, "recruitment": {"platform": "prolific", "keep_raw_ids": True}, "on_withdraw": "strip"}
    folder = make_experiment(tmp_path_factory.mktemp("export") / "shapes", **changes)
    clock = Clock()
    with opened(folder, clock=clock) as found:
        for number in range(4):
            bearer = enter(found, Arrival(random_id(), "prolific", f"{RAW}{number}", f"SUB{RAW}"))
            while not isinstance(page := service.page(found, bearer), End):
                clock.wait(2)
                if isinstance(page, Debrief):
                    go_on(found, bearer, comment='=1+1, and a "quote"\nand a line')
                elif hasattr(page, "choices") and not hasattr(page, "right"):
                    respond(found, bearer, number % 3, rt_ms=1999, blurs=number)
                else:
                    go_on(found, bearer)
        walk(found, enter(found, Arrival(random_id(), "prolific", f"{RAW}4")), at_question(2))
        bearer = enter(found, Arrival(random_id(), "prolific", f"{RAW}5"))
        walk(found, bearer, at_question(3))
        service.withdraw(found, bearer, token=service.page(found, bearer).place.withdraw_token)
        walk(found, enter(found, Arrival(random_id(), "simulated")))
        yield found


def table(folder, name):
    return list(csv.DictReader(io.StringIO((folder / name).read_text(), newline="")))


@pytest.fixture(scope="module")
def exported(room, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "export"
    return folder, export_study(Study.of(room), folder)


def test_what_is_written(exported):
    folder, written = exported
    assert [path.name for path in written] == [*FILES, "explain_teach"]
    assert all(path.exists() for path in written)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in written)


def test_a_row_an_answer(room, exported):
    found = table(exported[0], "trials.csv")
    assert list(found[0]) == list(TRIALS)
    real = {row.id for row in rows(room, tables.session)} - left_out(room)
    kept = {(row.session_id, row.position): row for row in rows(room, tables.trial) if row.session_id in real}
    assert len(found) == len(kept) == 4 * 7 + 2
    items = room.material.items
    for row in found:
        trial = kept.pop((row["session"], int(row["position"])))
        assert (row["phase"], row["item"], row["image"]) == (trial.phase, trial.item_id, items[trial.item_id].path)
        assert (row["true_class"], row["given_class"]) == (CLASSES[items[trial.item_id].label], CLASSES[trial.response])
        assert row["correct"] == str(int(items[trial.item_id].label == trial.response))
        assert (row["shown_at"], row["answered_at"]) == (trial.shown_at, trial.answered_at)
        assert (row["rt_ms_client"], row["blurs"]) == (str(trial.rt_ms_client), str(trial.blurs))
        assert row["explained"] == str(int(row["arm"] == "forth" and row["phase"] == "train"))
        assert (row["fast"], row["slow"]) == ("0", "0")
        if row["state"] == "completed":
            assert row["rt_ms_server"] == "2000"
            assert row["gap_ms"] == ("" if row["position"] == "0" else {"train": "4000", "test": "2000"}[row["phase"]]
                                     if row["position"] not in ("2", "4") else "6000")  # fmt: skip
    assert kept == {}


def left_out(room):
    hidden = {row.id for row in rows(room, tables.participant) if row.source == "simulated" or row.withdrawn_at}
    return {row.id for row in rows(room, tables.session) if row.participant_id in hidden}


def test_a_row_a_session(room, exported):
    found = table(exported[0], "sessions.csv")
    assert list(found[0]) == list(SESSIONS)
    assert len(found) == 5
    known = {row.id: row for row in rows(room, tables.session)}
    for row in found:
        stored = known[row["session"]]
        assert row["button_order"] == "|".join(CLASSES[i] for i in json.loads(stored.button_order))
        assert (row["state"], row["position"], row["seed"]) == (stored.state, str(stored.position), stored.seed)
        assert row["outcome"] == ("completed" if row["state"] == "completed" else "")
    assert sorted(row["state"] for row in found) == ["completed"] * 4 + ["teaching"]
    comments = {row["comment"] for row in found if row["state"] == "completed"}
    assert comments == {'\'=1+1, and a "quote"\nand a line'}


def test_everything_as_json(room, exported):
    facts = json.loads((exported[0] / "experiment.json").read_text())
    assert facts["config"] == json.loads(room.config.as_json())
    assert facts["classes"] == list(CLASSES)
    sizes = {name: len(facts[name]) for name in ("participants", "sessions", "trials", "items", "arms")}
    assert sizes == {"participants": 5, "sessions": 5, "trials": 30, "items": len(room.material.items), "arms": 2}
    assert {row["session_id"] for row in facts["trials"]} == {row["id"] for row in facts["sessions"]}
    assert len(facts["plan"]) == 5 * 7


def test_every_file_says_where_it_is_from(room, exported):
    folder, config = exported[0], room.config
    for name in ("trials.csv", "sessions.csv"):
        assert {(row["config"], row["tutelage"]) for row in table(folder, name)} == {(config.hash[:12], __version__)}
    facts = json.loads((folder / "experiment.json").read_text())
    assert (facts["experiment"], facts["config_hash"], facts["tutelage"]) == ("shapes", config.hash, __version__)
    codebook = (folder / "codebook.md").read_text()
    assert config.hash in codebook
    assert all(f"| {column} |" in codebook for column in (*TRIALS, *SESSIONS))


def test_nothing_names_a_person_or_opens_a_session(room, exported):
    folder = exported[0]
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file()).decode()
    hidden = [row.external_hmac for row in rows(room, tables.participant)]
    hidden += [row.bearer_hash for row in rows(room, tables.session)]
    hidden += [room.key.bearer(row.id) for row in rows(room, tables.session)]
    hidden += [row.token for row in rows(room, tables.image_token)]
    hidden += [room.key.code(row.nonce) for row in rows(room, tables.completion)]
    assert len(rows(room, tables.external_id)) == 5  # those who withdrew have none any more
    assert not any(secret in everything for secret in (*hidden, RAW))
    assert not any(session in everything for session in left_out(room))


def test_simulated_and_withdrawn_people_only_when_asked_for(room, tmp_path):
    study = Study.of(room)
    export_study(study, tmp_path / "simulated", people="simulated")
    assert {row["source"] for row in table(tmp_path / "simulated", "sessions.csv")} == {"simulated"}
    assert len(table(tmp_path / "simulated", "trials.csv")) == 7
    export_study(study, tmp_path / "all", withdrawn=True)
    gone = [row for row in table(tmp_path / "all", "trials.csv") if row["state"] == "withdrawn"]
    assert len(gone) == 3
    assert {(row["given_class"], row["correct"], row["answered_at"], row["fast"]) for row in gone} == {("", "", "", "")}


def test_in_the_layout_of_explain_teach(room, exported, tmp_path):
    found = Experiment.read(exported[0] / "explain_teach")
    assert found.settings.class_names == CLASSES
    assert found.settings.test_sequence == (-1,) * 3
    images = found.images
    assert [i for i, image in enumerate(images) if image.explain_url is None] == list(found.settings.test_indices)
    assert found.settings.test_indices == tuple(range(len(found.settings.train_indices), len(images)))
    forth = found.strategies["forth"]
    assert [images[i].image_url for i in forth.im_ids] == [
        room.material.items[id].path for id in room.material.arms["forth"].item_ids[:4]
    ]
    assert forth.display_explain_image == (1, 1, 1, 1)
    assert found.strategies["random_drawn"].im_ids is None
    assert found.strategies["random_drawn"].display_explain_image == 0
    assert len(found.sessions) == 4
    answers = {}
    for row in sorted(rows(room, tables.trial), key=lambda row: row.position):
        answers.setdefault(row.session_id, []).append(row)
    people = {str(uuid.UUID(row.participant_id)): row for row in rows(room, tables.session)}
    for session in found.sessions:
        stored = answers[people[session.mturk_code].id]
        assert session.response == tuple(row.response for row in stored)
        assert [images[i].image_url for i in session.image_id] == [room.material.items[r.item_id].path for r in stored]
        assert session.gt_label == tuple(images[i].class_label for i in session.image_id)
        assert session.is_train == (1, 1, 1, 1, 0, 0, 0)
        assert session.score == round(100 * sum(row.correct for row in stored if row.phase == "test") / 3, 2)
        assert session.time == tuple(row.answered_at[11:19] for row in stored)


def test_export_import_export_is_the_same(room, exported, tmp_path):
    found = Experiment.read(exported[0] / "explain_teach")
    database = Database(database_url("again.sqlite", tmp_path))
    told = import_results(found, database)
    assert (told.records, told.unresolved) == (4, 0)
    again = to_explain_teach(Study.read(database))
    assert dataclasses.replace(again, name="") == dataclasses.replace(found, name="")
    export_study(Study.read(database), tmp_path / "out")
    assert len(table(tmp_path / "out", "trials.csv")) == 28
    assert {row["button_order"] for row in table(tmp_path / "out", "sessions.csv")} == {""}
    database.dispose()


def test_catch_trials_have_no_place_in_that_layout(tmp_path):
    with opened(make_experiment(tmp_path / "shapes", catch_trials=["circle/test0.png"])) as room:
        walk(room, enter(room))
        (session,) = to_explain_teach(Study.of(room)).sessions
        assert (len(rows(room, tables.trial)), len(session.response)) == (8, 7)


def test_everyone_gets_the_same_test(tmp_path):
    tests = [f"{label}/test{i}.png" for i, label in enumerate(CLASSES)]
    with opened(make_experiment(tmp_path / "shapes", test_items=tests)) as room:
        found = to_explain_teach(Study.of(room))
    assert [found.images[i].image_url for i in found.settings.test_sequence] == tests


def test_nobody_has_completed(tmp_path):
    with opened(make_experiment(tmp_path / "shapes")) as room:
        written = export_study(Study.of(room), tmp_path / "out")
    assert [path.name for path in written] == list(FILES)
    assert (tmp_path / "out" / "trials.csv").read_text() == ",".join(TRIALS) + "\n"


def test_people_who_were_purged_are_gone(tmp_path):
    with opened(make_experiment(tmp_path / "shapes")) as room:
        walk(room, enter(room))
        (person,) = rows(room, tables.participant)
        assert service.purge(room, person.id)
        export_study(Study.of(room), tmp_path / "out")
    assert table(tmp_path / "out", "sessions.csv") == []
    assert person.id not in (tmp_path / "out" / "experiment.json").read_text()


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_is_a_formula(cell):
    assert safe(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "a=1", None, -1, "'=1"])
def test_other_cells_stay_as_they_are(cell):
    assert safe(cell) == cell


def test_names_that_are_formulas(tmp_path):
    with opened(make_experiment(tmp_path / "shapes", name="@shapes")) as room:
        walk(room, enter(room))
        with room.database.write() as connection:
            connection.execute(update(tables.participant).values(language="+44"))
        export_study(Study.of(room), tmp_path / "out")
    (row,) = table(tmp_path / "out", "sessions.csv")
    assert (row["experiment"], row["language"]) == ("'@shapes", "'+44")


def test_both_kinds_of_database_export_alike(room, tmp_path, database):
    other = Database(database_url(database(), tmp_path))
    with other.write() as connection:
        for each in tables.metadata.sorted_tables:
            if each is not tables.schema_version and (found := rows(room, each)):
                connection.execute(insert(each), [dict(row._mapping) for row in found])
    mine = Study.of(room)
    theirs = dataclasses.replace(mine, database=other)
    kept = kept_sessions(mine, "real", False)
    for content in FILES.values():
        assert sorted(content(theirs, kept).splitlines()) == sorted(content(mine, kept).splitlines())
    assert to_explain_teach(theirs) == to_explain_teach(mine)
    other.dispose()


def test_refusals(room, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(ConfigError, match=r"full exists; give an empty folder, or a new one"):
        export_study(Study.of(room), tmp_path / "full")
    with pytest.raises(DataError, match=r"the folder .*a/b cannot be made \(Not a directory\)"):
        export_study(Study.of(room), tmp_path / "full" / "a" / "b")
