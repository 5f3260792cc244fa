"""Removing what nobody needs any more: requests that have expired, objects that no row names."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from gql_imgproc.errors import RequestNotFinal, RequestNotFound, StorageError
from gql_imgproc.requests import commands
from gql_imgproc.requests.repository import queries, transitions
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import system_caller
from gql_imgproc.storage.paths import REQUESTS, image_id_in, input_key, output_key, request_prefix

log = logging.getLogger(__name__)

_OUR_FOLDER = re.compile("[0-9a-f]{32}")
#: Requests that are looked at together.
PAGE = 500
#: A deletion that began longer ago, in seconds, is taken up again.
QUIET_SECONDS = 600
#: An object that no row names, and that is younger, in seconds, may still get one.
ORPHAN_SECONDS = 600


@dataclass(frozen=True, slots=True)
class _Cleaned:
    """Objects that were removed, and those that no row names but that may be too young for one."""

    removed: int
    left: int


async def delete_expired_requests(runtime: Runtime) -> int:
    """Deletes final requests that are older than the retention, and those whose deletion was broken off; how many."""
    days = runtime.settings.retention_days
    removed = 0
    begun = await runtime.db.read(transitions.list_deleting, QUIET_SECONDS, PAGE)
    for tenant_id, request_id in begun:
        await commands.delete_chunks(runtime, tenant_id, request_id)
        removed += 1
    while days is not None:
        page = await runtime.db.read(transitions.list_expired, days * 86_400, PAGE)
        for tenant_id, request_id in page:
            try:
                await commands.delete(runtime, system_caller(tenant_id, "retention"), request_id)
            except StorageError as error:
                # Its rows are gone, so that its objects are orphans now.
                log.warning("objects of a request are left", extra={"request": request_id, "reason": str(error)})
            except (RequestNotFinal, RequestNotFound):
                continue
            removed += 1
        if len(page) < PAGE:
            break
    return removed


async def delete_orphans(runtime: Runtime) -> int:
    """Deletes objects that no row names: of requests that are gone, and of leases that were lost; how many."""
    removed = await _remove_of_unknown_requests(runtime)
    for tenant_id, request_id in await runtime.db.read(transitions.list_with_leftover_objects, PAGE):
        removed += await _delete_leftover_objects(runtime, tenant_id, request_id)
    return removed


async def _remove_of_unknown_requests(runtime: Runtime) -> int:
    removed = 0
    # Others may have put things beside ours.
    folders = [UUID(name) for name in await runtime.storage.folders(REQUESTS) if _OUR_FOLDER.fullmatch(name)]
    for start in range(0, len(folders), PAGE):
        page = folders[start : start + PAGE]
        known = await runtime.db.read(transitions.filter_existing, page)
        for request_id in page:
            if request_id not in known:
                removed += (await _remove_old(runtime, request_id, keep=())).removed
    return removed


async def _delete_leftover_objects(runtime: Runtime, tenant_id: UUID, request_id: UUID) -> int:
    """Removes what losers of leases stored beside a request that has ended a while ago."""
    request = await runtime.db.read(queries.get_request, tenant_id, request_id)
    if request is None or not request.status.is_terminal:
        return 0
    keep = {input_key(request_id)}
    if request.output_name:
        keep.add(output_key(request_id, request.output_name))
    cleaned = await _remove_old(runtime, request_id, keep)
    if not cleaned.left:
        await runtime.db.write(transitions.mark_cleaned_up, request)
    return cleaned.removed


async def _remove_old(runtime: Runtime, request_id: UUID, keep: Collection[str]) -> _Cleaned:
    """Removes old objects of a request but for those to be kept and those that its images name."""
    before = datetime.now(UTC) - timedelta(seconds=ORPHAN_SECONDS)
    removed = left = 0
    async for page in runtime.storage.pages(request_prefix(request_id)):
        image_ids = [image_id for image_id in (image_id_in(stored.key) for stored in page) if image_id]
        named = await runtime.db.read(
            transitions.image_keys,
            image_ids,
        )
        orphans = [stored for stored in page if stored.key not in named and stored.key not in keep]
        old = [stored.key for stored in orphans if stored.modified_at < before]
        await runtime.storage.delete_all(old)
        removed += len(old)
        left += len(orphans) - len(old)
    return _Cleaned(removed, left)
