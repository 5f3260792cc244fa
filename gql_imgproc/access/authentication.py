"""Authenticates callers by API key, and closes their open sessions when the key is revoked or expires."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from uuid import UUID

from gql_imgproc.access import key_repository
from gql_imgproc.access.rate_limits import FailedAuthLimiter
from gql_imgproc.errors import ApiKeyRejected, ApiKeyRequired, DatabaseUnavailable
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.api_key import ApiKeyState, ParsedApiKey, parse_api_key
from gql_imgproc.security.scopes import Caller, anonymous_caller

log = logging.getLogger(__name__)


class AnonymousAccess(StrEnum):
    """When callers without an API key are accepted."""

    NEVER = "never"
    #: On a laptop: until the first key is created.
    WHILE_NO_KEY = "while-no-key"
    ALWAYS = "always"


class Authenticator:
    """Authenticates the callers of one process.

    Keys, and whether there is any, are read from the database each time.
    """

    def __init__(self, runtime: Runtime, anonymous: AnonymousAccess) -> None:
        self._runtime = runtime
        self._anonymous = anonymous
        self._failures = FailedAuthLimiter(runtime)
        #: False for good when a key was found: keys are revoked, never deleted.
        self._has_no_key: bool | None = None
        #: Functions that close the open sessions of each key; anonymous sessions are under None.
        self._sessions: defaultdict[UUID | None, set[Callable[[], None]]] = defaultdict(set)

    async def authenticate(self, key: str | None, ip_address: str) -> Caller:
        """The caller that presents this key. Raises ApiKeyRequired, ApiKeyRejected or RateLimited."""
        if key is None:
            if await self._accepts_anonymous():
                return anonymous_caller(ip_address, is_unlimited=self._anonymous is AnonymousAccess.WHILE_NO_KEY)
            raise ApiKeyRequired
        parsed = parse_api_key(key)
        if parsed is None:
            raise ApiKeyRejected("API keys of this service begin with gip_.")
        await self._failures.check(parsed.digest, ip_address)
        found = await self._runtime.db.read(key_repository.find_by_secret, parsed)
        try:
            caller = await self._to_caller(parsed, found, ip_address)
        except ApiKeyRejected:
            await self._failures.record_failure(parsed.digest, ip_address)
            raise
        self._failures.record_success(parsed.digest)
        return caller

    async def _to_caller(self, parsed: ParsedApiKey, found: key_repository.FoundKey | None, ip_address: str) -> Caller:
        if found is None:
            raise _rejection(parsed, ip_address, "It is not known. Check that it was copied completely.")
        key = found.key
        if key.revoked_at is not None:
            raise _rejection(parsed, ip_address, "It was revoked. Ask for another one.")
        if key.state is ApiKeyState.EXPIRED:
            raise _rejection(parsed, ip_address, "It has expired. Ask for another one.")
        if not found.is_use_recorded:
            await self._runtime.db.write(key_repository.record_use, key.id)
        return Caller(key.tenant_id, key.name, key.scopes, key.id, key.expires_at, ip_address)

    async def is_still_valid(self, caller: Caller) -> bool:
        """Whether a caller that was authenticated earlier may start something new."""
        key_id = caller.key_id
        if key_id is None:
            return await self._accepts_anonymous()
        return bool(await self._runtime.db.read(key_repository.filter_usable, {key_id}))

    @contextmanager
    def watch_session(self, caller: Caller, close: Callable[[], None]) -> Iterator[None]:
        """While the block runs, `close` is called when the caller's key is revoked or expires."""
        sessions = self._sessions[caller.key_id]
        sessions.add(close)
        try:
            yield
        finally:
            sessions.discard(close)
            if not sessions and self._sessions.get(caller.key_id) is sessions:
                del self._sessions[caller.key_id]

    async def close_revoked_sessions(self) -> None:
        """Closes sessions whose caller would be rejected now. Call it periodically."""
        open_keys = {key_id for key_id in self._sessions if key_id}
        usable = await self._runtime.db.read(key_repository.filter_usable, open_keys) if open_keys else set()
        rejected: set[UUID | None] = set() if await self._accepts_anonymous() else {None}
        for key_id in rejected | (open_keys - usable):
            for close in tuple(self._sessions.get(key_id, ())):
                close()

    async def _accepts_anonymous(self) -> bool:
        if self._anonymous is AnonymousAccess.WHILE_NO_KEY:
            if self._has_no_key is not False:
                # Without the database, the last answer counts: whatever the caller wants to read or write fails.
                with suppress(DatabaseUnavailable):
                    self._has_no_key = not await self._runtime.db.read(key_repository.has_keys)
            return self._has_no_key is True
        return self._anonymous is AnonymousAccess.ALWAYS


def _rejection(parsed: ParsedApiKey, ip_address: str, reason: str) -> ApiKeyRejected:
    """Logs the rejection. It is not in the audit log, which unauthenticated callers could otherwise fill."""
    log.info("API key rejected", extra={"public_id": parsed.public_id, "ip_address": ip_address, "reason": reason})
    return ApiKeyRejected(reason)
