"""Client commands as processes, against the service in this process, which has no workers."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import shlex
import signal
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer

from gql_imgproc.cli.app import app
from gql_imgproc.client import AsyncClient
from gql_imgproc.enums import RequestStatus
from gql_imgproc.errors import DatabaseUnavailable, ImageErrorCode
from gql_imgproc.graphql.types.inputs import UploadCsvInput
from gql_imgproc.graphql.types.options import ProcessingOptionsInput
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.metrics import SUBSCRIBERS
from gql_imgproc.requests.repository import changes
from gql_imgproc.requests.sample import Measurement
from gql_imgproc.settings import Settings
from tests.graphql.client import serve_api
from tests.requests.repository.test_changes import Stored, given_finished
from tests.support.commands import run_command, start_command
from tests.support.databases import create_sqlite
from tests.support.scenarios import FAILED, claim_image, finish, given_request, record
from tests.support.waiting import until

CSV = b"S. No.,Product Name,Input Image Urls\n1,Shirt,https://shop.example/1.jpg\n"
#: Options of `submit` that have another name than the field of the mutation.
RENAMED = {
    "file": "file", "webhook_url": "webhook", "columns": "image_column", "filters": "filter", "options": "quality",
    "outputs": "output_variant",
}  # fmt: skip


@pytest.fixture
async def service(redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[str, Any]]:
    """URL and state of a service."""
    url = create_sqlite(tmp_path / "test.db")
    settings = Settings(_env_file=None, database_url=url, redis_url=redis_url, data_dir=tmp_path / "data")
    (tmp_path / "shop.csv").write_bytes(CSV)
    async with serve_api(settings) as (host, application):
        yield f"http://{host}", application.state


async def upload(url: str, name: str = "shop.csv") -> str:
    async with AsyncClient(url) as client:
        return (await client.upload(io.BytesIO(CSV), name)).id


def is_watched() -> bool:
    """Whether a client is subscribed. The service runs in this process."""
    (metric,) = SUBSCRIBERS.collect()
    return metric.samples[0].value > 0


def test_every_field_of_the_mutation_is_an_option_of_submit() -> None:
    command: Any = typer.main.get_command(app)
    options = {parameter.name for parameter in command.commands["submit"].params}

    for input_type in (UploadCsvInput, ProcessingOptionsInput):
        names = {field.name for field in input_type.__strawberry_definition__.fields}  # type: ignore[attr-defined]
        assert {RENAMED.get(name, name) for name in names} <= options


async def test_submit_sends_every_option_and_reads_standard_input(service: tuple[str, Any], tmp_path: Path) -> None:
    url, _ = service
    arguments = shlex.split(
        "--quality 70 --scale 0.5 --max-width 800 --max-height 600 --crop 1,2,300,400 --filter sharpen --filter blur "
        "--format webp --keep-metadata --max-bytes 500000 --file-name {sku}-{n} --webhook https://shop.example/hook "
        "--idempotency-key order-7 --priority low --profile generic --on-invalid-row skip_row --encoding utf-8 "
        "--output-variant name=full --output-variant name=thumb,format=jpeg,max-width=200,quality=9,effort=small "
        "--negotiate --no-wait --json --trim --pad 4:3 --pad-color #F0F0F0"
    )

    status, stdout, stderr = await run_command(tmp_path, "submit", "-", "--url", url, *arguments, stdin=CSV)

    assert (status, stderr) == (0, "")
    request = json.loads(stdout)
    assert {name: request[name] for name in ("csvFilename", "priority", "totalImages", "status")} == {
        "csvFilename": "products.csv",
        "priority": "LOW",
        "totalImages": 1,
        "status": "PENDING",
    }
    query = """query ($id: ID!) { request(id: $id) { webhook { url } options {
      quality scale maxWidth maxHeight maxBytes trim pad { ratio width color }
      crop { x y width height } filters format metadata fileName
      outputs { name format maxWidth maxHeight quality effort } negotiate } } }"""
    async with AsyncClient(url) as client:
        stored = (await client.execute(query, {"id": request["id"]}))["request"]
    assert stored == {
        "webhook": {"url": "https://shop.example/hook"},
        "options": {
            "quality": 70,
            "scale": 0.5,
            "maxWidth": 800,
            "maxHeight": 600,
            "maxBytes": 500_000,
            "trim": True,
            "pad": {"ratio": "4:3", "width": None, "color": "#F0F0F0"},
            "crop": {"x": 1, "y": 2, "width": 300, "height": 400},
            "filters": ["SHARPEN", "BLUR"],
            "format": "WEBP",
            "metadata": "ALL",
            "fileName": "{sku}-{n}",
            "outputs": [
                {
                    "name": "full",
                    "format": "WEBP",
                    "maxWidth": 800,
                    "maxHeight": 600,
                    "quality": 70,
                    "effort": "BALANCED",
                },
                {
                    "name": "thumb",
                    "format": "JPEG",
                    "maxWidth": 200,
                    "maxHeight": 600,
                    "quality": 9,
                    "effort": "SMALL",
                },
            ],
            "negotiate": True,
        },
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--webhook nope", "nope is not an http or https URL. Use a URL such as https://shop.example/hook"),
        ("--webhook ftp://shop.example/", "ftp://shop.example/ is not an http or https URL."),
        ("--quality 101", "Input should be less than or equal to 100"),
        ("--fit cover --max-width 9", "Invalid --fit: it must be INSIDE unless there are a largest width and height"),
        ("--format gif", "'gif' is not one of"),
        ("--file-name ../x", "Invalid --file-name: it must have 1 to 50 letters"),
        ("--url nope", "Invalid service URL nope. Use a URL such as http://127.0.0.1:8000"),
        ("--output-variant name=a,width=3", "Invalid entry 'width=3'. Use name, format, max-width,"),
        (
            "--output-variant max-width=3",
            "The output has no name. Use for example name=thumb,",
        ),
        ("--output-variant name=a,quality=0", "Invalid quality of --output-variant a: it must be from 1 to 100."),
        ("--negotiate", "Invalid --negotiate: it needs at least two outputs to choose from."),
        ("--name-column Title", "Name the image columns too: --image-column NAME"),
    ],
)
async def test_usage_errors_have_status_2_and_call_no_service(tmp_path: Path, arguments: str, message: str) -> None:
    done = await run_command(tmp_path, "submit", "shop.csv", "--url", "http://127.0.0.1:1", *arguments.split())

    assert done[:2] == (2, "")
    assert message in " ".join(done[2].split())


async def test_refused_upload_is_json_with_json(service: tuple[str, Any], tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("S. No.,Product Name,Input Image Urls\none,Shirt,no URL\n")

    status, stdout, stderr = await run_command(tmp_path, "submit", "bad.csv", "--url", service[0], "--json")

    error = json.loads(stdout)["error"]
    assert (status, stderr, error["code"]) == (1, "", "CsvInvalid")
    assert [issue["code"] for issue in error["issues"]] == ["SERIAL_NUMBER_INVALID", "IMAGE_URL_INVALID"]


async def test_requests_are_listed_shown_cancelled_and_deleted(service: tuple[str, Any], tmp_path: Path) -> None:
    url, _ = service
    first, second = await upload(url, "first.csv"), await upload(url, "second.csv")

    async def run(*arguments: str) -> tuple[int, str, str]:
        return await run_command(tmp_path, *arguments, "--url", url)

    # Given two requests, they are listed, the newest first.
    status, stdout, _ = await run("list")
    titles, *rows = [line.split("\t") for line in stdout.splitlines()]
    assert (status, titles[:6]) == (0, ["ID", "File", "Status", "Images", "Done", "Failed"])
    assert [row[:6] for row in rows] == [
        [second, "second.csv", "PENDING", "1", "0", "0"],
        [first, "first.csv", "PENDING", "1", "0", "0"],
    ]

    # When one is cancelled by the end of its ID, then it is shown as cancelled by its ID without the prefix.
    assert await run("cancel", first[-8:], "--quiet") == (0, "", "")
    status, stdout, _ = await run("status", first.removeprefix("req_"), "--json")
    assert (status, json.loads(stdout)["status"]) == (0, "CANCELLED")
    assert (await run("watch", first))[0] == 1
    assert (await run("list", "--status", "cancelled", "--json"))[1].count('"id"') == 1

    # What is not possible is refused, and says why.
    assert await run("cancel", first) == (1, "", "The request is already CANCELLED and cannot be cancelled.\n")
    assert await run("delete", second) == (
        1, "", "The request is still PENDING. Cancel it, or wait until it finishes.\n",
    )  # fmt: skip
    assert (await run("retry", second, "--json"))[1].count('"NothingToRetry"') == 1
    status, _, stderr = await run("download", second)
    assert (status, stderr) == (1, "gql-imgproc: The request has no output CSV. Its status is PENDING\n")
    status, _, stderr = await run("status", "req_")
    assert (status, stderr.split(":")[1]) == (1, " 2 requests have IDs that start or end with req_")
    status, _, stderr = await run("status", "ffffffffff")
    assert (status, stderr) == (
        1,
        "gql-imgproc: Request not found: ffffffffff. `gql-imgproc list` lists the requests\n",
    )

    # When it is deleted, then it is gone.
    assert await run("delete", first) == (0, f"{first}: deleted\n", "")
    assert (await run("list"))[1].count("\n") == 2


async def test_final_state_is_shown_although_the_service_cannot_compare(
    service: tuple[str, Any], tmp_path: Path
) -> None:
    # Given a request that finished, and a database that fails when its changes are read,
    url, state = service
    id = encode_global_id(
        IdPrefix.REQUEST, given_finished(state.runtime.db, [("1", "chair", [("1.jpg", "chair")])], {})
    )
    read = state.runtime.db.read

    async def fail(work: Any, *args: Any) -> Any:
        if work is changes.find_comparison:
            raise DatabaseUnavailable("database is locked")
        return await read(work, *args)

    state.runtime.db.read = fail

    # when it is watched, then its final state is printed.
    status, stdout, _ = await run_command(tmp_path, "watch", id, "--url", url)
    assert (status, "1 of 1 image done" in stdout) == (0, True)


async def test_changes_since_the_last_file_are_printed(service: tuple[str, Any], tmp_path: Path) -> None:
    # Given a catalogue that was uploaded yesterday, and again today with changes,
    url, state = service
    stored: Stored = {}
    names = ("chair", "table", "lamp"), ("chair", "round table", "", "shelf")
    catalogues = [
        [(f"{number}", name, [(f"{number}.jpg", name)]) for number, name in enumerate(each) if name] for each in names
    ]
    yesterday, today = (
        encode_global_id(IdPrefix.REQUEST, given_finished(state.runtime.db, rows, stored)) for rows in catalogues
    )

    # when either is shown or watched, then the changes since the one before are printed,
    line = f"\nproducts: 1 changed, 1 new, 1 gone, 1 unchanged since {yesterday}\n"
    for command in ("status", "watch"):
        assert line in (await run_command(tmp_path, command, today, "--url", url))[1]
        assert "products: " not in (await run_command(tmp_path, command, yesterday, "--url", url))[1]
        # also as JSON.
        found = [
            json.loads((await run_command(tmp_path, command, id, "--url", url, "--json"))[1])
            for id in (yesterday, today)
        ]
        assert found[0]["changes"] is None
        assert found[1]["changes"] == {
            "sinceId": yesterday,
            "sinceCreatedAt": found[0]["createdAt"],
            "productCounts": {"changed": 1, "added": 1, "gone": 1, "unchanged": 1},
        }


async def test_failed_images_are_retried(service: tuple[str, Any], tmp_path: Path) -> None:
    url, state = service
    db = state.runtime.db
    id = given_request(db, 1)
    record(db, claim_image(db, id), FAILED)
    finish(db, id, RequestStatus.FAILED)

    status, stdout, _ = await run_command(tmp_path, "retry", id.hex[-6:], "--url", url)

    assert (status, stdout) == (0, f"{encode_global_id(IdPrefix.REQUEST, id)}: processing\n")


async def test_failed_images_of_one_cause_are_retried(service: tuple[str, Any], tmp_path: Path) -> None:
    # Given a request whose two images failed for two reasons,
    url, state = service
    db = state.runtime.db
    id = given_request(db, 2)
    record(db, claim_image(db, id), FAILED)
    record(db, claim_image(db, id), replace(FAILED, error_code=ImageErrorCode.TIMEOUT))
    finish(db, id, RequestStatus.FAILED)

    # when those of a third one, or of another host, are retried, then nothing happens;
    for options in (("--error-code", "CORRUPT"), ("--error-code", "timeout", "--host", "other.example:443")):
        status, _, stderr = await run_command(tmp_path, "retry", id.hex, *options, "--url", url)
        assert (status, stderr) == (1, "No such image of the request failed, or the request has not finished yet.\n")

    # when those of one of them are retried, then the other image stays failed.
    status, stdout, _ = await run_command(tmp_path, "retry", id.hex, "--error-code", "timeout", "--json", "--url", url)
    assert (status, json.loads(stdout)["failedImages"]) == (0, 1)


async def test_unreachable_service_has_status_4(tmp_path: Path) -> None:
    status, stdout, stderr = await run_command(tmp_path, "list", "--url", "http://127.0.0.1:1")

    assert (status, stdout) == (4, "")
    assert stderr.startswith("gql-imgproc: Cannot connect to http://127.0.0.1:1.")


async def read_line(stream: asyncio.StreamReader | None, words: bytes) -> bytes:
    """Returns the first line with these words."""
    assert stream is not None
    while words not in (line := await asyncio.wait_for(stream.readline(), 30)):
        assert line
    return line


async def test_interrupt_detaches_and_says_how_to_come_back(service: tuple[str, Any], tmp_path: Path) -> None:
    url, _ = service
    process = await start_command(tmp_path, "submit", "shop.csv", "--url", url)
    id = (await read_line(process.stdout, b"req_")).split(b":")[0].decode()
    await until(is_watched)

    process.send_signal(signal.SIGINT)
    _, stderr = await process.communicate()

    assert process.returncode == 130
    assert f"The request continues. Come back with: gql-imgproc watch {id} --url {url}\n" in stderr.decode()
    async with AsyncClient(url) as client:
        assert (await client.get(id)).status is RequestStatus.PENDING


@pytest.mark.parametrize("is_asked", [True, False])
async def test_second_interrupt_cancels_the_request(service: tuple[str, Any], tmp_path: Path, is_asked: bool) -> None:
    # Given a request that is watched on a terminal, or with --yes,
    url, _ = service
    id = await upload(url)
    terminal, stdin = pty.openpty()
    options = [] if is_asked else ["--yes"]
    process = await start_command(tmp_path, "watch", id[-8:], "--url", url, *options, stdin=stdin)
    os.close(stdin)
    await until(is_watched)

    # when Ctrl-C is pressed twice, and the question is answered,
    process.send_signal(signal.SIGINT)
    await read_line(process.stderr, b"Press Ctrl-C again to cancel it")
    process.send_signal(signal.SIGINT)
    if is_asked:
        os.write(terminal, b"y\n")
    _, stderr = await process.communicate()
    os.close(terminal)

    # then the request is cancelled.
    assert process.returncode == 130
    assert (b"Cancel the request? [y/N]" in stderr) is is_asked
    assert b"The request is cancelled\n" in stderr
    async with AsyncClient(url) as client:
        assert (await client.get(id)).status is RequestStatus.CANCELLED


async def test_submit_estimates_what_an_upload_would_save_and_uploads_nothing(
    service: tuple[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker that finds one dead link among three images,
    url, state = service
    rows = "".join(f"{n},Chair,https://shop.example/{n}.jpg\n" for n in (1, 2, 3))
    (tmp_path / "shop.csv").write_text(f"S. No.,Product Name,Input Image Urls\n{rows}")

    def measure(id: UUID) -> None:
        images = [Measurement(0, f"https://shop.example/{n}.jpg", 2048, 512, 1.5, 0.1) for n in (1, 2)]
        dead = Measurement(0, "https://shop.example/3.jpg", error_code="HTTP_STATUS", error_message="Not found")
        state.runtime.estimates.put("result", id, json.dumps([asdict(each) for each in (*images, dead)]), 60)

    monkeypatch.setattr(state.runtime.queue, "estimate", measure)

    # when an estimate is printed, as a text and as JSON,
    status, text, stderr = await run_command(tmp_path, "submit", "shop.csv", "--estimate", "--url", url)
    _, stdout, _ = await run_command(tmp_path, "submit", "shop.csv", "--estimate", "--json", "--url", url)
    refused, _, problem = await run_command(tmp_path, "submit", "-", "--estimate", "--url", url, stdin=b"%PDF-1.7")

    # then it has the saving and the failures, and there is no request.
    assert (status, stderr) == (0, "")
    assert text.startswith("3 images, 3 of them measured\nBefore: 4.0 KiB\nSaved: 75.0 % (75.0 to 75.0 %,")
    assert "HTTP_STATUS" in text
    assert json.loads(stdout) == {
        "totalProducts": 3,
        "totalImages": 3,
        "measuredImages": 3,
        "inputBytes": 4096,
        "savedPercent": 75.0,
        "savedPercentLow": 75.0,
        "savedPercentHigh": 75.0,
        "seconds": 0.2,
        "failures": [
            {"code": "HTTP_STATUS", "images": 1, "message": "Not found", "exampleUrl": "https://shop.example/3.jpg"}
        ],
    }
    assert refused == 1
    assert "NOT_CSV" in problem
    async with AsyncClient(url) as client:
        assert [request async for request in client.list()] == []
