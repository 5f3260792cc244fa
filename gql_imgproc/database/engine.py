"""Transactions: one function a call, run on a thread, retried when the database asks for it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Concatenate, Literal, ParamSpec, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError

T = TypeVar("T")
P = ParamSpec("P")
#: What runs in a transaction.
Work: TypeAlias = Callable[Concatenate[Connection, P], T]

#: Transactions of one process at once on PostgreSQL, and readers on SQLite, unless told otherwise; each has a thread
#: and a connection.
CONNECTIONS = 6
#: How long SQLite waits for another process's write lock, in milliseconds.
BUSY_TIMEOUT_MS = 30_000
#: Pauses before a transaction is run again after a deadlock or a lost connection, in seconds: the first, which then
#: doubles, and the longest.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
#: How long a transaction is tried again before its caller is told, in seconds. People are told soon.
PATIENCE_S = 2.0
#: PostgreSQL: serialization failure, deadlock, and the states of a server that is restarting.
_TRANSIENT = {"40001", "40P01", "57P01", "57P02", "57P03", "08006", "08003", "08001"}
#: What a connection to PostgreSQL asks of its server. All but the first two are for a client whose host vanished: what
#: its transactions hold locked must be free again well before work is promised to go on, 20 s later. One that was
#: between two statements ends after 5 s. Those that wait for the same row would get it and then hold it, too, one after
#: the other: TCP tells of all of them after 10 s, and the server asks it every 2 s even while they wait.
_SESSION = {
    "statement_timeout": "60s",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "5s",
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    "client_connection_check_interval": "2s",
}
#: What libpq is told: a server whose host vanished is noticed within 25 s.
_CONNECTION = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
    "application_name": "gql-imgproc",
    "options": " ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
}

Durability = Literal["power", "process"]


class Database:
    """A database and the threads that talk to it.

    On SQLite there is one writer thread per process: its write lock is one for all, and threads that wait for
    it in Python wake up at once while SQLite's own waiting polls.

    `durability` is what a committed transaction survives: a loss of `power` (the API, which promises that an
    upload is accepted) or of the `process` (workers, whose lost records are made again). `patience_s` is how long
    a transaction waits for a database that is away. `prepare` lets PostgreSQL keep the plans of statements.
    """

    def __init__(
        self,
        url: str,
        *,
        durability: Durability = "power",
        connections: int = CONNECTIONS,
        patience_s: float = PATIENCE_S,
        prepare: bool = True,
    ) -> None:
        self.url = url
        self._patience_s = patience_s
        self._closing = Event()
        self.sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.sqlite:
            self._reader = sqlite_engine(url, "BEGIN", durability, connections)
            self._writer = sqlite_engine(url, "BEGIN IMMEDIATE", durability, connections)
        else:
            self._reader = self._writer = postgresql_engine(url, connections, prepare=prepare)
        self._read_threads = ThreadPoolExecutor(connections, thread_name_prefix="db")
        self._write_threads = (
            ThreadPoolExecutor(1, thread_name_prefix="db-write") if self.sqlite else self._read_threads
        )

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls `work(connection, *args, **kwargs)` in a read transaction on a thread."""
        call = partial(self.read_now, work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._read_threads, call)

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls `work` in a transaction that is committed unless it raises; it may be called more than once."""
        call = partial(self.write_now, work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._write_threads, call)

    def read_now(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`read` on the calling thread."""
        return self._transact(self._reader, lambda connection: work(connection, *args, **kwargs))

    def write_now(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write` on the calling thread."""
        return self._transact(self._writer, lambda connection: work(connection, *args, **kwargs))

    def close(self) -> None:
        """Waits for transactions under way, but not for a database that is away; then closes every connection."""
        self._closing.set()
        self._write_threads.shutdown()
        self._read_threads.shutdown()
        self._writer.dispose()
        self._reader.dispose()

    def _transact(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        tired_at, pause_s = time.monotonic() + self._patience_s, FIRST_PAUSE_S
        while True:
            try:
                with engine.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                if time.monotonic() + pause_s > tired_at or not _may_pass(error) or self._closing.wait(pause_s):
                    raise
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _may_pass(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed a moment later."""
    if isinstance(error.orig, sqlite3.Error):
        return False
    if not isinstance(error, OperationalError):
        # To the driver, it is an internal error that a transaction was ended which had paused for too long.
        return error.connection_invalidated
    state = getattr(error.orig, "sqlstate", None)
    # What is no answer of a server has no state: it cannot be reached, or did not let us in yet.
    return state is None or state in _TRANSIENT or error.connection_invalidated


def postgresql_engine(url: str, connections: int, *, prepare: bool = True) -> Engine:
    """An engine for PostgreSQL. What the address says of a connection is taken as it is.

    A connection that broke while nobody used it is found by its next transaction, which is tried again: to ask each
    time whether it is alive would cost a round trip a transaction.
    """
    told = make_url(url).query
    given: dict[str, Any] = {name: value for name, value in _CONNECTION.items() if name not in told}
    return create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=30,
        # The values of a statement that failed hold addresses with their signatures, and would be logged.
        hide_parameters=True,
        connect_args=given if prepare else {**given, "prepare_threshold": None},
    )


def sqlite_engine(
    url: str, begin: str, durability: Durability, connections: int = CONNECTIONS, *, foreign_keys: bool = True
) -> Engine:
    """An engine whose every transaction starts with `begin`."""
    path = make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: Any) -> None:
        # The driver's own BEGIN is deferred: read, then write, and another process's write makes it fail.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        connection.execute("PRAGMA temp_store = MEMORY")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
