"""Commands for tenants: `tenants create`, `list`, `set`."""

from __future__ import annotations

from typing import Annotated

import typer

from gql_imgproc.cli.database_session import run_with_database, user_name
from gql_imgproc.cli.output import Json, print_rows
from gql_imgproc.cli.quick_group import QuickGroup
from gql_imgproc.enums import Quota
from gql_imgproc.errors import ConfigurationError

TITLES = {"name": "Name", "created_at": "Created (UTC)"}
#: Value of a quota option that restores the service's setting.
DEFAULT_QUOTA = "default"

QuotaOption = Annotated[
    str | None,
    typer.Option(metavar="NUMBER", help="Quota for this tenant. 0 = unlimited, `default` = the service's setting."),
]


def register(app: typer.Typer) -> None:
    tenants = typer.Typer(help="Create, list and limit tenants directly in the database.", no_args_is_help=True)
    for command in (create, list_, set_):
        tenants.command(command.__name__.rstrip("_"))(command)
    app.add_typer(tenants, name="tenants", cls=QuickGroup)


def create(
    name: Annotated[str, typer.Argument(help="Name of the tenant, also for `keys create --tenant`.")],
) -> None:
    """Create a tenant with its own requests, API keys and limits. A tenant cannot be deleted.

    \b
    Example:
      gql-imgproc tenants create shop
    """
    from gql_imgproc.access import tenants

    run_with_database(lambda db: tenants.create(db, user_name(), name))
    typer.echo(
        f"Created tenant {name}. Create its API keys with `gql-imgproc keys create --tenant {name} --name NAME`",
        err=True,
    )


def set_(
    name: Annotated[str, typer.Argument(help="Name of the tenant.")],
    open_requests: QuotaOption = None,
    pending_images: QuotaOption = None,
    open_rows: QuotaOption = None,
    stored_bytes: QuotaOption = None,
    csv_bytes: QuotaOption = None,
) -> None:
    """Set quotas of a tenant, which replace IMGPROC_QUOTA_…. Quotas you omit stay unchanged.

    \b
    Example:
      gql-imgproc tenants set shop --open-requests 20 --stored-bytes 0
    """
    from gql_imgproc.access import tenants

    options = {
        Quota.OPEN_REQUESTS: open_requests,
        Quota.PENDING_IMAGES: pending_images,
        Quota.OPEN_ROWS: open_rows,
        Quota.STORED_BYTES: stored_bytes,
        Quota.CSV_BYTES: csv_bytes,
    }
    overrides = {quota: _parse_quota(text) for quota, text in options.items() if text is not None}
    if not overrides:
        raise ConfigurationError("No quota specified. Add one, for example --open-requests 20; --help lists them")
    run_with_database(lambda db: tenants.set_quotas(db, user_name(), name, overrides))
    typer.echo(f"Updated the quotas of {name}", err=True)


def _parse_quota(text: str) -> int | None:
    if text == DEFAULT_QUOTA:
        return None
    if not (text.isascii() and text.isdecimal() and int(text[:20]) < 2**63):
        raise ConfigurationError(f"Invalid quota {text!r}. Use a whole number, 0 for unlimited, or {DEFAULT_QUOTA}")
    return int(text)


def list_(json: Json = False) -> None:
    """List all tenants.

    \b
    Example:
      gql-imgproc tenants list --json
    """
    from gql_imgproc.access import tenant_repository

    tenants = run_with_database(lambda db: db.read(tenant_repository.list_tenants))
    rows = [{"name": tenant.name, "created_at": tenant.created_at} for tenant in tenants]
    print_rows(TITLES, rows, as_json=json)
