"""Targets and names as no client would send them: nothing but pictures comes out of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gql_imgproc.ids import new_id
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import image_key, input_key, request_id_from_path
from gql_imgproc.storage.response_headers import content_disposition, output_filename
from tests.graphql.client import served
from tests.web.test_host_check import Answer, ask

SECRET = b"what nobody should see"

Story = Callable[[str, Any, Path], Awaitable[None]]


@pytest.fixture
def run(settings: Settings) -> Callable[[Story], None]:
    """Plays a story against the application on real sockets, with a folder around its store that has secrets."""

    def run(story: Story) -> None:
        async def play() -> None:
            async with served(settings) as (address, app):
                (settings.data_dir / "secret.csv").write_bytes(SECRET)
                await story(address, app.state.runtime.storage, settings.data_dir)

        asyncio.run(play())

    return run


def keys_that_lead_elsewhere(request: str, picture: str, folder: Path) -> list[str]:
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
        f"{request}/{picture}%00",
        f"{request}/{picture}%00.jpg",
        f"{request}/{picture}/",
        f"{request}/{picture}/..",
        f"{request}/../{request}/{picture}",
        f"{request}//{picture}",
        f"/{request}/{picture}",
        f"./{request}/{picture}",
        f"{request}/./{picture}",
        f"{request}/images/{picture}",
        f"requests/{request}/images/{picture}",
        f"{request.upper()}/{picture}",
        f"{request}/{picture}%2f..%2f..%2finput.csv",
        f"{request}/input.csv",
        f"{request}/../input.csv",
        f"{request}/%2e%2e/input.csv",
        f"{request}/..%2finput.csv",
        f"{request}/output-1.csv",
        f"{request}/{picture.replace('.jpg', '')}",
        f"{request}/{picture.replace('jpg', 'jpg%3f')}",
        "",
        ".",
        "..",
        "/",
        "%00",
        "CON",
        "x" * 10_000,
    ]


def test_keys_cannot_leave_the_pictures(run: Any) -> None:
    async def story(address: str, storage: Any, folder: Path) -> None:
        # Given a picture, and beside it what is no picture,
        request, picture = new_id(), f"{new_id().hex}-1.jpg"
        await storage.put(image_key(request, picture), b"picture", "image/jpeg")
        await storage.put(input_key(request), SECRET, "text/csv")
        await storage.put(f"requests/{request.hex}/output-1.csv", SECRET, "text/csv")
        host = f"Host: {address}"

        # when keys of all kinds are asked for by exactly these bytes,
        good = await ask(address, f"/api/image/{request.hex}/{picture}", host)
        keys = keys_that_lead_elsewhere(request.hex, picture, folder)
        answers = [await ask(address, f"/api/image/{key}", host) for key in keys]

        # then the picture is served, and there is nothing else.
        assert (good.status, good.body, good.headers["content-type"]) == (200, b"picture", "image/jpeg")
        assert {key: answer.status for key, answer in zip(keys, answers, strict=True)} == dict.fromkeys(keys, 404)
        assert not [answer for answer in answers if SECRET in answer.body]
        assert {answer.headers["x-content-type-options"] for answer in answers} == {"nosniff"}

    run(story)


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
def test_other_targets_lead_nowhere(run: Any, target: str) -> None:
    async def story(address: str, storage: Any, folder: Path) -> None:
        answer: Answer = await ask(address, target, f"Host: {address}")

        assert answer.status == 404
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")

    run(story)


@pytest.mark.parametrize(
    "name", ["../../etc/x", "/etc/x", "a\x00b", "CON", "NUL.csv", "C:\\x", "..", "x" * 10_000, 'a"\r\nX: y', "größe ☃"]
)
def test_a_download_is_named_safely(name: str) -> None:
    header = content_disposition(output_filename(name))

    assert header.isascii()
    assert header.isprintable()
    # What stands between the quotation marks, and what is behind them, has no end before its end.
    kind, plain, extended = header.split("; ")[0], header.split('"')[1], header.rpartition("UTF-8''")[2]
    assert kind == "attachment"
    assert header == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}"
    assert not set(extended) & set('/\\"; ')


@pytest.mark.parametrize("name", ["", "..", "x" * 5_000, "req_", "\x00", "1" * 32 + "/x", "0" * 31])
def test_a_download_of_nothing_names_no_request(name: str) -> None:
    assert request_id_from_path(name) is None
