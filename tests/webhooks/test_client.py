"""One attempt of a webhook, against real receivers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_network
from pathlib import Path

import pytest

from gql_imgproc.net.address_policy import NetworkPolicy
from gql_imgproc.webhooks.client import MAX_RESPONSE_BYTES, DeliveryResponse, post

LOOPBACK = NetworkPolicy((ip_network("127.0.0.0/8"),), "*")

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class ReceivedRequests:
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


def respond(text: str) -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(text.replace("\n", "\r\n").encode())
        await writer.drain()

    return reply


def respond_status(line: str, *headers: str) -> Reply:
    return respond("\n".join([f"HTTP/1.1 {line}", *headers, "content-length: 0", "", ""]))


async def send(
    reply: Reply, *, policy: NetworkPolicy = LOOPBACK, timeout_s: float = 5, path: str = "/hook"
) -> tuple[DeliveryResponse, ReceivedRequests]:
    """Sends one webhook to a receiver that responds with `reply`."""
    received = ReceivedRequests()
    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.append(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(line for line in head.splitlines() if line.lower().startswith("content-length:"))
            received.heads.append(head)
            received.bodies.append(await reader.readexactly(int(length.partition(":")[2])))
            await reply(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        headers = {"webhook-id": "msg_1", "webhook-timestamp": "1767225600"}
        result = await post(f"http://127.0.0.1:{port}{path}", '{"a":"ü"}', headers, policy, timeout_s)
        # Closing the server waits for them.
        for task in serving:
            task.cancel()
        return result, received


async def test_webhook_is_posted_as_json() -> None:
    result, received = await send(respond_status("204 No Content"), path="/hook?shop=1")

    assert (result.http_status, result.error, result.is_gone) == (204, None, False)
    assert 0 <= result.duration_ms < 5000
    assert received.bodies == ['{"a":"ü"}'.encode()]
    head = received.heads[0].lower()
    assert head.startswith("post /hook?shop=1 http/1.1\r\n")
    for line in ("content-type: application/json", "webhook-id: msg_1", "webhook-timestamp: 1767225600"):
        assert f"\r\n{line}\r\n" in head


@pytest.mark.parametrize("code", [200, 201, 202, 299])
async def test_every_2xx_status_is_a_success(code: int) -> None:
    result, _ = await send(respond_status(f"{code} Fine"))

    assert (result.http_status, result.error) == (code, None)


async def test_redirect_is_an_error_and_is_not_followed() -> None:
    result, received = await send(respond_status("302 Found", "location: /elsewhere"))

    assert result.http_status == 302
    assert result.error is not None
    assert "redirect" in result.error
    assert len(received.heads) == 1


async def test_status_410_is_reported_as_gone() -> None:
    result, _ = await send(respond_status("410 Gone"))

    assert (result.http_status, result.is_gone) == (410, True)
    assert result.error is not None


@pytest.mark.parametrize("line", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_retry_after_of_a_busy_receiver_is_returned(line: str) -> None:
    result, _ = await send(respond_status(line, "retry-after: 120"))

    assert result.retry_after_s == 120
    assert result.error == f"The receiver answered with status {line[:3]}."


async def test_retry_after_may_be_a_date() -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)

    result, _ = await send(respond_status("503 Service Unavailable", f"retry-after: {until}"))

    assert result.retry_after_s == pytest.approx(100, abs=5)


@pytest.mark.parametrize(
    ("line", "retry_after"),
    [
        ("500 Internal Server Error", "120"),
        ("503 Service Unavailable", "soon"),
        ("503 Service Unavailable", "-5"),
        ("503 Service Unavailable", "Mon, 99 Nov 2026 00:00:00 GMT"),
    ],
)
async def test_invalid_or_unexpected_retry_after_is_ignored(line: str, retry_after: str) -> None:
    result, _ = await send(respond_status(line, f"retry-after: {retry_after}"))

    assert result.retry_after_s is None


async def test_silent_receiver_times_out() -> None:
    async def stay_silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    result, _ = await send(stay_silent, timeout_s=0.2)

    assert result.http_status is None
    assert result.error == "The receiver did not respond within 0.2 seconds."


async def test_slowly_sent_response_header_times_out() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"a: b\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    result, _ = await send(drip, timeout_s=0.3)

    assert result.error == "The receiver did not respond within 0.3 seconds."


async def test_endless_response_body_is_not_read_to_its_end() -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 1000 * MAX_RESPONSE_BYTES:
            writer.write(bytes(MAX_RESPONSE_BYTES))
            await writer.drain()
            sent += MAX_RESPONSE_BYTES

    result, _ = await send(flood)

    assert (result.http_status, result.error) == (200, None)
    # Some of it only fills the buffers of the sockets.
    assert sent < 500 * MAX_RESPONSE_BYTES


async def test_status_counts_when_the_body_is_incomplete() -> None:
    result, _ = await send(respond("HTTP/1.1 200 OK\ncontent-length: 100\n\ntoo short"))

    assert (result.http_status, result.error) == (200, None)


@pytest.mark.parametrize("text", ["", "nonsense\n\n"])
async def test_response_that_is_not_http_is_an_error(text: str) -> None:
    result, _ = await send(respond(text))

    assert result.http_status is None
    assert result.error == "The receiver closed the connection before it responded."


async def test_refused_connection_is_an_error() -> None:
    result = await post("http://127.0.0.1:9/", "{}", {}, LOOPBACK, 5)

    assert (result.http_status, result.error) == (None, "The connection to the receiver failed.")


async def test_forbidden_ip_address_gets_no_connection() -> None:
    result, received = await send(respond_status("204 No Content"), policy=NetworkPolicy((), "*"))

    assert result.http_status is None
    assert result.error is not None
    assert "127.0.0.1 belongs to this machine" in result.error
    assert received.heads == []


async def test_host_name_of_a_forbidden_ip_address_gets_no_connection() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.215.14", "10.0.0.1"]

    result = await post("http://shop.example.com/", "{}", {}, NetworkPolicy(), 5, resolve=resolve)

    assert result.error is not None
    assert "not public" in result.error
    assert "10.0.0.1" not in result.error


async def test_unknown_host_name_is_an_error() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError

    result = await post("http://shop.example.com/", "{}", {}, NetworkPolicy(), 5, resolve=resolve)

    assert result.error == "The name shop.example.com cannot be resolved."


async def test_proxy_and_netrc_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    result, received = await send(respond_status("204 No Content"))

    assert result.error is None
    assert "authorization" not in received.heads[0].lower()


@pytest.mark.parametrize("location", ["http://127.0.0.1:9/", "//[", "http://１２７.0.0.1/", "", "\tx"])  # noqa: RUF001
async def test_redirect_target_is_not_evaluated(location: str) -> None:
    result, received = await send(respond_status("307 Temporary Redirect", f"location: {location}"))

    assert result.http_status == 307
    assert "Use the URL it points to" in str(result.error)
    assert len(received.heads) == 1


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ftp://hook.example/", "https://"),
        ("http://a@hook.example/", "user name"),
        ("http://hook.example:81/", "PORTS"),
    ],
)
async def test_url_is_checked_again_when_it_is_called(url: str, expected: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise AssertionError("the name was resolved")

    result = await post(url, "{}", {}, NetworkPolicy(), 5, resolve=resolve)

    assert result.http_status is None
    assert expected in str(result.error)
