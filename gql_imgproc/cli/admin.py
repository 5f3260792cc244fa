"""Commands for the installation: `migrate`, `export-schema`, `doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import typer

from gql_imgproc.cli.output import Json, print_json


def register(app: typer.Typer) -> None:
    app.command()(migrate)
    app.command()(export_schema)
    app.command()(doctor)


def migrate() -> None:
    """Migrate the database to the schema of this version, as `alembic upgrade head` does.

    \b
    Example:
      gql-imgproc migrate
    """
    from gql_imgproc import log
    from gql_imgproc.database.migrations import upgrade
    from gql_imgproc.settings import load

    settings = load()
    log.set_up(settings.log_level, settings.log_format)
    upgrade(settings.database)


def export_schema() -> None:
    """Print the GraphQL schema. `schema.graphql` contains this output.

    \b
    Example:
      gql-imgproc export-schema > schema.graphql
    """
    from gql_imgproc.graphql.schema import export

    typer.echo(export().rstrip("\n"))


def doctor(json: Json = False) -> None:
    """Check the configuration and every dependency, and say how to fix each problem.

    \b
    Examples:
      gql-imgproc doctor
      gql-imgproc doctor --json
    """
    from gql_imgproc.standalone.doctor import Check, print_checks, run_checks

    def print_as_json(checks: Sequence[Check]) -> None:
        print_json([{**asdict(check), "result": check.result} for check in checks])

    if not run_checks(print_as_json if json else print_checks):
        raise typer.Exit(1)
