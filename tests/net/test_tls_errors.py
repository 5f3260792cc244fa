"""TLS failures are permanent and say why, for downloads and webhooks."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.webhooks import client
from tests.support.image_host import LOOPBACK, fetch_error, open_fetcher, resolve_to, send_image, serve
from tests.support.tls import reject_handshake

NO_TLS = "this port does not speak TLS; try http://"
OLD = "protocol too old; the host must offer TLS 1.2 or newer with ciphers of today"


def server_context(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def assert_failure(
    monkeypatch: pytest.MonkeyPatch, trusting: ssl.SSLContext, port: int, cause: str, name: str = "images.test"
) -> None:
    """Both clients report the cause, and the image is not tried again."""
    monkeypatch.setattr(client, "_tls", lambda: trusting)
    url = f"https://{name}:{port}/a.jpg"

    async with open_fetcher(resolve=resolve_to("127.0.0.1"), ssl_context=trusting) as fetcher:
        error = await fetch_error(fetcher, url)
    response = await client.post(url, "{}", {}, LOOPBACK, 5, resolve=resolve_to("127.0.0.1"))

    assert (error.code, error.retryable) == (ImageErrorCode.UNREACHABLE, False)
    assert error.message == f"TLS with {name} failed: {cause}."
    assert response.error == f"TLS with the receiver failed: {cause}."


async def test_expired_certificate(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, expired_certificate: Path
) -> None:
    for authority in (expired_certificate, certificate):
        trusting = ssl.create_default_context(cafile=str(authority / "cert.pem"))
        async with serve(send_image, tls=server_context(expired_certificate)) as host:
            await assert_failure(monkeypatch, trusting, host.port, "certificate expired on 2025-01-01")


async def test_certificate_of_another_name(
    monkeypatch: pytest.MonkeyPatch, tls_server: ssl.SSLContext, tls_trusting: ssl.SSLContext
) -> None:
    cause = "name does not match; the certificate is for images.test"
    async with serve(send_image, tls=tls_server) as host:
        await assert_failure(monkeypatch, tls_trusting, host.port, cause, "other.test")
        await assert_failure(monkeypatch, tls_trusting, host.port, cause, "127.0.0.1")


async def test_certificate_of_an_unknown_authority(monkeypatch: pytest.MonkeyPatch, tls_server: ssl.SSLContext) -> None:
    cause = (
        "certificate of an unknown authority (self-signed certificate); the host must send all intermediate "
        "certificates, or the operator can add an authority with SSL_CERT_FILE"
    )
    async with serve(send_image, tls=tls_server) as host:
        await assert_failure(monkeypatch, ssl.create_default_context(), host.port, cause)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_old_protocol(monkeypatch: pytest.MonkeyPatch, certificate: Path, tls_trusting: ssl.SSLContext) -> None:
    context = server_context(certificate)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")

    with reject_handshake(context) as port:
        await assert_failure(monkeypatch, tls_trusting, port, OLD)


async def test_port_without_tls(monkeypatch: pytest.MonkeyPatch, tls_trusting: ssl.SSLContext) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        await assert_failure(monkeypatch, tls_trusting, server.sockets[0].getsockname()[1], NO_TLS)
