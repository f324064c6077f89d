"""The tables of an experiment, the same for SQLite and PostgreSQL.

Times are text, UTC, ISO 8601 with milliseconds, such as ``2026-01-31T09:30:00.125Z``: their order is that of the text.
Ids of participants and sessions are 128 random bits as 32 hexadecimal digits. Responses and labels are positions in
the experiment's classes.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 1
"""Of these tables; a database of another version is refused."""

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

experiment = Table(
    "experiment",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    Column("config_json", Text, nullable=False),
    Column("config_hash", String(64), nullable=False),
    Column("seed", Integer, nullable=False),
    Column("status", String(8), nullable=False),
    Column("consent_version", Text, nullable=False),
    Column("created_at", String(24), nullable=False),
    Column("key_check", String(32), nullable=False),  # follows from the key, and says nothing about it
    CheckConstraint("status IN ('draft', 'open', 'closed')", name="experiment_status"),
)

item = Table(
    "item",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("experiment_id", ForeignKey("experiment.id"), nullable=False),
    Column("label", Integer, nullable=False),
    Column("split", String(5), nullable=False),
    Column("path", Text, nullable=False),
    Column("explain_path", Text),
    Column("source_name", Text, nullable=False),
    CheckConstraint("split IN ('train', 'test')", name="item_split"),
)

arm = Table(
    "arm",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("experiment_id", ForeignKey("experiment.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("teacher", Text, nullable=False),
    Column("sequence_json", Text),  # ids of items in order; null: drawn or chosen for each person
    Column("show_explanation", Boolean, nullable=False),
    Column("target_n", Integer, nullable=False),
    Column("active", Boolean, nullable=False),
    UniqueConstraint("experiment_id", "name"),
)

participant = Table(
    "participant",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("experiment_id", ForeignKey("experiment.id"), nullable=False),
    Column("source", String(9), nullable=False),
    Column("external_hmac", String(64)),  # null: purged
    Column("consent_at", String(24), nullable=False),
    Column("consent_version", Text, nullable=False),
    Column("language", Text),
    Column("age_band", Text),
    Column("withdrawn_at", String(24)),
    UniqueConstraint("experiment_id", "external_hmac"),
    CheckConstraint("source IN ('direct', 'prolific', 'mturk', 'simulated')", name="participant_source"),
)

external_id = Table(
    "external_id",
    metadata,
    Column("participant_id", ForeignKey("participant.id"), primary_key=True),
    Column("raw_id", Text),  # null: only the submission is needed
    Column("submission", Text),  # of the platform: assignmentId, SESSION_ID
    Column("submit_to", Text),
)

session = Table(
    "session",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("participant_id", ForeignKey("participant.id"), nullable=False, index=True),
    Column("arm_id", ForeignKey("arm.id"), nullable=False, index=True),
    Column("bearer_hash", String(64), nullable=False, unique=True),  # SHA-256 of what the cookie holds
    Column("state", String(16), nullable=False),
    Column("position", Integer, nullable=False),
    Column("stage", String(16), nullable=False),
    Column("button_order", Text, nullable=False),  # JSON: classes in the order of their buttons
    Column("seed", Text, nullable=False),  # 64 bits without sign, decimal: no database has such a number
    Column("created_at", String(24), nullable=False),
    Column("last_seen_at", String(24), nullable=False),
    Column("completed_at", String(24)),
    Column("resumes", Integer, nullable=False),
    Column("comment", Text),
)

plan = Table(
    "plan",
    metadata,
    Column("session_id", ForeignKey("session.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("phase", String(5), nullable=False),
    Column("item_id", ForeignKey("item.id"), nullable=False),
    Column("show_explanation", Boolean, nullable=False),
    Column("shown_at", String(24)),
    Column("notes_json", Text),  # why an adaptive teacher chose it
    CheckConstraint("phase IN ('train', 'test', 'catch')", name="plan_phase"),
    sqlite_with_rowid=False,  # its key is its order: half the size
)

trial = Table(
    "trial",
    metadata,
    Column("session_id", ForeignKey("session.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("phase", String(5), nullable=False),
    Column("item_id", ForeignKey("item.id"), nullable=False),
    Column("shown_at", String(24)),
    Column("answered_at", String(24)),
    Column("response", Integer),  # null: stripped on withdrawal, as are correct, times and blurs
    Column("correct", Boolean),
    Column("rt_ms_client", Integer),
    Column("feedback_ms", Integer),
    Column("blurs", Integer),
    sqlite_with_rowid=False,  # its key is its order: half the size
)

completion = Table(
    "completion",
    metadata,
    Column("session_id", ForeignKey("session.id"), primary_key=True),
    Column("nonce", String(32), nullable=False),
    Column("code_hmac", String(64), nullable=False, unique=True),
    Column("issued_at", String(24), nullable=False),
    Column("redeemed_at", String(24)),
    Column("outcome", String(16), nullable=False),
)

image_token = Table(
    "image_token",
    metadata,
    Column("token", String(32), primary_key=True),
    Column("session_id", ForeignKey("session.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("item_id", ForeignKey("item.id"), nullable=False),
    Column("variant", String(11), nullable=False),
    UniqueConstraint("session_id", "position", "variant"),
    CheckConstraint("variant IN ('image', 'explanation')", name="image_token_variant"),
)

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("session_id", ForeignKey("session.id"), index=True),  # null: of the experiment
    Column("at", String(24), nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),  # JSON
)

tally = Table(
    "tally",
    metadata,
    Column("experiment_id", ForeignKey("experiment.id"), primary_key=True),
    Column("kind", String(16), primary_key=True),  # declined, screened_out: people of whom nothing else is kept
    Column("count", Integer, nullable=False),
)

link = Table(
    "link",
    metadata,
    Column("code_hmac", String(64), primary_key=True),
    Column("experiment_id", ForeignKey("experiment.id"), nullable=False),
    Column("created_at", String(24), nullable=False),
)

Index("trial_item", trial.c.item_id)
