"""What an error of a database driver means for the transaction that it ended."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError

#: SQLSTATE of serialization failures, deadlocks and a restarting server.
_TRANSIENT_STATES = {"40001", "40P01", "57P01", "57P02", "57P03", "08006", "08003", "08001"}
#: SQLSTATE, or its class, of errors that end without a change of the transaction: a lock or statement timeout, a server
#: that is out of resources, restarting or terminating sessions, or a standby that accepts no writes.
_UNAVAILABLE_STATES, _UNAVAILABLE_CLASSES = {"55P03", "25006"}, {"08", "53", "57", "58"}
#: Primary result codes of a file that is locked, full, unreadable, unwritable or was moved.
_UNAVAILABLE_CODES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}


def is_transient(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed a moment later."""
    if isinstance(error.orig, sqlite3.Error):
        return False
    if not isinstance(error, OperationalError):
        # The driver reports an idle-in-transaction timeout as an internal error.
        return error.connection_invalidated
    state = _state(error)
    # Without a SQLSTATE the server did not answer: it is unreachable, or does not accept connections yet.
    return state is None or state in _TRANSIENT_STATES or error.connection_invalidated


def is_unavailable(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed later, because the database is locked, unreachable or unwritable."""
    if isinstance(error.orig, sqlite3.Error):
        return _code(error.orig) in _UNAVAILABLE_CODES
    state = _state(error) or ""
    return is_transient(error) or state in _UNAVAILABLE_STATES or state[:2] in _UNAVAILABLE_CLASSES


def may_be_committed(error: DBAPIError) -> bool:
    """Whether a commit that raised this error may have succeeded: its answer was lost."""
    if isinstance(error.orig, sqlite3.Error):
        return _code(error.orig) == sqlite3.SQLITE_IOERR
    state = _state(error)
    return error.connection_invalidated or state is None or state[:2] in ("08", "57")


def _code(error: sqlite3.Error) -> int:
    """The primary result code; 0 for an error of the driver itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _state(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
