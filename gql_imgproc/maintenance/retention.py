"""Deletes expired requests, and objects that no row references."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from gql_imgproc.errors import RequestNotFinal, RequestNotFound
from gql_imgproc.requests import commands
from gql_imgproc.requests.repository import queries, transitions, work_queries
from gql_imgproc.requests.repository.work_queries import DueCleanup
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import system_caller
from gql_imgproc.storage.paths import REQUESTS_PREFIX, image_id_from_key, input_key, output_key, request_prefix

log = logging.getLogger(__name__)

_REQUEST_FOLDER = re.compile("[0-9a-f]{32}")
#: Requests that are read with one statement.
PAGE_SIZE = 500
#: Minimum age of an unreferenced object before it is deleted, in seconds: a row may still follow.
ORPHAN_SECONDS = 600
#: Delay until a request with younger unreferenced objects is due again, in seconds: at the next cleanup.
RECHECK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class _CleanupResult:
    deleted: int
    #: Unreferenced objects that are too young to be deleted.
    remaining: int


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
    """
    deleted = await _delete_objects_of_unknown_requests(runtime)
    # A request is due again at once if a cleanup was planned during its own. The next run does that.
    done: set[UUID] = set()
    while page := [
        due for due in await runtime.db.read(work_queries.list_due_cleanups, PAGE_SIZE) if due.request_id not in done
    ]:
        for due in page:
            deleted += await _delete_leftover_objects(runtime, due)
            done.add(due.request_id)
    return deleted


async def _delete_objects_of_unknown_requests(runtime: Runtime) -> int:
    deleted = 0
    # The store may contain folders that are not ours.
    folders = [
        UUID(name) for name in await runtime.storage.list_folders(REQUESTS_PREFIX) if _REQUEST_FOLDER.fullmatch(name)
    ]
    for start in range(0, len(folders), PAGE_SIZE):
        page = folders[start : start + PAGE_SIZE]
        known = await runtime.db.read(work_queries.filter_existing, page)
        for request_id in page:
            if request_id not in known:
                deleted += (await _delete_old_orphans(runtime, request_id, keep=())).deleted
    return deleted


async def _delete_leftover_objects(runtime: Runtime, due: DueCleanup) -> int:
    """Deletes what workers without a lease stored for a request, which may be open."""
    request = await runtime.db.read(queries.get_request, due.tenant_id, due.request_id)
    result = _CleanupResult(0, 0)
    # The objects of a request that is being deleted are deleted with it.
    if request is not None:
        keep = {input_key(request.id)}
        if request.output_name:
            keep.add(output_key(request.id, request.output_name))
        result = await _delete_old_orphans(runtime, request.id, keep)
    recheck_s = RECHECK_SECONDS if result.remaining else None
    await runtime.db.write(transitions.end_cleanup, due.request_id, due.seen_at, recheck_s)
    return result.deleted


async def _delete_old_orphans(runtime: Runtime, request_id: UUID, keep: Collection[str]) -> _CleanupResult:
    """Deletes old objects of a request, except those in `keep` and those that its images reference or may reference."""
    before = datetime.now(UTC) - timedelta(seconds=ORPHAN_SECONDS)
    deleted = remaining = 0
    async for page in runtime.storage.list_pages(request_prefix(request_id)):
        image_ids = [image_id for image_id in (image_id_from_key(stored.key) for stored in page) if image_id]
        stems = await runtime.db.read(work_queries.image_key_stems, image_ids)
        orphans = [stored for stored in page if stored.key not in keep and stored.key.rpartition(".")[0] not in stems]
        old = [stored.key for stored in orphans if stored.modified_at < before]
        await runtime.storage.delete_all(old)
        deleted += len(old)
        remaining += len(orphans) - len(old)
    return _CleanupResult(deleted, remaining)
