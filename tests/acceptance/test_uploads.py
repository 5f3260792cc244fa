"""Uploads to a real API process: their memory use, and what remains of them."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import COMMAND, environment
from tests.acceptance.test_separate_processes import wait_until_ready
from tests.support.free_port import free_port

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory use and open files from /proc"),
]

MiB = 1024 * 1024
HEADER = b"S. No.,Product Name,Input Image Urls\n"
ROW = b"1,Shirt,https://shop.example/a.jpg\n"
QUERY = (
    "mutation($input: UploadCsvInput!) { uploadCsv(input: $input) { __typename"
    " ... on UploadCsvSuccess { request { totalProducts } } ... on CsvInvalid { errors { code row } } } }"
)


@dataclass
class Api:
    """A running `gql-imgproc api`."""

    process: subprocess.Popen[bytes]
    port: int
    temporary: Path

    def start_upload(self, length: int) -> http.client.HTTPConnection:
        """Sends the headers of an upload of this many bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.putrequest("POST", "/graphql")
        connection.putheader("GraphQL-Preflight", "1")
        connection.putheader("Content-Type", "multipart/form-data; boundary=x")
        connection.putheader("Content-Length", str(len(PREFIX) + length + len(SUFFIX)))
        connection.endheaders()
        connection.send(PREFIX)
        return connection

    def upload(self, pieces: Iterable[bytes], length: int) -> tuple[int, Any]:
        """Status and JSON body of an upload."""
        with closing(self.start_upload(length)) as connection:
            for piece in pieces:
                connection.send(piece)
            if pieces:
                connection.send(SUFFIX)
            with connection.getresponse() as response:
                return response.status, json.loads(response.read())

    def upload_csv(self, data: bytes) -> dict[str, Any]:
        status, body = self.upload([data], len(data))
        assert status == 200, body
        result: dict[str, Any] = body["data"]["uploadCsv"]
        return result

    def peak_kib(self) -> int:
        """Peak memory of the process since `reset_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])

    def reset_peak(self) -> int:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.peak_kib()

    def open_temporary_files(self) -> int:
        """Open files in the folder for temporary files, including deleted ones."""
        folder = Path(f"/proc/{self.process.pid}/fd")
        found = 0
        for descriptor in folder.iterdir():
            with suppress(FileNotFoundError):
                found += str(descriptor.readlink()).startswith(str(self.temporary))
        return found


PREFIX = b"".join(
    b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b' % part
    for part in (
        (b"operations", b"", json.dumps({"query": QUERY, "variables": {"input": {"file": None}}}).encode() + b"\r\n"),
        (b"map", b"", b'{"f": ["variables.input.file"]}\r\n'),
        (b"f", b'; filename="shop.csv"', b""),
    )
)
SUFFIX = b"\r\n--x--\r\n"

StartApi = Callable[..., Api]


@pytest.fixture
def start_api(redis_url: str, tmp_path: Path) -> Iterator[StartApi]:
    started: list[Api] = []

    def start(**settings: str) -> Api:
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        port = free_port()
        variables = environment(REDIS_URL=redis_url, DATA_DIR=str(tmp_path / "data"), **settings)
        variables["TMPDIR"] = str(temporary)
        subprocess.run([*COMMAND, "migrate"], env=variables, capture_output=True, timeout=60, check=True)
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen([*COMMAND, "api", "--port", str(port)], env=variables, stdout=log, stderr=log)
        started.append(Api(process, port, temporary))
        wait_until_ready(f"http://127.0.0.1:{port}")
        return started[-1]

    yield start
    for api in started:
        api.process.send_signal(signal.SIGTERM)
        assert api.process.wait(20) == 0, (tmp_path / "log").read_text()


def wait_until(is_reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stored_files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "data" / "objects").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_upload_at_the_limit_needs_no_more_memory_than_a_small_one(start_api: StartApi, tmp_path: Path) -> None:
    # Given a process that has handled uploads, and two files at the size limit, one valid and one invalid,
    api = start_api()
    row = b'%d,"' + b"a long name " * 18 + b'","https://shop.example/%d.jpg"\n'
    # Large enough to be streamed into the store.
    small = HEADER + b"".join(row % (number, number) for number in range(1, 6_001))
    for _ in range(2):
        assert api.upload_csv(HEADER + ROW * 1_000)["__typename"] == "CsvInvalid"
        assert api.upload_csv(small)["__typename"] == "UploadCsvSuccess"
    limit = 20 * MiB
    valid, count = bytearray(HEADER), 0
    while len(valid) < limit - 300:
        count += 1
        valid += row % (count, count)
    invalid = (HEADER + ROW * (limit // len(ROW)))[: limit - 1] + b"\n"

    # when they are uploaded,
    before = api.reset_peak()
    accepted = api.upload_csv(bytes(valid))
    after_accepted = api.peak_kib()
    refused = api.upload_csv(invalid)
    after_refused = api.peak_kib()

    # then the process needs hardly more memory than before.
    assert accepted == {"__typename": "UploadCsvSuccess", "request": {"totalProducts": count}}
    assert refused["__typename"] == "CsvInvalid"
    assert after_accepted - before <= 8 * 1024
    assert after_refused - before <= 8 * 1024


@pytest.mark.slow
def test_failed_uploads_leave_no_file(start_api: StartApi, tmp_path: Path) -> None:
    # Given a process that has handled an upload,
    api = start_api()
    assert api.upload_csv(HEADER + ROW)["__typename"] == "UploadCsvSuccess"
    files = stored_files(tmp_path)
    big = HEADER + ROW * 100_000

    # when one upload is refused, one is too large, one is much too large,
    assert api.upload_csv(big)["__typename"] == "CsvInvalid"
    assert api.upload([b"x" * MiB] * 21, 21 * MiB) == (413, {"data": {"uploadCsv": {"__typename": "UploadTooLarge"}}})
    status, body = api.upload([], 300 * MiB)
    assert (status, body["errors"][0]["extensions"]["code"]) == (413, "PAYLOAD_TOO_LARGE")

    # one client disconnects in the middle, and one client is killed,
    leaving = api.start_upload(len(big))
    leaving.send(big[: 3 * MiB])
    wait_until(lambda: api.open_temporary_files() == 1)
    leaving.close()
    wait_until(lambda: api.open_temporary_files() == 0)
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER, str(api.port), str(len(big))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    wait_until(lambda: api.open_temporary_files() == 1)
    sender.kill()
    sender.communicate()

    # then no temporary file is open or left, and nothing else was stored.
    wait_until(lambda: api.open_temporary_files() == 0)
    assert list(api.temporary.iterdir()) == []
    assert stored_files(tmp_path) == files
    assert [path.name for path in files] == ["input.csv"]


SENDER = f"""
import socket, sys, time
head = "POST /graphql HTTP/1.1\\r\\nHost: localhost\\r\\nGraphQL-Preflight: 1\\r\\n"
head += "Content-Type: multipart/form-data; boundary=x\\r\\nContent-Length: " + sys.argv[2] + "\\r\\n\\r\\n"
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    connection.sendall(head.encode() + {PREFIX!r} + b"x" * 3_000_000)
    time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [20 * MiB, 2_000 * MiB])
