"""The marker in an object store names the database that its objects belong to. No other database deletes any of them.

An older copy of that database has the same ID, but a lower epoch than the marker, since each cleanup raises both. The
marker receives the epoch of the cleanup before: a database that loses its last commits in a crash still matches. Each
step is random. So the epochs of two copies that both run differ soon by more than a step, and the lower one is refused.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Connection, select, update

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import store_marker
from gql_imgproc.errors import ObjectMissing, StoreNotConfirmed
from gql_imgproc.storage.object_store import ObjectStore

MARKER_KEY = "database.json"
#: Steps are powers of two, since equal or similar ones tell two copies apart more slowly. A `BigInteger` has room for
#: those of 500,000 years.
_MAX_STEP_BITS = 32


@dataclass(frozen=True, slots=True)
class Marker:
    database_id: UUID
    epoch: int


async def check_marker(db: Database, store: ObjectStore) -> Marker:
    """Raises StoreNotConfirmed unless the objects in the store belong to this state of this database.

    Call it right before objects are deleted because of what the database contains.
    """
    # Twice: another process may write the first marker between the two reads.
    for _ in range(2):
        # The marker first: another process may raise both meanwhile.
        marker = await _read_marker(store)
        own = await db.read(_read_own)
        reason = _find_mismatch(marker, own)
        if reason is None:
            return own
    raise StoreNotConfirmed(
        f"Nothing is deleted from the object store: {reason}. If a running service uses this store, set "
        "IMGPROC_STORAGE_URL to another place. If not, run `gql-imgproc confirm-store`."
    )


def _find_mismatch(marker: Marker | None, own: Marker) -> str | None:
    if marker is None:
        # The first cleanup of a new database, or after an upgrade, writes the marker.
        return "it has no marker, although this database has marked a store before" if own.epoch else None
    if marker.database_id != own.database_id:
        return "its marker names another database"
    return "this database is older than the marker, so it was restored" if marker.epoch > own.epoch else None


async def renew_marker(db: Database, store: ObjectStore) -> None:
    """Writes the marker, so that older copies of this database do not match it. Raises StoreNotConfirmed."""
    await _write_marker(store, await check_marker(db, store))
    await db.write(_raise_epoch)


async def confirm_store(db: Database, store: ObjectStore) -> bool:
    """Lets this database, and no copy of it, delete objects of the store. False if nothing was to be confirmed."""
    try:
        await check_marker(db, store)
    except StoreNotConfirmed:
        # A crash before the marker is written leaves the store unconfirmed.
        await _write_marker(store, await db.write(_change_id, uuid4()))
        return True
    return False


async def _read_marker(store: ObjectStore) -> Marker | None:
    try:
        found = json.loads(await store.get(MARKER_KEY))
        return Marker(UUID(found["databaseId"]), int(found["epoch"]))
    except ObjectMissing:
        return None
    except (ValueError, TypeError, KeyError, AttributeError):
        # Damaged. It names no database, and so it matches none.
        return Marker(UUID(int=0), 0)


async def _write_marker(store: ObjectStore, marker: Marker) -> None:
    content = {"databaseId": str(marker.database_id), "epoch": marker.epoch}
    await store.put(MARKER_KEY, json.dumps(content).encode(), "application/json")


def _read_own(connection: Connection) -> Marker:
    return Marker(*connection.execute(select(store_marker.c.database_id, store_marker.c.epoch)).one())


def _raise_epoch(connection: Connection) -> None:
    connection.execute(update(store_marker).values(epoch=store_marker.c.epoch + _draw_step()))


def _draw_step() -> int:
    return 1 << secrets.randbelow(_MAX_STEP_BITS)


def _change_id(connection: Connection, database_id: UUID) -> Marker:
    connection.execute(update(store_marker).values(database_id=database_id))
    return _read_own(connection)
