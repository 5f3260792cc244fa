"""Several files of each image: one download, an object, a URL and an outcome each."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO, StringIO
from typing import Any
from uuid import UUID
from zipfile import ZipFile

import pytest
from PIL import Image
from sqlalchemy import select, update

from gql_imgproc.database.tables import image_outputs, images, object_cleanups, renditions
from gql_imgproc.database.tables import tenants as tenant_table
from gql_imgproc.database.types import now_plus
from gql_imgproc.enums import ImageOutcome, ImageStatus, RequestStatus
from gql_imgproc.errors import StorageError
from gql_imgproc.imaging.options import Crop, Options, Output, OutputFormat
from gql_imgproc.maintenance.retention import delete_orphans, delete_unused_renditions
from gql_imgproc.processing import image as image_service
from gql_imgproc.requests import commands
from gql_imgproc.requests.archive import stream_archive
from gql_imgproc.requests.output_csv import write_partial_output
from gql_imgproc.requests.repository import image_outputs as output_queries
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.repository.renditions import end_unused
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.paths import image_key, output_key, report_key
from tests.processing.test_reuse import image_bytes
from tests.support.api_clients import ANYBODY
from tests.support.invariants import assert_counters_equal_rows, assert_images_have_their_renditions
from tests.support.scenarios import get_snapshot
from tests.support.services import (
    ImageHost,
    advance_in_background,
    background_work,
    jpeg,
    upload,
    work_all,
    work_on_images,
)

HEADER = "S. No.,Product Name,Input Image Urls\n"
FULL, WEBP, THUMB = Output("full"), Output("32.webp", OutputFormat.WEBP, max_width=32), Output("thumb", max_width=16)
THREE = Options(outputs=(FULL, WEBP, THUMB))


@pytest.fixture
def compressed(monkeypatch: pytest.MonkeyPatch) -> list[list[str | None]]:
    """The outputs that are made, of each image that is decoded."""
    seen: list[list[str | None]] = []
    compress_outputs = image_service.compress_outputs

    def record(data: bytes, outputs: Mapping[str | None, Options], *args: Any) -> Any:
        seen.append([*outputs])
        return compress_outputs(data, outputs, *args)

    monkeypatch.setattr(image_service, "compress_outputs", record)
    return seen


async def process(runtime: Runtime, csv: str, options: Options = THREE, **overrides: Any) -> Snapshot:
    """Uploads a CSV, and returns the finished request."""
    accepted = (await upload(runtime, HEADER + csv, options=options, **overrides)).snapshot
    await work_all(runtime)
    return await read_request(runtime, accepted)


async def read_request(runtime: Runtime, request: Snapshot) -> Snapshot:
    found = await runtime.db.read(queries.get_request, request.tenant_id, request.id)
    assert found is not None
    assert found.status.is_terminal
    return found


async def read_outputs(runtime: Runtime, request: Snapshot) -> list[list[tuple[str, ImageOutcome]]]:
    """The key and the outcome of each output of each completed image, in the order of the URLs."""
    columns = images.c.id, images.c.stored_by, images.c.object_name, images.c.outcome
    completed = images.c.request_id == request.id, images.c.status == ImageStatus.COMPLETED
    statement = select(*columns).where(*completed).order_by(images.c.id)
    rows = await runtime.db.read(lambda connection: connection.execute(statement).all())
    further = await runtime.db.read(output_queries.of_images, request.tenant_id, [row.id for row in rows])
    return [
        [(image_key(row.stored_by, row.object_name), row.outcome)]
        + [(image_key(each.stored_by, each.object_name), each.outcome) for each in further.get(row.id, ())]
        for row in rows
    ]


async def read_csv(runtime: Runtime, key: str) -> list[list[str]]:
    return list(csv.reader(StringIO((await runtime.storage.get(key)).decode("utf-8-sig"), newline="")))


async def count_rows(runtime: Runtime) -> tuple[int, int, int | None]:
    """The numbers of renditions and further outputs, and the bytes that the tenant stores."""
    return await runtime.db.read(
        lambda connection: (
            len(connection.execute(select(renditions.c.id)).all()),
            len(connection.execute(select(image_outputs.c.image_id)).all()),
            connection.scalar(select(tenant_table.c.stored_bytes)),
        )
    )


async def delete(runtime: Runtime, request_id: UUID) -> int:
    """Deletes a request, and the objects that no image needs any more; their number."""
    await commands.delete(runtime, ANYBODY, request_id)
    await background_work(runtime)
    due = update(renditions).where(renditions.c.check_at.is_not(None)).values(check_at=now_plus(-1))
    await runtime.db.write(lambda connection: connection.execute(due))
    return await delete_unused_renditions(runtime)


async def test_one_download_and_one_decoding_give_several_files(
    runtime: Runtime, image_host: ImageHost, compressed: list[list[str | None]]
) -> None:
    url = image_host.add("/a.jpg", jpeg(1))

    request = await process(runtime, f"1,Oak Chair,{url}\n")

    assert image_host.requests == ["/a.jpg"]
    assert compressed == [["full", "32.webp", "thumb"]]
    ((full, webp, thumb),) = await read_outputs(runtime, request)
    assert {outcome for _, outcome in (full, webp, thumb)} == {ImageOutcome.COMPRESSED}
    stored = [await runtime.storage.get(key) for key, _ in (full, webp, thumb)]
    opened = [Image.open(BytesIO(data)) for data in stored]
    assert [image.format for image in opened] == ["JPEG", "WEBP", "JPEG"]
    assert [image.size for image in opened] == [(64, 48), (32, 24), (16, 12)]
    # Counters are those of images and of their first outputs, but everything that is stored counts for the quota.
    assert (request.total_images, request.processed_images, request.output_bytes) == (1, 1, len(stored[0]))
    assert await image_bytes(runtime, request) == sum(map(len, stored))
    assert_counters_equal_rows(runtime.db, request.id)
    assert_images_have_their_renditions(runtime.db)


async def test_output_csv_has_a_column_and_the_report_a_row_for_each_output(
    runtime: Runtime, image_host: ImageHost
) -> None:
    good, missing = image_host.add("/a.jpg", jpeg(1)), image_host.url + "/missing.jpg"

    request = await process(runtime, f'1,Oak Chair,"{good},{missing}"\n')

    assert request.output_name is not None
    (outputs,) = await read_outputs(runtime, request)
    full, webp, thumb = [f"{runtime.settings.public_url}/api/image/{key.removeprefix('images/')}" for key, _ in outputs]
    header, row = await read_csv(runtime, output_key(request.id, request.output_name))
    assert header[3:] == [
        "Output Image Urls",
        "Output Image Urls (32.webp)",
        "Output Image Urls (thumb)",
        "Image Errors",
    ]
    expected = [f"{full}/oak-chair-1.jpg", f"{webp}/oak-chair-1-32-webp.webp", f"{thumb}/oak-chair-1-thumb.jpg"]
    assert row[3:6] == [f"{each}," for each in expected]
    assert row[6].startswith("2: ")
    header, *rows = await read_csv(runtime, report_key(request.id, request.output_name))
    assert header[-2:] == ["Similarity", "Output"]
    assert [(row[3], row[4], row[-1]) for row in rows] == [
        *zip(expected, ["COMPRESSED"] * 3, ["full", "32.webp", "thumb"], strict=True),
        ("", "FAILED", ""),
    ]
    assert {row[7] for row in rows[:3]} == {str(len(image_host.images["/a.jpg"]))}


async def test_uploaded_output_csv_gets_the_outputs_of_the_new_request(runtime: Runtime, image_host: ImageHost) -> None:
    # Given an output CSV with columns of two further outputs,
    first = await process(runtime, f"1,Oak Chair,{image_host.add('/a.jpg', jpeg(1))}\n")
    assert first.output_name is not None
    data = await runtime.storage.get(output_key(first.id, first.output_name))

    # when it is uploaded with other outputs,
    options = Options(outputs=(FULL, THUMB, Output("tiny", max_width=8)))
    accepted = (await upload(runtime, data, options=options)).snapshot
    await work_all(runtime)
    second = await read_request(runtime, accepted)

    # then it has the columns of these.
    assert second.output_name is not None
    old, new = [await read_csv(runtime, output_key(each.id, each.output_name or "")) for each in (first, second)]
    assert new[0] == [*old[0][:4], "Output Image Urls (thumb)", "Image Errors", "Output Image Urls (tiny)"]
    # The outputs that both have are reused.
    assert (new[1][3], new[1][4]) == (old[1][3], old[1][5])
    assert new[1][6].endswith("/oak-chair-1-tiny.jpg")


async def test_archive_has_all_outputs(runtime: Runtime, image_host: ImageHost) -> None:
    request = await process(runtime, f"1,Oak Chair,{image_host.add('/a.jpg', jpeg(1))}\n")
    output = await runtime.storage.open(output_key(request.id, request.output_name or ""))
    assert output is not None

    data = b"".join([piece async for piece in stream_archive(runtime, request, output)])

    names = ZipFile(BytesIO(data)).namelist()
    assert names[1:] == ["oak-chair-1.jpg", "oak-chair-1-32-webp.webp", "oak-chair-1-thumb.jpg"]


async def test_each_output_is_reused(
    runtime: Runtime, image_host: ImageHost, compressed: list[list[str | None]]
) -> None:
    # Given an image that was processed without outputs,
    image_host.has_etags = True
    csv = f"1,Oak Chair,{image_host.add('/a.jpg', jpeg(1))}\n"
    plain = await process(runtime, csv, Options())

    # when further outputs are wanted, then only these are made, and the image keeps its URL.
    three = await process(runtime, csv)
    assert compressed == [[None], ["32.webp", "thumb"]]
    ((own,),) = await read_outputs(runtime, plain)
    ((full, webp, thumb),) = await read_outputs(runtime, three)
    assert full == (own[0], ImageOutcome.REUSED)
    assert {webp[1], thumb[1]} == {ImageOutcome.COMPRESSED}
    assert (three.reused_images, three.not_downloaded_bytes) == (1, 0)

    # when nothing changed, then nothing is downloaded, nor made.
    sent = image_host.sent_bytes
    again = await process(runtime, csv)
    assert image_host.sent_bytes == sent
    assert len(compressed) == 2
    reused = [(key, ImageOutcome.REUSED) for key, _ in (full, webp, thumb)]
    assert await read_outputs(runtime, again) == [reused]
    assert (again.reused_images, again.not_downloaded_bytes) == (1, sent // 2)
    assert await image_bytes(runtime, again) == 0

    # when one of them is the only output, then it is the image's own.
    assert await read_outputs(runtime, await process(runtime, csv, Options(outputs=(THUMB,)))) == [reused[2:]]
    assert_images_have_their_renditions(runtime.db)


async def test_refresh_makes_all_outputs_again(
    runtime: Runtime, image_host: ImageHost, compressed: list[list[str | None]]
) -> None:
    csv = f"1,Oak Chair,{image_host.add('/a.jpg', jpeg(1))}\n"
    first = await process(runtime, csv)

    second = await process(runtime, csv, refresh=True)

    assert compressed == [["full", "32.webp", "thumb"]] * 2
    ((old,), (new,)) = await read_outputs(runtime, first), await read_outputs(runtime, second)
    assert len({key for key, _ in (*old, *new)}) == 6


async def test_object_of_an_output_lives_as_long_as_an_image_needs_it(runtime: Runtime, image_host: ImageHost) -> None:
    # Given a request with three outputs, and one whose only output is one of them,
    advance_in_background(runtime)
    csv = f"1,Oak Chair,{image_host.add('/a.jpg', jpeg(1))}\n"
    three = await process(runtime, csv)
    ((full, webp, thumb),) = await read_outputs(runtime, three)
    one = await process(runtime, csv, Options(max_width=16))
    again = await process(runtime, csv)
    assert [row[0] for row in await read_outputs(runtime, one)] == [(thumb[0], ImageOutcome.REUSED)]
    assert (await count_rows(runtime))[:2] == (3, 4)

    # when they are deleted one after the other, then each object goes with the last image that has it as an output.
    assert await delete(runtime, three.id) == 0
    assert await delete(runtime, again.id) == 2
    assert [await runtime.storage.exists(key) for key, _ in (full, webp, thumb)] == [False, False, True]
    assert (await count_rows(runtime))[:2] == (1, 0)
    assert await delete(runtime, one.id) == 1
    assert await count_rows(runtime) == (0, 0, 0)
    assert await runtime.storage.list_keys("images/") == []


async def test_repeats_have_the_outputs_of_their_original(runtime: Runtime, image_host: ImageHost) -> None:
    url = image_host.add("/a.jpg", jpeg(1))

    request = await process(runtime, f'1,Oak Chair,"{url}"\n2,Oak Table,{url}\n')

    first, second = await read_outputs(runtime, request)
    assert len(first) == 3
    assert first == second
    assert await count_rows(runtime) == (3, 2, request.stored_bytes)


async def test_failed_output_fails_its_image_with_its_name(runtime: Runtime, image_host: ImageHost) -> None:
    url = image_host.add("/a.jpg", jpeg(1))
    options = Options(crop=Crop(0, 0, 65, 1), outputs=(FULL, THUMB))

    request = await process(runtime, f"1,Oak Chair,{url}\n", options)

    assert (request.status, request.failed_images) == (RequestStatus.FAILED, 1)
    statement = select(images.c.status, images.c.error_message)
    ((status, message),) = await runtime.db.read(lambda connection: connection.execute(statement).all())
    assert status is ImageStatus.FAILED
    assert message.startswith("Output full: The crop rectangle of 65 x 1 pixels")
    assert (await count_rows(runtime))[:2] == (0, 0)
    assert await image_bytes(runtime, request) == 0


async def test_output_that_is_not_stored_leaves_nothing(
    runtime: Runtime, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an object store that refuses the second output of an image,
    put_new, stored = runtime.storage.put_new, []

    async def refuse_second(key: str, *args: Any) -> Any:
        if key.startswith("images/"):
            if stored:
                raise StorageError("full")
            stored.append(key)
        return await put_new(key, *args)

    monkeypatch.setattr(runtime.storage, "put_new", refuse_second)
    runtime.settings = runtime.settings.model_copy(update={"retry_delays": ()})

    # when the image is processed,
    request = await process(runtime, f"1,Oak Chair,{image_host.add('/a.jpg', jpeg(1))}\n")

    # then it fails, and the cleanup of its request deletes the first one.
    assert request.failed_images == 1
    assert (await count_rows(runtime))[:2] == (0, 0)
    assert await image_bytes(runtime, request) == 0
    assert await runtime.storage.list_keys("images/") == stored
    monkeypatch.setattr("gql_imgproc.maintenance.retention.ORPHAN_SECONDS", -60)
    due = update(object_cleanups).values(due_at=now_plus(-1))
    await runtime.db.write(lambda connection: connection.execute(due))
    await delete_orphans(runtime)
    assert await runtime.storage.list_keys("images/") == []


async def test_image_is_processed_again_if_an_output_is_deleted_meanwhile(
    runtime: Runtime, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a rendition of a deleted request, which a new request wants as its first output,
    advance_in_background(runtime)
    csv = f"1,Oak Chair,{image_host.add('/a.jpg', jpeg(1))}\n"
    plain = await process(runtime, csv, Options())
    await commands.delete(runtime, ANYBODY, plain.id)
    await background_work(runtime)
    due = update(renditions).where(renditions.c.check_at.is_not(None)).values(check_at=now_plus(-1))
    await runtime.db.write(lambda connection: connection.execute(due))

    # when it is deleted while the other outputs are made,
    store, ended = image_service.store, []

    async def end_first(*args: Any) -> Any:
        if not ended:
            ended.extend(runtime.db.write_now(end_unused, 10)[1])
        return await store(*args)

    monkeypatch.setattr(image_service, "store", end_first)
    request = await process(runtime, csv)

    # then the image is processed again, and uses what was stored for it.
    assert len(ended) == 1
    ((full, webp, thumb),) = await read_outputs(runtime, request)
    assert [full[1], webp[1], thumb[1]] == [ImageOutcome.COMPRESSED, ImageOutcome.REUSED, ImageOutcome.REUSED]
    assert await delete_unused_renditions(runtime) == 1
    assert_images_have_their_renditions(runtime.db)
    assert_counters_equal_rows(runtime.db, request.id)
    assert await delete(runtime, request.id) == 3
    assert await count_rows(runtime) == (0, 0, 0)


async def test_negotiated_urls_stay_when_the_catalogue_is_uploaded_again(
    runtime: Runtime, image_host: ImageHost
) -> None:
    # Given a request that negotiates, with a repeated image,
    url = image_host.add("/a.jpg", jpeg(1))
    rows = f"1,Oak Chair,{url}\n2,Oak Table,{url}\n"
    options = Options(negotiate=True, outputs=(FULL, Output("webp", OutputFormat.WEBP), THUMB))
    first = await process(runtime, rows, options)

    # when it is uploaded again, and without negotiation,
    again, plain = (
        await process(runtime, rows, options),
        await process(runtime, rows, replace(options, negotiate=False)),
    )

    # then the URLs are the same, and those of the last one differ, so that caches do not mix them up.
    assert (again.reused_images, plain.reused_images) == (2, 2)
    tables = [await read_csv(runtime, output_key(each.id, each.output_name or "")) for each in (first, again, plain)]
    assert tables[0] == tables[1]
    ((full, webp, thumb), repeat) = await read_outputs(runtime, first)
    assert repeat == [full, webp, thumb]
    url = f"{runtime.settings.public_url}/api/image"
    of_full, of_webp, of_thumb = (key.removeprefix("images/") for key, _ in (full, webp, thumb))
    full_id, webp_id = (key.partition("/")[2][:32] for key in (of_full, of_webp))
    assert [row[3:6] for row in tables[0][1:]] == [
        [
            f"{url}/{of_full}/{webp_id}/{name}-1.jpg",
            f"{url}/{of_webp}/{full_id}/{name}-1-webp.webp",
            f"{url}/{of_thumb}/{name}-1-thumb.jpg",
        ]
        for name in ("oak-chair", "oak-table")
    ]
    assert tables[2][1][3:5] == [f"{url}/{of_full}/oak-chair-1.jpg", f"{url}/{of_webp}/oak-chair-1-webp.webp"]


@pytest.mark.usefixtures("control_worker")
async def test_images_that_are_not_done_have_no_negotiated_url(runtime: Runtime, image_host: ImageHost) -> None:
    # Given a request that negotiates, of which one image is done,
    options = Options(negotiate=True, outputs=(FULL, Output("webp", OutputFormat.WEBP)))
    urls = [image_host.add(f"/{number}.jpg", jpeg(number)) for number in range(2)]
    rows = "".join(f"{number},Oak,{url}\n" for number, url in enumerate(urls, start=1))
    request_id = (await upload(runtime, HEADER + rows, options=options)).snapshot.id
    # The second one waits for its second attempt.
    runtime.settings = runtime.settings.model_copy(update={"retry_delays": (600.0,)})
    image_host.statuses = {"/1.jpg": [500]}
    await work_on_images(runtime)
    running = get_snapshot(runtime.db, request_id)

    # when its output is read before its end, and after it was cancelled,
    with BytesIO() as file:
        await write_partial_output(runtime, running, file, as_csv=True)
        partial = file.getvalue().decode("utf-8-sig")
    cancelled = await commands.cancel(runtime, ANYBODY, request_id)

    # then both have the URLs of the completed image only, each of which names the other.
    assert (running.status, cancelled.status) == (RequestStatus.PROCESSING, RequestStatus.CANCELLED)
    ((full, webp),) = await read_outputs(runtime, cancelled)
    for table in (
        list(csv.reader(StringIO(partial, newline=""))),
        await read_csv(runtime, output_key(request_id, cancelled.output_name or "")),
    ):
        done, waiting = [row[3:5] for row in table[1:]]
        assert waiting == ["", ""]
        for url, own, other in zip(done, (full, webp), (webp, full), strict=True):
            assert f"{own[0].removeprefix('images/')}/{other[0].rpartition('/')[2][:32]}/oak-1" in url
