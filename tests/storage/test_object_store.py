"""The object store in a folder."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from gql_imgproc.errors import ConfigurationError, StorageError
from gql_imgproc.storage.object_store import CHUNK_BYTES, ObjectHeaders, ObjectStore
from gql_imgproc.storage.store_check import check_store


@pytest.fixture
def storage(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path.as_uri())


async def test_objects_are_read_in_chunks(storage: ObjectStore) -> None:
    data = bytes(range(256)) * 8192 + b"the end"
    assert len(data) > CHUNK_BYTES

    await storage.put("a/b/one.jpg", b"one", "image/jpeg")
    await storage.put_file("a/b/two.csv", io.BytesIO(data), ObjectHeaders("text/csv"))

    assert await storage.list_keys("a/") == ["a/b/one.jpg", "a/b/two.csv"]
    assert await storage.get("a/b/one.jpg") == b"one"
    stored = await storage.open("a/b/two.csv")
    assert stored is not None
    assert stored.size_bytes == len(data)
    assert stored.etag
    assert b"".join([chunk async for chunk in stored.chunks]) == data
    copy = io.BytesIO()
    await storage.download("a/b/two.csv", copy)
    assert copy.read() == data


async def test_deletion_leaves_no_empty_folders(storage: ObjectStore, tmp_path: Path) -> None:
    await storage.put("a/b/one.jpg", b"one", "image/jpeg")
    await storage.put("a/b/two.csv", b"two", "text/csv")

    await storage.delete("a/b/one.jpg")
    await storage.delete("a/b/one.jpg")
    assert await storage.open("a/b/one.jpg") is None
    await storage.delete_prefix("a/")

    assert await storage.list_keys("a/") == []
    assert os.listdir(tmp_path) == []


async def test_prefix_matches_whole_folder_names(storage: ObjectStore) -> None:
    await storage.put("requests/1/x", b"x", "text/plain")
    await storage.put("requests/10/x", b"x", "text/plain")

    await storage.delete_prefix("requests/1/")

    assert await storage.list_keys("requests/") == ["requests/10/x"]


async def test_missing_object_and_key_outside_the_folder_are_refused(storage: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        await storage.get("missing")
    with pytest.raises(StorageError):
        await storage.put("../outside", b"x", "text/plain")
    assert not (tmp_path.parent / "outside").exists()


async def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    # Given links to a file and a folder outside of the store,
    outside, folder = tmp_path / "outside", tmp_path / "objects"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(b"secret")
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "file.jpg").symlink_to(outside / "secret.jpg")
    (folder / "a" / "folder").symlink_to(outside)
    storage = ObjectStore(folder.as_uri())
    await storage.put("a/own.jpg", b"own", "image/jpeg")

    # when they are read, listed, written or deleted,
    for key in ("a/file.jpg", "a/folder/secret.jpg"):
        assert await storage.open(key) is None
        assert not await storage.exists(key)
        await storage.delete(key)
        with pytest.raises(StorageError, match="symbolic link"):
            await storage.put(key, b"x", "image/jpeg")
    with pytest.raises(StorageError, match="symbolic link"):
        await storage.put_file("a/folder/new.csv", io.BytesIO(bytes(CHUNK_BYTES)), ObjectHeaders("text/csv"))
    assert await storage.list_keys("a/") == ["a/own.jpg"]
    assert await storage.list_keys("a/folder/") == []
    assert await storage.list_folders("a/") == []
    await storage.delete_all(["a/file.jpg", "a/folder/secret.jpg"])
    await storage.delete_prefix("a/")

    # then nothing happens outside.
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"secret.jpg": b"secret"}
    assert sorted(path.name for path in (folder / "a").iterdir()) == ["file.jpg", "folder"]


async def test_folder_of_the_store_may_be_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "objects").symlink_to(tmp_path / "disk")
    storage = ObjectStore((tmp_path / "objects").as_uri())

    await storage.put("a/own.jpg", b"own", "image/jpeg")

    assert await storage.get("a/own.jpg") == b"own"
    assert await storage.list_keys("a/") == ["a/own.jpg"]


async def test_unusable_folder_is_reported_with_a_remedy(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")

    with pytest.raises(ConfigurationError, match="IMGPROC_STORAGE_URL"):
        await check_store(ObjectStore(file.as_uri()))
