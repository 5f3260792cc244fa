"""The object store: uploaded CSVs, pictures and output CSVs, in a folder or in a cloud bucket, through obstore."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO, Literal, cast
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError
from obstore.store import LocalStore
from obstore.store import ObjectStore as CloudStore

from gql_imgproc.errors import ConfigurationError, ObjectMissing, StorageError
from gql_imgproc.storage.cloud import PublicEndpoint, StoreTimeouts, open_bucket, resolve_public_endpoint
from gql_imgproc.storage.errors import hint_for, is_bucket_missing

if TYPE_CHECKING:
    from gql_imgproc.settings import Settings

log = logging.getLogger(__name__)

#: What is read or written at once while streaming, in bytes.
CHUNK_BYTES = 1024 * 1024
#: What is read of a file at once to be stored, in bytes.
READ_BYTES = 256 * 1024
#: What is sent to a bucket at once while streaming, in bytes: as little as S3 takes, since it is held in memory.
PART_BYTES = 5 * 1024 * 1024
#: Objects removed by one call: as many as an S3 request takes.
DELETE_CHUNK = 1_000
#: How many times longer than other calls those may take that move or list many things.
LONG_CALL = 10
#: Objects by which is seen that the store works are below this key.
PROBES = "health/"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that is being read: its size in bytes, its entity tag, and its bytes in chunks."""

    size: int
    etag: str | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object in a list: its key, and when it was written."""

    key: str
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class ObjectHeaders:
    """What an object says of itself to whoever fetches it from a bucket; in a folder it is not kept."""

    content_type: str
    cache_control: str = ""
    disposition: str = ""


class ObjectStore:
    """Objects by key. Opened at the first call: obstore hangs when a process forks after it was used.

    Every method raises StorageError when the store does not do what it was asked.
    """

    def __init__(self, url: str, outlet: PublicEndpoint | None = None, patience: StoreTimeouts | None = None) -> None:
        self.url = url
        #: How browsers get at objects themselves; None when they get them from us.
        self.outlet = outlet
        self._scheme = url.partition("://")[0]
        self._patience = patience or StoreTimeouts()
        self._opened: CloudStore | None = None
        self._signer: CloudStore | None = None

    @property
    def local(self) -> bool:
        return self._scheme == "file"

    @property
    def _store(self) -> CloudStore:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    @property
    def _signing(self) -> CloudStore:
        """The same store, where browsers have it."""
        if self._signer is None:
            self._signer = self._open(self.outlet.endpoint) if self.outlet and self.outlet.endpoint else self._store
        return self._signer

    def _open(self, public_endpoint: str = "") -> CloudStore:
        try:
            if self.local:
                return LocalStore(unquote(urlsplit(self.url).path), mkdir=True, automatic_cleanup=True)
            return open_bucket(self.url, self._patience, public_endpoint)
        except (BaseError, ValueError, OSError, ConfigurationError) as error:
            raise StorageError(f"The object store {self.url} cannot be opened.") from error

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Stores `data`, whole or not at all, in place of what was there."""
        await self._put(key, data, ObjectHeaders(content_type), "overwrite")

    async def put_new(self, key: str, data: bytes, headers: ObjectHeaders) -> None:
        """Stores `data`, whole or not at all, where nothing was: what is stored already is never changed.

        That the same is there already is no error: an answer may have been lost.
        """
        if self.local:
            # Some file systems have no way to do this; the names that we give are never given twice.
            await self._put(key, data, headers, "overwrite")
            return
        try:
            await self._put(key, data, headers, "create")
        except AlreadyExistsError as error:
            if await self.get(key) != data:
                raise StorageError(f"Could not store {key}: something else is there.") from error

    async def put_file(self, key: str, file: BinaryIO, headers: ObjectHeaders) -> None:
        """Streams `file` from its beginning into the store, in flat memory, where nothing was.

        A bucket gets it in parts, if it is large; they are removed when that fails.
        """
        part = CHUNK_BYTES if self.local else PART_BYTES
        small = file.seek(0, os.SEEK_END) < part
        file.seek(0)
        if small:
            await self.put_new(key, await asyncio.to_thread(file.read), headers)
            return
        async with (
            self._call(f"store {key}", LONG_CALL),
            obstore.open_writer_async(
                self._store, key, attributes=self._attributes(headers), buffer_size=part, max_concurrency=1
            ) as writer,
        ):
            while chunk := await asyncio.to_thread(file.read, READ_BYTES):
                await writer.write(chunk)

    async def _put(self, key: str, data: bytes, headers: ObjectHeaders, mode: Literal["create", "overwrite"]) -> None:
        store, attributes = self._store, self._attributes(headers)
        async with self._call(f"store {key}"):
            try:
                await obstore.put_async(store, key, data, attributes=attributes, mode=mode, use_multipart=False)
            except (NotSupportedError, NotImplementedError):
                # AWS_CONDITIONAL_PUT=disabled: a store that knows no conditions.
                await obstore.put_async(store, key, data, attributes=attributes, use_multipart=False)

    def _attributes(self, headers: ObjectHeaders) -> dict[str, str] | None:
        if self.local:
            return None
        given = {
            "Content-Type": headers.content_type,
            "Cache-Control": headers.cache_control,
            "Content-Disposition": headers.disposition,
        }
        return {name: value for name, value in given.items() if value}

    async def open(self, key: str) -> StoredObject | None:
        """An object to be read in chunks; None when there is none."""
        async with self._call(f"read {key}"):
            try:
                result = await obstore.get_async(self._store, key)
            except FileNotFoundError as error:
                if is_bucket_missing(error):
                    raise
                return None
        meta = result.meta
        return StoredObject(meta["size"], meta["e_tag"], self._chunks(key, result.stream(CHUNK_BYTES)))

    async def _chunks(self, key: str, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        while True:
            async with self._call(f"read {key}"):
                try:
                    chunk = await anext(stream)
                except StopAsyncIteration:
                    return
            yield bytes(chunk)

    async def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        async with self._call(f"look for {key}"):
            try:
                await obstore.head_async(self._store, key)
            except FileNotFoundError:
                return False
        return True

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

    async def pages(self, prefix: str) -> AsyncIterator[list[ObjectInfo]]:
        """All objects below `prefix`, which ends with a slash, page by page."""
        pages = aiter(obstore.list(self._store, prefix.rstrip("/"), chunk_size=DELETE_CHUNK))
        while True:
            async with self._call(f"list {prefix}"):
                try:
                    page = await anext(pages)
                except StopAsyncIteration:
                    return
            yield [ObjectInfo(entry["path"], entry["last_modified"]) for entry in page]

    async def list_keys(self, prefix: str) -> list[str]:
        """Keys of all objects below `prefix`, which ends with a slash."""
        return [stored.key async for page in self.pages(prefix) for stored in page]

    async def folders(self, prefix: str) -> list[str]:
        """Names of the folders right below `prefix`, which ends with a slash."""
        async with self._call(f"list {prefix}", LONG_CALL):
            found = await obstore.list_with_delimiter_async(self._store, prefix.rstrip("/"))
            return [folder.rstrip("/").rpartition("/")[2] for folder in found["common_prefixes"]]

    async def delete(self, key: str) -> None:
        """Removes an object; it is no error when there is none."""
        async with self._call(f"delete {key}"):
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
            missing = False
            async with self._call(f"delete {chunk[0]} and others"):
                try:
                    await obstore.delete_async(self._store, chunk)
                except FileNotFoundError:
                    missing = True
            if missing:
                for key in chunk:
                    await self.delete(key)

    async def sign(self, key: str, method: Literal["GET", "HEAD"], seconds: int) -> str | None:
        """An address from which the object can be had for so long without us; None when it is to be had from us."""
        if self.outlet is None:
            return None
        try:
            return await self._sign(key, method, seconds)
        except StorageError as error:
            # A key that may read need not be one that can sign, such as Azure's SAS.
            log.warning("no URL could be signed", extra={"key": key, "reason": str(error)})
            return None

    async def _sign(self, key: str, method: Literal["GET", "HEAD"], seconds: int) -> str:
        async with self._call(f"sign {key}"):
            return str(await obstore.sign_async(self._signing, method, key, timedelta(seconds=seconds)))  # type: ignore[arg-type]  # a folder, which cannot sign, has no outlet

    async def check_writable(self) -> None:
        """Writes and removes a small object, always the same; raises ConfigurationError with the mend."""
        key = f"{PROBES}probe"
        await self._try("write", self.put(key, b"ok", "text/plain"))
        await self._try("remove", self.delete(key))

    async def check(self) -> None:
        """Writes, reads, lists and removes a small object; raises ConfigurationError with the mend."""
        # Others may check at the same time.
        key = f"{PROBES}{uuid4().hex}"
        await self._try("write", self.put_new(key, b"ok", ObjectHeaders("text/plain")))
        await self._try("read", self.get(key))
        await self._try("list", self.folders(PROBES))
        await self._try("remove", self.delete(key))
        if self.outlet:
            await self._try("sign", self._sign(key, "GET", 1))

    async def _try(self, deed: str, call: Awaitable[object]) -> None:
        try:
            await call
        except StorageError as error:
            cause = error.__cause__ or error
            if isinstance(cause, ConfigurationError):
                raise ConfigurationError(f"The object store {self.url} cannot be used: {cause}") from None
            fault = hint_for(cause, self._scheme)
            raise ConfigurationError(
                f"The object store {self.url} cannot be used (to {deed}): {fault.cause}. {fault.mend}"
            ) from None

    @asynccontextmanager
    async def _call(self, deed: str, times: int = 1) -> AsyncIterator[None]:
        """Ends a call on time and gives every way it can fail one name."""
        try:
            async with asyncio.timeout(times * self._patience.call_s):
                yield
        except AlreadyExistsError:
            # An answer, not a failure.
            raise
        except (BaseError, OSError, ValueError) as error:
            raise StorageError(f"Could not {deed}: {hint_for(error, self._scheme).cause}.") from error


def open_storage(settings: Settings) -> ObjectStore:
    """The object store that the settings name."""
    found = resolve_public_endpoint(
        settings.storage, settings.storage_redirects, settings.storage_public_endpoint, settings.public_url
    )
    return ObjectStore(settings.storage, found)


#: Size from which on a file is used, in bytes.
SPOOL_BYTES = 8 * 1024 * 1024


@contextmanager
def temporary_file() -> Iterator[BinaryIO]:
    """An empty file that is gone afterwards."""
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as file:
        yield cast(BinaryIO, file)
