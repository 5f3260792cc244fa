"""The commands `keys` and `tenants`, which use the database directly."""

from __future__ import annotations

import getpass
import json
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gql_imgproc.cli import main
from tests.support.databases import create_sqlite

KEY = re.compile(r"gip_([0-9A-Za-z]{12})_[0-9A-Za-z]{40}\n")

#: Runs a command; returns exit status, standard output and standard error.
Run = Callable[..., tuple[int | str | None, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    database = create_sqlite(tmp_path / "test.db")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, database: str = database) -> tuple[int | str | None, str, str]:
        monkeypatch.setenv("IMGPROC_DATABASE_URL", database)
        monkeypatch.setattr(sys, "argv", ["gql-imgproc", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


def issue_key(run: Run, *arguments: str) -> str:
    """Runs a command that prints only an API key; returns its public part."""
    status, stdout, _ = run(*arguments)
    key = KEY.fullmatch(stdout)
    assert status == 0
    assert key is not None
    return key[1]


def list_keys(run: Run, *arguments: str) -> list[list[str]]:
    """Returns key, name, tenant, scopes and state of each key in `keys list`."""
    titles, *rows = [line.split("\t") for line in run("keys", "list", *arguments)[1].splitlines()]
    assert (titles[0], titles[-1], len(titles)) == ("Key", "State", 8)
    return [[*row[:4], row[-1]] for row in rows]


def test_keys_are_created_listed_rotated_and_revoked(run: Run, tmp_path: Path) -> None:
    *_, stderr = run("tenants", "create", "shop")
    assert (
        stderr == "Created tenant shop. Create its API keys with `gql-imgproc keys create --tenant shop --name NAME`\n"
    )
    till = issue_key(run, "keys", "create", "--name", "till", "--tenant", "shop", "--expires", "90d")
    boss = issue_key(run, "keys", "create", "--name", "boss", "--scope", "admin", "--scope", "READ")
    successor = issue_key(run, "keys", "rotate", till)
    assert run("keys", "revoke", boss) == (0, "", f"{boss} (boss) is revoked\n")

    assert list_keys(run) == [
        [boss, "boss", "default", "read admin", "revoked"],
        [till, "till", "shop", "read write", "rotated"],
        [successor, "till", "shop", "read write", "usable"],
    ]
    assert [row[0] for row in list_keys(run, "--tenant", "shop")] == [till, successor]
    with sqlite3.connect(tmp_path / "test.db") as database:
        events = database.execute("SELECT actor, action, ip_address FROM audit_events ORDER BY id").fetchall()
    database.close()
    actor = f"cli:{getpass.getuser()}"
    assert events == [
        (actor, action, "")
        for action in ("TENANT_CREATED", "API_KEY_CREATED", "API_KEY_CREATED", "API_KEY_ROTATED", "API_KEY_REVOKED")
    ]


def test_lists_are_json_with_json(run: Run) -> None:
    till = issue_key(run, "keys", "create", "--name", "till", "--expires", "90d")

    (key,) = json.loads(run("keys", "list", "--json")[1])
    (tenant,) = json.loads(run("tenants", "list", "--json")[1])

    created_at, expires_at = (datetime.fromisoformat(key.pop(name)) for name in ("createdAt", "expiresAt"))
    assert expires_at - created_at == pytest.approx(timedelta(days=90), abs=timedelta(minutes=1))
    assert key == {
        "key": till,
        "name": "till",
        "tenant": "default",
        "scopes": ["read", "write"],
        "lastUsedAt": None,
        "state": "usable",
    }
    assert (tenant["name"], sorted(tenant)) == ("default", ["createdAt", "name"])


def test_doctor_is_json_with_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGPROC_REDIS_URL", "redis://127.0.0.1:1/0")

    status, stdout, _ = run("doctor", "--json")

    results = {check["name"]: check["result"] for check in json.loads(stdout)}
    assert (status, results["Settings"], results["Redis"]) == (1, "ok", "FAIL")


def test_tenant_quotas_override_the_settings_of_the_service(run: Run, tmp_path: Path) -> None:
    run("tenants", "create", "shop")

    def quotas() -> tuple[int | None, ...]:
        with closing(sqlite3.connect(tmp_path / "test.db")) as database:
            columns = "max_open_requests, max_pending_images, max_stored_bytes, max_csv_bytes"
            overrides: tuple[int | None, ...] = database.execute(
                f"SELECT {columns} FROM tenants WHERE name = 'shop'"
            ).fetchone()
            return overrides

    assert run("tenants", "set", "shop", "--open-requests", "20", "--csv-bytes", "0")[0] == 0
    assert quotas() == (20, None, None, 0)
    assert run("tenants", "set", "shop", "--open-requests", "default", "--stored-bytes", "5000000000")[0] == 0
    assert quotas() == (None, None, 5_000_000_000, 0)
    for arguments in (
        ("shop",),
        ("shop", "--csv-bytes", "-1"),
        ("shop", "--csv-bytes", "9" * 19),
        ("nobody", "--csv-bytes", "1"),
    ):
        status, stdout, stderr = run("tenants", "set", *arguments)
        assert (status, stdout, stderr.count("\n")) == (1, "", 1)
    assert quotas() == (None, None, 5_000_000_000, 0)


def test_invalid_arguments_print_one_line_and_change_nothing(run: Run, tmp_path: Path) -> None:
    key = issue_key(run, "keys", "create", "--name", "till", "--expires", "1d")
    secret_key = f"gip_{key}_{'x' * 40}"
    before = (tmp_path / "test.db").read_bytes()

    for arguments, reason in (
        (("keys", "create", "--name", " "), "A name has 1 to 100 printable characters"),
        (("keys", "create", "--name", "x", "--tenant", "none"), "Tenant not found. `gql-imgproc tenants list`"),
        (
            ("keys", "create", "--name", "x", "--expires", "soon"),
            "Invalid --expires. Use a duration such as 90d, 24h, 30m or 45s",
        ),
        (("keys", "create", "--name", "x", "--expires", "9999d"), "within ten years"),
        (("keys", "rotate", key, "--overlap", "31d"), "A rotated key can stay valid for 0 to 30 days."),
        (("keys", "revoke", secret_key), "API key not found."),
        (("tenants", "create", "default"), "A tenant with this name already exists. Choose another name"),
    ):
        status, stdout, line = run(*arguments)
        assert (status, stdout, line.count("\n")) == (1, "", 1)
        assert reason in line
        # A whole key, given instead of its public part, must not end up in a log.
        assert secret_key not in line
    *_, stderr = run("keys", "list", database=f"sqlite:///{tmp_path}/data/none.db")
    assert stderr == (
        f"gql-imgproc: The database sqlite:///{tmp_path}/data/none.db does not exist. Run the command in the folder "
        "where `gql-imgproc up` runs, or set IMGPROC_DATA_DIR. For a new database, run `gql-imgproc migrate`\n"
    )
    assert (tmp_path / "test.db").read_bytes() == before
    assert not (tmp_path / "data").exists()


def test_audit_log_is_exported_to_a_new_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gql_imgproc.access.audit_export.SETTLE_SECONDS", 0)
    run("tenants", "create", "shop")
    file = tmp_path / "audit.jsonl"
    file.write_text("an earlier export\n")

    # A file is never replaced, and an export that fails counts as none.
    status, _, stderr = run("export-audit", "audit.jsonl")
    assert (status, file.read_text()) == (2, "an earlier export\n")
    assert stderr == "gql-imgproc: Cannot create audit.jsonl: File exists. Choose another name\n"

    assert run("export-audit", "new.jsonl") == (0, "", "Exported 1 event\n")
    event = json.loads((tmp_path / "new.jsonl").read_text())
    assert (event["tenant"], event["action"], event["details"]) == ("shop", "TENANT_CREATED", {"name": "shop"})
    assert run("export-audit", "-") == (0, "", "Exported 0 events\n")


def test_export_that_fails_leaves_no_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gql_imgproc.access.audit_export.SETTLE_SECONDS", 0)
    run("tenants", "create", "shop")
    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        status, _, stderr = run("export-audit", "audit.jsonl")
    assert status == 1
    assert stderr == "gql-imgproc: Cannot write audit.jsonl: No space left on device. Correct that, and try again\n"
    assert not (tmp_path / "audit.jsonl").exists()

    assert run("export-audit", "audit.jsonl") == (0, "", "Exported 1 event\n")
