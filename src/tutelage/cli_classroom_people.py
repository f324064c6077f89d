"""The rest of ``tutelage classroom``: who took part, exports and imports, codes, removal and copies."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from .cli_classroom import classroom_app as classroom_app
from .cli_classroom import need_extra, opened, say, show_table, warn
from .cli_files import check_new
from .data.records.atomic import AtomicWriter
from .errors import ConfigError

if TYPE_CHECKING:
    from .classroom.study import Study

Flag = Annotated[bool, Parameter(negative="")]


@classroom_app.command
def status(folder: str, /, *, people: Literal["real", "simulated"] = "real") -> None:
    """Say who takes part in an experiment, by arm and state.

    Parameters
    ----------
    folder
        Of the experiment; or a database that was imported: its file, or postgresql://...
    people
        Real or simulated ones.
    """
    need_extra()
    from .classroom.dashboard import WHY_HIDDEN, dashboard

    with _study(folder) as study:
        found = dashboard(study, people)
    say(f"{study.name}: {study.status}, configuration {study.config_hash[:12]}")
    heads = ("arm", "wanted", "consented", "started", "active", "completed", "abandoned", "withdrawn", "timed out")
    show_table(heads, found.arms)
    if people == "real":
        say(f"declined: {found.declined}; with a device that does not fit: {found.screened_out}")
    if found.results is None:
        say(WHY_HIDDEN)
        return
    rows = []
    for outcome in found.results.outcomes:
        test, interval = outcome.test, outcome.test.interval
        told = None if interval is None else f"{interval.low:.1f} to {interval.high:.1f}"
        rows.append((outcome.arm, test.n, None if test.mean is None else f"{test.mean:.1f}", told))
    show_table(("arm", "people", "test, %", "95 % interval"), rows)


@classroom_app.command
def export(
    folder: str, target: Path, /, *, people: Literal["real", "simulated"] = "real", withdrawn: Flag = False
) -> None:
    """Write the answers: CSV tables, JSON, the layout of explain_teach, and a codebook.

    Parameters
    ----------
    folder
        Of the experiment; or a database that was imported: its file, or postgresql://...
    target
        Where to; must not exist, or be empty.
    people
        Real or simulated ones.
    withdrawn
        With what is kept of those who withdrew.
    """
    need_extra()
    from .classroom.exporting import export_study

    with _study(folder) as study:
        written = export_study(study, target, people=people, withdrawn=withdrawn)
    for path in written:
        say(str(path))


@classroom_app.command(name="import")
def import_(source: Path, database: str, /, *, duplicates: Flag = False) -> None:
    """Read released results of explain_teach into a database, to look at and export as one's own.

    Parameters
    ----------
    source
        Folder with settings.json, teaching_images.json, results.json and *.strat.
    database
        A file, which must not exist, or postgresql://... of an empty one.
    duplicates
        Keep records that repeat an earlier one.
    """
    need_extra()
    from .classroom.database import Database, database_url
    from .classroom.importing import import_results
    from .explain_teach import Experiment

    experiment = Experiment.read(source)
    made = Database(database_url(database, Path.cwd()))
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = import_results(experiment, made, duplicates=duplicates)
    finally:
        made.dispose()
    for warning in told:
        warn(str(warning.message))
    say(f"{made.name}: {found.sessions} sessions of {found.records} records, {found.distinct} of them distinct")
    if found.unresolved:
        warn(f"{found.unresolved} answers whose image is not known.")


@classroom_app.command
def results(folder: str, page: Path, /, *, people: Literal["real", "simulated"] = "real") -> None:
    """Write what the researcher's overview shows as one HTML page, which needs no server.

    Parameters
    ----------
    folder
        Of the experiment; or a database that was imported: its file, or postgresql://...
    page
        The file, which must not exist: .html.
    people
        Real or simulated ones.
    """
    need_extra()
    from .classroom.web.results import results_page

    check_new("the page", page, (".html",), "results are written as")
    with _study(folder) as study:
        content = results_page(study, people)
    AtomicWriter(page, content.encode()).close()
    say(str(page))


@classroom_app.command
def purge(folder: Path, participant: str | None = None, /, *, simulated: Flag = False, raw_ids: Flag = False) -> None:
    """Remove a participant everywhere, all simulated people, or the platform's ids of all people.

    Parameters
    ----------
    folder
        Of the experiment.
    participant
        Random id of the person, as exports have it.
    simulated
        All simulated people; then the configuration may change again, if nobody else took part.
    raw_ids
        The ids of the platform, when everyone is paid.
    """
    need_extra()
    from .classroom.people import purge_simulated
    from .classroom.removal import purge as remove
    from .classroom.removal import purge_raw_ids

    if (participant is not None) + simulated + raw_ids != 1:
        raise ConfigError("purge: give one of these: the id of a participant, --simulated, --raw-ids.")
    with opened(folder) as room:
        if simulated:
            removed = purge_simulated(room)
            say(f"{removed} simulated {'person' if removed == 1 else 'people'} removed")
        elif raw_ids:
            say(f"{purge_raw_ids(room)} ids removed")
        elif participant is None or not remove(room, participant):
            raise ConfigError(f"{folder}: there is no participant {participant}; exports have their ids.")
        else:
            say(f"{participant}: removed")


@classroom_app.command
def backup(folder: Path, target: Path, /) -> None:
    """Copy the database while the experiment is served.

    Parameters
    ----------
    folder
        Of the experiment.
    target
        The file, which must not exist.
    """
    need_extra()
    if not target.parent.is_dir():
        raise ConfigError(f"{target}: there is no folder {target.parent}; make it, or give another.")
    with opened(folder) as room:
        room.database.backup(target)
    say(f"{target}: {target.stat().st_size:,} bytes; keep the key {folder / 'private' / 'key'} as well")


@classroom_app.command
def codes(folder: Path, /, *, redeem: Annotated[list[str] | None, Parameter(negative="")] = None) -> None:
    """List the completion codes, or redeem some.

    Parameters
    ----------
    folder
        Of the experiment.
    redeem
        A code that a person handed in; each can be redeemed once.
    """
    need_extra()
    from .classroom.completion import redeem as mark
    from .classroom.people import codes as issued

    with opened(folder) as room:
        if not redeem:
            rows = [(c.code, c.outcome, c.raw_id, c.issued_at, c.redeemed_at) for c in issued(room)]
            show_table(("code", "outcome", "platform's id", "issued", "redeemed"), rows, texts=5)
            return
        results = {code: mark(room, code) for code in redeem}
    for code, result in results.items():
        say(f"{code}: {result}")
    if refused := [code for code, result in results.items() if result != "redeemed"]:
        raise ConfigError(f"{len(refused)} of {len(results)} codes were not redeemed now: {', '.join(refused)}.")


@contextmanager
def _study(given: str) -> Iterator["Study"]:
    """Give what is known of an experiment, or of a database that was imported."""
    from .classroom.database import Database, database_url
    from .classroom.study import Study

    if "://" not in given and not Path(given).exists():
        raise ConfigError(f"{given}: there is neither an experiment nor a database; make one: tutelage classroom new")
    if "://" not in given and not Path(given).is_file():
        with opened(Path(given)) as room:
            yield Study.of(room)
        return
    database = Database(database_url(given, Path.cwd()))
    try:
        yield Study.read(database)
    finally:
        database.dispose()
