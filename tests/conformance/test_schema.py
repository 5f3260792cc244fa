"""The schema in tools outside of Python: graphql-eslint with its rules for Relay, and Relay's compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.npm import SCHEMA_TOOLS, install_packages

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCHEMA = (ROOT / "schema.graphql").read_text(encoding="utf-8")


def npm(folder: Path, *arguments: str, stdin: str = "", timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["npm", *arguments], cwd=folder, input=stdin, capture_output=True, text=True, timeout=timeout_s
    )


@pytest.fixture(scope="session")
def audit() -> Path:
    return install_packages(SCHEMA_TOOLS).parent


def test_graphql_eslint_reports_nothing(audit: Path) -> None:
    process = npm(audit, "run", "--silent", "lint", stdin=SCHEMA)

    assert (process.returncode, process.stdout) == (0, "")


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        ('  """The edges of this page."""\n', "", "require-description"),
        ("  hasNextPage: Boolean!\n", "  hasNextPage: Boolean\n", "relay-page-info"),
        ("  edges: [ProductEdge!]!\n", "  edges: ProductEdge\n", "relay-connection-types"),
        ('  """About this page."""\n  pageInfo: PageInfo!\n', "", "relay-connection-types"),
        ("  createdAt: DateTime!\n", "  created_at: DateTime!\n", "naming-convention"),
    ],
)
def test_graphql_eslint_reports_a_changed_schema(audit: Path, before: str, after: str, rule: str) -> None:
    invalid = SCHEMA.replace(before, after)
    assert invalid != SCHEMA

    process = npm(audit, "run", "--silent", "lint", stdin=invalid)

    assert process.returncode == 1
    assert f"@graphql-eslint/{rule}" in process.stdout


def compile_relay(audit: Path, folder: Path, schema: str) -> subprocess.CompletedProcess[str]:
    """Runs Relay's compiler on its sources with a schema, in a new folder."""
    (folder / "relay" / "__generated__").mkdir(parents=True)
    (folder / "schema.graphql").write_text(schema, encoding="utf-8")
    for name in ("package.json", "relay/pages.ts"):
        shutil.copy(audit / name, folder / name)
    config = (audit / "relay.config.json").read_text(encoding="utf-8")
    (folder / "relay.config.json").write_text(config.replace("../../../schema", "./schema"), encoding="utf-8")
    (folder / "node_modules").symlink_to(audit / "node_modules")
    return npm(folder, "run", "--silent", "relay")


def test_relay_compiles_pages_refetches_and_subscriptions(audit: Path, tmp_path: Path) -> None:
    process = compile_relay(audit, tmp_path, SCHEMA)

    generated = {path.name for path in (tmp_path / "relay" / "__generated__").iterdir()}
    assert process.returncode == 0, process.stdout + process.stderr
    assert {
        "pagesRequestsPaginationQuery.graphql.ts",
        "pagesProductsPaginationQuery.graphql.ts",
        "pagesImageRefetchQuery.graphql.ts",
        "pagesCancelMutation.graphql.ts",
        "pagesProgressSubscription.graphql.ts",
    } <= generated


def test_relay_rejects_a_schema_without_page_info(audit: Path, tmp_path: Path) -> None:
    process = compile_relay(
        audit, tmp_path, SCHEMA.replace("  hasPreviousPage: Boolean!\n", "  hasEarlierPage: Boolean!\n")
    )

    assert process.returncode != 0
