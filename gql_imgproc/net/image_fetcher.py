"""Downloads one image from an untrusted URL, within limits. Every failure has a reason that the user can read."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakValueDictionary

import httpx

from gql_imgproc import __version__
from gql_imgproc.metrics import DOWNLOAD_BYTES, DOWNLOADS
from gql_imgproc.net.address_policy import NetworkPolicy, UrlProblem, UrlProblemCode, check_url
from gql_imgproc.net.checked_resolver import Resolve
from gql_imgproc.net.fetch_errors import (
    BodyTooLarge,
    CertificateRejected,
    FetchError,
    FetchErrorKind,
    ForbiddenAddress,
    HostNotFound,
    status_advice,
)
from gql_imgproc.net.host_categories import HostCategory
from gql_imgproc.net.hosts import split_host
from gql_imgproc.net.http_client import GuardedClient
from gql_imgproc.net.http_connection import Connection
from gql_imgproc.net.retry_after import parse_retry_after_s
from gql_imgproc.net.target import Target, parse_target

#: Limits for reading an error response to its end, in bytes and seconds. Up to here, that costs less than a new
#: connection.
DRAIN_BYTES = 16 * 1024
DRAIN_S = 0.2
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HEADERS = {
    "User-Agent": f"gql_imgproc/{__version__}",
    "Accept": "image/*,*/*;q=0.5",
    # Images do not get smaller by gzip, and 300 KB can unpack to 160 MB.
    "Accept-Encoding": "identity",
}
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one download, and of all downloads of a process."""

    max_bytes: int
    connect_s: float
    #: Longest wait for the first byte, and for each following chunk.
    first_byte_s: float
    #: From the first connection to the last byte, including redirects. Waiting for the limit of a host does not count.
    total_s: float
    max_idle: int
    #: Concurrent downloads per host. Budgets limit the hosts of a CSV; this also limits those that they redirect to.
    per_host: int
    max_redirects: int = 5
    #: Longest wait for the limit of a host: ten downloads that take `total_s`.
    limiter_wait_s: float = 600.0


@dataclass(frozen=True, slots=True)
class _Redirect:
    location: str


# Created at import: a rate needs a value before the first event.
for _result in ("OK", *(kind.name for kind in FetchErrorKind)):
    DOWNLOADS.labels(HostCategory.PUBLIC.value, _result)


