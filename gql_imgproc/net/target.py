"""The parts of a URL that a request needs."""

from __future__ import annotations

import re
from typing import NamedTuple

import httpx

from gql_imgproc.net.address_policy import DEFAULT_PORTS

# The fast path: httpx.URL takes a third of the CPU time of a download. No part of these URLs needs to be encoded, and
# their paths have no segments that begin with a dot.
_CHARACTERS = "(?:[A-Za-z0-9_.~!$&()*+,;=:@/-]++|%[0-9A-Fa-f]{2})*+"
_ORDINARY_URL = re.compile(
    rf"(https?)://(([a-z0-9_-]+(?:\.[a-z0-9_-]+)+)(?::([1-9][0-9]{{3,4}}))?)"
    rf"((?=/)(?![^?]*/\.){_CHARACTERS}(?:\?{_CHARACTERS})?)"
)


class Target(NamedTuple):
    """All text is ASCII: international names are in their ASCII form, and the path is percent-encoded."""

    scheme: str
    host: str
    port: int
    #: Host and port as the header `Host` has them.
    authority: str
    #: Path and query.
    path: str


def parse_target(url: str) -> Target:
    """Parse a URL with `http` or `https`. Raises httpx.InvalidURL or UnicodeError."""
    if (match := _ORDINARY_URL.fullmatch(url)) is not None:
        scheme, authority, host, port, path = match.groups()
        return Target(scheme, host, int(port or DEFAULT_PORTS[scheme]), authority, path)
    parsed = httpx.URL(url)
    host, authority, path = (part.decode("ascii") for part in (parsed.raw_host, parsed.netloc, parsed.raw_path))
    return Target(parsed.scheme, host, parsed.port or DEFAULT_PORTS[parsed.scheme], authority, path)
