"""May we talk to this address? Only answers; whoever connects has to ask.

`check_url` judges what is written: syntax, port, and a host that is itself an IP address, in any spelling.
A host name is judged by the addresses that it resolves to, with `check_ip`, by the one who connects to them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal, TypeAlias
from urllib.parse import unquote

import idna

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

#: Longest address, in characters; longer ones break proxies, databases and spreadsheets on the way.
MAX_URL_CHARS = 2_048
#: Longest host name, in characters: what DNS can carry.
MAX_HOST_CHARS = 253


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """What the owner of the service opens beyond public hosts on the usual ports."""

    allow_networks: tuple[Network, ...] = ()
    allow_ports: frozenset[int] | Literal["*"] = frozenset({80, 443})


class AddressProblemCode(StrEnum):
    INVALID = "INVALID"
    FORBIDDEN = "FORBIDDEN"


@dataclass(frozen=True, slots=True)
class UrlProblem:
    """Why an address is refused; the message is a sentence that tells how to mend it."""

    code: AddressProblemCode
    message: str


# A table of our own, not `ipaddress.is_global`: that one calls multicast, NAT64, 6to4 and `::127.0.0.1` global,
# and its answers change between Python's patch releases.
_FORBIDDEN_IPV4 = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this machine"),
        ("10.0.0.0/8", "a private network"),
        ("100.64.0.0/10", "a provider's inner network"),
        ("127.0.0.0/8", "this machine"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("169.254.0.0/16", "a local link or a cloud's metadata service"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.0/24", "a reserved network"),
        ("192.0.2.0/24", "a network for documentation"),
        ("192.88.99.0/24", "a relay between IPv4 and IPv6"),
        ("192.168.0.0/16", "a private network"),
        ("198.18.0.0/15", "a network for benchmarks"),
        ("198.51.100.0/24", "a network for documentation"),
        ("203.0.113.0/24", "a network for documentation"),
        ("224.0.0.0/4", "a multicast group"),
        ("240.0.0.0/4", "a reserved network"),
    )
)
#: The only part of IPv6 in which public hosts live; loopback, private, local and multicast are all outside.
_PUBLIC_IPV6 = IPv6Network("2000::/3")
_FORBIDDEN_IPV6 = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("2001::/23", "a reserved network"),
        ("2001:db8::/32", "a network for documentation"),
        ("2002::/16", "an IPv4 address hidden in IPv6"),
        ("3fff::/20", "a network for documentation"),
    )
)
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = IPv6Network("::/96")
#: `::ffff:0:a.b.c.d`, by which stateless translators speak of IPv4 hosts.
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")
#: Interface identifiers of ISATAP; an IPv4 address follows.
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)

# Everything that is certainly harmless as written: a dotted name whose last label begins with a letter is no IP
# address in anybody's eyes. The rest takes the careful path.
_ORDINARY = re.compile(
    r"http(s?)://(?=[^/?#]{1,253}(?:[/?#]|\Z))"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(?:[/?#][^\s\x00-\x20\x7f-\x9f\ud800-\udfff]*)?"
)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_UNPRINTABLE = re.compile(r"[\s\x00-\x20\x7f-\x9f\ud800-\udfff]")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LEADING_ZERO = re.compile(r"(?:\A|\.)0[0-9]")
#: What IDNA reads as a dot.
_DOTS = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})
_DIGITS = {8: frozenset("01234567"), 10: frozenset("0123456789"), 16: frozenset("0123456789abcdef")}
_DEFAULT_PORTS = {"http": 80, "https": 443}


def check_url(url: str, policy: NetworkPolicy) -> UrlProblem | None:
    """What is wrong with an address as it is written; host names are not resolved."""
    if len(url) <= MAX_URL_CHARS and (match := _ORDINARY.fullmatch(url)) is not None:
        ports = policy.allow_ports
        port = 443 if match[1] else 80
        return None if ports == "*" or port in ports else check_port(port, policy)
    return _check_carefully(url, policy)


def check_port(port: int, policy: NetworkPolicy) -> UrlProblem | None:
    """What is wrong with connecting to a port."""
    if policy.allow_ports == "*" or port in policy.allow_ports:
        return None
    allowed = ", ".join(str(number) for number in sorted(policy.allow_ports)) or "none"
    return _forbidden(
        f"The address uses port {port}; allowed are: {allowed}. Use one of them, "
        f"or have {port} added to IMGPROC_FETCH_ALLOW_PORTS."
    )


def check_ip(ip: str | Address, policy: NetworkPolicy) -> UrlProblem | None:
    """What is wrong with connecting to an IP address."""
    try:
        address = ip_address(ip.partition("%")[0]) if isinstance(ip, str) else ip
    except ValueError:
        return _invalid("The text is not an IP address.")
    what = _network_description(address, policy)
    if what is None:
        return None
    if isinstance(address, IPv6Address) and (mapped := address.ipv4_mapped) is not None:
        address = mapped
    return _forbidden(
        f"The address {address} belongs to {what}, not to a public host. Use a public address, "
        f"or have {address}/{address.max_prefixlen} added to IMGPROC_FETCH_ALLOW_NETWORKS."
    )


def parse_ip_literals(host: str) -> tuple[Address, ...] | None:
    """The IP addresses that a host may mean without being resolved; None for a name.

    Accepts what browsers and C libraries do: decimal, octal, hexadecimal and short forms, trailing dots, digits
    from all over Unicode, percent signs, brackets. Several addresses, when readers disagree about a leading zero;
    the first is the C library's. Raises ValueError for a number that is no address.
    """
    if ":" in host or host.startswith("["):
        return (_ipv6(host),)
    # Not `isdigit`: a spelling is judged after the mappings that resolvers and browsers apply to it.
    text = unquote(host) if "%" in host else host
    if not text.isascii():
        kept = (char for char in text.translate(_DOTS) if unicodedata.category(char) != "Cf")
        text = unicodedata.normalize("NFKC", "".join(kept)).translate(_DOTS)
    labels = text.rstrip(".").lower().split(".")
    last = labels[-1]
    if not (last.isascii() and (last.isdigit() or re.fullmatch("0x[0-9a-f]*", last))):
        return None
    as_octal = _inet_aton(labels, octal=True)
    as_decimal = _inet_aton(labels, octal=False)
    found = tuple(dict.fromkeys(address for address in (as_octal, as_decimal) if address is not None))
    if not found:
        raise ValueError("a number that is no IPv4 address")
    return found


def _check_carefully(url: str, policy: NetworkPolicy) -> UrlProblem | None:
    if len(url) > MAX_URL_CHARS:
        return _invalid(f"The address is longer than {MAX_URL_CHARS:,} characters. Use a shorter one.")
    if not url:
        return _invalid("The address is empty.")
    if _UNPRINTABLE.search(url) is not None:
        return _invalid("The address holds a space or a control character. Write a space as %20.")
    match = _URL.fullmatch(url)
    if match is None or match[1].lower() not in _DEFAULT_PORTS:
        return _invalid("The address is not one of the web. Begin it with http:// or https://.")
    scheme, authority = match[1].lower(), match[2]
    if "@" in authority:
        return _invalid("The address carries a user name or a password. Leave out everything up to the @ sign.")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or "\\" in authority:
        return _invalid("The host or the port in the address cannot be read. Write it as https://host/path.")
    host, digits = parts[1], parts[2]
    if not host.strip("."):
        return _invalid("The address names no host. Write it as https://host/path.")
    # Without the zeros before it, of which there may be any number, a port has five digits.
    port = int(digits.lstrip("0")[:8] or "0") if digits else _DEFAULT_PORTS[scheme]
    if not 1 <= port <= 65_535:
        return _invalid("The port in the address is not between 1 and 65535.")
    return _check_host(host, policy) or check_port(port, policy)


# Hosts repeat from row to row; a row of IP addresses or of international names then costs as little as any other.
@lru_cache(maxsize=1_024)
def _check_host(host: str, policy: NetworkPolicy) -> UrlProblem | None:
    try:
        literals = parse_ip_literals(host)
    except ValueError:
        return _invalid("The host in the address looks like an IP address, but is none.")
    # Judged first, so that a forbidden address is called forbidden however oddly it is written.
    for address in literals or ():
        if (problem := check_ip(address, policy)) is not None:
            return problem
    if literals is not None and _LEADING_ZERO.search(host) is not None:
        return _invalid("The IP address has leading zeros, which some read as octal. Leave them out.")
    if host.startswith("["):
        zone = _invalid("The IP address has a zone. Leave out the % sign and what follows.")
        return zone if "%" in host else None
    try:
        name = host if host.isascii() else idna.encode(host.lower()).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        name = ""
    if literals is not None and name:
        return None
    labels = name.removesuffix(".").split(".")
    if len(name) > MAX_HOST_CHARS + 1 or not all(map(_LABEL.fullmatch, labels)):
        return _invalid("The host in the address is not a name that can exist. Check its spelling.")
    return None


def _network_description(address: Address, policy: NetworkPolicy) -> str | None:
    """To what an address belongs that is not public; None when it may be connected to."""
    if isinstance(address, IPv4Address):
        if _allowed(address, policy):
            return None
        return next((what for network, what in _FORBIDDEN_IPV4 if address in network), None)
    if (mapped := address.ipv4_mapped) is not None:
        # The kernel would connect over IPv4.
        return _network_description(mapped, policy)
    hidden = _embedded_ipv4(address)
    if _allowed(address, policy):
        # Opening the prefix of a translator opens the public hosts behind it, not the private ones.
        reasons = (_network_description(behind, policy) for behind in hidden)
        return next((what for what in reasons if what is not None), None)
    if hidden:
        return "an IPv4 address hidden in IPv6"
    if address not in _PUBLIC_IPV6:
        return "this machine" if address.is_loopback else "a private, local, multicast or reserved network"
    return next((what for network, what in _FORBIDDEN_IPV6 if address in network), None)


def _allowed(address: Address, policy: NetworkPolicy) -> bool:
    return any(address in network for network in policy.allow_networks if network.version == address.version)


def _embedded_ipv4(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses at which a translator or a tunnel would aim."""
    number = int(address)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        # Packets go to the server first, then to the client.
        return address.teredo
    last = IPv4Address(number & 0xFFFF_FFFF)
    if (number >> 32) & 0xFFFF_FFFF in _ISATAP or any(address in network for network in (*_NAT64, _TRANSLATED)):
        return (last,)
    return (last,) if address in _COMPATIBLE and number > 1 else ()


