"""Commands about API keys: `keys create`, `list`, `rotate`, `revoke`, `rotate-signing`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from gql_imgproc.cli.database_session import format_time, run_with_database, show, user
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.security.scopes import Scope, cli_caller
from gql_imgproc.system.durations import parse_duration

if TYPE_CHECKING:
    from gql_imgproc.access.api_keys import IssuedApiKey
    from gql_imgproc.access.key_repository import ApiKey
    from gql_imgproc.database.engine import Database

TENANT = "default"
TITLES = ("Key", "Name", "Tenant", "Scopes", "Created (UTC)", "Expires (UTC)", "Last used (UTC)", "State")

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="First column of `keys list`.")]


def register(app: typer.Typer) -> None:
    keys = typer.Typer(help="Make, list, rotate and revoke API keys, in the database itself.", no_args_is_help=True)
    for command in (create, list_, rotate, revoke):
        keys.command(command.__name__.rstrip("_"))(command)
    keys.command("rotate-signing")(rotate_signing)
    app.add_typer(keys, name="keys")


def create(
    name: Annotated[str, typer.Option(help="What the key is for; people and the audit log know it by that.")],
    tenant: Annotated[str, typer.Option(help="In whose name it speaks.")] = TENANT,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it is good for; may be given again.", case_sensitive=False, show_default="read, write"),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="Until when, for instance 90d, 24h.", show_default="never")
    ] = None,
) -> None:
    """Make a key. It is printed once, alone on standard output: `KEY=$(gql-imgproc keys create …)`."""
    from gql_imgproc.access import api_keys, tenants

    expires_at = datetime.now(UTC) + _read(expires, "--expires") if expires is not None else None

    async def work(db: Database) -> IssuedApiKey:
        caller = cli_caller(await tenants.get_by_name(db, tenant), user())
        return await api_keys.create(db, caller, name, scope or (Scope.READ, Scope.WRITE), expires_at)

    _print_key(run_with_database(work))


def list_(
    tenant: Annotated[str | None, typer.Option(help="Keys of this tenant only.", show_default="all")] = None,
) -> None:
    """Show every key: what it is good for, when it was used last, and whether it is usable."""
    from gql_imgproc.access import key_repository, tenants

    async def work(db: Database) -> list[tuple[str, ApiKey]]:
        tenant_id = await tenants.get_by_name(db, tenant) if tenant is not None else None
        return await db.read(key_repository.list_keys, tenant_id)

    show(
        TITLES,
        [
            (
                key.public_id,
                key.name,
                owner,
                " ".join(each.lower() for each in Scope if each in key.scopes),
                format_time(key.created_at),
                format_time(key.expires_at),
                format_time(key.last_used_at),
                key.state.lower(),
            )
            for owner, key in run_with_database(work)
        ],
    )


def rotate(
    key: KeyArgument,
    overlap: Annotated[str, typer.Option(metavar="TIME", help="How long the old key goes on, 0s to 30d.")] = "24h",
) -> None:
    """Make a key of the same name, tenant and scopes, printed once; the old one ends after the overlap."""
    from gql_imgproc.access import api_keys

    overlap_time = _read(overlap, "--overlap")

    async def work(db: Database) -> IssuedApiKey:
        found = await api_keys.get_by_public_id(db, key)
        return await api_keys.rotate(db, cli_caller(found.tenant_id, user()), found.id, overlap_time)

    _print_key(run_with_database(work))


def revoke(key: KeyArgument) -> None:
    """Make a key worthless: at once for what begins, within a minute for what is open."""
    from gql_imgproc.access import api_keys

    async def work(db: Database) -> ApiKey:
        found = await api_keys.get_by_public_id(db, key)
        return await api_keys.revoke(db, cli_caller(found.tenant_id, user()), found.id)

    revoked = run_with_database(work)
    typer.echo(f"{revoked.public_id} ({revoked.name}) is revoked", err=True)


def rotate_signing() -> None:
    """Make a new secret for signed addresses. Those of the last one stay good, earlier ones are over."""
    from gql_imgproc.access import signed_urls

    # The secret belongs to no tenant; the event is in the audit log of the default one.
    run_with_database(lambda db: signed_urls.rotate(db, cli_caller(DEFAULT_TENANT, user())))
    typer.echo(
        "Addresses are signed with a new secret within a minute. Those of the last one stay good; again ends them too",
        err=True,
    )


def _read(text: str, option: str) -> timedelta:
    read = parse_duration(text)
    if read is None:
        raise ConfigurationError(f"{option} is a time such as 90d, 24h, 30m or 45s")
    return read


def _print_key(made: IssuedApiKey) -> None:
    key = made.key
    scopes = ", ".join(each.lower() for each in Scope if each in key.scopes)
    ends = f"until {format_time(key.expires_at)} UTC" if key.expires_at else "until it is revoked"
    typer.echo(f"{key.public_id} ({key.name}): {scopes}, {ends}. Keep the key now, it is not shown again", err=True)
    typer.echo(made.text)
