"""Clients of the last release keep working: nothing in its schema is removed or changes its type.

Until the first release, the contract takes its place. A release adds its schema:
`cp schema.graphql tests/graphql/released.graphql`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from graphql import build_schema
from graphql.utilities import find_breaking_changes

from gql_imgproc.graphql.schema import export

FOLDER = Path(__file__).parent
RELEASED = next(path for name in ("released", "contract") if (path := FOLDER / f"{name}.graphql").is_file())


def breaking_changes(released: str, schema: str) -> list[str]:
    """Changes that break a client of the released schema."""
    return [change.description for change in find_breaking_changes(build_schema(released), build_schema(schema))]


def test_no_breaking_change_since_the_last_release() -> None:
    released = RELEASED.read_text(encoding="utf-8")

    found = breaking_changes(released, export())

    assert found == [], "deprecate it for a minor version first; see docs/API.md, Compatibility"


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("  csvFilename: String!\n", "  csvName: String!\n", "Field Request.csvFilename was removed."),
        (
            "  progressPercent: Float!",
            "  progressPercent: Float",
            "Field Request.progressPercent changed type from Float! to Float.",
        ),
        ("  LOW\n", "  LOWEST\n", "Enum value Priority.LOW was removed."),
        (
            "WebhookUrlInvalid | QuotaExceeded",
            "WebhookUrlInvalid",
            "QuotaExceeded was removed from union type UploadCsvResult.",
        ),
        (
            "  idempotencyKey: String\n",
            "  idempotencyKey: String\n  owner: ID!\n",
            "A required field UploadCsvInput.owner was added.",
        ),
        ("type Request implements Node", "type Request", "Request no longer implements interface Node."),
    ],
)
def test_breaking_change_is_found(before: str, after: str, change: str) -> None:
    schema = export()
    changed = schema.replace(before, after)
    assert changed != schema

    found = breaking_changes(schema, changed)

    assert change in found


def test_additions_and_deprecations_are_not_breaking() -> None:
    schema = export()
    changed = schema.replace(
        "  csvFilename: String!\n",
        '  csvFilename: String! @deprecated(reason: "Use `file`.")\n\n  """Name."""\n  file: String!\n',
    )
    assert changed != schema

    assert breaking_changes(schema, changed) == []
