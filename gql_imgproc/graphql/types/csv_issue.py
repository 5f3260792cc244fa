"""What is wrong in a CSV file, or was noticed in it, as it is shown."""

from __future__ import annotations

from typing import Any

import strawberry

from gql_imgproc.errors import CsvIssueCode


@strawberry.type(description="One thing that is wrong in a CSV file.")
class CsvIssue:
    row: int | None = strawberry.field(
        description="Row as a spreadsheet counts it, the header being row 1; null when the file as a whole is meant."
    )
    column: str | None = strawberry.field(
        description="Name of the column as in the header; null when no single column is meant."
    )
    code: CsvIssueCode = strawberry.field(description="Machine readable reason.")
    message: str = strawberry.field(description="A sentence for people, in English.")

    @classmethod
    def stored(cls, warning: dict[str, Any]) -> CsvIssue:
        return cls(
            row=warning.get("row"),
            column=warning.get("column"),
            code=CsvIssueCode(warning["code"]),
            message=warning["message"],
        )
