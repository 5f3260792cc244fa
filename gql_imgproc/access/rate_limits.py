"""How often callers may do something, and what becomes of those who do it more often."""

from __future__ import annotations

import time
from collections import OrderedDict
from enum import StrEnum
from ipaddress import ip_address, ip_network

from gql_imgproc.errors import RateLimited
from gql_imgproc.messaging.rate_limiter import RateLimitStatus
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.rate import RateLimit
from gql_imgproc.security.scopes import Caller
from gql_imgproc.settings_types import rate

#: Keys that are remembered as good, by their digests; the one not seen for longest is forgotten first.
KNOWN_KEYS = 10_000
#: Bits of an IPv6 address that its provider gives a customer: the others are the customer's to choose.
CUSTOMER_BITS = 64


class RateLimitedAction(StrEnum):
    """What is counted."""

    OPERATIONS = "operations"
    UPLOADS = "uploads"
    SUBSCRIPTIONS = "subscriptions"


class CallerRateLimiter:
    """What callers do, and may do, in any span of time: of each key, or of the address of those who have none."""

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings
        self._rates = runtime.rate_limiter
        self._limits = {deed: rate(getattr(settings, f"rate_{deed}")) for deed in RateLimitedAction}

    async def hit(self, caller: Caller, *deeds: RateLimitedAction) -> None:
        """Raises RateLimited, at the first of the deeds that the caller has done too often."""
        for deed in deeds:
            limit = self._limits[deed]
            if limit is None or caller.is_unlimited:
                continue
            # Without Redis reading goes on as it can; uploads are dear, so this process counts its own.
            over = await self._rates.hit(limit, deed, *_limit_key(caller), locally=deed is RateLimitedAction.UPLOADS)
            if over is not None:
                raise _limited(deed, over)

    async def status(self, caller: Caller) -> RateLimitStatus | None:
        """How many more operations the caller may send; None when nobody counts."""
        limit = self._limits[RateLimitedAction.OPERATIONS]
        if limit is None or caller.is_unlimited:
            return None
        return await self._rates.left(limit, RateLimitedAction.OPERATIONS, *_limit_key(caller), locally=False)


class FailedAuthLimiter:
    """Keys that were not good, counted by the address that presented them.

    Where there were too many, keys that this process has not found good before are not looked at for a while. Those
    that it has go on being looked up: many people share an address, and one of them must not lock the others out.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._rates = runtime.rate_limiter
        self._limit: RateLimit | None = rate(runtime.settings.rate_failures)
        self._good: OrderedDict[str, None] = OrderedDict()

    async def check(self, digest: str, address: str) -> None:
        """Raises RateLimited unless a key from there is to be looked up."""
        if self._limit is None or digest in self._good:
            return
        left = await self._rates.left(self._limit, "failures", client_network(address), locally=True)
        if left is not None and not left.remaining:
            raise _limited("API keys that are not good", left)

    async def failed(self, digest: str, address: str) -> None:
        self._good.pop(digest, None)
        if self._limit is not None:
            await self._rates.hit(self._limit, "failures", client_network(address), locally=True)

    def succeeded(self, digest: str) -> None:
        self._good[digest] = None
        self._good.move_to_end(digest)
        if len(self._good) > KNOWN_KEYS:
            self._good.popitem(last=False)


def client_network(address: str) -> str:
    """What stands for whoever calls from an address."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ip_network((found.packed, CUSTOMER_BITS), strict=False))


def _limit_key(caller: Caller) -> tuple[str, str]:
    return ("key", caller.key_id.hex) if caller.key_id else ("address", client_network(caller.ip_address))


def _limited(what: str, left: RateLimitStatus) -> RateLimited:
    return RateLimited(what, left.resets_at - time.time())
