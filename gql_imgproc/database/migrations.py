"""Brings a database to the schema of this version, and tells whether it has it."""

from __future__ import annotations

import logging
import time
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, make_url, select
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import schema_compatibility
from gql_imgproc.errors import ConfigurationError

log = logging.getLogger(__name__)

#: How a database fails that cannot be used. OSError: its folder cannot be made.
UNUSABLE = (SQLAlchemyError, OSError)
#: A migration that did not get a table's lock (`alembic/env.py`) is tried again so often, after so many seconds.
LOCK_TRIES, LOCK_PAUSE_S = 60, 2.0
#: PostgreSQL: no lock in time.
_LOCKED = "55P03"


def _config(url: str) -> Config:
    package = Path(__file__).parents[1]
    installed = package / "alembic"
    config = Config()
    config.set_main_option("script_location", str(installed if installed.is_dir() else package.parent / "alembic"))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Runs all migrations that are missing. Safe to call from several processes at once, and while code is at work.

    Raises ConfigurationError when the database cannot be reached or written, or when a newer version made it that
    this one cannot work with.
    """
    for left in reversed(range(LOCK_TRIES)):
        try:
            _upgrade(url)
            return
        except CommandError:
            # It has a revision that is none of ours.
            check(url)
            return
        except UNUSABLE as error:
            locked = isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) == _LOCKED
            if not (locked and left):
                raise connection_error(url, error) from None
        # Those who wait behind us for the same table go first.
        log.info("migration retried: a table is in use")
        time.sleep(LOCK_PAUSE_S)


def _upgrade(url: str) -> None:
    config = _config(url)
    command.upgrade(config, "head")
    # What `alembic/env.py` did for us, not for another process.
    if ran := config.attributes.get("ran"):
        log.info("database migrated", extra={"revisions": " ".join(ran)})


def check(url: str) -> None:
    """Raises ConfigurationError unless the database can be reached and has a schema that this version can work with."""
    path = make_url(url).database
    misfit: str | None = MISSING
    # To look must not make it.
    if not url.startswith("sqlite") or (path and Path(path).exists()):
        database = None
        try:
            database = Database(url)
            misfit = schema_mismatch(database)
        except UNUSABLE as error:
            raise connection_error(url, error) from None
        finally:
            if database:
                database.close()
    if misfit:
        raise ConfigurationError(f"The database {redact_url(url)} {misfit}")


def redact_url(url: str) -> str:
    """The address without its password, which libpq also takes as a parameter."""
    return make_url(url).difference_update_query(["password", "sslpassword"]).render_as_string(hide_password=True)


def connection_error(url: str, error: Exception) -> ConfigurationError:
    """What to tell about a database that failed."""
    reason = " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".?")
    return ConfigurationError(
        f"The database {redact_url(url)} cannot be used: {reason}. "
        "Check IMGPROC_DATABASE_URL and that the database is running"
    )


#: How to go on from "The database", when it is older than this version, and when it is newer.
MISSING = "does not have the tables of this version. Run `gql-imgproc migrate`"
TOO_NEW = "was made by a newer version of gql-imgproc, which this one cannot work with. Use that version"


def schema_mismatch(database: Database) -> str | None:
    """Why this version cannot work with the database, and the mend; None when it can.

    It can with its own schema, and with a newer one that still has all it needs: code runs on while the next version's
    migrations do, and is started again should it have to.
    """
    head, ours = _revisions()

    def look(connection: Connection) -> str | None:
        found = MigrationContext.configure(connection).get_current_revision()
        if found == head:
            return None
        if found is None or found in ours:
            return MISSING
        if not inspect(connection).has_table(schema_compatibility.name):
            return TOO_NEW
        floor = connection.execute(select(schema_compatibility.c.min_revision)).scalar_one_or_none()
        return None if floor in ours else TOO_NEW

    return database.read_now(look)


@cache
def _revisions() -> tuple[str | None, frozenset[str]]:
    """The newest revision of this version, and all it knows."""
    # The address is not asked for.
    scripts = ScriptDirectory.from_config(_config("sqlite://"))
    return scripts.get_current_head(), frozenset(script.revision for script in scripts.walk_revisions())
