"""The host of a URL, in one form for lanes, budgets and logs."""

from __future__ import annotations

import re

import httpx

from gql_imgproc.net.address_policy import DEFAULT_PORTS

# The fast path: nearly all URLs, a twentieth of the time.
_ORDINARY_URL = re.compile(r"(https?)://([a-z0-9_.-]+)(?::([0-9]+))?(?:[/?#]|\Z)", re.IGNORECASE)


def host_of(url: str) -> str:
    """Return `name:port` in lower case, with the scheme's default port. Empty if the URL is invalid."""
    if (match := _ORDINARY_URL.match(url)) is not None:
        scheme, name, port = match[1].lower(), match[2], int(match[3] or 0)
    else:
        try:
            parsed = httpx.URL(url)
            # An international name is written in its ASCII form.
            scheme, name, port = parsed.scheme, parsed.raw_host.decode("ascii"), parsed.port or 0
        except (httpx.InvalidURL, UnicodeError):
            return ""
        if ":" in name:
            name = f"[{name}]"
    name = name.lower().removesuffix(".")
    return f"{name}:{port or DEFAULT_PORTS.get(scheme, 0)}" if name else ""


def split_host(host: str) -> tuple[str, int]:
    """Return name and port of `name:port`, an IPv6 host without brackets."""
    name, _, port = host.rpartition(":")
    return name.strip("[]"), int(port)
