"""The tables of the chassis, which every service's database has next to the service's tables."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

# An event's id, source, key, type and subject have up to this many characters.
LONGEST_NAME = 255

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")
# With `sqlite_autoincrement` SQLite never reuses the id of a deleted row.

# Events to publish. Sent events stay until the stream can no longer lose them. The relay assigns
# `number`, which counts within a subject, and `rank`, which counts within the service's stream.
# Events up to the relay's `sent_rank` are in the stream; rows are not marked one by one.
outbox = Table(
    "slipway_outbox",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("event_id", String(64), nullable=False),
    Column("subject", String(LONGEST_NAME), nullable=False),
    Column("headers", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("number", BigInteger),
    Column("rank", BigInteger),
    Index("slipway_outbox_rank", "rank", unique=True),
    sqlite_autoincrement=True,
)
Index(
    "slipway_outbox_unnumbered",
    outbox.c.id,
    sqlite_where=text("number IS NULL"),
    postgresql_where=text("number IS NULL"),
)
# Events that were sent in an earlier generation have no rank. Usually there are none.
Index(
    "slipway_outbox_unranked",
    outbox.c.id,
    sqlite_where=text("rank IS NULL AND number IS NOT NULL"),
    postgresql_where=text("rank IS NULL AND number IS NOT NULL"),
)

# Events that the stream refuses for their own properties, such as their size, with the reason.
refused = Table(
    "slipway_refused",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("event_id", String(64), nullable=False),
    Column("subject", String(LONGEST_NAME), nullable=False),
    Column("headers", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Column("refused_at", Double, nullable=False),
)

# Marks of sending: events up to `rank` had been sent at `sent_at` by the broker's clock, when this
# host's clock showed `noted_at`.
sent_marks = Table(
    "slipway_sent_mark",
    metadata,
    Column("rank", BigInteger, primary_key=True, autoincrement=False),
    Column("sent_at", Double, nullable=False),
    Column("noted_at", Double, nullable=False),
)

# The relay's counters, in one row. `generation` is the id of this life of the counters, whose ranks
# begin above `base_rank`; `lineage` has the ids of earlier generations that the stream has seen,
# the latest first. The event of `sent_rank` is the last one sent, at `sent_sequence` of the stream.
relay = Table(
    "slipway_relay",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("generation", String(36), nullable=False),
    Column("base_rank", BigInteger, nullable=False),
    Column("rank", BigInteger, nullable=False),
    Column("sent_rank", BigInteger, nullable=False),
    Column("sent_sequence", BigInteger, nullable=False),
    Column("lineage", Text, nullable=False, server_default=text("''")),
)

# The number of the last event of each subject.
subjects = Table(
    "slipway_subject",
    metadata,
    Column("subject", String(LONGEST_NAME), primary_key=True),
    Column("number", BigInteger, nullable=False),
)

# The positions of the service: the last event handled of each subject that it consumes.
positions = Table(
    "slipway_position",
    metadata,
    Column("subject", String(LONGEST_NAME), primary_key=True),
    Column("stream", String(LONGEST_NAME), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("generation", String(36), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("event_id", String(LONGEST_NAME), nullable=False),
    Column("lineage", Text, nullable=False, server_default=text("''")),
)

_EVENT = (
    ("source", String(LONGEST_NAME)),
    ("key", String(LONGEST_NAME)),
    ("event_id", String(LONGEST_NAME)),
    ("type", String(LONGEST_NAME)),
    ("subject", String(LONGEST_NAME)),
    ("headers", LargeBinary),
    ("data", LargeBinary),
)

# Events to be handled separately: events that failed, later events of their keys, and events of
# `async def` handlers.
# `attempt` is a fence: the commit that finishes a task deletes it by id and attempt. `tried` has
# the tries that count by version (JSON), `tries` those of all versions together.
# A task with `alone` is suspected of having killed its process, so that no other event runs at the
# same time.
# `due_at` is NULL while a task waits behind an older task of its key. `followed` marks a task that
# others wait behind; the transaction that finishes it must set `due_at` on the next one.
tasks = Table(
    "slipway_task",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    *(Column(name, kind, nullable=False) for name, kind in _EVENT),
    Column("stored_at", Double, nullable=False),
    Column("due_at", Double),
    Column("followed", Boolean, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("tried", Text, nullable=False, server_default=text("'{}'")),
    Column("canary", Text, nullable=False, server_default=text("''")),
    Column("attempt", Integer, nullable=False),
    Column("alone", Boolean, nullable=False),
    Column("owner", String(64)),
    Column("leased_until", Double),
    Column("reason", Text, nullable=False),
    Index("slipway_task_key", "key", "source", "id"),
    sqlite_autoincrement=True,
)

# Tasks that may be claimed, by type, so that tasks of other types and tasks that wait behind others
# do not slow a claim down.
Index(
    "slipway_task_ready",
    tasks.c.type,
    tasks.c.alone,
    tasks.c.canary,
    tasks.c.due_at,
    tasks.c.id,
    sqlite_where=text("due_at IS NOT NULL AND owner IS NULL"),
    postgresql_where=text("due_at IS NOT NULL AND owner IS NULL"),
)
# Members of the previous version claim tasks by this index. A later migration drops it.
Index(
    "slipway_task_next",
    tasks.c.type,
    tasks.c.alone,
    tasks.c.due_at,
    tasks.c.id,
    sqlite_where=text("due_at IS NOT NULL AND owner IS NULL"),
    postgresql_where=text("due_at IS NOT NULL AND owner IS NULL"),
)
# Tasks that belong to a canary, so that looking for those of an ended one reads no others.
Index(
    "slipway_task_canary",
    tasks.c.canary,
    sqlite_where=text("canary <> ''"),
    postgresql_where=text("canary <> ''"),
)
Index(
    "slipway_task_first",
    tasks.c.key,
    tasks.c.due_at,
    tasks.c.source,
    sqlite_where=text("due_at IS NOT NULL"),
    postgresql_where=text("due_at IS NOT NULL"),
)
Index(
    "slipway_task_lease",
    tasks.c.leased_until,
    sqlite_where=text("leased_until IS NOT NULL"),
    postgresql_where=text("leased_until IS NOT NULL"),
)

# Events that are not tried again. `version` is that of the member that gave up; empty if none runs
# the event's type, or if an earlier version of the chassis wrote the row.
dead_letters = Table(
    "slipway_dead_letter",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    *(Column(name, kind, nullable=False) for name, kind in _EVENT),
    Column("tries", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("died_at", Double, nullable=False),
    Column("version", Text, nullable=False, server_default=text("''")),
    sqlite_autoincrement=True,
)

# One row that readiness writes to, because only a commit shows that the disk is full.
probe = Table(
    "slipway_probe",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("written", BigInteger, nullable=False),
)

# The lanes that members read, by stream. If a mark outlives its member, the events that the member
# may have been handling become suspects.
marks = Table(
    "slipway_mark",
    metadata,
    Column("member", String(64), primary_key=True),
    Column("stream", String(LONGEST_NAME), primary_key=True),
    Column("lane", Integer, primary_key=True),
)

# Periodic jobs. A replica that runs a job holds its row's lock; `ran_at` is the start of the last
# run.
jobs = Table(
    "slipway_job",
    metadata,
    Column("name", String(LONGEST_NAME), primary_key=True),
    Column("ran_at", Double, nullable=False),
)

# Event types that an operator has paused: members handle none of their events and tasks until the
# row is deleted.
paused_types = Table(
    "slipway_paused_type",
    metadata,
    Column("type", String(LONGEST_NAME), primary_key=True),
    Column("paused_at", Double, nullable=False),
    Column("paused_by", String(LONGEST_NAME), nullable=False),
)

# Stopped lanes, written by the member that stopped each. `verb` is the command with which an
# operator lets it continue.
stopped_lanes = Table(
    "slipway_stopped_lane",
    metadata,
    Column("stream", String(LONGEST_NAME), primary_key=True),
    Column("lane", Integer, primary_key=True),
    Column("subject", String(LONGEST_NAME), nullable=False),
    Column("reason", Text, nullable=False),
    Column("verb", String(64), nullable=False),
    Column("stopped_at", Double, nullable=False),
)

# The positions in foreign streams, for each subject that handlers subscribe to. `generation` is the
# time at which the stream was created, as its server says.
foreign_positions = Table(
    "slipway_foreign_position",
    metadata,
    Column("stream", String(LONGEST_NAME), primary_key=True),
    Column("subject", String(LONGEST_NAME), primary_key=True),
    Column("generation", String(36), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("event_id", String(LONGEST_NAME), nullable=False),
)

# Events of foreign producers that were handled, so that a repeated one is recognized by its source
# and id.
foreign_events = Table(
    "slipway_foreign_event",
    metadata,
    Column("source", String(LONGEST_NAME), primary_key=True),
    Column("id", String(LONGEST_NAME), primary_key=True),
    Column("taken_at", Double, nullable=False),
    Index("slipway_foreign_event_taken_at", "taken_at"),
)

# The identity of the database, in one row: the service that it belongs to, and a UUIDv7.
identity = Table(
    "slipway_identity",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("service", String(LONGEST_NAME), nullable=False),
    Column("database_id", String(36), nullable=False),
)
