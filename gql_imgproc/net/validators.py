"""Validators of a response: with them, a later request transfers no body if that has not changed (RFC 9110, 13)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from gql_imgproc.net.http_dates import parse_http_date

#: Minimum age of a `Last-Modified`, in seconds. A younger file may have changed again within the same second.
MIN_AGE_S = 60
_ETAG = re.compile(r"[\x21-\x7e]{1,256}")


@dataclass(frozen=True, slots=True)
class Validators:
    """The validators of a response, as the host wrote them."""

    etag: str | None = None
    last_modified: str | None = None

    def __bool__(self) -> bool:
        return bool(self.etag or self.last_modified)

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Self:
        """Reads the headers of a response, whose names are in lower case."""
        etag, last_modified = headers.get("etag", ""), headers.get("last-modified", "")
        modified_at = parse_http_date(last_modified)
        seen_at = parse_http_date(headers.get("date", "")) or datetime.now(UTC)
        is_old = modified_at is not None and (seen_at - modified_at).total_seconds() >= MIN_AGE_S
        return cls(etag if _ETAG.fullmatch(etag) else None, last_modified if is_old else None)

    @property
    def request_headers(self) -> dict[str, str]:
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}


NO_VALIDATORS = Validators()