class ImageFetcher:
    """Downloads images over kept-alive connections. Belongs to the event loop of the first fetch."""

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
        self._hosts = WeakValueDictionary[str, asyncio.Semaphore]()
        self._client: GuardedClient | None = None

    async def fetch(self, url: str) -> bytes:
        """Return the bytes at a URL, whatever their format. Raises FetchError."""
        client = self._open()
        hosts: list[str] = []
        result = "OK"
        try:
            data = await self._follow_redirects(client, url, hosts)
            DOWNLOAD_BYTES.labels(_category(client, hosts).value).inc(len(data))
        except FetchError as error:
            result = error.kind.name
            raise
        except BaseException:
            # Cancelled, or an internal error, which is in the log.
            result = "ABORTED"
            raise
        finally:
            DOWNLOADS.labels(_category(client, hosts).value, result).inc()
        return data

    async def look_up(self, hosts: Iterable[str]) -> set[str]:
        """Start the lookups of hosts, each `name:port`, and return those whose names are not resolved in a moment."""
        resolver = self._open().resolver
        # An invalid URL has no host.
        names = {split_host(host): host for host in hosts if host}
        return {names[late] for late in await resolver.look_up(names, self._limits.connect_s)}

    def host_category(self, name: str) -> HostCategory:
        """The category of a host name that was resolved a while ago."""
        return HostCategory.UNKNOWN if self._client is None else self._client.resolver.categories.get(name)

    async def _follow_redirects(self, client: GuardedClient, url: str, hosts: list[str]) -> bytes:
        """Return the bytes at the end of the redirects. Appends each requested host to `hosts`."""
        loop = asyncio.get_running_loop()
        visited: list[Target] = []
        left_s = self._limits.total_s
        while True:
            target = self._parse_url(url, is_redirect=bool(visited))
            host = target.host
            hosts.append(host)
            if target in visited:
                raise FetchError(FetchErrorKind.TOO_MANY_REDIRECTS, f"{host} redirects in a loop.")
            if len(visited) > self._limits.max_redirects:
                raise FetchError(
                    FetchErrorKind.TOO_MANY_REDIRECTS,
                    f"The URL redirects more than {self._limits.max_redirects} times. Use the URL of the image itself.",
                )
            visited.append(target)
            # The limit is per host and port: another port is another server.
            limit = self._hosts.setdefault(f"{host}:{target.port}", asyncio.Semaphore(self._limits.per_host))
            started_at: float | None = None
            try:
                # Without a timer if there is nothing to wait for: timers cost CPU.
                async with asyncio.timeout(self._limits.limiter_wait_s if limit.locked() else None) as wait, limit:
                    wait.reschedule(None)
                    started_at = loop.time()
                    async with asyncio.timeout(left_s):
                        answer = await self._request(client, url, target)
            except TimeoutError as error:
                raise self._timeout_error(host, has_started=started_at is not None) from error
            if isinstance(answer, bytes):
                return answer
            left_s -= loop.time() - started_at
            url = answer.location

    async def aclose(self) -> None:
        """Close the connections. Downloads in progress fail."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _open(self) -> GuardedClient:
        # Outside of any deadline: loading the certificate authorities takes 30 ms, once.
        if self._client is None:
            self._client = GuardedClient(
                self._policy,
                max_idle=self._limits.max_idle,
                resolve=self._resolve,
                ssl_context=self._ssl_context,
            )
        return self._client

    def _parse_url(self, url: str, *, is_redirect: bool) -> Target:
        problem = check_url(url, self._policy)
        if problem is None:
            try:
                return parse_target(url)
            except (httpx.InvalidURL, UnicodeError):
                problem = UrlProblem(UrlProblemCode.INVALID, "The URL is invalid. Check its spelling.")
        message = f"The URL redirects to another URL. {problem.message}" if is_redirect else problem.message
        is_forbidden = problem.code is UrlProblemCode.FORBIDDEN
        raise FetchError(FetchErrorKind.HOST_FORBIDDEN if is_forbidden else FetchErrorKind.URL_INVALID, message)

    async def _request(self, client: GuardedClient, url: str, target: Target) -> bytes | _Redirect:
        limits = self._limits
        try:
            response = await client.request(
                "GET", target, _HEADERS, connect_s=limits.connect_s, read_s=limits.first_byte_s
            )
            try:
                return await self._read_response(url, target.host, response)
            finally:
                client.release(response)
        except httpx.TransportError as error:
            raise self._to_fetch_error(error, target.host) from error

    async def _read_response(self, url: str, host: str, response: Connection) -> bytes | _Redirect:
        status = response.status
        if 200 <= status < 300:
            return await self._read_body(host, response)
        with suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await response.read(DRAIN_BYTES)
        location = response.headers.get("location", "").strip()
        if status in _REDIRECT_STATUSES and location:
            return _Redirect(_join(url, location))
        raise FetchError(
            FetchErrorKind.from_status(status),
            f"{host} responded with status {status}. {status_advice(status)}",
            http_status=status,
            retry_after_s=parse_retry_after_s(response.headers.get("retry-after", ""), time.time()),
        )

    async def _read_body(self, host: str, response: Connection) -> bytes:
        limit = self._limits.max_bytes
        encoding = response.headers.get("content-encoding", "").lower()
        if encoding not in ("", "identity"):
            raise FetchError(
                FetchErrorKind.CONTENT_ENCODED,
                f"{host} sent the image with the Content-Encoding {encoding[:40]!r}, although the request forbids it. "
                "Disable compression for images on that host.",
            )
        # The parser accepts only digits.
        if int(response.headers.get("content-length", "0")) > limit:
            raise BodyTooLarge("The Content-Length is too large.")
        body = await response.read(limit)
        if not body:
            raise FetchError(FetchErrorKind.RESPONSE_EMPTY, f"{host} sent an empty response.")
        return body

    def _timeout_error(self, host: str, *, has_started: bool) -> FetchError:
        limits = self._limits
        if has_started:
            return FetchError(
                FetchErrorKind.TOTAL_TIMEOUT, f"{host} did not send the whole image within {limits.total_s:g} s."
            )
        return FetchError(
            FetchErrorKind.LIMITER_TIMEOUT,
            f"The download from {host} could not start within {limits.limiter_wait_s:g} s: "
            "too many downloads are in progress.",
        )

    def _to_fetch_error(self, error: httpx.TransportError, host: str) -> FetchError:
        # The order matters: subclasses first.
        limits = self._limits
        match error:
            case BodyTooLarge():
                return FetchError(
                    FetchErrorKind.TOO_LARGE, f"The image is larger than the limit of {limits.max_bytes:,} bytes."
                )
            case ForbiddenAddress():
                return FetchError(FetchErrorKind.HOST_FORBIDDEN, error.problem.message)
            case CertificateRejected():
                return FetchError(
                    FetchErrorKind.CERTIFICATE_INVALID, f"The TLS certificate of {host} is invalid: {error}."
                )
            case httpx.ConnectTimeout():
                return FetchError(
                    FetchErrorKind.CONNECT_TIMEOUT, f"Could not connect to {host} within {limits.connect_s:g} s."
                )
            case httpx.TimeoutException():
                return FetchError(FetchErrorKind.READ_TIMEOUT, f"{host} sent no data for {limits.first_byte_s:g} s.")
            case HostNotFound():
                return FetchError(
                    FetchErrorKind.NAME_NOT_RESOLVED,
                    f"The host name {host} cannot be resolved. Check the spelling of the URL.",
                )
            case httpx.ConnectError():
                return FetchError(
                    FetchErrorKind.NOT_CONNECTED,
                    f"Could not connect to {host}. Check the URL, or retry when the host is available.",
                )
            case _:
                return FetchError(
                    FetchErrorKind.RESPONSE_BROKEN, f"{host} closed the connection or sent a malformed response."
                )


def _join(url: str, location: str) -> str:
    """Return the URL of a redirect. An absolute URL stays as the host wrote it, to be checked like any other."""
    # Spaces are common in this header, and browsers encode them.
    target = location.partition("#")[0].replace(" ", "%20")
    if target.startswith("//"):
        return f"{url.partition(':')[0]}:{target}"
    if _SCHEME.match(target) is not None:
        return target
    try:
        return str(httpx.URL(url).join(target))
    except (httpx.InvalidURL, UnicodeError):
        return target


def _category(client: GuardedClient, hosts: list[str]) -> HostCategory:
    """The category of the host that was requested last."""
    return client.resolver.categories.get(hosts[-1]) if hosts else HostCategory.UNKNOWN
