"""Migrations: once, whoever asks and however many at once, and harmless to code that is at work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from alembic import command, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, text

from gql_imgproc.database import migrations
from gql_imgproc.database.engine import Database
from gql_imgproc.database.migrations import check, schema_mismatch, upgrade
from gql_imgproc.errors import ConfigurationError

#: Made before there was a first version that could have been at work.
BEFORE_ALL_CODE = {"0001", "0002", "0003"}
TABLE = r"(?:IF (?:NOT )?EXISTS )?(?:ONLY )?\"?(\w+)"
#: What harms those who are at work, unless the table is the migration's own: a pattern, and what to do instead.
DANGERS = {
    rf"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)\S+ ON {TABLE}": "use `expansion.create_index`: writers wait for it",
    rf"ALTER TABLE {TABLE}.* ADD (?:COLUMN )?(?!.*DEFAULT).*NOT NULL": "give it a default: old code does not set it",
    rf"ALTER TABLE {TABLE}.* DEFAULT (?:now|clock_timestamp|gen_random_uuid|random)": "all rows are written anew",
    rf"ALTER TABLE {TABLE}.* SET NOT NULL": "all rows are read under a lock; add a CHECK that is NOT VALID first",
    rf"ALTER TABLE {TABLE}.* (?:TYPE|SET DATA TYPE) ": "all rows are written anew; add a column beside it",
    rf"ALTER TABLE {TABLE}.* RENAME ": "old code looks for the old name; add the new one beside it",
    rf"ALTER TABLE {TABLE}.* ADD CONSTRAINT (?!.*NOT VALID)": "all rows are read under a lock; add it NOT VALID",
    rf"UPDATE {TABLE}": "rows stay locked until the end of the migration; let code fill them in chunks",
    rf"DELETE FROM {TABLE}": "rows stay locked until the end of the migration; let code remove them in chunks",
}
#: What is fine once no version that needs it may run any more.
CONTRACTIONS = rf"DROP TABLE {TABLE}|ALTER TABLE {TABLE}.* DROP (?:COLUMN|CONSTRAINT)"
OWN = {"alembic_version", "schema_compatibility"}


def dangers(statements: list[str]) -> list[str]:
    """What old code that is at work would suffer from these statements of one migration on PostgreSQL."""
    flat = [" ".join(statement.split()) for statement in statements]
    made = OWN | {match[1] for statement in flat if (match := re.match(rf"CREATE TABLE {TABLE}", statement, re.I))}
    floor = any(re.match(r"UPDATE schema_compatibility", statement, re.I) for statement in flat)
    found = []
    for statement in flat:
        for pattern, instead in DANGERS.items():
            match = re.match(pattern, statement, re.I)
            if match and match[1] not in made:
                found.append(f"{statement}: {instead}")
        if re.match(CONTRACTIONS, statement, re.I) and not floor:
            found.append(f"{statement}: `expansion.raise_floor` first, a version after the last one that needs it")
    return found


def statements_by_revision(url: str) -> dict[str, list[str]]:
    """Runs all migrations; what each of them says to the database."""
    told: dict[str, list[str]] = defaultdict(list)

    for script in reversed(list(ScriptDirectory.from_config(migrations._config(url)).walk_revisions())):

        def note(_c: Any, _k: Any, statement: str, *_: Any, revision: str = script.revision) -> None:
            told[revision].append(statement)

        event.listen(Engine, "before_cursor_execute", note)
        try:
            command.upgrade(migrations._config(url), script.revision)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
    return told


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_migrations_harm_nobody_who_is_at_work(empty_database_url: str) -> None:
    told = statements_by_revision(empty_database_url)

    assert told.keys() > BEFORE_ALL_CODE
    assert any("CREATE TABLE" in statement for statement in told["0001"])
    assert {
        revision: found
        for revision, statements in told.items()
        if revision not in BEFORE_ALL_CODE and (found := dangers(statements))
    } == {}


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX ix_images_sha256 ON images (sha256)",
        "CREATE UNIQUE INDEX ix ON images (sha256)",
        "ALTER TABLE requests ADD COLUMN tenant_id UUID NOT NULL",
        "ALTER TABLE requests ADD COLUMN made_at TIMESTAMPTZ DEFAULT clock_timestamp()",
        "ALTER TABLE requests ALTER COLUMN priority SET NOT NULL",
        "ALTER TABLE requests ALTER COLUMN sequence TYPE BIGINT",
        "ALTER TABLE requests RENAME COLUMN priority TO urgency",
        "ALTER TABLE requests RENAME TO orders",
        "ALTER TABLE requests ADD CONSTRAINT fk FOREIGN KEY (tenant_id) REFERENCES tenants (id)",
        "ALTER TABLE requests DROP COLUMN priority",
        "ALTER TABLE images DROP CONSTRAINT fk_images_product_id",
        "DROP TABLE webhook_deliveries",
        "UPDATE requests SET priority = 'LOW'",
        "DELETE FROM images",
    ],
)
def test_a_migration_that_would_do_harm_is_noticed(statement: str) -> None:
    assert len(dangers([statement])) == 1


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE INDEX CONCURRENTLY ix_images_sha256 ON images (sha256)"],
        ["ALTER TABLE requests ADD COLUMN tenant_id UUID"],
        ["ALTER TABLE requests ADD COLUMN tries INTEGER DEFAULT '0' NOT NULL"],
        ["ALTER TABLE requests ADD CONSTRAINT c CHECK (sequence > 0) NOT VALID"],
        ["CREATE TABLE tenants (id UUID NOT NULL)", "CREATE INDEX ix_tenants_id ON tenants (id)"],
        ["UPDATE schema_compatibility SET min_revision = '0005'", "ALTER TABLE requests DROP COLUMN priority"],
        ["UPDATE alembic_version SET version_num='0005'"],
    ],
)
def test_a_migration_that_expands_is_let_through(statements: list[str]) -> None:
    assert dangers(statements) == []


@pytest.mark.parametrize("index", ["ix_images_failed_in_order", "ix_products_tenant_id_id"])
def test_a_migration_that_was_interrupted_is_run_again(
    empty_database_url: str, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came before its first index is committed by then, on PostgreSQL."""

    create_index = op.create_index

    def killed(name: str, *given: Any, **options: Any) -> None:
        if name == index:
            raise RuntimeError("killed")
        create_index(name, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_index", killed)
        with pytest.raises(RuntimeError, match="killed"):
            upgrade(empty_database_url)

    upgrade(empty_database_url)

    check(empty_database_url)


def test_ten_replicas_may_migrate_at_once(empty_database_url: str, tmp_path: Path) -> None:
    # Who shares a file shares a machine: four are many there.
    number = 4 if empty_database_url.startswith("sqlite") else 10
    environment = {**os.environ, "IMGPROC_DATABASE_URL": empty_database_url, "PYTHONPATH": os.pathsep.join(sys.path)}
    replicas = [
        subprocess.Popen(
            [sys.executable, "-m", "gql_imgproc", "migrate"],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(number)
    ]
    told = [(replica.communicate(timeout=60)[1], replica.returncode) for replica in replicas]

    assert [code for _, code in told] == [0] * number, told
    # One of them did it, the others found it done.
    assert sorted("database migrated" in said for said, _ in told) == [False] * (number - 1) + [True]
    check(empty_database_url)


def given_revision(url: str, revision: str, floor: str | None) -> None:
    """As if another version had migrated the database."""
    database = Database(url)
    with database._writer.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        if floor is None:
            connection.execute(text("DROP TABLE schema_compatibility"))
        else:
            connection.execute(text("UPDATE schema_compatibility SET min_revision = :floor"), {"floor": floor})
    database.close()


def test_an_older_version_works_with_what_a_newer_one_expanded(database_url: str, database: Database) -> None:
    given_revision(database_url, "9999", floor="0004")

    upgrade(database_url)
    check(database_url)

    assert schema_mismatch(database) is None
    with database._reader.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"


@pytest.mark.parametrize("floor", ["9998", None])
def test_an_older_version_does_not_touch_what_a_newer_one_contracted(
    database_url: str, database: Database, floor: str | None
) -> None:
    given_revision(database_url, "9999", floor)

    for ask in (upgrade, check):
        with pytest.raises(ConfigurationError, match=r"newer version of gql-imgproc.* Use that version$"):
            ask(database_url)
    assert schema_mismatch(database) == migrations.TOO_NEW


def test_a_newer_version_asks_for_its_migrations(empty_database_url: str) -> None:
    command.upgrade(migrations._config(empty_database_url), "0003")

    with pytest.raises(ConfigurationError, match=r"Run `gql-imgproc migrate`$"):
        check(empty_database_url)

    upgrade(empty_database_url)
    check(empty_database_url)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A migration that builds an index on a table which is in use."""
    folder = tmp_path / "versions"
    folder.mkdir()
    config = migrations._config
    head = ScriptDirectory.from_config(config("sqlite://")).get_current_head()
    (folder / "9000.py").write_text(
        f"from gql_imgproc.db import expansion\nrevision, down_revision = '9000', {head!r}\n"
        "def upgrade():\n    expansion.create_index('ix_images_sha256', 'images', ['sha256'])\n"
    )

    def with_planted(url: str) -> Config:
        made = config(url)
        made.set_main_option("path_separator", "space")
        made.set_main_option("version_locations", f"{made.get_main_option('script_location')}/versions {folder}")
        return made

    monkeypatch.setattr(migrations, "_config", with_planted)
    migrations._revisions.cache_clear()
    yield "ix_images_sha256"
    migrations._revisions.cache_clear()


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_who_waits_for_another_migrates_nothing_and_holds_up_no_index(empty_database_url: str) -> None:
    asked = text(
        "SELECT state, backend_xmin FROM pg_stat_activity WHERE datname = current_database() AND query = 'COMMIT'"
    )
    engine = create_engine(empty_database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as other, engine.connect() as observer:
        other.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": 0x67716C5F})
        waiting = Thread(target=upgrade, args=(empty_database_url,))
        waiting.start()
        # Between its questions it is in no transaction, for whose end an index would wait.
        until(lambda: [tuple(row) for row in observer.execute(asked)] == [("idle", None)])
        assert observer.execute(text("SELECT to_regclass('requests')")).scalar_one() is None

        other.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": 0x67716C5F})
        waiting.join(30)

    check(empty_database_url)
    engine.dispose()


def test_an_index_is_built_while_others_write(database_url: str, database: Database, planted: str) -> None:
    if database.sqlite:
        upgrade(database_url)
        assert indexes(database, planted) == [True]
        return
    with database._writer.begin() as connection:
        # What an attempt left that was interrupted.
        connection.execute(text(f"CREATE INDEX {planted} ON images (sha256)"))
        connection.execute(text(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{planted}'::regclass"))
    writer = database._writer.connect()
    writing = writer.begin()
    writer.execute(text("DELETE FROM images"))
    building = Thread(target=upgrade, args=(database_url,))
    building.start()
    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND query LIKE '%DROP INDEX CONCURRENTLY%' AND datname = current_database()"
    )
    until(lambda: database.read_now(lambda connection: connection.execute(waits).scalar_one()) == 1)

    # Others write to the table meanwhile.
    database.write_now(lambda connection: connection.execute(text("DELETE FROM images")))
    writing.rollback()
    writer.close()
    building.join(30)

    assert indexes(database, planted) == [True]
    check(database_url)


def indexes(database: Database, name: str) -> list[bool]:
    """Whether each index of that name can be used."""
    asked = (
        "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = :name"
        if database.sqlite
        else "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"
    )
    return [bool(row[0]) for row in database.read_now(lambda c: c.execute(text(asked), {"name": name}).all())]


def until(met: Any) -> None:
    for _ in range(1_000):
        if met():
            return
        time.sleep(0.01)
    raise AssertionError("It did not come to that.")


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_a_migration_that_waits_for_a_table_does_not_hold_up_others(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_PAUSE_S", 0.05)
    command.upgrade(migrations._config(empty_database_url), "0001")
    engine = create_engine(empty_database_url)
    read = text("SELECT count(*) FROM requests")
    with engine.connect() as long_reader, engine.connect() as other:
        long_reader.execute(read)
        migrating = Thread(target=upgrade, args=(empty_database_url,))
        migrating.start()
        longest, ends_at = 0.0, time.monotonic() + 2.5
        while time.monotonic() < ends_at:
            began = time.monotonic()
            other.execute(read)
            other.rollback()
            longest = max(longest, time.monotonic() - began)
        assert migrating.is_alive()
        # It waited, and others behind it, but no longer than it may.
        assert 0.3 < longest < 1.6

        long_reader.rollback()
        migrating.join(30)

    check(empty_database_url)
    engine.dispose()
