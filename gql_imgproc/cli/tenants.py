"""Commands about tenants: `tenants create`, `list`."""

from __future__ import annotations

from typing import Annotated

import typer

from gql_imgproc.cli.operators import moment, show, transact, user

TITLES = ("Name", "Created (UTC)")


def register(app: typer.Typer) -> None:
    tenants = typer.Typer(help="Make and list tenants, in the database itself.", no_args_is_help=True)
    for command in (create, list_):
        tenants.command(command.__name__.rstrip("_"))(command)
    app.add_typer(tenants, name="tenants")


def create(
    name: Annotated[str, typer.Argument(help="What it is called, with `--tenant` of `keys create` too.")],
) -> None:
    """Make a tenant: requests, keys and limits of its own. Tenants are never removed."""
    from gql_imgproc.services import tenants

    transact(lambda connection: tenants.create(connection, user(), name))
    typer.echo(f"{name} is a tenant now; `gql-imgproc keys create --tenant` makes keys for it", err=True)


def list_() -> None:
    """Show every tenant."""
    from gql_imgproc.db import keys

    show(TITLES, [(tenant.name, moment(tenant.created_at)) for tenant in transact(keys.all_tenants)])
