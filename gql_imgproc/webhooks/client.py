"""Sends one webhook once, to an address that a stranger wrote."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus

import httpx

from gql_imgproc import __version__
from gql_imgproc.net.address_policy import NetworkPolicy, check_url
from gql_imgproc.net.http_client import CertificateRejected, ForbiddenAddress, GuardedTransport, HostNotFound, Resolve
from gql_imgproc.net.retry_after import retry_after_s

log = logging.getLogger(__name__)

#: How much of an answer's body is read before the connection is closed, so that an ordinary receiver can finish
#: its answer; it is not looked at.
MAX_ANSWER_BYTES = 64 * 1024

_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class DeliveryResponse:
    """What came of a try; it was taken when there is no `error`, which is a sentence for people."""

    http_status: int | None
    error: str | None
    duration_ms: int
    #: How long the receiver asked to be left alone, together with 429 or 503.
    retry_after_s: float | None = None

    @property
    def gone(self) -> bool:
        """Whether the receiver asked never to be called again."""
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
    """Sends JSON text. `timeout_s` is for all of it, from the name's look-up to the answer; raises nothing."""
    # Again, after the upload: the owner may have closed what was open then.
    if (problem := check_url(url, policy)) is not None:
        return DeliveryResponse(None, problem.message, 0)
    began = time.monotonic()
    status: int | None = None
    error: str | None = None
    pause_s: float | None = None
    # A connection of its own, kept for nobody: webhooks are rare, and most go to different hosts.
    transport = GuardedTransport(policy, max_idle=0, resolve=resolve, ssl_context=_tls())
    try:
        # Without httpx's client: it minds cookies, passwords and proxies, and stumbles over where a redirect leads.
        async with asyncio.timeout(timeout_s):
            request = httpx.Request(
                "POST",
                url,
                content=payload.encode(),
                headers=_headers(headers),
                extensions={"timeout": {"connect": timeout_s}},
            )
            response = await transport.handle_async_request(request)
            status = response.status_code
            if status in _BUSY:
                pause_s = retry_after_s(response.headers.get("retry-after", ""), time.time())
            await _drop_body(response)
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError) as failure:
        error = _sentence(failure, timeout_s)
    except Exception:
        # Not passed on: a try without a record would be made again at once, for ever.
        log.exception("webhook failed by a fault of ours")
        error = "The try failed by a fault of the service. Its log tells more."
    finally:
        await transport.aclose()
    if status is not None:
        # The receiver has decided; how its answer goes on does not matter.
        error = _refusal(status)
    return DeliveryResponse(status, error, round((time.monotonic() - began) * 1000), pause_s)


@cache
def _tls() -> ssl.SSLContext:
    """Reading all certificate authorities takes a while, so it is done once."""
    return httpx.create_ssl_context()


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "user-agent": f"gql-imgproc/{__version__}",
        "accept-encoding": "identity",
        **headers,
    }


async def _drop_body(response: httpx.Response) -> None:
    received = 0
    try:
        async for chunk in response.aiter_raw():
            received += len(chunk)
            if received >= MAX_ANSWER_BYTES:
                return
    finally:
        await response.aclose()


def _refusal(status: int) -> str | None:
    """Why an answer with this status means that the webhook was not taken; None when it was."""
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"The receiver answered with a redirect ({status}), which is not followed. Give the address it leads to."
    if status == HTTPStatus.GONE:
        return "The receiver answered with status 410 (gone), so nothing more is sent to it."
    return f"The receiver answered with status {status}."


def _sentence(failure: Exception, timeout_s: float) -> str:
    """Why no answer came."""
    match failure:
        case ForbiddenAddress() | HostNotFound():
            return str(failure)
        case CertificateRejected():
            return f"The receiver's TLS certificate is not valid: {failure}."
        case TimeoutError() | httpx.TimeoutException():
            return f"No answer came within {timeout_s:g} seconds."
        case httpx.ConnectError():
            return "The receiver could not be connected to."
        case httpx.InvalidURL() | httpx.UnsupportedProtocol():
            return "The webhook address cannot be read."
        case _:
            return "The receiver broke the connection off before it answered."
