"""The database: its settings, its versions, and what happens to a transaction that fails."""

import sqlite3
import threading

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, event, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from tutelage.classroom import service, tables
from tutelage.classroom.database import Database, Unavailable, database_url
from tutelage.classroom.replies import Debrief
from tutelage.classroom.tables import SCHEMA_VERSION, schema_version, tally
from tutelage.classroom.tokens import KEY_FILE, Key
from tutelage.errors import ConfigError

from .experiments import at_once, dump, enter, go_on, make_experiment, opened, rows, walk


@pytest.fixture
def opened_database(tmp_path, database):
    found = Database(database_url(database(), tmp_path))
    yield found
    found.dispose()


def add(connection, name):
    row = dict.fromkeys(("config_json", "config_hash", "consent_version", "created_at", "key_check", "name"), "x")
    connection.execute(insert(tables.experiment).values(id=name, seed=0, status="draft", **row))


def add_all(connection, names):
    for name in names:
        if name is None:
            raise ZeroDivisionError
        add(connection, name)


def count(database):
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(tables.experiment))


def test_a_transaction_is_whole_or_not_at_all(opened_database):
    with opened_database.write() as connection:
        add(connection, "a")
    for names, error in ((["b", None], ZeroDivisionError), (["c", "a"], IntegrityError)):
        with pytest.raises(error), opened_database.write() as connection:
            add_all(connection, names)
    assert count(opened_database) == 1


def test_a_reader_sees_one_moment_and_does_not_wait(opened_database):
    with opened_database.read() as reader:
        counted = select(func.count()).select_from(tables.experiment)
        assert reader.scalar(counted) == 0
        with opened_database.write() as connection:
            add(connection, "a")
        assert reader.scalar(counted) == 0
    assert count(opened_database) == 1


def test_writers_take_turns(opened_database):
    with opened_database.write() as connection:
        add(connection, "a")
        connection.execute(insert(tally).values(experiment_id="a", kind="n", count=0))

    def add_one(_):
        with opened_database.write() as connection:
            found = connection.scalar(select(tally.c.count).with_for_update())
            connection.execute(update(tally).values(count=found + 1))

    at_once(40, add_one)
    with opened_database.read() as connection:
        assert connection.scalar(select(tally.c.count)) == 40


def test_rows_must_fit(opened_database):
    for values in ({"experiment_id": "none", "kind": "n", "count": 1}, {"experiment_id": "none", "kind": "n"}):
        with pytest.raises(IntegrityError), opened_database.write() as connection:
            connection.execute(insert(tally).values(values))
    with opened_database.write() as connection:
        add(connection, "a")
    with pytest.raises(IntegrityError), opened_database.write() as connection:
        connection.execute(update(tables.experiment).values(status="ajar"))


def test_another_version_is_refused(tmp_path, database):
    url = database_url(database(), tmp_path)
    found = Database(url)
    with found.write() as connection:
        connection.execute(update(schema_version).values(version=SCHEMA_VERSION + 1))
    found.dispose()
    with pytest.raises(ConfigError, match=f"tables of version {SCHEMA_VERSION + 1}, but this tutelage has version"):
        Database(url)


def test_tables_of_another_program_are_left_alone(tmp_path, database):
    url = database_url(database(), tmp_path)
    other = MetaData()
    Table("item", other, Column("x", Integer))
    found = Database(url)
    with found.write() as connection:
        tables.metadata.drop_all(connection)
        other.create_all(connection)
    found.dispose()
    with pytest.raises(ConfigError, match="has other tables of the name item; use an empty database"):
        Database(url)


def test_the_settings_of_sqlite(tmp_path):
    found = Database(database_url("a.sqlite", tmp_path))
    with found.read() as connection:
        asked = ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        assert [connection.scalar(text(f"PRAGMA {name}")) for name in asked] == ["wal", 1, 10_000, 2]
    found.dispose()


def test_urls(tmp_path):
    assert database_url("a.sqlite", tmp_path).database == str(tmp_path / "a.sqlite")
    assert database_url("/b/a.sqlite", tmp_path).database == "/b/a.sqlite"
    found = database_url("postgresql://me:secret@host/db", tmp_path)
    assert (found.drivername, found.host, found.database) == ("postgresql+psycopg", "host", "db")
    for wrong in ("mysql://host/db", "sqlite:///x", "https://host", "://"):
        with pytest.raises(ConfigError, match='key "database": a URL of the kind'):
            database_url(wrong, tmp_path)


def test_a_database_that_is_not_there_is_unavailable(tmp_path):
    (tmp_path / "text.sqlite").write_text("this is no database, but it is long enough to be one" * 20)
    for given in ("none/a.sqlite", "text.sqlite", "postgresql://me:secret@127.0.0.1:9/db"):
        with pytest.raises(Unavailable, match="the database fails now") as error:
            Database(database_url(given, tmp_path))
        assert "secret" not in str(error.value)
        assert "\n" not in str(error.value)


def test_a_full_disk_refuses_a_step_and_keeps_the_page(tmp_path):
    room = opened(make_experiment(tmp_path / "e"))
    bearer = enter(room)
    page = walk(room, bearer, lambda page: isinstance(page, Debrief))[-1]
    with room.database.read() as connection:
        full = connection.scalar(text("PRAGMA page_count"))
    limits = [full]
    event.listen(
        room.database._engine, "begin", lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {limits[-1]}").close()
    )
    before = dump(room)
    with pytest.raises(Unavailable, match="the database fails now: database or disk is full"):
        go_on(room, bearer, comment="x" * 5000)  # more than is free on the pages that there are
    assert dump(room) == before
    assert service.page(room, bearer) == page
    limits.append(full + 1000)
    assert go_on(room, bearer, comment="x" * 5000).written
    assert len(rows(room, tables.session)[0].comment) == 5000
    room.close()


def test_a_backup_is_taken_while_people_answer(tmp_path):
    room = opened(make_experiment(tmp_path / "e"))
    bearer = enter(room)
    writer = threading.Thread(target=walk, args=(room, bearer))
    writer.start()
    room.database.backup(tmp_path / "copy.sqlite")
    writer.join()
    copy = sqlite3.connect(tmp_path / "copy.sqlite")
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert copy.execute("SELECT count(*) FROM session").fetchone() == (1,)
    copy.close()
    with pytest.raises(ConfigError, match="exists; name another file"):
        room.database.backup(tmp_path / "copy.sqlite")
    room.close()


def test_postgresql_is_backed_up_by_its_own_tool(build):
    room = build()
    if not room.database.is_sqlite:
        with pytest.raises(ConfigError, match="pg_dump"):
            room.database.backup(room.folder / "copy")


def test_a_database_keeps_to_its_key(tmp_path):
    folder = make_experiment(tmp_path / "e")
    service.open_room(folder).close()
    (folder / KEY_FILE).unlink()
    Key.create(folder)
    with pytest.raises(ConfigError, match="the database belongs to another key"):
        service.open_room(folder)


def test_no_trial_is_there_without_consent(build):
    room = build()
    walk(room, enter(room))
    people = {row.id: row for row in rows(room, tables.participant)}
    sessions = {row.id: people[row.participant_id] for row in rows(room, tables.session)}
    assert all(sessions[trial.session_id].consent_at <= trial.answered_at for trial in rows(room, tables.trial))
    with pytest.raises(IntegrityError), room.database.write() as connection:
        connection.execute(update(tables.participant).values(consent_at=None))
