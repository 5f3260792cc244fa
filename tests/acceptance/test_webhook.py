"""The real service sends webhooks, by Standard Webhooks, to a real receiver."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from gql_imgproc.client import AsyncClient, Request
from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import COMMAND, Service, StartService, environment
from tests.acceptance.test_up import upload, write_csv

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOG = """
query Log($id: ID!) {
  request(id: $id) {
    webhook { status attempts lastHttpStatus log { httpStatus error } }
  }
}
"""


@contextmanager
def receiver(statuses: list[int], ip: str = "127.0.0.1") -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Responds with the statuses in order, repeating the last one. Yields its URL and the received requests."""
    received: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((ip, 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://{ip}:{server.server_port}/hook?token=hidden", received
    finally:
        server.shutdown()
        server.server_close()


async def run_to_end(service: Service, csv_path: Path, webhook_url: str) -> str:
    async with AsyncClient(service.url) as client:
        accepted = await upload(client, csv_path, webhook_url=webhook_url)
        states: list[Request] = [state async for state in client.watch(accepted.id)]
        assert states[-1].status.is_terminal
        return accepted.id


def read_delivered_webhook(service: Service, request_id: str) -> Any:
    """The webhook as the API reports it, once it was delivered."""
    deadline = time.monotonic() + 20
    while True:
        query = {"query": LOG, "variables": {"id": request_id}}
        response = httpx.post(f"{service.url}/graphql", json=query, trust_env=False).json()
        assert "errors" not in response, response
        request = response["data"]["request"]
        if request["webhook"]["status"] == "DELIVERED":
            return request["webhook"]
        assert time.monotonic() < deadline, request
        time.sleep(0.05)


@pytest.fixture
def csv_path(tmp_path: Path, image_folder: Path, image_port: int) -> Path:
    (image_folder / "clock.jpg").write_bytes(sample_images.render_sample("clock.jpg"))
    return write_csv(tmp_path / "products.csv", [[f"http://127.0.0.1:{image_port}/clock.jpg"]])


def test_failed_webhook_is_retried_with_the_same_id(start: StartService, csv_path: Path, image_port: int) -> None:
    with receiver([500, 302, 503, 204]) as (url, received):
        service = start(
            FETCH_ALLOW_PORTS="*",
            WEBHOOK_SECRET=SECRET,
            WEBHOOK_RETRY_DELAYS="0.3,1.1,0.3",
            SWEEP_SECONDS="0.2",
        )

        request_id = asyncio.run(run_to_end(service, csv_path, url))
        webhook = read_delivered_webhook(service, request_id)

    events = [Webhook(SECRET).verify(body, headers) for headers, body in received]
    assert len(events) == 4
    assert len({headers["webhook-id"] for headers, _ in received}) == 1
    timestamps = [int(headers["webhook-timestamp"]) for headers, _ in received]
    assert timestamps == sorted(timestamps)
    assert timestamps[-1] > timestamps[0]
    event = events[-1]
    assert isinstance(event, dict)
    assert event["type"] == "request.completed"
    assert event["data"]["id"] == request_id
    assert event["data"]["outputCsvUrl"] == f"{service.url}/api/download/{request_id}"
    assert (webhook["status"], webhook["attempts"], webhook["lastHttpStatus"]) == ("DELIVERED", 4, 204)
    assert [entry["httpStatus"] for entry in webhook["log"]] == [500, 302, 503, 204]
    assert webhook["log"][-1]["error"] is None


@pytest.mark.slow
def test_crash_causes_at_most_one_duplicate(start: StartService, csv_path: Path) -> None:
    with receiver([500, 204]) as (url, received):
        service = start(
            "--workers", "1", FETCH_ALLOW_PORTS="*", WEBHOOK_RETRY_DELAYS="1", SWEEP_SECONDS="0.3", LEASE_SECONDS="1"
        )

        request_id = asyncio.run(run_to_end(service, csv_path, url))
        while not received:
            time.sleep(0.01)
        for worker in service.workers():
            worker.kill()
        service.redis().kill()
        service.api().kill()
        service.api()
        webhook = None
        while webhook is None:
            try:
                webhook = read_delivered_webhook(service, request_id)
            except httpx.HTTPError:
                time.sleep(0.1)
        time.sleep(1)

    assert webhook["status"] == "DELIVERED"
    assert 2 <= len(received) <= 3
    assert len({headers["webhook-id"] for headers, _ in received}) == 1


def test_listen_prints_received_webhooks(start: StartService, csv_path: Path) -> None:
    listening = subprocess.Popen(
        [*COMMAND, "listen", "--port", "8899", "--secret", SECRET],
        env=environment() | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert listening.stdout is not None
    try:
        assert ", verifying signatures;" in listening.stdout.readline()
        service = start(FETCH_ALLOW_PORTS="*", WEBHOOK_SECRET=SECRET)

        request_id = asyncio.run(run_to_end(service, csv_path, "http://127.0.0.1:8899/"))

        assert read_delivered_webhook(service, request_id)["status"] == "DELIVERED"
    finally:
        listening.terminate()
        output, _ = listening.communicate(timeout=10)
    assert "request.completed" in output
    assert json.dumps(request_id)[1:-1] in output
