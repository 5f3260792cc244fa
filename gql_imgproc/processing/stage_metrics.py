"""The stages of a picture, each measured and, where traces are on, a span."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from gql_imgproc import tracing
from gql_imgproc.metrics import STAGE_SECONDS


class Stage(StrEnum):
    """In the order in which a picture goes through them."""

    #: From asking for it until its last byte, the wait for a turn to download included.
    FETCH = "fetch"
    #: For a CPU slot.
    WAIT = "wait"
    #: Decoded and encoded.
    COMPRESS = "compress"
    STORE = "store"
    #: Its verdict written into the database.
    RECORD = "record"


# A rate needs a value before the first event.
for _stage in Stage:
    STAGE_SECONDS.labels(_stage.value)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """The block is this stage of a picture; a failed one counts as well."""
    began = time.perf_counter()
    with tracing.start_span(name.value):
        try:
            yield
        finally:
            STAGE_SECONDS.labels(name.value).observe(time.perf_counter() - began)


def record_stage(name: Stage, began: float, ended: float) -> None:
    """A stage that passed elsewhere, between two readings of `time.perf_counter`."""
    STAGE_SECONDS.labels(name.value).observe(ended - began)
    tracing.record_finished_span(name.value, began, ended)
