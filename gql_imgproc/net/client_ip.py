"""Who calls, where proxies stand between: `X-Forwarded-For`, to which each proxy adds whom it was called by."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_Address = IPv4Address | IPv6Address


def client_ip(peer: str, forwarded: str, trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """The last address on the way here that no trusted proxy has; what stands before it anybody may have written."""
    nearest = _address(peer)
    if nearest is None:
        return peer
    for said in reversed(forwarded.split(",")):
        if not any(nearest in network for network in trusted):
            break
        before = _address(said)
        if before is None:
            break
        nearest = before
    return str(nearest)


def _address(text: str) -> _Address | None:
    """An address, as some proxies write it: with a port, or in brackets."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
