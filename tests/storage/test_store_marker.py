"""The marker in the object store, and which databases match it."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import choice, randrange, sample
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from gql_imgproc.database import migrations, tables
from gql_imgproc.database.engine import Database
from gql_imgproc.errors import StorageError, StoreNotConfirmed
from gql_imgproc.storage import store_marker
from gql_imgproc.storage.object_store import ObjectStore
from gql_imgproc.storage.store_marker import (
    EARLIER_EPOCHS,
    MARKER_KEY,
    Marker,
    check_marker,
    confirm_store,
    renew_marker,
)


@pytest.fixture(params=["folder", "bucket", "bucket without conditions"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    if request.param == "folder":
        return ObjectStore(f"file://{tmp_path}/objects")
    if request.param == "bucket without conditions":
        monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    return ObjectStore(f"{request.getfixturevalue('s3').url}/shop")


async def set_epoch(database: Database, epoch: int) -> None:
    """Lets the database be an older copy of itself."""
    await database.write(lambda connection: connection.execute(update(tables.store_marker).values(epoch=epoch)))


async def read_epoch(database: Database) -> int:
    epoch: int = await database.read(lambda c, /: c.execute(select(tables.store_marker.c.epoch)).scalar_one())
    return epoch


async def find_reason(database: Database, store: ObjectStore) -> str:
    with pytest.raises(StoreNotConfirmed) as refused:
        await check_marker(database, store)
    return str(refused.value).removeprefix("Nothing is deleted from the object store: ").split(". ")[0]


RESTORED = "this database is older than the marker, so it was restored"
DISPUTED = "this database, or a copy of it, was restored"


async def test_first_cleanup_adopts_a_store_without_a_marker(database: Database, store: ObjectStore) -> None:
    await store.put("requests/1/input.csv", b"of an earlier version", "text/csv")

    await check_marker(database, store)
    assert not await store.exists(MARKER_KEY)
    await renew_marker(database, store)

    await check_marker(database, store)
    marker = json.loads(await store.get(MARKER_KEY))
    assert marker == {
        "databaseId": marker["databaseId"],
        "epoch": await read_epoch(database),
        "earlier": [0],
        "disputed": False,
    }


@pytest.mark.parametrize(("age", "reason"), [(1, DISPUTED), (EARLIER_EPOCHS, DISPUTED), (EARLIER_EPOCHS + 1, RESTORED)])
async def test_only_a_copy_of_the_last_cleanups_stops_the_original(
    database: Database, store: ObjectStore, age: int, reason: str
) -> None:
    # Given a database that was copied some cleanups ago,
    epochs = [0]
    for _ in range(EARLIER_EPOCHS + 2):
        await renew_marker(database, store)
        epochs.append(await read_epoch(database))
    assert epochs == sorted(set(epochs))
    marker = await store.get(MARKER_KEY)

    # when the copy cleans up,
    await set_epoch(database, epochs[-1 - age])
    assert await find_reason(database, store) == reason
    assert await store.get(MARKER_KEY) == marker
    with pytest.raises(StoreNotConfirmed):
        await renew_marker(database, store)

    # then the original, which may be the copy, stops if they were one database then,
    await set_epoch(database, epochs[-1])
    if reason == DISPUTED:
        assert await find_reason(database, store) == DISPUTED
    else:
        await renew_marker(database, store)

    # until an operator decides. After that the other one never matches.
    await set_epoch(database, epochs[-1 - age])
    old_id = json.loads(marker)["databaseId"]
    assert await confirm_store(database, store)
    await check_marker(database, store)
    assert json.loads(await store.get(MARKER_KEY))["databaseId"] != old_id
    assert not await confirm_store(database, store)


@pytest.mark.parametrize("lost", ["marker", "marker twice"])
async def test_crash_before_the_marker_is_written_is_not_a_copy(
    database: Database, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    await renew_marker(database, store)

    async def crash(store: ObjectStore, marker: Marker) -> None:
        raise StorageError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(store_marker, "_write_marker", crash)
        for _ in lost.split():
            with pytest.raises(StorageError, match="gone"):
                await renew_marker(database, store)

    await check_marker(database, store)
    await renew_marker(database, store)
    await check_marker(database, store)


async def test_late_write_of_another_process_is_not_a_copy(database: Database, store: ObjectStore) -> None:
    await renew_marker(database, store)
    marker = await store.get(MARKER_KEY)
    for _ in range(5):
        await renew_marker(database, store)

    await store.put(MARKER_KEY, marker, "application/json")

    await renew_marker(database, store)
    await check_marker(database, store)


def test_epoch_of_the_marker_survives_a_power_failure(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/imgproc.db"
    migrations.upgrade(url)

    async def read_synchronous() -> tuple[int, int]:
        with closing(Database(url, durability="process")) as database:
            read = lambda connection: connection.exec_driver_sql("PRAGMA synchronous").scalar_one()  # noqa: E731
            return await database.write(read), await database.write_durably(read)

    normal, full = 1, 2
    assert asyncio.run(read_synchronous()) == (normal, full)


@dataclass
class Copy:
    """A database that cleans up in steps, which the test interleaves with those of another copy."""

    own: Marker
    #: The marker that it read and matched, and what it writes next.
    read: Marker | None = None
    next: Marker | None = None
    is_refused: bool = False

    def step(self, marker: Marker) -> Marker:
        """Does the next step, and returns the marker in the store."""
        if written := self.next:
            self.next = None
            return written
        if self.read:
            self.own = Marker(self.own.database_id, self.own.epoch + randrange(1, 2**32))
            self.next, self.read = store_marker.follow(self.read, self.own.epoch), None
            return marker
        self.is_refused = store_marker.find_mismatch(marker, self.own) is not None
        if self.is_refused:
            if store_marker.is_copy(marker, self.own):
                self.next = replace(marker, is_disputed=True)
        else:
            self.read = marker
        return marker

    def clean_up(self, marker: Marker) -> Marker:
        marker = self.step(marker)
        while self.read or self.next:
            marker = self.step(marker)
        return marker


def test_copies_that_clean_up_at_once_both_stop() -> None:
    for _ in range(2_000):
        # Given two copies whose first cleanups overlap in any order,
        marker, copies = Marker(UUID(int=1), 7, (3, 1)), [Copy(Marker(UUID(int=1), 7)) for _ in range(2)]
        for number in sample([0, 0, 0, 1, 1, 1], 6):
            marker = copies[number].step(marker)
        for copy in copies:
            while copy.read or copy.next:
                marker = copy.step(marker)

        # when they clean up in turn, and the first cleanup of one of them fails,
        for number in choice([(0, 1), (1, 0), (0, 0, 1), (1, 1, 0)]):
            marker = copies[number].clean_up(marker)
        for _ in range(2):
            for copy in copies:
                marker = copy.clean_up(marker)

        # then neither deletes anything any more.
        assert [copy.is_refused for copy in copies] == [True, True]
        assert marker.is_disputed


async def test_database_does_not_match_the_marker_of_another_one(database: Database, store: ObjectStore) -> None:
    await renew_marker(database, store)
    marker = await store.get(MARKER_KEY)
    # A service with a copy of the database is confirmed meanwhile.
    await set_epoch(database, 0)
    await store.put(MARKER_KEY, b"{}", "application/json")
    assert await confirm_store(database, store)
    await store.put(MARKER_KEY, marker, "application/json")

    assert await find_reason(database, store) == "its marker names another database"


async def test_marker_that_is_gone_or_damaged_matches_no_database(database: Database, store: ObjectStore) -> None:
    await renew_marker(database, store)

    infinite = b'{"databaseId": "%s", "epoch": 1e999}' % str(uuid4()).encode()
    for damaged in (b"", b"\xff", b"[]", b"{}", b'{"databaseId": 1, "epoch": 0}', infinite):
        await store.put(MARKER_KEY, damaged, "application/json")
        assert await find_reason(database, store) == "its marker names another database"
    await store.delete(MARKER_KEY)

    reason = "it has no marker, although this database has marked a store before"
    assert await find_reason(database, store) == reason


async def test_several_cleanups_at_once_still_match(database: Database, store: ObjectStore) -> None:
    await asyncio.gather(*(renew_marker(database, store) for _ in range(5)))

    await check_marker(database, store)
    assert await read_epoch(database) >= 5


async def test_databases_with_different_prefixes_share_a_bucket(database: Database, store: ObjectStore) -> None:
    await ObjectStore(f"{store.url}/other").put(MARKER_KEY, b"of another database", "application/json")

    await renew_marker(database, store)

    await check_marker(database, store)
