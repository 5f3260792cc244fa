"""Types of the settings: how the text of a variable is parsed and checked. The messages say what to use instead.

URLs stay the text that their clients parse. pydantic's own types do not fit: `RedisDsn` refuses Unix sockets, and
`PostgresDsn` refuses passwords that SQLAlchemy accepts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
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
from gql_imgproc.security.webhook_signature import parse_webhook_keys
from gql_imgproc.settings_files import FROM_FILE

MiB = 1024 * 1024
Network = IPv4Network | IPv6Network

#: Longest duration, in seconds. More than a year could exceed the range of dates when added to one.
_MAX_S = 366 * 86_400
#: Longest delay before a retry, in seconds: 30 days.
_MAX_DELAY_S = 30 * 86_400
#: A worker maps libraries, thread stacks and heaps before the first image, though it uses little of that memory.
_MIN_WORKER_MEMORY = 2048 * MiB


def _fix(message: str) -> WrapValidator:
    """Replaces the message of every error. Empty text means that the variable is not set."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return value if value == "" else handler(value)
        except ValueError:
            raise ValueError(message) from None

    return WrapValidator(validate)


def _check(is_valid: Callable[[str], object], message: str = "") -> AfterValidator:
    def validate(value: str) -> str:
        if not is_valid(value):
            raise ValueError(message)
        return value

    return AfterValidator(validate)


def _split_list(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _parse_network(value: Any) -> Network:
    return ip_network(value, strict=False)


def parse_rate(value: str) -> RateLimit | None:
    """Returns None for `0`, which means no limit."""
    return RateLimit.parse(value) if value.strip() != "0" else None


def _check_rate(value: str) -> str:
    parse_rate(value)
    return value


def _check_worker_memory(value: ByteSize) -> ByteSize:
    if 0 < value < _MIN_WORKER_MEMORY:
        raise ValueError("use 2 GiB or more, or 0 for no limit: a worker itself uses about 1.5 GiB")
    return value


def _is_database_url(value: str) -> bool:
    # This import takes a quarter of a second, and the default does not need it.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return value.startswith(("sqlite:///", "postgresql+psycopg://")) and bool(make_url(value))
    except ArgumentError:
        return False


def _is_redis_url(value: str) -> bool:
    return value.startswith(("redis://", "rediss://", "unix://")) and bool(_split_url(value))


def _is_storage_url(value: str) -> bool:
    parts = _split_url(value)
    # A query, a fragment or user info would be ignored, and the objects stored at an unexpected location.
    if re.search(r"[?#]", value) or "@" in parts.netloc:
        return False
    if value.startswith("file://"):
        return not parts.netloc and unquote(parts.path).startswith("/")
    return value.startswith(("s3://", "gs://", "az://")) and parts.netloc != ""


def _is_public_url(value: str) -> bool:
    parts = _split_url(value)
    # Paths are appended to it, and everyone sees it.
    is_base = parts.hostname and not (parts.query or parts.fragment or parts.username or parts.password)
    return bool(is_base) and re.fullmatch(r"https?://[^\s\x00-\x1f\x7f<>\"\\^`{|}]+", value) is not None


def _split_url(url: str) -> SplitResult:
    """Raises ValueError if the URL is malformed or has an invalid port."""
    parts = urlsplit(url)
    parts.port  # noqa: B018 - raises ValueError for an invalid port
    return parts


def _check_webhook_secret(value: SecretStr | None) -> SecretStr | None:
    try:
        # Only commas: webhooks would be sent unsigned although the operator meant to sign them.
        if value is not None and not parse_webhook_keys(value.get_secret_value()):
            raise ValueError("Contains no key. Unset the variable to send unsigned webhooks")
    except ConfigurationError as error:
        raise ValueError(str(error).rstrip(".")) from None
    return value


def _check_api_key(value: SecretStr | None) -> SecretStr | None:
    if value is not None and parse_api_key(value.get_secret_value()) is None:
        raise ValueError("Not an API key, which starts with gip_. Check that the complete key was copied")
    return value


Seconds = Annotated[float, Field(gt=0, le=_MAX_S)]
SecondsOrZero = Annotated[float, Field(ge=0, le=_MAX_S)]
Size = Annotated[ByteSize, Field(gt=0)]
SizeOrZero = Annotated[ByteSize, Field(ge=0)]
WorkerMemory = Annotated[SizeOrZero, AfterValidator(_check_worker_memory)]
Rate = Annotated[str, AfterValidator(_check_rate)]

_SPLIT = BeforeValidator(_split_list)
_Port = Annotated[int, Field(ge=1, le=65_535)]
_Delay = Annotated[float, Field(ge=0, le=_MAX_DELAY_S)]
_USE_NETWORKS = _fix("use networks such as `10.0.0.0/8` or `fd00::/8`, separated by commas")
_USE_PORTS = _fix("use ports from 1 to 65535, separated by commas, or `*` for any")
_USE_DELAYS = _fix(f"use seconds from 0 to {_MAX_DELAY_S} (30 days), separated by commas, such as `1,5,30`")
Networks = Annotated[tuple[Annotated[Network, BeforeValidator(_parse_network)], ...], _SPLIT, NoDecode, _USE_NETWORKS]
Ports = Annotated[Annotated[frozenset[_Port], Field(min_length=1), _SPLIT] | Literal["*"], NoDecode, _USE_PORTS]
Delays = Annotated[tuple[_Delay, ...], _SPLIT, NoDecode, _USE_DELAYS]

_USE_SQLITE_OR_POSTGRESQL = _fix("use `sqlite:///PATH` or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`")
# In memory, each connection would have a separate database.
_HAS_FILE = _check(re.compile(r"(?!sqlite:///(:memory:)?(\?|$))").match, "use `sqlite:///PATH` with the path of a file")
_USE_REDIS = _fix("use `redis://HOST:PORT/0`, `rediss://…` or `unix:///PATH`")
_USE_STORE = _fix("use `file:///PATH` for a folder, or `s3://BUCKET/PREFIX`, `gs://…` or `az://…` for a bucket")
_USE_PUBLIC = _fix("use a URL such as `https://images.example` or `http://127.0.0.1:8000`")
_USE_ENDPOINT = _fix("use a URL such as `https://s3.example` or `http://127.0.0.1:9000`")
_BaseUrl = Annotated[str, _check(_is_public_url), AfterValidator(lambda url: url.rstrip("/"))]
DatabaseUrl = Annotated[str, _check(_is_database_url), _USE_SQLITE_OR_POSTGRESQL, _HAS_FILE, FROM_FILE]
RedisUrl = Annotated[str, _check(_is_redis_url), _USE_REDIS, FROM_FILE]
StorageUrl = Annotated[str, _check(_is_storage_url), _USE_STORE]
PublicUrl = Annotated[_BaseUrl, _USE_PUBLIC]
Endpoint = Annotated[_BaseUrl, _USE_ENDPOINT]

WebhookSecret = Annotated[SecretStr | None, AfterValidator(_check_webhook_secret), FROM_FILE]
ApiKey = Annotated[SecretStr | None, AfterValidator(_check_api_key), FROM_FILE]
