"""`python -m dev.process FILE.csv`: upload and process a CSV in this one process, without Dramatiq, for a debugger."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from pathlib import Path
from uuid import UUID

from dev import ENVIRONMENT
from gql_imgproc import log
from gql_imgproc.database.migrations import upgrade
from gql_imgproc.enums import Priority
from gql_imgproc.errors import ImgprocError
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.imaging.options import Options
from gql_imgproc.processing.worker_pool import WorkerPool
from gql_imgproc.requests import lifecycle
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.upload import CsvUpload, accept_upload
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import cli_caller
from gql_imgproc.settings import load

#: Pause while no image is due, in seconds.
PAUSE_S = 0.5


async def process(csv_path: Path, data_dir: Path) -> None:
    # Without Redis: no message is needed, since this process calls the services itself. A debugger may stop for long.
    settings = load(data_dir=data_dir, redis_url="unix:///nowhere", lease_seconds=86_400)
    upgrade(settings.database)
    async with Runtime(settings) as runtime:
        with csv_path.open("rb") as file:
            upload = CsvUpload(file, csv_path.name, Options(), Priority.NORMAL, webhook_url=None, idempotency_key=None)
            result = await accept_upload(runtime, cli_caller(DEFAULT_TENANT, "dev"), upload)
        request_id = result.snapshot.id
        await lifecycle.advance(runtime, request_id)
        await process_images(runtime, request_id)
        await lifecycle.advance(runtime, request_id)


async def process_images(runtime: Runtime, request_id: UUID) -> None:
    """Processes all images of the request, including retries."""
    pool = WorkerPool(runtime)
    try:
        while (
            request := await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
        ) and request.pending_images:
            await pool.use_permit()
            await asyncio.sleep(PAUSE_S)
    finally:
        await pool.aclose()


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    log.set_up("INFO", "console")
    # They would warn that Redis is unavailable.
    for name in ("gql_imgproc.requests.notify", "gql_imgproc.messaging.host_budget"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(process(Path(sys.argv[1]), Path(folder)))
        except ImgprocError as error:
            sys.exit(f"dev.process: {error}")
