"""The object store: uploaded CSVs, images and output CSVs, in a folder or a cloud bucket, through obstore."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO, Literal
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError
from obstore.store import LocalStore
from obstore.store import ObjectStore as CloudStore

from gql_imgproc.errors import ConfigurationError, ObjectMissing, StorageError
from gql_imgproc.storage.cloud import StoreTimeouts, open_bucket, url_scheme
from gql_imgproc.storage.errors import hint_for, is_bucket_missing
from gql_imgproc.storage.presigned_urls import PublicEndpoint, resolve_public_endpoint

if TYPE_CHECKING:
    from gql_imgproc.settings import Settings

log = logging.getLogger(__name__)

#: Chunk of a streamed download.
CHUNK_BYTES = 1024 * 1024
#: Chunk read from a file that is stored.
READ_BYTES = 256 * 1024
#: Part of a multipart upload: the minimum of S3, because a part is held in memory.
PART_BYTES = 5 * 1024 * 1024
#: Objects deleted by one call: the maximum of S3.
DELETE_CHUNK = 1_000
#: Factor on the timeout for calls that transfer or list many objects.
LONG_CALL_FACTOR = 10


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that is being read."""

    size_bytes: int
    etag: str | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    key: str
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class ObjectHeaders:
    """HTTP headers that a bucket sends with an object. A folder does not store them."""

    content_type: str
    cache_control: str = ""
    disposition: str = ""


