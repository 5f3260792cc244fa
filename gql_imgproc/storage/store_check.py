"""Checks that an object store works, and says how to fix it if not."""

from __future__ import annotations

from collections.abc import Awaitable
from uuid import uuid4

from gql_imgproc.errors import ConfigurationError, StorageError
from gql_imgproc.storage.errors import hint_for
from gql_imgproc.storage.object_store import ObjectHeaders, ObjectStore

#: Prefix of the objects that the checks write.
PREFIX = "health/"


async def check_writable(store: ObjectStore) -> None:
    """Write and delete a small object, always the same one. Raises ConfigurationError with a remedy."""
    key = f"{PREFIX}probe"
    await _try(store, "write", store.put(key, b"ok", "text/plain"))
    await _try(store, "delete", store.delete(key))


async def check_store(store: ObjectStore) -> None:
    """Write, read, list, delete and sign a small object. Raises ConfigurationError with a remedy."""
    # A new key: other processes may run the check at the same time.
    key = f"{PREFIX}{uuid4().hex}"
    await _try(store, "write", store.put_new(key, b"ok", ObjectHeaders("text/plain")))
    await _try(store, "read", store.get(key))
    await _try(store, "list", store.list_folders(PREFIX))
    await _try(store, "delete", store.delete(key))
    if store.public_endpoint:
        await _try(store, "sign", store.presign(key, "GET", 1))


async def _try(store: ObjectStore, action: str, call: Awaitable[object]) -> None:
    try:
        await call
    except StorageError as error:
        cause = error.__cause__ or error
        if isinstance(cause, ConfigurationError):
            raise ConfigurationError(f"The object store {store.url} cannot be used: {cause}") from None
        hint = hint_for(cause, store.scheme)
        raise ConfigurationError(
            f"The object store {store.url} cannot be used ({action} failed): {hint.cause}. {hint.remedy}"
        ) from None
