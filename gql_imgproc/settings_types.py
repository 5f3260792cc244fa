"""What a setting may be, where its type alone does not say it: each function returns the value or raises ValueError.

The message of that ValueError says what to use instead; it goes on from "`VALUE` cannot be used: ".
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

#: Longest pause before a new try, in seconds: 30 days. Nobody waits longer, and dates stay within a calendar.
LONGEST_DELAY_S = 30 * 86_400
#: Stores that are opened, and tested; a folder has its own form.
BUCKETS = ("s3", "gs", "az")


def split_list(value: str) -> list[str]:
    """`a, b` from an environment variable, as a list."""
    return [part.strip() for part in value.split(",") if part.strip()]


def networks(value: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(part, strict=False) for part in split_list(value))
    except ValueError:
        raise ValueError("use networks such as `10.0.0.0/8` or `fd00::/8`, separated by commas") from None


def ports(value: str) -> frozenset[int] | str:
    if value.strip() == "*":
        return "*"
    parts = split_list(value)
    if not parts or not all(re.fullmatch(r"[0-9]{1,5}", part) and 1 <= int(part) <= 65_535 for part in parts):
        raise ValueError("use ports from 1 to 65535, separated by commas, or `*` for any")
    return frozenset(map(int, parts))


def delays(value: str) -> tuple[float, ...]:
    message = f"use seconds from 0 to {LONGEST_DELAY_S} (30 days), separated by commas, such as `1,5,30`"
    try:
        seconds = tuple(map(float, split_list(value)))
    except ValueError:
        raise ValueError(message) from None
    # Also false for what is not a number.
    if not all(0 <= delay <= LONGEST_DELAY_S for delay in seconds):
        raise ValueError(message)
    return seconds


def rate(value: str) -> RateLimit | None:
    """So many in so long; None for 0, which is no limit."""
    return RateLimit.parse(value) if value.strip() != "0" else None


def database_url(value: str) -> str:
    # An import of a quarter of a second, for which the default needs not wait.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    message = "use `sqlite:///PATH` or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`"
    if not value.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError(message)
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise ValueError(message) from None
    # In memory, each connection would have a database of its own.
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ValueError("use `sqlite:///PATH` with the path of a file")
    return value


def redis_url(value: str) -> str:
    if not value.startswith(("redis://", "rediss://", "unix://")) or _parts(value) is None:
        raise ValueError("use `redis://HOST:PORT/0`, `rediss://…` or `unix:///PATH`")
    return value


def storage_url(value: str) -> str:
    parts = _parts(value)
    scheme = value.partition("://")[0]
    folder = scheme == "file" and parts and not parts.netloc and unquote(parts.path).startswith("/")
    bucket = scheme in BUCKETS and parts and parts.netloc
    # What is behind these signs, or before an @, would be passed over: another place than was meant.
    whole = not re.search(r"[?#]", value) and "@" not in (parts.netloc if parts else "")
    if not ((folder or bucket) and whole):
        raise ValueError("use `file:///PATH` for a folder, or `s3://BUCKET/PREFIX`, `gs://…` or `az://…` for a bucket")
    return value


def public_url(value: str) -> str:
    parts = _parts(value)
    if not (
        parts
        and value.startswith(("http://", "https://"))
        and parts.hostname
        and not re.search(r"[\s\x00-\x1f\x7f<>\"\\^`{|}]", value)
        # Paths are added to it, and it is shown to everybody.
        and not (parts.query or parts.fragment or parts.username or parts.password)
    ):
        raise ValueError("use an address such as `https://pictures.example` or `http://127.0.0.1:8000`")
    return value.rstrip("/")


def endpoint(value: str) -> str:
    try:
        return public_url(value)
    except ValueError:
        raise ValueError("use an address such as `https://s3.example` or `http://127.0.0.1:9000`") from None


def webhook_secret(value: str) -> None:
    try:
        keys = parse_webhook_keys(value)
    except ConfigurationError as error:
        raise ValueError(str(error).rstrip(".")) from None
    if not keys:
        # Commas alone: webhooks would go out unsigned though somebody meant them to be signed.
        raise ValueError("There is no key in it; unset it to send webhooks unsigned")


def api_key(value: str) -> None:
    if parse_api_key(value) is None:
        raise ValueError("It is no API key: those begin with gip_. Check that it was copied as a whole")


def _parts(url: str) -> SplitResult | None:
    """The parts of an address; None when it has none, or a port that is no port."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - looking at it raises ValueError
    except ValueError:
        return None
    return parts
