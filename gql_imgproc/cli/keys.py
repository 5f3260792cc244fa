"""Commands about API keys: `keys create`, `list`, `rotate`, `revoke`, `rotate-signing`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import Connection

from gql_imgproc.cli.database_session import format_time, run_in_transaction, show, user
from gql_imgproc.errors import ConfigurationError, KeyNotFound
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.security.api_key import generate_api_key
from gql_imgproc.security.scopes import Caller, Scope, cli_caller
from gql_imgproc.system.durations import parse_duration

if TYPE_CHECKING:
    from gql_imgproc.access.api_keys import IssuedApiKey
    from gql_imgproc.access.key_repository import ApiKey

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

    text = generate_api_key()
    ends = datetime.now(UTC) + _read(expires, "--expires") if expires is not None else None

    def work(connection: Connection) -> IssuedApiKey:
        caller = cli_caller(tenants.get_by_name(connection, tenant), user())
        return api_keys.create(connection, caller, text, name, scope or (Scope.READ, Scope.WRITE), ends)

    _print_key(run_in_transaction(work))


def list_(
    tenant: Annotated[str | None, typer.Option(help="Keys of this tenant only.", show_default="all")] = None,
) -> None:
    """Show every key: what it is good for, when it was used last, and whether it is usable."""
    from gql_imgproc.access import key_repository, tenants

    def work(connection: Connection) -> list[tuple[str, key_repository.ApiKey]]:
        return key_repository.list_keys(
            connection, tenants.get_by_name(connection, tenant) if tenant is not None else None
        )

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
            for owner, key in run_in_transaction(work)
        ],
    )


def rotate(
    key: KeyArgument,
    overlap: Annotated[str, typer.Option(metavar="TIME", help="How long the old key goes on, 0s to 30d.")] = "24h",
) -> None:
    """Make a key of the same name, tenant and scopes, printed once; the old one ends after the overlap."""
    from gql_imgproc.access import api_keys

    text = generate_api_key()
    goes_on = _read(overlap, "--overlap")

    def work(connection: Connection) -> IssuedApiKey:
        found = _found(connection, key)
        return api_keys.rotate(connection, cli_caller(found.tenant_id, user()), text, found.id, goes_on)

    _print_key(run_in_transaction(work))


def revoke(key: KeyArgument) -> None:
    """Make a key worthless: at once for what begins, within a minute for what is open."""
    from gql_imgproc.access import api_keys

    def work(connection: Connection) -> ApiKey:
        found = _found(connection, key)
        return api_keys.revoke(connection, cli_caller(found.tenant_id, user()), found.id)

    revoked = run_in_transaction(work)
    typer.echo(f"{revoked.public_id} ({revoked.name}) is revoked", err=True)


def rotate_signing() -> None:
    """Make a new secret for signed addresses. Those of the last one stay good, earlier ones are over."""
    from gql_imgproc.access import signed_urls

    run_in_transaction(lambda connection: signed_urls.rotate(connection, _of_the_service()))
    typer.echo(
        "Addresses are signed with a new secret within a minute. Those of the last one stay good; again ends them too",
        err=True,
    )


def _of_the_service() -> Caller:
    """What concerns all tenants stands in the log of the default one."""
    return cli_caller(DEFAULT_TENANT, user())


def _found(connection: Connection, public_id: str) -> ApiKey:
    from gql_imgproc.access import key_repository

    found = key_repository.find_by_public_id(connection, public_id)
    if found is None:
        # What was typed is not repeated: it may be a whole key.
        raise KeyNotFound
    return found.key


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
