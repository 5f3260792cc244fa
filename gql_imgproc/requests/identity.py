"""Digests by which the products and images of two requests are compared in SQL.

They have 52 bits: a sum of several hundred fits into a column of 64, and an index of them stays small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b


def digest(*parts: object) -> int:
    text = "\0".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 12


def fingerprint(product_name: str, urls: Iterable[str]) -> int:
    """The fingerprint of a product without results. Each result adds its digest, in any order."""
    return digest(product_name) + sum(map(digest, urls))


class ProductIdentities:
    """Numbers products with the same identifier, so that each has a counterpart of its own in the other request."""

    def __init__(self) -> None:
        self._counts = Counter[int]()

    def identify(self, serial_number: str) -> int:
        """The identity of the next product."""
        identity = digest(serial_number)
        self._counts[identity] += 1
        count = self._counts[identity]
        return identity if count == 1 else digest(serial_number, count)
