"""What tools outside of Python say about the schema: graphql-eslint with its rules for Relay, and Relay's compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.npm import SCHEMA_TOOLS, install_packages

ROOT = Path(__file__).parents[2]
SCHEMA = (ROOT / "schema.graphql").read_text(encoding="utf-8")


def npm(folder: Path, *arguments: str, given: str = "", timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["npm", *arguments], cwd=folder, input=given, capture_output=True, text=True, timeout=timeout_s
    )


@pytest.fixture(scope="session")
def audit() -> Path:
    return install_packages(SCHEMA_TOOLS).parent


def test_graphql_eslint_finds_no_fault(audit: Path) -> None:
    linted = npm(audit, "run", "--silent", "lint", given=SCHEMA)

    assert (linted.returncode, linted.stdout) == (0, "")


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
def test_graphql_eslint_finds_a_fault(audit: Path, before: str, after: str, rule: str) -> None:
    faulty = SCHEMA.replace(before, after)
    assert faulty != SCHEMA

    linted = npm(audit, "run", "--silent", "lint", given=faulty)

    assert linted.returncode == 1
    assert f"@graphql-eslint/{rule}" in linted.stdout


def compiled(audit: Path, folder: Path, schema: str) -> subprocess.CompletedProcess[str]:
    """What Relay's compiler makes of its sources with a schema, in a folder of its own."""
    (folder / "relay" / "__generated__").mkdir(parents=True)
    (folder / "schema.graphql").write_text(schema, encoding="utf-8")
    for name in ("package.json", "relay/pages.ts"):
        shutil.copy(audit / name, folder / name)
    config = (audit / "relay.config.json").read_text(encoding="utf-8")
    (folder / "relay.config.json").write_text(config.replace("../../../schema", "./schema"), encoding="utf-8")
    (folder / "node_modules").symlink_to(audit / "node_modules")
    return npm(folder, "run", "--silent", "relay")


def test_relay_compiles_pages_refetches_and_subscriptions(audit: Path, tmp_path: Path) -> None:
    done = compiled(audit, tmp_path, SCHEMA)

    made = {path.name for path in (tmp_path / "relay" / "__generated__").iterdir()}
    assert done.returncode == 0, done.stdout + done.stderr
    assert {
        "pagesRequestsPaginationQuery.graphql.ts",
        "pagesProductsPaginationQuery.graphql.ts",
        "pagesImageRefetchQuery.graphql.ts",
        "pagesCancelMutation.graphql.ts",
        "pagesProgressSubscription.graphql.ts",
    } <= made


def test_relay_refuses_a_schema_without_pages(audit: Path, tmp_path: Path) -> None:
    done = compiled(audit, tmp_path, SCHEMA.replace("  hasPreviousPage: Boolean!\n", "  hasEarlierPage: Boolean!\n"))

    assert done.returncode != 0
