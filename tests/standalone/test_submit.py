from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from gql_imgproc.access import key_repository
from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.client import AsyncClient, ServiceError, async_client
from gql_imgproc.client.async_client import normalize_base_url
from gql_imgproc.enums import RequestStatus
from gql_imgproc.errors import DatabaseUnavailable
from gql_imgproc.graphql.errors import KEY_EXPIRED
from gql_imgproc.ids import DEFAULT_TENANT, IdPrefix, encode_global_id
from gql_imgproc.requests.repository import queries
from gql_imgproc.security.scopes import Scope
from gql_imgproc.settings import Settings
from gql_imgproc.standalone.submit import submit
from tests.graphql.client import serve_api
from tests.graphql.live_server import given_upload
from tests.support.api_keys import given_key
from tests.support.commands import run_command
from tests.support.databases import create_sqlite
from tests.web.test_file_authorization import given_end


@contextmanager
def fixed_response(body: bytes, status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """Runs a server with one fixed response; yields its URL and the paths of the requests."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            paths.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()
        thread.join()


@pytest.fixture
def csv_path(tmp_path: Path) -> Path:
    path = tmp_path / "products.csv"
    path.write_text("S. No.,Product Name,Input Image Urls\n")
    return path


SILENT = Console(quiet=True)


async def submit_error(url: str, file: Path, output: Path | None = None, key: str | None = None) -> str:
    with pytest.raises(ServiceError) as error:
        async with AsyncClient(url, key) as client:
            await submit(client, file, client.upload, output=output, out=SILENT, err=SILENT)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/"),
        ("http://127.0.0.1:8000/graphql", "http://127.0.0.1:8000/"),
        ("http://127.0.0.1:8000/graphql/", "http://127.0.0.1:8000/"),
        ("https://shop.example/images/graphql", "https://shop.example/images"),
    ],
)
def test_base_url_drops_the_graphql_path(url: str, base: str) -> None:
    assert str(normalize_base_url(url)) == base


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://", "http://host:port", "http://[::1"])
async def test_invalid_url_is_reported(url: str, csv_path: Path) -> None:
    assert await submit_error(url, csv_path) == f"Invalid service URL {url}. Use a URL such as http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>\nNot Found</html>", 404),
        (b"{}", 200),
        (b"[]", 200),
        (b'{"data": null}', 200),
        (b'{"errors": ["odd"]}', 400),
    ],
)
async def test_response_without_graphql_is_reported(body: bytes, status: int, csv_path: Path) -> None:
    with fixed_response(body, status) as (url, paths):
        assert await submit_error(f"{url}/graphql", csv_path) == (
            f"The server at {url}/graphql with status {status} is not this service. "
            "Correct the URL, for example http://127.0.0.1:8000"
        )

    assert paths == ["/graphql"]


@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b'{"detail": "error"}', b'{"errors": ["error"]}', b""])
async def test_server_error_of_another_server_is_reported_as_such(body: bytes, status: int, csv_path: Path) -> None:
    with fixed_response(body, status) as (url, paths):
        assert await submit_error(url, csv_path) == (
            f"The server at {url}/graphql returned status {status} without a response of this service. "
            "Check the URL, and whether the service behind it runs"
        )

    assert paths == ["/graphql"]


async def test_unavailable_service_is_reported_with_a_hint(csv_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_client, "MAX_OUTAGE_S", 1.0)
    extensions = {"code": "SERVICE_UNAVAILABLE", "retryAfter": 5}
    error = {"message": "The database is unavailable. Retry in 5 s.", "extensions": extensions}
    with fixed_response(json.dumps({"data": None, "errors": [error]}).encode(), 503) as (url, paths):
        assert await submit_error(url, csv_path) == (
            "The service cannot do this now: The database is unavailable. Retry in 5 s."
        )

    assert paths == ["/graphql"]


async def test_progress_continues_after_an_unavailable_database(settings: Settings) -> None:
    async with serve_api(settings) as (host, app):
        runtime = app.state.runtime
        request_id = await given_upload(runtime, 1)
        read, failures = runtime.db.read, [DatabaseUnavailable("database is locked")]

        async def fail_once(work: Any, *args: Any) -> Any:
            if work is queries.get_request and failures:
                raise failures.pop()
            return await read(work, *args)

        runtime.db.read = fail_once
        async with AsyncClient(f"http://{host}") as client:
            states = client.watch(encode_global_id(IdPrefix.REQUEST, request_id))
            state = await anext(states)
            await states.aclose()

    assert failures == []
    assert (state.status, state.total_images) == (RequestStatus.PENDING, 1)


@pytest.mark.parametrize("data", [b"{}", b'{"uploadCsv": null}', b'{"uploadCsv": {"id": 1}}'])
async def test_response_of_another_graphql_service_is_reported(data: bytes, csv_path: Path) -> None:
    with fixed_response(b'{"data": ' + data + b"}") as (url, _):
        assert (await submit_error(url, csv_path)).startswith(f"The server at {url}/graphql is not this service.")


async def test_unwritable_output_is_reported_before_the_upload(csv_path: Path, tmp_path: Path) -> None:
    with fixed_response(b"{}") as (url, paths):
        for output, reason in [
            (tmp_path / "missing" / "out.csv", "No such file or directory"),
            (tmp_path, "Is a directory"),
            (csv_path / "out.csv", "Not a directory"),
        ]:
            assert await submit_error(url, csv_path, output) == (
                f"Cannot write the output {output}: {reason}. Choose another file with --output"
            )

    assert paths == []
    assert os.listdir(tmp_path) == [csv_path.name]


async def test_unreadable_file_is_reported(tmp_path: Path) -> None:
    with fixed_response(b"{}") as (url, paths):
        missing = tmp_path / "none.csv"
        assert await submit_error(url, missing) == f"Cannot read the file {missing}: No such file or directory"
        assert await submit_error(url, tmp_path) == f"Cannot read the file {tmp_path}: Is a directory"

    assert paths == []


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    url = create_sqlite(tmp_path / "test.db")
    return Settings(_env_file=None, database_url=url, redis_url=redis_url, data_dir=tmp_path / "data")


CSV = "S. No.,Product Name,Input Image Urls\n1,Shirt,https://shop.example/1.jpg\n"


async def run_submit(folder: Path, url: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
    return await run_command(folder, "submit", "products.csv", "--url", url, *arguments, **environment)


async def test_api_key_is_read_from_the_environment_or_the_env_file(settings: Settings, csv_path: Path) -> None:
    csv_path.write_text(CSV)  # noqa: ASYNC240 - a small file of the test
    folder = csv_path.parent
    async with serve_api(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        key, _ = given_key(app.state.runtime.db)
        url = f"http://{host}"

        without = await run_submit(folder, url)
        malformed = await run_submit(folder, url, IMGPROC_API_KEY="secret")
        async with AsyncClient(url, key) as client:
            before = await client.execute("{ requests { totalCount } }", {})
        by_environment = await run_submit(folder, url, "--no-wait", IMGPROC_API_KEY=key)
        (folder / "key").write_text(f"{key}\n")
        by_key_file = await run_submit(folder, url, "--no-wait", IMGPROC_API_KEY_FILE="key")
        (folder / ".env").write_text(f"IMGPROC_API_KEY={key}\n")
        by_file = await run_submit(folder, url, "--no-wait")

    assert without == (
        1,
        "",
        f"gql-imgproc: The service at {url} requires an API key. Set IMGPROC_API_KEY in the environment or in .env\n",
    )
    status, stdout, stderr = malformed
    assert (status, stdout, stderr.count("\n")) == (1, "", 1)
    assert stderr.startswith("gql-imgproc: IMGPROC_API_KEY: ")
    assert "gip_" in stderr
    assert before == {"requests": {"totalCount": 0}}
    for status, stdout, stderr in (by_environment, by_key_file, by_file):
        assert (status, stderr) == (0, "")
        assert stdout.endswith(": 1 product, 1 image\n")


async def test_rejected_api_key_is_reported(settings: Settings, csv_path: Path) -> None:
    csv_path.write_text(CSV)  # noqa: ASYNC240 - a small file of the test
    async with serve_api(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        key, _ = given_key(app.state.runtime.db)
        reader, _ = given_key(app.state.runtime.db, DEFAULT_TENANT, Scope.READ)
        url = f"http://{host}"

        unknown = await submit_error(url, csv_path, key=key[:-1] + ("a" if key[-1] != "a" else "b"))
        without_scope = await submit_error(url, csv_path, key=reader)
        async with AsyncClient(url, key) as client:
            uploads = await client.execute("{ requests { totalCount } }", {})

    assert unknown.startswith(f"The service at {url} rejected IMGPROC_API_KEY: Invalid API key. ")
    assert without_scope.startswith("Forbidden: `uploadCsv` ")
    assert without_scope.endswith("WRITE. Set IMGPROC_API_KEY to a key with this scope")
    assert uploads == {"requests": {"totalCount": 0}}


async def test_api_key_opens_the_socket_and_its_revocation_closes_it(settings: Settings, tmp_path: Path) -> None:
    async with serve_api(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        runtime = app.state.runtime
        key, key_id = given_key(runtime.db)
        finished = encode_global_id(IdPrefix.REQUEST, (await given_end(app.state))[0])
        running = encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1))
        async with AsyncClient(f"http://{host}", key) as client:
            (state,) = [state async for state in client.watch(finished)]
            assert state.output_csv_url is not None
            # The URL starts with PUBLIC_URL, which does not contain this server's port.
            output_path = httpx.URL(state.output_csv_url).raw_path.decode()
            await client.download(f"http://{host}{output_path}", tmp_path / "output.csv")

            states = client.watch(running)
            assert (await anext(states)).total_images == 1
            runtime.db.write_now(key_repository.revoke, DEFAULT_TENANT, key_id)
            await app.state.app_state.refresh_keys()
            with pytest.raises(ServiceError) as revoked:
                await anext(states)
        async with AsyncClient(f"http://{host}") as client:
            with pytest.raises(ServiceError) as without:
                await anext(client.watch(running))

    assert (tmp_path / "output.csv").read_bytes() == b"S. No.\r\n"
    assert str(revoked.value) == f"The service at http://{host} rejected IMGPROC_API_KEY: {KEY_EXPIRED}"
    assert str(without.value) == (
        f"The service at http://{host} requires an API key. Set IMGPROC_API_KEY in the environment or in .env"
    )
