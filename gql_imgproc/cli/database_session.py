"""Direct access to the database, for operators' commands that need no running service."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from gql_imgproc.database.engine import Database

T = TypeVar("T")


def run_with_database(work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    """Runs `work` with the service's database. Raises ConfigurationError when the database cannot be used."""
    import asyncio

    from gql_imgproc.database import migrations
    from gql_imgproc.database.engine import Database
    from gql_imgproc.settings import load

    url = load().database
    migrations.check(url)
    database = Database(url)
    try:
        return asyncio.run(work(database))
    except migrations.UNUSABLE as error:
        raise migrations.connection_error(url, error) from None
    finally:
        database.close()


def user_name() -> str:
    """Returns the operating system user, for the audit log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # Users in containers often have no name.
        return str(os.getuid()) if sys.platform != "win32" else "unknown"
