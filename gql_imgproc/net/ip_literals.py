"""IP addresses in every spelling that some resolver or browser accepts."""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias
from urllib.parse import unquote

IpAddress: TypeAlias = IPv4Address | IPv6Address

#: Characters that IDNA maps to a dot.
_DOTS = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})
_DIGITS = {8: frozenset("01234567"), 10: frozenset("0123456789"), 16: frozenset("0123456789abcdef")}
#: Longest number that is converted, in digits: no longer one fits an IP address, and converting thousands is slow.
_MAX_DIGITS = 12


def parse_ip_literals(host: str) -> tuple[IpAddress, ...] | None:
    """Return the IP addresses that a host can mean without DNS; None for a host name.

    Accepts what browsers and C libraries accept: decimal, octal, hexadecimal and short forms, trailing dots, Unicode
    digits, percent-encoding, brackets. Programs disagree about a leading zero; then there are two results, and the
    first is that of the C library. Raises ValueError for a number that is no valid IP address.
    """
    if ":" in host or host.startswith("["):
        return (_parse_ipv6(host),)
    # Not `isdigit`: the host is checked after the mappings that resolvers and browsers apply to it.
    text = unquote(host) if "%" in host else host
    if not text.isascii():
        visible = (char for char in text.translate(_DOTS) if unicodedata.category(char) != "Cf")
        text = unicodedata.normalize("NFKC", "".join(visible)).translate(_DOTS)
    labels = text.rstrip(".").lower().split(".")
    last = labels[-1]
    if not (last.isascii() and (last.isdigit() or re.fullmatch("0x[0-9a-f]*", last))):
        return None
    as_octal = _inet_aton(labels, octal=True)
    as_decimal = _inet_aton(labels, octal=False)
    found = tuple(dict.fromkeys(ip for ip in (as_octal, as_decimal) if ip is not None))
    if not found:
        raise ValueError("not a valid IPv4 number")
    return found


def _parse_ipv6(host: str) -> IPv6Address:
    text = host.removeprefix("[").removesuffix("]")
    return IPv6Address(unquote(text).partition("%")[0])


def _inet_aton(labels: list[str], *, octal: bool) -> IPv4Address | None:
    """Parse up to four numbers as `inet_aton` does: the last one fills the remaining bytes."""
    if len(labels) > 4:
        return None
    number = 0
    for position, label in enumerate(labels):
        bits = 32 - 8 * position if position == len(labels) - 1 else 8
        value = _parse_number(label, octal=octal)
        if value is None or value >= 1 << bits:
            return None
        number = (number << bits) | value
    return IPv4Address(number)


def _parse_number(label: str, *, octal: bool) -> int | None:
    base = 16 if label.startswith("0x") else 8 if octal and label.startswith("0") else 10
    digits = label.removeprefix("0x") if base == 16 else label
    if not set(digits) <= _DIGITS[base] or not label:
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits, base) if len(digits) <= _MAX_DIGITS else None
