"""Checks of the configuration and every dependency, with a fix for each problem."""

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
from gql_imgproc.messaging.queue import WORKER_HEARTBEAT_TIMEOUT_S, connect, count_workers
from gql_imgproc.settings import Settings, load
from gql_imgproc.standalone import embedded_redis, preflight
from gql_imgproc.standalone.data_dir import check_writable
from gql_imgproc.storage.object_store import open_storage

NOT_CREATED = "Does not exist yet; `gql-imgproc up` creates it"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    name: str
    value: str
    problem: str | None = None
    #: Whether the service cannot work while there is a problem.
    is_essential: bool = True

    @property
    def result(self) -> str:
        if self.problem is None:
            return "ok"
        return "FAIL" if self.is_essential else "WARN"


def run_checks() -> bool:
    """Prints every check; returns whether no essential one failed."""
    try:
        settings = load()
    except ConfigurationError as error:
        results = [Check("Settings", "", str(error))]
    else:
        checks: tuple[Callable[[Settings], Check], ...] = (
            _check_data_dir,
            _check_database,
            _check_redis,
            _check_storage,
            _check_workers,
            _check_fetching,
            _check_webhooks,
        )
        results = [Check("Settings", "valid"), *(check(settings) for check in checks)]
    _print(Console(highlight=False), results)
    return not any(result.problem and result.is_essential for result in results)


def _print(console: Console, results: list[Check]) -> None:
    if not console.is_terminal:
        # For a file or another program: one line each, neither cut nor wrapped.
        for result in results:
            parts = [f"{result.result:5} {result.name:11}", result.value, result.problem]
            console.print("  ".join(part for part in parts if part), markup=False, soft_wrap=True)
        return
    table = Table("", "Check")
    for title in ("Configured", "State"):
        table.add_column(title, overflow="fold")
    for result in results:
        table.add_row(result.result, result.name, Text(result.value), Text(result.problem or "-"))
    console.print(table)


def _check_data_dir(settings: Settings) -> Check:
    data_dir = settings.data_dir.absolute()
    # The check must not create the folder, so it tests the nearest one that exists.
    nearest = next(folder for folder in (data_dir, *data_dir.parents) if folder.exists())
    try:
        check_writable(nearest)
    except ConfigurationError as error:
        return Check("Data folder", str(data_dir), str(error))
    return Check("Data folder", str(data_dir), None if data_dir.exists() else NOT_CREATED, is_essential=False)


def _check_database(settings: Settings) -> Check:
    url = make_url(settings.database)
    value = migrations.redact_url(settings.database)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return Check("Database", value, NOT_CREATED, is_essential=False)
    database = None
    try:
        database = Database(settings.database)
        mismatch = migrations.schema_mismatch(database)
    except migrations.UNUSABLE as error:
        return Check("Database", value, str(migrations.connection_error(settings.database, error)))
    finally:
        if database:
            database.close()
    return Check("Database", value, mismatch and f"It {mismatch}")


def _check_redis(settings: Settings) -> Check:
    if (url := embedded_redis.find_url(settings)) is None:
        try:
            return Check("Redis", f"none running; `up` starts {embedded_redis.find_server()}")
        except ConfigurationError as error:
            return Check("Redis", "none", str(error))
    value = embedded_redis.redact_url(url)
    try:
        embedded_redis.check(url)
    except ConfigurationError as error:
        return Check("Redis", value, str(error))
    return Check("Redis", value)


def _check_storage(settings: Settings) -> Check:
    value = embedded_redis.redact_url(settings.storage)
    if not settings.storage.startswith("file://"):
        endpoint = open_storage(settings).public_endpoint
        value += (
            f"; browsers fetch from {' or '.join(endpoint.origins)}" if endpoint else "; browsers fetch from the API"
        )
    if not settings.storage_url and not settings.data_dir.exists():
        return Check("Storage", value, NOT_CREATED, is_essential=False)
    try:
        asyncio.run(preflight.check_store(settings))
    except ImgprocError as error:
        return Check("Storage", value, str(error))
    return Check("Storage", value)


def _check_workers(settings: Settings) -> Check:
    """Counts the heartbeats of workers in Redis."""
    if (url := embedded_redis.find_url(settings)) is None:
        return Check("Workers", "none running", "`gql-imgproc up` starts them", is_essential=False)
    try:
        with connect(url) as client:
            alive = count_workers(client)
    except (RedisError, OSError):
        return Check("Workers", "unknown", "Cannot connect to Redis; see the check of Redis")
    problem = f"No heartbeat in the last {WORKER_HEARTBEAT_TIMEOUT_S} s. Start a worker with `gql-imgproc worker`"
    return Check("Workers", f"{alive} alive", None if alive else problem)


def _check_fetching(settings: Settings) -> Check:
    networks = ", ".join(map(str, settings.fetch_allow_networks)) or "public ones only"
    ports = settings.fetch_allow_ports
    allowed = "any" if ports == "*" else ", ".join(map(str, sorted(ports)))
    return Check("Fetching", f"networks: {networks}; ports: {allowed}")


def _check_webhooks(settings: Settings) -> Check:
    if settings.webhook_secret is None:
        return Check(
            "Webhooks",
            "no secret",
            "Sent unsigned. Set IMGPROC_WEBHOOK_SECRET to sign them",
            is_essential=False,
        )
    return Check("Webhooks", "signed with a secret (not shown)")
