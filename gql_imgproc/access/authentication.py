"""Who comes in: from what a caller presents to who it is; and the end of what stays open when its key ends."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from uuid import UUID

from gql_imgproc.access import key_repository
from gql_imgproc.access.rate_limits import FailedAuthLimiter
from gql_imgproc.errors import ApiKeyRejected, ApiKeyRequired
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.api_key import ParsedApiKey, parse_api_key
from gql_imgproc.security.scopes import Caller, anonymous_caller

log = logging.getLogger(__name__)


class Anonymous(StrEnum):
    """When callers without a key are let in."""

    NEVER = "never"
    #: On a laptop: until somebody makes the first key.
    WHILE_NO_KEY = "while-no-key"
    ALWAYS = "always"


class Authenticator:
    """Where callers of one process say who they are.

    Keys are looked up each time. Whether there is any is known from the last `refresh`: callers without one are many.
    """

    def __init__(self, runtime: Runtime, anonymous: Anonymous) -> None:
        self._runtime = runtime
        self._anonymous = anonymous
        self._failures = FailedAuthLimiter(runtime)
        self._no_key = False
        #: How to end what is open, by its key; that of callers without one under None.
        self._stays: defaultdict[UUID | None, set[Callable[[], None]]] = defaultdict(set)

    async def authenticate(self, key: str | None, address: str) -> Caller:
        """Who calls from `address` and presents this key. Raises KeyMissing, KeyRefused or RateLimited."""
        if key is None:
            if self._admits_anonymous:
                return anonymous_caller(address, is_unlimited=self._anonymous is Anonymous.WHILE_NO_KEY)
            raise ApiKeyRequired
        form = parse_api_key(key)
        if form is None:
            raise ApiKeyRejected("It is not an API key of this service: those begin with gip_.")
        await self._failures.check(form.digest, address)
        found = await self._runtime.db.read(key_repository.find_by_secret, form)
        try:
            caller = await self._checked(form, found, address)
        except ApiKeyRejected:
            await self._failures.failed(form.digest, address)
            raise
        self._failures.succeeded(form.digest)
        return caller

    async def _checked(self, form: ParsedApiKey, found: key_repository.FoundKey | None, address: str) -> Caller:
        if found is None:
            raise _refused(form, address, "It is not known. Check that it was copied as a whole.")
        key = found.key
        if key.revoked_at is not None:
            raise _refused(form, address, "It was revoked. Ask for another one.")
        if found.expired:
            raise _refused(form, address, "It has expired. Ask for another one.")
        if not found.use_is_noted:
            await self._runtime.db.write(key_repository.record_use, key.id)
        return Caller(key.tenant_id, key.name, key.scopes, key.id, key.expires_at, address)

    async def is_still_valid(self, caller: Caller) -> bool:
        """Whether somebody who was let in a while ago may begin something new."""
        key_id = caller.key_id
        if key_id is None:
            return self._admits_anonymous
        return bool(await self._runtime.db.read(key_repository.filter_usable, {key_id}))

    @contextmanager
    def watch_session(self, caller: Caller, over: Callable[[], None]) -> Iterator[None]:
        """For as long as something of a caller is open: `over` is called when it would not be admitted any more."""
        stays = self._stays[caller.key_id]
        stays.add(over)
        try:
            yield
        finally:
            stays.discard(over)
            if not stays and self._stays.get(caller.key_id) is stays:
                del self._stays[caller.key_id]

    async def close_revoked_sessions(self) -> None:
        """Ends the stays of those who would not be admitted any more; to be called again and again."""
        present = {key_id for key_id in self._stays if key_id}
        self._no_key, usable = await self._runtime.db.read(
            lambda connection: (
                not key_repository.has_keys(connection),
                key_repository.filter_usable(connection, present) if present else set(),
            )
        )
        over = present - usable | (set() if self._admits_anonymous else {None})
        for key_id in over:
            for end in tuple(self._stays.get(key_id, ())):
                end()

    @property
    def _admits_anonymous(self) -> bool:
        return self._anonymous is Anonymous.ALWAYS or (self._anonymous is Anonymous.WHILE_NO_KEY and self._no_key)


def _refused(form: ParsedApiKey, address: str, reason: str) -> ApiKeyRejected:
    """Stands in the log, and not in the audit log, which strangers could fill."""
    log.info("API key rejected", extra={"public_id": form.public_id, "address": address, "reason": reason})
    return ApiKeyRejected(reason)
