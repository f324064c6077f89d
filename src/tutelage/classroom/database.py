"""The database of an experiment: a file of SQLite, or PostgreSQL by URL."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
_WRITING = "tutelage_writing"


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
        self.name = url.render_as_string(hide_password=True)
        self._engine = _sqlite(url) if self.is_sqlite else create_engine(url, pool_size=16, max_overflow=_POOL - 16)
        # a page is several selects, which must be of one moment; a transaction of SQLite always is
        self._reader = (
            self._engine if self.is_sqlite else self._engine.execution_options(isolation_level="REPEATABLE READ")
        )
        self._writer = self._engine.execution_options(**{_WRITING: True})
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
        with self._failing(), self._reader.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a transaction: all of it is there at the end of the block, or nothing after an error.

        Raises:
            Unavailable: if the database fails, such as on a full disk.
        """
        with self._lock, self._failing(), self._writer.begin() as connection:
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
            copy = sqlite3.connect(path)
            try:
                source.backup(copy)
            finally:
                copy.close()

    def dispose(self) -> None:
        """Close all connections."""
        self._engine.dispose()

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
        except (DBAPIError, PoolTimeout) as error:
            reason = error.orig if isinstance(error, DBAPIError) else "no connection became free"
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


def _sqlite(url: URL) -> Engine:
    engine = create_engine(
        url, pool_size=16, max_overflow=_POOL - 16, pool_timeout=_WAIT_S, connect_args={"timeout": BUSY_MS / 1000}
    )

    def connected(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the module would begin transactions of its own
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", f"busy_timeout={BUSY_MS}", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    def begun(connection: Connection) -> None:
        writing = connection.get_execution_options().get(_WRITING, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine
