"""Deletes what is old: requests, stored images that no request needs, objects without a row, entries of logs."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import Connection

from gql_imgproc.access import audit_export
from gql_imgproc.errors import RequestNotFinal, RequestNotFound
from gql_imgproc.requests import commands
from gql_imgproc.requests.repository import cleanups, endpoint_outbox, renditions, work_queries
from gql_imgproc.requests.repository.cleanups import DueCleanup
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import system_caller
from gql_imgproc.storage import store_marker
from gql_imgproc.storage.paths import IMAGES_PREFIX, REQUESTS_PREFIX, image_key, images_prefix, request_prefix

log = logging.getLogger(__name__)

_REQUEST_FOLDER = re.compile("[0-9a-f]{32}")
#: Requests that are read with one statement.
PAGE_SIZE = 500
#: Minimum age of an unreferenced object before it is deleted, in seconds: a row may still follow.
ORPHAN_SECONDS = 600
#: Delay until a request with younger unreferenced objects is due again, in seconds: at the next cleanup.
RECHECK_SECONDS = 60
#: How long the logs of webhook endpoints keep a delivery, in seconds.
DELIVERY_LOG_SECONDS = 30 * 86_400


async def delete_expired_requests(runtime: Runtime) -> int:
    """Starts to delete finished requests past their retention. Returns their number."""
    days = runtime.settings.retention_days
    deleted = 0
    while days is not None:
        page = await runtime.db.read(work_queries.list_expired, days * 86_400, PAGE_SIZE)
        for tenant_id, request_id in page:
            try:
                await commands.start_deletion(runtime, system_caller(tenant_id, "retention"), request_id)
            except (RequestNotFinal, RequestNotFound):
                continue
            deleted += 1
        if len(page) < PAGE_SIZE:
            break
    return deleted


async def delete_orphans(runtime: Runtime) -> int:
    """Deletes objects that no row references: of deleted requests, and of lost leases. Returns their number.

    Lists the folders of all requests, but the objects only of unknown requests and of those with a planned cleanup.
    Raises StoreNotConfirmed if the objects belong to another database, or to a later state of this one.
    """
    await store_marker.renew_marker(runtime.db, runtime.storage)
    deleted = await _delete_objects_of_unknown_requests(runtime, REQUESTS_PREFIX, work_queries.filter_existing)
    deleted += await _delete_objects_of_unknown_requests(runtime, IMAGES_PREFIX, cleanups.filter_storing)
    # A request is due again at once if a cleanup was planned during its own. The next run does that.
    done: set[UUID] = set()
    while page := [due for due in await runtime.db.read(cleanups.list_due, PAGE_SIZE) if due.request_id not in done]:
        for due in page:
            deleted += await _delete_leftover_objects(runtime, due)
            done.add(due.request_id)
    return deleted


async def _delete_objects_of_unknown_requests(
    runtime: Runtime, prefix: str, filter_known: Callable[[Connection, Collection[UUID]], set[UUID]]
) -> int:
    deleted = 0
    # The store may contain folders that are not ours.
    folders = [UUID(name) for name in await runtime.storage.list_folders(prefix) if _REQUEST_FOLDER.fullmatch(name)]
    for start in range(0, len(folders), PAGE_SIZE):
        page = folders[start : start + PAGE_SIZE]
        known = await runtime.db.read(filter_known, page)
        for request_id in page:
            if request_id not in known:
                deleted += (await _delete_old_objects(runtime, f"{prefix}{request_id.hex}/", _keep_none))[0]
    return deleted


async def _delete_leftover_objects(runtime: Runtime, due: DueCleanup) -> int:
    """Deletes what workers without a lease stored for a request, which may be open, or deleted."""
    id = due.request_id
    results = [await _delete_old_objects(runtime, images_prefix(id), cleanups.filter_renditions)]
    # The files of a deleted request are deleted with it.
    if (files := await runtime.db.read(cleanups.keys_of_request, id)) is not None:
        results.append(await _delete_old_objects(runtime, request_prefix(id), partial(cleanups.filter_used, files)))
    recheck_s = RECHECK_SECONDS if any(remaining for _, remaining in results) else None
    await runtime.db.write(cleanups.end, due, recheck_s)
    return sum(deleted for deleted, _ in results)


async def _delete_old_objects(
    runtime: Runtime, prefix: str, filter_used: Callable[[Connection, Collection[str]], set[str]]
) -> tuple[int, int]:
    """Deletes old objects that are not used. Returns their number, and the number of unused ones that are too young."""
    before = datetime.now(UTC) - timedelta(seconds=ORPHAN_SECONDS)
    deleted = remaining = 0
    async for page in runtime.storage.list_pages(prefix):
        used = await runtime.db.read(filter_used, [stored.key for stored in page])
        orphans = [stored for stored in page if stored.key not in used]
        old = [stored.key for stored in orphans if stored.modified_at < before]
        if old:
            # Each time: a backup may be restored while the cleanup runs.
            await store_marker.check_marker(runtime.db, runtime.storage)
            await runtime.storage.delete_all(old)
        deleted += len(old)
        remaining += len(orphans) - len(old)
    return deleted, remaining


def _keep_none(connection: Connection, keys: Collection[str]) -> set[str]:
    return set()


async def delete_old_deliveries(runtime: Runtime) -> int:
    """Deletes old deliveries from the logs of webhook endpoints. Returns their number."""
    deleted, in_page = 0, PAGE_SIZE
    while in_page == PAGE_SIZE:
        in_page = await runtime.db.write(endpoint_outbox.delete_old, DELIVERY_LOG_SECONDS, PAGE_SIZE)
        deleted += in_page
    return deleted


async def delete_exported_audit_events(runtime: Runtime) -> int:
    """Deletes audit events that were exported and are older than the retention of the audit log."""
    days = runtime.settings.audit_retention_days
    deleted, in_page = 0, PAGE_SIZE
    while days is not None and in_page == PAGE_SIZE:
        in_page = await runtime.db.write(audit_export.delete_exported, days * 86_400, PAGE_SIZE)
        deleted += in_page
    return deleted


async def delete_unused_renditions(runtime: Runtime) -> int:
    """Deletes stored images that no image of any request refers to any more. Returns their number.

    Raises StoreNotConfirmed if they may belong to another database, or to a later state of this one.
    """
    deleted, checked = 0, PAGE_SIZE
    while checked == PAGE_SIZE:
        await store_marker.check_marker(runtime.db, runtime.storage)
        checked, ended = await runtime.db.write(renditions.end_unused, PAGE_SIZE)
        if ended:
            await runtime.storage.delete_all([image_key(item.stored_by, item.object_name) for item in ended])
            await runtime.db.write(renditions.delete_ended, ended)
        deleted += len(ended)
    return deleted
