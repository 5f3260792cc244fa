"""Source images for the comparison in the page: responses, refusals, and the limit of concurrent downloads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import update

from gql_imgproc.database.tables import products
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.processing import source_preview
from gql_imgproc.runtime import MAX_CONCURRENT_PREVIEWS
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, open_api
from tests.support.scenarios import DONE, FAILED, claim_image, given_request, record
from tests.support.services import jpeg

UNKNOWN = {"error": "Image not found, or not completed yet."}


class Host:
    """An image host that responds once `free` is set, and counts its connections."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.status = "200 OK"
        self.free = asyncio.Event()
        self.free.set()
        self.connections = asyncio.Queue[None]()
        self.url = ""

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.connections.put_nowait(None)
        await self.free.wait()
        head = f"HTTP/1.1 {self.status}\r\nContent-Type: text/html\r\nContent-Length: {len(self.body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + self.body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def hosting(body: bytes) -> AsyncIterator[Host]:
    host = Host(body)
    server = await asyncio.start_server(host.respond, "127.0.0.1", 0)
    host.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/image.jpg"
    yield host
    host.free.set()
    server.close()


def given_image(api: Api, url: str, result: Any = DONE) -> str:
    """Creates an image with this source URL; returns its ID."""
    db = api.runtime.db
    request_id = given_request(db, 1)
    to_url = update(products).where(products.c.request_id == request_id).values(input_image_urls=[url])
    db.write_now(lambda connection: connection.execute(to_url))
    image = claim_image(db, request_id)
    if result is not None:
        record(db, image, result)
    return encode_global_id(IdPrefix.IMAGE, image.id)


@pytest.fixture
def near_settings(settings: Settings) -> Settings:
    """Settings that allow fetches from this machine."""
    near = {"FETCH_ALLOW_NETWORKS": "127.0.0.0/8", "FETCH_ALLOW_PORTS": "*", "MAX_IMAGE_BYTES": 100_000}
    return Settings(
        _env_file=None,
        **settings.model_dump(include={"redis_url", "data_dir", "public_url"}),
        **{name.lower(): value for name, value in near.items()},
    )


async def test_source_type_follows_its_bytes_not_its_header(near_settings: Settings) -> None:
    async with open_api(near_settings) as api:
        image = jpeg(1)
        async with hosting(image) as host:
            got = await api.http.get(f"/api/source/{given_image(api, host.url)}")

        assert (got.status_code, got.content) == (200, image)
        assert got.headers["content-type"] == "image/jpeg"
        assert got.headers["cache-control"] == "private, max-age=300"
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["cross-origin-resource-policy"] == "same-origin"
        assert got.headers["content-security-policy"].startswith("default-src 'none'")


async def test_only_completed_images_have_a_source(near_settings: Settings) -> None:
    async with open_api(near_settings) as api, hosting(jpeg(1)) as host:
        names = [
            given_image(api, host.url, None),
            given_image(api, host.url, FAILED),
            encode_global_id(IdPrefix.IMAGE, new_id()),
            given_image(api, host.url).replace("img_", "prd_"),
            "nonsense",
            host.url,
        ]
        responses = [await api.http.get(f"/api/source/{name}") for name in names]

        assert [response.status_code for response in responses] == [404] * len(names)
        assert [response.json() for response in responses[:5]] == [UNKNOWN] * 5
        assert host.connections.empty()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "SVG"),
        (b"<!doctype html><script>alert(1)</script>", "web page"),
        (b"GIF89a=1;alert(1)", ""),
        (b"\xff\xd8\xff" + b"\0" * 200_000, "100,000 bytes"),
        (b"", "empty"),
    ],
    ids=["SVG", "HTML", "script with an image header", "too large", "nothing"],
)
async def test_source_that_is_no_image_is_not_served(near_settings: Settings, body: bytes, message: str) -> None:
    async with open_api(near_settings) as api:
        async with hosting(body) as host:
            got = await api.http.get(f"/api/source/{given_image(api, host.url)}")

        assert got.status_code == 502
        assert list(got.json()) == ["error"]
        assert message in got.json()["error"]
        assert got.headers["content-type"] == "application/json"
        assert got.headers["cache-control"] == "no-store"


async def test_missing_source_is_reported(near_settings: Settings) -> None:
    async with open_api(near_settings) as api:
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


async def test_forbidden_ip_address_is_not_connected_to(api: Api) -> None:
    async with hosting(jpeg(1)) as host:
        got = await api.http.get(f"/api/source/{given_image(api, host.url)}")

        assert got.status_code == 403
        assert "127.0.0.1" in got.json()["error"]
        assert host.connections.empty()


async def test_slow_source_times_out(near_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_api(near_settings) as api:
        monkeypatch.setattr(source_preview, "SOURCE_SECONDS", 1)
        async with hosting(jpeg(1)) as host:
            host.free.clear()
            got = await api.http.get(f"/api/source/{given_image(api, host.url)}")

        assert (got.status_code, got.json()) == (504, {"error": "The source image did not arrive within 1 s."})
        assert not api.runtime.sources.locked()


async def test_concurrent_downloads_over_the_limit_are_refused_at_once(near_settings: Settings) -> None:
    async with open_api(near_settings) as api:
        async with hosting(jpeg(1)) as host:
            host.free.clear()
            url = f"/api/source/{given_image(api, host.url)}"
            running = [asyncio.create_task(api.http.get(url)) for _ in range(MAX_CONCURRENT_PREVIEWS)]
            for _ in running:
                await host.connections.get()

            refused = await api.http.get(url)
            connections = host.connections.qsize()
            host.free.set()
            responses = await asyncio.gather(*running)
            later = await api.http.get(url)

        assert (refused.status_code, refused.headers["retry-after"], connections) == (503, "2", 0)
        assert refused.json() == {"error": "Too many source images are being downloaded. Try again in a moment."}
        assert [response.status_code for response in (*responses, later)] == [200] * (MAX_CONCURRENT_PREVIEWS + 1)
