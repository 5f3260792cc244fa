"""Signed URLs work without an API key for a limited time: images in a page, download links."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

from sqlalchemy import Connection, insert, select

from gql_imgproc.access import audit_log
from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import signing_secrets
from gql_imgproc.database.types import now
from gql_imgproc.enums import AuditAction
from gql_imgproc.ids import new_id
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import Caller
from gql_imgproc.security.url_signature import compute_expiry, sign_path, verify_path


class UrlSigner:
    """Signs and verifies paths with the secrets in the database, which all processes share."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._secret = ""

    async def refresh(self) -> None:
        """Reads the newest secret. Call it before the first `sign`, and periodically after that."""
        self._secret = (await self._runtime.db.read(read_secrets))[0]

    def sign(self, path: str) -> str:
        """The path with an expiry and a signature."""
        if not self._secret:
            raise RuntimeError("the signing secret has not been read yet")
        return sign_path(path, self.expires(), self._secret)

    def expires(self) -> int:
        """When a URL signed now expires, in seconds since 1970."""
        return compute_expiry(time.time(), self._runtime.settings.signed_url_seconds)

    async def verify(self, path: str, query: Mapping[str, str]) -> bool:
        # Secrets are read each time: another process may have signed with one that is newer than ours.
        return verify_path(path, query, await self._runtime.db.read(read_secrets), time.time())


async def rotate(db: Database, caller: Caller) -> None:
    """Creates a new secret. URLs signed with the previous one stay valid; older ones become invalid."""
    await db.write(_rotate, caller, secrets.token_hex(32))


def _rotate(connection: Connection, caller: Caller, secret: str) -> None:
    insert_secret(connection, secret)
    audit_log.record_event(connection, caller, AuditAction.SIGNING_SECRET_ROTATED)


def read_secrets(connection: Connection) -> list[str]:
    """The newest secret, which signs, and the previous one, whose signatures are still valid."""
    newest = select(signing_secrets.c.secret).order_by(signing_secrets.c.created_at.desc(), signing_secrets.c.id.desc())
    return list(connection.scalars(newest.limit(2)))


def insert_secret(connection: Connection, secret: str) -> None:
    connection.execute(insert(signing_secrets).values(id=new_id(), secret=secret, created_at=now()))
