"""What is configured, what of it is reachable, and the mend for each fault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from redis import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import make_url

from gql_imgproc.database import migrations
from gql_imgproc.database.engine import Database
from gql_imgproc.errors import ConfigurationError, ImgprocError
from gql_imgproc.messaging.queue import WORKER_HEARTBEAT_TIMEOUT_S, connect, workers
from gql_imgproc.settings import Settings, load
from gql_imgproc.standalone import embedded_redis, preflight
from gql_imgproc.standalone.preflight import check_writable
from gql_imgproc.storage.object_store import open_storage

#: Sorted set in Redis in which each Dramatiq worker leaves the time it was last alive, in milliseconds.
NOT_CREATED = "Not there yet; `gql-imgproc up` makes it"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `essential`: the service cannot work while it is at fault."""

    what: str
    value: str
    fault: str | None = None
    essential: bool = True

    @property
    def word(self) -> str:
        if self.fault is None:
            return "ok"
        return "FAULT" if self.essential else "note"


def run_checks() -> bool:
    """Prints every finding; whether nothing essential is at fault."""
    try:
        settings = load()
    except ConfigurationError as error:
        findings = [Check("Settings", "", str(error))]
    else:
        looks: tuple[Callable[[Settings], Check], ...] = (
            _data,
            _database,
            _redis,
            _storage,
            _workers,
            _fetching,
            _webhooks,
        )
        findings = [Check("Settings", "understood"), *(look(settings) for look in looks)]
    _show(Console(highlight=False), findings)
    return not any(finding.fault and finding.essential for finding in findings)


def _show(console: Console, findings: list[Check]) -> None:
    if not console.is_terminal:
        # For a file or another program: one line each, nothing cut off or broken.
        for finding in findings:
            parts = [f"{finding.word:5} {finding.what:11}", finding.value, finding.fault]
            console.print("  ".join(part for part in parts if part), markup=False, soft_wrap=True)
        return
    table = Table("", "What")
    for title in ("Configured", "State"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        table.add_row(finding.word, finding.what, Text(finding.value), Text(finding.fault or "-"))
    console.print(table)


def _data(settings: Settings) -> Check:
    value = str(settings.data_dir.absolute())
    # Looking must not make it.
    nearest = next(
        folder for folder in (settings.data_dir.absolute(), *settings.data_dir.absolute().parents) if folder.exists()
    )
    try:
        check_writable(nearest)
    except ConfigurationError as error:
        return Check("Data folder", value, str(error))
    return Check("Data folder", value, None if settings.data_dir.exists() else NOT_CREATED, essential=False)


def _database(settings: Settings) -> Check:
    url = make_url(settings.database)
    value = migrations.redact_url(settings.database)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return Check("Database", value, NOT_CREATED, essential=False)
    database = None
    try:
        database = Database(settings.database)
        misfit = migrations.schema_mismatch(database)
    except migrations.UNUSABLE as error:
        return Check("Database", value, str(migrations.connection_error(settings.database, error)))
    finally:
        if database:
            database.close()
    return Check("Database", value, misfit and f"It {misfit}")


def _redis(settings: Settings) -> Check:
    if (url := embedded_redis.known_url(settings)) is None:
        try:
            return Check("Redis", f"none runs; `up` starts {embedded_redis.find_server()}")
        except ConfigurationError as error:
            return Check("Redis", "none", str(error))
    value = embedded_redis.without_password(url)
    try:
        embedded_redis.check(url)
    except ConfigurationError as error:
        return Check("Redis", value, str(error))
    return Check("Redis", value)


def _storage(settings: Settings) -> Check:
    value = embedded_redis.without_password(settings.storage)
    if not settings.storage.startswith("file://"):
        outlet = open_storage(settings).outlet
        value += f"; browsers fetch from {' or '.join(outlet.origins)}" if outlet else "; browsers fetch from the API"
    if not settings.storage_url and not settings.data_dir.exists():
        return Check("Storage", value, NOT_CREATED, essential=False)
    try:
        asyncio.run(preflight.check_store(settings))
    except ImgprocError as error:
        return Check("Storage", value, str(error))
    return Check("Storage", value)


def _workers(settings: Settings) -> Check:
    """Workers are counted where Dramatiq keeps their signs of life."""
    if (url := embedded_redis.known_url(settings)) is None:
        return Check("Workers", "none run", NOT_CREATED, essential=False)
    try:
        with connect(url) as client:
            alive = workers(client)
    except (RedisError, OSError):
        return Check("Workers", "unknown", "Redis does not answer, see there")
    mend = (
        None
        if alive
        else f"None was alive in the last {WORKER_HEARTBEAT_TIMEOUT_S} s. Start one with `gql-imgproc worker`"
    )
    return Check("Workers", f"{alive} alive", mend)


def _fetching(settings: Settings) -> Check:
    networks = ", ".join(map(str, settings.fetch_allow_networks)) or "none but public ones"
    ports = settings.fetch_allow_ports
    shown = "any" if ports == "*" else ", ".join(map(str, sorted(ports)))
    return Check("Fetching", f"networks: {networks}; ports: {shown}")


def _webhooks(settings: Settings) -> Check:
    if settings.webhook_secret is None:
        return Check("Webhooks", "no secret", "They are sent unsigned. Set IMGPROC_WEBHOOK_SECRET", essential=False)
    return Check("Webhooks", "signed with a secret (not shown)")
