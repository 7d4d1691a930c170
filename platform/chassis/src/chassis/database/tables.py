"""The chassis' own tables, in every service's database beside the service's."""

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

# Characters of an event's id, source, key, type and subject.
LONGEST_NAME = 255

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")
# With `sqlite_autoincrement` SQLite does not give the number of a deleted last row to the next.

# Events to publish; those that were sent stay for as long as they may have to be sent again.
# `number` counts within a subject, `rank` within the service's stream; both are
# given by the relay. What ranks up to the relay's `sent_rank` is in the stream: no row is marked.
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
# What was sent in an earlier life of the counters has lost its rank. Mostly there is none.
Index(
    "slipway_outbox_unranked",
    outbox.c.id,
    sqlite_where=text("rank IS NULL AND number IS NOT NULL"),
    postgresql_where=text("rank IS NULL AND number IS NOT NULL"),
)

# Events that the stream refuses for what they are, set apart with the reason.
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

# What ranked up to `rank` had been sent by `sent_at`, by the broker's clock; this host's showed
# `noted_at` then.
sent_marks = Table(
    "slipway_sent_mark",
    metadata,
    Column("rank", BigInteger, primary_key=True, autoincrement=False),
    Column("sent_at", Double, nullable=False),
    Column("noted_at", Double, nullable=False),
)

# One row: the relay's counters. `generation` names one life of them and begins above `base_rank`;
# `lineage` names the lives before it that the stream has seen, the latest first. The stream holds
# everything up to `sent_rank`, at `sent_sequence`.
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

subjects = Table(
    "slipway_subject",
    metadata,
    Column("subject", String(LONGEST_NAME), primary_key=True),
    Column("number", BigInteger, nullable=False),
)

# Up to where the service has taken the events of each subject.
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

# Events taken but not yet handled: those that failed, what waits behind them, those of async
# handlers.
# `attempt` fences: a finishing commit deletes by id and attempt. `tried` are the tries that count,
# by version (JSON), and `tries` those of all versions together.
# A task that is `alone` is suspected to have killed its process and runs with nothing beside it.
# What waits behind another of its key has no `due_at`: whoever ends a `followed` one gives it one.
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
    Column("attempt", Integer, nullable=False),
    Column("alone", Boolean, nullable=False),
    Column("owner", String(64)),
    Column("leased_until", Double),
    Column("reason", Text, nullable=False),
    Index("slipway_task_key", "key", "source", "id"),
    sqlite_autoincrement=True,
)

# What may be claimed, by type: what waits of other types, or behind, costs a look nothing.
Index(
    "slipway_task_next",
    tasks.c.type,
    tasks.c.alone,
    tasks.c.due_at,
    tasks.c.id,
    sqlite_where=text("due_at IS NOT NULL AND owner IS NULL"),
    postgresql_where=text("due_at IS NOT NULL AND owner IS NULL"),
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

dead_letters = Table(
    "slipway_dead_letter",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    *(Column(name, kind, nullable=False) for name, kind in _EVENT),
    Column("tries", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("died_at", Double, nullable=False),
    sqlite_autoincrement=True,
)

# One row, which readiness writes to now and then: a full disk shows in a commit only.
probe = Table(
    "slipway_probe",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("written", BigInteger, nullable=False),
)

# Which member runs which lane of which stream. A mark that outlives its member makes a suspect.
marks = Table(
    "slipway_mark",
    metadata,
    Column("member", String(64), primary_key=True),
    Column("stream", String(LONGEST_NAME), primary_key=True),
    Column("lane", Integer, primary_key=True),
)

# Periodic jobs, by name. Who runs one holds its row's lock; `ran_at` is when its last run began.
jobs = Table(
    "slipway_job",
    metadata,
    Column("name", String(LONGEST_NAME), primary_key=True),
    Column("ran_at", Double, nullable=False),
)

# Event types that an operator has paused: members take none of their events and run no task of
# them until the row is gone.
paused_types = Table(
    "slipway_paused_type",
    metadata,
    Column("type", String(LONGEST_NAME), primary_key=True),
    Column("paused_at", Double, nullable=False),
    Column("paused_by", String(LONGEST_NAME), nullable=False),
)

# Lanes that are stopped, written by the member that stopped each, for others to see. `verb` is
# what an operator does about it.
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

# Up to where the messages of a foreign stream were read, for each subject that handlers ask for.
# `generation` is when the stream was made, as its server says.
foreign_positions = Table(
    "slipway_foreign_position",
    metadata,
    Column("stream", String(LONGEST_NAME), primary_key=True),
    Column("subject", String(LONGEST_NAME), primary_key=True),
    Column("generation", String(36), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("event_id", String(LONGEST_NAME), nullable=False),
)

# Events of foreign producers that were taken: what comes again is known by its source and id.
foreign_events = Table(
    "slipway_foreign_event",
    metadata,
    Column("source", String(LONGEST_NAME), primary_key=True),
    Column("id", String(LONGEST_NAME), primary_key=True),
    Column("taken_at", Double, nullable=False),
    Index("slipway_foreign_event_taken_at", "taken_at"),
)

# One row: the service whose database this is, and the database's own UUIDv7.
identity = Table(
    "slipway_identity",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("service", String(LONGEST_NAME), nullable=False),
    Column("database_id", String(36), nullable=False),
)
