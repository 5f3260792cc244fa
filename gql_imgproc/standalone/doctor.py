"""Checks of the configuration and every dependency, with a fix for each problem."""

from __future__ import annotations

import asyncio
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from redis import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection, select, text

from gql_imgproc.database import migrations
from gql_imgproc.database.engine import Database
from gql_imgproc.database.types import now
from gql_imgproc.errors import ConfigurationError, ImgprocError, StorageError
from gql_imgproc.messaging.queue import WORKER_HEARTBEAT_TIMEOUT_S, connect, count_workers
from gql_imgproc.settings import Settings, load
from gql_imgproc.standalone import embedded_redis, preflight
from gql_imgproc.standalone.data_dir import check_writable
from gql_imgproc.standalone.terminal import format_size
from gql_imgproc.storage.object_store import open_storage
from gql_imgproc.storage.store_marker import check_marker
from gql_imgproc.system.process import raise_descriptor_limit

#: Open files and connections of a small API: three quarters are for clients.
MIN_DESCRIPTORS = 1_024
#: Free disk space below which a warning is printed, in bytes: some thousand images.
MIN_FREE_BYTES = 2**30
#: Difference between the clocks of database and machine above which a warning is printed, in seconds.
MAX_SKEW_S = 5.0
NOT_CREATED = "Does not exist yet; `gql-imgproc up` creates it"


@dataclass(frozen=True, slots=True)
class Check:
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


def print_checks(results: Sequence[Check]) -> None:
    """Prints a table on a terminal."""
    console = Console(highlight=False)
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


def run_checks(show: Callable[[Sequence[Check]], None] = print_checks) -> bool:
    """Shows every check; returns whether no essential one failed."""
    try:
        settings = load()
    except ConfigurationError as error:
        results = [Check("Settings", "", str(error))]
    else:
        checks: tuple[Callable[[Settings], Check], ...] = (
            _check_data_dir,
            _check_disk,
            _check_database,
            _check_redis,
            _check_storage,
            _check_workers,
            _check_fetching,
            _check_webhooks,
        )
        results = [
            Check("Python", f"{platform.python_version()} at {sys.executable}, {platform.platform()}"),
            _check_descriptors(),
            Check("Settings", "valid"),
            *(check(settings) for check in checks),
        ]
    show(results)
    return not any(result.problem and result.is_essential for result in results)


def _check_descriptors() -> Check:
    limit = raise_descriptor_limit(MIN_DESCRIPTORS)
    problem = None if limit >= MIN_DESCRIPTORS else f"The API needs {MIN_DESCRIPTORS:,}. Raise the limit (`ulimit -n`)"
    return Check("Open files", f"at least {limit:,}" if problem is None else f"{limit:,}", problem, is_essential=False)


def _check_disk(settings: Settings) -> Check:
    free_bytes = shutil.disk_usage(_nearest_folder(settings.data_dir)).free
    problem = None if free_bytes >= MIN_FREE_BYTES else "Free some space, or set IMGPROC_DATA_DIR to another disk"
    return Check("Free disk", format_size(free_bytes), problem, is_essential=False)


def _nearest_folder(folder: Path) -> Path:
    """The folder, or the nearest parent that exists: checks must not create it."""
    return next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())


def _check_data_dir(settings: Settings) -> Check:
    data_dir = settings.data_dir.absolute()
    if settings.database_url and settings.storage_url and settings.redis_url:
        # As in a container, whose data folder is read-only.
        return Check("Data folder", f"{data_dir} is not used")
    try:
        check_writable(_nearest_folder(data_dir))
    except ConfigurationError as error:
        return Check("Data folder", str(data_dir), str(error))
    return Check("Data folder", str(data_dir), None if data_dir.exists() else NOT_CREATED, is_essential=False)


def _check_database(settings: Settings) -> Check:
    value = migrations.redact_url(settings.database)
    if migrations.is_not_created(settings.database):
        return Check("Database", value, NOT_CREATED, is_essential=False)
    try:
        with closing(Database(settings.database)) as database:
            encoding, skew_s = database.read_now(_read_encoding_and_clock)
            value += f"; {encoding}; its clock differs by {skew_s:.1f} s"
            mismatch = migrations.schema_mismatch(database)
    except migrations.UNUSABLE as error:
        return Check("Database", value, str(migrations.connection_error(settings.database, error)))
    if mismatch:
        return Check("Database", value, f"It {mismatch}")
    skew = f"Synchronize the clocks: they may differ by {MAX_SKEW_S:.0f} s" if skew_s > MAX_SKEW_S else None
    return Check("Database", value, skew, is_essential=False)


def _read_encoding_and_clock(connection: Connection) -> tuple[str, float]:
    """The encoding of the database, and by how many seconds its clock differs from that of this machine."""
    statement = "PRAGMA encoding" if connection.dialect.name == "sqlite" else "SHOW server_encoding"
    encoding = str(connection.execute(text(statement)).scalar_one())
    database_time = connection.execute(select(now())).scalar_one()
    return encoding, abs((database_time - datetime.now(UTC)).total_seconds())


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
    return Check("Storage", value, _find_marker_problem(settings), is_essential=False)


def _find_marker_problem(settings: Settings) -> str | None:
    if migrations.is_not_created(settings.database):
        return None
    # The check of the database reports that it is unusable.
    with suppress(*migrations.UNUSABLE):
        try:
            with closing(Database(settings.database)) as database:
                asyncio.run(check_marker(database, open_storage(settings)))
        except StorageError as error:
            return str(error)
    return None


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
    if settings.webhook_secret is None and settings.secrets_key is None:
        return Check(
            "Webhooks",
            "no secret",
            "Sent unsigned. Set IMGPROC_SECRETS_KEY, so that tenants can create secrets",
            is_essential=False,
        )
    if settings.webhook_secret is None:
        return Check("Webhooks", "signed with the secret of their tenant; unsigned until it has created one")
    owner = "their tenant, or else of the service" if settings.secrets_key else "the service"
    return Check("Webhooks", f"signed with the secret of {owner} (not shown)")
