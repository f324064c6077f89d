"""Databases for the tests of the classroom: SQLite, and PostgreSQL where Debian's is installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra tutelage[classroom]")

from .experiments import Clock, make_experiment, opened


class Cluster:
    """Databases of PostgreSQL: to empty one is faster than to make one.

    Args:
        url: with ``%s`` for the name of the database.
    """

    def __init__(self, url):
        self.url, self.free = url, []

    def lend(self):
        import psycopg

        if self.free:
            return self.free.pop()
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(self.url % "postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url % name

    def take_back(self, url):
        import psycopg

        with psycopg.connect(url) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        self.free.append(url)


def _as_postgres(user, *command):
    runner = ["runuser", "-u", user, "--", *command] if os.geteuid() == 0 else list(command)
    subprocess.run(runner, check=True, capture_output=True, cwd="/")


@pytest.fixture(scope="session")
def postgres():
    """A throw-away PostgreSQL cluster on a socket in a folder, or a skip."""
    pytest.importorskip("psycopg", reason="needs psycopg")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL in /usr/lib/postgresql: install Debian's package postgresql")
    programs, user = found[-1].parent, "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if user == "postgres" and not any(entry.pw_name == user for entry in pwd.getpwall()):
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    folder = Path(tempfile.mkdtemp(prefix="tutelage-postgres-"))  # a socket's path must be short
    if os.geteuid() == 0:
        shutil.chown(folder, user)
    data = str(folder / "data")
    try:
        _as_postgres(user, str(programs / "initdb"), "-D", data, "-A", "trust", "-U", "postgres", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c max_connections=150"
        control = [str(programs / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log")]
        _as_postgres(user, *control, "-o", options, "start")
        try:
            yield Cluster(f"postgresql:///%s?host={folder}&user=postgres")
        finally:
            _as_postgres(user, *control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request):
    """Returns, for each kind of database, what an experiment's key ``database`` says for an empty one."""
    if request.param == "sqlite":
        yield lambda: "classroom.sqlite"
        return
    cluster, lent = request.getfixturevalue("postgres"), []

    def make():
        lent.append(cluster.lend())
        return lent[-1]

    yield make
    for url in lent:
        cluster.take_back(url)


@pytest.fixture
def clock():
    """The clock of the experiments that ``build`` makes."""
    return Clock()


@pytest.fixture
def build(tmp_path, database, clock):
    """Makes and opens an experiment on each kind of database, with changes to its configuration."""
    rooms = []

    def make(makers=None, **changes):
        folder = make_experiment(tmp_path / f"e{len(rooms)}", database=database(), **changes)
        rooms.append(opened(folder, makers=makers, clock=clock))
        return rooms[-1]

    yield make
    for room in rooms:
        room.close()


@pytest.fixture
def room(build):
    """An open experiment on each kind of database."""
    return build()
