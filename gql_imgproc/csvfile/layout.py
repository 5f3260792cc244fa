"""How a file is read: what the caller says about it, and what was decided when it was accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

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
        columns = self.columns and {"images": self.columns.images, "name": self.columns.name, "id": self.columns.id}
        return {
            "profile": self.profile,
            "columns": columns,
            "on_invalid_row": self.on_invalid_row,
            "encoding": self.encoding,
            "results_url": self.results_url,
            "sheet": self.sheet,
            "skipped_rows": sorted(self.skipped_rows),
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any] | None) -> Self:
        """The inverse of `to_json`; requests of earlier versions have no layout."""
        if stored is None:
            return cls(CsvProfile.GENERIC)
        columns, policy = stored["columns"], stored["on_invalid_row"]
        return cls(
            CsvProfile(stored["profile"]),
            columns and NamedColumns(tuple(columns["images"]), columns["name"], columns["id"]),
            policy and InvalidRowPolicy(policy),
            stored.get("encoding"),
            stored["results_url"],
            stored.get("sheet"),
            frozenset(stored["skipped_rows"]),
        )


#: The file tells how it is read.
RECOGNIZED = CsvLayout()
