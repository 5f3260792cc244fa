"""The marker in an object store names the database that its objects belong to. No other database deletes any of them.

Each cleanup commits a higher epoch and then writes it to the marker, so a crash between leaves the marker lower. A
marker above the database's epoch was written by another copy of the database. A restored one is further behind than the
marker goes back, and deletes nothing. If it is not, the two copies were one a few minutes ago, and either may be the
original: the marker becomes disputed, and neither deletes anything. See `docs/decisions/0023`.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from sqlalchemy import Connection, select, update

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import store_marker
from gql_imgproc.errors import ObjectMissing, StoreNotConfirmed
from gql_imgproc.storage.object_store import ObjectStore

MARKER_KEY = "database.json"
#: Epochs before its own that the marker has: one for copies that clean up in turn, one more if a cleanup fails, and one
#: more if both clean up in the same moment. Two cleanups take less than `ORPHAN_SECONDS`: until both copies have
#: cleaned up, neither has deleted what the other one has stored since.
EARLIER_EPOCHS = 3
#: Two copies that clean up at the same time must not draw the same step. A `BigInteger` has room for those of 16,000
#: years.
_MAX_STEP = 2**32

_RESTORED = (
    "If a running service uses this store, set IMGPROC_STORAGE_URL to another place. "
    "If not, run `gql-imgproc confirm-store`."
)
_DISPUTED = (
    "If two services use this store, stop one of them, or set its IMGPROC_STORAGE_URL to another place. "
    "Then run `gql-imgproc confirm-store` with the one that remains."
)


@dataclass(frozen=True, slots=True)
class Marker:
    database_id: UUID
    epoch: int
    #: Epochs that the marker had before, the last one first.
    earlier: tuple[int, ...] = ()
    is_disputed: bool = False


@dataclass(frozen=True, slots=True)
class _Match:
    #: None: the first cleanup of a new database, or after an upgrade, writes the marker.
    marker: Marker | None
    own: Marker


async def check_marker(db: Database, store: ObjectStore) -> None:
    """Raises StoreNotConfirmed unless the objects in the store belong to this state of this database.

    Call it right before objects are deleted because of what the database contains.
    """
    _require_match(await _read_both(db, store))


async def renew_marker(db: Database, store: ObjectStore) -> None:
    """Writes the marker, so that older copies of this database do not match it. Raises StoreNotConfirmed."""
    found = await _read_both(db, store)
    if found.marker and not found.marker.is_disputed and is_copy(found.marker, found.own):
        await _write_marker(store, replace(found.marker, is_disputed=True))
    _require_match(found)
    if (marker := found.marker) is None:
        marker = found.own
        # A crash before the next marker is written leaves a store that is marked.
        await _write_marker(store, marker)
    # A power failure must not undo it: the marker would be above the database.
    epoch = await db.write_durably(_raise_epoch)
    await _write_marker(store, follow(marker, epoch))


async def confirm_store(db: Database, store: ObjectStore) -> bool:
    """Lets this database, and no copy of it, delete objects of the store. False if nothing was to be confirmed."""
    try:
        await check_marker(db, store)
    except StoreNotConfirmed:
        # A crash before the marker is written leaves the store unconfirmed.
        await _write_marker(store, await db.write(_change_id, uuid4()))
        return True
    return False


async def _read_both(db: Database, store: ObjectStore) -> _Match:
    # Twice: another process may write the first marker between the two reads.
    for _ in range(2):
        # The marker first: another process may raise both meanwhile.
        found = _Match(await _read_marker(store), await db.read(_read_own))
        if found.marker or not found.own.epoch:
            break
    return found


def _require_match(found: _Match) -> None:
    if mismatch := find_mismatch(found.marker, found.own):
        raise StoreNotConfirmed(f"Nothing is deleted from the object store: {mismatch}")


def find_mismatch(marker: Marker | None, own: Marker) -> str | None:
    """Says why the database must not delete objects, and what the operator can do."""
    if marker is None:
        reason = "it has no marker, although this database has marked a store before"
        return f"{reason}. {_RESTORED}" if own.epoch else None
    if marker.database_id != own.database_id:
        return f"its marker names another database. {_RESTORED}"
    if marker.is_disputed or is_copy(marker, own):
        return f"this database, or a copy of it, was restored. {_DISPUTED}"
    return (
        f"this database is older than the marker, so it was restored. {_RESTORED}" if marker.epoch > own.epoch else None
    )


def is_copy(marker: Marker, own: Marker) -> bool:
    """Whether a copy of this database wrote the marker, and the two were one database a few minutes ago."""
    oldest = min((marker.epoch, *marker.earlier))
    return marker.database_id == own.database_id and oldest <= own.epoch < marker.epoch


def follow(marker: Marker, epoch: int) -> Marker:
    """The marker after this one."""
    return Marker(marker.database_id, epoch, (marker.epoch, *marker.earlier)[:EARLIER_EPOCHS])


async def _read_marker(store: ObjectStore) -> Marker | None:
    try:
        found = json.loads(await store.get(MARKER_KEY))
        earlier = tuple(int(epoch) for epoch in found.get("earlier", ()))
        return Marker(UUID(found["databaseId"]), int(found["epoch"]), earlier, bool(found.get("disputed")))
    except ObjectMissing:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        # Damaged. It names no database, and so it matches none.
        return Marker(UUID(int=0), 0)


async def _write_marker(store: ObjectStore, marker: Marker) -> None:
    content = {
        "databaseId": str(marker.database_id),
        "epoch": marker.epoch,
        "earlier": marker.earlier,
        "disputed": marker.is_disputed,
    }
    await store.put(MARKER_KEY, json.dumps(content).encode(), "application/json")


def _read_own(connection: Connection) -> Marker:
    return Marker(*connection.execute(select(store_marker.c.database_id, store_marker.c.epoch)).one())


def _raise_epoch(connection: Connection) -> int:
    raised = update(store_marker).values(epoch=store_marker.c.epoch + 1 + secrets.randbelow(_MAX_STEP))
    epoch: int = connection.execute(raised.returning(store_marker.c.epoch)).scalar_one()
    return epoch


def _change_id(connection: Connection, database_id: UUID) -> Marker:
    connection.execute(update(store_marker).values(database_id=database_id))
    return _read_own(connection)
