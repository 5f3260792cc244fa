"""`gql-imgproc submit` against the service in this process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gql_imgproc.database.migrations import upgrade
from gql_imgproc.settings import Settings
from gql_imgproc.standalone.submit import submit
from tests.graphql.client import served


def test_a_file_over_the_limit_is_told_so(redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a service that takes files of 1 MB, and a file that has 5,
    url = f"sqlite:///{tmp_path / 'test.db'}"
    upgrade(url)
    settings = Settings(
        _env_file=None, database_url=url, redis_url=redis_url, data_dir=tmp_path, max_upload_bytes=1_000_000
    )
    file = tmp_path / "large.csv"
    file.write_bytes(b"S. No.,Product Name,Input Image Urls\n" + b"x" * 5_000_000)

    # when it is submitted,
    async def story() -> int:
        async with served(settings) as (host, _):
            return await submit(f"http://{host}", file, webhook_url=None, output=None)

    status = asyncio.run(story())

    # then the limit is told and nothing was made.
    told = capsys.readouterr()
    assert status == 1
    assert told.out == ""
    assert " ".join(told.err.split()) == (
        "The file is larger than the limit of 1,000,000 bytes. Split it into smaller files."
    )
