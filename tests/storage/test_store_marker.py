"""The marker in the object store, and which databases match it."""

from __future__ import annotations

import asyncio
from itertools import count, cycle
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update

from gql_imgproc.database import tables
from gql_imgproc.database.engine import Database
from gql_imgproc.errors import StoreNotConfirmed
from gql_imgproc.storage import store_marker
from gql_imgproc.storage.object_store import ObjectStore
from gql_imgproc.storage.store_marker import MARKER_KEY, Marker, check_marker, confirm_store, renew_marker


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


async def find_reason(database: Database, store: ObjectStore) -> str:
    with pytest.raises(StoreNotConfirmed) as refused:
        await check_marker(database, store)
    return str(refused.value).removeprefix("Nothing is deleted from the object store: ").split(". ")[0]


async def test_first_cleanup_adopts_a_store_without_a_marker(database: Database, store: ObjectStore) -> None:
    await store.put("requests/1/input.csv", b"of an earlier version", "text/csv")

    await check_marker(database, store)
    assert not await store.exists(MARKER_KEY)
    await renew_marker(database, store)

    assert (await check_marker(database, store)).epoch >= 1
    assert b'"epoch": 0' in await store.get(MARKER_KEY)


async def test_older_copy_does_not_match_until_it_is_confirmed(database: Database, store: ObjectStore) -> None:
    epochs = []
    for _ in range(3):
        await renew_marker(database, store)
        original = await check_marker(database, store)
        epochs.append(original.epoch)
    assert epochs == sorted(set(epochs))
    # A crash may undo the last commit.
    await set_epoch(database, epochs[1])
    await check_marker(database, store)

    await set_epoch(database, epochs[0])
    assert await find_reason(database, store) == "this database is older than the marker, so it was restored"
    with pytest.raises(StoreNotConfirmed):
        await renew_marker(database, store)
    assert f'"epoch": {epochs[1]}'.encode() in await store.get(MARKER_KEY)

    assert await confirm_store(database, store)
    confirmed = await check_marker(database, store)
    assert confirmed.database_id != original.database_id
    assert not await confirm_store(database, store)


@pytest.mark.parametrize(
    ("steps", "renewals", "refused"),
    [({"original": 4, "copy": 1}, 3, "copy"), ({"original": 1, "copy": 4}, 4, "original")],
)
async def test_copy_and_original_that_both_run_are_told_apart(
    database: Database,
    store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    steps: dict[str, int],
    renewals: int,
    refused: str,
) -> None:
    # Given a copy that starts at once after its backup, so that both match the marker,
    await renew_marker(database, store)
    epochs = dict.fromkeys(steps, (await check_marker(database, store)).epoch)

    # when both renew the marker in turn, with other steps,
    number = 0
    for own in cycle(steps):
        await set_epoch(database, epochs[own])
        monkeypatch.setattr(store_marker, "_draw_step", lambda own=own: steps[own])
        try:
            await renew_marker(database, store)
        except StoreNotConfirmed:
            break
        epochs[own] = (await check_marker(database, store)).epoch
        number += 1

    # then the one whose epoch is lower deletes nothing any more, and the other one continues.
    assert (own, number) == (refused, renewals)
    (other,) = epochs.keys() - {own}
    await set_epoch(database, epochs[other])
    await renew_marker(database, store)


def test_steps_tell_two_copies_apart_within_a_few_cleanups() -> None:
    id, cleanups = UUID(int=1), []
    for _ in range(1_000):
        # Cleanups of both in turn, until one of them is refused.
        marker, owners = Marker(id, 0), [Marker(id, 0), Marker(id, 0)]
        for number in count():
            own = owners[number % 2]
            if store_marker._find_mismatch(marker, own):
                break
            marker = own
            owners[number % 2] = Marker(id, own.epoch + store_marker._draw_step())
        cleanups.append(number)
    # By the eighth in 99 of 100.
    assert sorted(cleanups)[900] < 8
    assert max(cleanups) < 40


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

    for damaged in (b"", b"\xff", b"[]", b"{}", b'{"databaseId": 1, "epoch": 0}'):
        await store.put(MARKER_KEY, damaged, "application/json")
        assert await find_reason(database, store) == "its marker names another database"
    await store.delete(MARKER_KEY)

    reason = "it has no marker, although this database has marked a store before"
    assert await find_reason(database, store) == reason


async def test_several_cleanups_at_once_still_match(database: Database, store: ObjectStore) -> None:
    await asyncio.gather(*(renew_marker(database, store) for _ in range(5)))

    assert (await check_marker(database, store)).epoch >= 5


async def test_databases_with_different_prefixes_share_a_bucket(database: Database, store: ObjectStore) -> None:
    await ObjectStore(f"{store.url}/other").put(MARKER_KEY, b"of another database", "application/json")

    await renew_marker(database, store)

    assert (await check_marker(database, store)).epoch >= 1
