"""Released results in the tables of the classroom: published numbers, traps of the data, nothing lost on the way."""

import dataclasses
import json
import warnings

import pytest
from sqlalchemy import select

from tests.classroom.experiments import dump, make_experiment
from tests.human_data import EXPERIMENTS, experiment, released, session, write_small
from tutelage.classroom import tables
from tutelage.classroom.dashboard import dashboard
from tutelage.classroom.database import Database, database_url
from tutelage.classroom.export_explain_teach import to_explain_teach
from tutelage.classroom.importing import import_results
from tutelage.classroom.room import open_room
from tutelage.classroom.study import Study
from tutelage.errors import ConfigError, DataError
from tutelage.explain_teach import Experiment, Strategy
from tutelage.human_answers import answers_of
from tutelage.human_groups import groups

COUNTS = {"butterflies_crop": (160, 160), "chinese_chars": (162, 161), "chinese_chars_crowd": (81, 80)}
"""Records, and those that do not repeat another one."""
CONFUSIONS = {
    ("butterflies_crop", "random"): (
        (186, 0, 4, 0, 1), (1, 91, 29, 6, 67), (0, 37, 102, 11, 40), (3, 14, 11, 165, 12), (3, 64, 28, 10, 95),
    ),
    ("chinese_chars", "strict_1vall"): ((103, 53, 41), (62, 137, 46), (73, 52, 113)),
}  # fmt: skip
NOT_KEPT = {"feature_id", "_id"}


