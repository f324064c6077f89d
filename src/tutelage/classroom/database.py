"""The database of an experiment: a file of SQLite, or PostgreSQL by URL."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..errors import ConfigError, TutelageError
from .tables import SCHEMA_VERSION, metadata, schema_version

BUSY_MS = 10_000
"""How long a writer of another process is waited for."""
_POOL, _WAIT_S = 64, 30
_PRAGMAS = (
    "journal_mode=WAL",
    "foreign_keys=ON",
    f"busy_timeout={BUSY_MS}",
    "synchronous=FULL",
    "secure_delete=ON",  # what is deleted is written over
)


class Unavailable(TutelageError):
    """The database cannot be read or written now: the disk is full, a lock was not free in time, or it is gone."""


class Database:
    """Transactions on the tables.

    SQLite has one writer at a time, by a lock of the process; readers never wait. In PostgreSQL writers lock the rows
    that they are about.

    Args:
        url: of the database; see :func:`database_url`.

    Raises:
        ConfigError: if its tables are of another version, or are another program's.
        Unavailable: if it cannot be opened.
    """

    def __init__(self, url: URL) -> None:
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.name = str(url.database) if self.is_sqlite else url.render_as_string(hide_password=True)
        self._engine = _sqlite(url) if self.is_sqlite else _engine(url)
        # a page is several selects, which must be of one moment; a transaction of SQLite always is
        self._reader = (
            self._engine if self.is_sqlite else self._engine.execution_options(isolation_level="REPEATABLE READ")
        )
        self._lock = threading.Lock() if self.is_sqlite else nullcontext()
        try:
            self._create()
        except TutelageError:
            self.dispose()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a snapshot.

        Raises:
            Unavailable: if the database fails.
        """
        with self._failing(), self._reader.begin() as connection:
            self._begin(connection, "BEGIN")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a transaction: all of it is there at the end of the block, or nothing after an error.

        Raises:
            Unavailable: if the database fails, such as on a full disk.
        """
        with self._lock, self._failing(), self._engine.begin() as connection:
            self._begin(connection, "BEGIN IMMEDIATE")
            yield connection

    def backup(self, path: Path) -> None:
        """Copy a SQLite database while it is in use.

        Raises:
            ConfigError: for PostgreSQL, which has tools of its own, and if the file exists.
        """
        if not self.is_sqlite:
            raise ConfigError(f"{self.name}: back up PostgreSQL with its own tool, pg_dump.")
        if path.exists():
            raise ConfigError(f"{path} exists; name another file.")
        with self._failing(), self._engine.connect() as connection:
            source = connection.connection.driver_connection
            assert isinstance(source, sqlite3.Connection)
            _private(path)
            copy = sqlite3.connect(path)
            try:
                source.backup(copy)
            finally:
                copy.close()

    def erase(self) -> None:
        """Take what was deleted out of the log of SQLite too, where it would stay until the log is written anew.

        While others read it stays there until they are done, or the database is closed.
        """
        if self.is_sqlite:
            with self._lock, self._failing(), self._engine.connect() as connection:
                driver = connection.connection.driver_connection
                assert isinstance(driver, sqlite3.Connection)
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def dispose(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _begin(self, connection: Connection, how: str) -> None:
        # an event of the engine would do this too, but makes every statement slower
        if self.is_sqlite:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.execute(how)

    def _create(self) -> None:
        with self.write() as connection:
            known = set(inspect(connection).get_table_names())
            if schema_version.name not in known:
                if clash := sorted(known & set(metadata.tables)):
                    raise ConfigError(f"{self.name}: has other tables of the name {clash[0]}; use an empty database.")
                metadata.create_all(connection)
                connection.execute(insert(schema_version).values(version=SCHEMA_VERSION))
            version = connection.scalar(select(schema_version.c.version))
        if version != SCHEMA_VERSION:
            raise ConfigError(
                f"{self.name}: tables of version {version}, but this tutelage has version {SCHEMA_VERSION}; "
                "use the tutelage that made them."
            )

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (IntegrityError, ProgrammingError):
            raise  # a row that breaks a rule of the tables is a defect of the program
        except PoolTimeout as error:
            raise Unavailable(f"{self.name}: the database fails now: no connection became free.") from error
        except (DBAPIError, sqlite3.Error) as error:
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise Unavailable(f"{self.name}: the database fails now: {str(reason).splitlines()[0]}.") from error


def database_url(given: str, folder: Path) -> URL:
    """Return the URL of a database.

    Args:
        given: a file, relative to the folder, or a URL that begins with ``postgresql://``.
        folder: of the experiment.

    Raises:
        ConfigError: for another kind of URL.
    """
    if "://" not in given:
        return URL.create("sqlite+pysqlite", database=str((folder / given).resolve()))
    try:
        url = make_url(given)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() != "postgresql":
        kind = given.split("://")[0]
        raise ConfigError(f'key "database": a URL of the kind "{kind}"; needed: a file, or postgresql://...')
    return url.set(drivername="postgresql+psycopg")


def _engine(url: URL, **options: Any) -> Engine:
    # errors go to the log of the server, which must not name people
    return create_engine(
        url, pool_size=16, max_overflow=_POOL - 16, pool_timeout=_WAIT_S, hide_parameters=True, **options
    )


def _private(path: Path) -> None:
    """Make an empty file that nobody else may read, unless there is one; SQLite gives its others the same rights."""
    with suppress(OSError):  # SQLite says what is wrong when it opens it
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))


def _sqlite(url: URL) -> Engine:
    assert url.database is not None
    _private(Path(url.database))
    engine = _engine(url, connect_args={"timeout": BUSY_MS / 1000})

    def connected(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the module would begin transactions of its own
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", connected)
    return engine