class ObjectStore:
    """Objects by key. Every method raises StorageError if the call fails.

    Opened at the first call: obstore hangs in a process that was forked after its first use.
    """

    def __init__(
        self, url: str, public_endpoint: PublicEndpoint | None = None, timeouts: StoreTimeouts | None = None
    ) -> None:
        self.url = url
        self.scheme = url_scheme(url)
        #: Where browsers reach the objects; None if the API must serve them.
        self.public_endpoint = public_endpoint
        self._timeouts = timeouts or StoreTimeouts()
        self._store_or_none: CloudStore | None = None
        self._signer: CloudStore | None = None

    @property
    def is_local(self) -> bool:
        return self.scheme == "file"

    @property
    def _store(self) -> CloudStore:
        if self._store_or_none is None:
            self._store_or_none = self._open()
        return self._store_or_none

    @property
    def _signing_store(self) -> CloudStore:
        """The same store at its public endpoint."""
        if self._signer is None:
            endpoint = self.public_endpoint.endpoint if self.public_endpoint else ""
            self._signer = self._open(endpoint) if endpoint else self._store
        return self._signer

    def _open(self, public_endpoint: str = "") -> CloudStore:
        try:
            if self.is_local:
                return LocalStore(unquote(urlsplit(self.url).path), mkdir=True, automatic_cleanup=True)
            return open_bucket(self.url, self._timeouts, public_endpoint)
        except (BaseError, ValueError, OSError, ConfigurationError) as error:
            raise StorageError(f"The object store {self.url} cannot be opened.") from error

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store `data` atomically. Replaces an existing object."""
        await self._put(key, data, ObjectHeaders(content_type), "overwrite")

    async def put_new(self, key: str, data: bytes, headers: ObjectHeaders) -> None:
        """Store `data` atomically. Never replaces an object.

        An existing object with the same bytes is no error: an earlier response may have been lost.
        """
        if self.is_local:
            # Some file systems cannot do this. Keys are unique anyway.
            await self._put(key, data, headers, "overwrite")
            return
        try:
            await self._put(key, data, headers, "create")
        except AlreadyExistsError as error:
            if await self.get(key) != data:
                raise StorageError(f"Could not store {key}: another object exists.") from error

    async def put_file(self, key: str, file: BinaryIO, headers: ObjectHeaders) -> None:
        """Store a file from its start, in constant memory. Never replaces an object.

        A large file is sent to a bucket in parts; they are deleted if the upload fails.
        """
        part = CHUNK_BYTES if self.is_local else PART_BYTES
        is_small = file.seek(0, os.SEEK_END) < part
        file.seek(0)
        if is_small:
            await self.put_new(key, await asyncio.to_thread(file.read), headers)
            return
        self._reject_link(key)
        async with (
            self._call(f"store {key}", LONG_CALL_FACTOR),
            obstore.open_writer_async(
                self._store, key, attributes=self._attributes(headers), buffer_size=part, max_concurrency=1
            ) as writer,
        ):
            while chunk := await asyncio.to_thread(file.read, READ_BYTES):
                await writer.write(chunk)

    async def _put(self, key: str, data: bytes, headers: ObjectHeaders, mode: Literal["create", "overwrite"]) -> None:
        store, attributes = self._store, self._attributes(headers)
        self._reject_link(key)
        async with self._call(f"store {key}"):
            try:
                await obstore.put_async(store, key, data, attributes=attributes, mode=mode, use_multipart=False)
            except (NotSupportedError, NotImplementedError):
                # AWS_CONDITIONAL_PUT=disabled: the store does not support conditions.
                await obstore.put_async(store, key, data, attributes=attributes, use_multipart=False)

    def _attributes(self, headers: ObjectHeaders) -> dict[str, str] | None:
        if self.is_local:
            return None
        attributes = {
            "Content-Type": headers.content_type,
            "Cache-Control": headers.cache_control,
            "Content-Disposition": headers.disposition,
        }
        return {name: value for name, value in attributes.items() if value}

    async def open(self, key: str) -> StoredObject | None:
        """Open an object to read it in chunks; None if it does not exist."""
        if self._is_link(key):
            return None
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
        if self._is_link(key):
            return False
        async with self._call(f"find {key}"):
            try:
                await obstore.head_async(self._store, key)
            except FileNotFoundError:
                return False
        return True

    async def read_chunks(self, key: str) -> AsyncIterator[bytes]:
        """Yield the bytes of an object. Raises ObjectMissing."""
        stored = await self.open(key)
        if stored is None:
            raise ObjectMissing(f"The object {key} does not exist.")
        async for chunk in stored.chunks:
            yield chunk

    async def get(self, key: str) -> bytes:
        """Return an object. Raises ObjectMissing."""
        return b"".join([chunk async for chunk in self.read_chunks(key)])

    async def download(self, key: str, file: BinaryIO) -> None:
        """Write an object to a file, and rewind the file. Raises ObjectMissing."""
        async for chunk in self.read_chunks(key):
            await asyncio.to_thread(file.write, chunk)
        file.seek(0)

    async def list_pages(self, prefix: str) -> AsyncIterator[list[ObjectInfo]]:
        """Yield all objects below `prefix`, which ends with a slash, page by page."""
        pages = aiter(obstore.list(self._store, prefix.rstrip("/"), chunk_size=DELETE_CHUNK))
        while True:
            async with self._call(f"list {prefix}"):
                try:
                    page = await anext(pages)
                except StopAsyncIteration:
                    return
            yield [
                ObjectInfo(entry["path"], entry["last_modified"]) for entry in page if not self._is_link(entry["path"])
            ]

    async def list_keys(self, prefix: str) -> list[str]:
        """Return the keys of all objects below `prefix`, which ends with a slash."""
        return [stored.key async for page in self.list_pages(prefix) for stored in page]

    async def list_folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below `prefix`, which ends with a slash."""
        async with self._call(f"list {prefix}", LONG_CALL_FACTOR):
            found = await obstore.list_with_delimiter_async(self._store, prefix.rstrip("/"))
            folders = [folder.rstrip("/") for folder in found["common_prefixes"]]
            return [folder.rpartition("/")[2] for folder in folders if not self._is_link(folder)]

    async def delete(self, key: str) -> None:
        """Delete an object. A missing object is no error."""
        if self._is_link(key):
            return
        async with self._call(f"delete {key}"):
            try:
                await obstore.delete_async(self._store, key)
            except FileNotFoundError:
                return

    async def delete_prefix(self, prefix: str) -> None:
        await self.delete_all(await self.list_keys(prefix))

    async def delete_all(self, keys: Sequence[str]) -> None:
        """Delete objects. Missing objects are no error."""
        for start in range(0, len(keys), DELETE_CHUNK):
            chunk = [key for key in keys[start : start + DELETE_CHUNK] if not self._is_link(key)]
            if not chunk:
                continue
            is_missing = False
            async with self._call(f"delete {chunk[0]} and others"):
                try:
                    await obstore.delete_async(self._store, chunk)
                except FileNotFoundError:
                    is_missing = True
            if is_missing:
                for key in chunk:
                    await self.delete(key)

    async def presign_or_none(self, key: str, method: Literal["GET", "HEAD"], seconds: int) -> str | None:
        """Return a URL at which browsers can reach an object; None if the API must serve it."""
        if self.public_endpoint is None:
            return None
        try:
            return await self.presign(key, method, seconds)
        except StorageError as error:
            # Some credentials can read but not sign, such as a SAS token of Azure.
            log.warning("no URL could be signed", extra={"key": key, "reason": str(error)})
            return None

    async def presign(self, key: str, method: Literal["GET", "HEAD"], seconds: int) -> str:
        # A URL of Azure permits actions, not methods: reading includes HEAD, for which obstore permits nothing.
        method = "GET" if self.scheme == "az" else method
        async with self._call(f"sign {key}"):
            return str(await obstore.sign_async(self._signing_store, method, key, timedelta(seconds=seconds)))  # type: ignore[arg-type]  # a folder has no public endpoint

    def _is_link(self, key: str) -> bool:
        """Whether a symbolic link in the folder would lead to another place, perhaps outside of it."""
        if not self.is_local:
            return False
        path = unquote(urlsplit(self.url).path)
        return any(os.path.islink(path := f"{path}/{part}") for part in key.split("/"))

    def _reject_link(self, key: str) -> None:
        if self._is_link(key):
            raise StorageError(f"Could not store {key}: its path contains a symbolic link.")

    @asynccontextmanager
    async def _call(self, action: str, timeout_factor: int = 1) -> AsyncIterator[None]:
        """Set the timeout of a call, and convert its errors to StorageError."""
        try:
            async with asyncio.timeout(timeout_factor * self._timeouts.call_s):
                yield
        except AlreadyExistsError:
            # A result, not a failure.
            raise
        except (BaseError, OSError, ValueError) as error:
            raise StorageError(f"Could not {action}: {hint_for(error, self.scheme).cause}.") from error


def open_storage(settings: Settings) -> ObjectStore:
    public_endpoint = resolve_public_endpoint(
        settings.storage, settings.storage_redirects, settings.storage_public_endpoint, settings.public_url
    )
    return ObjectStore(settings.storage, public_endpoint)
