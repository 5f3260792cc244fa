"""Checks before a start, so that a missing dependency is reported in one line instead of repeated log entries."""

from __future__ import annotations

import asyncio

from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.access.key_repository import has_usable_key
from gql_imgproc.database import migrations
from gql_imgproc.database.engine import Database
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.net.loopback import is_loopback
from gql_imgproc.settings import Settings
from gql_imgproc.standalone import embedded_redis
from gql_imgproc.storage import store_check
from gql_imgproc.storage.object_store import open_storage

#: Deadline to write, read and delete a small test object, in seconds. The object store's own retries take longer.
STORE_S = 8.0


async def check_dependencies(settings: Settings) -> None:
    """Checks Redis, database and object store; raises ConfigurationError with a fix for the first that fails."""
    await asyncio.to_thread(embedded_redis.check, settings.redis_url, "Start it, or correct IMGPROC_REDIS_URL")
    await asyncio.to_thread(migrations.check, settings.database)
    await check_store(settings)


async def check_store(settings: Settings) -> None:
    """Raises ConfigurationError when nothing can be stored."""
    try:
        async with asyncio.timeout(STORE_S):
            await store_check.check_store(open_storage(settings))
    except TimeoutError:
        raise ConfigurationError(
            f"The object store {settings.storage} did not answer within {STORE_S:.0f} s. "
            "Check IMGPROC_STORAGE_URL and its credentials"
        ) from None


def anonymous_policy(host: str, *, allow_anonymous: bool) -> AnonymousAccess:
    """When callers need no API key: on loopback until the first key exists; elsewhere only with `allow_anonymous`."""
    if allow_anonymous:
        return AnonymousAccess.ALWAYS
    return AnonymousAccess.WHILE_NO_KEY if is_loopback(host) else AnonymousAccess.NEVER


def check_keys(database_url: str, host: str, anonymous: AnonymousAccess) -> None:
    """Raises ConfigurationError when callers need an API key and there is no active one."""
    if anonymous is not AnonymousAccess.NEVER:
        return
    database = Database(database_url)
    try:
        has_key = database.read_now(has_usable_key)
    finally:
        database.close()
    if not has_key:
        raise ConfigurationError(
            f"Listening on {host or 'every IP address'} admits other machines, so callers need an API key, and there "
            "is none yet. Create one with `gql-imgproc keys create --name NAME`, with IMGPROC_DATA_DIR or "
            "IMGPROC_DATABASE_URL of this service, or add --allow-anonymous to require none"
        )
