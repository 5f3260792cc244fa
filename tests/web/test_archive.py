"""Downloads of a request's images as one ZIP archive."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import delete, select, update

from gql_imgproc.database.tables import images, products, requests
from gql_imgproc.enums import ImageOutcome, ImageStatus, RequestPhase, RequestStatus
from gql_imgproc.errors import ObjectMissing, RequestNotFound
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.requests import archive
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import image_key, output_key
from tests.graphql.client import Api, open_api
from tests.support.s3_server import S3
from tests.support.scenarios import get_snapshot, given_request
from tests.web.test_files import OUTPUT, in_bucket


@dataclass(frozen=True)
class StoredRequest:
    path: str
    keys: list[str]


async def given_images(
    api: Api, sizes_per_product: list[list[int]], file_name: str | None = "chair-{n}"
) -> StoredRequest:
    """A finished request with stored images of these sizes; a size of 0 is an image that failed."""
    request_id = given_request(api.runtime.db, *map(len, sizes_per_product), csv_filename="shop.csv")
    sizes = [size for of_product in sizes_per_product for size in of_product]
    ids = api.runtime.db.read_now(
        lambda connection: connection.scalars(
            select(images.c.id).join(products).order_by(products.c.position, images.c.position)
        ).all()
    )
    keys = []
    for number, (image_id, size) in enumerate(zip(ids, sizes, strict=True)):
        name = f"{image_id.hex}-1.jpg"
        stored = {
            "status": ImageStatus.COMPLETED,
            "outcome": ImageOutcome.KEPT,
            "object_name": name,
            "output_bytes": size,
        }
        values = stored if size else {"status": ImageStatus.FAILED}
        statement = update(images).where(images.c.id == image_id).values(due_at=None, **values)
        api.runtime.db.write_now(lambda connection, statement=statement: connection.execute(statement))
        if size:
            keys.append(image_key(request_id, name))
            await api.runtime.storage.put(keys[-1], bytes([number % 256]) * size, "image/jpeg")
    finished = {"status": RequestStatus.COMPLETED, "phase": RequestPhase.DONE, "output_name": "output-1.csv"}

    def finish(connection):  # type: ignore[no-untyped-def]
        connection.execute(update(products).values(file_name=file_name))
        connection.execute(update(requests).values(finished))

    api.runtime.db.write_now(finish)
    await api.runtime.storage.put(output_key(request_id, "output-1.csv"), OUTPUT, "text/csv")
    return StoredRequest(f"/api/archive/{encode_global_id(IdPrefix.REQUEST, request_id)}", keys)


async def open_stream(api: Api) -> AsyncIterator[bytes]:
    """The archive of the only request, without HTTP."""
    request_id = api.runtime.db.read_now(lambda connection: connection.scalars(select(requests.c.id)).one())
    output = await api.runtime.storage.open(output_key(request_id, "output-1.csv"))
    assert output is not None
    return archive.stream_archive(api.runtime, get_snapshot(api.runtime.db, request_id), output)


async def test_archive_holds_the_images_and_the_output_csv(api: Api) -> None:
    # Given two products with the same name, one image of which failed, and one image that is larger than a chunk,
    large = 2 * archive.READ_AHEAD_BYTES + 1
    stored = await given_images(api, [[5, 0, large], [7]])

    # when their archive is downloaded,
    got, head = await api.http.get(stored.path), await api.http.head(stored.path)

    # then each stored image is in it once, under a name of its own.
    assert (got.status_code, got.headers["content-type"]) == (200, "application/zip")
    assert 'filename="shop-images.zip"' in got.headers["content-disposition"]
    assert (head.status_code, head.content) == (200, b"")
    with zipfile.ZipFile(io.BytesIO(got.content)) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == {
            "shop-output.csv": OUTPUT,
            "chair-1.jpg": b"\x00" * 5,
            "chair-3.jpg": b"\x02" * large,
            "chair-1-2.jpg": b"\x03" * 7,
        }


async def test_archive_of_images_in_a_bucket(settings: Settings, s3: S3) -> None:
    async with open_api(in_bucket(settings, s3)) as api:
        stored = await given_images(api, [[size] * 3 for size in range(1, 8)], None)
        got = await api.http.get(stored.path)
    with zipfile.ZipFile(io.BytesIO(got.content)) as opened:
        names = [key.rpartition("/")[2] for key in stored.keys]
        assert opened.namelist() == ["shop-output.csv", *names]
        assert [opened.getinfo(name).file_size for name in names] == [size for size in range(1, 8) for _ in range(3)]


async def test_archive_of_an_unfinished_or_unknown_request(api: Api) -> None:
    running = encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, 1))
    unknown = encode_global_id(IdPrefix.REQUEST, new_id())

    got, missing = await api.http.get(f"/api/archive/{running}"), await api.http.get(f"/api/archive/{unknown}")

    message = "The request is still PENDING. Its archive is available after it finishes."
    assert (got.status_code, got.json()) == (409, {"error": message})
    assert missing.status_code == 404


async def test_no_archive_lacks_an_image_silently(api: Api) -> None:
    # Given an image whose object was deleted,
    stored = await given_images(api, [[5], [7]])
    await api.runtime.storage.delete(stored.keys[1])

    # when the archive is streamed, then it breaks off before the table of contents.
    with pytest.raises(ObjectMissing):
        async for _ in await open_stream(api):
            pass


async def test_no_archive_is_short_because_its_request_was_deleted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an archive whose first file is sent, of a request whose images are listed one product at a time,
    monkeypatch.setattr(archive, "PAGE_PRODUCTS", 1)
    await given_images(api, [[5], [7]])
    stream = await open_stream(api)
    await anext(stream)

    # when the request starts to be deleted, and the first rows are gone, while the objects stay for a while,
    api.runtime.db.write_now(
        lambda connection: connection.execute(update(requests).values(phase=RequestPhase.DELETING))
    )
    api.runtime.db.write_now(lambda connection: connection.execute(delete(products).where(products.c.position == 1)))

    # then the archive breaks off before the table of contents.
    with pytest.raises(RequestNotFound):
        async for _ in stream:
            pass


async def test_memory_does_not_grow_with_the_size_of_the_images(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given 128 images of half a megabyte,
    await given_images(api, [[512 * 1024] * 16] * 8)
    monkeypatch.setattr(archive, "READ_AHEAD", 4)

    # when they are streamed,
    tracemalloc.start()
    total = 0
    async for piece in await open_stream(api):
        total += len(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # then only a few are in memory at a time.
    assert total > 64 * 1024 * 1024
    assert peak < 8 * 1024 * 1024


def test_name_that_many_files_have_is_looked_up_a_limited_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    names, lookups = archive._UniqueNames(1_002), 0
    take = names._take

    def count_lookup(name: str) -> bool:
        nonlocal lookups
        lookups += 1
        return take(name)

    monkeypatch.setattr(names, "_take", count_lookup)

    found = [names.add(name) for name in ("shop.csv", "chair-3.jpg", *["chair.jpg"] * 1_000)]

    assert found[2:6] == ["chair.jpg", "chair-2.jpg", "chair-4.jpg", "chair-5.jpg"]
    assert found[9:12] == ["chair-9.jpg", "chair-10.jpg", "chair-11.jpg"]
    assert len(set(found)) == 1_002
    assert lookups < 10 * 1_002


def test_names_with_the_same_hash_differ() -> None:
    class SameHash(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return 0

    names = archive._UniqueNames(3)

    assert [names.add(SameHash(name)) for name in ("a.jpg", "b.jpg", "c.jpg")] == ["a.jpg", "b-2.jpg", "c-2.jpg"]
