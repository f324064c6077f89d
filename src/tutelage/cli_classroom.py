"""The command ``tutelage classroom``: make an experiment with people, check it, serve it, and open or close it."""

import asyncio
import getpass
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from cyclopts import App, Parameter
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from .display import console
from .errors import ConfigError, DataError, unknown

if TYPE_CHECKING:
    from .classroom.new import NewArm
    from .classroom.room import Room
    from .classroom.simulate import Simulation

classroom_app = App(name="classroom", help="Teach people: make an experiment, serve it, and look at what they learnt.")

_EXTRA = ("fastapi", "uvicorn", "jinja2", "sqlalchemy", "httpx")
_LOCAL = ("127.0.0.1", "localhost", "::1")
_SHOWN = 10

_out = console()


@classroom_app.command
def new(
    folder: Path,
    /,
    *,
    arm: list[str],
    images: Path,
    consent: Path,
    title: str,
    planned_n: int,
    consent_version: str = "1",
    settings: Path | None = None,
) -> None:
    """Make the folder of an experiment from teaching sets.

    Parameters
    ----------
    folder
        Must not exist, or be empty.
    arm
        NAME=FILE: a way of teaching and its teaching set (.json), or a sequence of explain_teach (.strat); with
        NAME=FILE@TEACHER the set is the pool of a random, strict, maxgrad or review teacher. Give one for each arm.
    images
        Folder that the paths of the sets are relative to.
    consent
        File with the text that people agree to; an empty line separates paragraphs.
    title
        What participants read.
    planned_n
        People wanted in each arm.
    consent_version
        Of the text.
    settings
        TOML file with further keys of experiment.toml.
    """
    need_extra()
    from .classroom.new import new_experiment

    config = new_experiment(
        folder,
        [_arm(told) for told in arm],
        images,
        _read(consent, "--consent"),
        title=title,
        planned_n=planned_n,
        consent_version=consent_version,
        settings=None if settings is None else _toml(settings),
    )
    arms = f"{len(config.arms)} arm{'s' * (len(config.arms) != 1)}"
    say(f"{folder}: {arms}, {config.num_train} items to learn from, {config.num_test} to test")
    say(f"next: tutelage classroom check {folder}")


@classroom_app.command
def check(folder: Path, /) -> None:
    """Look for what is wrong with an experiment: images, labels, sizes, arms, and what tells a class.

    Parameters
    ----------
    folder
        Of the experiment.
    """
    need_extra()
    from .classroom.check import check as problems

    _tell(folder, problems(folder))
    say(f"{folder}: ready")


