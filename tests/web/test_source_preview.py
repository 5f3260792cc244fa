"""The source of a picture, for a look at before and after: what is handed on, what is refused, and how many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import update

from gql_imgproc.database.tables import products
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.processing import source_preview
from gql_imgproc.runtime import MAX_CONCURRENT_PREVIEWS
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, opened
from tests.support.scenarios import DONE, FAILED, claim_product, given_request, record
from tests.support.services import jpeg

UNKNOWN = {"error": "Image not found, or not completed yet."}


class Host:
    """A host of one picture. It answers once `free` is set, and counts who came."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.status = "200 OK"
        self.free = asyncio.Event()
        self.free.set()
        self.came = asyncio.Queue[None]()
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.came.put_nowait(None)
        await self.free.wait()
        head = f"HTTP/1.1 {self.status}\r\nContent-Type: text/html\r\nContent-Length: {len(self.body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + self.body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def hosting(body: bytes) -> AsyncIterator[Host]:
    host = Host(body)
    server = await asyncio.start_server(host.answer, "127.0.0.1", 0)
    host.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/picture.jpg"
    yield host
    host.free.set()
    server.close()


def given_image(api: Api, url: str, verdict: Any = DONE) -> str:
    """An image whose source is at the address; its identifier."""
    db = api.runtime.db
    request_id = given_request(db, 1)
    to_url = update(products).where(products.c.request_id == request_id).values(input_image_urls=[url])
    db.write_now(lambda connection: connection.execute(to_url))
    held = claim_product(db, request_id)
    if verdict is not None:
        record(db, held, 0, verdict)
    return encode_global_id(IdPrefix.IMAGE, held.images[0].id)


Story = Callable[[Api], Awaitable[None]]


@pytest.fixture
def run_near(settings: Settings) -> Callable[[Story], None]:
    """Plays a story against an application that may fetch from this machine."""
    near = {"FETCH_ALLOW_NETWORKS": "127.0.0.0/8", "FETCH_ALLOW_PORTS": "*", "MAX_IMAGE_BYTES": 100_000}
    allowed = Settings(
        _env_file=None,
        **settings.model_dump(include={"redis_url", "data_dir", "public_url"}),
        **{name.lower(): value for name, value in near.items()},
    )

    def run(story: Story) -> None:
        async def play() -> None:
            async with opened(allowed) as api:
                await story(api)

        asyncio.run(play())

    return run


def test_source_is_a_picture_by_its_bytes_whatever_its_host_calls_it(run_near: Any) -> None:
    async def story(api: Api) -> None:
        picture = jpeg(1)
        async with hosting(picture) as host:
            got = await api.http.get(f"/api/source/{given_image(api, host.url)}")

        assert (got.status_code, got.content) == (200, picture)
        assert got.headers["content-type"] == "image/jpeg"
        assert got.headers["cache-control"] == "private, max-age=300"
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["cross-origin-resource-policy"] == "same-origin"
        assert got.headers["content-security-policy"].startswith("default-src 'none'")

    run_near(story)


def test_only_images_that_are_done_have_a_source_to_look_at(run_near: Any) -> None:
    async def story(api: Api) -> None:
        async with hosting(jpeg(1)) as host:
            names = [
                given_image(api, host.url, None),
                given_image(api, host.url, FAILED),
                encode_global_id(IdPrefix.IMAGE, new_id()),
                given_image(api, host.url).replace("img_", "prd_"),
                "nonsense",
                host.url,
            ]
            answers = [await api.http.get(f"/api/source/{name}") for name in names]

            assert [answer.status_code for answer in answers] == [404] * len(names)
            assert [answer.json() for answer in answers[:5]] == [UNKNOWN] * 5
            assert host.came.empty()

    run_near(story)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "SVG"),
        (b"<!doctype html><script>alert(1)</script>", "web page"),
        (b"GIF89a=1;alert(1)", ""),
        (b"\xff\xd8\xff" + b"\0" * 200_000, "100,000 bytes"),
        (b"", "empty"),
    ],
    ids=["SVG", "HTML", "script with a picture's beginning", "too large", "nothing"],
)
def test_what_is_no_picture_is_never_handed_on(run_near: Any, body: bytes, sentence: str) -> None:
    async def story(api: Api) -> None:
        async with hosting(body) as host:
            got = await api.http.get(f"/api/source/{given_image(api, host.url)}")

        assert got.status_code == 502
        assert list(got.json()) == ["error"]
        assert sentence in got.json()["error"]
        assert got.headers["content-type"] == "application/json"
        assert got.headers["cache-control"] == "no-store"

    run_near(story)


def test_source_that_is_gone_says_so(run_near: Any) -> None:
    async def story(api: Api) -> None:
        async with hosting(jpeg(1)) as host:
            host.status = "410 Gone"
            got = await api.http.get(f"/api/source/{given_image(api, host.url)}")

        assert (got.status_code, got.json()) == (
            502,
            {
                "error": "127.0.0.1 responded with status 410. There is no image at this URL. "
                "Check the URL, or put the image there."
            },
        )

    run_near(story)


async def test_address_that_is_forbidden_by_now_is_not_connected_to(api: Api) -> None:
    async with hosting(jpeg(1)) as host:
        got = await api.http.get(f"/api/source/{given_image(api, host.url)}")

        assert got.status_code == 403
        assert "127.0.0.1" in got.json()["error"]
        assert host.came.empty()


def test_slow_source_is_given_up(run_near: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(api: Api) -> None:
        monkeypatch.setattr(source_preview, "SOURCE_SECONDS", 0.1)
        async with hosting(jpeg(1)) as host:
            host.free.clear()
            got = await api.http.get(f"/api/source/{given_image(api, host.url)}")

        assert (got.status_code, got.json()) == (504, {"error": "The source image did not arrive within 0.1 s."})
        assert not api.runtime.sources.locked()

    run_near(story)


def test_more_than_a_few_at_once_are_refused_and_do_not_wait(run_near: Any) -> None:
    async def story(api: Api) -> None:
        async with hosting(jpeg(1)) as host:
            host.free.clear()
            address = f"/api/source/{given_image(api, host.url)}"
            under_way = [asyncio.create_task(api.http.get(address)) for _ in range(MAX_CONCURRENT_PREVIEWS)]
            for _ in under_way:
                await host.came.get()

            refused = await api.http.get(address)
            came = host.came.qsize()
            host.free.set()
            answers = await asyncio.gather(*under_way)
            later = await api.http.get(address)

        assert (refused.status_code, refused.headers["retry-after"], came) == (503, "2", 0)
        assert refused.json() == {"error": "Too many source images are being downloaded. Try again in a moment."}
        assert [answer.status_code for answer in (*answers, later)] == [200] * (MAX_CONCURRENT_PREVIEWS + 1)

    run_near(story)
