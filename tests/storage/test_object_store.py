"""The object store in a folder."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gql_imgproc.errors import ConfigurationError, StorageError
from gql_imgproc.storage.object_store import CHUNK_BYTES, ObjectHeaders, ObjectStore


def run(folder: Path, story: Callable[[ObjectStore], Awaitable[Any]]) -> Any:
    return asyncio.run(story(ObjectStore(folder.as_uri())))  # type: ignore[arg-type]


def test_what_is_put_can_be_read_in_chunks_and_is_gone_when_deleted(tmp_path: Path) -> None:
    data = bytes(range(256)) * 8192 + b"the end"
    assert len(data) > CHUNK_BYTES

    async def story(storage: ObjectStore) -> None:
        await storage.put("a/b/one.jpg", b"one", "image/jpeg")
        await storage.put_file("a/b/two.csv", io.BytesIO(data), ObjectHeaders("text/csv"))
        assert await storage.list_keys("a/") == ["a/b/one.jpg", "a/b/two.csv"]
        assert await storage.get("a/b/one.jpg") == b"one"
        stored = await storage.open("a/b/two.csv")
        assert stored is not None
        assert stored.size == len(data)
        assert stored.etag
        assert b"".join([chunk async for chunk in stored.chunks]) == data
        copy = io.BytesIO()
        await storage.download("a/b/two.csv", copy)
        assert copy.read() == data

        await storage.delete("a/b/one.jpg")
        await storage.delete("a/b/one.jpg")
        assert await storage.open("a/b/one.jpg") is None
        await storage.delete_prefix("a/")
        assert await storage.list_keys("a/") == []

    run(tmp_path, story)
    # No empty folders are left either.
    assert list(tmp_path.iterdir()) == []


def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(tmp_path: Path) -> None:
    async def story(storage: ObjectStore) -> None:
        await storage.put("requests/1/x", b"x", "text/plain")
        await storage.put("requests/10/x", b"x", "text/plain")

        await storage.delete_prefix("requests/1/")

        assert await storage.list_keys("requests/") == ["requests/10/x"]

    run(tmp_path, story)


def test_reading_what_is_not_there_and_leaving_the_store_are_refused(tmp_path: Path) -> None:
    async def story(storage: ObjectStore) -> None:
        with pytest.raises(StorageError):
            await storage.get("nothing")
        with pytest.raises(StorageError):
            await storage.put("../outside", b"x", "text/plain")
        assert not (tmp_path.parent / "outside").exists()

    run(tmp_path, story)


def test_a_store_that_cannot_be_used_is_told_with_the_mend(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")

    async def story(storage: ObjectStore) -> None:
        with pytest.raises(ConfigurationError, match="IMGPROC_STORAGE_URL"):
            await storage.check()

    run(blocked, story)
