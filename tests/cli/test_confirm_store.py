"""The command `confirm-store`, and the check of `doctor` that asks for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gql_imgproc.cli import main
from gql_imgproc.database.migrations import upgrade


def test_store_of_another_database_is_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: str) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["gql-imgproc", command])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    def storage_line() -> str:
        (line,) = (line for line in run("doctor")[1].splitlines() if "Storage" in line)
        return line

    # Given a store whose marker names another database,
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGPROC_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("IMGPROC_REDIS_URL", "redis://127.0.0.1:1/0")
    upgrade(f"sqlite:///{tmp_path}/imgproc.db")
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects/database.json").write_text("{}")
    assert storage_line().startswith("WARN")
    assert storage_line().endswith("If not, run `gql-imgproc confirm-store`.")

    # when it is confirmed twice,
    first, second = run("confirm-store"), run("confirm-store")

    # then the first time changes something.
    confirmed = "Confirmed. Objects that this database does not refer to are deleted from now on\n"
    assert first == (0, "", confirmed)
    assert second == (0, "", "Nothing to confirm: the object store belongs to this database\n")
    assert storage_line() == f"ok    Storage      file://{tmp_path}/objects"
