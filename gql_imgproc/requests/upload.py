"""Accepting an upload: checked as a whole, stored, recorded; then its workers are woken."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import BinaryIO
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from gql_imgproc import tracing
from gql_imgproc.access import audit_log, quotas
from gql_imgproc.csvfile.reader import CsvSummary, validate
from gql_imgproc.enums import AuditAction, Priority
from gql_imgproc.errors import CsvIssueCode, InvalidCsv, QuotaExceeded, UploadTooLarge, WebhookUrlInvalid
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.imaging.options import Options
from gql_imgproc.metrics import UPLOAD_BYTES, UPLOADS
from gql_imgproc.net.address_policy import check_url
from gql_imgproc.requests.ingest import read_chunk
from gql_imgproc.requests.limits import csv_limits, quota_limits
from gql_imgproc.requests.notify import best_effort, share_of
from gql_imgproc.requests.repository import create, queries, work_queries
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import Caller
from gql_imgproc.security.webhook_url import check_webhook_url
from gql_imgproc.storage.object_store import ObjectHeaders
from gql_imgproc.storage.paths import input_key

log = logging.getLogger(__name__)

#: Rows that are inserted with the request itself: most uploads are there as a whole at once, and all workers have
#: something to do, yet the process that answers everybody is not kept long.
FIRST_PRODUCTS = 250
#: A pause between rows this long lets the event loop take the interpreter's lock; 0 would give it straight back.
FIRST_READ_BUDGET_S = 0.0001
#: Under which name each refusal is counted.
_REFUSALS = {
    WebhookUrlInvalid: "webhook_url_invalid",
    UploadTooLarge: "too_large",
    InvalidCsv: "csv_invalid",
    QuotaExceeded: "quota_exceeded",
}

# A rate needs a value before the first event.
for _result in ("accepted", "replayed", "failed", *_REFUSALS.values()):
    UPLOADS.labels(_result)


@dataclass(frozen=True, slots=True)
class CsvUpload:
    """An upload and what is asked with it. `file` is seekable and stays its owner's."""

    file: BinaryIO
    filename: str
    options: Options
    priority: Priority
    webhook_url: str | None
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class UploadResult:
    """The request of an upload; `replayed` when an earlier upload with the same key made it."""

    snapshot: Snapshot
    replayed: bool


async def accept_upload(runtime: Runtime, caller: Caller, submission: CsvUpload) -> UploadResult:
    """Accepts an upload, or refuses it and leaves nothing behind.

    Raises WebhookUrlInvalid, UploadTooLarge, InvalidCsv or QuotaExceeded.
    """
    result = "broken_off"
    try:
        with tracing.start_span("upload"):
            submitted = await _submit(runtime, caller, submission)
        result = "replayed" if submitted.replayed else "accepted"
    except (WebhookUrlInvalid, UploadTooLarge, InvalidCsv, QuotaExceeded) as refused:
        result = _REFUSALS[type(refused)]
        problems = {"problems": refused.total} if isinstance(refused, InvalidCsv) else {}
        log.info("upload refused", extra={"reason": result, **problems})
        raise
    except Exception:
        # A fault of ours, which is logged where it is answered.
        result = "failed"
        raise
    finally:
        UPLOADS.labels(result).inc()
    if submitted.replayed:
        log.info("upload matched an earlier one", extra={"request": submitted.snapshot.id})
    return submitted


