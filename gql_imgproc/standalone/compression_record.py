"""Remembers which files were compressed with which options, so that the next run skips them."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gql_imgproc.imaging.options import Options

_TABLE = "CREATE TABLE IF NOT EXISTS results (digest BLOB PRIMARY KEY, bytes INTEGER, format TEXT) WITHOUT ROWID"


@dataclass(frozen=True, slots=True)
class RecordedResult:
    """The result that a source had."""

    size_bytes: int
    format: str


def default_path() -> Path:
    """The file of the record, in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gql-imgproc" / "compressed.sqlite3"


class CompressionRecord:
    """Results by the digest of the source's bytes and the options. It knows no paths, so files may be moved.

    Without the record, files are only compressed again, so it lives in memory if its file cannot be used.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self._prefix = options.fingerprint.bytes
        # Two threads must not use a connection at once: they would bind their parameters to one cached statement.
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._open(str(path))
        except (OSError, sqlite3.Error):
            self._connection = self._open(":memory:")

    @staticmethod
    def _open(path: str) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(_TABLE)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def find(self, source: bytes) -> RecordedResult | None:
        query, digest = "SELECT bytes, format FROM results WHERE digest = ?", self._digest(source)
        with suppress(sqlite3.Error), self._lock:
            row = self._connection.execute(query, (digest,)).fetchone()
            return RecordedResult(*row) if row else None
        return None

    def add(self, source: bytes, result: bytes, format: str) -> None:
        """Records a result, and that compressing it again changes nothing."""
        rows = [(self._digest(data), len(result), format) for data in (source, result)]
        with suppress(sqlite3.Error), self._lock:
            self._connection.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", rows)

    def _digest(self, data: bytes) -> bytes:
        return hashlib.sha256(self._prefix + data).digest()
