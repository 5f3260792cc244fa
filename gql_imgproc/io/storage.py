"""The object store: uploaded CSVs, pictures and output CSVs, in a folder or in a cloud bucket, through obstore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from gql_imgproc.errors import ConfigurationError, ObjectMissing, StorageError

#: What is read or written at once while streaming, in bytes.
CHUNK_BYTES = 1024 * 1024
#: What is read of a file at once to be stored, in bytes.
READ_BYTES = 256 * 1024
#: What is sent to a bucket at once while streaming, in bytes: as little as S3 takes, since it is held in memory.
PART_BYTES = 5 * 1024 * 1024
#: Objects removed by one call: as many as an S3 request takes.
DELETE_CHUNK = 1_000
#: Deadline for one call, in seconds; obstore's own retries (three minutes by default) end before it.
CALL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that is being read: its size in bytes, its entity tag, and its bytes in chunks."""

    size: int
    etag: str | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a list: its key, and when it was written."""

    key: str
    modified_at: datetime


class Storage:
    """Objects by key. Opened at the first call: obstore hangs when a process forks after it was used.

    Every method raises StorageError when the store does not do what it was asked.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.local = url.startswith("file://")
        self._opened: ObjectStore | None = None

    @property
    def _store(self) -> ObjectStore:
        if self._opened is None:
            try:
                self._opened = _open(self.url)
            except (BaseError, ValueError, OSError) as error:
                raise StorageError(f"The object store {self.url} cannot be opened: {_reason(error)}.") from error
        return self._opened

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Stores `data`, whole or not at all, in place of what was there."""
        async with _deadline(f"store {key}"):
            await obstore.put_async(
                self._store, key, data, attributes=None if self.local else {"Content-Type": content_type}
            )

    async def put_file(self, key: str, file: BinaryIO, content_type: str) -> None:
        """Streams `file` from its beginning into the store, in flat memory."""
        file.seek(0)
        attributes = None if self.local else {"Content-Type": content_type}
        store = self._store
        async with (
            _deadline(f"store {key}", seconds=10 * CALL_SECONDS),
            obstore.open_writer_async(
                store,
                key,
                attributes=attributes,
                buffer_size=CHUNK_BYTES if self.local else PART_BYTES,
                max_concurrency=1,
            ) as writer,
        ):
            while chunk := await asyncio.to_thread(file.read, READ_BYTES):
                await writer.write(chunk)

    async def open(self, key: str) -> StoredObject | None:
        """An object to be read in chunks; None when there is none."""
        async with _deadline(f"read {key}"):
            try:
                result = await obstore.get_async(self._store, key)
            except FileNotFoundError:
                return None
        meta = result.meta
        return StoredObject(meta["size"], meta["e_tag"], _chunks(key, result.stream(CHUNK_BYTES)))

    async def get(self, key: str) -> bytes:
        """All bytes of an object."""
        stored = await self.open(key)
        if stored is None:
            raise ObjectMissing(f"There is no object {key}.")
        return b"".join([chunk async for chunk in stored.chunks])

    async def download(self, key: str, file: BinaryIO) -> None:
        """Streams an object into `file`, then goes back to its beginning."""
        stored = await self.open(key)
        if stored is None:
            raise ObjectMissing(f"There is no object {key}.")
        async for chunk in stored.chunks:
            await asyncio.to_thread(file.write, chunk)
        file.seek(0)

    async def pages(self, prefix: str) -> AsyncIterator[list[Listed]]:
        """All objects below `prefix`, which ends with a slash, page by page."""
        pages = aiter(obstore.list(self._store, prefix.rstrip("/"), chunk_size=DELETE_CHUNK))
        while True:
            async with _deadline(f"list {prefix}"):
                try:
                    page = await anext(pages)
                except StopAsyncIteration:
                    return
            yield [Listed(entry["path"], entry["last_modified"]) for entry in page]

    async def list_keys(self, prefix: str) -> list[str]:
        """Keys of all objects below `prefix`, which ends with a slash."""
        return [stored.key async for page in self.pages(prefix) for stored in page]

    async def folders(self, prefix: str) -> list[str]:
        """Names of the folders right below `prefix`, which ends with a slash."""
        async with _deadline(f"list {prefix}"):
            found = await obstore.list_with_delimiter_async(self._store, prefix.rstrip("/"))
            return [folder.rstrip("/").rpartition("/")[2] for folder in found["common_prefixes"]]

    async def delete(self, key: str) -> None:
        """Removes an object; it is no error when there is none."""
        async with _deadline(f"delete {key}"):
            try:
                await obstore.delete_async(self._store, key)
            except FileNotFoundError:
                return

    async def delete_prefix(self, prefix: str) -> None:
        """Removes every object below `prefix`."""
        await self.delete_all(await self.list_keys(prefix))

    async def delete_all(self, keys: Sequence[str]) -> None:
        """Removes objects; it is no error when one is not there."""
        for start in range(0, len(keys), DELETE_CHUNK):
            chunk = list(keys[start : start + DELETE_CHUNK])
            try:
                async with _deadline(f"delete {chunk[0]} and others"):
                    await obstore.delete_async(self._store, chunk)
            except ObjectMissing:
                for key in chunk:
                    await self.delete(key)

    async def sign(self, key: str, seconds: int) -> str | None:
        """An address from which the object can be read for so long without us; None for a local folder."""
        if self.local:
            return None
        async with _deadline(f"sign {key}"):
            return str(await obstore.sign_async(self._store, "GET", key, timedelta(seconds=seconds)))  # type: ignore[call-overload]  # LocalStore, which cannot sign, was excluded

    async def check(self) -> None:
        """Writes, reads and removes a small object; raises ConfigurationError with the mend."""
        key = "health/probe"
        try:
            await self.put(key, b"ok", "text/plain")
            await self.get(key)
            await self.delete(key)
        except StorageError as error:
            # What the store itself said, if it said anything.
            cause = error.__cause__
            reason = _reason(cause if cause and str(cause) else error)
            raise ConfigurationError(
                f"The object store {self.url} cannot be used: {reason}. "
                "Check IMGPROC_STORAGE_URL and the access it needs"
            ) from None


def _open(url: str) -> ObjectStore:
    if url.startswith("file://"):
        return LocalStore(unquote(urlsplit(url).path), mkdir=True, automatic_cleanup=True)
    return from_url(
        url,
        client_options={"timeout": "30s", "connect_timeout": "5s"},
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=CALL_SECONDS / 2)},
    )


def _reason(error: BaseException) -> str:
    """What obstore says, without the dump of its own values that follows."""
    return str(error).strip().partition("\n")[0].rstrip(".:")


async def _chunks(key: str, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while True:
        async with _deadline(f"read {key}"):
            try:
                chunk = await anext(stream)
            except StopAsyncIteration:
                return
        yield bytes(chunk)


@asynccontextmanager
async def _deadline(deed: str, seconds: float = CALL_SECONDS) -> AsyncIterator[None]:
    """Ends a call on time and gives every way it can fail one name."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except FileNotFoundError as error:
        raise ObjectMissing(f"The object store has no such object: could not {deed}.") from error
    except TimeoutError as error:
        raise StorageError(f"The object store did not answer within {seconds:.0f} s: could not {deed}.") from error
    except (BaseError, OSError, ValueError) as error:
        raise StorageError(f"The object store refused: could not {deed}.") from error
