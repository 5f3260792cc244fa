"""How browsers reach the objects of a bucket: by presigned URLs at a public endpoint."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from gql_imgproc.storage.cloud import configured_endpoint, url_scheme

#: Suffixes of names that exist only in private networks.
PRIVATE_HOST_SUFFIXES = (".local", ".localhost", ".internal", ".intranet", ".lan", ".svc", ".home.arpa")


@dataclass(frozen=True, slots=True)
class PublicEndpoint:
    """Browsers download objects from these origins, by presigned URLs."""

    origins: tuple[str, ...]
    #: The endpoint for which URLs are signed; empty if it is the one that the service uses.
    endpoint: str = ""


def resolve_public_endpoint(
    url: str,
    redirects: Literal["auto", "on", "off"],
    public_endpoint: str,
    public_url: str,
    environment: Mapping[str, str] = os.environ,
) -> PublicEndpoint | None:
    """Return where browsers reach the objects of a store; None if the API must serve them."""
    if url.startswith("file://") or redirects == "off":
        return None
    endpoint = public_endpoint or configured_endpoint(url, environment)
    if not endpoint:
        return PublicEndpoint(_cloud_origins(url, environment))
    if not public_endpoint and redirects == "auto" and not _is_public(endpoint, public_url):
        return None
    parts = urlsplit(endpoint)
    return PublicEndpoint((f"{parts.scheme}://{parts.netloc}",), public_endpoint)


def _cloud_origins(url: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    match url_scheme(url):
        case "s3":
            region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
            host = f"s3.{region}.amazonaws.com"
            return (f"https://{host}", f"https://{urlsplit(url).netloc}.{host}")
        case "gs":
            return ("https://storage.googleapis.com",)
        case _:
            return (f"https://{environment.get('AZURE_STORAGE_ACCOUNT_NAME', '*')}.blob.core.windows.net",)


def _is_public(endpoint: str, public_url: str) -> bool:
    """Whether browsers can reach the endpoint, as far as its URL shows, and as securely as the service itself."""
    host = urlsplit(endpoint).hostname or ""
    if public_url.startswith("https://") and not endpoint.startswith("https://"):
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(PRIVATE_HOST_SUFFIXES)
