"""The header of a CSV file: detects the delimiter and finds the three columns."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace

from gql_imgproc.csvfile.encoding import CONTROL, DecodedFile
from gql_imgproc.csvfile.formula_injection import is_escaped
from gql_imgproc.csvfile.messages import csv_error, excerpt, join_quoted, plural, quote
from gql_imgproc.csvfile.records import Dialect, iter_records
from gql_imgproc.errors import CsvIssue, CsvIssueCode, InvalidCsv

SERIAL_NUMBER = "S. No."
PRODUCT_NAME = "Product Name"
IMAGE_URLS = "Input Image Urls"

#: The accepted names of each column, normalized. They are few, so that no other column is matched by mistake.
ACCEPTED_NAMES = {
    SERIAL_NUMBER: ("sno", "srno", "slno", "serialno", "serialnumber"),
    PRODUCT_NAME: ("productname",),
    IMAGE_URLS: ("inputimageurls", "inputimageurl", "imageurls", "imageurl"),
}

#: Other common names of these columns. The message proposes to rename such a column; it is not accepted.
_SIMILAR_NAMES = {
    SERIAL_NUMBER: ("#", "no", "nr", "number", "serial", "id", "index", "row", "sr", "sl", "sn"),
    PRODUCT_NAME: ("name", "product", "products", "title", "productnames", "producttitle", "item", "itemname"),
    IMAGE_URLS: ("url", "urls", "image", "images", "inputimages", "inputurls", "imagelinks", "links", "pictures"),
}

#: The columns that an output CSV adds. If an output CSV is uploaded again, their cells are replaced.
OUTPUT_URLS = "Output Image Urls"
IMAGE_ERRORS = "Image Errors"

#: Delimiters that are detected, the most common first.
DELIMITERS = (",", ";", "\t", "|")
#: A first line that names the delimiter, as Excel reads and writes it. It is not a row.
_SEPARATOR_LINE = re.compile(r'\A("?)sep=([,;:|^~\t])\1[,;\t|]*(?:\r\n|\r|\n|\Z)', re.IGNORECASE)
_DELETE_DELIMITERS = str.maketrans("", "", "".join(DELIMITERS))
_IGNORED_IN_NAMES = re.compile("[\\s._\\-\N{ZERO WIDTH NO-BREAK SPACE}\N{ZERO WIDTH SPACE}]+")
#: Characters at the start of the text that identify HTML, JSON and other formats.
_HEAD_CHARS = 1000

UPLOAD_CSV = "Upload a CSV file whose first row names the columns."


@dataclass(frozen=True, slots=True)
class Header:
    dialect: Dialect
    row: int
    names: tuple[str, ...]
    serial_number: int
    product_name: int
    image_urls: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The first row that is not blank, read with one delimiter."""

    dialect: Dialect
    row: int
    names: list[str]
    issue: CsvIssue | None = None

    @property
    def score(self) -> tuple[int, float]:
        """The number of columns found. An error counts more than a row of one cell and less than a row of two."""
        found = len({field for name in self.names if (field := match_field(name))})
        return found, 1.5 if self.issue else len(self.names)


def normalize_name(name: str) -> str:
    """Removes differences of spelling: case, spaces, dots, underscores, hyphens."""
    return _IGNORED_IN_NAMES.sub("", name[1:] if is_escaped(name) else name).casefold()


def match_field(name: str) -> str | None:
    """Returns the input column that has this name."""
    normalized = normalize_name(name)
    return next((field for field, accepted in ACCEPTED_NAMES.items() if normalized in accepted), None)


_RESULT_COLUMNS = {normalize_name(name): name for name in (OUTPUT_URLS, IMAGE_ERRORS)}


def match_result_column(name: str) -> str | None:
    """Returns the column of an output CSV that has this name."""
    return _RESULT_COLUMNS.get(normalize_name(name))


def read_header(text: DecodedFile, max_columns: int, max_field_chars: int, longest_row_chars: int) -> Header:
    """Finds the header. Refuses the file with every problem of its header."""
    head = text.head(_HEAD_CHARS)
    separator = _SEPARATOR_LINE.match(head)
    if separator:
        dialects = [Dialect(separator[2], preamble_chars=separator.end())]
    else:
        dialects = [Dialect(delimiter) for delimiter in DELIMITERS]
    candidates = [found for dialect in dialects if (found := _read_first_row(text, dialect, longest_row_chars))]
    if not candidates:
        raise csv_error(
            CsvIssueCode.EMPTY_FILE, "The file has no rows. Upload a CSV file with a header row and data rows."
        )
    # Of equal candidates `max` takes the first, which has the most common delimiter.
    best = max(candidates, key=lambda candidate: candidate.score)
    if best.score[0] == 0 and (text_format := _other_text_format(head)):
        raise csv_error(CsvIssueCode.HEADER, f"The text seems to be {text_format}, not CSV. {UPLOAD_CSV}")
    if best.issue:
        raise InvalidCsv((best.issue,), 1)
    return _locate_columns(best, max_columns, max_field_chars)


