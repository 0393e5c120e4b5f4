"""The tables of a queue file, and how a file of an older version becomes one of this.

A job is one row, from when it is put in until it has ended:

    (put in) ──▶ ready ──reserve──▶ reserved ──acknowledge──▶ (gone)
                  ▲ ▲                 │ │ └──bury──▶ failed ──retry──▶ ready
      due ────────┘ └──recover, release │
    delayed ◀─────────not yet due, retry┘
"""

import sqlite3

APPLICATION_ID = 0x63686170  # "chap": tells our version numbers from those of other programs

_TABLES = (
    """create table job (
        id integer primary key autoincrement,  -- its place in the queue; never used twice
        queue text not null,
        state text not null,                   -- ready, delayed, reserved
        priority real not null default 0,      -- the highest first
        enqueued_at real not null,             -- Unix time, as all times: when it last came into the queue
        eta real,                              -- delayed: when it is due
        attempts integer not null default 0,   -- how often a worker has begun it
        deaths integer not null default 0,     -- how many workers have died while they had it
        owner integer,                         -- reserved: the process that has it
        lease integer not null default 0,      -- reserved: this reservation, no earlier and no later one
        data blob not null                     -- whatever the application's serializer made
    )""",
    # With enqueued_at, counting and looking for the oldest read nothing but the index.
    "create index job_ready on job (queue, priority desc, id, enqueued_at) where state = 'ready'",
    "create index job_delayed on job (queue, eta, id) where state = 'delayed'",
    "create index job_reserved on job (owner, queue) where state = 'reserved'",
    """create table failed (
        id integer primary key, queue text not null, task_id text not null, name text not null, priority real not null,
        enqueued_at real not null, failed_at real not null, attempts integer not null, deaths integer not null,
        error text not null, traceback text not null, data blob not null
    )""",
    "create index failed_latest on failed (queue, failed_at)",
    "create table owner (id integer primary key autoincrement, worker text not null, pid integer not null)",
    "create index owner_worker on owner (worker)",
    """create table value (
        queue text not null, key text not null, value blob not null,
        lease integer not null default 0,      -- a lock: the reservation of the job that took it
        primary key (queue, key)
    ) without rowid""",
    "create index value_lease on value (lease) where lease <> 0",
    """create table if not exists counter (
        queue text not null, key text not null, value integer not null default 0, primary key (queue, key)
    )""",
)

_FROM_PLAIN_HUEY = {
    "task": """insert into job (queue, state, priority, enqueued_at, data)
        select queue, 'ready', priority, strftime('%s', 'now'), data from task order by id""",
    # It has read UTC as local time, up to 14 hours too late. Too early is harmless: a job is then put off again.
    "schedule": """insert into job (queue, state, enqueued_at, eta, data)
        select queue, 'delayed', strftime('%s', 'now'), timestamp - 14 * 3600, data from schedule order by id""",
    "kv": "insert into value (queue, key, value) select queue, key, value from kv",
}


def _create(db: sqlite3.Connection) -> None:
    """A file that Huey's own SQLite storage has written is taken over, with all that is in it."""
    for statement in _TABLES:
        db.execute(statement)
    for table, take_over in _FROM_PLAIN_HUEY.items():
        if db.execute("select 1 from sqlite_master where type = 'table' and name = ?", (table,)).fetchone():
            db.execute(take_over)
            db.execute(f"drop table {table}")
    db.execute(f"pragma application_id = {APPLICATION_ID}")


_STEPS = (_create,)  # each from the version of its index to the next
VERSION = len(_STEPS)


def version_of(db: sqlite3.Connection) -> int | None:
    """0: not yet one of ours. None: another program's file."""
    version: int = db.execute("pragma user_version").fetchone()[0]
    if version and db.execute("pragma application_id").fetchone()[0] != APPLICATION_ID:
        return None
    return version


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Within a transaction: after a crash the file is of the one version or of the other."""
    for step in _STEPS[version:]:
        step(db)
    db.execute(f"pragma user_version = {VERSION}")
