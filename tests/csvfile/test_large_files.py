"""Large CSV files and cells take little memory and linear time."""

from __future__ import annotations

import io
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from tempfile import TemporaryFile

import pytest
from python_calamine import CalamineWorkbook

from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.reader import read_products
from gql_imgproc.csvfile.results import ReportedResult
from gql_imgproc.csvfile.validation import CsvSummary, validate
from gql_imgproc.csvfile.writer import write_output
from gql_imgproc.errors import InvalidCsv
from tests.csvfile.csv_cases import HEADER, ROW, only_example_hosts, refusal_of
from tests.support.csv_rows import read_rows

#: As large as an operator may set them.
LIMITS = CsvLimits(max_products=1_000_000, max_images=5_000_000, max_columns=100, max_field_chars=250_000)
#: Bound of CPU time, which does not depend on other processes. Linear time takes about a tenth of it.
CPU_SECONDS = 10


class GeneratedFile(io.RawIOBase):
    """A file that is not stored: `head`, then `body` repeated until `size` bytes."""

    def __init__(self, head: bytes, size: int, body: bytes) -> None:
        super().__init__()
        self.head, self.size, self.body = head, size, body
        self.place = self.furthest = 0

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.place = offset + (self.size if whence == io.SEEK_END else 0)
        return self.place

    def read(self, count: int = -1) -> bytes:
        count = max(0, min(count, self.size - self.place))
        data = self.head[self.place : self.place + count]
        missing = count - len(data)
        if missing:
            start = (self.place + len(data) - len(self.head)) % len(self.body)
            data += (self.body * (missing // len(self.body) + 2))[start : start + missing]
        self.place += count
        if count > 1:  # not the look for an end mark
            self.furthest = max(self.furthest, self.place)
        return data


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        (b"", b"x", ("FIELD_TOO_LONG", 1)),
        (b"", b"x,", ("FIELD_TOO_LONG", 1)),
        (HEADER.encode(), b"x", ("FIELD_TOO_LONG", 2)),
        (HEADER.encode() + b'1,"', b"x", ("FIELD_TOO_LONG", 2)),
        (HEADER.encode() + ROW.encode() + b'2,"', b"3,b,c\n", ("QUOTE_INVALID", 3)),
        (HEADER.encode() + ROW.encode() + b'2,"', b'x\n""', ("FIELD_TOO_LONG", 3)),
    ],
)
def test_a_gigabyte_without_a_row_is_refused_in_little_memory(
    head: bytes, body: bytes, expected: tuple[str, int]
) -> None:
    # Given a row of a gigabyte (50 MB where the whole file must be read, to know that no mark closes the cell),
    size = 5 * 10**7 if b"\n" in body else 10**9
    file = GeneratedFile(head, size, body)

    # when it is checked,
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(InvalidCsv) as caught:
        validate(file, LIMITS, only_example_hosts)
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # then it is refused early, and little of it is kept in memory.
    assert [(issue.code.value, issue.row) for issue in caught.value.issues] == [expected]
    assert peak < 20 * 1024 * 1024
    assert seconds < CPU_SECONDS
    if b"\n" not in body:
        assert file.furthest < 20 * 1024 * 1024


def lines(count: int) -> Iterator[bytes]:
    yield HEADER.encode()
    for number in range(1, count + 1):
        yield b'%d,Product %d,"https://a.example/%d.jpg,https://b.example/%d.jpg"\n' % (number, number, number, number)


def test_memory_does_not_grow_with_the_file() -> None:
    # Given a file of 20,000 rows (about 1.6 MB, and 15 MB as objects),
    count = 20_000
    file = io.BytesIO(b"".join(lines(count)))

    # when it is checked and read,
    tracemalloc.start()
    started = time.process_time()
    summary = validate(file, LIMITS, only_example_hosts)
    read = sum(1 for _ in read_rows(file, LIMITS))
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # then little more than its serial numbers is kept in memory.
    assert (summary, read) == (CsvSummary(count, 2 * count, ()), count)
    assert peak < 2 * 1024 * 1024
    assert seconds < CPU_SECONDS


def shop_lines(count: int) -> Iterator[bytes]:
    yield b"Handle,Title,Image Src,Variant Image\n"
    for number in range(count):
        yield b"p%d,Lamp,https://a.example/%d.jpg,\n" % (number // 3, number)


def test_memory_does_not_grow_with_the_file_of_a_shop() -> None:
    # Given a shop's file of 9,000 rows (0.3 MB, and 7 MB as objects), three for each product,
    count = 9_000
    file = io.BytesIO(b"".join(shop_lines(count)))
    sizes = [0, 0]

    class Counter:
        def __init__(self, index: int) -> None:
            self.index = index

        def write(self, data: bytes) -> None:
            sizes[self.index] += len(data)

    # when it is checked, read and written,
    tracemalloc.start()
    summary = validate(file, LIMITS, only_example_hosts)
    read = sum(1 for _ in read_products(file, LIMITS, summary.layout))
    results = (ReportedResult("https://o.example/1.jpg") for _ in range(count))
    write_output(file, Counter(0), Counter(1), LIMITS, results, layout=summary.layout)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # then nothing of it is kept in memory.
    assert (summary.products, summary.images, read) == (3_000, count, 3_000)
    assert min(sizes) > 300_000
    assert peak < 1024 * 1024


def test_memory_does_not_grow_with_a_workbook() -> None:
    def write_workbook(count: int) -> tuple[int, int]:
        """The rows of the output workbook, and the peak of the memory that it took."""
        lines = (f'"p{number}","https://a.example/{number}.jpg",{number}\r\n' for number in range(count))
        file = io.BytesIO("".join(['"Handle","Image Src","Image Position"\r\n', *lines]).encode())
        layout = replace(validate(file, LIMITS, only_example_hosts).layout, sheet="Products")
        results = (ReportedResult("https://o.example/1.jpg") for _ in range(count))
        with TemporaryFile() as out, TemporaryFile() as report, TemporaryFile() as book:
            tracemalloc.start()
            write_output(file, out, report, LIMITS, results, layout=layout, workbook=book)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            book.seek(0)
            sheet = CalamineWorkbook.from_filelike(book).get_sheet_by_name("Products")
        return sheet.total_height, peak

    # When output workbooks of 3,000 and 9,000 rows are written,
    (few, less), (many, more) = write_workbook(3_000), write_workbook(9_000)

    # then their rows go to the disk.
    assert (few, many) == (3_000, 9_000)
    assert more - less < 128 * 1024


@pytest.mark.parametrize(
    "cell", ["," * 9_999, ", ; " * 2_499, "http:/" * 1_666, "a://" * 2_499, " " * 9_999, "+" * 9_999, "a," * 4_999]
)
def test_no_cell_takes_quadratic_time(cell: str) -> None:
    content = HEADER + "".join(f'"{cell}","{cell}","{cell}"\n' for _ in range(20))

    started = time.process_time()
    refusal_of(content)

    assert time.process_time() - started < CPU_SECONDS
