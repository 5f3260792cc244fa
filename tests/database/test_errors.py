"""Which errors of the drivers a retry may fix, and after which a commit may have succeeded."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InternalError, OperationalError, ProgrammingError

from gql_imgproc.database.errors import is_transient, is_unavailable, may_be_committed


def sqlite_error(code: int) -> DBAPIError:
    original = sqlite3.OperationalError("a reason")
    original.sqlite_errorcode = code
    return OperationalError("SQL", None, original)


def postgresql_error(kind: type[DBAPIError], state: str | None, *, is_disconnected: bool = False) -> DBAPIError:
    original = psycopg.errors.lookup(state)("a reason") if state else psycopg.OperationalError("a reason")
    return kind("SQL", None, original, connection_invalidated=is_disconnected)


@pytest.mark.parametrize(
    ("error", "transient", "unavailable", "committed"),
    [
        pytest.param(sqlite_error(sqlite3.SQLITE_BUSY), False, True, False, id="locked"),
        pytest.param(sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), False, True, False, id="locked, extended code"),
        pytest.param(sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED), False, True, False, id="moved"),
        pytest.param(sqlite_error(sqlite3.SQLITE_FULL), False, True, False, id="full"),
        pytest.param(sqlite_error(sqlite3.SQLITE_CANTOPEN), False, True, False, id="cannot be opened"),
        pytest.param(sqlite_error(sqlite3.SQLITE_IOERR), False, True, True, id="I/O error"),
        pytest.param(sqlite_error(sqlite3.SQLITE_ERROR), False, False, False, id="no such table"),
        pytest.param(postgresql_error(OperationalError, None), True, True, True, id="refused, or no answer"),
        pytest.param(postgresql_error(OperationalError, "57P03"), True, True, True, id="starting up"),
        pytest.param(postgresql_error(OperationalError, "57P01"), True, True, True, id="terminated"),
        pytest.param(postgresql_error(OperationalError, "08006"), True, True, True, id="connection failure"),
        pytest.param(postgresql_error(OperationalError, "40P01"), True, True, False, id="deadlock"),
        pytest.param(postgresql_error(OperationalError, "55P03"), False, True, False, id="lock timeout"),
        pytest.param(postgresql_error(OperationalError, "57014"), False, True, True, id="statement timeout"),
        pytest.param(postgresql_error(OperationalError, "53300"), False, True, False, id="too many connections"),
        pytest.param(postgresql_error(OperationalError, "53100"), False, True, False, id="disk full"),
        pytest.param(postgresql_error(InternalError, "25006"), False, True, False, id="read-only standby"),
        pytest.param(
            postgresql_error(InternalError, "25P03", is_disconnected=True), True, True, True, id="idle timeout"
        ),
        pytest.param(postgresql_error(ProgrammingError, "42P01"), False, False, False, id="undefined table"),
        pytest.param(postgresql_error(IntegrityError, "23505"), False, False, False, id="unique violation"),
        pytest.param(postgresql_error(DataError, "22001"), False, False, False, id="value too long"),
    ],
)
def test_errors_are_classified(error: DBAPIError, transient: bool, unavailable: bool, committed: bool) -> None:
    assert is_transient(error) is transient
    assert is_unavailable(error) is unavailable
    assert may_be_committed(error) is committed
