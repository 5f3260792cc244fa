"""Request targets and names that no client would send: the object store serves only images."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gql_imgproc.ids import new_id
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import image_key, input_key, request_id_from_path
from gql_imgproc.storage.response_headers import content_disposition, output_download
from tests.graphql.client import serve_api
from tests.web.test_host_check import send_raw

SECRET = b"secret"


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[str, Any]]:
    """Runs the application on a real socket, with a secret file next to its object store."""
    async with serve_api(settings) as (host_port, app):
        (settings.data_dir / "secret.csv").write_bytes(SECRET)
        yield host_port, app.state.runtime.storage


def traversal_keys(request: str, image: str, folder: Path) -> list[str]:
    return [
        "../secret.csv",
        "../../secret.csv",
        "%2e%2e/%2e%2e/secret.csv",
        "%2e%2e%2f%2e%2e%2fsecret.csv",
        "%252e%252e%252fsecret.csv",
        "..%5c..%5csecret.csv",
        "..\\..\\secret.csv",
        "....//....//secret.csv",
        f"/{folder}/secret.csv",
        f"%2f{str(folder)[1:]}/secret.csv",
        f"file://{folder}/secret.csv",
        "//secret.csv",
        f"{request}/{image}%00",
        f"{request}/{image}%00.jpg",
        f"{request}/{image}/",
        f"{request}/{image}/..",
        f"{request}/../{request}/{image}",
        f"{request}//{image}",
        f"/{request}/{image}",
        f"./{request}/{image}",
        f"{request}/./{image}",
        f"{request}/images/{image}",
        f"requests/{request}/images/{image}",
        f"{request.upper()}/{image}",
        f"{request}/{image}%2f..%2f..%2finput.csv",
        f"{request}/input.csv",
        f"{request}/../input.csv",
        f"{request}/%2e%2e/input.csv",
        f"{request}/..%2finput.csv",
        f"{request}/output-1.csv",
        f"{request}/{image.replace('.jpg', '')}",
        f"{request}/{image.replace('jpg', 'jpg%3f')}",
        "",
        ".",
        "..",
        "/",
        "%00",
        "CON",
        "x" * 10_000,
    ]


async def test_image_keys_cannot_leave_the_image_folder(settings: Settings) -> None:
    async with serving(settings) as (host_port, storage):
        # Given an image, and other objects next to it,
        request, image = new_id(), f"{new_id().hex}-1.jpg"
        await storage.put(image_key(request, image), b"image", "image/jpeg")
        await storage.put(input_key(request), SECRET, "text/csv")
        await storage.put(f"requests/{request.hex}/output-1.csv", SECRET, "text/csv")
        host = f"Host: {host_port}"

        # when keys are requested with exactly these bytes,
        served_image = await send_raw(host_port, f"/api/image/{request.hex}/{image}", host)
        keys = traversal_keys(request.hex, image, settings.data_dir)
        responses = [await send_raw(host_port, f"/api/image/{key}", host) for key in keys]

        # then only the image is served.
        assert (served_image.status, served_image.body, served_image.headers["content-type"]) == (
            200,
            b"image",
            "image/jpeg",
        )
        assert {key: response.status for key, response in zip(keys, responses, strict=True)} == dict.fromkeys(keys, 404)
        assert not [response for response in responses if SECRET in response.body]
        assert {response.headers["x-content-type-options"] for response in responses} == {"nosniff"}


@pytest.mark.parametrize(
    "target",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/%00",
        "/static/" + "x" * 5_000,
        "/api/download/..%2f..%2fsecret.csv",
        "/api/download/%00",
        "/api/download/" + "x" * 5_000,
        "/../etc/passwd",
        "//evil.example/graphql",
    ],
)
async def test_other_targets_are_not_found(settings: Settings, target: str) -> None:
    async with serving(settings) as (host_port, _):
        response = await send_raw(host_port, target, f"Host: {host_port}")

        assert response.status == 404
        assert response.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "name", ["../../etc/x", "/etc/x", "a\x00b", "CON", "NUL.csv", "C:\\x", "..", "x" * 10_000, 'a"\r\nX: y', "größe ☃"]
)
def test_download_filename_is_safe_in_its_header(name: str) -> None:
    header = content_disposition(output_download(name, None, "output-1.csv").filename)

    assert header.isascii()
    assert header.isprintable()
    # Neither the quoted name nor the encoded one contains a character that ends it.
    kind, plain, extended = header.split("; ")[0], header.split('"')[1], header.rpartition("UTF-8''")[2]
    assert kind == "attachment"
    assert header == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}"
    assert not set(extended) & set('/\\"; ')


@pytest.mark.parametrize("name", ["", "..", "x" * 5_000, "req_", "\x00", "1" * 32 + "/x", "0" * 31])
def test_malformed_download_name_has_no_request_id(name: str) -> None:
    assert request_id_from_path(name) is None
