"""An upload through all services, on SQLite and PostgreSQL: rows, images, output CSV."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Connection, func, select, update

from gql_imgproc.database.tables import images, products, renditions, requests, sources
from gql_imgproc.database.types import now_plus, seconds_since
from gql_imgproc.enums import ImageStatus, RequestFailureCode, RequestStatus
from gql_imgproc.errors import CsvIssueCode, ImageErrorCode, InvalidCsv, UploadTooLarge, WebhookUrlInvalid
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.imaging.compress import Compressed
from gql_imgproc.imaging.outputs import compress_outputs
from gql_imgproc.maintenance.retention import delete_unused_renditions
from gql_imgproc.metrics import IMAGES
from gql_imgproc.processing import image as image_service
from gql_imgproc.requests import commands, ingest
from gql_imgproc.requests.lifecycle import advance
from gql_imgproc.requests.repository import claims, queries, results
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.paths import image_key, input_key, output_key, report_key
from tests.imaging.test_metadata_option import gain_map_jpeg
from tests.support.api_clients import ANYBODY
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import try_claim
from tests.support.services import ImageHost, background_work, jpeg, upload, work_all, work_on_images

HEADER = "S. No.,Product Name,Input Image Urls\n"


async def read_state(runtime: Runtime, request_id: Any) -> Snapshot:
    found = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
    assert found is not None
    return found


async def read_rows(runtime: Runtime, table: Any) -> list[Any]:
    return await runtime.db.read(lambda connection: connection.execute(select(table)).all())


async def read_output(runtime: Runtime, request_id: Any) -> list[dict[str, str]]:
    name = (await read_state(runtime, request_id)).output_name
    assert name is not None
    text = (await runtime.storage.get(output_key(request_id, name))).decode("utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_upload_produces_compressed_images_and_an_output_csv(runtime: Runtime, image_host: ImageHost) -> None:
    first, second, third = (image_host.add(f"/{n}.jpg", jpeg(n)) for n in range(3))

    result = await upload(runtime, f'{HEADER}1,Chair,"{first},{second}"\n2,Table,{third}\n')
    request_id = result.snapshot.id
    assert (result.snapshot.status, result.is_replay) == (RequestStatus.PENDING, False)
    assert (result.snapshot.total_products, result.snapshot.total_images) == (2, 3)

    await work_all(runtime)

    final = await read_state(runtime, request_id)
    assert final.status is RequestStatus.COMPLETED
    assert (final.processed_products, final.processed_images, final.failed_images) == (2, 3, 0)
    assert final.progress_percent == 100
    stored = await read_rows(runtime, images)
    for image in stored:
        data = await runtime.storage.get(image_key(request_id, image.object_name))
        assert (image.output_bytes, image.format) == (len(data), "image/jpeg")
        with Image.open(io.BytesIO(data)) as decoded:
            assert (decoded.format, decoded.size) == ("JPEG", (64, 48))
    assert final.input_bytes == sum(len(data) for data in image_host.images.values())
    assert final.output_bytes == sum(image.output_bytes for image in stored) < final.input_bytes
    output = await read_output(runtime, request_id)
    assert [row["S. No."] for row in output] == ["1", "2"]
    urls = output[0]["Output Image Urls"].split(",") + output[1]["Output Image Urls"].split(",")
    names = {url.removeprefix(f"https://images.example/api/image/{request_id.hex}/") for url in urls}
    assert {name.partition("/")[0] for name in names} == {image.object_name for image in stored}
    assert [url.rpartition("/")[2] for url in urls] == ["chair-1.jpg", "chair-2.jpg", "table-1.jpg"]
    assert [row["Image Errors"] for row in output] == ["", ""]
    assert_counters_equal_rows(runtime.db, request_id)


async def test_warning_of_a_completed_image_is_no_error(runtime: Runtime, image_host: ImageHost) -> None:
    url = image_host.add("/hdr.jpg", gain_map_jpeg("Apple"))
    request_id = (await upload(runtime, f"{HEADER}1,Chair,{url}\n")).snapshot.id

    await work_all(runtime)

    (image,) = await read_rows(runtime, images)
    final = await read_state(runtime, request_id)
    assert (final.status, final.output_name is None) == (RequestStatus.COMPLETED, False)
    assert (image.error_code, image.error_message.partition(",")[0]) == (None, "The image has an HDR gain map")
    (row,) = await read_output(runtime, request_id)
    assert (row["Image Errors"], row["Output Image Urls"] == "") == ("", False)
    report = (await runtime.storage.get(report_key(request_id, final.output_name or ""))).decode("utf-8-sig")
    (line,) = csv.DictReader(io.StringIO(report))
    assert (line["Outcome"], line["Error Code"], line["Error"]) == ("KEPT", "", "")


async def test_bad_image_fails_alone_with_a_reason(runtime: Runtime, image_host: ImageHost) -> None:
    """Promise P5."""
    valid = image_host.add("/valid.jpg", jpeg(1))
    page = image_host.add("/page.jpg", b"<!doctype html><html><body>Not here</body></html>")
    missing = f"{image_host.url}/missing.jpg"

    csv_text = f'{HEADER}1,Chair,"{valid},{missing},{page}"\n2,Table,{valid}\n'
    request_id = (await upload(runtime, csv_text)).snapshot.id

    await work_all(runtime)

    final = await read_state(runtime, request_id)
    assert final.status is RequestStatus.COMPLETED_WITH_ERRORS
    assert (final.processed_images, final.failed_images) == (2, 2)
    assert (final.processed_products, final.failed_products) == (1, 1)
    errors = {row.error_code: row.error_http_status for row in await read_rows(runtime, images) if row.error_code}
    assert errors == {ImageErrorCode.HTTP_STATUS: 404, ImageErrorCode.NOT_AN_IMAGE: None}
    output = await read_output(runtime, request_id)
    entries = output[0]["Output Image Urls"].split(",")
    assert [bool(entry) for entry in entries] == [True, False, False]
    assert "404" in output[0]["Image Errors"]
    assert output[1]["Image Errors"] == ""
    # Permanent failures are not retried.
    assert image_host.requests.count("/missing.jpg") == 1
    assert_counters_equal_rows(runtime.db, request_id)


async def test_temporary_failure_is_retried_and_permanent_one_fails(runtime: Runtime, image_host: ImageHost) -> None:
    flaky = image_host.add("/flaky.jpg", jpeg(1))
    broken = image_host.add("/broken.jpg", jpeg(2))
    image_host.statuses = {"/flaky.jpg": [503, 500], "/broken.jpg": [500] * 9}

    request_id = (await upload(runtime, f"{HEADER}1,Chair,{flaky}\n2,Table,{broken}\n")).snapshot.id

    await work_all(runtime)

    final = await read_state(runtime, request_id)
    assert (final.status, final.processed_images, final.failed_images) == (
        RequestStatus.COMPLETED_WITH_ERRORS,
        1,
        1,
    )
    # Two retry delays are set, so there are three attempts.
    assert image_host.requests.count("/flaky.jpg") == image_host.requests.count("/broken.jpg") == 3
    assert sorted(row.attempts for row in await read_rows(runtime, images)) == [3, 3]
    assert_counters_equal_rows(runtime.db, request_id)


@pytest.mark.parametrize(("retry_after", "pause_s"), [("120", 120), ("86400", 600)])
async def test_retry_after_of_a_host_is_limited_to_ten_minutes(
    runtime: Runtime, image_host: ImageHost, retry_after: str, pause_s: int
) -> None:
    busy = image_host.add("/busy.jpg", jpeg(1))
    image_host.statuses = {"/busy.jpg": [503]}
    image_host.retry_after = retry_after
    await upload(runtime, f"{HEADER}1,Chair,{busy}\n")

    await work_on_images(runtime)

    (seconds,) = await runtime.db.read(
        lambda connection: connection.scalars(select(seconds_since(images.c.due_at))).all()
    )
    assert pause_s - 10 < -seconds <= pause_s
    # That is no attempt.
    assert [row.attempts for row in await read_rows(runtime, images)] == [0]
    assert image_host.requests == ["/busy.jpg"]


@pytest.mark.parametrize("status", [202, 423])
async def test_image_that_is_not_ready_is_tried_again_when_the_host_says(
    runtime: Runtime, image_host: ImageHost, status: int
) -> None:
    made = image_host.add("/made.jpg", jpeg(1))
    image_host.statuses = {"/made.jpg": [status]}
    image_host.retry_after = "1"
    await upload(runtime, f"{HEADER}1,Chair,{made}\n")

    await work_all(runtime)

    assert [(row.status, row.attempts) for row in await read_rows(runtime, images)] == [(ImageStatus.COMPLETED, 2)]
    assert image_host.requests == ["/made.jpg", "/made.jpg"]


@pytest.mark.parametrize("retry_after", ["soon", ""])
async def test_failure_without_a_time_to_retry_is_retried_after_our_delay(
    runtime: Runtime, image_host: ImageHost, retry_after: str
) -> None:
    busy = image_host.add("/busy.jpg", jpeg(1))
    image_host.statuses = {"/busy.jpg": [503]}
    image_host.retry_after = retry_after
    await upload(runtime, f"{HEADER}1,Chair,{busy}\n")

    await work_on_images(runtime)

    assert [(row.status, row.attempts) for row in await read_rows(runtime, images)] == [(ImageStatus.COMPLETED, 2)]
    assert image_host.requests == ["/busy.jpg", "/busy.jpg"]


async def test_url_that_is_repeated_in_a_request_is_downloaded_and_stored_once(
    runtime: Runtime, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a file with one URL in 301 places, some of which are ingested after it was downloaded,
    monkeypatch.setattr(ingest, "CHUNK_PRODUCTS", 20)
    monkeypatch.setattr(results, "MAX_COPIES", 100)
    same = image_host.add("/same.jpg", jpeg(1))
    counter = IMAGES.labels("COMPRESSED", "jpeg")
    counted = counter._value.get()
    rows = "".join(f"{n},Chair,{same}\n" for n in range(2, 301))

    # when it is processed,
    request_id = (await upload(runtime, f'{HEADER}1,Chair,"{same},{same}"\n{rows}')).snapshot.id
    await work_all(runtime)

    # then it was downloaded once, and all have the URL of one object.
    assert (await read_state(runtime, request_id)).processed_images == 301
    assert counter._value.get() - counted == 301
    assert image_host.requests == ["/same.jpg"]
    assert len(await runtime.storage.list_keys("images/")) == 1
    output = await read_output(runtime, request_id)
    # The URLs differ in their readable names only.
    urls = [url.rpartition("/")[0] for row in output for url in row["Output Image Urls"].split(",")]
    assert (len(urls), len(set(urls))) == (301, 1)


async def test_request_without_a_completed_image_fails_and_has_an_output_csv(
    runtime: Runtime, image_host: ImageHost
) -> None:
    request_id = (await upload(runtime, f"{HEADER}1,Chair,{image_host.url}/none.jpg\n")).snapshot.id

    await work_all(runtime)

    final = await read_state(runtime, request_id)
    assert (final.status, final.failure_code) == (RequestStatus.FAILED, RequestFailureCode.ALL_IMAGES_FAILED)
    assert final.has_output
    assert len(await read_output(runtime, request_id)) == 1


@pytest.mark.parametrize(
    ("csv_text", "options", "error"),
    [
        (f"{HEADER}1,Chair,not a URL\n", {}, InvalidCsv),
        (f"{HEADER}1,Chair,http://10.0.0.1/a.jpg\n", {}, InvalidCsv),
        ("", {}, InvalidCsv),
        (f"{HEADER}1,Chair,https://x.example/a.jpg\n", {"webhook_url": "http://10.0.0.1/hook"}, WebhookUrlInvalid),
        (HEADER + "1,Chair,https://x.example/a.jpg\n" * 700_000, {}, UploadTooLarge),
    ],
    ids=["no URL", "forbidden URL", "empty", "forbidden webhook", "too large"],
)
async def test_refused_upload_leaves_nothing_behind(
    runtime: Runtime, csv_text: str, options: dict[str, Any], error: type[Exception]
) -> None:
    """Promise P8: no row, no object, no message."""
    with pytest.raises(error):
        await upload(runtime, csv_text, **options)

    for table in (requests, products, images):
        count = await runtime.db.read(
            lambda connection, table=table: connection.execute(select(func.count()).select_from(table)).scalar_one()
        )
        assert count == 0
    assert await runtime.storage.list_keys("requests/") == []
    assert sum(runtime.queue.lengths().values()) == 0


async def test_forbidden_ip_address_in_a_url_is_refused_with_row_and_column(runtime: Runtime) -> None:
    with pytest.raises(InvalidCsv) as caught:
        await upload(runtime, f"{HEADER}1,Chair,https://x.example/a.jpg\n2,Table,http://169.254.169.254/x\n")

    (issue,) = caught.value.issues
    assert (issue.row, issue.column, issue.code) == (3, "Input Image Urls", CsvIssueCode.IMAGE_URL_FORBIDDEN)
    assert "IMGPROC_FETCH_ALLOW_NETWORKS" in issue.message


async def test_accepted_upload_sends_one_permit(runtime: Runtime) -> None:
    await upload(runtime, HEADER + "".join(f"{n},P,https://x.example/{n}.jpg\n" for n in range(1, 101)))

    assert runtime.queue.lengths() == {"images": 1, "control": 0}


async def test_large_upload_is_ingested_in_chunks(runtime: Runtime) -> None:
    rows = "".join(f"{n},P,https://x.example/{n}.jpg\n" for n in range(1, 4502))
    result = await upload(runtime, HEADER + rows)
    assert result.snapshot.ingested_products == 250
    assert runtime.queue.lengths()["control"] == 1

    await advance(runtime, result.snapshot.id)

    positions = await runtime.db.read(
        lambda connection: connection.execute(select(products.c.position).order_by(products.c.position)).scalars().all()
    )
    assert positions == list(range(4501))
    assert (await read_state(runtime, result.snapshot.id)).ingested_products == 4501


async def test_concurrent_uploads_with_one_idempotency_key_create_one_request(
    runtime: Runtime, image_host: ImageHost
) -> None:
    csv_text = f"{HEADER}1,Chair,https://x.example/a.jpg\n"

    results = await asyncio.gather(*(upload(runtime, csv_text, idempotency_key="k") for _ in range(10)))

    assert len({result.snapshot.id for result in results}) == 1
    assert sum(not result.is_replay for result in results) == 1
    assert len(await read_rows(runtime, requests)) == 1
    assert await runtime.storage.list_keys("requests/") == [input_key(results[0].snapshot.id)]


@pytest.mark.usefixtures("control_worker")
async def test_cancel_keeps_completed_images_and_writes_the_output(runtime: Runtime, image_host: ImageHost) -> None:
    urls = [image_host.add(f"/{n}.jpg", jpeg(n)) for n in range(3)]

    csv_text = HEADER + "".join(f"{n + 1},P,{url}\n" for n, url in enumerate(urls))
    request_id = (await upload(runtime, csv_text)).snapshot.id
    # Two images wait for their second attempt.
    runtime.settings = runtime.settings.model_copy(update={"retry_delays": (600.0,)})
    image_host.statuses = {"/1.jpg": [500], "/2.jpg": [500]}
    await work_on_images(runtime)

    cancelled = await commands.cancel(runtime, ANYBODY, request_id)

    assert cancelled.status is RequestStatus.CANCELLED
    assert (cancelled.processed_images, cancelled.cancelled_images) == (1, 2)
    output = await read_output(runtime, request_id)
    assert [bool(row["Output Image Urls"]) for row in output] == [True, False, False]
    await work_all(runtime)
    assert sorted(image_host.requests) == ["/0.jpg", "/1.jpg", "/2.jpg"]
    assert_counters_equal_rows(runtime.db, request_id)


@pytest.mark.usefixtures("control_worker")
async def test_retry_of_failed_images_rewrites_the_output(runtime: Runtime, image_host: ImageHost) -> None:
    valid = image_host.add("/valid.jpg", jpeg(1))
    late = f"{image_host.url}/late.jpg"

    request_id = (await upload(runtime, f'{HEADER}1,Chair,"{valid},{late}"\n')).snapshot.id
    await work_all(runtime)
    assert (await read_state(runtime, request_id)).status is RequestStatus.COMPLETED_WITH_ERRORS
    image_host.add("/late.jpg", jpeg(2))

    reopened = await commands.retry_failed(runtime, ANYBODY, request_id)
    assert (reopened.status, reopened.generation) == (RequestStatus.PROCESSING, 2)
    await work_all(runtime)

    final = await read_state(runtime, request_id)
    assert (final.status, final.processed_images, final.failed_images) == (RequestStatus.COMPLETED, 2, 0)
    # The images of one product are fetched concurrently, in any order.
    assert sorted(image_host.requests) == ["/late.jpg", "/late.jpg", "/valid.jpg"]
    assert all((await read_output(runtime, request_id))[0]["Output Image Urls"].split(","))
    assert_counters_equal_rows(runtime.db, request_id)


@pytest.mark.usefixtures("control_worker")
async def test_delete_removes_rows_and_objects(runtime: Runtime, image_host: ImageHost) -> None:
    url = image_host.add("/a.jpg", jpeg(1))

    request_id = (await upload(runtime, f"{HEADER}1,Chair,{url}\n")).snapshot.id
    await work_all(runtime)
    assert len(await runtime.storage.list_keys("requests/")) == 3
    assert len(await runtime.storage.list_keys("images/")) == 1

    await commands.delete(runtime, ANYBODY, request_id)
    await background_work(runtime)

    assert await runtime.storage.list_keys("requests/") == []
    assert await read_rows(runtime, images) == []
    # The image is deleted after its grace time.
    assert await delete_unused_renditions(runtime) == 0
    await runtime.db.write(lambda connection: connection.execute(update(renditions).values(check_at=now_plus(-1))))
    assert await delete_unused_renditions(runtime) == 1
    assert await runtime.storage.list_keys("images/") == []
    assert await read_rows(runtime, renditions) == await read_rows(runtime, sources) == []


async def test_image_that_crashes_its_worker_fails_alone(runtime: Runtime, image_host: ImageHost) -> None:
    """One crash together with others, then two crashes alone: WORKER_CRASHED. The other image completes."""
    killer, valid = image_host.add("/killer.jpg", jpeg(1)), image_host.add("/valid.jpg", jpeg(2))

    request_id = (await upload(runtime, f'{HEADER}1,Chair,"{killer},{valid}"\n')).snapshot.id
    for crash in range(3):
        suspect, _ = try_claim(runtime.db, request_id, 2, lease_s=0)
        if crash:
            assert await runtime.db.write(claims.mark_crash_suspect, suspect)

    await work_all(runtime)

    final = await read_state(runtime, request_id)
    assert (final.status, final.processed_images, final.failed_images) == (
        RequestStatus.COMPLETED_WITH_ERRORS,
        1,
        1,
    )
    failed = [row for row in await read_rows(runtime, images) if row.status is ImageStatus.FAILED]
    assert [row.error_code for row in failed] == [ImageErrorCode.WORKER_CRASHED]
    assert image_host.requests == ["/valid.jpg"]


async def test_suspect_is_marked_only_while_it_is_decoded(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next suspect may kill the process before the result of this one is recorded."""
    request_id = (await upload(runtime, f"{HEADER}1,Chair,https://shop.example/a.jpg\n")).snapshot.id
    try_claim(runtime.db, request_id, 1, lease_s=0)
    (suspect,) = try_claim(runtime.db, request_id, 1)
    counts: list[int | None] = []

    def read_and_compress(*arguments: Any) -> list[Compressed]:
        counts.append(runtime.db.read_now(Connection.scalar, select(images.c.crashes)))
        return compress_outputs(*arguments)

    monkeypatch.setattr(image_service, "compress_outputs", read_and_compress)
    await image_service.compress_image(runtime, suspect, jpeg(1), {None: suspect.options})

    assert counts == [1]
    assert [row.crashes for row in await read_rows(runtime, images)] == [0]
