"""Categories of image hosts, for metrics: labels must not grow with the number of hosts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from enum import StrEnum

from gql_imgproc.net.address_policy import NetworkPolicy, check_ip
from gql_imgproc.net.ip_literals import IpAddress

#: Hosts whose category is cached; the least recently resolved one is evicted.
MAX_HOSTS = 1_000
_STRICTEST = NetworkPolicy()


class HostCategory(StrEnum):
    PUBLIC = "public"
    #: In a private network that IMGPROC_FETCH_ALLOW_NETWORKS allows.
    ALLOWED_PRIVATE = "allowed_private"
    #: The name was not resolved, or its IP address is forbidden.
    UNKNOWN = "unknown"


class HostCategories:
    def __init__(self) -> None:
        self._categories: OrderedDict[str, HostCategory] = OrderedDict()

    def record(self, host: str, ips: Iterable[str | IpAddress]) -> None:
        is_public = all(check_ip(ip, _STRICTEST) is None for ip in ips)
        self._categories[host] = HostCategory.PUBLIC if is_public else HostCategory.ALLOWED_PRIVATE
        self._categories.move_to_end(host)
        if len(self._categories) > MAX_HOSTS:
            self._categories.popitem(last=False)

    def get(self, host: str) -> HostCategory:
        return self._categories.get(host, HostCategory.UNKNOWN)
