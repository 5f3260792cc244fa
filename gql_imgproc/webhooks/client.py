"""Sends one attempt of a webhook to a URL that a user supplied."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus

import httpx

from gql_imgproc import __version__
from gql_imgproc.net.address_policy import NetworkPolicy, check_url
from gql_imgproc.net.checked_resolver import Resolve
from gql_imgproc.net.fetch_errors import ForbiddenAddress, HostNotFound
from gql_imgproc.net.http_client import GuardedClient
from gql_imgproc.net.retry_after import parse_retry_after_s
from gql_imgproc.net.target import parse_target
from gql_imgproc.net.tls_errors import TlsFailed

log = logging.getLogger(__name__)

#: Bytes of a response body that are read before the connection is closed, so that an ordinary receiver can finish its
#: response. The body is ignored.
MAX_RESPONSE_BYTES = 64 * 1024

_HEADERS = {
    "content-type": "application/json",
    "user-agent": f"gql-imgproc/{__version__}",
    "accept-encoding": "identity",
}
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class DeliveryResponse:
    """The outcome of one attempt. It succeeded when `error`, a message for people, is None."""

    http_status: int | None
    error: str | None
    duration_ms: int
    #: The receiver's `Retry-After`, sent with 429 or 503.
    retry_after_s: float | None = None
    #: Whether nothing was sent because of this service.
    is_own_error: bool = False

    @property
    def is_gone(self) -> bool:
        """Whether the receiver responded with 410, which ends all attempts."""
        return self.http_status == HTTPStatus.GONE


async def post(
    url: str,
    payload: str,
    headers: Mapping[str, str],
    policy: NetworkPolicy,
    timeout_s: float,
    *,
    resolve: Resolve | None = None,
) -> DeliveryResponse:
    """Sends JSON text. `timeout_s` covers everything from the DNS lookup to the response. Raises nothing."""
    # Checked again: the operator may have restricted the allowed networks since the upload.
    if (problem := check_url(url, policy)) is not None:
        return DeliveryResponse(None, problem.message, 0)
    started_at = time.monotonic()
    status: int | None = None
    pause_s: float | None = None
    # A new connection per attempt: webhooks are rare, and most go to different hosts.
    client = GuardedClient(policy, max_idle=0, resolve=resolve, ssl_context=_tls())
    try:
        status, pause_s = await _exchange(client, url, {**_HEADERS, **headers}, payload.encode(), timeout_s)
        error = _status_error(status)
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError) as exception:
        error = _error_message(exception, timeout_s)
    except Exception:
        # Not raised: an attempt that is not recorded would be repeated at once, without end.
        log.exception("internal error while sending a webhook")
        error = "Internal error while sending the webhook. The service's log has the details."
    finally:
        await client.aclose()
    return DeliveryResponse(status, error, round((time.monotonic() - started_at) * 1000), pause_s)


async def _exchange(
    client: GuardedClient, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float
) -> tuple[int, float | None]:
    """Returns the status, and for how many seconds the receiver wants no request."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    async with asyncio.timeout_at(deadline):
        response = await client.request("POST", parse_target(url), headers, body, connect_s=timeout_s, read_s=timeout_s)
    try:
        # The status decides, even if the rest of the response fails.
        with suppress(TimeoutError, httpx.HTTPError, OSError):
            async with asyncio.timeout_at(deadline):
                await response.read(MAX_RESPONSE_BYTES)
        is_busy, pause = response.status in _BUSY, response.headers.get("retry-after", "")
        return response.status, parse_retry_after_s(pause, time.time()) if is_busy else None
    finally:
        client.release(response)


@cache
def _tls() -> ssl.SSLContext:
    """Cached, since loading all certificate authorities is slow."""
    return httpx.create_ssl_context()


def _status_error(status: int) -> str | None:
    """Why a response with this status is not a success; None for a success."""
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"The receiver answered with a redirect ({status}), which is not followed. Use the URL it points to."
    if status == HTTPStatus.GONE:
        return "The receiver answered with status 410 (Gone), so it is not called again."
    return f"The receiver answered with status {status}."


def _error_message(exception: Exception, timeout_s: float) -> str:
    """Why no response arrived."""
    match exception:
        case ForbiddenAddress() | HostNotFound():
            return str(exception)
        case TlsFailed():
            return f"TLS with the receiver failed: {exception}."
        case TimeoutError() | httpx.TimeoutException():
            return f"The receiver did not respond within {timeout_s:g} seconds."
        case httpx.ConnectError():
            return "The connection to the receiver failed."
        case httpx.InvalidURL() | httpx.UnsupportedProtocol():
            return "The webhook URL is invalid."
        case _:
            return "The receiver closed the connection before it responded."
