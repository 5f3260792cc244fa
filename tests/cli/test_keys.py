"""Keys and tenants from the command line, against the database itself."""

from __future__ import annotations

import getpass
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gql_imgproc.cli import main
from gql_imgproc.database.migrations import upgrade

KEY = re.compile(r"gip_([0-9A-Za-z]{12})_[0-9A-Za-z]{40}\n")

#: Runs a command: its exit status, and what it says on standard output and on standard error.
Run = Callable[..., tuple[int | str | None, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    database = f"sqlite:///{tmp_path / 'test.db'}"
    upgrade(database)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, database: str = database) -> tuple[int | str | None, str, str]:
        monkeypatch.setenv("IMGPROC_DATABASE_URL", database)
        monkeypatch.setattr(sys, "argv", ["gql-imgproc", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


def made(run: Run, *arguments: str) -> str:
    """The public part of a key that a command printed, alone."""
    status, printed, _ = run(*arguments)
    form = KEY.fullmatch(printed)
    assert status == 0
    assert form is not None
    return form[1]


def listed(run: Run, *arguments: str) -> list[list[str]]:
    """Key, name, tenant, scopes and state of each key; and that the table says so."""
    titles, *rows = [line.split("\t") for line in run("keys", "list", *arguments)[1].splitlines()]
    assert (titles[0], titles[-1], len(titles)) == ("Key", "State", 8)
    return [[*row[:4], row[-1]] for row in rows]


def test_a_key_is_made_listed_rotated_and_revoked(run: Run, tmp_path: Path) -> None:
    *_, said = run("tenants", "create", "shop")
    assert said == "shop is a tenant now; `gql-imgproc keys create --tenant` makes keys for it\n"
    till = made(run, "keys", "create", "--name", "till", "--tenant", "shop", "--expires", "90d")
    boss = made(run, "keys", "create", "--name", "boss", "--scope", "admin", "--scope", "READ")
    successor = made(run, "keys", "rotate", till)
    assert run("keys", "revoke", boss) == (0, "", f"{boss} (boss) is revoked\n")

    assert listed(run) == [
        [boss, "boss", "default", "read admin", "revoked"],
        [till, "till", "shop", "read write", "rotated"],
        [successor, "till", "shop", "read write", "usable"],
    ]
    assert [row[0] for row in listed(run, "--tenant", "shop")] == [till, successor]
    with sqlite3.connect(tmp_path / "test.db") as database:
        events = database.execute("SELECT actor, action, ip_address FROM audit_events ORDER BY id").fetchall()
    database.close()
    actor = f"cli:{getpass.getuser()}"
    assert events == [
        (actor, action, "")
        for action in ("TENANT_CREATED", "API_KEY_CREATED", "API_KEY_CREATED", "API_KEY_ROTATED", "API_KEY_REVOKED")
    ]


def test_a_tenant_has_quotas_of_its_own_or_those_of_the_service(run: Run, tmp_path: Path) -> None:
    run("tenants", "create", "shop")

    def quotas() -> tuple[int | None, ...]:
        with closing(sqlite3.connect(tmp_path / "test.db")) as database:
            columns = "max_open_requests, max_pending_images, max_stored_bytes, max_csv_bytes"
            own: tuple[int | None, ...] = database.execute(
                f"SELECT {columns} FROM tenants WHERE name = 'shop'"
            ).fetchone()
            return own

    assert run("tenants", "set", "shop", "--open-requests", "20", "--csv-bytes", "0")[0] == 0
    assert quotas() == (20, None, None, 0)
    assert run("tenants", "set", "shop", "--open-requests", "usual", "--stored-bytes", "5000000000")[0] == 0
    assert quotas() == (None, None, 5_000_000_000, 0)
    for refused in (
        ("shop",),
        ("shop", "--csv-bytes", "-1"),
        ("shop", "--csv-bytes", "9" * 19),
        ("nobody", "--csv-bytes", "1"),
    ):
        status, printed, said = run("tenants", "set", *refused)
        assert (status, printed, said.count("\n")) == (1, "", 1)
    assert quotas() == (None, None, 5_000_000_000, 0)


def test_what_cannot_be_is_one_line_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    key = made(run, "keys", "create", "--name", "till", "--expires", "1d")
    whole = f"gip_{key}_{'x' * 40}"
    before = (tmp_path / "test.db").read_bytes()

    for arguments, reason in (
        (("keys", "create", "--name", " "), "A name has 1 to 100 printable characters"),
        (("keys", "create", "--name", "x", "--tenant", "none"), "Tenant not found. `gql-imgproc tenants list`"),
        (("keys", "create", "--name", "x", "--expires", "soon"), "--expires is a time such as 90d, 24h, 30m or 45s"),
        (("keys", "create", "--name", "x", "--expires", "9999d"), "within ten years"),
        (("keys", "rotate", key, "--overlap", "31d"), "A rotated key can stay valid for 0 to 30 days."),
        (("keys", "revoke", whole), "API key not found."),
        (("tenants", "create", "default"), "A tenant with this name already exists. Choose another name"),
    ):
        status, printed, line = run(*arguments)
        assert (status, printed, line.count("\n")) == (1, "", 1)
        assert reason in line
        # Who types the whole key where its public part is wanted does not find it in a log.
        assert whole not in line
    *_, none = run("keys", "list", database=f"sqlite:///{tmp_path}/data/none.db")
    assert none.endswith("does not have the tables of this version. Run `gql-imgproc migrate`\n")
    assert (tmp_path / "test.db").read_bytes() == before
    assert not (tmp_path / "data").exists()
