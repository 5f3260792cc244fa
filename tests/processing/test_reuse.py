"""An unchanged image is neither downloaded nor encoded again, and keeps its URL (promise P15)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from gql_imgproc.access import tenants
from gql_imgproc.database.tables import images, object_cleanups, renditions, sources
from gql_imgproc.database.tables import requests as request_table
from gql_imgproc.database.tables import tenants as tenant_table
from gql_imgproc.database.types import now_plus
from gql_imgproc.enums import ImageOutcome, ImageStatus
from gql_imgproc.errors import DatabaseUnavailable
from gql_imgproc.imaging.options import Options
from gql_imgproc.maintenance.retention import delete_orphans, delete_unused_renditions
from gql_imgproc.processing import image as image_service
from gql_imgproc.requests import commands
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.repository.renditions import end_unused
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import system_caller
from gql_imgproc.storage.paths import image_key, output_key
from tests.support.api_clients import ANYBODY
from tests.support.invariants import assert_counters_equal_rows, assert_images_have_their_renditions
from tests.support.services import ImageHost, advance_in_background, background_work, jpeg, upload, work_all

HEADER = "S. No.,Product Name,Input Image Urls\n"


@pytest.fixture
def compressed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bytes that are compressed, for each output."""
    seen: list[bytes] = []
    compress_outputs = image_service.compress_outputs

    def record(data: bytes, outputs: Mapping[str | None, Options], *args: Any) -> Any:
        seen.extend(data for _ in outputs)
        return compress_outputs(data, outputs, *args)

    monkeypatch.setattr(image_service, "compress_outputs", record)
    return seen


async def process(runtime: Runtime, csv: str, **overrides: Any) -> Snapshot:
    """Uploads a CSV, and returns the finished request."""
    accepted = (await upload(runtime, HEADER + csv, **overrides)).snapshot
    await work_all(runtime)
    found = await runtime.db.read(queries.get_request, accepted.tenant_id, accepted.id)
    assert found is not None
    assert found.status.is_terminal
    return found


async def read_output(runtime: Runtime, request: Snapshot) -> bytes:
    assert request.output_name is not None
    return await runtime.storage.get(output_key(request.id, request.output_name))


async def stored_keys(runtime: Runtime, request_id: UUID) -> list[str]:
    """The keys of a request's images, in the order of their URLs."""
    columns = images.c.stored_by, images.c.object_name
    statement = select(*columns).where(images.c.request_id == request_id).order_by(images.c.id)
    rows = await runtime.db.read(lambda connection: connection.execute(statement).all())
    return [image_key(*row) for row in rows]


async def read_outcomes(runtime: Runtime, request_id: UUID) -> list[ImageOutcome]:
    statement = select(images.c.outcome).where(images.c.request_id == request_id).order_by(images.c.id)
    return list(await runtime.db.read(lambda connection: connection.scalars(statement).all()))


async def read_similarities(runtime: Runtime, request_id: UUID) -> list[float]:
    statement = select(images.c.similarity).where(images.c.request_id == request_id).order_by(images.c.id)
    return list(await runtime.db.read(lambda connection: connection.scalars(statement).all()))


async def image_bytes(runtime: Runtime, request: Snapshot) -> int:
    """The bytes of the images that a request was the first to store."""
    own_bytes = select(request_table.c.own_bytes).where(request_table.c.id == request.id)
    own = await runtime.db.read(lambda connection: connection.scalar(own_bytes))
    assert own is not None
    assert request.stored_bytes is not None
    # Its files: the CSV, the output and the report.
    assert own > 0
    return request.stored_bytes - own


async def let_checks_be_due(runtime: Runtime) -> None:
    is_planned = renditions.c.check_at.is_not(None)
    due = update(renditions).where(is_planned).values(check_at=now_plus(-1))
    await runtime.db.write(lambda connection: connection.execute(due))


