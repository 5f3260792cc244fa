"""Commands for the installation: `migrate`, `export-schema`, `export-audit`, `doctor`, `confirm-store`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gql_imgproc.cli.output import Json, print_json

if TYPE_CHECKING:
    from gql_imgproc.database.engine import Database


def register(app: typer.Typer) -> None:
    app.command()(migrate)
    app.command()(export_schema)
    app.command()(export_audit)
    app.command()(doctor)
    app.command()(confirm_store)


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


def export_audit(
    file: Annotated[str, typer.Argument(metavar="FILE", help="New file to write, or `-` for standard output.")],
) -> None:
    """Write the events of the audit log since the last export, of all tenants, as a JSON object per line.

    Exported events are deleted after IMGPROC_AUDIT_RETENTION_DAYS; without that setting all are kept. Events of the
    last five minutes are left to the next export. After an export that fails, the next one has the same events.

    \b
    Example:
      gql-imgproc export-audit audit-2026-11.jsonl
    """
    from gql_imgproc.access import audit_export
    from gql_imgproc.cli.database_session import run_with_database
    from gql_imgproc.cli.output import new_file

    async def export(database: Database) -> int:
        with new_file(file) as out:
            count, until = await audit_export.write_new_events(database, out)
        await audit_export.mark_exported(database, until)
        return count

    count = run_with_database(export)
    typer.echo(f"Exported {count:,} event{'' if count == 1 else 's'}", err=True)


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


def confirm_store() -> None:
    """Confirm that no service with another database uses the object store, so that objects are deleted again.

    Needed after the database was restored, or the object store was changed. Until then nothing is deleted from the
    store; afterwards, each object that this database does not refer to. A service with a copy of the database deletes
    nothing from then on: if two run, confirm with the original.

    \b
    Example:
      gql-imgproc confirm-store
    """
    from gql_imgproc.cli.database_session import run_with_database
    from gql_imgproc.settings import load
    from gql_imgproc.storage import store_marker
    from gql_imgproc.storage.object_store import open_storage

    store = open_storage(load())
    if run_with_database(lambda db: store_marker.confirm_store(db, store)):
        typer.echo("Confirmed. Objects that this database does not refer to are deleted from now on", err=True)
    else:
        typer.echo("Nothing to confirm: the object store belongs to this database", err=True)
