"""The header of a CSV file: which delimiter separates, and where the three columns stand."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace

from gql_imgproc.csvfile.encoding import CONTROL, DecodedFile
from gql_imgproc.csvfile.formula_injection import is_guarded
from gql_imgproc.csvfile.messages import csv_error, excerpt, join_quoted, plural, quote
from gql_imgproc.csvfile.records import Dialect, iter_records
from gql_imgproc.errors import CsvIssue, CsvIssueCode, InvalidCsv

SERIAL_NUMBER = "S. No."
PRODUCT_NAME = "Product Name"
IMAGE_URLS = "Input Image Urls"

#: The names that a column may have, as `plain_name` writes them. Few, so that no other column is taken by mistake.
ACCEPTED = {
    SERIAL_NUMBER: ("sno", "srno", "slno", "serialno", "serialnumber"),
    PRODUCT_NAME: ("productname",),
    IMAGE_URLS: ("inputimageurls", "inputimageurl", "imageurls", "imageurl"),
}

#: What people also call these columns: reason enough to propose a new name, not to guess.
_SUSPECTED = {
    SERIAL_NUMBER: ("#", "no", "nr", "number", "serial", "id", "index", "row", "sr", "sl", "sn"),
    PRODUCT_NAME: ("name", "product", "products", "title", "productnames", "producttitle", "item", "itemname"),
    IMAGE_URLS: ("url", "urls", "image", "images", "inputimages", "inputurls", "imagelinks", "links", "pictures"),
}

#: The columns of an output; its file is a manifest again, whose results are replaced.
OUTPUT_URLS = "Output Image Urls"
IMAGE_ERRORS = "Image Errors"

#: Those that are guessed, the most common first.
DELIMITERS = (",", ";", "\t", "|")
#: Excel writes and reads a first line that names the delimiter; it is no row.
_SEPARATOR_LINE = re.compile(r'\A("?)sep=([,;:|^~\t])\1[,;\t|]*(?:\r\n|\r|\n|\Z)', re.IGNORECASE)
_WITHOUT_DELIMITERS = str.maketrans("", "", "".join(DELIMITERS))
_IGNORED = re.compile("[\\s._\\-\N{ZERO WIDTH NO-BREAK SPACE}\N{ZERO WIDTH SPACE}]+")
#: Characters at the beginning that tell another kind of text.
_LOOK_CHARS = 1000

AS_CSV = "Upload a CSV file whose first row names the columns."


@dataclass(frozen=True, slots=True)
class Header:
    dialect: Dialect
    row: int
    names: tuple[str, ...]
    serial_number: int
    product_name: int
    image_urls: int


@dataclass(frozen=True, slots=True)
class _Reading:
    """The first row that is not blank, as one delimiter shows it."""

    dialect: Dialect
    row: int
    names: list[str]
    issue: CsvIssue | None = None

    @property
    def score(self) -> tuple[int, float]:
        """How many columns it finds; an error says more than a row of one cell, less than one of two."""
        found = len({field for name in self.names if (field := field_of(name))})
        return found, 1.5 if self.issue else len(self.names)


def plain_name(name: str) -> str:
    """The name without what people write differently: case, spaces, dots, underscores, hyphens."""
    return _IGNORED.sub("", name[1:] if is_guarded(name) else name).casefold()


def field_of(name: str) -> str | None:
    """The column that goes by this name."""
    plain = plain_name(name)
    return next((field for field, accepted in ACCEPTED.items() if plain in accepted), None)


_RESULTS = {plain_name(name): name for name in (OUTPUT_URLS, IMAGE_ERRORS)}


def result_column(name: str) -> str | None:
    """The column of an output that goes by this name."""
    return _RESULTS.get(plain_name(name))


def read_header(text: DecodedFile, max_columns: int, max_field_chars: int, longest_row_chars: int) -> Header:
    """Finds the header, or refuses the file with everything that is wrong in its header."""
    beginning = text.beginning(_LOOK_CHARS)
    separator = _SEPARATOR_LINE.match(beginning)
    if separator:
        dialects = [Dialect(separator[2], preamble_chars=separator.end())]
    else:
        dialects = [Dialect(delimiter) for delimiter in DELIMITERS]
    readings = [reading for dialect in dialects if (reading := _read_first(text, dialect, longest_row_chars))]
    if not readings:
        raise csv_error(
            CsvIssueCode.EMPTY_FILE, "The file has no rows. Upload a CSV file with a header row and data rows."
        )
    # The first of equals: they stand in the order of how common they are.
    best = max(readings, key=lambda reading: reading.score)
    if best.score[0] == 0 and (kind := _other_kind(beginning)):
        raise csv_error(CsvIssueCode.HEADER, f"The text seems to be {kind}, not CSV. {AS_CSV}")
    if best.issue:
        raise InvalidCsv((best.issue,), 1)
    return _located(best, max_columns, max_field_chars)


def _read_first(text: DecodedFile, dialect: Dialect, longest_row_chars: int) -> _Reading | None:
    for record in iter_records(text, dialect, longest_row_chars):
        if isinstance(record, CsvIssue):
            return _Reading(dialect, record.row or 1, [], record)
        row, cells = record
        # A row of nothing but delimiters is blank, whichever of them is the right one.
        if any(cell.translate(_WITHOUT_DELIMITERS).strip() for cell in cells):
            if not dialect.skips_spaces and len(cells) > 1 and all(cell.startswith(" ") for cell in cells[1:]):
                return _read_first(text, replace(dialect, skips_spaces=True), longest_row_chars)
            return _Reading(dialect, row, cells)
    return None


def _located(reading: _Reading, max_columns: int, max_field_chars: int) -> Header:
    names = [name.lstrip("\N{ZERO WIDTH NO-BREAK SPACE}") for name in reading.names]
    while names and not names[-1].strip():
        # Excel writes columns that were once used and emptied since.
        names.pop()
    row = reading.row
    issues: list[CsvIssue] = []
    # An output may be uploaded again, whatever the number of columns before its own were added.
    if len(names) - len({column for name in names if (column := result_column(name))}) > max_columns:
        issues.append(
            CsvIssue(
                CsvIssueCode.LIMIT_EXCEEDED,
                f"The file has {plural(len(names), 'column')}; the limit is {max_columns:,}. Remove those not needed.",
                row,
            )
        )
    places: dict[str, int] = {}
    for index, name in enumerate(names):
        if len(name) > max_field_chars:
            issues.append(too_long_issue(name, max_field_chars, row, excerpt(name.strip())))
        if CONTROL.search(name):
            issues.append(control_issue(name, row, excerpt(name.strip())))
        field = field_of(name)
        if field in places:
            issues.append(
                CsvIssue(
                    CsvIssueCode.COLUMN_DUPLICATE,
                    f"The columns {quote(names[places[field]])} (number {places[field] + 1}) and {quote(name)} "
                    f"(number {index + 1}) both mean {quote(field)}. Remove or rename one of them.",
                    row,
                    excerpt(name.strip()),
                )
            )
        elif field:
            places[field] = index
    if missing := [field for field in ACCEPTED if field not in places]:
        issues.insert(0, CsvIssue(CsvIssueCode.HEADER, _missing(missing, names), row))
    if issues:
        raise InvalidCsv(tuple(issues[:100]), len(issues))
    return Header(reading.dialect, row, tuple(names), places[SERIAL_NUMBER], places[PRODUCT_NAME], places[IMAGE_URLS])


def _missing(missing: list[str], names: list[str]) -> str:
    if len(missing) == len(ACCEPTED) and any("://" in name or name.isdecimal() for name in names):
        return f"The file has no header row. Insert a first row that names the columns {join_quoted(list(ACCEPTED))}."
    columns = "column is" if len(missing) == 1 else "columns are"
    told = f"The {columns} missing: {join_quoted(missing)}; found: {join_quoted(names) or 'no names'}."
    renames = [
        f"rename {quote(near)} to {quote(field)}" for field in missing if (near := _near_miss(field, names)) is not None
    ]
    mend = ", ".join(renames) if renames else "name the columns so in the first row"
    return f"{told} Please {mend}."


def _near_miss(field: str, names: list[str]) -> str | None:
    free = {plain_name(name)[:100]: name for name in reversed(names[:100]) if name and not field_of(name)}
    for suspected in _SUSPECTED[field]:
        if suspected in free:
            return free[suspected]
    for accepted in ACCEPTED[field]:
        if near := difflib.get_close_matches(accepted, free, 1, 0.75):
            return free[near[0]]
    return None


def control_issue(cell: str, row: int, column: str | None) -> CsvIssue:
    """The first control character of a cell that has one."""
    found = CONTROL.search(cell)
    code = ord(found[0]) if found else 0
    place = f" at position {found.start() + 1:,}" if found else ""
    return CsvIssue(
        CsvIssueCode.CHARACTER_INVALID,
        f"The cell contains the control character U+{code:04X}{' (NUL)' if code == 0 else ''}{place}. "
        "Delete it or type the cell anew.",
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


def _other_kind(beginning: str) -> str | None:
    look = beginning.lstrip().lower()
    if look.startswith(("<!doctype html", "<html")) or (look.startswith("<") and "<head" in look):
        return "a web page (HTML)"
    if look.startswith("<"):
        return "XML or HTML"
    if look.startswith("{\\rtf"):
        return "a rich text document (RTF)"
    if look.startswith(("{", "[")):
        return "JSON"
    return None
