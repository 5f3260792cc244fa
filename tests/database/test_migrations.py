"""Migrations run once, whichever process starts them, and never break code that is running."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text

from gql_imgproc.database import migrations
from gql_imgproc.database.engine import Database
from gql_imgproc.database.migrations import check, schema_mismatch, upgrade
from gql_imgproc.errors import ConfigurationError

INITIAL = "0001"
#: The revision that `plant` adds after the newest one, and bodies for it.
PLANTED = "9000"
ADD_COLUMN = """
    op.add_column("images", sa.Column("etag", sa.Text(), nullable=True))
"""
#: As docs/decisions/0011-expand-and-contract-migrations.md shows.
ADD_INDEX = """
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("ix_images_sha256", "images", ["sha256"])
        return
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        op.drop_index("ix_images_sha256", "images", if_exists=True, postgresql_concurrently=True)
        op.create_index("ix_images_sha256", "images", ["sha256"], postgresql_concurrently=True)
        op.execute("RESET lock_timeout")
"""

TABLE = r"(?:IF (?:NOT )?EXISTS )?(?:ONLY )?\"?(\w+)"
#: Statements that disturb running code, unless the migration itself created the table; and what to do instead.
UNSAFE = {
    rf"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)\S+ ON {TABLE}": "build it CONCURRENTLY: writers wait for it",
    rf"ALTER TABLE {TABLE}.* ADD (?:COLUMN )?(?!.*DEFAULT).*NOT NULL": "add a default: old code does not set it",
    rf"ALTER TABLE {TABLE}.* DEFAULT (?:now|clock_timestamp|gen_random_uuid|random)": "rewrites every row",
    rf"ALTER TABLE {TABLE}.* SET NOT NULL": "reads every row under a lock; first add a CHECK that is NOT VALID",
    rf"ALTER TABLE {TABLE}.* (?:TYPE|SET DATA TYPE) ": "rewrites every row; add another column",
    rf"ALTER TABLE {TABLE}.* RENAME ": "old code uses the old name; add another column or table",
    rf"ALTER TABLE {TABLE}.* ADD CONSTRAINT (?!.*NOT VALID)": "reads every row under a lock; add it NOT VALID",
    rf"UPDATE {TABLE}": "locks rows until the migration ends; let code update them in chunks",
    rf"DELETE FROM {TABLE}": "locks rows until the migration ends; let code delete them in chunks",
}
#: Allowed once no running version can need what is dropped.
CONTRACTIONS = rf"DROP TABLE {TABLE}|ALTER TABLE {TABLE}.* DROP (?:COLUMN|CONSTRAINT)"
BOOKKEEPING = {"alembic_version", "schema_compatibility"}


def unsafe_statements(statements: list[str]) -> list[str]:
    """Statements of one PostgreSQL migration that would disturb old code while it runs, each with a remedy."""
    flat = [" ".join(statement.split()) for statement in statements]
    created = BOOKKEEPING | {
        match[1] for statement in flat if (match := re.match(rf"CREATE TABLE {TABLE}", statement, re.I))
    }
    raises_min_revision = any(re.match(r"UPDATE schema_compatibility", statement, re.I) for statement in flat)
    found = []
    for statement in flat:
        for pattern, remedy in UNSAFE.items():
            match = re.match(pattern, statement, re.I)
            if match and match[1] not in created:
                found.append(f"{statement}: {remedy}")
        if re.match(CONTRACTIONS, statement, re.I) and not raises_min_revision:
            found.append(f"{statement}: raise `min_revision` first, one version after the last that needs it")
    return found


def statements_by_revision(url: str) -> dict[str, list[str]]:
    """Runs all migrations and returns the statements that each of them executed."""
    executed: dict[str, list[str]] = defaultdict(list)

    for script in reversed(list(ScriptDirectory.from_config(migrations._config(url)).walk_revisions())):

        def note(_c: Any, _k: Any, statement: str, *_: Any, revision: str = script.revision) -> None:
            executed[revision].append(statement)

        event.listen(Engine, "before_cursor_execute", note)
        try:
            command.upgrade(migrations._config(url), script.revision)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
    return executed


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("The condition never became true.")


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Adds a migration with the given body after the newest one."""
    folder = tmp_path / "versions"
    folder.mkdir()
    config = migrations._config
    head = ScriptDirectory.from_config(config("sqlite://")).get_current_head()

    def config_with_planted(url: str) -> Config:
        planted = config(url)
        planted.set_main_option("path_separator", "space")
        planted.set_main_option("version_locations", f"{planted.get_main_option('script_location')}/versions {folder}")
        return planted

    def write(body: str) -> None:
        (folder / f"{PLANTED}.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision, down_revision = {PLANTED!r}, {head!r}\n"
            f"def upgrade():{body}"
        )
        monkeypatch.setattr(migrations, "_config", config_with_planted)
        migrations._revisions.cache_clear()

    yield write
    migrations._revisions.cache_clear()


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_migrations_are_safe_for_running_code(empty_database_url: str, plant: Callable[[str], None]) -> None:
    plant(ADD_COLUMN + ADD_INDEX)

    executed = statements_by_revision(empty_database_url)

    assert any("CREATE TABLE" in statement for statement in executed[INITIAL])
    assert any("CREATE INDEX CONCURRENTLY" in statement for statement in executed[PLANTED])
    # The initial migration runs on an empty database, so only what comes after it can disturb running code.
    assert {
        revision: found
        for revision, statements in executed.items()
        if revision != INITIAL and (found := unsafe_statements(statements))
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
def test_unsafe_statement_is_reported(statement: str) -> None:
    assert len(unsafe_statements([statement])) == 1


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
def test_expanding_statements_are_accepted(statements: list[str]) -> None:
    assert unsafe_statements(statements) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_replicas_can_migrate_at_once(empty_database_url: str, tmp_path: Path) -> None:
    # Replicas on SQLite share one machine; four are many there.
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
    results = [(replica.communicate(timeout=200)[1], replica.returncode) for replica in replicas]

    assert [code for _, code in results] == [0] * number, results
    # One of them migrated; the others had nothing left to do.
    assert sorted("database migrated" in log for log, _ in results) == [False] * (number - 1) + [True]
    check(empty_database_url)


def set_revision(url: str, revision: str, min_revision: str | None) -> None:
    """Makes the database look as if another version had migrated it."""
    database = Database(url)
    with database._writer.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        if min_revision is None:
            connection.execute(text("DROP TABLE schema_compatibility"))
        else:
            connection.execute(text("UPDATE schema_compatibility SET min_revision = :min"), {"min": min_revision})
    database.close()


def read_revision(connection: Connection) -> str:
    revision: str = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    return revision


def test_older_version_works_with_an_expanded_schema(database_url: str, database: Database) -> None:
    set_revision(database_url, "9999", min_revision=INITIAL)

    upgrade(database_url)
    check(database_url)

    assert schema_mismatch(database) is None
    assert database.read_now(read_revision) == "9999"


@pytest.mark.parametrize("min_revision", ["9998", None])
def test_older_version_refuses_a_contracted_schema(
    database_url: str, database: Database, min_revision: str | None
) -> None:
    set_revision(database_url, "9999", min_revision)

    for start in (upgrade, check):
        with pytest.raises(ConfigurationError, match=r"newer version of gql-imgproc.* Use that version$"):
            start(database_url)
    assert schema_mismatch(database) == migrations.TOO_NEW


def test_newer_version_requires_its_migrations(database_url: str, plant: Callable[[str], None]) -> None:
    plant(ADD_COLUMN)

    with pytest.raises(ConfigurationError, match=r"Run `gql-imgproc migrate`$"):
        check(database_url)

    upgrade(database_url)
    check(database_url)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_database_that_is_not_utf8_is_refused(postgresql_url: str, encoding: str) -> None:
    server, name = make_url(postgresql_url), f"test_{encoding.lower()}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"))
    try:
        with pytest.raises(ConfigurationError, match=f"^The database has the encoding {encoding}; it must be UTF8"):
            upgrade(server.set(database=name).render_as_string(hide_password=False))
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_waiting_migration_holds_no_transaction_open(empty_database_url: str) -> None:
    idle = text(
        "SELECT state, backend_xmin FROM pg_stat_activity WHERE datname = current_database() AND query = 'COMMIT'"
    )
    engine = create_engine(empty_database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as other, engine.connect() as observer:
        other.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": 0x67716C5F})
        waiting = Thread(target=upgrade, args=(empty_database_url,))
        waiting.start()
        # Between two attempts it is in no transaction: CREATE INDEX CONCURRENTLY would wait for one to end.
        wait_until(lambda: [tuple(row) for row in observer.execute(idle)] == [("idle", None)])
        assert observer.execute(text("SELECT to_regclass('requests')")).scalar_one() is None

        other.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": 0x67716C5F})
        waiting.join(30)

    check(empty_database_url)
    engine.dispose()


def test_index_is_built_while_others_write(database_url: str, database: Database, plant: Callable[[str], None]) -> None:
    plant(ADD_INDEX)
    index = "ix_images_sha256"
    if database.sqlite:
        upgrade(database_url)
        assert index_states(database, index) == [True]
        return
    with database._writer.begin() as connection:
        # Left over by an interrupted attempt.
        connection.execute(text(f"CREATE INDEX {index} ON images (sha256)"))
        connection.execute(text(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{index}'::regclass"))
    writer = database._writer.connect()
    writing = writer.begin()
    writer.execute(text("DELETE FROM images"))
    building = Thread(target=upgrade, args=(database_url,))
    building.start()
    wait_until(lambda: database.read_now(count_lock_waits, "DROP INDEX CONCURRENTLY") == 1)

    # Others can write to the table meanwhile.
    database.write_now(Connection.execute, text("DELETE FROM images"))
    writing.rollback()
    writer.close()
    building.join(30)

    assert index_states(database, index) == [True]
    check(database_url)


def count_lock_waits(connection: Connection, statement: str) -> int:
    """How many sessions wait for a lock with a statement that contains the text."""
    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND query LIKE :pattern AND datname = current_database()"
    )
    count: int = connection.execute(waits, {"pattern": f"%{statement}%"}).scalar_one()
    return count


def index_states(database: Database, name: str) -> list[bool]:
    """Whether each index of that name is valid."""
    states = text(
        "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = :name"
        if database.sqlite
        else "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"
    )

    def read(connection: Connection) -> list[bool]:
        return [bool(state) for state in connection.scalars(states, {"name": name})]

    return database.read_now(read)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_migration_that_waits_for_a_table_lets_others_pass(
    database_url: str, database: Database, plant: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(ADD_COLUMN)
    monkeypatch.setattr(migrations, "LOCK_PAUSE_S", 0.05)
    read = text("SELECT count(*) FROM images")
    engine = create_engine(database_url, connect_args={"options": "-c statement_timeout=20s"})
    with engine.connect() as long_reader, engine.connect() as other:
        long_reader.execute(read)
        migrating = Thread(target=upgrade, args=(database_url,))
        migrating.start()

        # The migration queues for the table again and again; readers behind it pass while the long one still runs.
        for _ in range(2):
            wait_until(lambda: database.read_now(count_lock_waits, "ALTER TABLE images") == 1)
            other.execute(read)
            other.rollback()
        assert migrating.is_alive()

        long_reader.rollback()
        migrating.join(30)

    check(database_url)
    engine.dispose()
