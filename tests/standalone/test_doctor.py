from __future__ import annotations

from pathlib import Path

import pytest

from gql_imgproc.standalone.doctor import run_checks
from tests.support.s3_server import S3


def test_without_a_terminal_each_finding_is_one_whole_line_without_passwords(
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
        ["note", "Data"],
        ["FAULT", "Database"],
        ["FAULT", "Redis"],
        ["note", "Storage"],
        ["FAULT", "Workers"],
        ["ok", "Fetching"],
        ["note", "Webhooks"],
    ]
    assert lines[1] == f"note  Data folder  {folder}  Not there yet; `gql-imgproc up` makes it"
    assert f"file://{folder}/objects" in lines[4]
    assert "secret" not in "".join(lines[:7])


def test_a_bucket_is_shown_with_who_serves_it_and_what_is_wrong(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def line() -> str:
        run_checks()
        (found,) = (line for line in capsys.readouterr().out.splitlines() if "Storage" in line)
        return found

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGPROC_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("IMGPROC_STORAGE_URL", s3.url)
    assert line() == f"ok    Storage      {s3.url}; browsers fetch from the API"

    monkeypatch.setenv("IMGPROC_STORAGE_PUBLIC_ENDPOINT", "https://pictures.example")
    assert line() == f"ok    Storage      {s3.url}; browsers fetch from https://pictures.example"

    monkeypatch.setenv("IMGPROC_STORAGE_URL", "s3://no-such-bucket")
    assert line() == (
        "FAULT Storage      s3://no-such-bucket; browsers fetch from https://pictures.example  "
        "The object store s3://no-such-bucket cannot be used (to write): there is no such bucket. "
        "Create it, or mend IMGPROC_STORAGE_URL"
    )
