"""Parsers and checks of settings whose type alone does not restrict them enough. Each raises ValueError.

The message says what to use instead. It continues "`VALUE` cannot be used: ".
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.security.api_key import parse_api_key
from gql_imgproc.security.rate import RateLimit
from gql_imgproc.security.webhook_signature import parse_webhook_keys

Network = IPv4Network | IPv6Network

#: Longest delay before a retry, in seconds: 30 days.
MAX_DELAY_S = 30 * 86_400
#: URL schemes of the supported object stores.
BUCKET_SCHEMES = ("s3", "gs", "az")


def split_list(value: str) -> list[str]:
    """Splits a value such as `a, b`."""
    return [part.strip() for part in value.split(",") if part.strip()]


def parse_networks(value: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(part, strict=False) for part in split_list(value))
    except ValueError:
        raise ValueError("use networks such as `10.0.0.0/8` or `fd00::/8`, separated by commas") from None


def parse_ports(value: str) -> frozenset[int] | str:
    if value.strip() == "*":
        return "*"
    parts = split_list(value)
    if not parts or not all(re.fullmatch(r"[0-9]{1,5}", part) and 1 <= int(part) <= 65_535 for part in parts):
        raise ValueError("use ports from 1 to 65535, separated by commas, or `*` for any")
    return frozenset(map(int, parts))


def parse_delays(value: str) -> tuple[float, ...]:
    message = f"use seconds from 0 to {MAX_DELAY_S} (30 days), separated by commas, such as `1,5,30`"
    try:
        seconds = tuple(map(float, split_list(value)))
    except ValueError:
        raise ValueError(message) from None
    # Also false for NaN.
    if not all(0 <= delay <= MAX_DELAY_S for delay in seconds):
        raise ValueError(message)
    return seconds


def parse_rate(value: str) -> RateLimit | None:
    """Returns None for `0`, which means no limit."""
    return RateLimit.parse(value) if value.strip() != "0" else None


def check_database_url(value: str) -> str:
    # This import takes a quarter of a second, and the default does not need it.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    message = "use `sqlite:///PATH` or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`"
    if not value.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError(message)
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise ValueError(message) from None
    # In memory, each connection would have a separate database.
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ValueError("use `sqlite:///PATH` with the path of a file")
    return value


def check_redis_url(value: str) -> str:
    if not value.startswith(("redis://", "rediss://", "unix://")) or _split_url(value) is None:
        raise ValueError("use `redis://HOST:PORT/0`, `rediss://…` or `unix:///PATH`")
    return value


def check_storage_url(value: str) -> str:
    parts = _split_url(value)
    scheme = value.partition("://")[0]
    is_folder = scheme == "file" and parts and not parts.netloc and unquote(parts.path).startswith("/")
    is_bucket = scheme in BUCKET_SCHEMES and parts and parts.netloc
    # A query, a fragment or user info would be ignored, and the objects stored at an unexpected location.
    is_used_in_full = not re.search(r"[?#]", value) and "@" not in (parts.netloc if parts else "")
    if not ((is_folder or is_bucket) and is_used_in_full):
        raise ValueError("use `file:///PATH` for a folder, or `s3://BUCKET/PREFIX`, `gs://…` or `az://…` for a bucket")
    return value


def check_public_url(value: str) -> str:
    parts = _split_url(value)
    if not (
        parts
        and value.startswith(("http://", "https://"))
        and parts.hostname
        and not re.search(r"[\s\x00-\x1f\x7f<>\"\\^`{|}]", value)
        # Paths are appended to it, and everyone sees it.
        and not (parts.query or parts.fragment or parts.username or parts.password)
    ):
        raise ValueError("use a URL such as `https://images.example` or `http://127.0.0.1:8000`")
    return value.rstrip("/")


def check_endpoint(value: str) -> str:
    try:
        return check_public_url(value)
    except ValueError:
        raise ValueError("use a URL such as `https://s3.example` or `http://127.0.0.1:9000`") from None


def check_webhook_secret(value: str) -> None:
    try:
        keys = parse_webhook_keys(value)
    except ConfigurationError as error:
        raise ValueError(str(error).rstrip(".")) from None
    if not keys:
        # Only commas: webhooks would be sent unsigned although the operator meant to sign them.
        raise ValueError("Contains no key. Unset the variable to send unsigned webhooks")


def check_api_key(value: str) -> None:
    if parse_api_key(value) is None:
        raise ValueError("Not an API key, which starts with gip_. Check that the complete key was copied")


def _split_url(url: str) -> SplitResult | None:
    """Splits a URL; returns None if it is malformed or has an invalid port."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError for an invalid port
    except ValueError:
        return None
    return parts
