"""Commands about tenants: `tenants create`, `list`, `set`."""

from __future__ import annotations

from typing import Annotated

import typer

from gql_imgproc.cli.database_session import format_time, run_with_database, show, user
from gql_imgproc.enums import Quota
from gql_imgproc.errors import ConfigurationError

TITLES = ("Name", "Created (UTC)")
#: How a quota of the service is asked for again.
DEFAULT_QUOTA = "usual"

QuotaOption = Annotated[str | None, typer.Option(metavar="NUMBER", help="0: no limit; usual: that of the service.")]


def register(app: typer.Typer) -> None:
    tenants = typer.Typer(help="Make, list and limit tenants, in the database itself.", no_args_is_help=True)
    for command in (create, list_, set_):
        tenants.command(command.__name__.rstrip("_"))(command)
    app.add_typer(tenants, name="tenants")


def create(
    name: Annotated[str, typer.Argument(help="What it is called, with `--tenant` of `keys create` too.")],
) -> None:
    """Make a tenant: requests, keys and limits of its own. Tenants are never removed."""
    from gql_imgproc.access import tenants

    run_with_database(lambda db: tenants.create(db, user(), name))
    typer.echo(f"{name} is a tenant now; `gql-imgproc keys create --tenant` makes keys for it", err=True)


def set_(
    name: Annotated[str, typer.Argument(help="Which tenant.")],
    open_requests: QuotaOption = None,
    pending_images: QuotaOption = None,
    stored_bytes: QuotaOption = None,
    csv_bytes: QuotaOption = None,
) -> None:
    """Give a tenant quotas of its own, in place of IMGPROC_QUOTA_…; what is not named stays."""
    from gql_imgproc.access import tenants

    asked = {
        Quota.OPEN_REQUESTS: open_requests,
        Quota.PENDING_IMAGES: pending_images,
        Quota.STORED_BYTES: stored_bytes,
        Quota.CSV_BYTES: csv_bytes,
    }
    own = {quota: _limit(text) for quota, text in asked.items() if text is not None}
    if not own:
        raise ConfigurationError("Say which quota, for instance --open-requests 20; --help lists them")
    run_with_database(lambda db: tenants.set_quotas(db, user(), name, own))
    typer.echo(f"{name} has these quotas now", err=True)


def _limit(text: str) -> int | None:
    if text == DEFAULT_QUOTA:
        return None
    if not (text.isascii() and text.isdecimal() and int(text[:20]) < 2**63):
        raise ConfigurationError(f"{text!r} is no quota: give a whole number, 0 for no limit, or {DEFAULT_QUOTA}")
    return int(text)


def list_() -> None:
    """Show every tenant."""
    from gql_imgproc.access import tenant_repository

    show(
        TITLES,
        [
            (tenant.name, format_time(tenant.created_at))
            for tenant in run_with_database(lambda db: db.read(tenant_repository.list_tenants))
        ],
    )
