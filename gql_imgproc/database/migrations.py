"""Migrates a database to the schema of this version, and checks its schema."""

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
from gql_imgproc.errors import ConfigurationError, DatabaseUnavailable

log = logging.getLogger(__name__)

#: Errors of an unusable database. OSError: its folder cannot be created.
UNUSABLE = (DatabaseUnavailable, SQLAlchemyError, OSError)
#: Retries of a migration that could not lock a table in time (`alembic/env.py`), and the pause before each.
LOCK_ATTEMPTS, LOCK_PAUSE_S = 60, 2.0
#: SQLSTATE of a lock timeout.
_LOCK_TIMEOUT_STATE = "55P03"


def _config(url: str) -> Config:
    package = Path(__file__).parents[1]
    installed = package / "alembic"
    config = Config()
    config.set_main_option("script_location", str(installed if installed.is_dir() else package.parent / "alembic"))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Runs all missing migrations. Safe to call from several processes at once, and while code is running.

    Raises ConfigurationError when the database is unreachable or not writable, or was created by a newer version that
    this one is not compatible with.
    """
    for attempts_left in reversed(range(LOCK_ATTEMPTS)):
        try:
            _upgrade(url)
            return
        except CommandError:
            # Unknown revision: a newer version migrated the database.
            check(url)
            return
        except UNUSABLE as error:
            state = getattr(error.orig, "sqlstate", None) if isinstance(error, OperationalError) else None
            if state != _LOCK_TIMEOUT_STATE or not attempts_left:
                raise connection_error(url, error) from None
        # Lets transactions that queued behind the migration use the table first.
        log.info("migration retried: a table is in use")
        time.sleep(LOCK_PAUSE_S)


def _upgrade(url: str) -> None:
    config = _config(url)
    command.upgrade(config, "head")
    # Set by `alembic/env.py`: the revisions that this process migrated to.
    if ran := config.attributes.get("ran"):
        log.info("database migrated", extra={"revisions": " ".join(ran)})


def check(url: str) -> None:
    """Raises ConfigurationError unless the database is reachable and its schema is compatible with this version."""
    # A check must not create a SQLite file.
    if is_not_created(url):
        raise ConfigurationError(f"The database {redact_url(url)} {NOT_CREATED}")
    database = None
    try:
        database = Database(url)
        mismatch = schema_mismatch(database)
    except UNUSABLE as error:
        raise connection_error(url, error) from None
    finally:
        if database:
            database.close()
    if mismatch:
        raise ConfigurationError(f"The database {redact_url(url)} {mismatch}")


def is_not_created(url: str) -> bool:
    """Whether it is a SQLite database without a file."""
    parts = make_url(url)
    return parts.get_backend_name() == "sqlite" and not (parts.database and Path(parts.database).exists())


def redact_url(url: str) -> str:
    """The URL without its password, which may also be a query parameter."""
    return make_url(url).difference_update_query(["password", "sslpassword"]).render_as_string(hide_password=True)


def connection_error(url: str, error: Exception) -> ConfigurationError:
    reason = " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".?")
    return ConfigurationError(
        f"The database {redact_url(url)} cannot be used: {reason}. "
        "Check IMGPROC_DATABASE_URL and that the database is running"
    )


#: Ends of a sentence that starts with "The database".
NOT_CREATED = (
    "does not exist. Run the command in the folder where `gql-imgproc up` runs, or set IMGPROC_DATA_DIR. "
    "For a new database, run `gql-imgproc migrate`"
)
MISSING = "does not have the tables of this version. Run `gql-imgproc migrate`"
TOO_NEW = "was migrated by a newer version of gql-imgproc that this version is not compatible with. Use that version"


def schema_mismatch(database: Database) -> str | None:
    """Why the schema is not compatible with this version, and how to fix it; None when it is.

    This version's own schema is compatible, and a newer one that still has everything this version needs: code keeps
    running while the migrations of the next version run.
    """
    return database.read_now(_find_mismatch)


def _find_mismatch(connection: Connection) -> str | None:
    head, known = _revisions()
    current = MigrationContext.configure(connection).get_current_revision()
    if current == head:
        return None
    if current is None or current in known:
        return MISSING
    if not inspect(connection).has_table(schema_compatibility.name):
        return TOO_NEW
    min_revision = connection.execute(select(schema_compatibility.c.min_revision)).scalar_one_or_none()
    return None if min_revision in known else TOO_NEW


@cache
def _revisions() -> tuple[str | None, frozenset[str]]:
    """The newest revision of this version, and all that it knows."""
    # Any URL will do: only the scripts are read.
    scripts = ScriptDirectory.from_config(_config("sqlite://"))
    return scripts.get_current_head(), frozenset(script.revision for script in scripts.walk_revisions())
