"""Rate limits of callers and tenants, and a limit of failed authentications."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace
from enum import StrEnum
from ipaddress import ip_address as parse_ip_address
from ipaddress import ip_network
from uuid import UUID

from gql_imgproc.errors import RateLimited
from gql_imgproc.messaging.rate_limiter import RateLimitStatus
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.rate import RateLimit
from gql_imgproc.security.scopes import Caller
from gql_imgproc.settings_types import parse_rate

#: Digests of valid keys that a process remembers; the least recently used one is dropped first.
KNOWN_KEYS = 10_000
#: Length of the IPv6 prefix that identifies a customer, who can choose the other bits.
IPV6_PREFIX_BITS = 64


class RateLimitedAction(StrEnum):
    """What is counted; the values appear in messages."""

    OPERATIONS = "operations"
    UPLOADS = "uploads"
    SUBSCRIPTIONS = "subscriptions"
    SOURCES = "sources"


class CallerRateLimiter:
    """Rate limits per caller, keyed by API key, or by IP address without one.

    All keys of a tenant share a multiple of each limit, so that a caller cannot get more with any number of keys.
    """

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings
        self._rates = runtime.rate_limiter
        self._limits = {action: parse_rate(getattr(settings, f"rate_{action}")) for action in RateLimitedAction}
        self._keys_per_tenant = settings.rate_keys_per_tenant

    async def hit(self, caller: Caller, *actions: RateLimitedAction) -> None:
        """Counts the actions. Raises RateLimited at the first one that exceeds its limit."""
        for action in actions:
            # Without Redis, reads are not limited; uploads are expensive, so this process counts its own.
            locally = action is RateLimitedAction.UPLOADS
            for limit, key in self._limits_of(caller, action):
                await self._hit(limit, action, *key, locally=locally)

    def _limits_of(self, caller: Caller, action: RateLimitedAction) -> list[tuple[RateLimit, tuple[str, str]]]:
        """Each limit that holds for the caller, and what it counts."""
        limit = self._limits[action]
        if limit is None or caller.is_unlimited:
            return []
        of_tenant = replace(limit, amount=limit.amount * self._keys_per_tenant)
        return [(limit, _limit_key(caller)), *([(of_tenant, _tenant_key(caller.tenant_id))] if caller.key_id else [])]

    async def hit_source(self, tenant_id: UUID) -> None:
        """Counts the download of a source image; a signed URL has no caller. Raises RateLimited."""
        if limit := self._limits[RateLimitedAction.SOURCES]:
            await self._hit(limit, RateLimitedAction.SOURCES, *_tenant_key(tenant_id), locally=True)

    async def _hit(self, limit: RateLimit, action: RateLimitedAction, *key: str, locally: bool) -> None:
        exceeded = await self._rates.hit(limit, action, *key, locally=locally)
        if exceeded is not None:
            raise _to_error(action, exceeded)

    async def status(self, caller: Caller) -> RateLimitStatus | None:
        """How many more operations the caller may send; None when the caller has no limit."""
        action = RateLimitedAction.OPERATIONS
        limits = self._limits_of(caller, action)
        found = [await self._rates.status(limit, action, *key, locally=False) for limit, key in limits]
        # The one that refuses first: other keys of the tenant may have used its own limit.
        return min((status for status in found if status), key=lambda status: status.remaining, default=None)


class FailedAuthLimiter:
    """Limits failed authentications per IP address.

    Beyond the limit, keys that this process has not accepted before are rejected unchecked. Known keys are still
    checked: many people share an IP address, and one of them must not lock the others out.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._rates = runtime.rate_limiter
        self._limit: RateLimit | None = parse_rate(runtime.settings.rate_failures)
        self._known: OrderedDict[str, None] = OrderedDict()

    async def check(self, digest: str, ip_address: str) -> None:
        """Raises RateLimited unless a key from this IP address may be checked."""
        if self._limit is None or digest in self._known:
            return
        status = await self._rates.status(self._limit, "failures", client_network(ip_address), locally=True)
        if status is not None and not status.remaining:
            raise _to_error("failed authentications", status)

    async def record_failure(self, digest: str, ip_address: str) -> None:
        self._known.pop(digest, None)
        if self._limit is not None:
            await self._rates.hit(self._limit, "failures", client_network(ip_address), locally=True)

    def record_success(self, digest: str) -> None:
        self._known[digest] = None
        self._known.move_to_end(digest)
        if len(self._known) > KNOWN_KEYS:
            self._known.popitem(last=False)


def client_network(ip_address: str) -> str:
    """The network that identifies a client: an IPv4 host, or the prefix of an IPv6 host."""
    try:
        parsed = parse_ip_address(ip_address)
    except ValueError:
        return ip_address
    return str(parsed) if parsed.version == 4 else str(ip_network((parsed.packed, IPV6_PREFIX_BITS), strict=False))


def _limit_key(caller: Caller) -> tuple[str, str]:
    return ("key", caller.key_id.hex) if caller.key_id else ("ip", client_network(caller.ip_address))


def _tenant_key(tenant_id: UUID) -> tuple[str, str]:
    return "tenant", tenant_id.hex


def _to_error(what: str, status: RateLimitStatus) -> RateLimited:
    return RateLimited(what, status.resets_at - time.time())
