"""Commands for API keys: `keys create`, `list`, `rotate`, `revoke`, `rotate-signing`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from gql_imgproc.cli.database_session import run_with_database, user_name
from gql_imgproc.cli.output import Json, format_time, print_rows
from gql_imgproc.cli.quick_group import QuickGroup
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.security.scopes import Scope, cli_caller
from gql_imgproc.system.durations import parse_duration

if TYPE_CHECKING:
    from gql_imgproc.access.api_keys import IssuedApiKey
    from gql_imgproc.access.key_repository import ApiKey
    from gql_imgproc.database.engine import Database

TENANT = "default"
TITLES = {
    "key": "Key",
    "name": "Name",
    "tenant": "Tenant",
    "scopes": "Scopes",
    "created_at": "Created (UTC)",
    "expires_at": "Expires (UTC)",
    "last_used_at": "Last used (UTC)",
    "state": "State",
}

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Key ID, the first column of `keys list`.")]


def register(app: typer.Typer) -> None:
    keys = typer.Typer(help="Create, list, rotate and revoke API keys directly in the database.", no_args_is_help=True)
    for command in (create, list_, rotate, revoke):
        keys.command(command.__name__.rstrip("_"))(command)
    keys.command("rotate-signing")(rotate_signing)
    app.add_typer(keys, name="keys", cls=QuickGroup)


def create(
    name: Annotated[str, typer.Option(help="Name of the key, shown in lists and in the audit log.")],
    tenant: Annotated[str, typer.Option(help="Tenant the key belongs to.")] = TENANT,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            help="Scope to grant; repeat the option for several.", case_sensitive=False, show_default="read, write"
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Lifetime of the key, such as 90d or 24h.", show_default="never"),
    ] = None,
) -> None:
    """Create an API key and print it once, alone on standard output: `KEY=$(gql-imgproc keys create …)`.

    \b
    Examples:
      KEY=$(gql-imgproc keys create --name shop)
      gql-imgproc keys create --name operator --scope admin --expires 90d
    """
    from gql_imgproc.access import api_keys, tenants

    expires_at = datetime.now(UTC) + _parse(expires, "--expires") if expires is not None else None

    async def work(db: Database) -> IssuedApiKey:
        caller = cli_caller(await tenants.get_by_name(db, tenant), user_name())
        return await api_keys.create(db, caller, name, scope or (Scope.READ, Scope.WRITE), expires_at)

    _print_key(run_with_database(work))


def list_(
    tenant: Annotated[str | None, typer.Option(help="Tenant whose keys to list.", show_default="all")] = None,
    json: Json = False,
) -> None:
    """List API keys with their scopes, last use and state.

    \b
    Example:
      gql-imgproc keys list --tenant shop --json
    """
    from gql_imgproc.access import key_repository, tenants

    async def work(db: Database) -> list[tuple[str, ApiKey]]:
        tenant_id = await tenants.get_by_name(db, tenant) if tenant is not None else None
        return await db.read(key_repository.list_keys, tenant_id)

    rows = [
        {
            "key": key.public_id,
            "name": key.name,
            "tenant": owner,
            "scopes": [each.lower() for each in Scope if each in key.scopes],
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "last_used_at": key.last_used_at,
            "state": key.state.lower(),
        }
        for owner, key in run_with_database(work)
    ]
    print_rows(TITLES, rows, as_json=json)


def rotate(
    key: KeyArgument,
    overlap: Annotated[str, typer.Option(metavar="TIME", help="Time the old key stays valid, 0s to 30d.")] = "24h",
) -> None:
    """Replace an API key with a new one of the same name, tenant and scopes. The old key expires after the overlap.

    \b
    Example:
      KEY=$(gql-imgproc keys rotate 2TGoMZ3sQ0Ab --overlap 7d)

    The new key is printed once, alone on standard output.
    """
    from gql_imgproc.access import api_keys

    overlap_time = _parse(overlap, "--overlap")

    async def work(db: Database) -> IssuedApiKey:
        found = await api_keys.get_by_public_id(db, key)
        return await api_keys.rotate(db, cli_caller(found.tenant_id, user_name()), found.id, overlap_time)

    _print_key(run_with_database(work))


def revoke(key: KeyArgument) -> None:
    """Revoke an API key. New requests fail at once; open sessions end within a minute.

    \b
    Example:
      gql-imgproc keys revoke 2TGoMZ3sQ0Ab
    """
    from gql_imgproc.access import api_keys

    async def work(db: Database) -> ApiKey:
        found = await api_keys.get_by_public_id(db, key)
        return await api_keys.revoke(db, cli_caller(found.tenant_id, user_name()), found.id)

    revoked = run_with_database(work)
    typer.echo(f"{revoked.public_id} ({revoked.name}) is revoked", err=True)


def rotate_signing() -> None:
    """Rotate the URL-signing secret. URLs signed with the previous secret stay valid; older ones expire.

    \b
    Example:
      gql-imgproc keys rotate-signing
    """
    from gql_imgproc.access import signed_urls

    # The secret belongs to no tenant; the event is in the audit log of the default one.
    run_with_database(lambda db: signed_urls.rotate(db, cli_caller(DEFAULT_TENANT, user_name())))
    typer.echo(
        "New URLs are signed with the new secret within a minute. Run this again to invalidate the previous secret.",
        err=True,
    )


def _parse(text: str, option: str) -> timedelta:
    duration = parse_duration(text)
    if duration is None:
        raise ConfigurationError(f"Invalid {option}. Use a duration such as 90d, 24h, 30m or 45s")
    return duration


def _print_key(issued: IssuedApiKey) -> None:
    key = issued.key
    scopes = ", ".join(each.lower() for each in Scope if each in key.scopes)
    validity = f"valid until {format_time(key.expires_at)} UTC" if key.expires_at else "valid until revoked"
    typer.echo(f"{key.public_id} ({key.name}): {scopes}, {validity}. Save the key now; it is not shown again", err=True)
    typer.echo(issued.text)