def _ipv6(host: str) -> IPv6Address:
    text = host.removeprefix("[").removesuffix("]")
    return IPv6Address(unquote(text).partition("%")[0])


def _inet_aton(labels: list[str], *, octal: bool) -> IPv4Address | None:
    """Up to four numbers, the last of which fills the rest, as `inet_aton` reads them."""
    if len(labels) > 4:
        return None
    number = 0
    for position, label in enumerate(labels):
        bits = 32 - 8 * position if position == len(labels) - 1 else 8
        value = _number(label, octal=octal)
        if value is None or value >= 1 << bits:
            return None
        number = (number << bits) | value
    return IPv4Address(number)


def _number(label: str, *, octal: bool) -> int | None:
    base = 16 if label.startswith("0x") else 8 if octal and label.startswith("0") else 10
    digits = label.removeprefix("0x") if base == 16 else label
    if not set(digits) <= _DIGITS[base] or not label:
        return None
    digits = digits.lstrip("0") or "0"
    # Longer ones are no part of any address, and reading thousands of digits is slow.
    return int(digits, base) if len(digits) <= 12 else None


def _invalid(message: str) -> UrlProblem:
    return UrlProblem(AddressProblemCode.INVALID, message)


def _forbidden(message: str) -> UrlProblem:
    return UrlProblem(AddressProblemCode.FORBIDDEN, message)
