"""A bucket of an object store: how it is reached, by us and by browsers.

Region, credentials and endpoint are read by obstore from the variables that every tool of the cloud reads, such as
`AWS_REGION`; those on which something of ours depends are looked at here too.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from obstore.store import ObjectStore, S3Store, from_url

from gql_imgproc.errors import ConfigurationError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

#: Variables that name another place than the cloud's own, by scheme; the first that is set is in force.
ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
#: Ends of names that only a private network knows.
PRIVATE_HOST_SUFFIXES = (".local", ".localhost", ".internal", ".intranet", ".lan", ".svc", ".home.arpa")


@dataclass(frozen=True, slots=True)
class StoreTimeouts:
    """How long a store may keep us, in seconds; obstore itself would wait for three minutes.

    A read may go on for as long as bytes come: whoever downloads may be slow.
    """

    connect_s: float = 5
    #: Without a byte of the answer.
    silence_s: float = 30
    #: For one call with its retries.
    call_s: float = 60
    retries: int = 3


@dataclass(frozen=True, slots=True)
class PublicEndpoint:
    """Browsers fetch objects themselves, by signed addresses at these origins."""

    origins: tuple[str, ...]
    #: What the addresses are signed for; empty where it is the endpoint that we use, too.
    endpoint: str = ""


def open_bucket(url: str, patience: StoreTimeouts, public_endpoint: str = "") -> ObjectStore:
    """The bucket; at `public_endpoint`, when it is given, to sign addresses for there."""
    if public_endpoint and os.environ.get("AWS_ENDPOINT_URL_S3"):
        raise ConfigurationError("AWS_ENDPOINT_URL_S3 would be signed for. Set AWS_ENDPOINT_URL in place of it")
    endpoint = public_endpoint or endpoint_of(url)
    if endpoint and not _is_address(endpoint):
        raise ConfigurationError(f"{_variable(url)} is `{endpoint}`: use an address such as `https://s3.example:9000`")
    client: ClientConfig = {
        # What is sent in the clear can be read and changed by others: only where somebody asked for it.
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=patience.connect_s),
        "read_timeout": timedelta(seconds=patience.silence_s),
        # The whole of a download; the deadlines for everything else are ours.
        "timeout": timedelta(days=1),
    }
    retries: RetryConfig = {
        "max_retries": patience.retries,
        "retry_timeout": timedelta(seconds=patience.call_s / 2),
    }
    if public_endpoint:
        return S3Store.from_url(url, endpoint=public_endpoint, client_options=client, retry_config=retries)
    return from_url(url, client_options=client, retry_config=retries)


def endpoint_of(url: str, environment: Mapping[str, str] = os.environ) -> str:
    """Where the environment says that the store is; empty for the cloud's own place."""
    return next((environment[name] for name in ENDPOINTS[_scheme(url)] if environment.get(name)), "")


def resolve_public_endpoint(
    url: str,
    redirects: Literal["auto", "on", "off"],
    public_endpoint: str,
    public_url: str,
    environment: Mapping[str, str] = os.environ,
) -> PublicEndpoint | None:
    """How browsers get at the objects of a store; None when they get them from us."""
    if url.startswith("file://") or redirects == "off":
        return None
    endpoint = public_endpoint or endpoint_of(url, environment)
    if not endpoint:
        return PublicEndpoint(_own_origins(url, environment))
    if not public_endpoint and redirects == "auto" and not _for_browsers(endpoint, public_url):
        return None
    parts = urlsplit(endpoint)
    return PublicEndpoint((f"{parts.scheme}://{parts.netloc}",), public_endpoint)


def _own_origins(url: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Where the cloud itself has the bucket."""
    match _scheme(url):
        case "s3":
            region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
            host = f"s3.{region}.amazonaws.com"
            return (f"https://{host}", f"https://{urlsplit(url).netloc}.{host}")
        case "gs":
            return ("https://storage.googleapis.com",)
        case _:
            return (f"https://{environment.get('AZURE_STORAGE_ACCOUNT_NAME', '*')}.blob.core.windows.net",)


def _for_browsers(endpoint: str, public_url: str) -> bool:
    """Whether who reaches us reaches the endpoint too, as far as an address tells, and by a way as safe."""
    host = urlsplit(endpoint).hostname or ""
    if public_url.startswith("https://") and not endpoint.startswith("https://"):
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(PRIVATE_HOST_SUFFIXES)


def _is_address(endpoint: str) -> bool:
    try:
        return urlsplit(endpoint).scheme in ("http", "https") and bool(urlsplit(endpoint).hostname)
    except ValueError:
        return False


def _variable(url: str) -> str:
    return next((name for name in ENDPOINTS[_scheme(url)] if os.environ.get(name)), "IMGPROC_STORAGE_PUBLIC_ENDPOINT")


def _scheme(url: str) -> str:
    return url.partition("://")[0]
