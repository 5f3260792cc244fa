"""A CSV that is being read or written: in memory while it is small, in a temporary file when not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

#: Size from which on a file is used, in bytes.
SPOOL_BYTES = 8 * 1024 * 1024


@contextmanager
def spooled() -> Iterator[BinaryIO]:
    """An empty file that is gone afterwards."""
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as file:
        yield cast(BinaryIO, file)
