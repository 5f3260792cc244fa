"""The output CSV: the manifest again, row by row, with where its pictures went and what went wrong."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import BinaryIO, Protocol

from gql_imgproc.core.csv_header import plain_name
from gql_imgproc.core.manifest import ROWS_PER_PAUSE, ManifestLimits, Pause, no_pause, open_manifest

OUTPUT_URLS = "Output Image Urls"
IMAGE_ERRORS = "Image Errors"

_ADDED = {plain_name(name): name for name in (OUTPUT_URLS, IMAGE_ERRORS)}

#: What a spreadsheet takes for the beginning of a formula, the wide forms of East Asian keyboards included.
_FORMULA_STARTS = frozenset(
    "=@\t\r\n+-\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH COMMERCIAL AT}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}"
)
#: The whole cell must be a number: `-1+cmd|...` begins with one too.
_SIGNED_NUMBER = re.compile(r"[+-](?:\d[\d., ]*|[.,]\d+)(?:[eE][+-]?\d+)?%?", re.ASCII)

#: One row's results: an address or None per picture, and what went wrong or None per picture.
RowResult = tuple[Sequence[str | None], Sequence[str | None]]


class Sink(Protocol):
    """What takes bytes."""

    def write(self, data: bytes, /) -> object: ...


def write_output(
    file: BinaryIO, out: Sink, limits: ManifestLimits, results: Iterable[RowResult], pause: Pause = no_pause
) -> None:
    """Writes the rows of an accepted manifest with their results, of which there must be one per row, in order."""
    manifest = open_manifest(file, limits)
    layout = manifest.layout
    # An output may be uploaded again: its columns are filled anew, and not doubled.
    places: dict[str, int] = {}
    doubled: list[int] = []
    for index, name in enumerate(layout.header):
        if added := _ADDED.get(plain_name(name)):
            if added in places:
                doubled.append(index)
            places.setdefault(added, index)
    buffer = io.StringIO(newline="")
    # The line end is that of RFC 4180 whatever the input's: the writer quotes a cell for its characters.
    writer = csv.writer(buffer, delimiter=layout.delimiter, lineterminator="\r\n")

    def write_row(cells: list[str], urls: str, errors: str) -> None:
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
        writer.writerow([as_text(cell) if cell[:1] in _FORMULA_STARTS else cell for cell in cells])

    def flush() -> None:
        out.write(buffer.getvalue().encode())
        buffer.seek(0)
        buffer.truncate()

    if layout.has_bom or layout.encoding != "utf-8":
        # Excel takes a file without the mark for Windows-1252; who wrote such a file reads it with Excel.
        out.write(codecs.BOM_UTF8)
    write_row(list(layout.header), OUTPUT_URLS, IMAGE_ERRORS)
    for count, ((_, cells), (urls, errors)) in enumerate(zip(manifest.cells(), results, strict=True), start=1):
        write_row(cells, ",".join([url or "" for url in urls]), joined_errors(errors) if any(errors) else "")
        if not count % ROWS_PER_PAUSE:
            flush()
            pause()
    flush()


def joined_errors(errors: Sequence[str | None]) -> str:
    """`2: sentence | 5: sentence`, the pictures being counted from 1."""
    return " | ".join(f"{number}: {error}" for number, error in enumerate(errors, start=1) if error)


def as_text(cell: str) -> str:
    """The cell with an apostrophe before it if a spreadsheet would run it as a formula."""
    if not cell or cell[0] not in _FORMULA_STARTS or _SIGNED_NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"
