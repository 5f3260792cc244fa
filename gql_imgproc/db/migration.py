"""Brings a database to the schema of this version."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from gql_imgproc.db.engine import Database
from gql_imgproc.errors import ConfigurationError


def _config(url: str) -> Config:
    package = Path(__file__).parents[1]
    installed = package / "alembic"
    config = Config()
    config.set_main_option("script_location", str(installed if installed.is_dir() else package.parent / "alembic"))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Runs all migrations that are missing. Safe to call from several processes at once.

    Raises ConfigurationError when the database cannot be reached or written.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    try:
        command.upgrade(_config(url), "head")
    except OperationalError as error:
        raise ConfigurationError(
            f"The database {parsed.render_as_string(hide_password=True)} cannot be used: {str(error.orig).strip()}. "
            "Check IMGPROC_DATABASE_URL and that the database is running."
        ) from None


def is_current(database: Database) -> bool:
    """Whether the database has the schema of this version."""
    head = ScriptDirectory.from_config(_config(database.url)).get_current_head()
    return database.read_now(lambda connection: MigrationContext.configure(connection).get_current_revision()) == head
