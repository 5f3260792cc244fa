"""The header of a CSV file: detects the delimiter and the profile, and finds the columns."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from gql_imgproc.csvfile.encoding import CONTROL, DecodedFile
from gql_imgproc.csvfile.layout import CsvLayout, NamedColumns
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.messages import csv_error, excerpt, join_quoted, plural, quote
from gql_imgproc.csvfile.other_formats import text_format
from gql_imgproc.csvfile.profiles import PROFILES, recognize
from gql_imgproc.csvfile.profiles.generic import GENERIC
from gql_imgproc.csvfile.profiles.profile import Columns, Profile, locate, matcher, normalize_name
from gql_imgproc.csvfile.records import Dialect, iter_records
from gql_imgproc.csvfile.results import match_result_column
from gql_imgproc.enums import CsvProfile
from gql_imgproc.errors import CsvIssue, CsvIssueCode, InvalidCsv

SERIAL_NUMBER = "S. No."
PRODUCT_NAME = "Product Name"
IMAGE_URLS = "Input Image Urls"

#: The accepted names of each column of our own format. They are few, so that no other column is matched by mistake.
ACCEPTED_NAMES = {SERIAL_NUMBER: GENERIC.ids, PRODUCT_NAME: GENERIC.names, IMAGE_URLS: GENERIC.images}

#: Other common names of these columns. The message proposes to rename such a column; it is not accepted.
_SIMILAR_NAMES = {
    SERIAL_NUMBER: ("#", "no", "nr", "number", "serial", "id", "index", "row", "sr", "sl", "sn"),
    PRODUCT_NAME: ("name", "product", "products", "title", "productnames", "producttitle", "item", "itemname"),
    IMAGE_URLS: ("url", "urls", "image", "images", "inputimages", "inputurls", "imagelinks", "links", "pictures"),
}

#: Delimiters that are detected, the most common first.
DELIMITERS = (",", ";", "\t", "|")
#: A first line that names the delimiter, as Excel reads and writes it. It is not a row.
_SEPARATOR_LINE = re.compile(r'\A("?)sep=([,;:|^~\t])\1[,;\t|]*(?:\r\n|\r|\n|\Z)', re.IGNORECASE)
_DELETE_DELIMITERS = str.maketrans("", "", "".join(DELIMITERS))
_NUMBER_AT_END = re.compile(r"\d*\Z")
#: Characters at the start of the text that identify HTML, JSON and other formats.
_HEAD_CHARS = 1000

#: A shop's file may have more columns than the setting allows, since most of them are only copied.
MAX_SHOP_COLUMNS = 1_000

#: Rows above the header that may be a title.
MAX_TITLE_ROWS = 20

REMOVE_QUOTES = "Export the file again, or remove the quotation marks around each row and write the inner ones once."
UPLOAD_CSV = "Upload a CSV file whose first row names the columns."


@dataclass(frozen=True, slots=True)
class Header:
    """The first row that is not blank, read with one delimiter."""

    dialect: Dialect
    row: int
    names: Sequence[str]
    columns: Columns
    issue: CsvIssue | None = None

    @property
    def score(self) -> tuple[int, float]:
        """The number of columns found. An error counts more than a row of one cell and less than a row of two."""
        return self.columns.score, 1.5 if self.issue else len(self.names)


def match_field(name: str) -> str | None:
    """Returns the input column of our own format that has this name."""
    normalized = normalize_name(name)
    return next((field for field, accepted in ACCEPTED_NAMES.items() if matcher(accepted)(normalized)), None)


def read_header(text: DecodedFile, limits: CsvLimits, layout: CsvLayout) -> Header:
    """Finds the header. Refuses the file with every problem of its header."""
    return _check_columns(find_header(text, limits, layout), layout, limits)


def find_header(text: DecodedFile, limits: CsvLimits, layout: CsvLayout) -> Header:
    """Finds the row that is most likely the header. Refuses text that is no table, and one with a title."""
    head = text.head(_HEAD_CHARS)
    separator = _SEPARATOR_LINE.match(head)
    if separator:
        dialects = [Dialect(separator[2], preamble_chars=separator.end())]
    else:
        dialects = [Dialect(delimiter) for delimiter in DELIMITERS]
    candidates = [
        found for dialect in dialects if (found := _read_first_row(text, dialect, layout, limits.longest_row_chars))
    ]
    if not candidates:
        raise csv_error(
            CsvIssueCode.EMPTY_FILE, "The file has no rows. Upload a CSV file with a header row and data rows."
        )
    # Of equal candidates `max` takes the first, which has the most common delimiter.
    best = max(candidates, key=lambda candidate: candidate.score)
    if best.score[0] == 0 and (format := text_format(head)):
        raise csv_error(CsvIssueCode.HEADER, f"The text seems to be {format}, not CSV. {UPLOAD_CSV}")
    if best.issue:
        raise InvalidCsv((best.issue,), 1)
    below = None if best.columns.are_complete else _find_below(text, dialects, best.row, layout, limits)
    if below and not below.columns.profile.has_title:
        raise csv_error(
            CsvIssueCode.HEADER,
            f"Row {best.row} does not name the columns, but row {below.row} does. Delete what is above row "
            f"{below.row}, such as a title.",
            best.row,
        )
    return below or best


def _find_columns(names: list[str], layout: CsvLayout) -> Columns:
    """A file with all columns of our own format is one; what else is not recognized is reported as one."""
    if layout.columns is not None:
        return locate(_custom_profile(layout.columns), names)
    if layout.profile is not None:
        return locate(PROFILES[layout.profile], names)
    generic = locate(GENERIC, names)
    return generic if generic.are_complete else recognize(names) or generic


def _custom_profile(columns: NamedColumns) -> Profile:
    ids, names = ((name,) if name else () for name in (columns.id, columns.name))
    return Profile(CsvProfile.CUSTOM, "the columns you named", columns.images, ids, names)


def _read_first_row(text: DecodedFile, dialect: Dialect, layout: CsvLayout, longest_row_chars: int) -> Header | None:
    for record in iter_records(text, dialect, longest_row_chars):
        if not isinstance(record, tuple):
            issue = record if isinstance(record, CsvIssue) else record.issues[0]
            return Header(dialect, record.row or 1, [], _find_columns([], layout), issue)
        row, cells = record
        # A row that consists of delimiters is blank for every delimiter.
        if any(cell.translate(_DELETE_DELIMITERS).strip() for cell in cells):
            if not dialect.skips_spaces and len(cells) > 1 and all(cell.startswith(" ") for cell in cells[1:]):
                return _read_first_row(text, replace(dialect, skips_spaces=True), layout, longest_row_chars)
            return Header(dialect, row, cells, _find_columns(cells[:MAX_SHOP_COLUMNS], layout))
    return None


def _find_below(
    text: DecodedFile, dialects: list[Dialect], row: int, layout: CsvLayout, limits: CsvLimits
) -> Header | None:
    """Finds a header below the first row: the one with the most columns, and of equal ones the last."""
    found: list[Header] = []
    for dialect in dialects:
        for record in islice(iter_records(text, dialect, limits.longest_row_chars), row, row + MAX_TITLE_ROWS):
            if not isinstance(record, tuple):
                break
            candidate = Header(dialect, *record, _find_columns(record[1][:MAX_SHOP_COLUMNS], layout))
            if candidate.columns.are_complete:
                found.append(candidate)
    return max(found, key=lambda candidate: (candidate.score[0], candidate.row), default=None)


def _check_columns(candidate: Header, layout: CsvLayout, limits: CsvLimits) -> Header:
    names = [name.lstrip("\N{ZERO WIDTH NO-BREAK SPACE}") for name in candidate.names]
    while names and not names[-1].strip():
        # Excel also writes columns that were emptied.
        names.pop()
    if candidate.columns.profile is GENERIC:
        issues = _generic_issues(names, candidate.row, limits)
    else:
        issues = _shop_issues(names, candidate, layout, limits)
    if issues:
        raise InvalidCsv(tuple(issues[:100]), len(issues))
    return replace(candidate, names=tuple(names))


def _too_many_columns(count: int, limit: int, row: int) -> CsvIssue:
    return CsvIssue(
        CsvIssueCode.LIMIT_EXCEEDED,
        f"The file has {plural(count, 'column')}; the limit is {limit:,}. Remove those not needed.",
        row,
    )


def _generic_issues(names: list[str], row: int, limits: CsvLimits) -> list[CsvIssue]:
    issues: list[CsvIssue] = []
    # The columns of an output CSV do not count: it can be uploaded again even if the original had the maximum.
    if len(names) - len({column for name in names if (column := match_result_column(name))}) > limits.max_columns:
        issues.append(_too_many_columns(len(names), limits.max_columns, row))
    #: Image columns that differ in their number belong together.
    indices: dict[tuple[str, str], int] = {}
    for index, name in enumerate(names):
        if len(name) > limits.max_field_chars:
            issues.append(too_long_issue(name, limits.max_field_chars, row, excerpt(name.strip())))
        if CONTROL.search(name):
            issues.append(control_issue(name, row, excerpt(name.strip())))
        if field := match_field(name):
            number = _NUMBER_AT_END.search(normalize_name(name))
            first = indices.setdefault((field, number[0] if number else ""), index)
            if first != index:
                issues.append(_duplicate_issue(names, first, index, field, row))
    found = {field for field, _ in indices}
    if missing := [field for field in ACCEPTED_NAMES if field not in found]:
        column = missing[0] if len(missing) == 1 else None
        issues.insert(0, CsvIssue(CsvIssueCode.HEADER, _missing_columns_message(missing, names), row, column))
    return issues


def _shop_issues(names: list[str], candidate: Header, layout: CsvLayout, limits: CsvLimits) -> list[CsvIssue]:
    """The columns that the caller named, or those of the profile, may be missing. Unused columns are only copied."""
    profile, row = candidate.columns.profile, candidate.row
    limit = max(limits.max_columns, MAX_SHOP_COLUMNS)
    if len(names) > limit:
        return [_too_many_columns(len(names), limit, row)]
    known = {normalize_name(name) for name in names}
    if layout.columns is not None:
        wanted = (*layout.columns.images, layout.columns.name, layout.columns.id)
        return [
            CsvIssue(
                CsvIssueCode.HEADER,
                f"The file has no column {quote(name)}; found: {join_quoted(names) or 'no names'}.",
                row,
                excerpt(name),
            )
            for name in wanted
            if name and normalize_name(name) not in known
        ]
    if candidate.columns.images:
        return []
    wanted_names = join_quoted([name.replace("{n}", "1") for name in profile.images])
    message = (
        f"The file does not have the columns of {profile.title}. It needs one of {wanted_names}; "
        f"found: {join_quoted(names) or 'no names'}."
    )
    return [CsvIssue(CsvIssueCode.HEADER, message, row, profile.images[0] if len(profile.images) == 1 else None)]


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
    if len(names) == 1 and any(_is_header(names[0].split(mark)) for mark in DELIMITERS):
        return f"The header is a single cell that contains all columns, between quotation marks. {REMOVE_QUOTES}"
    columns = "column is" if len(missing) == 1 else "columns are"
    problem = f"The {columns} missing: {join_quoted(missing)}; found: {join_quoted(names) or 'no names'}."
    renames = [
        f"rename {quote(similar)} to {quote(field)}" for field in missing if (similar := _find_similar(field, names))
    ]
    fix = ", ".join(renames) if renames else "use these names in the first row"
    return f"{problem} Please {fix}."


def _is_header(names: list[str]) -> bool:
    return len({match_field(name) for name in names} - {None}) > 1 or recognize(names) is not None


def _find_similar(field: str, names: list[str]) -> str | None:
    """Returns the name of an unused column that probably means the field."""
    unused = {normalize_name(name)[:100]: name for name in reversed(names[:100]) if name and not match_field(name)}
    for similar in _SIMILAR_NAMES[field]:
        if similar in unused:
            return unused[similar]
    for accepted in ACCEPTED_NAMES[field]:
        if near := difflib.get_close_matches(normalize_name(accepted.removesuffix("{n}")), unused, 1, 0.75):
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
