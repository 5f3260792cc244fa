"""Accepting an upload: checked as a whole, stored, recorded; then its workers are woken."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import asdict, dataclass
from typing import BinaryIO
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from gql_imgproc.core.locations import input_key
from gql_imgproc.core.manifest import Summary, validate
from gql_imgproc.core.netguard import check_url
from gql_imgproc.core.options import Options
from gql_imgproc.core.progress import Snapshot
from gql_imgproc.core.webhook_url import check_webhook_url
from gql_imgproc.db import intake
from gql_imgproc.errors import CsvIssueCode, UploadTooLarge
from gql_imgproc.identifiers import new_id
from gql_imgproc.resources import Resources
from gql_imgproc.services.announcing import tell, wake
from gql_imgproc.services.ingestion import read_chunk
from gql_imgproc.services.limits import manifest_limits
from gql_imgproc.states import Priority

log = logging.getLogger(__name__)

#: Rows that are inserted with the request itself: most uploads are there as a whole at once, and all workers have
#: something to do, yet the process that answers everybody is not kept long.
FIRST_PRODUCTS = 250
#: A pause between rows this long lets the event loop take the interpreter's lock; 0 would give it straight back.
BREATH_SECONDS = 0.0001


@dataclass(frozen=True, slots=True)
class Submission:
    """An upload and what is asked with it. `file` is seekable and stays its owner's."""

    file: BinaryIO
    filename: str
    options: Options
    priority: Priority
    webhook_url: str | None
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class Submitted:
    """The request of an upload; `replayed` when an earlier upload with the same key made it."""

    snapshot: Snapshot
    replayed: bool


async def submit(resources: Resources, submission: Submission) -> Submitted:
    """Accepts an upload, or refuses it and leaves nothing behind.

    Raises WebhookUrlRefused, UploadTooLarge or ManifestRefused.
    """
    if submission.webhook_url is not None:
        check_webhook_url(submission.webhook_url, resources.policy)
    if replayed := await _earlier(resources, submission.idempotency_key):
        return replayed
    summary = await resources.blocking(_check, resources, submission.file)
    request_id = new_id()
    await resources.storage.put_file(input_key(request_id), submission.file, "text/csv")
    try:
        snapshot = await _record(resources, submission, request_id, summary)
    except IntegrityError:
        # Another upload with the same key was faster.
        await resources.storage.delete(input_key(request_id))
        if replayed := await _earlier(resources, submission.idempotency_key):
            return replayed
        raise
    except BaseException:
        await resources.storage.delete(input_key(request_id))
        raise
    log.info(
        "request accepted", extra={"request": str(request_id), "products": summary.products, "images": summary.images}
    )
    await wake(resources, request_id, submission.priority)
    if snapshot.ingested_products < snapshot.total_products:
        await tell(resources, lambda: resources.queue.ingest(request_id))
    return Submitted(snapshot, replayed=False)


async def _earlier(resources: Resources, key: str | None) -> Submitted | None:
    if key is None:
        return None
    found = await resources.db.write(lambda connection: intake.find_by_idempotency_key(connection, key))
    return Submitted(found, replayed=True) if found else None


def _check(resources: Resources, file: BinaryIO) -> Summary:
    settings, policy = resources.settings, resources.policy
    if file.seek(0, os.SEEK_END) > settings.max_upload_bytes:
        raise UploadTooLarge(settings.max_upload_bytes)
    file.seek(0)

    def check(url: str) -> tuple[CsvIssueCode, str] | None:
        problem = check_url(url, policy)
        return (CsvIssueCode[f"IMAGE_URL_{problem.code.name}"], problem.message) if problem else None

    return validate(file, manifest_limits(settings), check, lambda: time.sleep(BREATH_SECONDS))


async def _record(resources: Resources, submission: Submission, request_id: UUID, summary: Summary) -> Snapshot:
    """The request and the first of its products, in one transaction: a small upload is there at once."""
    chunk = await resources.blocking(read_chunk, submission.file, FIRST_PRODUCTS)
    new = intake.NewRequest(
        id=request_id,
        priority=submission.priority,
        csv_filename=submission.filename,
        options=submission.options.to_json(),
        warnings=[asdict(warning) for warning in summary.warnings],
        webhook_url=submission.webhook_url,
        idempotency_key=submission.idempotency_key,
        total_products=summary.products,
        total_images=summary.images,
    )

    def insert(connection: Connection) -> Snapshot:
        intake.insert_request(connection, new)
        inserted = intake.insert_chunk(connection, request_id, chunk, lease_s=0)
        assert inserted is not None, "nobody else knows of the request yet"
        return inserted

    return await resources.db.write(insert)
