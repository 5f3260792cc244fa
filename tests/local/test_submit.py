from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from gql_imgproc.local.client import ServiceError, base_of
from gql_imgproc.local.submit import submit


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
    assert str(base_of(given)) == base


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
