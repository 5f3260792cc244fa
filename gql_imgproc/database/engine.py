"""Runs functions in transactions on threads, and retries them after transient errors."""

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
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from gql_imgproc.database.errors import is_transient, is_unavailable, may_be_committed
from gql_imgproc.errors import DatabaseUnavailable

T = TypeVar("T")
P = ParamSpec("P")
#: A function that runs in a transaction.
Work: TypeAlias = Callable[Concatenate[Connection, P], T]

#: Default number of concurrent transactions on PostgreSQL, and of readers on SQLite, per process. Each has a thread and
#: a connection.
CONNECTIONS = 6
#: How long SQLite waits for the write lock of another process: less than clients wait for an answer, which is 30 s.
BUSY_TIMEOUT_MS = 20_000
#: Interval at which a writer asks for that lock, in seconds. SQLite itself asks less and less often, at last every
#: 100 ms: a process that writes all the time would keep the others waiting for half a second.
LOCK_POLL_S = 0.001
#: Pages of SQLite's write-ahead log after which they are copied to the database file, while other writers wait: 33 MB.
#: With SQLite's 1,000 pages, the transactions of a busy worker take twice as long to commit.
CHECKPOINT_PAGES = 8000
#: How long a transaction waits for a thread. After that, all threads are waiting for an unavailable database.
THREAD_TIMEOUT_S = 20.0
#: Pause before a transaction is retried after a deadlock or a lost connection; it doubles up to the maximum.
MIN_RETRY_PAUSE_S, MAX_RETRY_PAUSE_S = 0.05, 1.0
#: Default time limit for retries. It is short, because people wait for the API.
RETRY_TIMEOUT_S = 2.0
#: Least time limit for retries after a commit whose answer was lost: only the next run shows whether it succeeded.
LOST_COMMIT_TIMEOUT_S = 20.0
#: Server settings of a PostgreSQL session. All but the first two handle a client whose host disappeared: its locks must
#: be released well within the 20 s after which work is promised to resume. A transaction that is idle between two
#: statements ends after 5 s. Sessions that wait for a lock would acquire it one after the other; TCP detects the dead
#: peer after 10 s, and the server checks the connection every 2 s even while a statement waits.
_SESSION_SETTINGS = {
    "statement_timeout": "60s",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "5s",
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    "client_connection_check_interval": "2s",
}
#: Connection parameters of libpq: a server whose host disappeared is detected within 25 s.
_CONNECTION_PARAMETERS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
    "application_name": "gql-imgproc",
    # Without it, text from a database in SQL_ASCII arrives as bytes, and the first connection fails with a TypeError.
    "client_encoding": "utf8",
    "options": " ".join(f"-c {name}={value}" for name, value in _SESSION_SETTINGS.items()),
}

Durability = Literal["power", "process"]


