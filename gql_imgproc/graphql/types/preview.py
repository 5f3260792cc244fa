"""The preview of a file before its upload."""

from __future__ import annotations

from typing import Annotated

import strawberry

from gql_imgproc.csvfile import preview
from gql_imgproc.csvfile.workbook import Table
from gql_imgproc.enums import CsvProfile
from gql_imgproc.graphql.types.payloads import CsvInvalid, UploadTooLarge, outcome_of
from gql_imgproc.graphql.types.view import view


@strawberry.type(description="How a file would be read.")
class CsvPreview:
    profile: CsvProfile | None = strawberry.field(
        description="The profile that the file is recognized as; null when an upload needs `columns`."
    )
    columns: list[str] = strawberry.field(description="Names of the columns, at most 200.")
    rows: list[list[str]] = strawberry.field(
        description="The first five rows that are not blank, with a cell for each column. Long cells are shortened."
    )
    sheet: str | None = strawberry.field(description="The sheet that is read; null for a file that is no workbook.")
    sheets: list[str] = strawberry.field(description="All visible sheets of a workbook.")

    @classmethod
    def from_table(cls, found: preview.CsvPreview, table: Table) -> CsvPreview:
        return view(cls, found, sheet=table.layout.sheet, sheets=list(table.sheets))


PreviewCsvResult = Annotated[CsvPreview | CsvInvalid | UploadTooLarge, outcome_of("previewCsv")]
