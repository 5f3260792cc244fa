"""The client's IP address behind reverse proxies, from `X-Forwarded-For`."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from gql_imgproc.net.ip_literals import IpAddress


def client_ip(peer: str, forwarded_for: str, trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """Return the last IP address of the chain that is no trusted proxy. Entries before it can be forged."""
    client = _parse_ip(peer)
    if client is None:
        return peer
    for entry in reversed(forwarded_for.split(",")):
        if not any(client in network for network in trusted):
            break
        previous = _parse_ip(entry)
        if previous is None:
            break
        client = previous
    return str(client)


def _parse_ip(text: str) -> IpAddress | None:
    """Parse an IP address that may have a port or brackets, as some proxies write it."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ip = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip
