"""Columns that hold image URLs, or look as if they did, and are not read: the user is warned of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gql_imgproc.csvfile.messages import excerpt, quote
from gql_imgproc.csvfile.profiles.profile import Columns
from gql_imgproc.csvfile.results import match_result_column
from gql_imgproc.errors import CsvIssue, CsvIssueCode

#: A shop's file also has the URLs of pages and documents.
_IMAGE = re.compile(r"https?://[^\s]+\.(?:jpe?g|png|webp|gif|avif|tiff?|bmp)(?:[?#]\S*)?", re.IGNORECASE)
_URL = re.compile(r"\s*https?://", re.IGNORECASE)


class UnreadColumns:
    def __init__(self, names: Sequence[str], columns: Columns) -> None:
        self._names = names
        self._images = frozenset(columns.images)
        self._is_url = _URL.match if columns.profile.is_complete else _IMAGE.fullmatch
        unread = {index for index, name in enumerate(names) if not match_result_column(name)} - columns.used
        #: Columns in which nothing was found so far.
        self.watched = unread | self._images if columns.profile.has_file_names else unread
        self._found: list[int] = []

    def check(self, cells: list[str]) -> None:
        """Searches a row for URLs in columns that are not read."""
        for index in tuple(self.watched):
            if (cell := cells[index]) and self._is_unread(index, cell):
                self.watched.discard(index)
                self._found.append(index)

    def _is_unread(self, index: int, cell: str) -> bool:
        if index in self._images:
            return "://" not in cell
        return self._is_url(cell) is not None

    def warnings(self) -> list[CsvIssue]:
        return [self._warning(index) for index in sorted(self._found)]

    def _warning(self, index: int) -> CsvIssue:
        name = self._names[index].strip()
        message = (
            f"The column {quote(name)} has file names. Only its URLs are read; file names stay as they are."
            if index in self._images
            else f"The column {quote(name)} has URLs but is not read. If they are images, name it as an image column."
        )
        return CsvIssue(CsvIssueCode.HEADER, message, None, excerpt(name))
