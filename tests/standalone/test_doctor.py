from __future__ import annotations

from pathlib import Path

import pytest

from gql_imgproc.standalone.doctor import run_checks
from tests.support.s3_server import S3


def test_output_to_a_file_is_one_line_per_check_without_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ("deep" * 40)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGPROC_DATA_DIR", str(folder))
    monkeypatch.setenv("IMGPROC_REDIS_URL", "redis://:secret@127.0.0.1:1/0")
    monkeypatch.setenv("IMGPROC_DATABASE_URL", "postgresql+psycopg://user:secret@127.0.0.1:1/name?password=secret")

    assert run_checks() is False

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", "Settings"],
        ["WARN", "Data"],
        ["FAIL", "Database"],
        ["FAIL", "Redis"],
        ["WARN", "Storage"],
        ["FAIL", "Workers"],
        ["ok", "Fetching"],
        ["WARN", "Webhooks"],
    ]
    assert lines[1] == f"WARN  Data folder  {folder}  Does not exist yet; `gql-imgproc up` creates it"
    assert f"file://{folder}/objects" in lines[4]
    assert "secret" not in "".join(lines[:7])


def test_storage_check_shows_the_download_host_and_the_problem(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def storage_line() -> str:
        run_checks()
        (found,) = (line for line in capsys.readouterr().out.splitlines() if "Storage" in line)
        return found

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGPROC_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("IMGPROC_STORAGE_URL", s3.url)
    assert storage_line() == f"ok    Storage      {s3.url}; browsers fetch from the API"

    monkeypatch.setenv("IMGPROC_STORAGE_PUBLIC_ENDPOINT", "https://images.example")
    assert storage_line() == f"ok    Storage      {s3.url}; browsers fetch from https://images.example"

    monkeypatch.setenv("IMGPROC_STORAGE_URL", "s3://no-such-bucket")
    assert storage_line() == (
        "FAIL  Storage      s3://no-such-bucket; browsers fetch from https://images.example  "
        "The object store s3://no-such-bucket cannot be used (write failed): the bucket does not exist. "
        "Create it, or correct IMGPROC_STORAGE_URL"
    )
