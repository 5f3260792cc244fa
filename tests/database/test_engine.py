"""PostgreSQL over a network: connection settings, retries, and an unavailable server."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Thread, Timer
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import Connection, make_url, text

from gql_imgproc.database import engine
from gql_imgproc.database.engine import Database
from gql_imgproc.errors import DatabaseUnavailable
from tests.support.tcp_proxy import TcpProxy


@pytest.fixture
def proxy(postgresql_url: str) -> Iterator[TcpProxy]:
    opened = TcpProxy(postgresql_url)
    yield opened
    opened.close()


def one(connection: Connection) -> Any:
    return connection.execute(text("SELECT 1")).scalar_one()


def test_broken_idle_connection_is_replaced(proxy: TcpProxy) -> None:
    database = Database(proxy.url)
    assert database.read_now(one) == 1

    proxy.disconnect()

    assert database.read_now(one) == 1
    database.close()


@pytest.mark.parametrize("was_connected", [True, False])
def test_transaction_waits_for_an_unavailable_database(proxy: TcpProxy, was_connected: bool) -> None:
    database = Database(proxy.url, retry_timeout_s=30)
    if was_connected:
        database.read_now(one)
    proxy.refuse()
    reopening = Timer(0.3, proxy.open)
    reopening.start()

    assert database.write_now(one) == 1
    # It succeeded after the server was back, and long before the timeout of the test.
    assert reopening.finished.is_set()
    database.close()


def test_interrupted_transaction_is_retried_completely(proxy: TcpProxy) -> None:
    database = Database(proxy.url)
    database.write_now(Connection.execute, text("CREATE TABLE notes (number int)"))
    runs: list[int] = []

    def work(connection: Connection) -> None:
        runs.append(len(runs))
        connection.execute(text("INSERT INTO notes VALUES (:number)"), {"number": runs[-1]})
        if len(runs) == 1:
            proxy.disconnect()
        connection.execute(text("INSERT INTO notes VALUES (:number)"), {"number": runs[-1]})

    try:
        database.write_now(work)

        assert runs == [0, 1]
        numbers = database.read_now(
            lambda connection: connection.execute(text("SELECT number FROM notes")).scalars().all()
        )
        assert numbers == [1, 1]
    finally:
        database.write_now(Connection.execute, text("DROP TABLE notes"))
        database.close()


def test_transaction_is_retried_after_an_idle_timeout(postgresql_url: str) -> None:
    """For example after the machine was suspended."""
    database = Database(postgresql_url)
    runs: list[int] = []

    def work(connection: Connection) -> Any:
        runs.append(len(runs))
        if len(runs) == 1:
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '50ms'"))
            time.sleep(0.3)
        return one(connection)

    assert database.write_now(work) == 1
    assert runs == [0, 1]
    database.close()


def test_retries_end_after_the_timeout(proxy: TcpProxy) -> None:
    database = Database(proxy.url, retry_timeout_s=0.2)
    proxy.refuse()

    pauses: list[float] = []
    wait = database._closing.wait

    def count_pause(pause_s: float) -> bool:
        pauses.append(pause_s)
        return wait(pause_s)

    with mock.patch.object(database._closing, "wait", count_pause), pytest.raises(DatabaseUnavailable):
        database.read_now(one)

    assert 1 <= len(pauses) <= 2
    assert sum(pauses) <= 0.2
    database.close()


def test_close_does_not_wait_for_an_unavailable_database(proxy: TcpProxy) -> None:
    database = Database(proxy.url, retry_timeout_s=600)
    proxy.refuse()
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            database.read_now(one)
        except DatabaseUnavailable as error:
            failed.append(error)

    asking = Thread(target=ask)
    asking.start()
    time.sleep(0.1)
    database.close()
    asking.join(5)

    assert len(failed) == 1


def test_pool_limits_the_number_of_connections(postgresql_url: str) -> None:
    database = Database(postgresql_url, connections=2)
    pids: set[int] = set()

    def work(connection: Connection) -> None:
        pids.add(connection.execute(text("SELECT pg_backend_pid() FROM pg_sleep(0.02)")).scalar_one())

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda _: database.write_now(work), range(24)))

    assert len(pids) == 2
    database.close()


async def test_transaction_does_not_wait_for_a_thread_without_end(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(postgresql_url)
    monkeypatch.setattr(engine, "THREAD_TIMEOUT_S", -1)
    runs: list[Connection] = []

    for call in (database.read, database.write):
        with pytest.raises(DatabaseUnavailable, match="every connection is busy"):
            await call(runs.append)

    assert runs == []
    database.close()


def test_session_and_socket_timeouts_are_set(proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    # Those of the service, not of the tests.
    monkeypatch.undo()
    database = Database(proxy.url)

    def look(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        with socket.fromfd(driver.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM) as ours:
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000
        settings = {
            name: connection.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar_one()
            for name in (
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
                "client_connection_check_interval",
                "application_name",
            )
        }
        assert settings == {
            "statement_timeout": "1min",
            "lock_timeout": "30s",
            "idle_in_transaction_session_timeout": "5s",
            "client_connection_check_interval": "2s",
            "application_name": "gql-imgproc",
        }

    database.read_now(look)
    database.close()


def test_locks_of_a_vanished_client_are_released(proxy: TcpProxy, postgresql_url: str) -> None:
    # Parameters in the URL override ours.
    short_timeout_url = make_url(proxy.url).set(query={"options": "-c idle_in_transaction_session_timeout=200ms"})
    vanishing = Database(short_timeout_url.render_as_string(hide_password=False), retry_timeout_s=0)
    staying = Database(postgresql_url)
    lock = text("SELECT pg_advisory_xact_lock(7)")
    acquired: list[bool] = []

    def vanish(connection: Connection) -> None:
        connection.execute(lock)
        proxy.freeze()
        staying.write_now(Connection.execute, lock)
        acquired.append(True)
        proxy.disconnect()

    # Without a release, the other client would fail after its lock timeout of 30 s.
    with pytest.raises(DatabaseUnavailable):
        vanishing.write_now(lambda connection: (vanish(connection), one(connection)))

    assert acquired == [True]
    vanishing.close()
    staying.close()


def test_prepared_statements_can_be_disabled(postgresql_url: str) -> None:
    count_statements = text("SELECT count(*) FROM pg_prepared_statements")

    def work(connection: Connection) -> Any:
        for _ in range(10):
            one(connection)
        return connection.execute(count_statements).scalar_one()

    for prepare, expected in ((True, 1), (False, 0)):
        database = Database(postgresql_url, prepare=prepare)
        assert database.read_now(work) == expected
        database.close()
