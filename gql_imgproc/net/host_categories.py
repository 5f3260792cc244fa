"""What kind of host an address leads to, in few words: for figures, which must not grow with the hosts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from enum import StrEnum

from gql_imgproc.net.address_policy import Address, NetworkPolicy, check_ip

#: Hosts that are remembered, those looked up last.
REMEMBERED = 1_000
_STRICTEST = NetworkPolicy()


class HostClass(StrEnum):
    PUBLIC = "public"
    #: In a network that is not public and that IMGPROC_FETCH_ALLOW_NETWORKS allows.
    ALLOWED_PRIVATE = "allowed_private"
    #: Its name was not resolved, or to an address that is not allowed.
    UNKNOWN = "unknown"


class HostCategories:
    """The classes of the hosts that were looked up."""

    def __init__(self) -> None:
        self._classes: OrderedDict[str, HostClass] = OrderedDict()

    def note(self, host: str, addresses: Iterable[str | Address]) -> None:
        public = all(check_ip(address, _STRICTEST) is None for address in addresses)
        self._classes[host] = HostClass.PUBLIC if public else HostClass.ALLOWED_PRIVATE
        self._classes.move_to_end(host)
        if len(self._classes) > REMEMBERED:
            self._classes.popitem(last=False)

    def of(self, host: str) -> HostClass:
        return self._classes.get(host, HostClass.UNKNOWN)
