"""Temporary files: in memory while they are small, then on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

#: Largest file that stays in memory.
MAX_MEMORY_BYTES = 8 * 1024 * 1024


@contextmanager
def temporary_file() -> Iterator[BinaryIO]:
    """An empty file that is deleted at the end."""
    with tempfile.SpooledTemporaryFile(MAX_MEMORY_BYTES) as file:
        yield cast(BinaryIO, file)
