"""Errors and warnings about a CSV file."""

from __future__ import annotations

from typing import Any

import strawberry

from gql_imgproc.errors import CsvIssueCode


@strawberry.type(description="One error or warning about a CSV file.")
class CsvIssue:
    row: int | None = strawberry.field(
        description="Row number as in a spreadsheet, where the header is row 1; null for the whole file."
    )
    column: str | None = strawberry.field(
        description="Name of the column as in the header; null when the issue concerns no single column."
    )
    code: CsvIssueCode = strawberry.field(description="Machine-readable reason.")
    message: str = strawberry.field(description="A sentence for people, in English.")

    @classmethod
    def from_json(cls, warning: dict[str, Any]) -> CsvIssue:
        return cls(
            row=warning.get("row"),
            column=warning.get("column"),
            code=CsvIssueCode(warning["code"]),
            message=warning["message"],
        )
