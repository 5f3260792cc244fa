"""Sends one webhook once, to an address that a stranger wrote."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus

import httpx

from gql_imgproc import __version__
from gql_imgproc.core.netguard import NetworkPolicy
from gql_imgproc.io.guarded_http import AddressRefused, GuardedTransport, NameUnknown, Resolve
from gql_imgproc.io.stream import CertificateRefused

log = logging.getLogger(__name__)

#: How much of an answer's body is read before the connection is closed, so that an ordinary receiver can finish
#: its answer; it is not looked at.
MAX_ANSWER_BYTES = 64 * 1024

_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Answer:
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
) -> Answer:
    """Sends JSON text. `timeout_s` is for all of it, from the name's look-up to the answer; raises nothing."""
    began = time.monotonic()
    status: int | None = None
    error: str | None = None
    retry_after_s = None
    # A connection of its own, kept for nobody: webhooks are rare, and most go to different hosts.
    transport = GuardedTransport(policy, max_idle=0, resolve=resolve, ssl_context=_tls())
    # Without the environment: its proxies and passwords are not for an address that a stranger wrote.
    client = httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False, timeout=timeout_s)
    async with client:
        try:
            async with (
                asyncio.timeout(timeout_s),
                client.stream("POST", url, content=payload.encode(), headers=_headers(headers)) as response,
            ):
                status = response.status_code
                retry_after_s = _retry_after_s(response)
                await _drop_body(response)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError) as failure:
            error = _sentence(failure, timeout_s)
        except Exception:
            # Not passed on: a try without a record would be made again at once, for ever.
            log.exception("webhook failed by a fault of ours")
            error = "The try failed by a fault of the service. Its log tells more."
    if status is not None:
        # The receiver has decided; how its answer goes on does not matter.
        error = _refusal(status)
    return Answer(status, error, round((time.monotonic() - began) * 1000), retry_after_s)


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
    async for chunk in response.aiter_raw():
        received += len(chunk)
        if received >= MAX_ANSWER_BYTES:
            return


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
        case AddressRefused() | NameUnknown():
            return str(failure)
        case CertificateRefused():
            return f"The receiver's TLS certificate is not valid: {failure}."
        case TimeoutError() | httpx.TimeoutException():
            return f"No answer came within {timeout_s:g} seconds."
        case httpx.ConnectError():
            return "The receiver could not be connected to."
        case httpx.InvalidURL() | httpx.UnsupportedProtocol():
            return "The webhook address cannot be read."
        case _:
            return "The receiver broke the connection off before it answered."


def _retry_after_s(response: httpx.Response) -> float | None:
    text = response.headers.get("retry-after", "").strip()
    if response.status_code not in _BUSY or not text:
        return None
    if text.isascii() and text.isdigit():
        # Cut, because no number of more digits is meant; the caller has a limit of its own.
        return float(text[:9])
    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds)