async def _submit(runtime: Runtime, caller: Caller, submission: CsvUpload) -> UploadResult:
    # First of all: who repeats a call asks what became of it, whatever would be thought of it now.
    if replayed := await _find_by_idempotency_key(runtime, caller, submission.idempotency_key):
        return replayed
    if submission.webhook_url is not None:
        check_webhook_url(submission.webhook_url, runtime.policy)
    limits = quota_limits(runtime.settings, caller)
    largest_bytes = int(runtime.settings.max_upload_bytes)
    if limits is not None:
        standing = await runtime.db.read(quotas.read_usage, caller.tenant_id, limits)
        try:
            # Neither read nor stored when there is no room for it anyhow; what others add meanwhile is looked at below.
            standing.check(requests=1, images=0)
        except QuotaExceeded:
            if replayed := await _find_by_idempotency_key(runtime, caller, submission.idempotency_key):
                return replayed
            raise
        largest_bytes = min(largest_bytes, standing.csv_bytes or largest_bytes)
    summary = await runtime.run_csv_io(_check, runtime, submission.file, largest_bytes)
    request_id = new_id()
    # From here on nothing is taken back on a fault: whether the commit was heard is not known then, and what no row
    # names is removed by and by.
    await runtime.storage.put_file(input_key(request_id), submission.file, ObjectHeaders("text/csv", "no-store"))
    try:
        snapshot, open_requests = await _record(runtime, caller, submission, request_id, summary, limits)
    except (IntegrityError, QuotaExceeded):
        # Our own commit, whose answer was lost, or another upload with the same key that was faster, has its key, or
        # its room.
        recorded = await runtime.db.read(queries.get_request, caller.tenant_id, request_id)
        if recorded is None:
            await runtime.storage.delete(input_key(request_id))
            if replayed := await _find_by_idempotency_key(runtime, caller, submission.idempotency_key):
                return replayed
            raise
        snapshot, open_requests = recorded, 1
    log.info("upload accepted", extra={"request": request_id, "products": summary.products, "images": summary.images})
    UPLOAD_BYTES.inc(submission.file.seek(0, os.SEEK_END))
    await _wake(runtime, snapshot, open_requests)
    return UploadResult(snapshot, replayed=False)


async def _wake(runtime: Runtime, accepted: Snapshot, open_requests: int) -> None:
    """Nobody else knows of the request yet: every product that is there can be claimed."""
    share = share_of(runtime.settings.window, open_requests)
    queue, slots = runtime.queue, range(min(accepted.ingested_products, share))
    calls: list[Callable[[], object]] = [lambda: queue.enqueue_work(accepted.id, accepted.priority, slots)]
    if accepted.needs_rows:
        calls.append(lambda: queue.ingest(accepted.id))
    await best_effort(runtime, *calls)


async def _find_by_idempotency_key(runtime: Runtime, caller: Caller, key: str | None) -> UploadResult | None:
    if key is None:
        return None
    found = await runtime.db.write(create.find_by_idempotency_key, caller.tenant_id, key)
    return UploadResult(found, replayed=True) if found else None


def _check(runtime: Runtime, file: BinaryIO, largest_bytes: int) -> CsvSummary:
    settings, policy = runtime.settings, runtime.policy
    if file.seek(0, os.SEEK_END) > largest_bytes:
        raise UploadTooLarge(largest_bytes)
    file.seek(0)

    def check(url: str) -> tuple[CsvIssueCode, str] | None:
        problem = check_url(url, policy)
        return (CsvIssueCode[f"IMAGE_URL_{problem.code.name}"], problem.message) if problem else None

    return validate(file, csv_limits(settings), check, lambda: time.sleep(FIRST_READ_BUDGET_S))


async def _record(
    runtime: Runtime,
    caller: Caller,
    submission: CsvUpload,
    request_id: UUID,
    summary: CsvSummary,
    limits: quotas.Limits | None,
) -> tuple[Snapshot, int]:
    """The request and the first of its products, in one transaction: a small upload is there at once.

    And how many requests of its tenant are open then.
    """
    chunk = await runtime.run_csv_io(read_chunk, submission.file, FIRST_PRODUCTS)
    new = create.NewRequest(
        id=request_id,
        tenant_id=caller.tenant_id,
        priority=submission.priority,
        csv_filename=submission.filename,
        options=submission.options.to_json(),
        warnings=[asdict(warning) for warning in summary.warnings],
        webhook_url=submission.webhook_url,
        idempotency_key=submission.idempotency_key,
        total_products=summary.products,
        total_images=summary.images,
        traceparent=tracing.current_traceparent(),
    )

    def record(connection: Connection) -> tuple[Snapshot, int]:
        accepted = create.insert_first_chunk(connection, new, chunk, limits)
        audit_log.record_event(
            connection,
            caller,
            AuditAction.REQUEST_ACCEPTED,
            encode_global_id(IdPrefix.REQUEST, request_id),
            file=submission.filename,
            products=summary.products,
            images=summary.images,
        )
        return accepted, work_queries.count_open_siblings(connection, request_id)

    return await runtime.db.write(record)
