"""Opens buckets of object stores.

obstore reads region, credentials and endpoint from the usual variables of each cloud, such as `AWS_REGION`. This module
reads only the variables that the service itself depends on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import ObjectStore, S3Store, from_url

from gql_imgproc.errors import ConfigurationError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

#: Variables that replace the cloud's own endpoint, by URL scheme; the first that is set takes precedence.
ENDPOINT_VARIABLES = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}


@dataclass(frozen=True, slots=True)
class StoreTimeouts:
    """Timeouts of a store in seconds; obstore's own default is three minutes.

    A download may take longer while data arrives, because its client may be slow.
    """

    connect_s: float = 5
    #: Longest wait for the next byte of a response.
    silence_s: float = 30
    #: One call with its retries.
    call_s: float = 60
    retries: int = 3


def open_bucket(url: str, timeouts: StoreTimeouts, public_endpoint: str = "") -> ObjectStore:
    """Open a bucket. With `public_endpoint`, the result is only for signing URLs of that endpoint."""
    if public_endpoint and os.environ.get("AWS_ENDPOINT_URL_S3"):
        raise ConfigurationError(
            "AWS_ENDPOINT_URL_S3 takes precedence over IMGPROC_STORAGE_PUBLIC_ENDPOINT. Set AWS_ENDPOINT_URL instead"
        )
    endpoint = public_endpoint or configured_endpoint(url)
    if endpoint and not _is_http_url(endpoint):
        raise ConfigurationError(
            f"{_endpoint_variable(url)} is `{endpoint}`: use a URL such as `https://s3.example:9000`"
        )
    client: ClientConfig = {
        # Unencrypted HTTP can be read and changed in transit, so only an `http://` endpoint allows it.
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=timeouts.connect_s),
        "read_timeout": timedelta(seconds=timeouts.silence_s),
        # For a whole download. `ObjectStore` sets the timeouts of all other calls.
        "timeout": timedelta(days=1),
    }
    retries: RetryConfig = {
        "max_retries": timeouts.retries,
        "retry_timeout": timedelta(seconds=timeouts.call_s / 2),
    }
    if public_endpoint:
        return S3Store.from_url(url, endpoint=public_endpoint, client_options=client, retry_config=retries)
    return from_url(url, client_options=client, retry_config=retries)


def configured_endpoint(url: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the endpoint that the environment sets; empty for the cloud's own."""
    return next((environment[name] for name in ENDPOINT_VARIABLES[url_scheme(url)] if environment.get(name)), "")


def url_scheme(url: str) -> str:
    return url.partition("://")[0]


def _is_http_url(endpoint: str) -> bool:
    try:
        return urlsplit(endpoint).scheme in ("http", "https") and bool(urlsplit(endpoint).hostname)
    except ValueError:
        return False


def _endpoint_variable(url: str) -> str:
    variables = (name for name in ENDPOINT_VARIABLES[url_scheme(url)] if os.environ.get(name))
    return next(variables, "IMGPROC_STORAGE_PUBLIC_ENDPOINT")
