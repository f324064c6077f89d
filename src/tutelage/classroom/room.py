"""An opened experiment: all that a request needs."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from sqlalchemy import Connection, delete, insert, select, update

from ..errors import ConfigError, unknown
from ..randomness import stream
from . import tables
from .config import ADAPTIVE, Config, read_config
from .database import Database, database_url
from .images import Images
from .material import Material, load_material
from .teaching import AdaptiveTeacher, Pool, PoolItem, TeacherMaker
from .tokens import KEY_FILE, Key, random_id

Status: TypeAlias = Literal["draft", "open", "closed"]
Clock: TypeAlias = Callable[[], datetime]
CACHE = Path("private") / "images"
_DECIDING = 4
"""Adaptive teachers that may compute at the same time."""
_NOTE = insert(tables.event)


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


def as_text(moment: datetime) -> str:
    """Return a time as it is stored: UTC, ISO 8601, milliseconds, ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(since: str, until: str) -> int:
    """Return what passed between two stored times, at least 0: a clock that was set back does not count."""
    passed = datetime.fromisoformat(until) - datetime.fromisoformat(since)
    return max(0, round(passed / timedelta(milliseconds=1)))


@dataclass(frozen=True)
class Room:
    """An experiment whose requests can be answered; safe to share among threads.

    Attributes:
        folder: of the experiment.
        config: of the experiment.
        material: items and arms.
        database: with the people and their answers.
        key: of the experiment.
        images: as the browser gets them.
        experiment_id: of its row.
        arm_names: by id of the row of the arm.
        teachers: by name, of the arms with an adaptive teacher.
        clock: gives the time.
    """

    folder: Path
    config: Config
    material: Material
    database: Database
    key: Key
    images: Images
    experiment_id: str
    arm_names: Mapping[str, str]
    teachers: Mapping[str, AdaptiveTeacher] = field(default_factory=dict)
    clock: Clock = utc_now
    deciding: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_DECIDING, "teacher"))

    def now(self) -> str:
        """Return the time as it is stored."""
        return as_text(self.clock())

    def before(self, minutes: float) -> str:
        """Return the time of some minutes ago as it is stored."""
        return as_text(self.clock() - timedelta(minutes=minutes))

    def pool(self, arm_name: str) -> Pool:
        """Return what the teacher of an arm chooses from."""
        return _pool(self.material, arm_name)

    def close(self) -> None:
        """Close the database; what teachers compute at the moment is not waited for."""
        self.deciding.shutdown(wait=False, cancel_futures=True)
        self.database.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_room(
    folder: str | os.PathLike[str], *, makers: Mapping[str, TeacherMaker] | None = None, clock: Clock = utc_now
) -> Room:
    """Open an experiment; its rows are made, or made anew as long as nobody has taken part.

    Args:
        folder: with ``experiment.toml``, images, teaching sets and the key.
        makers: of adaptive teachers, by what the configuration calls them.
        clock: gives the time.

    Raises:
        ConfigError: if the configuration or the key is wrong, or configuration, sets or images are other ones than when
            the first person took part.
        DataError: if teaching sets or images are missing or do not fit.
        Unavailable: if the database cannot be opened.
    """
    folder = Path(folder)
    config, key = read_config(folder), Key.read(folder)
    material = load_material(config, folder)
    teachers = {name: _teacher(material, config, name, makers or {}) for name in _adaptive(config)}
    database = Database(database_url(config.database, folder))
    try:
        with database.write() as connection:
            experiment_id = _sync(connection, config, material, key, as_text(clock()), folder)
            rows = connection.execute(select(tables.arm.c.id, tables.arm.c.name)).all()
    except BaseException:
        database.dispose()
        raise
    names = {row.id: row.name for row in rows}
    images = Images(folder / CACHE)
    return Room(folder, config, material, database, key, images, experiment_id, names, teachers, clock)


def status(room: Room) -> Status:
    """Return whether people may come in: in ``draft`` only simulated ones."""
    with room.database.read() as connection:
        found: Status = connection.execute(select(tables.experiment.c.status)).scalar_one()
    return found


def set_status(room: Room, new: Status) -> None:
    """Open or close the experiment; people who are in it go on."""
    with room.database.write() as connection:
        connection.execute(update(tables.experiment).values(status=new))
        note(connection, room.now(), "admin", {"status": new})


def record(room: Room, kind: str, detail: Mapping[str, Any], session_id: str | None = None) -> None:
    """Append an event in a transaction of its own."""
    with room.database.write() as connection:
        note(connection, room.now(), kind, detail, session_id)