async def test_unchanged_image_costs_no_download_and_no_encoding(
    runtime: Runtime, image_host: ImageHost, compressed: list[bytes]
) -> None:
    # Given a catalogue whose host sends validators, and a request that processed it,
    image_host.has_etags = True
    urls = [image_host.add(f"/{n}.jpg", jpeg(n)) for n in range(3)]
    csv = f'1,Chair,"{urls[0]},{urls[1]}"\n2,Table,{urls[2]}\n'
    first = await process(runtime, csv)
    assert (first.reused_images, first.not_downloaded_bytes, len(compressed)) == (0, 0, 3)
    sent = image_host.sent_bytes

    # when it is uploaded again,
    second = await process(runtime, csv)

    # then nothing is downloaded, encoded or stored, and the output is the same.
    assert image_host.sent_bytes == sent
    assert len(compressed) == 3
    assert await read_outcomes(runtime, second.id) == [ImageOutcome.REUSED] * 3
    assert (second.processed_images, second.reused_images, second.kept_images) == (3, 3, 0)
    assert second.not_downloaded_bytes == second.input_bytes == first.input_bytes == sent
    assert (second.output_bytes, await image_bytes(runtime, second)) == (first.output_bytes, 0)
    assert await stored_keys(runtime, second.id) == await stored_keys(runtime, first.id)
    similarities = await read_similarities(runtime, first.id)
    assert all(0 < similarity < 100 for similarity in similarities)
    assert await read_similarities(runtime, second.id) == similarities
    assert len(await runtime.storage.list_keys("images/")) == 3
    assert await read_output(runtime, second) == await read_output(runtime, first)
    assert_counters_equal_rows(runtime.db, second.id)
    assert_images_have_their_renditions(runtime.db)


async def test_without_validators_unchanged_bytes_are_not_encoded(
    runtime: Runtime, image_host: ImageHost, compressed: list[bytes]
) -> None:
    url = image_host.add("/a.jpg", jpeg(1))
    first = await process(runtime, f"1,Chair,{url}\n")

    second = await process(runtime, f"1,Chair,{url}\n")

    assert image_host.requests == ["/a.jpg", "/a.jpg"]
    assert len(compressed) == 1
    assert (second.reused_images, second.not_downloaded_bytes) == (1, 0)
    assert await stored_keys(runtime, second.id) == await stored_keys(runtime, first.id)


async def test_only_what_changed_is_encoded(runtime: Runtime, image_host: ImageHost, compressed: list[bytes]) -> None:
    image_host.has_etags = True
    same, changed = image_host.add("/same.jpg", jpeg(1)), image_host.add("/changed.jpg", jpeg(2))
    csv = f'1,Chair,"{same},{changed}"\n'
    first = await process(runtime, csv)
    new_bytes = jpeg(3)
    image_host.add("/changed.jpg", new_bytes)

    second = await process(runtime, csv)
    third = await process(runtime, csv)

    assert compressed[2:] == [new_bytes]
    assert sorted(await read_outcomes(runtime, second.id)) == [ImageOutcome.COMPRESSED, ImageOutcome.REUSED]
    old, new = await stored_keys(runtime, first.id), await stored_keys(runtime, second.id)
    assert (old[0] == new[0], old[1] == new[1]) == (True, False)
    # The new validators are remembered.
    assert third.not_downloaded_bytes == third.input_bytes
    assert await stored_keys(runtime, third.id) == new


async def test_other_options_make_another_result(
    runtime: Runtime, image_host: ImageHost, compressed: list[bytes]
) -> None:
    image_host.has_etags = True
    url = image_host.add("/a.jpg", jpeg(1))
    keys = []
    for options in (Options(), Options(quality=30), Options(file_name="{sku}-{n}"), Options(quality=30)):
        request = await process(runtime, f"1,Chair,{url}\n", options=options)
        keys += await stored_keys(runtime, request.id)

    assert len(compressed) == 2
    assert (keys[0] == keys[2], keys[1] == keys[3], keys[0] == keys[1]) == (True, True, False)


