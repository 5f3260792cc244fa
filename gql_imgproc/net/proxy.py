"""The HTTP proxy of the operator, through which images are downloaded."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import httpx

from gql_imgproc.net.target import Target


class ProxyFailed(httpx.ConnectError):
    """The proxy cannot be reached, or refuses a host. The message is the cause, without a full stop."""


@dataclass(frozen=True, slots=True)
class Proxy:
    host: str
    port: int
    #: With the password, so it is not shown.
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Parse `http://USER:PASSWORD@HOST:PORT`, a setting that was checked."""
        parts = urlsplit(url)
        headers = {}
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Proxy-Authorization"] = f"Basic {b64encode(credentials.encode()).decode()}"
        return cls(parts.hostname or "", parts.port or 80, headers)

    def tunnel_request(self, target: Target) -> bytes:
        host = f"[{target.host}]" if ":" in target.host else target.host
        authority = f"{host}:{target.port}"
        headers = {"Host": authority, **self.headers}
        lines = [f"CONNECT {authority} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode()