class Database:
    """A database and the threads that use it.

    SQLite has one writer thread per process: there is only one write lock, and a thread that waits in Python wakes up
    at once, while a process has to poll.

    `durability` is what a committed transaction survives: a `power` failure (the API, which promises that an accepted
    upload is not lost) or a crash of the `process` (workers, which repeat lost work). `retry_timeout_s` is how long a
    transaction waits for an unavailable database. `prepare` enables prepared statements of PostgreSQL.
    """

    def __init__(
        self,
        url: str,
        *,
        durability: Durability = "power",
        connections: int = CONNECTIONS,
        retry_timeout_s: float = RETRY_TIMEOUT_S,
        prepare: bool = True,
    ) -> None:
        self.url = url
        self._retry_timeout_s = retry_timeout_s
        self._closing = Event()
        self.sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.sqlite:
            self._reader = sqlite_engine(url, "BEGIN", durability, connections)
            self._writer = sqlite_engine(url, "BEGIN IMMEDIATE", durability, connections)
            self._durable_writer = sqlite_engine(url, "BEGIN IMMEDIATE", "power", 1)
        else:
            self._reader = self._writer = self._durable_writer = postgresql_engine(url, connections, prepare=prepare)
        self._read_threads = ThreadPoolExecutor(connections, thread_name_prefix="db")
        self._write_threads = (
            ThreadPoolExecutor(1, thread_name_prefix="db-write") if self.sqlite else self._read_threads
        )

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls `work(connection, *args, **kwargs)` in a read transaction on a thread. Raises DatabaseUnavailable."""
        return await self._run(self._read_threads, partial(self.read_now, work, *args, **kwargs))

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls `work` in a transaction, which is committed unless it raises. A retry calls `work` again.

        Raises DatabaseUnavailable.
        """
        return await self._run(self._write_threads, partial(self.write_now, work, *args, **kwargs))

    async def write_durably(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write` that survives a power failure, whatever the `durability` of the others."""
        return await self._run(self._write_threads, partial(self._write, self._durable_writer, work, *args, **kwargs))

    def read_now(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`read` on the calling thread."""
        return self._transact(self._reader, lambda connection: work(connection, *args, **kwargs), lost_commit_s=0)

    def write_now(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write` on the calling thread."""
        return self._write(self._writer, work, *args, **kwargs)

    def close(self) -> None:
        """Waits for running transactions, but not for an unavailable database; then closes every connection."""
        self._closing.set()
        self._write_threads.shutdown()
        self._read_threads.shutdown()
        self._writer.dispose()
        self._durable_writer.dispose()
        self._reader.dispose()

    def _write(self, engine: Engine, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._transact(
            engine, lambda connection: work(connection, *args, **kwargs), lost_commit_s=LOST_COMMIT_TIMEOUT_S
        )

    async def _run(self, threads: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        queued_at = time.monotonic()

        def run() -> T:
            if time.monotonic() - queued_at > THREAD_TIMEOUT_S:
                raise DatabaseUnavailable("every connection is busy")
            return call()

        return await asyncio.get_running_loop().run_in_executor(threads, run)

    def _transact(self, engine: Engine, work: Callable[[Connection], T], *, lost_commit_s: float) -> T:
        """`lost_commit_s`: least time limit for retries after a commit whose answer was lost."""
        deadline, pause_s = time.monotonic() + self._retry_timeout_s, MIN_RETRY_PAUSE_S
        is_outcome_unknown = False
        while True:
            is_committing = False
            try:
                with engine.begin() as connection:
                    result = work(connection)
                    is_committing = True
                return result
            except PoolTimeout as error:
                raise DatabaseUnavailable("every connection is busy", is_outcome_unknown=is_outcome_unknown) from error
            except DBAPIError as error:
                if is_committing and not is_outcome_unknown and may_be_committed(error):
                    is_outcome_unknown = True
                    deadline = max(deadline, time.monotonic() + lost_commit_s)
                if time.monotonic() + pause_s > deadline or not is_transient(error) or self._closing.wait(pause_s):
                    if is_unavailable(error):
                        raise DatabaseUnavailable(str(error.orig), is_outcome_unknown=is_outcome_unknown) from error
                    raise
                pause_s = min(2 * pause_s, MAX_RETRY_PAUSE_S)


def postgresql_engine(url: str, connections: int, *, prepare: bool = True) -> Engine:
    """An engine for PostgreSQL. Connection parameters in the URL override ours.

    A connection that broke while idle fails the next transaction, which is retried. Checking it before each transaction
    would cost a round trip.
    """
    in_url = make_url(url).query
    parameters: dict[str, Any] = {name: value for name, value in _CONNECTION_PARAMETERS.items() if name not in in_url}
    return create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=30,
        # Errors are logged, and parameters may contain signed URLs.
        hide_parameters=True,
        connect_args=parameters if prepare else {**parameters, "prepare_threshold": None},
    )


def sqlite_engine(
    url: str, begin: str, durability: Durability, connections: int = CONNECTIONS, *, foreign_keys: bool = True
) -> Engine:
    """An engine whose every transaction starts with `begin`.

    SQLite would write to a file that was moved, and create an empty one in place of a missing one. Here both fail.
    """
    file = Path(make_url(url).database or ":memory:")
    is_file, must_exist = str(file) != ":memory:", file.exists()
    if is_file:
        file.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
    )

    @event.listens_for(engine, "do_connect")
    def _require_file(*_: Any) -> None:
        if must_exist and not file.exists():
            raise _cannot_open("the database file does not exist")

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
        # The driver's own BEGIN is deferred: a transaction that reads first fails to write after another process wrote.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        if begin == "BEGIN IMMEDIATE":
            # `_begin_when_unlocked` waits.
            connection.execute("PRAGMA busy_timeout = 0")
        if is_file:
            entry.info["file"] = _file_id(file)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if is_file and connection.info["file"] != _file_id(file):
            connection.invalidate()
            raise OperationalError(begin, None, _cannot_open("the database file was moved"))
        _begin_when_unlocked(connection, begin)

    return engine


def _begin_when_unlocked(connection: Connection, begin: str) -> None:
    """Begins a transaction. SQLite refuses a writer at once while another process writes."""
    cursor, deadline = connection.connection.cursor(), time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute(begin)
            return
        except sqlite3.DatabaseError as error:
            is_locked = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            if not is_locked or time.monotonic() > deadline:
                # Of the same class as if the library had executed it, also for a damaged file.
                raise DBAPIError.instance(begin, None, error, sqlite3.Error) from error
        time.sleep(LOCK_POLL_S)


def _file_id(file: Path) -> tuple[int, int] | None:
    """Identifies a file under any name; None if there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _cannot_open(reason: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    return error
