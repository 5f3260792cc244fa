"""Accepts an upload: turns a workbook into CSV, checks the whole CSV, stores it, records the request, wakes workers."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from gql_imgproc import tracing
from gql_imgproc.access import audit_log, quotas
from gql_imgproc.csvfile.layout import RECOGNIZED, CsvLayout
from gql_imgproc.csvfile.validation import CsvSummary, validate
from gql_imgproc.csvfile.workbook import Table, is_workbook, open_table
from gql_imgproc.enums import AuditAction, CsvProfile, Priority
from gql_imgproc.errors import (
    DatabaseUnavailable,
    IdempotencyKeyReused,
    InvalidCsv,
    QuotaExceeded,
    StorageError,
    UploadTooLarge,
    WebhookUrlInvalid,
)
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.imaging.options import Options
from gql_imgproc.metrics import UPLOAD_BYTES, UPLOADS
from gql_imgproc.requests.ingest import iter_products, read_chunk
from gql_imgproc.requests.limits import csv_limits, quota_limits, url_check
from gql_imgproc.requests.notify import best_effort, publish_list
from gql_imgproc.requests.repository import create, queries
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import Caller
from gql_imgproc.security.webhook_url import check_webhook_url
from gql_imgproc.settings import Settings
from gql_imgproc.storage.object_store import ObjectHeaders
from gql_imgproc.storage.paths import IMAGES_PATH, input_key
from gql_imgproc.storage.temporary_file import temporary_file

log = logging.getLogger(__name__)

#: Products inserted together with the request. Most uploads are complete then and all workers have work, but the API
#: process is not blocked for long.
FIRST_CHUNK_PRODUCTS = 250
#: Size of the text of a workbook, as a multiple of the size of the largest upload: a workbook is compressed.
MAX_EXPANSION = 20
#: Pause between rows while a CSV is checked, so that the event loop can take the GIL; a pause of 0 does not release it.
CHECK_PAUSE_SECONDS = 0.0001
#: Metric labels of expected errors.
_RESULT_LABELS = {
    WebhookUrlInvalid: "webhook_url_invalid",
    UploadTooLarge: "too_large",
    InvalidCsv: "csv_invalid",
    QuotaExceeded: "quota_exceeded",
    IdempotencyKeyReused: "idempotency_key_reused",
}

# rate() needs a value before the first event.
for _result in ("accepted", "replayed", "failed", *_RESULT_LABELS.values()):
    UPLOADS.labels(_result)


@dataclass(frozen=True, slots=True)
class CsvUpload:
    """A CSV with its options. The caller owns `file`, which is seekable."""

    file: BinaryIO
    filename: str
    options: Options
    priority: Priority
    webhook_url: str | None
    idempotency_key: str | None
    layout: CsvLayout = RECOGNIZED
    #: Whether images are processed again that are unchanged since an earlier request.
    refresh: bool = False

    def fingerprint(self) -> str:
        """A digest of the bytes and the options. The name of the file does not count; nor do options without a value,
        so that an option that a later version adds changes no digest.
        """
        self.file.seek(0)
        digest = hashlib.sha256()
        while chunk := self.file.read(_CHUNK_BYTES):
            digest.update(chunk)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        options = {name: value for name, value in values.items() if value and name not in _NOT_IN_FINGERPRINT}
        digest.update(json.dumps(options, sort_keys=True, default=_options_to_json).encode())
        return digest.hexdigest()


_NOT_IN_FINGERPRINT = "file", "filename", "idempotency_key"
_CHUNK_BYTES = 2**20


def _options_to_json(options: Options | CsvLayout) -> dict[str, Any]:
    return {name: value for name, value in options.to_json().items() if value}


@dataclass(frozen=True, slots=True)
class UploadResult:
    """The request of an upload; `is_replay` when an earlier upload with the same idempotency key created it."""

    snapshot: Snapshot
    is_replay: bool


async def accept_upload(runtime: Runtime, caller: Caller, upload: CsvUpload) -> UploadResult:
    """Accepts an upload, or raises and leaves nothing behind.

    Raises an error of `_RESULT_LABELS`, DatabaseUnavailable or StorageError.
    """
    label = "broken_off"
    try:
        with tracing.start_span("upload"):
            result = await _accept(runtime, caller, upload)
        label = "replayed" if result.is_replay else "accepted"
    except (WebhookUrlInvalid, UploadTooLarge, InvalidCsv, QuotaExceeded, IdempotencyKeyReused) as error:
        label = _RESULT_LABELS[type(error)]
        problems = {"problems": error.total} if isinstance(error, InvalidCsv) else {}
        log.info("upload refused", extra={"reason": label, **problems})
        raise
    except Exception:
        # An internal error; the entry point logs it.
        label = "failed"
        raise
    finally:
        UPLOADS.labels(label).inc()
    if result.is_replay:
        log.info("upload matched an earlier one", extra={"request": result.snapshot.id})
    return result


async def _accept(runtime: Runtime, caller: Caller, upload: CsvUpload) -> UploadResult:
    # First: a repeated call returns the request even if the same upload would be rejected now.
    fingerprint = await runtime.run_csv_io(upload.fingerprint) if upload.idempotency_key else None
    find_replay = partial(_find_replay, runtime, caller.tenant_id, upload.idempotency_key, fingerprint)
    if replay := await find_replay():
        return replay
    if upload.webhook_url is not None:
        check_webhook_url(upload.webhook_url, runtime.policy)
    limits = quota_limits(runtime.settings, caller)
    usage = None
    if limits is not None:
        usage = await runtime.db.read(quotas.read_usage, caller.tenant_id, limits)
        try:
            # Fails early, before the CSV is read and stored. The transaction checks again.
            usage.check(quotas.Addition())
        except QuotaExceeded:
            if replay := await find_replay():
                return replay
            raise
    with temporary_file() as out:
        table = await open_upload(runtime, upload, max_csv_bytes(runtime.settings, usage), out)
        upload, summary = await runtime.run_csv_io(check_upload, runtime, upload, table)
        new = _new_request(caller, upload, fingerprint, summary)
        await runtime.storage.put_file(input_key(new.id), upload.file, ObjectHeaders("text/csv", "no-store"))
        products = iter_products(upload.file, summary.layout, upload.options.file_name)
        chunk = await runtime.run_csv_io(read_chunk, products, FIRST_CHUNK_PRODUCTS)
        try:
            snapshot = await _record(runtime, caller, new, chunk, limits)
        except (IntegrityError, QuotaExceeded):
            if replay := await find_replay():
                return replay
            raise
        UPLOAD_BYTES.inc(new.own_bytes)
    publish_list(runtime, caller.tenant_id)
    calls = [runtime.queue.process_images]
    if snapshot.has_step:
        calls.append(partial(runtime.queue.advance, snapshot.id))
    await best_effort(runtime, *calls)
    return UploadResult(snapshot, is_replay=False)


async def _record(
    runtime: Runtime,
    caller: Caller,
    new: create.NewRequest,
    chunk: Sequence[create.NewProduct],
    limits: quotas.Limits | None,
) -> Snapshot:
    """Records a request whose CSV is stored, with its first products.

    The stored CSV stays when the commit may have succeeded although its answer was lost. The orphan cleanup deletes a
    CSV that no request refers to.
    """
    subject = encode_global_id(IdPrefix.REQUEST, new.id)
    counts = {"products": new.total_products, "images": new.total_images}

    def insert(connection: Connection) -> Snapshot:
        snapshot = create.insert_first_chunk(connection, new, chunk, limits)
        audit_log.record_event(
            connection, caller, AuditAction.REQUEST_ACCEPTED, subject, file=new.csv_filename, **counts
        )
        return snapshot

    try:
        snapshot = await runtime.db.write(insert)
    except (IntegrityError, QuotaExceeded):
        # The idempotency key or the quota was taken by an earlier run of this transaction, whose answer was lost, or by
        # another upload.
        earlier = await runtime.db.read(queries.get_request, caller.tenant_id, new.id)
        if earlier is None:
            await runtime.storage.delete(input_key(new.id))
            raise
        snapshot = earlier
    except DatabaseUnavailable as error:
        if not error.is_outcome_unknown:
            with suppress(StorageError):
                await runtime.storage.delete(input_key(new.id))
        raise
    log.info("upload accepted", extra={"request": new.id, **counts})
    return snapshot


async def _find_replay(
    runtime: Runtime, tenant_id: UUID, key: str | None, fingerprint: str | None
) -> UploadResult | None:
    if key is None or fingerprint is None:
        return None
    found = await runtime.db.write(create.find_by_idempotency_key, tenant_id, key, fingerprint)
    return UploadResult(found, is_replay=True) if found else None


def max_csv_bytes(settings: Settings, usage: quotas.QuotaUsage | None) -> int:
    """Size limit of a file; `usage` is None for a caller without quotas."""
    limit = int(settings.max_upload_bytes)
    return min(limit, (usage and usage.csv_bytes) or limit)


async def open_upload(runtime: Runtime, upload: CsvUpload, max_bytes: int, out: BinaryIO) -> Table:
    """The table of a file; that of a workbook is written to `out`. Raises UploadTooLarge or InvalidCsv."""
    if upload.file.seek(0, os.SEEK_END) > max_bytes:
        raise UploadTooLarge(max_bytes)
    layout = replace(upload.layout, results_url=runtime.settings.public_url + IMAGES_PATH)
    run = runtime.run_workbook_io if is_workbook(upload.file) else runtime.run_csv_io
    return await run(open_table, upload.file, out, layout, MAX_EXPANSION * max_bytes)


def check_upload(
    runtime: Runtime, upload: CsvUpload, table: Table, on_urls: Callable[[list[str]], None] | None = None
) -> tuple[CsvUpload, CsvSummary]:
    """Checks the table of a file, which takes its place. `on_urls` receives the URLs of each valid row."""
    settings = runtime.settings
    check_url, pause = url_check(runtime.policy), partial(time.sleep, CHECK_PAUSE_SECONDS)
    try:
        summary = validate(table.file, csv_limits(settings), check_url, pause, table.layout, on_urls)
    except InvalidCsv as error:
        # Perhaps another sheet was meant.
        raise InvalidCsv((*table.warnings, *error.issues), error.total + len(table.warnings)) from None
    return replace(upload, file=table.file), replace(summary, warnings=(*table.warnings, *summary.warnings))


def _new_request(caller: Caller, upload: CsvUpload, fingerprint: str | None, summary: CsvSummary) -> create.NewRequest:
    return create.NewRequest(
        id=new_id(),
        tenant_id=caller.tenant_id,
        priority=upload.priority,
        csv_filename=upload.filename,
        options=upload.options.to_json(),
        warnings=[asdict(warning) for warning in summary.warnings],
        webhook_url=upload.webhook_url,
        idempotency_key=upload.idempotency_key,
        idempotency_fingerprint=fingerprint,
        total_products=summary.products,
        total_images=summary.images,
        profile=summary.layout.profile or CsvProfile.GENERIC,
        csv_layout=summary.layout.to_json(),
        skipped_rows=len(summary.layout.skipped_rows),
        traceparent=tracing.current_traceparent(),
        refresh=upload.refresh,
        own_bytes=upload.file.seek(0, os.SEEK_END),
    )
