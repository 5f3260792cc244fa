"""The local webhook receiver as a real process."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.security import webhook_signature
from gql_imgproc.standalone.webhook_receiver import MAX_BODY_BYTES, listen

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
EVENT = json.dumps({"type": "request.completed", "data": {"csvFilename": "Größe.csv"}})


class Receiver:
    """A webhook receiver process and its first line of output."""

    def __init__(self, secret: str | None) -> None:
        code = f"from gql_imgproc.standalone.webhook_receiver import listen; listen(0, {secret!r})"
        self.process = subprocess.Popen(
            [sys.executable, "-X", "utf8", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
        )
        assert self.process.stdout is not None
        self.greeting = self.process.stdout.readline()
        found = re.search(r"http://\S+/", self.greeting)
        assert found is not None, self.process.communicate(timeout=10)
        self.url = found[0]

    def interrupt(self) -> tuple[int, str, str]:
        """Sends SIGINT; returns the exit status, standard output and standard error."""
        self.process.send_signal(signal.SIGINT)
        stdout, stderr = self.process.communicate(timeout=20)
        return self.process.returncode, stdout, stderr


@contextmanager
def running_receiver(secret: str | None) -> Iterator[Receiver]:
    receiver = Receiver(secret)
    try:
        yield receiver
    finally:
        receiver.process.kill()
        receiver.process.communicate()


def signed(payload: str) -> dict[str, str]:
    return webhook_signature.signature_headers(
        webhook_signature.parse_webhook_keys(SECRET), "msg_1", datetime.now(UTC), payload
    )


def test_signed_event_is_printed_and_ctrl_c_stops_the_receiver() -> None:
    with running_receiver(SECRET) as receiver:
        response = httpx.post(f"{receiver.url}any/path", content=EVENT, headers=signed(EVENT))
        status, stdout, stderr = receiver.interrupt()

    assert ", verifying signatures;" in receiver.greeting
    assert (response.status_code, response.content) == (204, b"")
    assert "request.completed  msg_1  verified" in stdout
    assert '"csvFilename": "Größe.csv"' in stdout
    assert (status, stderr) == (0, "")


def test_unsigned_and_altered_events_are_rejected() -> None:
    with running_receiver(SECRET) as receiver:
        unsigned = httpx.post(receiver.url, content=EVENT)
        altered = httpx.post(receiver.url, content=EVENT + " ", headers=signed(EVENT))
        status, stdout, _ = receiver.interrupt()

    assert (unsigned.status_code, altered.status_code) == (401, 401)
    assert stdout.count("rejected with status 401") == 2
    assert "csvFilename" not in stdout
    assert status == 0


def test_receiver_without_a_secret_accepts_every_event() -> None:
    with running_receiver(None) as receiver:
        response = httpx.post(receiver.url, content=EVENT)
        not_json = httpx.post(receiver.url, content=b"{")
        _, stdout, _ = receiver.interrupt()

    assert ", not verifying signatures;" in receiver.greeting
    assert (response.status_code, not_json.status_code) == (204, 400)
    assert "request.completed  no webhook-id  not verified" in stdout


def test_too_large_event_is_rejected() -> None:
    with running_receiver(None) as receiver:
        response = httpx.post(receiver.url, content=b'"' + b"a" * MAX_BODY_BYTES + b'"')
        _, stdout, _ = receiver.interrupt()

    assert response.status_code == 413
    assert "rejected with status 413" in stdout


def test_control_characters_in_an_event_are_replaced() -> None:
    event = json.dumps({"type": "[red]\x1b[2J\x9b2J", "data": "\x9b2J"}, ensure_ascii=False)

    with running_receiver(None) as receiver:
        httpx.post(receiver.url, content=event.replace("\x1b", "\\u001b").encode())
        _, stdout, _ = receiver.interrupt()

    assert "[red]" in stdout
    assert "\x1b" not in stdout
    assert "\x9b" not in stdout


def test_port_in_use_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConfigurationError, match="--port"):
        listen(other.getsockname()[1], None)


def test_malformed_secret_is_reported() -> None:
    with pytest.raises(ConfigurationError, match="--secret"):
        listen(0, "whsec_short")