@classroom_app.command
def serve(folder: Path, /, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve an experiment until it is stopped with Ctrl-C.

    Parameters
    ----------
    folder
        Of the experiment.
    host
        Address of this machine; 127.0.0.1: only from this machine, as behind a proxy with TLS.
    port
        0: a free one.
    """
    need_extra()
    from .classroom.admission import make_link, password_hash
    from .classroom.web.serving import serve as run

    def started(address: str) -> None:
        say(f"participants: {address}/")
        if password_hash(folder) is None:
            say(f"researcher, once, within 15 minutes: {address}/admin/enter/{make_link(folder)}")
        else:
            say(f"researcher: {address}/admin")

    with opened(folder) as room:
        if host not in _LOCAL:
            warn("other machines need https, or their browsers send no cookies: put a proxy with TLS in front.")
        try:
            run(room, host, port, started)
        except KeyboardInterrupt:  # as the server was asked to end, it has
            say("stopped")


@classroom_app.command(name="open")
def open_(folder: Path, /) -> None:
    """Let people in, if check finds no error.

    Parameters
    ----------
    folder
        Of the experiment.
    """
    need_extra()
    from .classroom.opening import open_to_people

    with opened(folder) as room:
        _tell(folder, open_to_people(room))
    say(f"{folder}: open")


@classroom_app.command
def close(folder: Path, /) -> None:
    """Let nobody in any more; those who are in go on.

    Parameters
    ----------
    folder
        Of the experiment.
    """
    need_extra()
    from .classroom.room import set_status

    with opened(folder) as room:
        set_status(room, "closed")
    say(f"{folder}: closed")


@classroom_app.command
def simulate(
    folder: Path,
    /,
    *,
    people: int = 200,
    at_once: int = 200,
    pace: float = 0.0,
    seed: int = 0,
    profile: Annotated[list[str] | None, Parameter(negative="")] = None,
) -> None:
    """Send simulated people through an experiment over HTTP, and count that no answer is lost or double.

    They test the machinery; they are no evidence about teaching people.

    Parameters
    ----------
    folder
        Of the experiment, in draft or open.
    people
        How many.
    at_once
        How many at the same time.
    pace
        Of thinking: 1 as people, 0 without a pause.
    seed
        Of all that they do.
    profile
        What they are like, in turn; default: all kinds, difficult ones among them.
    """
    need_extra()
    from .classroom.simulate import simulate as send
    from .classroom.simulated_person import PROFILES
    from .classroom.web.serving import clients, served

    with opened(folder) as room, served(room) as address:
        sent = send(room, clients(address), people, profiles=profile or PROFILES, seed=seed, at_once=at_once, pace=pace)
        found = asyncio.run(sent)
    _simulated(found)


@classroom_app.command
def password(
    folder: Path,
    /,
    *,
    link: Annotated[bool, Parameter(negative="")] = False,
    url: str = "http://127.0.0.1:8000",
) -> None:
    """Set the password of the researcher's pages, or make a link that lets in once.

    Parameters
    ----------
    folder
        Of the experiment.
    link
        Make a link, for 15 minutes, and set no password.
    url
        Where the experiment is served, for the link.
    """
    need_extra()
    from .classroom.admission import make_link, set_password
    from .classroom.tokens import Key

    Key.read(folder)
    if link:
        say(f"{url.rstrip('/')}/admin/enter/{make_link(folder)}")
        return
    set_password(folder, _ask_password())
    say(f"{folder}: password set")


@classroom_app.command
def links(folder: Path, count: int, /, *, url: str = "http://127.0.0.1:8000") -> None:
    """Make links that let one person in each; they are shown once, and only hashes are stored.

    Parameters
    ----------
    folder
        Of an experiment whose recruitment.links is single_use.
    count
        How many.
    url
        Where people reach the experiment.
    """
    need_extra()
    from .classroom.links import make_links

    if count < 1:
        raise ConfigError(f"{count} links: give 1 or more.")
    with opened(folder) as room:
        if room.config.recruitment.links != "single_use":
            raise ConfigError(f'{folder}: anyone may come; links for one person need recruitment.links = "single_use".')
        for code in make_links(room, count):
            say(f"{url.rstrip('/')}/?code={code}")


def need_extra() -> None:
    """Make sure that what the classroom needs is installed.

    Raises:
        ConfigError: if it is not.
    """
    missing = next((name for name in _EXTRA if find_spec(name) is None), None)
    if missing is not None:
        raise ConfigError(f'the classroom needs {missing}, which is not installed: pip install "tutelage[classroom]"')


@contextmanager
def opened(folder: Path) -> Iterator["Room"]:
    """Give an experiment with its adaptive teachers within the block.

    Raises:
        ConfigError, DataError, Unavailable: as ``open_room``.
    """
    from .classroom.adaptive import MAKERS
    from .classroom.room import open_room

    with open_room(folder, makers=MAKERS) as room:
        yield room


def say(line: str) -> None:
    """Print a line as it is."""
    _out.print(line, soft_wrap=True, highlight=False, markup=False)


def warn(line: str) -> None:
    """Print a line that wants attention."""
    _out.print(f"warning: {line}", style="yellow", soft_wrap=True, highlight=False, markup=False)


def show_table(heads: Sequence[str], rows: Sequence[Sequence[object]], texts: int = 1) -> None:
    """Print a table; the first columns are texts, the others numbers."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place < texts else "right", no_wrap=place < texts)
    for row in rows:
        table.add_row(*("-" if cell is None else escape(str(cell)) for cell in row))
    _out.print(table)


def _arm(told: str) -> "NewArm":
    from .classroom.config import Teacher
    from .classroom.new import NewArm

    name, equals, source = told.partition("=")
    if not (name and equals and source):
        raise ConfigError(f"--arm {told}: needs NAME=FILE, or NAME=FILE@TEACHER.")
    file, at, teacher = source.rpartition("@")
    if not at:
        return NewArm(name, Path(source))
    known = next((kind for kind in get_args(Teacher) if kind == teacher), None)
    if known is None:
        raise ConfigError(f"--arm {told}: {unknown('teacher', teacher, get_args(Teacher))}")
    return NewArm(name, Path(file), known)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(path, "--settings"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"--settings {path}: not TOML: {error}.") from None


def _read(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise ConfigError(f"{option} {path}: cannot be read ({reason}).") from None


def _tell(folder: Path, problems: Sequence[tuple[str, str]]) -> None:
    """Print what is wrong, and stop if there is an error among it."""
    for kind, line in problems:
        style = "red" if kind == "error" else "yellow"
        _out.print(f"{kind}: {line}", style=style, soft_wrap=True, highlight=False, markup=False)
    errors = sum(kind == "error" for kind, _ in problems)
    if errors:
        raise ConfigError(f"{folder}: {errors} error{'s' * (errors != 1)}; mend them before people come in.")


def _simulated(found: "Simulation") -> None:
    show_table(("arm", "completed"), list(found.arms.items()))
    say(f"{len(found.walks)} simulated people: {found.completed} completed, {found.withdrew} withdrew")
    say(f"{found.answers} answers: {found.lost} lost, {found.extra} double, {found.misjudged} marked wrongly")
    if found.answer_ms is not None:
        say("an answer to the next page: {:.0f} ms median, {:.0f} ms 95 %, {:.0f} ms 99 %".format(*found.answer_ms))
    for line in found.unexpected[:_SHOWN]:
        warn(line)
    if not found.sound:
        raise DataError(f"{len(found.unexpected)} things were not as they should be, see above.")


def _ask_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    given = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != given:
        raise ConfigError("the two passwords differ; nothing was changed.")
    return given
