"""How a file is read: what the caller says about it, and what was decided when it was accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from gql_imgproc.enums import CsvProfile, InvalidRowPolicy


@dataclass(frozen=True, slots=True)
class NamedColumns:
    """Columns of a file by their names in its header."""

    images: tuple[str, ...]
    name: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class CsvLayout:
    """The first four are the caller's; None: recognized, or the default of the profile."""

    profile: CsvProfile | None = None
    columns: NamedColumns | None = None
    on_invalid_row: InvalidRowPolicy | None = None
    #: An IANA name.
    encoding: str | None = None
    #: Image URLs that start with it are results of earlier requests: a shop's file that comes back keeps them.
    results_url: str | None = None
    #: The sheet of a workbook, which the CSV file was made from; an upload may name it.
    sheet: str | None = None
    #: Rows that are copied to the output unchanged, because they are invalid.
    skipped_rows: frozenset[int] = frozenset()

    def to_json(self) -> dict[str, Any]:
        stored: dict[str, Any] = _JSON.dump_python(self, mode="json")
        return stored

    @classmethod
    def from_json(cls, stored: dict[str, Any] | None) -> CsvLayout:
        """The inverse of `to_json`; requests of earlier versions have no layout."""
        return cls(CsvProfile.GENERIC) if stored is None else _JSON.validate_python(stored)


_JSON = TypeAdapter(CsvLayout)

#: The file tells how it is read.
RECOGNIZED = CsvLayout()
