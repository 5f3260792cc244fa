"""PostgreSQL across a network: what a process asks of it, and what happens while it is away."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Thread, Timer
from typing import Any

import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import OperationalError

from gql_imgproc.database.engine import Database
from tests.support.concurrency_barrier import Gate


@pytest.fixture
def gate(postgresql_url: str) -> Iterator[Gate]:
    made = Gate(postgresql_url)
    yield made
    made.shut()


def one(connection: Connection) -> Any:
    return connection.execute(text("SELECT 1")).scalar_one()


def test_a_connection_that_broke_while_nobody_used_it_is_not_noticed(gate: Gate) -> None:
    database = Database(gate.url)
    assert database.read_now(one) == 1

    gate.cut()

    assert database.read_now(one) == 1
    database.close()


@pytest.mark.parametrize("was_connected", [True, False])
def test_a_transaction_waits_for_a_database_that_is_away(gate: Gate, was_connected: bool) -> None:
    database = Database(gate.url, retry_timeout_s=30)
    if was_connected:
        database.read_now(one)
    gate.shut()
    Timer(0.3, gate.open).start()

    began = time.monotonic()

    assert database.write_now(one) == 1
    assert 0.3 <= time.monotonic() - began < 5
    database.close()


def test_a_transaction_that_breaks_in_the_middle_is_done_again_as_a_whole(gate: Gate) -> None:
    database = Database(gate.url)
    database.write_now(lambda connection: connection.execute(text("CREATE TABLE notes (number int)")))
    tries: list[int] = []

    def work(connection: Connection) -> None:
        tries.append(len(tries))
        connection.execute(text("INSERT INTO notes VALUES (:number)"), {"number": tries[-1]})
        if len(tries) == 1:
            gate.cut()
        connection.execute(text("INSERT INTO notes VALUES (:number)"), {"number": tries[-1]})

    try:
        database.write_now(work)

        assert tries == [0, 1]
        kept = database.read_now(
            lambda connection: connection.execute(text("SELECT number FROM notes")).scalars().all()
        )
        assert kept == [1, 1]
    finally:
        database.write_now(lambda connection: connection.execute(text("DROP TABLE notes")))
        database.close()


def test_a_transaction_that_paused_for_too_long_is_done_again(postgresql_url: str) -> None:
    """As when the whole machine was stopped for a while."""
    database = Database(postgresql_url)
    tries: list[int] = []

    def work(connection: Connection) -> Any:
        tries.append(len(tries))
        if len(tries) == 1:
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '50ms'"))
            time.sleep(0.3)
        return one(connection)

    assert database.write_now(work) == 1
    assert tries == [0, 1]
    database.close()


def test_patience_has_an_end(gate: Gate) -> None:
    database = Database(gate.url, retry_timeout_s=0.2)
    gate.shut()

    began = time.monotonic()
    with pytest.raises(OperationalError):
        database.read_now(one)

    assert time.monotonic() - began < 2
    database.close()


def test_who_closes_does_not_wait_for_a_database_that_is_away(gate: Gate) -> None:
    database = Database(gate.url, retry_timeout_s=600)
    gate.shut()
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            database.read_now(one)
        except OperationalError as error:
            failed.append(error)

    asking = Thread(target=ask)
    asking.start()
    time.sleep(0.1)
    database.close()
    asking.join(5)

    assert len(failed) == 1


def test_a_process_has_no_more_connections_than_it_may(postgresql_url: str) -> None:
    database = Database(postgresql_url, connections=2)
    pids: set[int] = set()

    def work(connection: Connection) -> None:
        pids.add(connection.execute(text("SELECT pg_backend_pid() FROM pg_sleep(0.02)")).scalar_one())

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda _: database.write_now(work), range(24)))

    assert len(pids) == 2
    database.close()


def test_neither_side_waits_for_a_host_that_vanished(gate: Gate) -> None:
    database = Database(gate.url)

    def look(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        with socket.fromfd(driver.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM) as ours:
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000
        asked = {
            name: connection.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar_one()
            for name in (
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
                "client_connection_check_interval",
                "application_name",
            )
        }
        assert asked == {
            "statement_timeout": "1min",
            "lock_timeout": "30s",
            "idle_in_transaction_session_timeout": "5s",
            "client_connection_check_interval": "2s",
            "application_name": "gql-imgproc",
        }

    database.read_now(look)
    database.close()


def test_what_a_vanished_process_holds_locked_is_free_again(gate: Gate, postgresql_url: str) -> None:
    # The address may ask for other times than ours.
    soon = make_url(gate.url).set(query={"options": "-c idle_in_transaction_session_timeout=200ms"})
    vanishing = Database(soon.render_as_string(hide_password=False), retry_timeout_s=0)
    staying = Database(postgresql_url)
    lock = text("SELECT pg_advisory_xact_lock(7)")

    def vanish(connection: Connection) -> None:
        connection.execute(lock)
        gate.freeze()
        staying.write_now(lambda other: other.execute(lock))
        gate.cut()

    began = time.monotonic()
    with pytest.raises(OperationalError):
        vanishing.write_now(lambda connection: (vanish(connection), one(connection)))

    assert 0.2 <= time.monotonic() - began < 5
    vanishing.close()
    staying.close()


def test_without_prepared_statements_none_is_kept(postgresql_url: str) -> None:
    kept = text("SELECT count(*) FROM pg_prepared_statements")

    def work(connection: Connection) -> Any:
        for _ in range(10):
            one(connection)
        return connection.execute(kept).scalar_one()

    for prepare, most in ((True, 1), (False, 0)):
        database = Database(postgresql_url, prepare=prepare)
        assert database.read_now(work) == most
        database.close()
