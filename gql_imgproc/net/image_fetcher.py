"""Fetches one picture from an address that a stranger wrote, within limits, and says why when it cannot."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import httpx

from gql_imgproc import __version__
from gql_imgproc.errors import ImageError
from gql_imgproc.metrics import DOWNLOAD_BYTES, DOWNLOADS
from gql_imgproc.net.address_policy import AddressProblemCode, NetworkPolicy, UrlProblem, check_url
from gql_imgproc.net.fetch_errors import FetchErrorKind, status_advice
from gql_imgproc.net.host_categories import HostClass
from gql_imgproc.net.http_client import (
    CertificateRejected,
    ConnectionStale,
    DownloadLimiter,
    ForbiddenAddress,
    GuardedTransport,
    HostNotFound,
    Resolve,
)
from gql_imgproc.net.retry_after import retry_after_s

#: What is read of an answer that is no picture, in bytes and seconds: so much is cheaper than a new connection.
DRAIN_BYTES = 16 * 1024
DRAIN_S = 0.2
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one picture, and of all downloads of a process together."""

    max_bytes: int
    connect_s: float
    #: Longest silence, before the first byte and between two.
    first_byte_s: float
    #: From the first connection to the last byte, redirects included; waiting for a slot is not.
    total_s: float
    concurrency: int
    per_host: int
    max_redirects: int = 5
    #: Longest wait for a slot: ten pictures at the total deadline.
    slot_wait_s: float = 600.0


@dataclass(frozen=True, slots=True)
class _Redirect:
    location: str


class FetchFailure(ImageError):
    """A picture that was not fetched, and by which fault of the table."""

    fault: FetchErrorKind


# A rate needs a value before the first event.
for _result in ("OK", *(fault.name for fault in FetchErrorKind)):
    DOWNLOADS.labels(HostClass.PUBLIC.value, _result)


