"""The record of compressed files."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sys import getswitchinterval, setswitchinterval

import pytest

from gql_imgproc.imaging.options import DEFAULT
from gql_imgproc.standalone.compression_record import CompressionRecord, RecordedResult


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    interval = getswitchinterval()
    setswitchinterval(1e-6)
    yield
    setswitchinterval(interval)


@pytest.mark.usefixtures("frequent_switches")
def test_each_thread_finds_the_result_of_its_own_source(tmp_path: Path) -> None:
    # Given a record to which four threads add results,
    sources = [b"%d" % number for number in range(500)]
    with CompressionRecord(tmp_path / "compressed.sqlite3", DEFAULT) as record, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda source: record.add(source, b"-" + source, source.decode()), sources))

        # when the threads look the sources up, six times,
        found = list(threads.map(record.find, sources * 6))

    # then each lookup returns the result of its source.
    assert found == [RecordedResult(1 + len(source), source.decode()) for source in sources] * 6
