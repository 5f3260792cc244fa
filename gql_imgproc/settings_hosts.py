"""The file of `IMGPROC_FETCH_HOSTS_FILE`: headers and credentials for image hosts, in TOML."""

from __future__ import annotations

import re
import tomllib
from base64 import b64encode
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, TypeAdapter, ValidationError, model_validator

from gql_imgproc.net.host_headers import HostRule
from gql_imgproc.settings_files import Hidden, read_hidden

#: The client sets them.
_FIXED_HEADERS = frozenset({"host", "connection", "content-length", "transfer-encoding"})
_PATTERN = re.compile(r"(?:\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _read(value: Any) -> Any:
    """A value may be in a file: `{ file = "PATH" }`."""
    return read_hidden(Hidden(value["file"])) if isinstance(value, dict) and value.keys() == {"file"} else value


def _check_value(value: str) -> str:
    if not value.isprintable() or not value.isascii():
        raise ValueError("use printable ASCII characters")
    return value


def _check_header(name: str) -> str:
    if _HEADER_NAME.fullmatch(name) is None or name.lower() in _FIXED_HEADERS:
        raise ValueError("this header cannot be set")
    return name


def _check_pattern(pattern: str) -> str:
    if _PATTERN.fullmatch(pattern.lower()) is None:
        raise ValueError("use a pattern such as `images.example`, `*.images.example` or `images.example:8443`")
    return pattern.lower()


_Value = Annotated[str, BeforeValidator(_read), AfterValidator(_check_value)]


class _Table(BaseModel, extra="forbid", hide_input_in_errors=True):
    user_agent: _Value | None = None
    referer: _Value | None = None
    username: _Value | None = None
    password: _Value | None = None
    headers: dict[Annotated[str, AfterValidator(_check_header)], _Value] = {}

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("`username` and `password` belong together")
        return self

    def all_headers(self) -> dict[str, str]:
        basic = b64encode(f"{self.username}:{self.password}".encode()).decode()
        named = {
            "User-Agent": self.user_agent,
            "Referer": self.referer,
            "Authorization": f"Basic {basic}" if self.username is not None else None,
        }
        return {name: value for name, value in named.items() if value is not None} | self.headers


_TABLES = TypeAdapter(dict[Annotated[str, AfterValidator(_check_pattern)], _Table])


def read_host_rules(path: Path) -> tuple[HostRule, ...]:
    """Raises ValueError with one line, without values of the file."""
    try:
        with path.open("rb") as file:
            tables = _TABLES.validate_python(tomllib.load(file))
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the file is not valid TOML: {error}") from None
    rules = tuple(HostRule(pattern, table.all_headers()) for pattern, table in tables.items())
    for rule in rules:
        is_for_all = rule.pattern.partition(":")[0] == "*"
        if is_for_all and rule.headers.keys() - {"User-Agent", "Referer"}:
            raise ValueError(f"{rule.pattern}: only `user_agent` and `referer` can be sent to all hosts")
    return rules
