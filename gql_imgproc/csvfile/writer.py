"""The output CSV: the manifest again, row by row, with where its pictures went and what went wrong."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Sequence
from typing import BinaryIO, Protocol

from gql_imgproc.csvfile.formula_injection import FORMULA_STARTS, escape_formula
from gql_imgproc.csvfile.header import DELIMITERS, IMAGE_ERRORS, OUTPUT_URLS, result_column
from gql_imgproc.csvfile.reader import ROWS_PER_PAUSE, CsvLimits, YieldControl, no_yield, open_csv

#: One row's results: an address or None per picture, and what went wrong or None per picture.
RowResult = tuple[Sequence[str | None], Sequence[str | None]]


class AsyncWriter(Protocol):
    """What takes bytes."""

    def write(self, data: bytes, /) -> object: ...


def write_output(
    file: BinaryIO,
    out: AsyncWriter,
    limits: CsvLimits,
    results: Iterable[RowResult],
    pause: YieldControl = no_yield,
) -> None:
    """Writes the rows of an accepted manifest with their results, of which there must be one per row, in order."""
    manifest = open_csv(file, limits)
    layout = manifest.layout
    # An output may be uploaded again: its columns are filled anew, and not doubled.
    places: dict[str, int] = {}
    doubled: list[int] = []
    for index, name in enumerate(layout.header):
        if added := result_column(name):
            if added in places:
                doubled.append(index)
            places.setdefault(added, index)
    buffer = io.StringIO(newline="")
    # The line end is that of RFC 4180 whatever the input's: the writer quotes a cell for its characters.
    writer = csv.writer(buffer, delimiter=layout.delimiter, lineterminator="\r\n")
    # A spreadsheet skips white space before a formula, so it is guarded; before ours it is dropped, since with an
    # apostrophe they would be no number and no address any more.
    ours = (layout.serial_number, layout.image_urls)

    def completed(cells: list[str], urls: str, errors: str) -> list[str]:
        for index in ours:
            if cells[index][:1] in FORMULA_STARTS:
                cells[index] = cells[index].lstrip()
        if places:
            for name, text in ((OUTPUT_URLS, urls), (IMAGE_ERRORS, errors)):
                if name in places:
                    cells[places[name]] = text
                else:
                    cells.append(text)
            for index in reversed(doubled):
                del cells[index]
        else:
            cells += (urls, errors)
        return [escape_formula(cell) if cell[:1] in FORMULA_STARTS else cell for cell in cells]

    def flush() -> None:
        out.write(buffer.getvalue().encode())
        buffer.seek(0)
        buffer.truncate()

    if layout.has_bom or layout.encoding != "utf-8":
        # Excel takes a file without the mark for Windows-1252; who wrote such a file reads it with Excel.
        out.write(codecs.BOM_UTF8)
    if layout.declares_delimiter:
        # Who needed the line to have the columns told apart needs it again.
        buffer.write(f"sep={layout.delimiter}\r\n")
    # Of names with commas in a file of tabs a reader would make columns, if they did not stand in quotation marks.
    header = completed(list(layout.header), OUTPUT_URLS, IMAGE_ERRORS)
    misleading = {*DELIMITERS} - {layout.delimiter}
    if misleading.isdisjoint("".join(header)):
        writer.writerow(header)
    else:
        csv.writer(buffer, delimiter=layout.delimiter, lineterminator="\r\n", quoting=csv.QUOTE_ALL).writerow(header)
    for count, ((_, cells), (urls, errors)) in enumerate(zip(manifest.cells(), results, strict=True), start=1):
        told = join_errors(errors) if any(errors) else ""
        writer.writerow(completed(cells, ",".join([url or "" for url in urls]), told))
        if not count % ROWS_PER_PAUSE:
            flush()
            pause()
    flush()


def join_errors(errors: Sequence[str | None]) -> str:
    """`2: sentence | 5: sentence`, the pictures being counted from 1."""
    return " | ".join(f"{number}: {error}" for number, error in enumerate(errors, start=1) if error)
