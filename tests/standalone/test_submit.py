from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from gql_imgproc.access import key_repository
from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.database.migrations import upgrade
from gql_imgproc.ids import DEFAULT_TENANT, IdPrefix, encode_global_id
from gql_imgproc.security.scopes import Scope
from gql_imgproc.settings import Settings
from gql_imgproc.standalone.client import Client, ServiceError, normalize_base_url
from gql_imgproc.standalone.submit import submit
from tests.graphql.client import served
from tests.graphql.live_server import given_upload
from tests.support.api_keys import given_key
from tests.web.test_file_authorization import given_end


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """A server that gives everybody the same answer: its address, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
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
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "products.csv"
    path.write_text("S. No.,Product Name,Input Image Urls\n")
    return path


def refused(url: str, file: Path, output: Path | None = None) -> str:
    with pytest.raises(ServiceError) as error:
        asyncio.run(submit(url, file, webhook_url=None, output=output))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/"),
        ("http://127.0.0.1:8000/graphql", "http://127.0.0.1:8000/"),
        ("http://127.0.0.1:8000/graphql/", "http://127.0.0.1:8000/"),
        ("https://shop.example/pictures/graphql", "https://shop.example/pictures"),
    ],
)
def test_the_address_of_the_service_or_of_its_graphql(given: str, base: str) -> None:
    assert str(normalize_base_url(given)) == base


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://", "http://host:port", "http://[::1"])
def test_what_is_no_address_is_told(url: str, manifest: Path) -> None:
    assert refused(url, manifest) == f"{url} is no address of a service. It looks like http://127.0.0.1:8000"


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
def test_an_answer_that_is_no_graphql_is_told(body: bytes, status: int, manifest: Path) -> None:
    with answering(body, status) as (url, asked):
        assert refused(f"{url}/graphql", manifest) == (
            f"What answers at {url}/graphql with status {status} is not this service. "
            "Mend --url: it looks like http://127.0.0.1:8000"
        )

    assert asked == ["/graphql"]


@pytest.mark.parametrize("data", [b"{}", b'{"uploadCsv": null}', b'{"uploadCsv": {"id": 1}}'])
def test_an_answer_of_another_graphql_service_is_told(data: bytes, manifest: Path) -> None:
    with answering(b'{"data": ' + data + b"}") as (url, _):
        assert refused(url, manifest).startswith(f"What answers at {url}/graphql is not this service.")


def test_an_output_that_cannot_be_written_is_told_before_the_upload(manifest: Path, tmp_path: Path) -> None:
    with answering(b"{}") as (url, asked):
        for output, reason in [
            (tmp_path / "missing" / "out.csv", "No such file or directory"),
            (tmp_path, "Is a directory"),
            (manifest / "out.csv", "Not a directory"),
        ]:
            assert refused(url, manifest, output) == (
                f"The output {output} cannot be written: {reason}. Choose another place with --output"
            )

    assert asked == []
    assert list(tmp_path.iterdir()) == [manifest]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with answering(b"{}") as (url, asked):
        missing = tmp_path / "none.csv"
        assert refused(url, missing) == f"The file {missing} cannot be read: No such file or directory"
        assert refused(url, tmp_path) == f"The file {tmp_path} cannot be read: Is a directory"

    assert asked == []


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    upgrade(url)
    return Settings(_env_file=None, database_url=url, redis_url=redis_url, data_dir=tmp_path / "data")


CSV = "S. No.,Product Name,Input Image Urls\n1,Shirt,https://shop.example/1.jpg\n"


async def submitted(folder: Path, url: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """The real command in a folder, with these settings and no others: its exit status and what it said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMGPROC_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gql_imgproc", "submit", "products.csv", "--url", url, *arguments),
        cwd=folder,
        env=clean | {"PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said, told = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, said.decode(), told.decode()


async def test_the_key_comes_from_the_environment_or_the_env_file(settings: Settings, manifest: Path) -> None:
    manifest.write_text(CSV)  # noqa: ASYNC240 - a small file of the test

    async with served(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        key, _ = given_key(app.state.runtime.db)
        reader, _ = given_key(app.state.runtime.db, DEFAULT_TENANT, Scope.READ)
        url, folder = f"http://{host}", manifest.parent

        without = await submitted(folder, url)
        unknown = await submitted(folder, url, IMGPROC_API_KEY=key[:-1] + ("a" if key[-1] != "a" else "b"))
        malformed = await submitted(folder, url, IMGPROC_API_KEY="secret")
        reading = await submitted(folder, url, IMGPROC_API_KEY=reader)
        async with Client(url, key) as client:
            nothing = await client.query("{ requests { totalCount } }", {})
        by_environment = await submitted(folder, url, "--no-wait", IMGPROC_API_KEY=key)
        (folder / ".env").write_text(f"IMGPROC_API_KEY={key}\n")
        by_file = await submitted(folder, url, "--no-wait")

    assert without == (
        1,
        "",
        f"gql-imgproc: The service at {url} asks for an API key. "
        "Set IMGPROC_API_KEY to one, in the environment or in .env\n",
    )
    assert unknown == (
        1,
        "",
        f"gql-imgproc: The service at {url} does not admit IMGPROC_API_KEY: Invalid API key. "
        "It is not known. Check that it was copied completely.\n",
    )
    assert malformed == (
        1,
        "",
        "gql-imgproc: IMGPROC_API_KEY: It is no API key: those begin with gip_. Check that it was copied as a whole\n",
    )
    assert reading == (
        1,
        "",
        "gql-imgproc: The service refuses: `uploadCsv` needs an API key with the scope WRITE. "
        "Set IMGPROC_API_KEY to one that has it\n",
    )
    assert nothing == {"requests": {"totalCount": 0}}
    for status, said, told in (by_environment, by_file):
        assert (status, told) == (0, "")
        assert said.endswith(": 1 product, 1 picture\n")


async def test_the_key_opens_the_socket_and_the_output_and_its_end_is_told_at_once(
    settings: Settings, tmp_path: Path
) -> None:
    async with served(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        runtime = app.state.runtime
        key, key_id = given_key(runtime.db)
        ended = encode_global_id(IdPrefix.REQUEST, (await given_end(app.state))[0])
        running = encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1))
        async with Client(f"http://{host}", key) as client:
            (state,) = [state async for state in client.progress(ended)]
            assert state.output_csv_url is not None
            # Where the service thinks that it is reached, without a port that was free.
            given = httpx.URL(state.output_csv_url)
            await client.download(f"http://{host}{given.raw_path.decode()}", tmp_path / "output.csv")

            states = client.progress(running)
            assert (await anext(states)).total == 1
            runtime.db.write_now(key_repository.revoke, DEFAULT_TENANT, key_id)
            await app.state.app_state.refresh_keys()
            with pytest.raises(ServiceError) as over:
                await anext(states)
        async with Client(f"http://{host}") as client:
            with pytest.raises(ServiceError) as without:
                await anext(client.progress(running))

    assert (tmp_path / "output.csv").read_bytes() == b"S. No.\r\n"
    assert str(over.value) == (
        f"The service at http://{host} does not admit IMGPROC_API_KEY: "
        "The API key is not good any more, or one is asked for now."
    )
    assert str(without.value) == (
        f"The service at http://{host} asks for an API key. Set IMGPROC_API_KEY to one, in the environment or in .env"
    )