async def test_new_version_of_the_compressor_makes_another_result(
    runtime: Runtime, image_host: ImageHost, compressed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = image_host.add("/a.jpg", jpeg(1))
    await process(runtime, f"1,Chair,{url}\n")
    monkeypatch.setattr("gql_imgproc.imaging.options.COMPRESSOR_VERSION", -1)

    request = await process(runtime, f"1,Chair,{url}\n")

    assert (len(compressed), request.reused_images) == (2, 0)


async def test_refresh_processes_everything_again(
    runtime: Runtime, image_host: ImageHost, compressed: list[bytes]
) -> None:
    # Given a processed image,
    image_host.has_etags = True
    url = image_host.add("/a.jpg", jpeg(1))
    first = await process(runtime, f"1,Chair,{url}\n")

    # when it is uploaded with `refresh`,
    second = await process(runtime, f"1,Chair,{url}\n", refresh=True)

    # then it is downloaded, encoded and stored again; the first request keeps its object.
    assert (len(compressed), second.reused_images, image_host.sent_bytes) == (2, 0, 2 * first.input_bytes)
    (old,), (new,) = await stored_keys(runtime, first.id), await stored_keys(runtime, second.id)
    assert old != new
    assert await runtime.storage.exists(old)
    # And later requests use the new one.
    third = await process(runtime, f"1,Chair,{url}\n")
    assert await stored_keys(runtime, third.id) == [new]
    assert_counters_equal_rows(runtime.db, third.id)


async def test_nothing_is_reused_across_tenants(
    runtime: Runtime, image_host: ImageHost, compressed: list[bytes]
) -> None:
    image_host.has_etags = True
    url = image_host.add("/a.jpg", jpeg(1))
    other = await tenants.create(runtime.db, "test", "other")
    first = await process(runtime, f"1,Chair,{url}\n")

    second = await process(runtime, f"1,Chair,{url}\n", caller=system_caller(other, "test"))

    # The other tenant cannot tell that the image was processed before.
    assert (len(compressed), second.reused_images, image_host.sent_bytes) == (2, 0, 2 * first.input_bytes)
    assert await stored_keys(runtime, second.id) != await stored_keys(runtime, first.id)
    assert len(await runtime.storage.list_keys("images/")) == 2


async def test_equal_bytes_at_several_urls_are_stored_once(
    runtime: Runtime, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given ten URLs with the same bytes, and a lookup that finds none of them in time,
    monkeypatch.setattr("gql_imgproc.requests.repository.renditions.find", lambda *_: {})
    same = jpeg(1)
    urls = [image_host.add(f"/{n}.jpg", same) for n in range(10)]

    # when they are processed at once,
    request = await process(runtime, f'1,Chair,"{",".join(urls)}"\n')

    # then all have one object, whose bytes count once.
    keys = await stored_keys(runtime, request.id)
    assert (len(keys), len(set(keys))) == (10, 1)
    assert await image_bytes(runtime, request) * 10 == request.output_bytes
    stored = await runtime.db.read(lambda connection: connection.scalar(select(tenant_table.c.stored_bytes)))
    assert stored == request.stored_bytes
    # And the nine others, to which nothing refers, are deleted.
    assert len(await runtime.storage.list_keys("images/")) == 10
    await delete_leftovers(runtime, monkeypatch)
    assert await runtime.storage.list_keys("images/") == keys[:1]


async def delete_leftovers(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gql_imgproc.maintenance.retention.ORPHAN_SECONDS", -60)
    due = update(object_cleanups).values(due_at=now_plus(-1))
    await runtime.db.write(lambda connection: connection.execute(due))
    await delete_orphans(runtime)


async def test_object_lives_as_long_as_a_request_needs_it(runtime: Runtime, image_host: ImageHost) -> None:
    # Given two requests that share an image,
    advance_in_background(runtime)
    url = image_host.add("/a.jpg", jpeg(1))
    first, second = [await process(runtime, f"1,Chair,{url}\n") for _ in range(2)]
    (key,) = await stored_keys(runtime, second.id)

    # when the one that stored it is deleted,
    await commands.delete(runtime, ANYBODY, first.id)
    await background_work(runtime)
    await let_checks_be_due(runtime)
    assert await delete_unused_renditions(runtime) == 0

    # then the other one keeps it,
    assert await runtime.storage.exists(key)
    # until that is deleted as well, and the grace time has passed.
    await commands.delete(runtime, ANYBODY, second.id)
    await background_work(runtime)
    assert await delete_unused_renditions(runtime) == 0
    assert await runtime.storage.exists(key)
    await let_checks_be_due(runtime)
    assert await delete_unused_renditions(runtime) == 1
    assert not await runtime.storage.exists(key)
    counts = await runtime.db.read(
        lambda connection: [len(connection.execute(select(table)).all()) for table in (renditions, sources)]
    )
    stored = await runtime.db.read(lambda connection: connection.scalar(select(tenant_table.c.stored_bytes)))
    assert (counts, stored) == ([0, 0], 0)


async def test_image_whose_object_is_deleted_meanwhile_is_processed_again(
    runtime: Runtime, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an image that is unchanged since a request which was deleted,
    advance_in_background(runtime)
    image_host.has_etags = True
    url = image_host.add("/a.jpg", jpeg(1))
    first = await process(runtime, f"1,Chair,{url}\n")
    (old,) = await stored_keys(runtime, first.id)
    await commands.delete(runtime, ANYBODY, first.id)
    await background_work(runtime)
    await let_checks_be_due(runtime)

    # when its object is about to be deleted between its claim and its record,
    fetch, ended = image_service.fetch, []

    async def end_first(*args: Any) -> Any:
        if not ended:
            ended.extend(runtime.db.write_now(end_unused, 10)[1])
        return await fetch(*args)

    monkeypatch.setattr(image_service, "fetch", end_first)
    second = await process(runtime, f"1,Chair,{url}\n")

    # then it is downloaded, encoded and stored again.
    assert [image_key(item.stored_by, item.object_name) for item in ended] == [old]
    assert (second.processed_images, second.reused_images) == (1, 0)
    (new,) = await stored_keys(runtime, second.id)
    assert new != old
    assert await delete_unused_renditions(runtime) == 1
    assert await runtime.storage.exists(new)
    statuses = await runtime.db.read(
        lambda connection: connection.execute(select(images.c.status, images.c.attempts)).all()
    )
    assert statuses == [(ImageStatus.COMPLETED, 1)]
    assert_images_have_their_renditions(runtime.db)


async def test_database_that_cannot_be_read_costs_no_attempt(
    runtime: Runtime, image_host: ImageHost, compressed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an image that was processed before, and a database that is unavailable when its bytes are looked up,
    url = image_host.add("/a.jpg", jpeg(1))
    first = await process(runtime, f"1,Chair,{url}\n")

    def refuse(*_: Any) -> Any:
        raise DatabaseUnavailable("it restarts")

    monkeypatch.setattr("gql_imgproc.requests.repository.renditions.find", refuse)
    monkeypatch.setattr("gql_imgproc.requests.repository.renditions.find_known", lambda *_: {})

    # when it is uploaded again,
    second = await process(runtime, f"1,Chair,{url}\n")

    # then it is compressed at the first attempt, and keeps its object.
    assert (len(compressed), second.processed_images) == (2, 1)
    assert await stored_keys(runtime, second.id) == await stored_keys(runtime, first.id)
    attempts = await runtime.db.read(lambda connection: connection.scalars(select(images.c.attempts)).all())
    assert attempts == [1, 1]
