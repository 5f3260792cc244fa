"""Commands for the installation: `migrate`, `export-schema`, `doctor`."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    app.command()(migrate)
    app.command()(export_schema)
    app.command()(doctor)


def migrate() -> None:
    """Migrate the database to the schema of this version, as `alembic upgrade head` does."""
    from gql_imgproc import log
    from gql_imgproc.database.migrations import upgrade
    from gql_imgproc.settings import load

    settings = load()
    log.set_up(settings.log_level, settings.log_format)
    upgrade(settings.database)


def export_schema() -> None:
    """Print the GraphQL schema. `schema.graphql` contains this output."""
    from gql_imgproc.graphql.schema import export

    typer.echo(export().rstrip("\n"))


def doctor() -> None:
    """Check the configuration and every dependency, and say how to fix each problem."""
    from gql_imgproc.standalone.doctor import run_checks

    if not run_checks():
        raise typer.Exit(1)
