"""The results of images, and the columns that the output of our own format has for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gql_imgproc.csvfile.profiles.profile import normalize_name

OUTPUT_URLS = "Output Image Urls"
IMAGE_ERRORS = "Image Errors"
_NAMES = {normalize_name(name): name for name in (OUTPUT_URLS, IMAGE_ERRORS)}


@dataclass(frozen=True, slots=True)
class ReportedResult:
    """What the output file and the report say about an image."""

    #: None if it failed.
    output_url: str | None
    outcome: str = ""
    error_code: str | None = None
    error: str | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    #: To the source, 0 to 100.
    similarity: float | None = None
    #: Name of the output, if the request names its outputs.
    output: str | None = None
    #: The outputs after the first one.
    further: Sequence[ReportedResult] = ()


def name_output_column(output: str) -> str:
    """Returns the name of the column with the URLs of an output after the first one."""
    return f"{OUTPUT_URLS} ({output})"


_OUTPUT_COLUMN = re.compile(re.escape(name_output_column("OUTPUT")).replace("OUTPUT", r"([\w.-]+)"), re.ASCII)


def match_result_column(name: str) -> str | None:
    """Returns the column of results that has this name. If an output is uploaded again, its cells are replaced."""
    if found := _OUTPUT_COLUMN.fullmatch(name.strip()):
        return found[0]
    return _NAMES.get(normalize_name(name))


class ResultColumns:
    """The columns of results of an output. An uploaded output keeps its own; other files get new ones."""

    def __init__(self, header: Sequence[str], output_names: Sequence[str]) -> None:
        self.names = [OUTPUT_URLS, *map(name_output_column, output_names[1:]), IMAGE_ERRORS]
        self._further = range(len(output_names[1:]))
        self._indices: dict[str, int] = {}
        #: Also those of outputs that the request does not have.
        self.deleted_indices: list[int] = []
        for index, name in enumerate(header):
            if column := match_result_column(name):
                if column in self._indices or column not in self.names:
                    self.deleted_indices.append(index)
                else:
                    self._indices[column] = index

    def cells(self, results: Sequence[ReportedResult]) -> list[str]:
        """The cells of a row in these columns."""
        further = ([result.further[n] if result.further else None for result in results] for n in self._further)
        # With image numbers that start at 1.
        errors = (f"{number}: {result.error}" for number, result in enumerate(results, start=1) if result.error)
        return [_join_urls(results), *map(_join_urls, further), " | ".join(errors)]

    def complete(self, cells: list[str], results: Iterable[str]) -> list[str]:
        """Adds the cells of these columns to a row."""
        for column, text in zip(self.names, results, strict=True):
            if column in self._indices:
                cells[self._indices[column]] = text
            else:
                cells.append(text)
        for index in reversed(self.deleted_indices):
            del cells[index]
        return cells


def _join_urls(results: Iterable[ReportedResult | None]) -> str:
    return ",".join([(result and result.output_url) or "" for result in results])