def note(connection: Connection, at: str, kind: str, detail: Mapping[str, Any], session_id: str | None = None) -> None:
    """Append an event.

    Args:
        connection: in a transaction that writes.
        at: time.
        kind: of the event.
        detail: what JSON can hold.
        session_id: None: it is of the experiment.
    """
    told = json.dumps(detail, sort_keys=True)
    connection.execute(_NOTE, {"session_id": session_id, "at": at, "kind": kind, "detail": told})


def _adaptive(config: Config) -> list[str]:
    return [arm.name for arm in config.arms if arm.teacher in ADAPTIVE]


def _teacher(material: Material, config: Config, name: str, makers: Mapping[str, TeacherMaker]) -> AdaptiveTeacher:
    kind = material.arms[name].config.teacher
    if kind not in makers:
        raise ConfigError(f'arm "{name}": {unknown("adaptive teacher", kind, sorted(makers))}')
    return makers[kind](_pool(material, name), stream(config.seed, f"teacher/{name}"))


def _pool(material: Material, arm_name: str) -> Pool:
    items = (material.items[item] for item in material.arms[arm_name].item_ids)
    return Pool(material.classes, tuple(PoolItem(item.id, item.label, item.file) for item in items))


def _sync(connection: Connection, config: Config, material: Material, key: Key, now: str, folder: Path) -> str:
    """Bring the rows of the experiment in line with its folder, and return its id."""
    stored = connection.execute(select(tables.experiment).with_for_update()).one_or_none()
    items, arms = _item_rows(material), _arm_rows(config, material)
    if stored is not None:
        if stored.key_check != key.check:
            raise ConfigError(
                f"{folder}: the database belongs to another key; put the old {KEY_FILE} back, or give the experiment "
                "a database of its own."
            )
        same = stored.config_hash == config.hash and all(
            _key_set(rows) == _key_set([dict(row._mapping) for row in connection.execute(select(*columns))])
            for rows, columns in ((items, _ITEM), (arms, _ARM))
        )
        if same:
            return str(stored.id)
        if connection.scalar(select(tables.participant.c.id).limit(1)) is not None:
            raise ConfigError(
                f"{folder}: experiment.toml, a teaching set or an image is not what it was when the first person took "
                "part; put the old one back, or make a new experiment with a database of its own. If only simulated "
                f"people did: put it back, remove them with: tutelage classroom purge {folder} --simulated"
            )
        for table in (tables.arm, tables.item):
            connection.execute(delete(table))
    experiment_id = random_id() if stored is None else str(stored.id)
    row = {
        "name": config.name,
        "config_json": config.as_json(),
        "config_hash": config.hash,
        "seed": config.seed,
        "consent_version": config.consent.version,
    }
    if stored is None:
        new = {**row, "id": experiment_id, "status": "draft", "created_at": now, "key_check": key.check}
        connection.execute(insert(tables.experiment).values(new))
    else:
        connection.execute(update(tables.experiment).values(row))
    connection.execute(insert(tables.item), [{**item, "experiment_id": experiment_id} for item in items])
    connection.execute(insert(tables.arm), [{**arm, "experiment_id": experiment_id} for arm in arms])
    return experiment_id


_ITEM = [tables.item.c[name] for name in ("id", "label", "split", "path", "explain_path", "source_name")]
_ARM = [
    tables.arm.c[name] for name in ("id", "name", "teacher", "sequence_json", "show_explanation", "target_n", "active")
]


def _key_set(rows: list[dict[str, Any]]) -> set[str]:
    return {json.dumps(row, sort_keys=True) for row in rows}


def _item_rows(material: Material) -> list[dict[str, Any]]:
    return [
        {
            "id": item.id,
            "label": item.label,
            "split": item.split,
            "path": item.path,
            "explain_path": item.explanation_path,
            "source_name": item.source_name,
        }
        for item in material.items.values()
    ]


def _arm_rows(config: Config, material: Material) -> list[dict[str, Any]]:
    return [
        {
            "id": hashlib.sha256(f"arm/{name}".encode()).hexdigest()[:32],
            "name": name,
            "teacher": arm.config.teacher,
            "sequence_json": json.dumps(arm.item_ids) if arm.config.teacher == "fixed" else None,
            "show_explanation": arm.config.show_explanation,
            "target_n": arm.config.target_n or config.planned_n,
            "active": arm.config.active,
        }
        for name, arm in material.arms.items()
    ]