def test_gigabyte_in_one_line_is_refused_with_little_memory(start_api: StartApi, limit: int) -> None:
    # Given a process with the default size limit, or with one so high that the line is parsed,
    api = start_api(MAX_UPLOAD_BYTES=str(limit))
    assert api.upload_csv(HEADER + ROW)["__typename"] == "UploadCsvSuccess"
    before = api.reset_peak()

    # when a line of a gigabyte is uploaded,
    block = b"x" * MiB
    status, body = api.upload((block for _ in range(1_000)), 1_000 * MiB)

    # then it is refused, for the file size or for the field length, and needs little memory.
    if limit < 1_000 * MiB:
        assert (status, body["errors"][0]["extensions"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    else:
        assert status == 200
        (issue,) = body["data"]["uploadCsv"]["errors"]
        assert (issue["code"], issue["row"]) == ("FIELD_TOO_LONG", 1)
    assert api.peak_kib() < 200 * 1024
    assert api.peak_kib() - before <= 16 * 1024
    # The file is closed after the response was sent.
    wait_until(lambda: api.open_temporary_files() == 0)


@pytest.mark.slow
def test_untrusted_host_name_is_rejected(start_api: StartApi) -> None:
    api = start_api()

    statuses = {}
    for host in ("evil.example", f"evil.example:{api.port}", "localhost", f"127.0.0.1:{api.port}"):
        with closing(http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)) as connection:
            connection.request("GET", "/healthz", headers={"Host": host})
            with connection.getresponse() as response:
                statuses[host.partition(":")[0]] = response.status
                assert response.headers["Server"] is None

    assert statuses == {"evil.example": 421, "localhost": 200, "127.0.0.1": 200}
