"""What must be there before anything is started: asked once, so that a fault is one line and no log full of it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.access.key_repository import has_usable_key
from gql_imgproc.database import migrations
from gql_imgproc.database.engine import Database
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.net.loopback import is_loopback
from gql_imgproc.settings import Settings
from gql_imgproc.standalone import embedded_redis
from gql_imgproc.storage.object_store import open_storage

#: Deadline for the object store to take, give and forget a few bytes, in seconds. Its own retries take longer.
STORE_S = 8.0


async def check(settings: Settings) -> None:
    """What API and workers need; raises ConfigurationError with the mend for what is missing first."""
    await asyncio.to_thread(embedded_redis.check, settings.redis_url, "Start it, or mend IMGPROC_REDIS_URL")
    await asyncio.to_thread(migrations.check, settings.database)
    await check_store(settings)


async def check_store(settings: Settings) -> None:
    """Raises ConfigurationError when nothing can be stored."""
    try:
        async with asyncio.timeout(STORE_S):
            await open_storage(settings).check()
    except TimeoutError:
        raise ConfigurationError(
            f"The object store {settings.storage} does not answer within {STORE_S:.0f} s. "
            "Check IMGPROC_STORAGE_URL and the access it needs"
        ) from None


if sys.platform != "win32":
    import fcntl

#: File in the data folder that a running `up` holds locked; in it the number of its process.
_LOCK = "up.lock"


def check_writable(folder: Path) -> None:
    """Makes the folder if need be; raises ConfigurationError when nothing can be stored in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except OSError as error:
        raise ConfigurationError(
            f"The data folder {folder.absolute()} cannot be written: {error.strerror or error}. "
            "Mend its permissions, or choose another with --data-dir"
        ) from None


@contextmanager
def lock_data_dir(folder: Path) -> Iterator[None]:
    """Keeps a writable folder for this process alone; raises ConfigurationError when another `up` has it.

    The kernel gives the lock back however the process ends. Its children have no part in it: they do not inherit
    the file. Does nothing on Windows, which has no such locks.
    """
    if sys.platform == "win32":
        yield
        return
    with (folder / _LOCK).open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigurationError(
                f"The data folder {folder.absolute()} is in use by a running `gql-imgproc up` "
                f"(process {file.read().strip() or 'unknown'}). Stop that one, or choose another with --data-dir"
            ) from None
        except OSError:
            # A file system without locks: as good as Windows.
            yield
            return
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def reachable_url_of(host: str, port: int) -> str:
    """As `url_of`, but one that can be called: a wildcard becomes this machine."""
    return url_of({"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host), port)


def anonymous_policy(host: str, *, allow_anonymous: bool) -> AnonymousAccess:
    """When callers need no API key: on this machine alone, while there is none; elsewhere if that was said aloud."""
    if allow_anonymous:
        return AnonymousAccess.ALWAYS
    return AnonymousAccess.WHILE_NO_KEY if is_loopback(host) else AnonymousAccess.NEVER


def check_keys(database_url: str, host: str, anonymous: AnonymousAccess) -> None:
    """Raises ConfigurationError where nobody could come in: callers are asked for a key, and there is none."""
    if anonymous is not AnonymousAccess.NEVER:
        return
    database = Database(database_url)
    try:
        there_is_one = database.read_now(has_usable_key)
    finally:
        database.close()
    if not there_is_one:
        raise ConfigurationError(
            f"Listening on {host or 'every address'} lets other machines in, so callers are asked for an API key, and "
            "there is none yet. Make one with `gql-imgproc keys create`, or add --allow-anonymous to ask nobody"
        )


def check_port(host: str, port: int) -> int:
    """The port, or a free one for 0; raises ConfigurationError when it cannot be listened on."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind) as probe:
            # As servers do: connections of an earlier run that linger are no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
            return int(probe.getsockname()[1])
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(
            f"Cannot listen on {host} port {port}: {reason}. Stop what listens there, or choose another --port"
        ) from None
