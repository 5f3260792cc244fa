"""A restored database deletes no object of the requests after its backup until an operator confirms."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text, update

from gql_imgproc.database.tables import renditions
from gql_imgproc.database.types import now_plus
from gql_imgproc.errors import StoreNotConfirmed
from gql_imgproc.maintenance import retention
from gql_imgproc.maintenance.scheduler import periodic_tasks, run_as_leader
from gql_imgproc.requests import commands
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from gql_imgproc.storage.store_marker import EARLIER_EPOCHS, confirm_store
from tests.support.api_clients import ANYBODY
from tests.support.services import ImageHost, jpeg, upload, work_all

HEADER = "S. No.,Product Name,Input Image Urls\n"


@pytest.fixture(params=["folder", "bucket"])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    url = request.getfixturevalue("s3").url if request.param == "bucket" else None
    return settings.model_copy(update={"storage_url": url})


@asynccontextmanager
async def service(settings: Settings, database_url: str) -> AsyncIterator[Runtime]:
    async with Runtime(settings.model_copy(update={"database_url": database_url})) as runtime:
        yield runtime


@pytest.fixture
def backup_url(database_url: str, tmp_path: Path) -> Iterator[str]:
    """URL for a copy of the database; see `back_up`."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        yield f"sqlite:///{tmp_path / 'backup.db'}"
        return
    name = f"test_{uuid4().hex}"
    yield url.set(database=name).render_as_string(hide_password=False)
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def back_up(database_url: str, backup_url: str) -> None:
    """Copies a database that nobody uses."""
    url, backup = make_url(database_url), make_url(backup_url)
    if url.get_backend_name() == "sqlite":
        with (
            closing(sqlite3.connect(str(url.database))) as source,
            closing(sqlite3.connect(str(backup.database))) as to,
        ):
            source.backup(to)
        return
    admin = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {backup.database} TEMPLATE {url.database}"))
    admin.dispose()


async def list_objects(runtime: Runtime) -> set[str]:
    return {*await runtime.storage.list_keys("requests/"), *await runtime.storage.list_keys("images/")}


async def test_restored_database_deletes_nothing_before_an_operator_confirms(
    settings: Settings,
    database_url: str,
    backup_url: str,
    image_host: ImageHost,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Old enough for a cleanup.
    monkeypatch.setattr(retention, "ORPHAN_SECONDS", -60)
    shared, new = image_host.add("/shared.jpg", jpeg(1)), image_host.add("/new.jpg", jpeg(2))

    # Given a backup after the first request,
    async with service(settings, database_url) as live:
        early = (await upload(live, f"{HEADER}1,Chair,{shared}\n")).snapshot.id
        await work_all(live)
        assert await retention.delete_orphans(live) == 0
    back_up(database_url, backup_url)

    # a second request that reuses an image of the first one,
    async with service(settings, database_url) as live:
        await upload(live, f'{HEADER}1,Table,"{shared},{new}"\n')
        await work_all(live)
        for _ in range(1 + EARLIER_EPOCHS):
            assert await retention.delete_orphans(live) == 0
        stored = await list_objects(live)
        # An input, an output and a report of each request, and two images.
        assert len(stored) == 8

    # and the backup, restored at the same store.
    async with service(settings, backup_url) as restored:
        # When the first request is deleted and maintenance runs,
        await commands.start_deletion(restored, ANYBODY, early)
        await work_all(restored)
        due = update(renditions).values(check_at=now_plus(-1))
        await restored.db.write(lambda connection: connection.execute(due))
        for task in periodic_tasks(restored):
            await run_as_leader(restored, task)

        # then no object is deleted, and the log says what to do.
        assert await list_objects(restored) == stored
        (reason,) = {line.reason for line in caplog.records if line.message == "periodic task postponed"}  # type: ignore[attr-defined]
        assert reason == (
            "Nothing is deleted from the object store: this database is older than the marker, so it was restored. "
            "If a running service uses this store, set IMGPROC_STORAGE_URL to another place. "
            "If not, run `gql-imgproc confirm-store`."
        )

        # After the operator confirmed it, the deletions that waited are done: nothing is referred to any more.
        assert await confirm_store(restored.db, restored.storage)
        assert await retention.delete_unused_renditions(restored) == 1
        assert await retention.delete_orphans(restored) == 7
        assert await list_objects(restored) == set()

    # The database that was replaced cannot delete anything any more.
    async with service(settings, database_url) as live:
        await upload(live, f"{HEADER}1,Chair,{new}\n")
        for delete in (retention.delete_orphans, retention.delete_unused_renditions):
            with pytest.raises(StoreNotConfirmed, match="its marker names another database"):
                await delete(live)


@pytest.mark.parametrize("first", ["original", "copy"])
async def test_copy_that_starts_at_once_stops_itself_and_the_original(
    settings: Settings,
    database_url: str,
    backup_url: str,
    image_host: ImageHost,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
) -> None:
    # Given a backup that is started at the store of the original, which has a new request since,
    async with service(settings, database_url) as live:
        await retention.delete_orphans(live)
    back_up(database_url, backup_url)
    async with service(settings, database_url) as live, service(settings, backup_url) as copy:
        new = image_host.add("/new.jpg", jpeg(2))
        await upload(live, f"{HEADER}1,Table,{new}\n")
        await work_all(live)
        stored = await list_objects(live)
        assert len(stored) == 4

        # when both clean up, while the new objects are younger than the grace time,
        one, other = (live, copy) if first == "original" else (copy, live)
        assert await retention.delete_orphans(one) == 0
        with pytest.raises(StoreNotConfirmed, match="this database, or a copy of it, was restored"):
            await retention.delete_orphans(other)

        # then neither deletes them after it.
        monkeypatch.setattr(retention, "ORPHAN_SECONDS", -60)
        for runtime in (one, other, one):
            with pytest.raises(StoreNotConfirmed) as refused:
                await retention.delete_orphans(runtime)
            assert str(refused.value) == (
                "Nothing is deleted from the object store: this database, or a copy of it, was restored. "
                "If two services use this store, stop one of them, or set its IMGPROC_STORAGE_URL to another place. "
                "Then run `gql-imgproc confirm-store` with the one that remains."
            )
        assert await list_objects(live) == stored

        # The operator confirms the original: only the copy is refused.
        assert await confirm_store(live.db, live.storage)
        assert await retention.delete_orphans(live) == 0
        with pytest.raises(StoreNotConfirmed, match="its marker names another database"):
            await retention.delete_orphans(copy)
        assert await list_objects(live) == stored