def into(folder, told, **how):
    database = Database(database_url("import.sqlite", folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of ids that belong to another list
        return database, import_results(told, database, **how)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in EXPERIMENTS if name != "chinese_chars_crowd"]


@pytest.fixture(scope="module", params=["chinese_chars_crowd", *SLOW])
def imported(request, real_data, tmp_path_factory):
    """A released experiment, its database with repeats, and what was said of it."""
    original = released(real_data, request.param)
    database, told = into(tmp_path_factory.mktemp(request.param), original, duplicates=True)
    yield original, database, told
    database.dispose()


def test_counts(imported):
    original, _, told = imported
    assert (told.records, told.distinct) == COUNTS[original.name]
    assert told.sessions == told.records


def test_published_numbers(imported):
    original, database, _ = imported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = groups(answers_of(original))  # which tests of their own compare with the published table
    page = dashboard(Study.read(database))
    assert [outcome.arm for outcome in page.results.outcomes] == [group.arm for group in expected]
    for outcome, group in zip(page.results.outcomes, expected):
        assert (outcome.test.n, outcome.train.n) == (group.n, group.n)
        found = (outcome.train.mean, outcome.test.mean, outcome.test.std, outcome.test.median)
        assert found == pytest.approx((group.train, group.test, group.std, group.median))
    for (name, arm), table in CONFUSIONS.items():
        if name == original.name:
            assert page.results.confusions[arm] == table
    confusions = page.results.confusions.values()
    assert [sum(map(sum, table)) for table in confusions] == [20 * outcome.test.n for outcome in page.results.outcomes]


def test_repeats(imported, tmp_path):
    original, database, told = imported
    assert len(dashboard(Study.read(database)).repeats) == told.records - told.distinct
    fewer, once = into(tmp_path, original)
    assert (once.records, once.distinct, once.sessions) == (*COUNTS[original.name], COUNTS[original.name][1])
    page = dashboard(Study.read(fewer))
    assert page.repeats == ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = groups(answers_of(original), duplicates=False)
    assert [o.test.mean for o in page.results.outcomes] == pytest.approx([group.test for group in expected])
    fewer.dispose()


def test_nothing_is_lost_on_the_way(imported, tmp_path):
    """Import, export, import: the same files, and the same rows."""
    original, database, _ = imported
    again = to_explain_teach(Study.read(database))
    assert (again.name, again.settings, again.images, again.strategies) == (
        original.name, original.settings, original.images, original.strategies,
    )  # fmt: skip
    assert [s.model_dump() for s in again.sessions] == [s.model_dump(exclude=NOT_KEPT) for s in original.sessions]
    again.write(tmp_path / original.name)
    second, _ = into(tmp_path, Experiment.read(tmp_path / original.name), duplicates=True)
    assert dump_of(second) == dump_of(database)
    second.dispose()


def dump_of(database):
    return dump(type("Room", (), {"database": database}))


@pytest.mark.slow
def test_ids_of_another_list_of_images(real_data, tmp_path):
    original = released(real_data, "chinese_chars")
    database = Database(database_url("import.sqlite", tmp_path))
    with pytest.warns(UserWarning, match=r"image ids of random \(teaching\), random_feedback \(teaching\)") as told:
        found = import_results(original, database)
    assert len([warning for warning in told if "image ids" in str(warning.message)]) == 1
    assert found.unresolved == 80 * 20  # the training half of two arms; the test half is found by a shift
    with database.read() as connection:
        paths = {row.path for row in connection.execute(select(tables.item))}
    assert {path.split(":")[0] for path in paths if ":" in path} == {"random", "random_feedback"}
    database.dispose()


def test_a_session_by_hand(tmp_path):
    original = Experiment.read(write_small(tmp_path / "small"))
    right, times = (1, 0, 1, 0), ("23:59:50", "23:59:58", "00:00:03", "00:00:09")
    facts = {"strategy": "fixed", "mturk_code": "late", "completion_time": "2017-11-14 00:00:10", "score": 100.0}
    late = session((1, 0, 3, 2), right, (1, 1, 0, 0), right, times, **facts)
    told = dataclasses.replace(original, sessions=(*original.sessions, late))
    database, _ = into(tmp_path, told)
    trial, plan, saved = tables.trial, tables.plan, tables.session
    with database.read() as connection:
        found = connection.execute(
            select(trial, plan.c.show_explanation)
            .join(saved, saved.c.id == trial.c.session_id)
            .join(plan, (plan.c.session_id == trial.c.session_id) & (plan.c.position == trial.c.position))
            .where(saved.c.completed_at == "2017-11-14T00:00:10.000Z")
            .order_by(trial.c.position)
        ).all()
        people = connection.execute(select(tables.participant)).all()
    assert [row.answered_at for row in found] == [
        "2017-11-13T23:59:50.000Z", "2017-11-13T23:59:58.000Z", "2017-11-14T00:00:03.000Z", "2017-11-14T00:00:09.000Z",
    ]  # fmt: skip
    assert all(row.correct and row.rt_ms_client is None and row.shown_at is None for row in found)
    assert [row.show_explanation for row in found] == [False, True, False, False]
    assert len(people) == 4
    assert {row.external_hmac for row in people} == {None}
    assert to_explain_teach(Study.read(database)).sessions[-1] == late
    database.dispose()


def test_a_strategy_without_a_file(tmp_path):
    told = experiment([session([0, 1], [0, 1], [1, 0], strategy="gone", score=100.0)], (0, 1), test=(1,))
    database, _ = into(tmp_path, told)
    (arm,) = Study.read(database).arms
    assert (arm.name, arm.teacher, arm.sequence) == ("gone", "random", None)
    assert to_explain_teach(Study.read(database)) == told
    database.dispose()


def test_one_name_with_two_labels(tmp_path):
    """Ids of another list of images: what was shown as 5 to one person was of another class than 5 to the next."""
    sessions = [session([5, 0], [label, 1], [1, 0], score=100.0) for label in (0, 1)]
    drawn = {"random": Strategy(num_train=1, display_explain_image=0)}
    told = experiment(sessions, (1, 0), test=(0,), strategies=drawn)
    database, found = into(tmp_path, told)
    assert found.unresolved == 2
    with database.read() as connection:
        labels = sorted(row.label for row in connection.execute(select(tables.item)) if row.path == "random:5")
    assert labels == [0, 1]
    assert to_explain_teach(Study.read(database)) == told
    database.dispose()


def test_refusals(tmp_path):
    original = Experiment.read(write_small(tmp_path / "small"))
    database, _ = into(tmp_path, original)
    with pytest.raises(ConfigError, match=r"import.sqlite: holds the experiment small already; import into an empty"):
        import_results(original, database)
    before = dump_of(database)
    with pytest.raises(DataError, match=r"small: nobody's answers; results.json is missing or empty"):
        import_results(dataclasses.replace(original, sessions=()), database)
    assert dump_of(database) == before
    database.dispose()
    empty = Database(database_url("empty.sqlite", tmp_path))
    with pytest.raises(DataError, match=r"empty.sqlite: holds no experiment"):
        Study.read(empty)
    empty.dispose()


def test_an_experiment_that_was_run_here_has_its_folder(tmp_path):
    with open_room(make_experiment(tmp_path / "shapes")) as room:
        assert json.loads(Study.of(room).config_json)["name"] == "shapes"
        with pytest.raises(ConfigError, match=r"shapes was run here; give the folder of the experiment"):
            Study.read(room.database)