def _read_first_row(text: DecodedFile, dialect: Dialect, longest_row_chars: int) -> _Candidate | None:
    for record in iter_records(text, dialect, longest_row_chars):
        if isinstance(record, CsvIssue):
            return _Candidate(dialect, record.row or 1, [], record)
        row, cells = record
        # A row that consists of delimiters is blank for every delimiter.
        if any(cell.translate(_DELETE_DELIMITERS).strip() for cell in cells):
            if not dialect.skips_spaces and len(cells) > 1 and all(cell.startswith(" ") for cell in cells[1:]):
                return _read_first_row(text, replace(dialect, skips_spaces=True), longest_row_chars)
            return _Candidate(dialect, row, cells)
    return None


def _locate_columns(candidate: _Candidate, max_columns: int, max_field_chars: int) -> Header:
    names = [name.lstrip("\N{ZERO WIDTH NO-BREAK SPACE}") for name in candidate.names]
    while names and not names[-1].strip():
        # Excel also writes columns that were emptied.
        names.pop()
    row = candidate.row
    issues: list[CsvIssue] = []
    # The columns of an output CSV do not count: it can be uploaded again even if the original had the maximum.
    if len(names) - len({column for name in names if (column := match_result_column(name))}) > max_columns:
        issues.append(
            CsvIssue(
                CsvIssueCode.LIMIT_EXCEEDED,
                f"The file has {plural(len(names), 'column')}; the limit is {max_columns:,}. Remove those not needed.",
                row,
            )
        )
    indices: dict[str, int] = {}
    for index, name in enumerate(names):
        if len(name) > max_field_chars:
            issues.append(too_long_issue(name, max_field_chars, row, excerpt(name.strip())))
        if CONTROL.search(name):
            issues.append(control_issue(name, row, excerpt(name.strip())))
        field = match_field(name)
        if field in indices:
            issues.append(_duplicate_issue(names, indices[field], index, field, row))
        elif field:
            indices[field] = index
    if missing := [field for field in ACCEPTED_NAMES if field not in indices]:
        issues.insert(0, CsvIssue(CsvIssueCode.HEADER, _missing_columns_message(missing, names), row))
    if issues:
        raise InvalidCsv(tuple(issues[:100]), len(issues))
    return Header(
        candidate.dialect, row, tuple(names), indices[SERIAL_NUMBER], indices[PRODUCT_NAME], indices[IMAGE_URLS]
    )


def _duplicate_issue(names: list[str], first: int, second: int, field: str, row: int) -> CsvIssue:
    return CsvIssue(
        CsvIssueCode.COLUMN_DUPLICATE,
        f"The columns {quote(names[first])} (number {first + 1}) and {quote(names[second])} (number {second + 1}) "
        f"both mean {quote(field)}. Remove or rename one of them.",
        row,
        excerpt(names[second].strip()),
    )


def _missing_columns_message(missing: list[str], names: list[str]) -> str:
    if len(missing) == len(ACCEPTED_NAMES) and any("://" in name or name.isdecimal() for name in names):
        columns = join_quoted(list(ACCEPTED_NAMES))
        return f"The file has no header row. Insert a first row that names the columns {columns}."
    columns = "column is" if len(missing) == 1 else "columns are"
    problem = f"The {columns} missing: {join_quoted(missing)}; found: {join_quoted(names) or 'no names'}."
    renames = [
        f"rename {quote(similar)} to {quote(field)}" for field in missing if (similar := _find_similar(field, names))
    ]
    fix = ", ".join(renames) if renames else "use these names in the first row"
    return f"{problem} Please {fix}."


def _find_similar(field: str, names: list[str]) -> str | None:
    """Returns the name of an unused column that probably means the field."""
    unused = {normalize_name(name)[:100]: name for name in reversed(names[:100]) if name and not match_field(name)}
    for similar in _SIMILAR_NAMES[field]:
        if similar in unused:
            return unused[similar]
    for accepted in ACCEPTED_NAMES[field]:
        if near := difflib.get_close_matches(accepted, unused, 1, 0.75):
            return unused[near[0]]
    return None


def control_issue(cell: str, row: int, column: str | None) -> CsvIssue:
    """Returns the issue for the first control character of a cell."""
    found = CONTROL.search(cell)
    code = ord(found[0]) if found else 0
    position = f" at position {found.start() + 1:,}" if found else ""
    return CsvIssue(
        CsvIssueCode.CHARACTER_INVALID,
        f"The cell contains the control character U+{code:04X}{' (NUL)' if code == 0 else ''}{position}. "
        "Delete it, or type the cell again.",
        row,
        column,
    )


def too_long_issue(cell: str, max_chars: int, row: int, column: str | None) -> CsvIssue:
    return CsvIssue(
        CsvIssueCode.FIELD_TOO_LONG,
        f"The cell has {plural(len(cell), 'character')}; the limit is {max_chars:,}. Shorten it.",
        row,
        column,
    )


def _other_text_format(head: str) -> str | None:
    text = head.lstrip().lower()
    if text.startswith(("<!doctype html", "<html")) or (text.startswith("<") and "<head" in text):
        return "a web page (HTML)"
    if text.startswith("<"):
        return "XML or HTML"
    if text.startswith("{\\rtf"):
        return "a rich text document (RTF)"
    if text.startswith(("{", "[")):
        return "JSON"
    return None
