"""Shows how a file would be read, without an upload."""

from __future__ import annotations

from gql_imgproc.csvfile.preview import CsvPreview, preview
from gql_imgproc.csvfile.workbook import Table
from gql_imgproc.requests.limits import csv_limits
from gql_imgproc.requests.upload import CsvUpload, open_upload
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.temporary_file import temporary_file


async def preview_upload(runtime: Runtime, upload: CsvUpload) -> tuple[CsvPreview, Table]:
    """Returns the preview of a file, and its table. Raises InvalidCsv or UploadTooLarge. Stores nothing."""
    with temporary_file() as out:
        table = await open_upload(runtime, upload, int(runtime.settings.max_upload_bytes), out)
        return await runtime.run_csv_io(preview, table.file, csv_limits(runtime.settings), table.layout), table
