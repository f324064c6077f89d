"""Exports for the researcher: two tables, everything as JSON, the layout of explain_teach, and what the columns mean.

No file has an id of a platform. Each says which configuration it belongs to and which version wrote it.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Select, select

from ..data.records.atomic import AtomicWriter
from ..errors import ConfigError, DataError
from . import tables
from .export_explain_teach import to_explain_teach
from .export_tables import SESSIONS, SHOWN_DIGITS, TRIALS, Cell, kept_sessions, session_rows, trial_rows
from .study import People, Study

FORMULA = frozenset("=+-@\t\r")
"""How a cell begins that a spreadsheet would run."""
Writer: TypeAlias = Callable[[Study, Select[str]], bytes]


def export_study(
    study: Study, folder: str | os.PathLike[str], *, people: People = "real", withdrawn: bool = False
) -> tuple[Path, ...]:
    """Write all exports of a study into a new folder.

    Args:
        study: whose.
        folder: must not exist, or be empty.
        people: real or simulated ones, never both.
        withdrawn: with what is kept of those who withdrew.

    Returns:
        what was written; the last one is the folder in the layout of explain_teach, which is left out if nobody has
        completed.

    Raises:
        ConfigError: if the folder is not empty.
        DataError: if a file cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists; give an empty folder, or a new one.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be made ({error.strerror}).") from None
    kept = kept_sessions(study, people, withdrawn)
    written = []
    for name, content in FILES.items():
        AtomicWriter(folder / name, content(study, kept)).close()
        written.append(folder / name)
    experiment = to_explain_teach(study, people)
    if experiment.sessions:
        experiment.write(folder / "explain_teach")
        written.append(folder / "explain_teach")
    return tuple(written)


def trials_csv(study: Study, kept: Select[str]) -> bytes:
    """Return ``trials.csv``, a row an answer."""
    with study.database.read() as connection:
        return _csv(TRIALS, trial_rows(connection, study, kept))


def sessions_csv(study: Study, kept: Select[str]) -> bytes:
    """Return ``sessions.csv``, a row a session."""
    with study.database.read() as connection:
        return _csv(SESSIONS, session_rows(connection, study, kept))


def experiment_json(study: Study, kept: Select[str]) -> bytes:
    """Return ``experiment.json``: all that is stored but what opens a session or names a person."""
    hidden = {"bearer_hash", "external_hmac", "experiment_id"}
    with study.database.read() as connection:

        def rows(table: Any, *where: Any) -> list[dict[str, Any]]:
            names = [column.name for column in table.columns if column.name not in hidden]
            order = [table.c[column.name] for column in table.primary_key]
            found = connection.execute(select(*(table.c[name] for name in names)).where(*where).order_by(*order))
            return [dict(zip(names, row)) for row in found]

        people = select(tables.session.c.participant_id).where(tables.session.c.id.in_(kept))
        of_session = {table: table.c.session_id.in_(kept) for table in (tables.plan, tables.trial, tables.event)}
        facts = {
            **study.facts,
            "config": json.loads(study.config_json),
            "classes": study.classes,
            "items": rows(tables.item, tables.item.c.experiment_id == study.id),
            "arms": rows(tables.arm, tables.arm.c.experiment_id == study.id),
            "participants": rows(tables.participant, tables.participant.c.id.in_(people)),
            "sessions": rows(tables.session, tables.session.c.id.in_(kept)),
            "plan": rows(tables.plan, of_session[tables.plan]),
            "trials": rows(tables.trial, of_session[tables.trial]),
            "events": rows(tables.event, of_session[tables.event]),
            "tally": rows(tables.tally, tables.tally.c.experiment_id == study.id),
        }
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def codebook(study: Study, _kept: Select[str]) -> bytes:
    """Return ``codebook.md``: what the columns of the tables mean."""
    lines = [
        f"# Codebook of {study.name}",
        "",
        f"Configuration {study.config_hash}, written by tutelage {study.facts['tutelage']}.",
        f"Tables name the configuration by its first {SHOWN_DIGITS} digits. Times are UTC. Classes in label order: "
        f"{', '.join(study.classes)}.",
        "An empty cell is a value that is not known. Text that a spreadsheet would take for a formula has a quote "
        "before it.",
    ]
    for name, columns in (("trials.csv", TRIALS), ("sessions.csv", SESSIONS)):
        lines += ["", f"## {name}", "", "| column | meaning |", "|---|---|"]
        lines += [f"| {column} | {meaning} |" for column, meaning in columns.items()]
    return "\n".join(lines).encode() + b"\n"


FILES: Mapping[str, Writer] = {
    "trials.csv": trials_csv,
    "sessions.csv": sessions_csv,
    "experiment.json": experiment_json,
    "codebook.md": codebook,
}
"""What is written, by name."""


def safe(cell: Cell) -> Cell:
    """Return a cell that no spreadsheet runs: a quote before text that begins as a formula does."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in FORMULA else cell


def _csv(columns: Mapping[str, str], rows: Iterable[list[Cell]]) -> bytes:
    out = io.BytesIO()
    with io.TextIOWrapper(out, encoding="utf-8", newline="") as text:  # no second copy in memory
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(map(safe, row) for row in rows)
        text.flush()
        return out.getvalue()
