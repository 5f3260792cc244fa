"""Transactions that run again, because the answer to their commit was lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gql_imgproc.database.engine import Database


@contextmanager
def lost_commits() -> Iterator[None]:
    """Commits every write transaction of the block, then runs it again."""
    write_now = Database.write_now

    def twice(self: Database, work: Any, *args: Any, **kwargs: Any) -> Any:
        write_now(self, work, *args, **kwargs)
        return write_now(self, work, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "write_now", twice)
        yield