class Fetcher:
    """Fetches pictures over kept-alive connections; opens at the first fetch, in the loop that asks for it."""

    def __init__(
        self,
        policy: NetworkPolicy,
        limits: FetchLimits,
        *,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._resolve = resolve
        self._ssl_context = ssl_context
        self._slots = DownloadLimiter(limits.concurrency, limits.per_host, limits.slot_wait_s)
        self._transport: GuardedTransport | None = None
        self._headers = [
            (b"User-Agent", f"gql_imgproc/{__version__}".encode()),
            (b"Accept", b"image/*,*/*;q=0.5"),
            # Compressed pictures gain nothing, and 300 KB can unpack to 160 MB.
            (b"Accept-Encoding", b"identity"),
        ]
        self._extensions = {
            "timeout": {
                "connect": limits.connect_s,
                "read": limits.first_byte_s,
                "write": limits.first_byte_s,
                "pool": limits.total_s,
            }
        }

    async def fetch(self, url: str) -> bytes:
        """The bytes at an address, whatever they are; raises ImageFailure."""
        transport = self._opened()
        hosts: list[str] = []
        result = "OK"
        try:
            data = await self._followed(transport, url, hosts)
            DOWNLOAD_BYTES.labels(_class_of(transport, hosts).value).inc(len(data))
        except FetchFailure as failure:
            result = failure.fault.name
            raise
        except BaseException:
            # Cancelled, or a fault of ours: the log tells of it.
            result = "BROKEN_OFF"
            raise
        finally:
            DOWNLOADS.labels(_class_of(transport, hosts).value, result).inc()
        return data

    async def _followed(self, transport: GuardedTransport, url: str, hosts: list[str]) -> bytes:
        """The bytes at the end of the redirects; `hosts` is told which were asked."""
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        left_s = self._limits.total_s
        while True:
            asked = self._checked(url, redirected=bool(seen))
            host = asked.raw_host.decode("ascii")
            hosts.append(host)
            if str(asked) in seen:
                raise _failure(FetchErrorKind.TOO_MANY_REDIRECTS, f"{host} redirects in a circle.")
            if len(seen) > self._limits.max_redirects:
                raise _failure(
                    FetchErrorKind.TOO_MANY_REDIRECTS,
                    f"The address redirects more than {self._limits.max_redirects} times. "
                    "Use the address at which the picture is.",
                )
            seen.append(str(asked))
            began: float | None = None
            try:
                # A host is a name and a port: behind another port is another server.
                async with self._slots.hold(f"{host}:{asked.port or asked.scheme}"):
                    began = loop.time()
                    async with asyncio.timeout(left_s):
                        answer = await self._ask(transport, asked, host)
            except TimeoutError as error:
                raise self._too_late(host, slot=began is not None) from error
            if isinstance(answer, bytes):
                return answer
            left_s -= loop.time() - began
            url = answer.location

    async def aclose(self) -> None:
        """Closes the connections; fetches under way fail."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    def _opened(self) -> GuardedTransport:
        # Outside of any deadline: reading the certificate authorities takes 30 ms, once.
        if self._transport is None:
            self._transport = GuardedTransport(
                self._policy,
                max_idle=self._limits.concurrency,
                resolve=self._resolve,
                ssl_context=self._ssl_context,
            )
        return self._transport

    def _checked(self, url: str, *, redirected: bool) -> httpx.URL:
        problem = check_url(url, self._policy)
        if problem is None:
            try:
                return httpx.URL(url)
            except (httpx.InvalidURL, UnicodeError):
                problem = UrlProblem(AddressProblemCode.INVALID, "The address cannot be read. Check its spelling.")
        message = f"The address redirects to another. {problem.message}" if redirected else problem.message
        forbidden = problem.code is AddressProblemCode.FORBIDDEN
        raise _failure(FetchErrorKind.ADDRESS_FORBIDDEN if forbidden else FetchErrorKind.ADDRESS_UNREADABLE, message)

    async def _ask(self, transport: GuardedTransport, url: httpx.URL, host: str) -> bytes | _Redirect:
        request = httpx.Request("GET", url, headers=self._headers, extensions=self._extensions)
        try:
            try:
                response = await transport.handle_async_request(request)
            except ConnectionStale:
                # The other idle connections to this host are seen to be closed by now; a second surprise is real.
                response = await transport.handle_async_request(request)
            try:
                return await self._answer(url, host, response)
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise self._explained(error, host) from error

    async def _answer(self, url: httpx.URL, host: str, response: httpx.Response) -> bytes | _Redirect:
        status = response.status_code
        if 200 <= status < 300:
            return await self._body(host, response)
        await _drain(response)
        location = response.headers.get("location", "").strip()
        if status in _REDIRECTS and location:
            return _Redirect(_joined(url, location))
        raise _failure(
            FetchErrorKind.of_status(status),
            f"{host} answered with status {status}. {status_advice(status)}",
            http_status=status,
            retry_after_s=retry_after_s(response.headers.get("retry-after", ""), time.time()),
        )

    async def _body(self, host: str, response: httpx.Response) -> bytes:
        limit = self._limits.max_bytes
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            raise _failure(
                FetchErrorKind.CONTENT_ENCODED,
                f"{host} sent the picture with the Content-Encoding {encoding[:40]!r}, which it was asked not to do. "
                "Switch compression off for pictures.",
            )
        length = response.headers.get("content-length", "")
        too_large = f"The picture is larger than the limit of {limit:,} bytes."
        if length.isascii() and length.isdigit() and int(length) > limit:
            raise _failure(FetchErrorKind.TOO_LARGE, too_large)
        # One growing buffer: a list of a million tiny chunks would take many times the bytes in them.
        body = bytearray()
        async with aclosing(_chunks(response)) as received:
            async for chunk in received:
                body += chunk
                if len(body) > limit:
                    raise _failure(FetchErrorKind.TOO_LARGE, too_large)
        if not body:
            raise _failure(FetchErrorKind.EMPTY_ANSWER, f"{host} sent an empty answer.")
        return bytes(body)

    def _too_late(self, host: str, *, slot: bool) -> ImageError:
        limits = self._limits
        if slot:
            return _failure(
                FetchErrorKind.TOO_SLOW, f"{host} did not send the whole picture within {limits.total_s:g} s."
            )
        return _failure(
            FetchErrorKind.NO_TURN,
            f"No download to {host} could begin within {limits.slot_wait_s:g} s; too many are under way.",
        )

    def _explained(self, error: httpx.TransportError, host: str) -> ImageError:
        """What an exception of the transport means for the picture. The order matters: subclasses first."""
        limits = self._limits
        match error:
            case ForbiddenAddress():
                return _failure(FetchErrorKind.ADDRESS_FORBIDDEN, error.problem.message)
            case CertificateRejected():
                return _failure(
                    FetchErrorKind.CERTIFICATE_INVALID, f"The TLS certificate of {host} is not valid: {error}."
                )
            case httpx.ConnectTimeout():
                return _failure(
                    FetchErrorKind.CONNECT_TIMEOUT, f"{host} could not be connected to in {limits.connect_s:g} s."
                )
            case httpx.TimeoutException():
                return _failure(FetchErrorKind.SILENT, f"{host} was silent for {limits.first_byte_s:g} s.")
            case HostNotFound():
                return _failure(FetchErrorKind.NAME_UNKNOWN, f"The host name {host} cannot be resolved.")
            case httpx.ConnectError():
                return _failure(FetchErrorKind.NOT_CONNECTED, f"{host} could not be connected to.")
            case _:
                return _failure(FetchErrorKind.BROKEN_ANSWER, f"{host} broke the connection or sent a broken answer.")


def _joined(url: httpx.URL, location: str) -> str:
    """Where a redirect leads; a whole address stays as the host wrote it, to be judged like any other."""
    # Spaces are common in this header, and browsers mend them.
    target = location.partition("#")[0].replace(" ", "%20")
    if target.startswith("//"):
        return f"{url.scheme}:{target}"
    if _SCHEME.match(target) is not None:
        return target
    try:
        return str(url.join(target))
    except (httpx.InvalidURL, UnicodeError):
        return target


def _chunks(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body as it comes, past httpx's decoders."""
    chunks = aiter(response.stream)  # type: ignore[arg-type]  # the stream of an asynchronous transport
    assert isinstance(chunks, AsyncGenerator)
    return chunks


async def _drain(response: httpx.Response) -> None:
    """Reads a short answer to its end, so that the connection can be used again; gives up early and silently."""
    size = 0
    try:
        async with asyncio.timeout(DRAIN_S), aclosing(_chunks(response)) as received:
            async for chunk in received:
                size += len(chunk)
                if size > DRAIN_BYTES:
                    return
    except (httpx.TransportError, TimeoutError):
        pass


def _class_of(transport: GuardedTransport, hosts: list[str]) -> HostClass:
    """That of the host that was asked last."""
    return transport.host_class(hosts[-1]) if hosts else HostClass.UNKNOWN


def _failure(
    fault: FetchErrorKind, message: str, *, http_status: int | None = None, retry_after_s: float | None = None
) -> FetchFailure:
    row = fault.value
    failure = FetchFailure(
        row.code,
        message,
        http_status=http_status,
        retryable=row.retryable,
        retry_after_s=retry_after_s if row.retryable else None,
    )
    failure.fault = fault
    return failure
