"""Brings a database to the schema of this version, and tells whether it has it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from gql_imgproc.db.engine import Database
from gql_imgproc.errors import ConfigurationError

#: How a database fails that cannot be used. OSError: its folder cannot be made.
UNUSABLE = (SQLAlchemyError, OSError)


def _config(url: str) -> Config:
    package = Path(__file__).parents[1]
    installed = package / "alembic"
    config = Config()
    config.set_main_option("script_location", str(installed if installed.is_dir() else package.parent / "alembic"))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Runs all migrations that are missing. Safe to call from several processes at once.

    Raises ConfigurationError when the database cannot be reached or written, or is of a newer version.
    """
    try:
        command.upgrade(_config(url), "head")
    except CommandError as error:
        # It has a revision that is none of ours.
        raise ConfigurationError(
            f"The database {shown(url)} cannot be brought to this version: {error}. "
            "Probably a newer version of gql-imgproc made it; use that one"
        ) from None
    except UNUSABLE as error:
        raise unusable(url, error) from None


def check(url: str) -> None:
    """Raises ConfigurationError unless the database can be reached and has the schema of this version."""
    path = make_url(url).database
    current = False
    # To look must not make it.
    if not url.startswith("sqlite") or (path and Path(path).exists()):
        database = None
        try:
            database = Database(url)
            current = is_current(database)
        except UNUSABLE as error:
            raise unusable(url, error) from None
        finally:
            if database:
                database.close()
    if not current:
        raise ConfigurationError(
            f"The database {shown(url)} does not have the tables of this version. Run `gql-imgproc migrate`"
        )


def shown(url: str) -> str:
    """The address without its password, which libpq also takes as a parameter."""
    return make_url(url).difference_update_query(["password", "sslpassword"]).render_as_string(hide_password=True)


def unusable(url: str, error: Exception) -> ConfigurationError:
    """What to tell about a database that failed."""
    reason = " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".?")
    return ConfigurationError(
        f"The database {shown(url)} cannot be used: {reason}. "
        "Check IMGPROC_DATABASE_URL and that the database is running"
    )


def is_current(database: Database) -> bool:
    """Whether the database has the schema of this version."""
    head = ScriptDirectory.from_config(_config(database.url)).get_current_head()
    return database.read_now(lambda connection: MigrationContext.configure(connection).get_current_revision()) == head
