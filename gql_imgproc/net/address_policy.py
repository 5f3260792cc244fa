"""The SSRF policy: which URLs, ports and IP addresses the service may connect to.

`check_url` checks a URL as written: syntax, port, and a host that is an IP address in any spelling. It does not resolve
names. The code that connects calls `check_ip` for every IP address that a host name resolves to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal, TypeAlias

import idna

from gql_imgproc.net.ip_literals import IpAddress, parse_ip_literals

IpNetwork: TypeAlias = IPv4Network | IPv6Network

#: Longest URL, in characters; longer ones break proxies, databases and spreadsheets.
MAX_URL_CHARS = 2_048
#: Longest host name that DNS allows, in characters.
MAX_HOST_CHARS = 253
#: Ports that URLs omit, by scheme.
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """Networks and ports that the operator allows. Public hosts are always allowed."""

    allow_networks: tuple[IpNetwork, ...] = ()
    allow_ports: frozenset[int] | Literal["*"] = frozenset({80, 443})


class UrlProblemCode(StrEnum):
    INVALID = "INVALID"
    FORBIDDEN = "FORBIDDEN"


@dataclass(frozen=True, slots=True)
class UrlProblem:
    """Why a URL or an IP address is refused. The message says how to fix it."""

    code: UrlProblemCode
    message: str


# Not `ipaddress.is_global`: it returns True for multicast, NAT64, 6to4 and `::127.0.0.1`, and its results change
# between patch releases of Python.
_FORBIDDEN_IPV4 = tuple(
    (IPv4Network(network), description)
    for network, description in (
        ("0.0.0.0/8", "this machine"),
        ("10.0.0.0/8", "a private network"),
        ("100.64.0.0/10", "a carrier-grade NAT"),
        ("127.0.0.0/8", "this machine"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("169.254.0.0/16", "a link-local network or a cloud's metadata service"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.0/24", "a reserved network"),
        ("192.0.2.0/24", "a documentation network"),
        ("192.88.99.0/24", "a relay from IPv6 to IPv4"),
        ("192.168.0.0/16", "a private network"),
        ("198.18.0.0/15", "a benchmark network"),
        ("198.51.100.0/24", "a documentation network"),
        ("203.0.113.0/24", "a documentation network"),
        ("224.0.0.0/4", "a multicast group"),
        ("240.0.0.0/4", "a reserved network"),
    )
)
#: All public IPv6 hosts are in this network. Loopback, private, local and multicast networks are outside it.
_PUBLIC_IPV6 = IPv6Network("2000::/3")
_FORBIDDEN_IPV6 = tuple(
    (IPv6Network(network), description)
    for network, description in (
        ("2001::/23", "a reserved network"),
        ("2001:db8::/32", "a documentation network"),
        ("2002::/16", "an IPv6 range that embeds IPv4"),
        ("3fff::/20", "a documentation network"),
    )
)
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_IPV4_COMPATIBLE = IPv6Network("::/96")
#: `::ffff:0:a.b.c.d`, the form that stateless translators (SIIT) use for IPv4 hosts.
_IPV4_TRANSLATED = IPv6Network("::ffff:0:0:0/96")
#: Interface identifiers of ISATAP. The last 32 bits are an IPv4 host.
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)

# The fast path: no program reads a dotted name whose last label begins with a letter as an IP address. All other URLs
# take the slow path.
_ORDINARY_URL = re.compile(
    r"http(s?)://(?=[^/?#]{1,253}(?:[/?#]|\Z))"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(?:[/?#][^\s\x00-\x20\x7f-\x9f\ud800-\udfff]*)?"
)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_UNPRINTABLE = re.compile(r"[\s\x00-\x20\x7f-\x9f\ud800-\udfff]")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LEADING_ZERO = re.compile(r"(?:\A|\.)0[0-9]")


def check_url(url: str, policy: NetworkPolicy) -> UrlProblem | None:
    """Check a URL as written. Does not resolve host names."""
    if len(url) <= MAX_URL_CHARS and (match := _ORDINARY_URL.fullmatch(url)) is not None:
        ports = policy.allow_ports
        port = 443 if match[1] else 80
        return None if ports == "*" or port in ports else check_port(port, policy)
    return _check_url_slowly(url, policy)


def check_port(port: int, policy: NetworkPolicy) -> UrlProblem | None:
    if policy.allow_ports == "*" or port in policy.allow_ports:
        return None
    allowed = ", ".join(str(number) for number in sorted(policy.allow_ports)) or "none"
    return _forbidden(
        f"The URL uses port {port}; allowed ports: {allowed}. Use one of them, "
        f"or ask the operator to add {port} to IMGPROC_FETCH_ALLOW_PORTS."
    )


def check_ip(ip: str | IpAddress, policy: NetworkPolicy) -> UrlProblem | None:
    try:
        parsed = ip_address(ip.partition("%")[0]) if isinstance(ip, str) else ip
    except ValueError:
        return _invalid("The text is not an IP address.")
    network = _forbidden_network(parsed, policy)
    if network is None:
        return None
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return _forbidden(
        f"The IP address {parsed} belongs to {network}, not to a public host. Use a public host, "
        f"or ask the operator to add {parsed}/{parsed.max_prefixlen} to IMGPROC_FETCH_ALLOW_NETWORKS."
    )


def _check_url_slowly(url: str, policy: NetworkPolicy) -> UrlProblem | None:
    if len(url) > MAX_URL_CHARS:
        return _invalid(f"The URL is longer than {MAX_URL_CHARS:,} characters. Use a shorter one.")
    if not url:
        return _invalid("The URL is empty.")
    if _UNPRINTABLE.search(url) is not None:
        return _invalid("The URL contains a space or a control character. Write a space as %20.")
    match = _URL.fullmatch(url)
    if match is None or match[1].lower() not in DEFAULT_PORTS:
        return _invalid("Unsupported URL scheme. Use http:// or https://.")
    scheme, authority = match[1].lower(), match[2]
    if "@" in authority:
        return _invalid("The URL contains a user name or password. Remove everything up to the @ sign.")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or "\\" in authority:
        return _invalid("The host or port of the URL is invalid. Write it as https://host/path.")
    host, digits = parts[1], parts[2]
    if not host.strip("."):
        return _invalid("The URL has no host. Write it as https://host/path.")
    # Leading zeros are allowed in any number. Without them a port has at most five digits.
    port = int(digits.lstrip("0")[:8] or "0") if digits else DEFAULT_PORTS[scheme]
    if not 1 <= port <= 65_535:
        return _invalid("The port of the URL is not between 1 and 65535.")
    return _check_host(host, policy) or check_port(port, policy)


# Hosts repeat from row to row. The cache makes IP addresses and international names as fast as other hosts.
@lru_cache(maxsize=1_024)
def _check_host(host: str, policy: NetworkPolicy) -> UrlProblem | None:
    try:
        literals = parse_ip_literals(host)
    except ValueError:
        return _invalid("The host of the URL looks like an IP address but is not a valid one.")
    # Checked first, so that a forbidden IP address is FORBIDDEN in any spelling.
    for ip in literals or ():
        if (problem := check_ip(ip, policy)) is not None:
            return problem
    if literals is not None and _LEADING_ZERO.search(host) is not None:
        return _invalid("The IP address has leading zeros, which some programs read as octal. Remove them.")
    if host.startswith("["):
        zone = _invalid("The IP address has a zone. Remove the % sign and everything after it.")
        return zone if "%" in host else None
    try:
        name = host if host.isascii() else idna.encode(host.lower()).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        name = ""
    if literals is not None and name:
        return None
    labels = name.removesuffix(".").split(".")
    if len(name) > MAX_HOST_CHARS + 1 or not all(map(_LABEL.fullmatch, labels)):
        return _invalid("The host of the URL is not a valid name. Check its spelling.")
    return None


def _forbidden_network(ip: IpAddress, policy: NetworkPolicy) -> str | None:
    """Describe the network that makes an IP address forbidden; None if it is allowed."""
    if isinstance(ip, IPv4Address):
        if _is_allowed(ip, policy):
            return None
        return next((description for network, description in _FORBIDDEN_IPV4 if ip in network), None)
    if (mapped := ip.ipv4_mapped) is not None:
        # The kernel connects over IPv4.
        return _forbidden_network(mapped, policy)
    embedded = _embedded_ipv4(ip)
    if _is_allowed(ip, policy):
        # Allowing the prefix of a translator allows the public hosts behind it, not the private ones.
        reasons = (_forbidden_network(target, policy) for target in embedded)
        return next((reason for reason in reasons if reason is not None), None)
    if embedded:
        return "an IPv6 range that embeds IPv4"
    if ip not in _PUBLIC_IPV6:
        return "this machine" if ip.is_loopback else "a private, local, multicast or reserved network"
    return next((description for network, description in _FORBIDDEN_IPV6 if ip in network), None)


def _is_allowed(ip: IpAddress, policy: NetworkPolicy) -> bool:
    return any(ip in network for network in policy.allow_networks if network.version == ip.version)


def _embedded_ipv4(ip: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 hosts to which a translator or tunnel would forward packets."""
    number = int(ip)
    if ip.sixtofour is not None:
        return (ip.sixtofour,)
    if ip.teredo is not None:
        # Packets go to the server first, then to the client.
        return ip.teredo
    last = IPv4Address(number & 0xFFFF_FFFF)
    if (number >> 32) & 0xFFFF_FFFF in _ISATAP or any(ip in network for network in (*_NAT64, _IPV4_TRANSLATED)):
        return (last,)
    return (last,) if ip in _IPV4_COMPATIBLE and number > 1 else ()


def _invalid(message: str) -> UrlProblem:
    return UrlProblem(UrlProblemCode.INVALID, message)


def _forbidden(message: str) -> UrlProblem:
    return UrlProblem(UrlProblemCode.FORBIDDEN, message)
