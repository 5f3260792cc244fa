from __future__ import annotations

import re
from pathlib import Path

import pytest

from gql_imgproc.standalone import doctor
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
        ["ok", "Python"],
        ["ok", "Open"],
        ["ok", "Settings"],
        ["WARN", "Data"],
        [lines[4].split()[0], "Free"],
        ["FAIL", "Database"],
        ["FAIL", "Redis"],
        ["WARN", "Storage"],
        ["FAIL", "Workers"],
        ["ok", "Fetching"],
        ["WARN", "Webhooks"],
    ]
    assert lines[3] == f"WARN  Data folder  {folder}  Does not exist yet; `gql-imgproc up` creates it"
    assert f"file://{folder}/objects" in lines[7]
    assert "secret" not in "".join(lines[:10])


def test_data_folder_that_nothing_uses_need_not_be_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGPROC_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("IMGPROC_DATABASE_URL", f"sqlite:///{tmp_path}/imgproc.db")
    run_checks()
    assert f"FAIL  Data folder  {tmp_path}/data  The data folder" in capsys.readouterr().out

    monkeypatch.setenv("IMGPROC_STORAGE_URL", f"file://{tmp_path}/objects")
    run_checks()

    assert f"ok    Data folder  {tmp_path}/data is not used" in capsys.readouterr().out


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


def test_database_check_shows_encoding_and_clock(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGPROC_DATABASE_URL", database_url)

    def database_line() -> str:
        run_checks()
        (found,) = (line for line in capsys.readouterr().out.splitlines() if "Database" in line)
        return found

    assert re.search(r"^ok    Database     .*; UTF-?8; its clock differs by 0\.\d s$", database_line())

    monkeypatch.setattr(doctor, "MAX_SKEW_S", -1.0)
    assert database_line().startswith("WARN")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {},
            "WARN  Webhooks     no secret  Sent unsigned. Set IMGPROC_SECRETS_KEY, so that tenants can create secrets",
        ),
        ({"WEBHOOK_SECRET"}, "ok    Webhooks     signed with the secret of the service (not shown)"),
        (
            {"SECRETS_KEY"},
            "ok    Webhooks     signed with the secret of their tenant; unsigned until it has created one",
        ),
        (
            {"SECRETS_KEY", "WEBHOOK_SECRET"},
            "ok    Webhooks     signed with the secret of their tenant, or else of the service (not shown)",
        ),
    ],
)
def test_webhooks_check_tells_which_secret_signs(
    settings: set[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGPROC_REDIS_URL", "redis://127.0.0.1:1/0")
    secrets = {"WEBHOOK_SECRET": "whsec_" + "A" * 44, "SECRETS_KEY": "A" * 43 + "="}
    for name in settings:
        monkeypatch.setenv(f"IMGPROC_{name}", secrets[name])

    run_checks()

    assert line in capsys.readouterr().out.splitlines()
