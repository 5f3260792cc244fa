"""Uploads to a real API process: what they cost it while they come in, and what is left of them."""

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

from gql_imgproc.standalone.preflight import check_port
from tests.acceptance.conftest import COMMAND, environment
from tests.acceptance.test_separate_processes import wait_until_ready

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory and files are looked up in /proc"),
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

    def begin(self, length: int) -> http.client.HTTPConnection:
        """An upload of so many bytes, of which the head is sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.putrequest("POST", "/graphql")
        connection.putheader("GraphQL-Preflight", "1")
        connection.putheader("Content-Type", "multipart/form-data; boundary=x")
        connection.putheader("Content-Length", str(len(BEFORE) + length + len(BEHIND)))
        connection.endheaders()
        connection.send(BEFORE)
        return connection

    def upload(self, pieces: Iterable[bytes], length: int) -> tuple[int, Any]:
        """Status and outcome of an upload."""
        with closing(self.begin(length)) as connection:
            for piece in pieces:
                connection.send(piece)
            if pieces:
                connection.send(BEHIND)
            with connection.getresponse() as response:
                return response.status, json.loads(response.read())

    def outcome(self, data: bytes) -> dict[str, Any]:
        status, answer = self.upload([data], len(data))
        assert status == 200, answer
        outcome: dict[str, Any] = answer["data"]["uploadCsv"]
        return outcome

    def peak_kib(self) -> int:
        """The most memory the process had since `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])

    def forget_peak(self) -> int:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.peak_kib()

    def open_temporary_files(self) -> int:
        """Files in the folder for temporary ones, those included that have no name there any more."""
        folder = Path(f"/proc/{self.process.pid}/fd")
        found = 0
        for descriptor in folder.iterdir():
            with suppress(FileNotFoundError):
                found += str(descriptor.readlink()).startswith(str(self.temporary))
        return found


BEFORE = b"".join(
    b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b' % part
    for part in (
        (b"operations", b"", json.dumps({"query": QUERY, "variables": {"input": {"file": None}}}).encode() + b"\r\n"),
        (b"map", b"", b'{"f": ["variables.input.file"]}\r\n'),
        (b"f", b'; filename="shop.csv"', b""),
    )
)
BEHIND = b"\r\n--x--\r\n"

StartApi = Callable[..., Api]


@pytest.fixture
def start_api(redis_url: str, tmp_path: Path) -> Iterator[StartApi]:
    started: list[Api] = []

    def start(**settings: str) -> Api:
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        port = check_port("127.0.0.1", 0)
        ours = environment(REDIS_URL=redis_url, DATA_DIR=str(tmp_path / "data"), **settings)
        ours["TMPDIR"] = str(temporary)
        subprocess.run([*COMMAND, "migrate"], env=ours, capture_output=True, timeout=60, check=True)
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen([*COMMAND, "api", "--port", str(port)], env=ours, stdout=log, stderr=log)
        started.append(Api(process, port, temporary))
        wait_until_ready(f"http://127.0.0.1:{port}")
        return started[-1]

    yield start
    for api in started:
        api.process.send_signal(signal.SIGTERM)
        assert api.process.wait(20) == 0, (tmp_path / "log").read_text()


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stored(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "data" / "objects").rglob("*") if path.is_file()]


def test_an_upload_at_the_limit_takes_no_more_memory_than_a_small_one(start_api: StartApi, tmp_path: Path) -> None:
    # Given a process that has had uploads, and files at the limit: one that is accepted, one that is not,
    api = start_api()
    row = b'%d,"' + b"a long name " * 18 + b'","https://shop.example/%d.jpg"\n'
    # Large enough to be streamed into the store, as larger ones are.
    small = HEADER + b"".join(row % (number, number) for number in range(1, 6_001))
    for _ in range(2):
        assert api.outcome(HEADER + ROW * 1_000)["__typename"] == "CsvInvalid"
        assert api.outcome(small)["__typename"] == "UploadCsvSuccess"
    limit = 20 * MiB
    good, count = bytearray(HEADER), 0
    while len(good) < limit - 300:
        count += 1
        good += row % (count, count)
    bad = (HEADER + ROW * (limit // len(ROW)))[: limit - 1] + b"\n"

    # when they are uploaded,
    before = api.forget_peak()
    accepted = api.outcome(bytes(good))
    after_accepted = api.peak_kib()
    refused = api.outcome(bad)
    after_refused = api.peak_kib()

    # then the process needed hardly more than before.
    assert accepted == {"__typename": "UploadCsvSuccess", "request": {"totalProducts": count}}
    assert refused["__typename"] == "CsvInvalid"
    assert after_accepted - before <= 8 * 1024
    assert after_refused - before <= 8 * 1024


def test_nothing_is_left_of_an_upload_however_it_ends(start_api: StartApi, tmp_path: Path) -> None:
    # Given a process that has had an upload,
    api = start_api()
    assert api.outcome(HEADER + ROW)["__typename"] == "UploadCsvSuccess"
    kept = stored(tmp_path)
    big = HEADER + ROW * 100_000

    # when one is refused, one is too large, one is much too large,
    assert api.outcome(big)["__typename"] == "CsvInvalid"
    assert api.upload([b"x" * MiB] * 21, 21 * MiB) == (413, {"data": {"uploadCsv": {"__typename": "UploadTooLarge"}}})
    status, answer = api.upload([], 300 * MiB)
    assert (status, answer["errors"][0]["extensions"]["code"]) == (413, "PAYLOAD_TOO_LARGE")

    # one's client leaves in the middle, and one's client is killed,
    leaving = api.begin(len(big))
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

    # then no file is open, none is left, nothing else was stored.
    wait_until(lambda: api.open_temporary_files() == 0)
    assert list(api.temporary.iterdir()) == []
    assert stored(tmp_path) == kept
    assert [path.name for path in kept] == ["input.csv"]


SENDER = f"""
import socket, sys, time
head = "POST /graphql HTTP/1.1\\r\\nHost: localhost\\r\\nGraphQL-Preflight: 1\\r\\n"
head += "Content-Type: multipart/form-data; boundary=x\\r\\nContent-Length: " + sys.argv[2] + "\\r\\n\\r\\n"
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    connection.sendall(head.encode() + {BEFORE!r} + b"x" * 3_000_000)
    time.sleep(60)
"""


@pytest.mark.parametrize("limit", [20 * MiB, 2_000 * MiB])
def test_a_gigabyte_in_one_line_is_refused_in_little_memory(start_api: StartApi, limit: int) -> None:
    # Given a process whose limit is as it is, or so high that the line is looked at,
    api = start_api(MAX_UPLOAD_BYTES=str(limit))
    assert api.outcome(HEADER + ROW)["__typename"] == "UploadCsvSuccess"
    before = api.forget_peak()

    # when a line of a gigabyte is uploaded,
    block = b"x" * MiB
    status, answer = api.upload((block for _ in range(1_000)), 1_000 * MiB)

    # then it is refused, for its size or for its length, and took little memory.
    if limit < 1_000 * MiB:
        assert (status, answer["errors"][0]["extensions"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    else:
        assert status == 200
        (issue,) = answer["data"]["uploadCsv"]["errors"]
        assert (issue["code"], issue["row"]) == ("FIELD_TOO_LONG", 1)
    assert api.peak_kib() < 200 * 1024
    assert api.peak_kib() - before <= 16 * 1024
    # Closed after the answer was sent.
    wait_until(lambda: api.open_temporary_files() == 0)


def test_a_name_that_points_to_this_machine_is_not_answered(start_api: StartApi) -> None:
    api = start_api()

    statuses = {}
    for host in ("evil.example", f"evil.example:{api.port}", "localhost", f"127.0.0.1:{api.port}"):
        with closing(http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)) as connection:
            connection.request("GET", "/healthz", headers={"Host": host})
            with connection.getresponse() as response:
                statuses[host.partition(":")[0]] = response.status
                assert response.headers["Server"] is None

    assert statuses == {"evil.example": 421, "localhost": 200, "127.0.0.1": 200}
