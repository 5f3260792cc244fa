"""Downloads one image from an untrusted URL, within limits. Every failure has a reason that the user can read."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

import httpx

from gql_imgproc.metrics import DOWNLOAD_BYTES, DOWNLOADS
from gql_imgproc.net.address_policy import NetworkPolicy, UrlProblem, UrlProblemCode, check_url
from gql_imgproc.net.checked_resolver import Resolve
from gql_imgproc.net.content_coding import decode_body
from gql_imgproc.net.download_cookies import DownloadCookies
from gql_imgproc.net.fetch_errors import (
    BodyTooLarge,
    FetchError,
    FetchErrorKind,
    NotStarted,
    status_advice,
    to_fetch_error,
)
from gql_imgproc.net.fetch_limits import FetchLimits
from gql_imgproc.net.host_categories import HostCategory
from gql_imgproc.net.host_headers import HostRule, headers_for
from gql_imgproc.net.hosts import split_host
from gql_imgproc.net.http_client import GuardedClient
from gql_imgproc.net.http_connection import Connection
from gql_imgproc.net.proxy import Proxy
from gql_imgproc.net.retry_after import parse_retry_after_s
from gql_imgproc.net.share_links import find_share_link
from gql_imgproc.net.target import Target, parse_target
from gql_imgproc.net.validators import NO_VALIDATORS, Validators

#: Limits for reading an error response to its end, in bytes and seconds. Up to here, that costs less than a new
#: connection.
DRAIN_BYTES = 16 * 1024
DRAIN_S = 0.2
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Download:
    """The body of a response and its validators; no data after a 304."""

    data: bytes
    validators: Validators

    @property
    def is_unchanged(self) -> bool:
        return not self.data


@dataclass(frozen=True, slots=True)
class _Redirect:
    location: str
    set_cookie: str


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
        rules: tuple[HostRule, ...] = (),
        proxy: Proxy | None = None,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._rules = rules
        self._proxy = proxy
        self._resolve = resolve
        self._ssl_context = ssl_context
        self._hosts = WeakValueDictionary[str, asyncio.Semaphore]()
        self._client: GuardedClient | None = None

    async def fetch(self, url: str) -> bytes:
        """Return the bytes at a URL, whatever their format. Raises FetchError."""
        return (await self.fetch_if_changed(url, NO_VALIDATORS)).data

    async def fetch_if_changed(self, url: str, known: Validators) -> Download:
        """Download a URL unless its host says that it still has the `known` validators. Raises FetchError.

        A redirect makes the download unconditional, and its result has no validators.
        """
        client = self._open()
        hosts: list[str] = []
        result = "OK"
        try:
            download = await self._fetch_shared(client, url, known, hosts)
            DOWNLOAD_BYTES.labels(_category(client, hosts).value).inc(len(download.data))
        except FetchError as error:
            result = error.kind.name
            raise
        except BaseException:
            # Cancelled, or an internal error, which is in the log.
            result = "ABORTED"
            raise
        finally:
            DOWNLOADS.labels(_category(client, hosts).value, result).inc()
        return download

    async def look_up(self, hosts: Iterable[str]) -> set[str]:
        """Start the lookups of hosts, each `name:port`, and return those whose names are not resolved in a moment."""
        if self._proxy is not None:
            return set()
        resolver = self._open().resolver
        # An invalid URL has no host.
        names = {split_host(host): host for host in hosts if host}
        return {names[late] for late in await resolver.look_up(names, self._limits.connect_s)}

    def host_category(self, name: str) -> HostCategory:
        """The category of a host name that was resolved a while ago."""
        return HostCategory.UNKNOWN if self._client is None else self._client.resolver.categories.get(name)

    async def _fetch_shared(self, client: GuardedClient, url: str, known: Validators, hosts: list[str]) -> Download:
        """Return the bytes at a URL, or those of the file that a share link leads to."""
        if (link := find_share_link(url)) is None:
            return await self._follow_redirects(client, url, known, hosts)
        if link.direct_url is None:
            raise FetchError(FetchErrorKind.SHARE_LINK, link.advice)
        try:
            download = await self._follow_redirects(client, link.direct_url, known, hosts)
        except FetchError as error:
            if error.http_status is None or error.retryable:
                raise
            message = f"{hosts[-1]} responded with status {error.http_status}. {link.advice}"
            raise FetchError(error.kind, message, http_status=error.http_status) from error
        if download.data[:100].lstrip().startswith(b"<"):
            raise FetchError(
                FetchErrorKind.SHARE_LINK, f"{hosts[-1]} sent a web page instead of the file. {link.advice}"
            )
        return download

    async def _follow_redirects(self, client: GuardedClient, url: str, known: Validators, hosts: list[str]) -> Download:
        """Return the bytes at the end of the redirects. Appends each requested host to `hosts`."""
        loop = asyncio.get_running_loop()
        visited: list[tuple[Target, str]] = []
        cookies = DownloadCookies()
        left_s = self._limits.total_s
        while True:
            target = self._parse_url(url, is_redirect=bool(visited))
            host = target.host
            hosts.append(host)
            # With a new cookie, a host may respond to the same URL with the image.
            step = target, cookies.header(target)
            if step in visited:
                raise FetchError(FetchErrorKind.TOO_MANY_REDIRECTS, f"{host} redirects in a loop.")
            if len(visited) > self._limits.max_redirects:
                raise FetchError(
                    FetchErrorKind.TOO_MANY_REDIRECTS,
                    f"The URL redirects more than {self._limits.max_redirects} times. Use the URL of the image itself.",
                )
            visited.append(step)
            # The limit is per host and port: another port is another server.
            limit = self._hosts.setdefault(f"{host}:{target.port}", asyncio.Semaphore(self._limits.per_host))
            started_at: float | None = None
            try:
                # Without a timer if there is nothing to wait for: timers cost CPU.
                async with asyncio.timeout(self._limits.limiter_wait_s if limit.locked() else None) as wait, limit:
                    wait.reschedule(None)
                    started_at = loop.time()
                    async with asyncio.timeout(left_s):
                        # Validators belong to one URL: where it leads to may change.
                        answer = await self._request(client, url, *step, NO_VALIDATORS if visited[1:] else known)
            except TimeoutError as error:
                cause = error if started_at is not None else NotStarted()
                raise to_fetch_error(cause, host, self._limits) from error
            if isinstance(answer, Download):
                return replace(answer, validators=NO_VALIDATORS) if visited[1:] else answer
            left_s -= loop.time() - started_at
            url = answer.location
            cookies.store(target, answer.set_cookie)

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
                proxy=self._proxy,
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

    async def _request(
        self, client: GuardedClient, url: str, target: Target, cookie: str, known: Validators
    ) -> Download | _Redirect:
        limits = self._limits
        headers = {**headers_for(target, self._rules), **known.request_headers}
        if cookie:
            headers["Cookie"] = cookie
        try:
            response = await client.request(
                "GET", target, headers, connect_s=limits.connect_s, read_s=limits.first_byte_s
            )
            try:
                if response.status == 304 and known:
                    return Download(b"", known)
                return await self._read_response(url, target.host, response)
            finally:
                client.release(response)
        except httpx.TransportError as error:
            raise to_fetch_error(error, target.host, limits) from error

    async def _read_response(self, url: str, host: str, response: Connection) -> Download | _Redirect:
        status = response.status
        if 200 <= status < 300 and status != 202:
            validators = Validators.from_headers(response.headers)
            return Download(await self._read_body(host, response), validators)
        with suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await response.read(DRAIN_BYTES)
        location = response.headers.get("location", "").strip()
        if status in _REDIRECT_STATUSES and location:
            return _Redirect(_join(url, location), response.headers.get("set-cookie", ""))
        retry_after_s = parse_retry_after_s(response.headers.get("retry-after", ""), time.time())
        has_retry_after = retry_after_s is not None
        raise FetchError(
            FetchErrorKind.from_status(status, has_retry_after=has_retry_after),
            f"{host} responded with status {status}. {status_advice(status, has_retry_after=has_retry_after)}",
            http_status=status,
            retry_after_s=retry_after_s,
        )

    async def _read_body(self, host: str, response: Connection) -> bytes:
        limit = self._limits.max_bytes
        # The parser accepts only digits.
        if int(response.headers.get("content-length", "0")) > limit:
            raise BodyTooLarge("The Content-Length is too large.")
        body = await response.read(limit)
        if not body:
            raise FetchError(FetchErrorKind.RESPONSE_EMPTY, f"{host} sent an empty response.")
        if encoding := response.headers.get("content-encoding"):
            return await asyncio.to_thread(decode_body, body, encoding, host, limit)
        return body


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
