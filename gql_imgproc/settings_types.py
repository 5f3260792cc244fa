"""Types of the settings: how the text of a variable is parsed and checked. The messages say what to use instead.

URLs stay the text that their clients parse. pydantic's own types do not fit: `RedisDsn` refuses Unix sockets, and
`PostgresDsn` refuses passwords that SQLAlchemy accepts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    SecretStr,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_settings import NoDecode

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.security.api_key import parse_api_key
from gql_imgproc.security.rate import RateLimit
from gql_imgproc.security.secret_encryption import parse_secrets_keys
from gql_imgproc.security.webhook_signature import parse_webhook_keys
from gql_imgproc.settings_files import FROM_FILE
from gql_imgproc.settings_hosts import read_host_rules

MiB = 1024 * 1024
Network = IPv4Network | IPv6Network

#: Longest duration, in seconds. More than a year could exceed the range of dates when added to one.
_MAX_S = 366 * 86_400
#: Longest delay before a retry, in seconds: 30 days.
_MAX_DELAY_S = 30 * 86_400


def _use(message: str, is_valid: Callable[[str], object] | None = None) -> WrapValidator:
    """Replaces the message of every error. Empty text means that the variable is not set."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        if value == "":
            return value
        with suppress(ValueError):
            result = handler(value)
            if is_valid is None or is_valid(result):
                return result
        raise ValueError(message)

    return WrapValidator(validate)


def parse_rate(value: str) -> RateLimit | None:
    """Returns None for `0`, which means no limit."""
    return RateLimit.parse(value) if value.strip() != "0" else None


def _check_worker_memory(value: ByteSize) -> ByteSize:
    # A worker maps libraries, thread stacks and heaps before the first image, though it uses little of that memory.
    if 0 < value < 2048 * MiB:
        raise ValueError("use 2 GiB or more, or 0 for no limit: a worker itself uses about 1.5 GiB")
    return value


def _is_database_url(value: str) -> bool:
    # This import takes a quarter of a second, and the default does not need it.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        path = make_url(value).database
    except ArgumentError:
        return False
    # In memory, each connection would have a separate database.
    is_file = value.startswith("sqlite:///") and path not in (None, "", ":memory:")
    return is_file or value.startswith("postgresql+psycopg://")


def _is_redis_url(value: str) -> bool:
    return value.startswith(("redis://", "rediss://", "unix://")) and bool(_split_url(value))


def _is_proxy_url(value: str) -> bool:
    parts = _split_url(value)
    return (
        parts.scheme == "http" and bool(parts.hostname) and not (parts.path.strip("/") or parts.query or parts.fragment)
    )


def _is_storage_url(value: str) -> bool:
    parts = _split_url(value)
    # A query, a fragment or user info would be ignored, and the objects stored at an unexpected location.
    if re.search(r"[?#]", value) or "@" in parts.netloc:
        return False
    if value.startswith("file://"):
        return not parts.netloc and unquote(parts.path).startswith("/")
    return value.startswith(("s3://", "gs://", "az://")) and parts.netloc != ""


def _is_base_url(value: str) -> bool:
    parts = _split_url(value)
    # Paths are appended to it, and everyone sees it.
    is_base = parts.hostname and not (parts.query or parts.fragment or parts.username or parts.password)
    return bool(is_base) and re.fullmatch(r"https?://[^\s\x00-\x1f\x7f<>\"\\^`{|}]+", value) is not None


def _split_url(url: str) -> SplitResult:
    """Raises ValueError if the URL is malformed or has an invalid port."""
    parts = urlsplit(url)
    parts.port  # noqa: B018 - raises ValueError for an invalid port
    return parts


def _check_webhook_secret(text: str) -> None:
    # Only commas: webhooks would be sent unsigned although the operator meant to sign them.
    if not parse_webhook_keys(text):
        raise ValueError("Contains no key. Unset the variable to send unsigned webhooks")


