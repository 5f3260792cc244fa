"""The receiver for one's own machine, as a real process."""

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


class Listener:
    """A listener, and what it printed."""

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
        """Presses Ctrl-C; gives the exit status and what was printed."""
        self.process.send_signal(signal.SIGINT)
        printed, complaints = self.process.communicate(timeout=20)
        return self.process.returncode, printed, complaints


@contextmanager
def listening(secret: str | None) -> Iterator[Listener]:
    listener = Listener(secret)
    try:
        yield listener
    finally:
        listener.process.kill()
        listener.process.communicate()


def signed(payload: str) -> dict[str, str]:
    return webhook_signature.signature_headers(
        webhook_signature.parse_webhook_keys(SECRET), "msg_1", datetime.now(UTC), payload
    )


def test_a_signed_event_is_taken_and_printed_and_ctrl_c_ends_it() -> None:
    with listening(SECRET) as listener:
        taken = httpx.post(f"{listener.url}any/path", content=EVENT, headers=signed(EVENT))
        status, printed, complaints = listener.interrupt()

    assert "signatures are checked" in listener.greeting
    assert (taken.status_code, taken.content) == (204, b"")
    assert "request.completed  msg_1  verified" in printed
    assert '"csvFilename": "Größe.csv"' in printed
    assert (status, complaints) == (0, "")


def test_what_the_secret_did_not_sign_is_refused() -> None:
    with listening(SECRET) as listener:
        unsigned = httpx.post(listener.url, content=EVENT)
        altered = httpx.post(listener.url, content=EVENT + " ", headers=signed(EVENT))
        status, printed, _ = listener.interrupt()

    assert (unsigned.status_code, altered.status_code) == (401, 401)
    assert printed.count("refused with 401") == 2
    assert "csvFilename" not in printed
    assert status == 0


def test_without_a_secret_every_event_is_taken() -> None:
    with listening(None) as listener:
        taken = httpx.post(listener.url, content=EVENT)
        not_json = httpx.post(listener.url, content=b"{")
        _, printed, _ = listener.interrupt()

    assert "signatures are not checked" in listener.greeting
    assert (taken.status_code, not_json.status_code) == (204, 400)
    assert "request.completed  without webhook-id  not verified" in printed


def test_a_huge_event_is_refused() -> None:
    with listening(None) as listener:
        refused = httpx.post(listener.url, content=b'"' + b"a" * MAX_BODY_BYTES + b'"')
        _, printed, _ = listener.interrupt()

    assert refused.status_code == 413
    assert "refused with 413" in printed


def test_an_event_cannot_steer_the_terminal() -> None:
    event = json.dumps({"type": "[red]\x1b[2J\x9b2J", "data": "\x9b2J"}, ensure_ascii=False)

    with listening(None) as listener:
        httpx.post(listener.url, content=event.replace("\x1b", "\\u001b").encode())
        _, printed, _ = listener.interrupt()

    assert "[red]" in printed
    assert "\x1b" not in printed
    assert "\x9b" not in printed


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConfigurationError, match="--port"):
        listen(other.getsockname()[1], None)


def test_a_malformed_secret_is_said_in_one_line() -> None:
    with pytest.raises(ConfigurationError, match="--secret"):
        listen(0, "whsec_short")
