"""Transactions: one function a call, run on a thread, retried when the database asks for it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import OperationalError

T = TypeVar("T")

#: Transactions of one process at once on PostgreSQL, and readers on SQLite; each has a thread and a connection.
CONNECTIONS = 6
#: How long SQLite waits for another process's write lock, in milliseconds.
BUSY_TIMEOUT_MS = 30_000
#: How often a transaction is run again after a deadlock or a lost connection, and the first pause in seconds.
RETRIES, FIRST_PAUSE_S = 4, 0.05
#: PostgreSQL: serialization failure, deadlock, and the states of a server that is restarting.
_TRANSIENT = {"40001", "40P01", "57P01", "57P02", "57P03", "08006", "08003", "08001"}

Durability = Literal["power", "process"]


class Database:
    """A database and the threads that talk to it.

    On SQLite there is one writer thread per process: its write lock is one for all, and threads that wait for
    it in Python wake up at once while SQLite's own waiting polls.

    `durability` is what a committed transaction survives: a loss of `power` (the API, which promises that an
    upload is accepted) or of the `process` (workers, whose lost records are made again).
    """

    def __init__(self, url: str, *, durability: Durability = "power") -> None:
        self.url = url
        self.sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.sqlite:
            self._reader = sqlite_engine(url, "BEGIN", durability)
            self._writer = sqlite_engine(url, "BEGIN IMMEDIATE", durability)
        else:
            self._reader = self._writer = create_engine(
                url,
                pool_size=CONNECTIONS,
                max_overflow=0,
                pool_timeout=30,
                pool_pre_ping=True,
                # The values of a statement that failed hold addresses with their signatures, and would be logged.
                hide_parameters=True,
                connect_args={
                    "connect_timeout": 5,
                    "options": "-c statement_timeout=60000 -c lock_timeout=30000",
                },
            )
        self._read_threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="db")
        self._write_threads = (
            ThreadPoolExecutor(1, thread_name_prefix="db-write") if self.sqlite else self._read_threads
        )

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a read transaction on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._read_threads, self.read_now, work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction that is committed unless it raises; it may be run more than once."""
        return await asyncio.get_running_loop().run_in_executor(self._write_threads, self.write_now, work)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """`read` on the calling thread."""
        return _transact(self._reader, work)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """`write` on the calling thread."""
        return _transact(self._writer, work)

    def close(self) -> None:
        """Waits for transactions under way, then closes every connection."""
        self._write_threads.shutdown()
        self._read_threads.shutdown()
        self._writer.dispose()
        self._reader.dispose()


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    pause_s = FIRST_PAUSE_S
    for attempt in range(RETRIES + 1):
        try:
            with engine.begin() as connection:
                return work(connection)
        except OperationalError as error:
            state = getattr(error.orig, "sqlstate", None)
            if attempt == RETRIES or not (state in _TRANSIENT or error.connection_invalidated):
                raise
            time.sleep(pause_s)
            pause_s *= 3
    raise AssertionError("unreachable")


def sqlite_engine(url: str, begin: str, durability: Durability) -> Engine:
    """An engine whose every transaction starts with `begin`."""
    path = make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        pool_size=CONNECTIONS,
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
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
