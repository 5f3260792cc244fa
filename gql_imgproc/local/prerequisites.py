"""What must be there before anything is started: asked once, so that a fault is one line and no log full of it."""

from __future__ import annotations

import asyncio

from gql_imgproc.db import migration
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.io.storage import storage_of
from gql_imgproc.local import redis
from gql_imgproc.settings import Settings

#: Deadline for the object store to take, give and forget a few bytes, in seconds. Its own retries take longer.
STORE_S = 8.0


async def check(settings: Settings) -> None:
    """What API and workers need; raises ConfigurationError with the mend for what is missing first."""
    await asyncio.to_thread(redis.check, settings.redis_url, "Start it, or mend IMGPROC_REDIS_URL")
    await asyncio.to_thread(migration.check, settings.database)
    await check_store(settings)


async def check_store(settings: Settings) -> None:
    """Raises ConfigurationError when nothing can be stored."""
    try:
        async with asyncio.timeout(STORE_S):
            await storage_of(settings).check()
    except TimeoutError:
        raise ConfigurationError(
            f"The object store {settings.storage} does not answer within {STORE_S:.0f} s. "
            "Check IMGPROC_STORAGE_URL and the access it needs"
        ) from None