def _check_api_key(text: str) -> None:
    if parse_api_key(text) is None:
        raise ValueError("Not an API key, which starts with gip_. Check that the complete key was copied")


def _accepted_by(check: Callable[[Any], object]) -> AfterValidator:
    """Refuses a value, if there is one, for which `check` raises ValueError or ConfigurationError."""

    def validate(value: Any) -> Any:
        try:
            if value is not None:
                check(value.get_secret_value() if isinstance(value, SecretStr) else value)
        except ConfigurationError as error:
            raise ValueError(str(error).rstrip(".")) from None
        return value

    return AfterValidator(validate)


Seconds = Annotated[float, Field(gt=0, le=_MAX_S)]
SecondsOrZero = Annotated[float, Field(ge=0, le=_MAX_S)]
Size = Annotated[ByteSize, Field(gt=0)]
SizeOrZero = Annotated[ByteSize, Field(ge=0)]
WorkerMemory = Annotated[SizeOrZero, AfterValidator(_check_worker_memory)]
Rate = Annotated[str, _accepted_by(parse_rate)]

_SPLIT = BeforeValidator(
    lambda value: [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
)
_Network = Annotated[Network, BeforeValidator(lambda value: ip_network(value, strict=False))]
_Port = Annotated[int, Field(ge=1, le=65_535)]
_Delay = Annotated[float, Field(ge=0, le=_MAX_DELAY_S)]
_USE_NETWORKS = _use("use networks such as `10.0.0.0/8` or `fd00::/8`, separated by commas")
_USE_PORTS = _use("use ports from 1 to 65535, separated by commas, or `*` for any")
_USE_DELAYS = _use(f"use seconds from 0 to {_MAX_DELAY_S} (30 days), separated by commas, such as `1,5,30`")
Networks = Annotated[tuple[_Network, ...], _SPLIT, NoDecode, _USE_NETWORKS]
Ports = Annotated[Annotated[frozenset[_Port], Field(min_length=1), _SPLIT] | Literal["*"], NoDecode, _USE_PORTS]
Delays = Annotated[tuple[_Delay, ...], _SPLIT, NoDecode, _USE_DELAYS]

_USE_DATABASE = _use(
    "use `sqlite:///PATH` with the path of a file, or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`", _is_database_url
)
_USE_REDIS = _use("use `redis://HOST:PORT/0`, `rediss://…` or `unix:///PATH`", _is_redis_url)
_USE_PROXY = _use("use `http://HOST:PORT` or `http://USER:PASSWORD@HOST:PORT`", _is_proxy_url)
_USE_STORE = _use(
    "use `file:///PATH` for a folder, or `s3://BUCKET/PREFIX`, `gs://…` or `az://…` for a bucket", _is_storage_url
)
_USE_PUBLIC = _use("use a URL such as `https://images.example` or `http://127.0.0.1:8000`", _is_base_url)
_USE_ENDPOINT = _use("use a URL such as `https://s3.example` or `http://127.0.0.1:9000`", _is_base_url)
_STRIP_SLASH = AfterValidator(lambda url: url.rstrip("/"))
DatabaseUrl = Annotated[str, _USE_DATABASE, FROM_FILE]
RedisUrl = Annotated[str, _USE_REDIS, FROM_FILE]
ProxyUrl = Annotated[str, _USE_PROXY, FROM_FILE]
StorageUrl = Annotated[str, _USE_STORE]
PublicUrl = Annotated[str, _STRIP_SLASH, _USE_PUBLIC]
Endpoint = Annotated[str, _STRIP_SLASH, _USE_ENDPOINT]


HostsFile = Annotated[Path | None, _accepted_by(read_host_rules)]
WebhookSecret = Annotated[SecretStr | None, _accepted_by(_check_webhook_secret), FROM_FILE]
SecretsKey = Annotated[SecretStr | None, _accepted_by(parse_secrets_keys), FROM_FILE]
ApiKey = Annotated[SecretStr | None, _accepted_by(_check_api_key), FROM_FILE]
