"""Addresses of this service that need no key for a while, for those who cannot send one: pictures in a page, links."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

from sqlalchemy import Connection, insert, select

from gql_imgproc.access import audit_log
from gql_imgproc.database.tables import signing_secrets
from gql_imgproc.database.types import now
from gql_imgproc.enums import AuditAction
from gql_imgproc.ids import new_id
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import Caller
from gql_imgproc.security.url_signature import compute_expiry, sign_path, verify_path


class UrlSigner:
    """Signs paths with a secret that all processes know, and believes those that are signed."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._secret = ""

    async def refresh(self) -> None:
        """Reads which secret is the newest; to be called before anything is signed, and then now and then."""
        self._secret = (await self._runtime.db.read(read_secrets))[0]

    def sign(self, path: str) -> str:
        """The path, with what opens it for a while."""
        if not self._secret:
            raise RuntimeError("the secret has not been read yet")
        return sign_path(path, self.expires(), self._secret)

    def expires(self) -> int:
        """Until when what is signed now is good, in seconds since 1970."""
        return compute_expiry(time.time(), self._runtime.settings.signed_url_seconds)

    async def verify(self, path: str, query: Mapping[str, str]) -> bool:
        # Read anew: another process may have signed with a secret that this one has not heard of.
        return verify_path(path, query, await self._runtime.db.read(read_secrets), time.time())


def rotate(connection: Connection, caller: Caller) -> None:
    """Makes a new secret; what the one before has signed stays good, what an earlier one has is over."""
    insert_secret(connection, secrets.token_hex(32))
    audit_log.record_event(connection, caller, AuditAction.SIGNING_SECRET_ROTATED)


def read_secrets(connection: Connection) -> list[str]:
    """The newest, which signs, and the one before, which is still believed."""
    newest = select(signing_secrets.c.secret).order_by(signing_secrets.c.created_at.desc(), signing_secrets.c.id.desc())
    return list(connection.scalars(newest.limit(2)))


def insert_secret(connection: Connection, secret: str) -> None:
    connection.execute(insert(signing_secrets).values(id=new_id(), secret=secret, created_at=now()))
