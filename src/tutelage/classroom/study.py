"""An experiment as it is looked at and exported: its row, arms and rules, whether it was run here or imported."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sqlalchemy import func, select

from .. import __version__
from ..errors import ConfigError, DataError
from ..explain_teach import Experiment, Settings, Strategy, TeachingImage
from . import tables
from .config import ResponseTimes
from .database import Database
from .room import Room

People: TypeAlias = Literal["real", "simulated"]
IMPORTED = "explain_teach"
"""Key of the stored configuration of an experiment that was imported."""


@dataclass(frozen=True)
class StudyArm:
    """An arm.

    Attributes:
        id: of its row.
        name: of the arm.
        teacher: what the configuration calls it.
        sequence: ids of its items, in order; None: drawn or chosen for each person.
        target_n: people wanted.
        active: whether new people come into it.
    """

    id: str
    name: str
    teacher: str
    sequence: tuple[str, ...] | None
    target_n: int
    active: bool


@dataclass(frozen=True)
class Study:
    """What is known of an experiment beside its people.

    Attributes:
        database: that it is in.
        id: of its row.
        name: of the experiment.
        config_json: its configuration, or what was imported.
        config_hash: of that.
        status: of the row.
        seed: of what is drawn.
        classes: names, in label order.
        arms: in the order of their names.
        length: items of a person, of all phases; the most where people have different numbers.
        blind: whether outcomes are hidden until all arms have their number.
        response_times: which answers are flagged.
        abandon_after_minutes: idle time after which a session counts as abandoned.
        retention_days: after which a reminder to purge is shown; None: no reminder.
        imported: what it was imported from, without sessions; None: it was run here.
    """

    database: Database
    id: str
    name: str
    config_json: str
    config_hash: str
    status: str
    seed: int
    classes: tuple[str, ...]
    arms: tuple[StudyArm, ...]
    length: int
    blind: bool
    response_times: ResponseTimes
    abandon_after_minutes: float
    retention_days: int | None
    imported: Experiment | None = None

    @classmethod
    def of(cls, room: Room) -> "Study":
        """Return the study of an experiment that is open."""
        config = room.config
        return cls(
            **_row(room.database),
            classes=room.material.classes,
            length=config.length,
            blind=config.blind,
            response_times=config.response_times,
            abandon_after_minutes=config.abandon_after_minutes,
            retention_days=config.retention_days,
        )

    @classmethod
    def read(cls, database: Database) -> "Study":
        """Return the study of an experiment that was imported.

        Raises:
            ConfigError: if the database holds none, or one that was run here.
        """
        row = _row(database)
        facts = json.loads(row["config_json"])
        if IMPORTED not in facts:
            raise ConfigError(f"{database.name}: {row['name']} was run here; give the folder of the experiment.")
        experiment = imported_experiment(facts[IMPORTED])
        return cls(
            **row,
            classes=experiment.settings.class_names,
            length=_longest(database),
            blind=False,
            response_times=ResponseTimes(),
            abandon_after_minutes=60.0,
            retention_days=None,
            imported=experiment,
        )

    def arm_name(self, arm_id: str) -> str:
        """Return the name of an arm."""
        return next(arm.name for arm in self.arms if arm.id == arm_id)

    @property
    def facts(self) -> dict[str, str]:
        """What every export says of where it is from."""
        return {"experiment": self.name, "config_hash": self.config_hash, "tutelage": __version__}


def imported_experiment(facts: Mapping[str, Any]) -> Experiment:
    """Return an experiment, without sessions, from what is stored of it.

    Raises:
        DataError: if it does not fit together.
    """
    return Experiment(
        facts["name"],
        Settings.model_validate_json(json.dumps(facts["settings"])),
        tuple(TeachingImage.model_validate_json(json.dumps(image)) for image in facts["images"]),
        {name: Strategy.model_validate_json(json.dumps(told)) for name, told in facts["strategies"].items()},
    )


def _longest(database: Database) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.max(tables.session.c.position))) or 0


def _row(database: Database) -> dict[str, Any]:
    with database.read() as connection:
        row = connection.execute(select(tables.experiment)).one_or_none()
        if row is None:
            raise DataError(f"{database.name}: holds no experiment.")
        arms = connection.execute(
            select(tables.arm).where(tables.arm.c.experiment_id == row.id).order_by(tables.arm.c.name)
        ).all()
    return {
        "database": database,
        "id": row.id,
        "name": row.name,
        "config_json": row.config_json,
        "config_hash": row.config_hash,
        "status": row.status,
        "seed": row.seed,
        "arms": tuple(
            StudyArm(
                arm.id,
                arm.name,
                arm.teacher,
                None if arm.sequence_json is None else tuple(json.loads(arm.sequence_json)),
                arm.target_n,
                arm.active,
            )
            for arm in arms
        ),
    }
