"""The headers that the operator sets for image hosts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gql_imgproc import __version__
from gql_imgproc.net.target import Target

DEFAULT_HEADERS: Mapping[str, str] = {
    "User-Agent": f"gql_imgproc/{__version__} (+https://github.com/gql-imgproc/gql-imgproc)",
    "Accept": "image/*,*/*;q=0.5",
    # Images do not get smaller by gzip.
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class HostRule:
    """Headers for the hosts that a pattern matches: `NAME`, `*.NAME` for its subdomains, or `*`; with a port or not."""

    pattern: str
    #: With secrets, so they are not shown.
    headers: Mapping[str, str] = field(repr=False)

    def matches(self, target: Target) -> bool:
        name = f"[{target.host}]" if ":" in target.host else target.host.removesuffix(".").lower()
        pattern, colon, port = self.pattern.rpartition(":")
        if not colon or pattern.count("[") > pattern.count("]"):
            pattern = self.pattern
        elif port != str(target.port):
            return False
        return name.endswith(pattern[1:]) if pattern.startswith("*") else name == pattern


def headers_for(target: Target, rules: tuple[HostRule, ...]) -> Mapping[str, str]:
    """Return the headers of the first rule that matches, with the default headers that it does not replace."""
    for rule in rules:
        if rule.matches(target):
            replaced = {name.lower() for name in rule.headers}
            kept = {name: value for name, value in DEFAULT_HEADERS.items() if name.lower() not in replaced}
            return {**kept, **rule.headers}
    return DEFAULT_HEADERS
