"""The tables of the ledger (SQLAlchemy Core). A change here needs a migration and a new HEAD."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from node.plain_text import sentence

HEAD = "0005"
"""The newest migration; an open ledger at this revision needs no Alembic."""


class Moment(TypeDecorator[datetime]):
    """A point in time: aware UTC outside, naive UTC in the database (SQLite keeps no zone)."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware time into naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Mark what comes back as UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


class Sentence(TypeDecorator[str]):
    """A sentence for people: printable and short, whatever the errors that it comes from quote."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Escape and cut what is stored."""
        return None if value is None else sentence(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

series = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("accession", String(64), nullable=False),
    Column("study_description", String(64), nullable=False),
    Column("series_description", String(64), nullable=False),
    Column("body_part", String(64), nullable=False),
    Column("created_at", Moment),  # the time in result objects: set once, by the first complete revision
    UniqueConstraint("study_uid", "series_uid"),
)

instances = Table(
    "instances",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False, index=True),
    Column("revision", Integer, nullable=False),
    Column("sop_uid", String(64), nullable=False),
    Column("variant", Integer, nullable=False, default=0),  # 0 = the first, which is used; others came later
    Column("transfer_syntax", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("header", JSON, nullable=False),
    # Within its series: after a correction or a merge, the same instances come again in another study.
    UniqueConstraint("series_id", "sop_uid", "variant"),
)

associations = Table(
    "associations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("receiver", String(128), nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("called_ae", String(16), nullable=False),
    Column("host", String(64), nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment, index=True),
    Column("ending", String(16), nullable=False, default=""),
)
"""Associations that carried objects; one without an end is open, as long as its receiver is alive."""

carried = Table(
    "carried",
    metadata,
    Column("association_id", ForeignKey("associations.id"), primary_key=True),
    Column("series_id", ForeignKey("series.id"), primary_key=True, index=True),
)
"""Which association carried slices of which series."""

removals = Table(
    "removals",
    metadata,
    Column("path", Text, primary_key=True),
)
"""Files that retention is to remove, relative to the data folder; their rows are removed already."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=True),
    Column("revision", Integer, nullable=False, default=1),
    Column("state", String(16), nullable=False),
    Column("resume_state", String(16), nullable=False, default=""),  # where a held job goes when it is released
    Column("code", String(32), nullable=False, default=""),
    Column("reason", Sentence, nullable=False, default=""),
    Column("calling_ae", String(16), nullable=False),
    Column("called_ae", String(16), nullable=False, default=""),
    Column("host", String(64), nullable=False),
    Column("instances", Integer, nullable=False),
    Column("duplicates", Integer, nullable=False, default=0),
    Column("expected", Integer),
    Column("forced", Boolean, nullable=False, default=False),
    Column("pause", Float, nullable=False, default=0.0),  # longest between two associations of the series, seconds
    Column("other_sender", Boolean, nullable=False, default=False),  # than that of the revision before
    Column("corrected", Integer, nullable=False, default=0),  # objects that came again for another patient
    Column("route", String(64), nullable=False, default=""),
    Column("model", Text, nullable=False, default=""),
    Column("received_at", Moment, nullable=False),
    Column("last_slice_at", Moment, nullable=False),
    Column("complete_at", Moment),
    Column("queued_at", Moment),
    Column("last_dispatched_at", Moment),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("removed_at", Moment),
    Column("attempts", Integer, nullable=False, default=0),
    Column("priority", Integer, nullable=False, default=0),
    Column("destinations", JSON(none_as_null=True)),
    Column("worker", String(128), nullable=False, default=""),
    Column("stage", String(32), nullable=False, default=""),
    Column("lease_until", Moment),
    Column("report", JSON(none_as_null=True)),
    UniqueConstraint("series_id", "revision"),
    Index(None, "state", "last_slice_at"),
    Index(None, "last_slice_at"),
)

results = Table(
    "results",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False, index=True),
    Column("kind", String(32), nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("sop_uid", String(64), nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False, index=True),
    Column("result_id", ForeignKey("results.id"), nullable=False),
    Column("peer", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("reason", Sentence, nullable=False, default=""),
    Column("next_at", Moment, nullable=False),
    Column("due_since", Moment),
    Column("unanswered", Integer, nullable=False, default=0),  # attempts after which the peer may have it
    Column("last_dispatched_at", Moment),
    Column("owner", String(128), nullable=False, default=""),
    Column("lease_until", Moment),
    Column("delivered_at", Moment),
    UniqueConstraint("result_id", "peer"),
    Index(None, "state", "next_at"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False, index=True),
    Column("at", Moment, nullable=False),
    Column("state", String(16), nullable=False),
    Column("text", Sentence, nullable=False),
)

processes = Table(
    "processes",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("host", String(128), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("last_seen", Moment, nullable=False),
)
