"""`gql-imgproc submit` against the service in this process."""

from __future__ import annotations

from pathlib import Path

from gql_imgproc.settings import Settings
from tests.graphql.client import serve_api
from tests.support.commands import run_command
from tests.support.databases import create_sqlite


async def test_too_large_file_is_reported(redis_url: str, tmp_path: Path) -> None:
    # Given a service with a limit of 1 MB, and a file of 5 MB,
    url = create_sqlite(tmp_path / "test.db")
    settings = Settings(
        _env_file=None, database_url=url, redis_url=redis_url, data_dir=tmp_path, max_upload_bytes=1_000_000
    )
    file = tmp_path / "large.csv"
    file.write_bytes(b"S. No.,Product Name,Input Image Urls\n" + b"x" * 5_000_000)

    # when it is submitted,
    async with serve_api(settings) as (host, _):
        status, stdout, stderr = await run_command(tmp_path, "submit", "large.csv", "--url", f"http://{host}")

    # then the error names the limit, and nothing is printed as a result.
    assert (status, stdout) == (1, "")
    assert " ".join(stderr.split()) == (
        "The file is larger than the limit of 1,000,000 bytes. Split it into smaller files."
    )
