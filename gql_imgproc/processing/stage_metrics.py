"""Metrics and, where tracing is on, spans of the stages of an image."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from gql_imgproc import tracing
from gql_imgproc.metrics import STAGE_SECONDS


class Stage(StrEnum):
    """The stages of an image, in order."""

    #: The download, from the request for it to the last byte; the wait for a free download is included.
    FETCH = "fetch"
    #: The wait for the CPU pool.
    WAIT = "wait"
    #: Decoding and encoding.
    COMPRESS = "compress"
    STORE = "store"
    #: The transaction that records the result.
    RECORD = "record"


# rate() needs a value before the first event.
for _stage in Stage:
    STAGE_SECONDS.labels(_stage.value)


@contextmanager
def measure_stage(stage: Stage) -> Iterator[None]:
    """Measures the block as one stage, also when it fails."""
    started_at = time.perf_counter()
    with tracing.start_span(stage.value):
        try:
            yield
        finally:
            STAGE_SECONDS.labels(stage.value).observe(time.perf_counter() - started_at)


def record_stage(stage: Stage, started_at: float, ended_at: float) -> None:
    """Records a stage that ran elsewhere, between two readings of `time.perf_counter`."""
    STAGE_SECONDS.labels(stage.value).observe(ended_at - started_at)
    tracing.record_finished_span(stage.value, started_at, ended_at)
